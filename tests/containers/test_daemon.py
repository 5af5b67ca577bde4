"""Commands and the daemon in confined containers, against the sandbox in another one."""

from pathlib import Path
from typing import Final

import pytest

from tests.containers.conftest import IMAGE
from tests.containers.engine import CONFINED, Container, Engine
from tests.containers.page import is_shown
from tests.containers.simulated import SLOW, Simulated, flipped, write
from worker import __version__

ANY_USER: Final = "1234567:0"
"""A user without an entry in /etc/passwd, as OpenShift assigns it."""
PAGE: Final = "from urllib.request import urlopen; print(urlopen('http://127.0.0.1:9464/{}').read().decode())"

users = pytest.mark.parametrize("user", ["65532:0", ANY_USER])


def _page(container: Container, name: str) -> str:
    return container.exec("python", "-c", PAGE.format(name)).stdout.strip()


def _start_writing(simulated: Simulated, accounts: Path) -> tuple[Container, dict[str, str]]:
    """Start a daemon that inverts 40 numbers slowly. Return it after its first write, and the statuses before."""
    simulated.start(numbers=40)
    before = simulated.statuses()
    write(accounts, flipped(before))
    daemon = simulated.watch(accounts, SLOW)
    simulated.wait_for_writes(before)
    return daemon, before


@users
def test_version_and_demo_run_without_network_or_volume(engine: Engine, user: str) -> None:
    options = ("run", "--rm", "--no-healthcheck", "--network=none", *CONFINED, f"--user={user}", IMAGE)
    assert engine.podman(*options, "--version").stdout == f"senderid {__version__}\n"
    assert "0 changes are pending now" in engine.podman(*options, "demo").stdout


@users
def test_doctor_finds_nothing_wrong(simulated: Simulated, user: str) -> None:
    simulated.start()
    simulated.user = user
    result = simulated("doctor")
    assert result.returncode == 0, result.stdout
    assert is_shown(result.stdout, "senderid:0.1.0 doctor")


@users
def test_daemon_converges_and_is_healthy_and_ready(simulated: Simulated, tmp_path: Path, user: str) -> None:
    simulated.start()
    simulated.user = user
    desired = simulated.statuses() | dict.fromkeys(list(simulated.statuses())[:1], "ACTIVE")
    write(tmp_path / "accounts", desired)
    daemon = simulated.watch(tmp_path / "accounts")
    daemon.wait_for("watch.pass", outcome="converged")
    assert simulated.engine.podman("healthcheck", "run", daemon.name, check=False).returncode == 0
    assert (_page(daemon, "healthz"), _page(daemon, "readyz")) == ("ok", "ok")
    assert "senderid_passes_total" in _page(daemon, "metrics")
    assert simulated.statuses() == desired
    assert daemon.exec("sh", "-c", "touch /etc/senderid/x || touch /opt/senderid/x").returncode != 0
    assert daemon.stop() == 143


def test_other_commands_do_not_report_health(simulated: Simulated) -> None:
    simulated.start()
    assert simulated.box is not None
    box = simulated.engine.start(IMAGE, "sandbox", options=CONFINED)
    assert simulated.engine.podman("healthcheck", "run", box.name, check=False).returncode == 1


def test_stop_during_writes_drains_and_the_ledger_agrees(simulated: Simulated, tmp_path: Path) -> None:
    daemon, before = _start_writing(simulated, tmp_path / "accounts")
    assert daemon.stop() == 143
    after = simulated.statuses()
    assert 0 < sum(after[phone] != before[phone] for phone in before) < len(before)
    (run,) = simulated.history()
    assert run["outcome"] == "interrupted"
    assert simulated.recorded() == after
    assert run["counts"]["changed"] == sum(after[phone] != before[phone] for phone in before)


def test_killed_daemon_converges_after_its_restart(simulated: Simulated, tmp_path: Path) -> None:
    """The kernel frees the lease, and the second process settles what the first one left open."""
    daemon, before = _start_writing(simulated, tmp_path / "accounts")
    daemon.kill("KILL")
    assert daemon.wait() == 137
    daemon.start()
    daemon.wait_for("watch.pass", outcome="converged", seconds=60)
    assert simulated.statuses() == flipped(before)
    assert daemon.stop() == 143
    assert [run["outcome"] for run in simulated.history()] == ["converged", "crashed"]
    assert simulated.recorded() == flipped(before)
