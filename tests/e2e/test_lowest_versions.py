"""Run the command with the lowest versions that `pyproject.toml` allows."""

import json
import re
import signal
import subprocess
import sys
import tomllib
import venv
from collections.abc import Sequence
from pathlib import Path
from urllib.request import urlopen

import pytest

from tests.e2e.conftest import Command, Serve
from worker.sandbox import SandboxAccount

ROOT = Path(__file__).parents[2]
A, B = "01000000001", "01000000002"


def _lowest() -> list[str]:
    """Return each direct dependency at its lower bound."""
    named = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    actual = [re.fullmatch(r"([\w.-]+)>=([\w.]+)[^;]*(;.*)?", line) for line in named]
    return [f"{match[1]}=={match[2]}{match[3] or ''}" for match in actual if match]


def test_every_dependency_has_a_lower_bound() -> None:
    named = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    assert len(_lowest()) == len(named)


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Sequence[str]:
    """Install the command with the lowest versions in an environment of its own."""
    folder = tmp_path_factory.mktemp("lowest")
    venv.create(folder)
    pip = (sys.executable, "-m", "pip", "--python", str(folder), "--disable-pip-version-check")
    result = subprocess.run(  # noqa: S603 - our own pip
        [*pip, "install", "--quiet", "--no-compile", *_lowest()],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    if re.search(r"ConnectionError|NewConnectionError|\(from versions: none\)", result.stderr):
        pytest.skip("no package index can be reached")
    assert result.returncode == 0, result.stderr
    return str(folder / "bin/python"), "-m", "worker"


def test_lowest_versions_run(command: Command, serve: Serve, program: Sequence[str]) -> None:
    account = SandboxAccount.of({A: "INACTIVE", B: "ACTIVE"})
    served = serve(account)
    command.at(served.sandbox, account).environment |= {"PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "error"}
    command.write("d.yaml", f"version: 1\nnumbers: {{{A}: ACTIVE, {B}: ACTIVE}}\n")

    def run(*arguments: str) -> tuple[int, str]:
        with command.popen(*arguments, program=program) as process:
            out, err = process.communicate(timeout=60)
        assert "bug" not in err, err
        return process.returncode, out + err

    for arguments in (("demo",), ("doctor",), ("plan", "-f", "d.yaml", "--metrics-file", "m.prom")):
        status, output = run(*arguments)
        assert status == 0, output
    with command.popen("apply", "-y", "-f", "d.yaml", program=program) as process:
        out, err = process.communicate(timeout=60)
    assert (process.returncode, account.statuses[A]) == (0, "ACTIVE"), out + err
    assert json.loads(run("history", "--format", "json")[1])["runs"][0]["outcome"] == "converged"
    daemon = ("watch", "-f", "d.yaml", "--every", "1h", "--listen", "127.0.0.1:0", "--log-format", "json")
    with command.popen(*daemon, program=program) as process:
        assert process.stderr is not None
        url = next(json.loads(line)["url"] for line in process.stderr if '"watch.listening"' in line)
        with urlopen(f"{url}/metrics", timeout=20) as response:  # noqa: S310 - our own
            assert b"senderid_" in response.read()
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)
    assert process.returncode == 143


_HELD = """
import asyncio, pathlib
from worker.model.errors import AccountBusy
from worker.ledger import lock

async def no(_): return False

async def main():
    locks = lock.prepare(pathlib.Path("locked"))
    async with lock.lease(locks, "a", lock.Holder(7, "run-7", "now"), wait=no):
        async with lock.lease(locks, "a", lock.Holder(8, "run-8", "now"), wait=no):
            pass

try:
    asyncio.run(main())
except AccountBusy as error:
    print(error)
"""


def test_held_lock_names_its_holder(command: Command, program: Sequence[str]) -> None:
    """Old releases of filelock ignored the callback that writes the name."""
    command.environment["PYTHONPATH"] = str(ROOT)
    with command.popen(program=(program[0], "-c", _HELD)) as process:
        out, err = process.communicate(timeout=30)
    assert "process 7, run run-7, since now" in out, err
