"""Read-only access to the memory of accounts, and to the use of plan files."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Final

from worker.ledger import writes
from worker.ledger.batches import Batches
from worker.ledger.database import Database
from worker.model.accounts import AccountMemory, PlanFile, PlanFileUse

__all__ = ["memory_reader", "plan_use_reader"]

_GATHER_SECONDS: Final = 0.01
"""Time in seconds in which accounts of a file are gathered: to open it takes a millisecond, and a plan has many."""


def memory_reader(database: Database) -> Callable[[str], Awaitable[AccountMemory]]:
    """Return a function that reads the memory of an account by its key. Its first call checks the ledger.

    The function raises LedgerError if the ledger cannot be read.
    """
    is_checked = False

    def read(keys: Sequence[str]) -> list[AccountMemory]:
        nonlocal is_checked
        with database.read(skip_check=is_checked) as connection:
            is_checked = True
            memories = {} if connection is None else database.recall(connection, keys)
        return [memories.get(key, AccountMemory()) for key in keys]

    async def read_in_thread(keys: Sequence[str]) -> list[AccountMemory]:
        return await asyncio.to_thread(read, keys)

    async def read_file(keys: Sequence[str]) -> list[AccountMemory]:
        # reading a file takes less time than a switch to another thread
        return read(keys)

    if database.is_remote:
        return Batches(read_in_thread, only_reads=True)
    return Batches(read_file, delay=_GATHER_SECONDS, only_reads=True)


def plan_use_reader(
    database: Database, plan: PlanFile
) -> Callable[[str, Collection[str]], Awaitable[PlanFileUse | None]]:
    """Return a function that takes the key of an account and its planned numbers.

    It returns the run that used up the plan file; None without such a run. It raises LedgerError if the ledger cannot
    be read.
    """

    def read(key: str, phones: Collection[str]) -> PlanFileUse | None:
        with database.read() as connection:
            return None if connection is None else writes.earlier_run(connection, "", key, plan, phones=phones)

    async def earlier_run(key: str, phones: Collection[str]) -> PlanFileUse | None:
        return await asyncio.to_thread(read, key, phones) if database.is_remote else read(key, phones)

    return earlier_run
