"""A ledger that can be read and not written: on a read-only mount, or in another user's folder."""

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
from worker.ledger.readonly import memory_reader, open_read_only
from worker.model.accounts import AccountMemory
from worker.model.errors import LedgerError
from worker.model.results import RunOutcome

_NOBODY = 65534


@contextmanager
def _unwritable(folder: Path) -> Iterator[None]:
    """As a user who can read a folder and not write into it; root would not notice permissions."""
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


def _opened_up(path: Path) -> None:
    for each in path.parent.glob(f"{path.name}*"):
        each.chmod(0o644)


@pytest.fixture
async def path() -> AsyncIterator[Path]:
    """The ledger of a finished run, where other users may read it."""
    folder = Path(mkdtemp())
    async with ledger(folder, now=clock()) as book:
        await book.finish(RunOutcome.CONVERGED)
    _opened_up(folder / "ledger.db")
    yield folder / "ledger.db"
    shutil.rmtree(folder)


def _runs(path: Path) -> list[str]:
    with open_read_only(path) as connection:
        assert connection is not None
        return [run.run_id for run in history(connection, HistoryQuery()).runs]


def _write(connection: sqlite3.Connection, run: str) -> None:
    columns = "id, command, started_by, host, pid, version, settings, started_at"
    connection.execute(f"INSERT INTO runs ({columns}) VALUES ('{run}', 'apply', '', '', 1, '', '{{}}', '2027')")  # noqa: S608


def test_a_ledger_that_cannot_be_written_is_read(path: Path) -> None:
    """History and memory come out of it, and no file is made beside it."""
    with _unwritable(path.parent):
        assert _runs(path) == ["run-1"]
        assert memory_reader(path)("key") == AccountMemory()
    assert [each.name for each in path.parent.glob("ledger.db*")] == ["ledger.db"]


def test_there_may_be_none(path: Path) -> None:
    """A missing ledger is no error, with or without the right to write."""
    with _unwritable(path.parent), open_read_only(path.with_name("none.db")) as connection:
        assert connection is None


def test_what_another_process_writes_is_seen(path: Path) -> None:
    """While a writer has it open, its log is read through the files that SQLite made for it."""
    with closing(sqlite3.connect(path, isolation_level=None)) as writer:
        _write(writer, "run-2")
        _opened_up(path)
        with _unwritable(path.parent):
            assert _runs(path) == ["run-2", "run-1"]
            _write(writer, "run-3")
            assert _runs(path) == ["run-3", "run-2", "run-1"]


def _crashed(path: Path) -> None:
    """Leave a log with changes, as a process that was killed does."""
    with closing(sqlite3.connect(path, isolation_level=None)) as writer:
        _write(writer, "run-2")
        for suffix in ("wal", "shm"):
            shutil.copy(f"{path}-{suffix}", path.with_name(suffix))
    for suffix in ("wal", "shm"):
        path.with_name(suffix).rename(f"{path}-{suffix}")
    _opened_up(path)


def test_the_log_of_a_crash_is_read(path: Path) -> None:
    """With both files beside it SQLite reads what is not in the ledger yet."""
    _crashed(path)
    with _unwritable(path.parent):
        assert _runs(path) == ["run-2", "run-1"]


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (
            lambda path: Path(f"{path}-shm").unlink(),
            "ledger.db-wal holds changes that the ledger does not have yet, and SQLite cannot create ledger.db-shm",
        ),
        (lambda path: Path(f"{path}-wal").unlink(), "ledger.db-shm exists and ledger.db-wal does not"),
        (lambda path: Path(f"{path}-wal").chmod(0), "no permission to read .*/ledger.db-wal"),
        (lambda path: Path(f"{path}-shm").chmod(0), "no permission to read .*/ledger.db-shm"),
    ],
)
def test_what_is_missing_is_named(path: Path, spoil: Callable[[Path], object], reason: str) -> None:
    """A log whose changes cannot be read is never passed over."""
    _crashed(path)
    spoil(path)
    with _unwritable(path.parent), pytest.raises(LedgerError, match=reason):
        _runs(path)


def test_an_empty_log_holds_nothing_back(path: Path) -> None:
    """SQLite empties its log after a checkpoint; a ledger without a log index is not open elsewhere."""
    Path(f"{path}-wal").touch(mode=0o644)
    with _unwritable(path.parent):
        assert _runs(path) == ["run-1"]


def test_a_ledger_that_was_written_meanwhile_is_not_believed(path: Path) -> None:
    """Another process may write to it while it is read as immutable."""

    def read() -> None:
        with _unwritable(path.parent), open_read_only(path) as connection:
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
