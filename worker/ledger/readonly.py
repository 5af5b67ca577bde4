"""Read-only access to the ledger; nothing here changes the file."""

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from worker.ledger import writes
from worker.ledger.schema import connect_to_read, frozen, unusable
from worker.model.accounts import AccountMemory
from worker.model.errors import LedgerError
from worker.model.messages import Message

__all__ = ["reading", "recollection"]

_STEPS: Final = 10_000
"""Instructions of SQLite's machine, some tenths of a millisecond, after which the time is looked at."""


@contextmanager
def reading(path: Path, *, checked: bool = False, seconds: float | None = None) -> Iterator[sqlite3.Connection | None]:
    """Open the ledger read-only; None if there is none yet. `checked`: it was sound a moment ago.

    `seconds` is how long questions may take altogether, for ever where it is None.

    Raises:
        LedgerError: the ledger cannot be read, now or while it is.
        TimeoutError: that took too long.
    """
    before = frozen(path)
    connection = connect_to_read(path, checked=checked)
    if connection is not None and seconds is not None:
        end = time.monotonic() + seconds
        connection.set_progress_handler(lambda: time.monotonic() > end, _STEPS)
    try:
        yield connection
        if before is not None and frozen(path) != before:
            raise LedgerError(Message("the ledger {path} changed while it was read; try again", path=str(path)))
    except sqlite3.OperationalError as error:
        if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_INTERRUPT:
            raise TimeoutError from None
        raise unusable(path, str(error)) from None
    except (sqlite3.Error, UnicodeDecodeError) as error:
        raise unusable(path, str(error)) from None
    finally:
        if connection is not None:
            connection.close()


def recollection(path: Path) -> Callable[[str], AccountMemory]:
    """Return a function that recalls an account by its key. It opens the file on each call, and checks it once.

    The function raises LedgerError where it cannot be read.
    """
    checked = False

    def recall(key: str) -> AccountMemory:
        nonlocal checked
        with reading(path, checked=checked) as connection:
            checked = True
            return AccountMemory() if connection is None else writes.recall(connection, key)

    return recall
