"""An upgrade from an earlier version: its ledger is taken over, and no write is lost while images take turns."""

import sqlite3
import subprocess
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Final

import pytest

from tests.containers.conftest import ROOT, build
from tests.containers.engine import Engine
from tests.containers.page import is_shown
from tests.containers.simulated import SLOW, Simulated, flipped, write
from worker.ledger.schema import MIGRATIONS

_PREVIOUS: Final = "localhost/senderid:previous"
_OLDER_LEDGER: Final = "146a391c6d2085bd7e0b7491ed359f97b025777f"
"""The last commit before the last migration of the ledger. There is no release yet."""


@pytest.fixture(scope="module")
def previous(machine: Engine, mounts: Mapping[Path, str], tmp_path_factory: pytest.TempPathFactory) -> str:
    """The image of an earlier commit."""
    checkout = tmp_path_factory.mktemp("previous")
    archive = subprocess.run(  # noqa: S603 - our own commit
        ["git", "-C", str(ROOT), "archive", _OLDER_LEDGER],  # noqa: S607
        capture_output=True,
        check=False,
    )
    if archive.returncode != 0:
        pytest.skip(f"the history of this checkout has no commit {_OLDER_LEDGER}")
    subprocess.run(["tar", "-x", "-C", str(checkout)], input=archive.stdout, check=True)  # noqa: S603, S607
    build(machine, checkout, _PREVIOUS, mounts)
    return _PREVIOUS


def test_ledger_is_taken_over_and_the_way_back_is_refused(simulated: Simulated, previous: str, tmp_path: Path) -> None:
    simulated.start(numbers=20)
    before = simulated.statuses()
    write(tmp_path / "accounts", flipped(before))
    accounts = f"--volume={tmp_path}/accounts:/etc/senderid/accounts:ro"
    apply = ("apply", "--yes", "-f", "/etc/senderid/accounts", "--allow=all")
    assert simulated(*apply, options=[accounts], image=previous).returncode == 0
    assert simulated.statuses() == flipped(before)

    (first,) = simulated.history()
    assert (first["outcome"], first["counts"]["changed"]) == ("converged", 20)
    assert simulated.recorded() == flipped(before)
    result = simulated("rollback", "--yes", first["run_id"], "--allow=all")
    assert result.returncode == 0, result.stderr
    assert simulated.statuses() == before

    back = simulated(*apply, options=[accounts], image=previous)
    assert back.returncode == 1
    assert "newer senderid" in back.stderr
    assert simulated.statuses() == before, "nothing was sent"
    assert [run["command"].split()[0] for run in simulated.history()] == ["rollback", "apply"]


def test_ledger_of_a_later_version_is_refused(simulated: Simulated, tmp_path: Path) -> None:
    simulated.start()
    write(tmp_path / "accounts", simulated.statuses())
    accounts = f"--volume={tmp_path}/accounts:/etc/senderid/accounts:ro"
    apply = ("apply", "--yes", "-f", "/etc/senderid/accounts")
    assert simulated(*apply, options=[accounts]).returncode == 0
    with closing(sqlite3.connect(simulated.engine.volume("state") / "ledger.db")) as ledger:
        ledger.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    write(tmp_path / "accounts", flipped(simulated.statuses()))
    before = simulated.statuses()
    refused = simulated(*apply, "--allow=all", options=[accounts])
    assert (refused.returncode, simulated.statuses()) == (1, before)
    assert is_shown(simulated("history").stderr, "senderid:0.1.0 history")


def test_restarts_during_writes_lose_nothing(simulated: Simulated, previous: str, tmp_path: Path) -> None:
    """Each daemon is stopped during its writes, when the next one waits. The first is the earlier version."""
    simulated.start(numbers=60)
    before = simulated.statuses()
    write(tmp_path / "accounts", flipped(before))
    daemon = simulated.watch(tmp_path / "accounts", SLOW, image=previous)
    for port in (9465, 9466):
        simulated.wait_for_writes(simulated.statuses())
        following = simulated.watch(tmp_path / "accounts", SLOW, port=port)
        following.wait_for("watch.pass", outcome="locked")
        assert daemon.stop() == 143
        daemon = following
    daemon.wait_for("watch.pass", outcome="converged", seconds=60)
    assert daemon.stop() == 143
    assert simulated.statuses() == flipped(before)
    runs = simulated.history("--limit=0")
    assert [run["outcome"] for run in runs if run["outcome"] != "locked"] == ["converged", "interrupted", "interrupted"]
    assert sum(run["counts"].get("changed", 0) for run in runs) == len(before), "no number was written twice"
    assert simulated.recorded() == flipped(before)
