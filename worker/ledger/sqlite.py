"""A ledger in an SQLite file, with leases that are file locks beside it."""

import os
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractContextManager, asynccontextmanager, closing, contextmanager
from errno import EACCES
from pathlib import Path
from typing import Any, Final

from worker.ledger import lock, writes
from worker.ledger.database import Connection, Transactions, Wait
from worker.ledger.records import RunInfo, Subject
from worker.ledger.schema import connect, connect_to_read, file_version, unusable_error
from worker.model.accounts import AccountMemory
from worker.model.errors import LedgerError
from worker.model.messages import Message, system_text
from worker.model.ports import SharedQuota

__all__ = ["FileLeases", "SqliteFile"]

_CHECKPOINT_PAGES: Final = 4000
"""Size in pages at which SQLite checkpoints the write-ahead log: 16 MB, so that checkpoints are rare."""
_STEPS: Final = 10_000
"""Count of instructions of SQLite's virtual machine between checks of the time limit: a few tenths of a millisecond."""
_FREE_PAGES: Final = "PRAGMA freelist_count"
_RELEASE_PAGE: Final = "PRAGMA incremental_vacuum(1)"
_USED_BYTES: Final = """
    SELECT (page_count - freelist_count) * page_size - (
        SELECT coalesce(sum(length(numbers) + length(search)), 0) FROM read_numbers
    ) FROM pragma_page_count, pragma_freelist_count, pragma_page_size
"""
"""SQL of the bytes in use, without the numbers of the latest reads, which no deletion of runs makes smaller."""
_NO_TOKEN: Final = 0
"""The kernel frees a lock when its process ends, so a file lock needs no token."""


class SqliteFile:
    """A ledger in the file at `path`. `open_file` opens it for writing; a simulation replaces it."""

    is_remote = False

    def __init__(self, path: Path, *, open_file: Callable[..., sqlite3.Connection] = connect) -> None:
        self.path = path
        self._open_file = open_file

    @property
    def name(self) -> str:
        """The path."""
        return str(self.path)

    @property
    def title(self) -> str:
        """The name of the file."""
        return self.path.name

    def connect(self, *, program: str, now: Callable[[], str]) -> sqlite3.Connection:
        """Open the ledger for writing, see `Database`."""
        lock.prepare(self.path.parent)
        connection = self._open_file(self.path, program=program, now=now)
        connection.execute(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT_PAGES}")
        return connection

    def write(self, *, program: str, now: Callable[[], str]) -> AbstractContextManager[sqlite3.Connection]:
        """Open the ledger for writing, see `Database`."""
        return closing(self.connect(program=program, now=now))

    @contextmanager
    def read(self, *, skip_check: bool = False, seconds: float | None = None) -> Iterator[sqlite3.Connection | None]:
        """Open the ledger read-only, see `Database`."""
        before = file_version(self.path)
        connection = connect_to_read(self.path, skip_check=skip_check)
        if connection is not None and seconds is not None:
            end = time.monotonic() + seconds
            connection.set_progress_handler(lambda: time.monotonic() > end, _STEPS)
        try:
            yield connection
            if before is not None and file_version(self.path) != before:
                raise LedgerError(Message("the ledger {path} changed while it was read; try again", path=self.name))
        except sqlite3.OperationalError as error:
            if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_INTERRUPT:
                raise TimeoutError from None
            raise self.unusable(str(error)) from None
        except (sqlite3.Error, UnicodeDecodeError) as error:
            raise self.unusable(str(error)) from None
        finally:
            if connection is not None:
                connection.close()

    def recall(self, connection: Connection, keys: Sequence[str]) -> dict[str, AccountMemory]:
        """Return the memories of accounts by their keys."""
        return {key: writes.recall(connection, key) for key in keys}

    def probe(self) -> None:
        """Check that the file can be used, without creating one."""
        lock.prepare(self.path.parent)
        connection = connect_to_read(self.path)
        if connection is not None:
            connection.close()
        if self.path.exists() and not os.access(self.path, os.W_OK):
            raise self.unusable(system_text(os.strerror(EACCES)))

    def state(self) -> object:
        """Return the state of the file and its write-ahead log."""
        states: list[Any] = []
        for path in (self.path, self.path.with_name(f"{self.path.name}-wal")):
            try:
                stat = path.stat()
            except OSError:
                states.append(None)
            else:
                # an empty file counts as missing, as readers create and delete an empty -wal file
                states.append((stat.st_mtime_ns, stat.st_size, stat.st_ino) if stat.st_size else None)
        return states

    def unusable(self, reason: str) -> LedgerError:
        """Return the error of a failed transaction."""
        return unusable_error(self.path, reason)

    def leases(self, run: RunInfo, grace_seconds: float) -> "FileLeases":
        """Return the leases of a run."""
        del grace_seconds
        return FileLeases(self.path.parent / "locks", run)

    def used_bytes(self, connection: Connection) -> int:
        """Return the count of bytes in use: the size of the file without free pages and the latest reads."""
        size: int
        (size,) = connection.execute(_USED_BYTES).fetchone()
        return size

    def continue_ids(self, connection: Connection) -> None:
        """Do nothing: SQLite counts on from the largest id."""

    def shrink(self, connection: Connection) -> None:
        """Release the free pages of the file to the file system, one page per statement."""
        (free,) = connection.execute(_FREE_PAGES).fetchone()
        for _ in range(free):
            connection.execute(_RELEASE_PAGE)


class FileLeases:
    """The leases of one run, as file locks in the folder `locks`. They end with the process."""

    failure = None
    intend = None

    def __init__(self, locks: Path, run: RunInfo) -> None:
        self._locks = locks
        self._holder = lock.Holder(run.pid, run.id, run.started_at)

    def start(self, connection: Connection) -> None:
        """Do nothing: the folder exists."""

    def stop(self) -> None:
        """Do nothing: each lock is released with its context."""

    @asynccontextmanager
    async def lease(
        self,
        subject: Subject,
        wait: Wait,
        transactions: Transactions,
        quota: SharedQuota | None = None,
    ) -> AsyncIterator[int]:
        """Lock the account, see `Leases`."""
        del transactions, quota
        async with lock.lease(self._locks, subject.key, self._holder, wait=wait):
            yield _NO_TOKEN

    def check(self) -> None:
        """Do nothing: a file lock lasts as long as the process."""

    def fence(self, connection: Connection, tokens: Sequence[int]) -> None:
        """Do nothing: a file lock lasts as long as the process."""
