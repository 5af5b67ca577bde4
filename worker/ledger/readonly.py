"""Read-only access to the memory of accounts."""

import asyncio
from collections.abc import Awaitable, Callable

from worker.ledger import writes
from worker.ledger.database import Database
from worker.model.accounts import AccountMemory

__all__ = ["memory_reader"]


def memory_reader(database: Database) -> Callable[[str], Awaitable[AccountMemory]]:
    """Return a function that reads the memory of an account by its key. Its first call checks the ledger.

    The function raises LedgerError if the ledger cannot be read.
    """
    is_checked = False

    def read(key: str) -> AccountMemory:
        nonlocal is_checked
        with database.read(skip_check=is_checked) as connection:
            is_checked = True
            return AccountMemory() if connection is None else writes.recall(connection, key)

    async def recall(key: str) -> AccountMemory:
        # reading a file takes less time than a switch to another thread
        return await asyncio.to_thread(read, key) if database.is_remote else read(key)

    return recall
