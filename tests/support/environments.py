"""Unusual machines for the end-to-end tests: `make environments`.

`SENDERID_TEST_MACHINE` names them, separated by blanks. Without it, commands run in UTC, in the C locale and with their
own home folder.
"""

import atexit
import os
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

__all__ = ["MACHINES", "prepare"]

_QUIET: Final = (
    "ignore:'imghdr' is deprecated:DeprecationWarning",  # imported by Apprise
    "ignore:unclosed file <_io.BufferedReader:ResourceWarning",  # a signal may interrupt the import of a module
    "ignore:Binding :DeprecationWarning",  # Python 3.12.0 to 3.12.3 warns of numbered placeholders by mistake
)
MACHINES: Final[dict[str, dict[str, str]]] = {
    "seoul": {"TZ": "Asia/Seoul"},
    "korean": {"LANG": "ko_KR.UTF-8", "SENDERID_LANG": "en"},
    "homeless": {"HOME": "/sys"},
    "private": {},
    "slow": {},
    "strict": {
        "PYTHONDEVMODE": "1",
        "PYTHONWARNINGS": ",".join(("error", *_QUIET)),
        "PYTHONPATH": str(Path(__file__).with_name("strict")),
    },
}
"""Variables of each machine: a zone, a locale, a home that cannot be written, umask 077, a slow disk, and dev mode with
warnings as errors.

Messages stay English in the Korean locale, as tests read them; `tests/e2e/test_korean.py` reads Korean ones.
"""


def prepare() -> dict[str, str]:
    """Return the environment variables of commands.

    Set the umask of this process and compile the slow-disk library if a machine needs them.
    """
    names = os.environ.get("SENDERID_TEST_MACHINE", "").split()
    assert MACHINES.keys() >= set(names), f"SENDERID_TEST_MACHINE: {', '.join(MACHINES)}"
    variables = {"LANG": "C.UTF-8"}
    for name in names:
        variables |= MACHINES[name]
    if "private" in names:
        os.umask(0o077)
    if "slow" in names:
        variables["LD_PRELOAD"] = _slow_disk()
    return variables


def _slow_disk() -> str:
    folder = TemporaryDirectory()
    atexit.register(folder.cleanup)
    library = f"{folder.name}/slow_disk.so"
    source = str(Path(__file__).with_name("slow_disk.c"))
    subprocess.run(["/usr/bin/cc", "-O2", "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)  # noqa: S603 - our own
    return library
