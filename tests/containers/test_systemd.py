"""The systemd units, started by a systemd that is the first process of a container."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from tests.containers.conftest import SYSTEMD
from tests.containers.engine import Engine, until
from tests.containers.page import is_shown
from tests.containers.simulated import API_KEY, API_SECRET, ENDPOINT, Simulated, flipped

# systemd passes credentials by a mount, which reaches the services if mounts are shared
_INIT: Final = ("sh", "-c", "mount --make-rshared / && exec /lib/systemd/systemd")
_WATCH: Final = "senderid-watch.service"
_APPLY: Final = "senderid-apply.service"


class Machine:
    """A machine with systemd, the units, and files in /etc/senderid."""

    def __init__(self, engine: Engine, folder: Path) -> None:
        self._folder = folder
        for name, mode in (("", 0o755), ("accounts", 0o755), ("credentials", 0o700)):
            (folder / name).mkdir(exist_ok=True)
            (folder / name).chmod(mode)
        for name, value in (("main_api_key", API_KEY), ("main_api_secret", API_SECRET)):
            (folder / "credentials" / name).write_text(value)
            (folder / "credentials" / name).chmod(0o600)
        (folder / "environment").write_text(f"SENDERID_ENDPOINT={ENDPOINT}\n")
        options = ("--systemd=always", "--privileged", f"--volume={folder}:/etc/senderid:ro")
        self.container = engine.start(SYSTEMD, *_INIT, options=options)
        until(lambda: self("is-system-running").stdout == "running\n", "systemd runs")

    def __call__(self, *arguments: str, check: bool = False) -> Any:
        """Run systemctl."""
        return self.container.exec("systemctl", "--no-pager", *arguments, check=check)

    def desire(self, numbers: Mapping[str, str], unit: str) -> None:
        """Write the file of the account, with the credentials of a unit."""
        credentials = {name: {"file": f"/run/credentials/{unit}/main_{name}"} for name in ("api_key", "api_secret")}
        document = {"version": 1, "account": "main", "credentials": credentials, "numbers": dict(numbers)}
        (self._folder / "accounts/main.yaml").write_text(yaml.safe_dump(document))

    def property(self, unit: str, name: str) -> str:
        """Return a property of a unit."""
        value: str = self("show", f"--property={name}", "--value", unit).stdout.strip()
        return value

    def journal(self, unit: str, event: str) -> list[dict[str, Any]]:
        """Return the log lines of one event of a unit."""
        result = self.container.exec("journalctl", "--no-pager", "--output=cat", f"--unit={unit}", check=True)
        lines = [json.loads(line) for line in result.stdout.splitlines() if line.startswith("{")]
        return [line for line in lines if line["event"] == event]

    def outcomes(self) -> list[str]:
        """Return the outcomes of the runs in the ledger of the units, newest first."""
        ledger = "SENDERID_LEDGER__PATH=/var/lib/senderid/ledger.db"
        result = self.container.exec(
            "env", ledger, "/opt/senderid/bin/senderid", "history", "--format=json", check=True
        )
        return [run["outcome"] for run in json.loads(result.stdout)["runs"]]


@pytest.fixture
def host(systemd: None, simulated: Simulated, tmp_path: Path) -> Machine:  # noqa: ARG001 - the image of the machine
    """A machine beside a simulated account."""
    simulated.start()
    return Machine(simulated.engine, tmp_path / "senderid")


def test_daemon_starts_reloads_and_stops(host: Machine, simulated: Simulated) -> None:
    before = simulated.statuses()
    host.desire(before, _WATCH)
    host("start", _WATCH, check=True)
    until(lambda: host.journal(_WATCH, "watch.pass") != [], "the first pass")
    until(lambda: host.property(_WATCH, "StatusText") != "", "the status of the pass")
    assert is_shown(host("status", _WATCH, check=True).stdout, "systemctl status senderid-watch.service")
    identity = host.property(_WATCH, "MainPID")
    owner = host.container.exec("stat", "--format=%U", f"/proc/{identity}").stdout
    assert owner != "root\n"

    phone = min(before)
    host.desire(before | {phone: flipped(before)[phone]}, _WATCH)
    host("reload", _WATCH, check=True)
    until(lambda: len(host.journal(_WATCH, "watch.pass")) == 2, "the pass after the reload")
    assert simulated.statuses() == before | {phone: flipped(before)[phone]}

    host("stop", _WATCH, check=True)
    assert host.property(_WATCH, "ActiveState") == "inactive", "not failed, as 143 is a success"
    assert len(host.journal(_WATCH, "watch.stopping")) == 1
    assert host.outcomes() == ["converged"]


def test_killed_daemon_is_restarted_and_an_invalid_file_is_not_retried(host: Machine, simulated: Simulated) -> None:
    host.desire(simulated.statuses(), _WATCH)
    # the unit waits for 30 seconds
    host.container.exec("mkdir", "/run/systemd/system/senderid-watch.service.d", check=True)
    drop_in = "printf '[Service]\\nRestartSec=1\\n' > /run/systemd/system/senderid-watch.service.d/quick.conf"
    host.container.exec("sh", "-c", drop_in, check=True)
    host("daemon-reload", check=True)
    host("start", _WATCH, check=True)
    first = host.property(_WATCH, "MainPID")
    host("kill", "--signal=KILL", _WATCH, check=True)
    until(lambda: host.property(_WATCH, "NRestarts") == "1", "a restart")
    until(lambda: host.property(_WATCH, "ActiveState") == "active", "the daemon runs again")
    assert host.property(_WATCH, "MainPID") not in {"0", first}

    host("stop", _WATCH, check=True)
    host.desire({"010-1234-5678": "PERHAPS"}, _WATCH)
    assert host("start", _WATCH).returncode != 0
    assert host.property(_WATCH, "ExecMainStatus") == "65"
    assert host.property(_WATCH, "ActiveState") == "failed"


def test_apply_runs_once_and_its_timer_and_the_daemon_stop_each_other(host: Machine, simulated: Simulated) -> None:
    desired = flipped(simulated.statuses())
    desired[min(desired)] = "ACTIVE"
    host.desire(desired | dict.fromkeys(list(desired)[:4], "ACTIVE"), _APPLY)
    host("start", _APPLY, check=True)
    (finished,) = host.journal(_APPLY, "run.finished")
    assert finished["outcome"] == "converged"
    host("enable", "--now", "senderid-apply.timer", check=True)
    assert host.property("senderid-apply.timer", "ActiveState") == "active"
    host("start", _WATCH, check=True)
    assert host.property("senderid-apply.timer", "ActiveState") == "inactive"
    host("start", "senderid-apply.timer", check=True)
    assert host.property(_WATCH, "ActiveState") == "inactive"


def test_units_are_as_confined_as_the_page_says(host: Machine) -> None:
    for unit in (_WATCH, _APPLY):
        output = host.container.exec("systemd-analyze", "security", "--no-pager", unit, check=True).stdout
        assert float(output.rsplit("exposure level for", 1)[1].split()[1]) < 1.5
