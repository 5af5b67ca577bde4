"""Copies of ledgers between databases: complete, compared, and all or nothing."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.ledgers import (
    account_result,
    clock,
    daemon_record,
    ledger,
    never_wait,
    observed_account,
    plan_writes,
    recorded_read,
    rows,
    run_info,
    subject,
)
from tests.support.postgres import new_database
from worker.ledger import Database, SqliteFile, copy, writes
from worker.ledger.copy import copy_ledger
from worker.ledger.database import Connection
from worker.ledger.history import HistoryQuery, history
from worker.ledger.postgres.database import PostgresDatabase
from worker.ledger.reads import save
from worker.ledger.schema import MIGRATIONS, connect
from worker.model.accounts import Status
from worker.model.errors import LedgerError, NotRegistered
from worker.model.history import History
from worker.model.results import Outcome, RunOutcome

A, B, C = "01000000001", "01000000002", "01000000003"
_TABLES = ("runs", "entries", "attempts", "outcomes", "written", "registered", "reads", "read_numbers", "daemons")


async def _record_runs(database: Database) -> None:
    """Record a complete run, one that failed with texts in Korean, and one that crashed."""
    async with ledger(database, run_id="r1") as run_ledger:
        async with run_ledger.lease(subject(), never_wait) as account_ledger:
            await account_ledger.resume(observed_account(n01000000001="ACTIVE"))
            await account_ledger.record_plan(plan_writes(A, B), "f")
            await account_ledger.intend([(A, 1, Status.INACTIVE), (B, 1, Status.INACTIVE)])
            account_ledger.record_response(B, 1, NotRegistered("없는 번호", http_status=400, api_code="Gone"))
            await account_ledger.finish(account_result(plan_writes(A, B), Outcome.CHANGED), {})
        await run_ledger.record(subject("vendor 2"), account_result(plan_writes(B), Outcome.FAILED), {})
        await run_ledger.finish(RunOutcome.PARTIAL)
    async with ledger(database, run_id="r2") as run_ledger, run_ledger.lease(subject(), never_wait) as account_ledger:
        await account_ledger.record_plan(plan_writes(C), "g")
        await account_ledger.intend([(C, 1, Status.INACTIVE)])
    save(database, [recorded_read()], daemon_record(), program="0", now=clock())


def _content(database: Database) -> dict[str, list[tuple[Any, ...]]]:
    return {table: sorted(rows(database, f"SELECT * FROM {table}"), key=repr) for table in _TABLES}  # noqa: S608 - constant


def _history(database: Database) -> History:
    with database.read() as connection:
        assert connection is not None
        return history(connection, HistoryQuery())


def _copy(source: Database, target: Database) -> dict[str, int]:
    return copy_ledger(source, target, program="0", now=clock())


async def test_copy_has_the_same_records(database: Database, tmp_path: Path) -> None:
    """A ledger goes from each database to the other, and back, without a difference."""
    await _record_runs(database)
    file, server = SqliteFile(tmp_path / "copy.db"), PostgresDatabase(new_database(empty=True))
    counts = {"runs": 2, "entries": 3, "attempts": 3, "outcomes": 4, "written": 2, "registered": 1}
    counts |= {"reads": 1, "read_numbers": 1, "daemons": 1}
    assert _copy(database, server) == counts
    assert _copy(server, file) == counts
    assert _history(file) == _history(server) == _history(database)
    for table in ("runs", "attempts", "outcomes", "written", "registered", "reads", "read_numbers", "daemons"):
        assert _content(file)[table] == _content(server)[table]
    server.close()


async def test_runs_continue_in_the_copy(database: Database, postgres: PostgresDatabase, tmp_path: Path) -> None:
    """The next run settles what was left open, and its entry has an id after the copied ones."""
    source = SqliteFile(tmp_path / "source.db")
    await _record_runs(source)
    target = postgres if database.is_remote else SqliteFile(tmp_path / "target.db")
    _copy(source, target)
    async with ledger(target, run_id="r3") as run_ledger, run_ledger.lease(subject(), never_wait) as account_ledger:
        memory = await account_ledger.resume(observed_account(n01000000003="INACTIVE"))
        assert memory.spent == {C}
        await account_ledger.record_plan(plan_writes(A), "h")
    assert rows(target, "SELECT id, run FROM entries ORDER BY id") == [(1, "r1"), (2, "r1"), (3, "r2"), (4, "r3")]


async def test_target_with_records_is_refused(database: Database, tmp_path: Path) -> None:
    source = SqliteFile(tmp_path / "source.db")
    await _record_runs(source)
    async with ledger(database, run_id="other"):
        pass
    with pytest.raises(LedgerError, match="already has records"):
        _copy(source, database)
    assert rows(database, "SELECT id FROM runs") == [("other",)]


def test_missing_source_is_refused(database: Database, tmp_path: Path) -> None:
    with pytest.raises(LedgerError, match="there is no ledger at"):
        _copy(SqliteFile(tmp_path / "none.db"), database)
    with pytest.raises(LedgerError, match="there is no ledger at"):
        _copy(PostgresDatabase(new_database(empty=True)), database)


@pytest.mark.parametrize("table", _TABLES)
async def test_failed_copy_leaves_the_target_empty(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, table: str
) -> None:
    """If the rows of a table differ after the copy, nothing is copied."""
    source = SqliteFile(tmp_path / "source.db")
    await _record_runs(source)
    pages = copy._pages

    calls = Counter[str]()

    def lossy_pages(connection: Connection, name: str, *more: Any) -> Iterator[list[Any]]:
        """Lose a row when the target is read, after the source was read twice."""
        calls[name] += 1
        is_target = calls[name] == 3
        return (page[1:] if name == table and is_target else page for page in pages(connection, name, *more))

    monkeypatch.setattr(copy, "_pages", lossy_pages)
    with pytest.raises(LedgerError, match=f"the copy differs in the table {table}, so nothing was copied"):
        _copy(source, database)
    assert _content(database) == {name: [] for name in _TABLES}


async def test_copy_of_many_rows_is_complete(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tables are read in pages, by all columns of their keys."""
    monkeypatch.setattr(copy, "_ROWS", 3)
    source = SqliteFile(tmp_path / "source.db")
    phones = [f"010{number:08}" for number in range(20)]
    async with ledger(source) as run_ledger, run_ledger.lease(subject(), never_wait) as account_ledger:
        await account_ledger.record_plan(plan_writes(*phones), "f")
        await account_ledger.intend([(phone, number, Status.INACTIVE) for phone in phones for number in (1, 2)])
    assert _copy(source, database)["attempts"] == 40
    assert rows(database, "SELECT count(*), count(DISTINCT phone) FROM attempts") == [(40, 20)]


def test_ledger_of_an_older_version_is_copied(database: Database, tmp_path: Path) -> None:
    """Columns and tables that it does not have get their defaults."""
    path = tmp_path / "old.db"
    connection = connect(path, program="0", now=clock(), migrations=MIGRATIONS[:4])
    writes.add_run(connection, run_info("old"))
    connection.close()
    assert _copy(SqliteFile(path), database)["runs"] == 1
    assert rows(database, "SELECT id, plan FROM runs") == [("old", None)]


async def test_source_does_not_change(database: Database, tmp_path: Path) -> None:
    await _record_runs(database)
    before = _content(database)
    _copy(database, SqliteFile(tmp_path / "copy.db"))
    assert _content(database) == before


async def test_full_disk_at_the_target_is_its_error(tmp_path: Path) -> None:
    source, small = SqliteFile(tmp_path / "source.db"), SqliteFile(tmp_path / "small.db", open_file=_open_small)
    phones = [f"010{number:08}" for number in range(2000)]
    async with ledger(source) as run_ledger, run_ledger.lease(subject(), never_wait) as account_ledger:
        await account_ledger.record_plan(plan_writes(*phones), "f")
    with pytest.raises(LedgerError, match=r"small\.db cannot be used \(database or disk is full\)"):
        _copy(source, small)
    assert rows(small, "SELECT * FROM runs") == []


def _open_small(*place: Any, **more: Any) -> Any:
    connection = connect(*place, **more)
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    connection.execute(f"PRAGMA max_page_count = {pages}")
    return connection
