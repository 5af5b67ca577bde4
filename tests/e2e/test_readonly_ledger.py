"""A ledger on a read-only mount: reading works, and writing reports why it cannot."""

import json
import shutil
import signal
import subprocess
from urllib.request import urlopen

import pytest

from tests.e2e.conftest import SENDERID, Command, Served

A, B = "01000000001", "01000000002"
NUMBERS = {A: "INACTIVE", B: "ACTIVE"}
FILES = {"d.yaml": f"version: 1\naccount: shop-on-a-mount\nnumbers: {{{A}: ACTIVE, {B}: ACTIVE}}\n"}

_MOUNTED = (
    "unshare",
    "--mount",
    "sh",
    "-c",
    'mount --bind "$1" "$1" && mount -o remount,ro,bind "$1" && shift && exec "$@"',
)


def _mounts() -> bool:
    if shutil.which("unshare") is None:
        return False
    tried = subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False)  # noqa: S607
    return tried.returncode == 0


pytestmark = pytest.mark.skipif(not _mounts(), reason="a mount takes root and unshare of util-linux")


@pytest.fixture(autouse=True)
def applied(served: Served, command: Command) -> None:  # noqa: ARG001 - the command talks to it
    """Apply a change, so that a ledger exists."""
    assert command("apply", "-y", "-f", "d.yaml").returncode == 0


def _mounted(command: Command, *arguments: str) -> subprocess.Popen[str]:
    program = (*_MOUNTED, "sh", str(command.folder / "state" / "senderid"), SENDERID)
    return command.popen(*arguments, program=program)


def _run(command: Command, *arguments: str) -> tuple[int, str, str]:
    with _mounted(command, *arguments) as process:
        out, err = process.communicate(timeout=60)
    assert "Traceback" not in err
    return process.returncode, out, err


def test_history_plan_and_drift_work(command: Command, served: Served) -> None:
    status, out, err = _run(command, "history", "--format", "json")
    assert status == 0, err
    (run,) = json.loads(out)["runs"]
    command.write("d.yaml", f"version: 1\naccount: shop-on-a-mount\nnumbers: {{{A}: INACTIVE, {B}: ACTIVE}}\n")
    status, out, err = _run(command, "plan", "-f", "d.yaml", "--format", "json")
    assert (status, "warning" in err) == (0, False)
    (change,) = json.loads(out)["accounts"][0]["changes"]
    assert change["cause"] == "config_change"
    assert _run(command, "drift", "-f", "d.yaml")[0] == 0
    status, out, err = _run(command, "rollback", run["run_id"], "--dry-run")
    assert status == 0, err
    assert "010-0000-0001" in out
    assert [phone for phone, _ in served.writes] == [A]


def test_apply_sends_nothing(command: Command, served: Served) -> None:
    command.write("d.yaml", f"version: 1\naccount: shop-on-a-mount\nnumbers: {{{A}: INACTIVE, {B}: ACTIVE}}\n")
    status, _, err = _run(command, "apply", "-y", "-f", "d.yaml")
    assert status == 1
    assert "SENDERID_LEDGER__PATH" in err
    assert len(served.writes) == 1


@pytest.mark.usefixtures("served")
def test_serve_shows_the_run(command: Command) -> None:
    with _mounted(command, "serve", "--listen", "127.0.0.1:0") as process:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        with urlopen(url, timeout=20) as response:  # noqa: S310 - our own
            page = response.read().decode()
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 143
    assert "shop-on-a-mount" in page
    assert "cannot be" not in page
