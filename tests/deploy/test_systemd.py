"""The systemd units and the crontab are valid and confined, and their arguments are accepted by the command."""

import ctypes
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from tests.deploy.commands import DEPLOY, parse_command
from tests.deploy.test_docker import DRAIN
from tests.e2e.conftest import SENDERID
from worker.cli.exit_status import ExitStatus
from worker.config.settings import Settings

UNITS: Final = sorted((DEPLOY / "systemd").iterdir())
SERVICES: Final = [path for path in UNITS if path.suffix == ".service"]
WORKER: Final = DEPLOY / "systemd/senderid-fleet-worker@.service"
SINGLE: Final = [path for path in SERVICES if path != WORKER]
"""The services without instances."""
PROGRAM: Final = "/opt/senderid/bin/senderid"
EXPOSURE: Final = 2.0
"""What `systemd-analyze security` may give at most: 0 is nothing, 10 is everything."""

_PR_SET_MDWE: Final = 65
_REFUSE_EXEC_GAIN: Final = 1


def _values(path: Path, key: str) -> list[str]:
    return re.findall(rf"^{key}=(.*)$", path.read_text(), re.MULTILINE)


def _one(path: Path, key: str) -> str:
    (value,) = _values(path, key)
    return value


def _arguments(path: Path) -> list[str]:
    program, *arguments = shlex.split(_one(path, "ExecStart"))
    assert program == PROGRAM
    return arguments


def _seconds(text: str) -> int:
    return int(text.removesuffix("min")) * 60 if text.endswith("min") else int(text)


@pytest.fixture
def analyze(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run `systemd-analyze` on copies of units whose program exists on this machine."""
    tool = shutil.which("systemd-analyze")
    if tool is None:
        pytest.skip("systemd-analyze is not installed")

    def run(*arguments: str, units: list[Path]) -> subprocess.CompletedProcess[str]:
        copies = []
        for unit in units:
            copy = tmp_path / unit.name
            copy.write_text(unit.read_text().replace(PROGRAM, SENDERID))
            copies.append(str(copy))
        return subprocess.run(  # noqa: S603 - found above
            [tool, *arguments, *copies], capture_output=True, text=True, check=False, timeout=60
        )

    return run


def test_units_are_valid(analyze: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    result = analyze("verify", "--man=no", units=UNITS)
    assert (result.returncode, result.stdout + result.stderr) == (0, "")


@pytest.mark.parametrize("unit", SERVICES, ids=lambda unit: unit.name)
def test_services_are_confined(analyze: Callable[..., subprocess.CompletedProcess[str]], unit: Path) -> None:
    """`systemd-analyze security` rates the exposure of the services."""
    result = analyze("security", "--offline=true", f"--threshold={EXPOSURE * 10:.0f}", "--no-pager", units=[unit])
    actual = re.search(r"exposure level for .*: ([\d.]+)", result.stdout)
    assert actual is not None, result.stderr
    assert (result.returncode, float(actual[1]) < EXPOSURE) == (0, True)


@pytest.mark.parametrize("unit", SINGLE, ids=lambda unit: unit.name)
def test_services_use_valid_options_state_and_stop_time(unit: Path) -> None:
    arguments = parse_command(_arguments(unit))
    assert arguments["paths"] == ("/etc/senderid/accounts",)
    assert arguments["verb"] == unit.stem.removeprefix("senderid-")
    state = _one(unit, "StateDirectory")
    assert f"SENDERID_LEDGER__PATH=%S/{state}/ledger.db" in _one(unit, "Environment").split()
    assert _seconds(_one(unit, "TimeoutStopSec")) > DRAIN


@pytest.mark.parametrize("unit", SINGLE, ids=lambda unit: unit.name)
def test_credential_paths_match_the_unit(unit: Path) -> None:
    loaded = {value.partition(":")[0] for value in _values(unit, "LoadCredential")}
    (folder, name) = re.findall(r"\{file: (/run/credentials/[^/]+)/(\w+)\}", unit.read_text())[0]
    assert folder == f"/run/credentials/{unit.name}"
    assert name in loaded
    assert all(
        value.partition(":")[2].startswith("/etc/senderid/credentials/") for value in _values(unit, "LoadCredential")
    )


def test_daemon_notifies_reloads_and_restarts_only_on_failure() -> None:
    unit = DEPLOY / "systemd/senderid-watch.service"
    arguments = parse_command(_arguments(unit))
    assert (_one(unit, "Type"), arguments["listen"][0]) == ("notify", "127.0.0.1")
    assert _one(unit, "ExecReload") == '/bin/sh -c "kill -HUP $MAINPID"'
    assert _seconds(_one(unit, "WatchdogSec")) >= 60
    assert _one(unit, "Restart") == "on-failure"
    never = {int(status) for status in _one(unit, "RestartPreventExitStatus").split()}
    assert never == {ExitStatus.USAGE, ExitStatus.INVALID}
    assert int(_one(unit, "SuccessExitStatus")) == ExitStatus.SIGTERM


def test_fleet_workers_have_a_port_and_a_state_each() -> None:
    """Workers restart when they end, except for wrong options or settings, and have time to hand over lanes."""
    arguments = parse_command([argument.replace("%i", "9464") for argument in _arguments(WORKER)])
    assert (arguments["verb"], arguments["listen"]) == ("fleet worker", ("127.0.0.1", 9464))
    state = _one(WORKER, "StateDirectory")
    assert state.endswith("-%i")
    assert f"SENDERID_LEDGER__PATH=%S/{state}/ledger.db" in _one(WORKER, "Environment").split()
    assert _seconds(_one(WORKER, "TimeoutStopSec")) > DRAIN
    assert _one(WORKER, "Restart") == "always"
    never = {int(status) for status in _one(WORKER, "RestartPreventExitStatus").split()}
    assert never == {ExitStatus.USAGE, ExitStatus.INVALID}
    assert int(_one(WORKER, "SuccessExitStatus")) == ExitStatus.SIGTERM


def test_timer_catches_up_and_leaves_time_to_finish() -> None:
    timer, unit = (DEPLOY / f"systemd/senderid-apply.{kind}" for kind in ("timer", "service"))
    assert (_one(timer, "Persistent"), _one(unit, "Type")) == ("true", "oneshot")
    assert _seconds(_one(timer, "RandomizedDelaySec")) > 0
    arguments = parse_command(_arguments(unit))
    assert arguments["yes"] is True
    assert _seconds(_one(unit, "TimeoutStartSec")) > Settings().deadline_seconds + arguments["lock_timeout"] + DRAIN


def test_daemon_and_timer_exclude_each_other() -> None:
    assert _values(DEPLOY / "systemd/senderid-watch.service", "Conflicts") == ["senderid-apply.timer"]
    assert _values(DEPLOY / "systemd/senderid-apply.timer", "Conflicts") == ["senderid-watch.service"]


def test_command_runs_without_writable_executable_memory(tmp_path: Path) -> None:
    assert all(_one(unit, "MemoryDenyWriteExecute") == "yes" for unit in SERVICES)
    libc = ctypes.CDLL(None, use_errno=True)

    def refuse() -> None:
        if libc.prctl(_PR_SET_MDWE, _REFUSE_EXEC_GAIN, 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "prctl")

    def run(*command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(  # noqa: S603 - our own command
            [sys.executable, *command],
            cwd=tmp_path,
            preexec_fn=refuse,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    try:
        refused = run("-c", "import mmap; mmap.mmap(-1, 4096, prot=7)")
    except subprocess.SubprocessError:
        pytest.skip("the kernel is older than Linux 6.3 and cannot refuse it by itself")
    assert "PermissionError" in refused.stderr
    result = run("-m", "worker", "demo")
    assert (result.returncode, result.stderr) == (0, "")
    assert "0 changes are pending now" in result.stdout


def test_crontab_uses_valid_options_and_settings() -> None:
    lines = [line for line in (DEPLOY / "cron/senderid").read_text().splitlines() if not line.startswith("#")]
    (entry,) = [line for line in lines if line.startswith("*")]
    minute, hour, day, month, weekday, user, program, *arguments = entry.split()
    assert (minute, hour, day, month, weekday, user, program) == ("*/10", "*", "*", "*", "*", "senderid", "senderid")
    options = parse_command(arguments)
    assert (options["verb"], options["yes"]) == ("apply", True)
    assert options["lock_timeout"] < 600  # the next run is due by then
    variables = dict(line.split("=", 1) for line in lines if "=" in line.partition(" ")[0] and line != entry)
    state = Path(variables["SENDERID_LEDGER__PATH"]).parent
    assert Path(options["output"]).is_relative_to(state)
    assert "%" not in entry  # cron treats it as the end of the line
