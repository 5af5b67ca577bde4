"""Read-only access to the ledger."""

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from worker.ledger import writes
from worker.ledger.schema import connect_to_read, file_version, unusable_error
from worker.model.accounts import AccountMemory
from worker.model.errors import LedgerError
from worker.model.messages import Message

__all__ = ["memory_reader", "open_read_only"]

_STEPS: Final = 10_000
"""Count of instructions of SQLite's virtual machine between checks of the time limit: a few tenths of a millisecond."""


@contextmanager
def open_read_only(
    path: Path, *, skip_check: bool = False, seconds: float | None = None
) -> Iterator[sqlite3.Connection | None]:
    """Open the ledger read-only for the duration of the context. Yield None if there is no ledger yet.

    `skip_check` skips the integrity check, for a file that was checked recently. `seconds` is the time limit for all
    queries of the context together; None is no limit.

    Raises:
        LedgerError: the ledger cannot be read, or it changed during the read.
        TimeoutError: the queries exceeded the time limit.
    """
    version_before = file_version(path)
    connection = connect_to_read(path, skip_check=skip_check)
    if connection is not None and seconds is not None:
        end = time.monotonic() + seconds
        connection.set_progress_handler(lambda: time.monotonic() > end, _STEPS)
    try:
        yield connection
        if version_before is not None and file_version(path) != version_before:
            raise LedgerError(Message("the ledger {path} changed while it was read; try again", path=str(path)))
    except sqlite3.OperationalError as error:
        if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_INTERRUPT:
            raise TimeoutError from None
        raise unusable_error(path, str(error)) from None
    except (sqlite3.Error, UnicodeDecodeError) as error:
        raise unusable_error(path, str(error)) from None
    finally:
        if connection is not None:
            connection.close()


def memory_reader(path: Path) -> Callable[[str], AccountMemory]:
    """Return a function that reads the memory of an account by its key. The first call also checks the file.

    The function raises LedgerError if the ledger cannot be read.
    """
    is_checked = False

    def recall(key: str) -> AccountMemory:
        nonlocal is_checked
        with open_read_only(path, skip_check=is_checked) as connection:
            is_checked = True
            return AccountMemory() if connection is None else writes.recall(connection, key)

    return recall
