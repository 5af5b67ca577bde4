"""Ledgers that can be read but not written: on a read-only mount, or in the folder of another user."""

import os
import shutil
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import mkdtemp

import pytest

from tests.support.ledgers import clock, ledger
from worker.ledger.history import HistoryQuery, history
from worker.ledger.readonly import memory_reader, plan_use_reader
from worker.ledger.sqlite import SqliteFile
from worker.model.accounts import AccountMemory, PlanFile
from worker.model.errors import LedgerError
from worker.model.results import RunOutcome

_NOBODY = 65534


@contextmanager
def _read_only_folder(folder: Path) -> Iterator[None]:
    """Act as a user who can read `folder` but not write to it. Root would bypass the permissions."""
    root = os.geteuid() == 0
    folder.chmod(0o555)
    if root:
        os.seteuid(_NOBODY)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)
        folder.chmod(0o755)


def _make_readable(path: Path) -> None:
    for file in path.parent.glob(f"{path.name}*"):
        file.chmod(0o644)


@pytest.fixture
async def path() -> AsyncIterator[Path]:
    """Return the ledger of a finished run, readable by other users."""
    folder = Path(mkdtemp())
    async with ledger(folder, now=clock()) as run_ledger:
        await run_ledger.finish(RunOutcome.CONVERGED)
    _make_readable(folder / "ledger.db")
    yield folder / "ledger.db"
    shutil.rmtree(folder)


def _runs(path: Path) -> list[str]:
    with SqliteFile(path).read() as connection:
        assert connection is not None
        return [run.run_id for run in history(connection, HistoryQuery()).runs]


def _write(connection: sqlite3.Connection, run: str) -> None:
    columns = "id, command, started_by, host, pid, version, settings, started_at"
    connection.execute(f"INSERT INTO runs ({columns}) VALUES ('{run}', 'apply', '', '', 1, '', '{{}}', '2027')")  # noqa: S608


async def test_unwritable_ledger_is_read(path: Path) -> None:
    """History and memory are read, and no file is created next to the ledger."""
    with _read_only_folder(path.parent):
        assert _runs(path) == ["run-1"]
        assert await memory_reader(SqliteFile(path))("key") == AccountMemory()
    assert [file.name for file in path.parent.glob("ledger.db*")] == ["ledger.db"]


def test_missing_ledger_is_not_an_error(path: Path) -> None:
    """This holds with and without write permission."""
    with _read_only_folder(path.parent), SqliteFile(path.with_name("none.db")).read() as connection:
        assert connection is None


def test_rows_of_a_concurrent_writer_are_read(path: Path) -> None:
    """While a writer has the ledger open, its log is read through the files that SQLite created for it."""
    with closing(sqlite3.connect(path, isolation_level=None)) as writer:
        _write(writer, "run-2")
        _make_readable(path)
        with _read_only_folder(path.parent):
            assert _runs(path) == ["run-2", "run-1"]
            _write(writer, "run-3")
            assert _runs(path) == ["run-3", "run-2", "run-1"]


def _leave_crash_files(path: Path) -> None:
    """Leave a log with changes, as a killed process does."""
    with closing(sqlite3.connect(path, isolation_level=None)) as writer:
        _write(writer, "run-2")
        for suffix in ("wal", "shm"):
            shutil.copy(f"{path}-{suffix}", path.with_name(suffix))
    for suffix in ("wal", "shm"):
        path.with_name(suffix).rename(f"{path}-{suffix}")
    _make_readable(path)


def test_log_of_a_crashed_writer_is_read(path: Path) -> None:
    """If both files exist, SQLite reads the rows that are not in the ledger yet."""
    _leave_crash_files(path)
    with _read_only_folder(path.parent):
        assert _runs(path) == ["run-2", "run-1"]


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (
            lambda path: Path(f"{path}-shm").unlink(),
            "ledger.db-wal has changes that are not in the ledger yet. To read them, SQLite must create ledger.db-shm",
        ),
        (lambda path: Path(f"{path}-wal").unlink(), "ledger.db-shm exists and ledger.db-wal does not"),
        (lambda path: Path(f"{path}-wal").chmod(0), "no permission to read .*/ledger.db-wal"),
        (lambda path: Path(f"{path}-shm").chmod(0), "no permission to read .*/ledger.db-shm"),
    ],
)
def test_unreadable_log_is_refused_with_the_reason(path: Path, spoil: Callable[[Path], object], reason: str) -> None:
    """A log with changes that cannot be read is never ignored."""
    _leave_crash_files(path)
    spoil(path)
    with _read_only_folder(path.parent), pytest.raises(LedgerError, match=reason):
        _runs(path)


def test_empty_log_is_ignored(path: Path) -> None:
    """SQLite empties its log after a checkpoint. A ledger without a log index is not open elsewhere."""
    Path(f"{path}-wal").touch(mode=0o644)
    with _read_only_folder(path.parent):
        assert _runs(path) == ["run-1"]


def test_write_during_an_immutable_read_is_an_error(path: Path) -> None:
    """Another process may write to the ledger while it is read as immutable."""

    def read() -> None:
        with _read_only_folder(path.parent), SqliteFile(path).read() as connection:
            assert connection is not None
            if os.geteuid() == _NOBODY:
                os.seteuid(0)
            path.parent.chmod(0o755)
            with closing(sqlite3.connect(path, isolation_level=None)) as writer:
                _write(writer, "run-2")
            path.parent.chmod(0o555)
            if os.getuid() == 0:
                os.seteuid(_NOBODY)

    with pytest.raises(LedgerError, match="changed while it was read"):
        read()
    assert _runs(path) == ["run-2", "run-1"]


async def test_use_of_a_plan_file_is_read(path: Path) -> None:
    """Without a ledger, or without a run of the plan file, there is no use."""
    plan = PlanFile("p1", "2026-11-24T00:00:00.000Z")
    for file in (path, path.with_name("missing.db")):
        assert await plan_use_reader(SqliteFile(file), plan)("solapi 1", ["112"]) is None
