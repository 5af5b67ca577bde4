"""What a run needs of its ledger, whether it keeps one or not."""

from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from worker.ledger.records import Subject
from worker.model.accounts import AccountMemory, Status
from worker.model.ports import AccountLedger
from worker.model.results import AccountResult

__all__ = ["Keeper"]


class Keeper(Protocol):
    """The ledger of a run. Each may raise LedgerError."""

    def hold(
        self, subject: Subject, pause: Callable[[float], Awaitable[bool]]
    ) -> AbstractAsyncContextManager[AccountLedger]:
        """A book of an account that no other run of this host writes to meanwhile.

        `pause(seconds)` waits and tells whether to go on waiting for a run that has it. Raises AccountBusy.
        """
        ...

    async def recall(self, key: str) -> AccountMemory:
        """What is remembered of an account."""
        ...

    async def record(self, subject: Subject, result: AccountResult, confirmed: Mapping[str, Status]) -> None:
        """Note the result of an account whose plan was not carried out."""
        ...
