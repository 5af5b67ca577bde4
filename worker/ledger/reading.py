"""What the ledger tells those who only read it; nothing here changes the file."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from worker.ledger import store
from worker.ledger.schema import connect_to_read, unusable
from worker.model import Memory

__all__ = ["reading", "recollection"]


@contextmanager
def reading(path: Path, *, checked: bool = False) -> Iterator[sqlite3.Connection | None]:
    """A connection that can only read, None where there is no ledger yet. `checked`: it was sound a moment ago.

    Raises:
        LedgerError: the ledger cannot be read, now or while it is.
    """
    connection = connect_to_read(path, checked=checked)
    try:
        yield connection
    except (sqlite3.Error, UnicodeDecodeError) as error:
        raise unusable(path, str(error)) from None
    finally:
        if connection is not None:
            connection.close()


def recollection(path: Path) -> Callable[[str], Memory]:
    """What the ledger remembers of an account, by its key; the file is opened when it is asked, and checked once.

    The function raises LedgerError where it cannot be read.
    """
    checked = False

    def recall(key: str) -> Memory:
        nonlocal checked
        with reading(path, checked=checked) as connection:
            checked = True
            return Memory() if connection is None else store.recall(connection, key)

    return recall
