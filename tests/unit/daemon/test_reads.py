"""The recorder of a daemon's reads, over a real ledger, with passes in virtual time."""

from pathlib import Path
from types import SimpleNamespace
from typing import cast

import msgspec
import pytest

from tests.support.daemon import Daemon, DaemonLog, account, desired_account
from tests.support.ledgers import clock
from tests.support.virtual_time import run
from worker.daemon import reads as recorder_module
from worker.daemon.loop import WatchLoop
from worker.daemon.passes import Pass
from worker.daemon.reads import ReadRecorder
from worker.ledger import SqliteFile
from worker.ledger.reads import account_reads, last_daemon, numbers_of
from worker.model.errors import LedgerError
from worker.model.reads import AccountRead, DaemonRecord, NumberState
from worker.model.suspension import Suspend


def recorder(database: SqliteFile, log: DaemonLog) -> ReadRecorder:
    """Return a recorder of the daemon on `box`."""
    return ReadRecorder(database, log, host="box", pid=7, program="0", now=clock())


def recorded(database: SqliteFile) -> tuple[list[AccountRead], DaemonRecord | None, list[NumberState]]:
    """Return the reads, the daemon, and the numbers of the first account."""
    with database.read() as connection:
        assert connection is not None
        reads = account_reads(connection)
        numbers = numbers_of(connection, reads[0].key.rpartition(" ")[0], reads[0].account)
        return reads, last_daemon(connection), numbers


def test_passes_are_recorded_also_without_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each pass records its reads and the next pass. The end of the daemon is recorded too."""

    async def at_once(function: object, *arguments: object, **more: object) -> None:
        function(*arguments, **more)  # type: ignore[operator]

    monkeypatch.setattr("worker.daemon.reads.asyncio.to_thread", at_once)
    database = SqliteFile(tmp_path / "ledger.db")

    async def scenario() -> None:
        one = account(1, n01000000001="ACTIVE")
        sink = recorder(database, DaemonLog())
        daemon = Daemon([one], [desired_account(one)], listeners=[sink], recorder=sink)
        sink.follow(daemon.watch)
        suspended = desired_account(one, suspend=Suspend("moving", "ann"))
        healths: list[str] = []

        def suspend() -> None:
            healths.append(recorded(database)[0][0].health)
            daemon.folder.write(suspended)

        await daemon.run_for(400, (100, suspend))
        (read,), alive, numbers = recorded(database)
        assert alive is not None
        assert (read.account, read.sync, read.command, read.numbers, read.run_id) == (
            "account-1",
            "in_sync",
            "watch",
            1,
            None,
        )
        assert numbers == [NumberState("01000000001", "ACTIVE", "ACTIVE", source="1.yaml", line=1)]
        assert alive.next_pass > alive.last_pass
        assert alive.ended_at is None
        assert [*healths, read.health] == ["healthy", "suspended"]
        await sink.close()
        _, alive, _ = recorded(database)
        assert alive is not None
        assert alive.ended_at is not None

    run(scenario())


async def test_ledger_that_cannot_be_written_is_logged_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What was not recorded is recorded after the next pass."""
    attempts: list[int] = []

    def fail(_: object, reads: object, *__: object, **___: object) -> None:
        attempts.append(len(list(cast("list[object]", reads))))
        if len(attempts) < 3:
            raise LedgerError("no space")

    monkeypatch.setattr(recorder_module, "save", fail)
    log = DaemonLog()
    sink = recorder(SqliteFile(tmp_path / "ledger.db"), log)
    await sink.close()
    result = msgspec.convert(
        {
            "run_id": "r1",
            "started_at": "2026-11-24T00:00:00Z",
            "ended_at": "2026-11-24T00:01:00Z",
            "outcome": "converged",
            "accounts": [],
        },
        Pass,
    )
    sink.on_pass(result)
    sink.follow(cast("WatchLoop", SimpleNamespace(next_pass=result.ended_at)))
    sink.note([cast("object", SimpleNamespace(read=SimpleNamespace(account="a")))])  # type: ignore[list-item]
    for _ in range(3):
        sink.on_pass(result)
        sink.on_event("watch.pass", {})
        assert sink._writing is not None
        await sink._writing
    assert attempts == [1, 1, 1]
    assert [line["error_message"] for line in log.of("watch.unrecorded")] == ["no space"]
    await sink.close()
    assert attempts == [1, 1, 1, 0]
