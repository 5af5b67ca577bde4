"""The interface between a run and its ledger."""

from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from worker.ledger.records import Subject
from worker.model.accounts import AccountMemory, Status
from worker.model.ports import AccountLedger, SharedQuota
from worker.model.results import AccountResult

__all__ = ["LedgerProtocol"]


class LedgerProtocol(Protocol):
    """The ledger of a run. Each method may raise LedgerError."""

    def lease(
        self, subject: Subject, pause: Callable[[float], Awaitable[bool]], quota: SharedQuota | None = None
    ) -> AbstractAsyncContextManager[AccountLedger]:
        """Take the lease of an account. While the context lasts, no other run with this ledger writes to it.

        `pause(seconds)` waits and returns True to keep waiting for the run that has the lease. `quota` is that of the
        account's API key, which other runs may have used before.

        Raises:
            AccountBusy: another run has the lease.
        """
        ...

    async def recall(self, key: str) -> AccountMemory:
        """Return the memory of the account with this key."""
        ...

    async def record(self, subject: Subject, result: AccountResult, confirmed: Mapping[str, Status]) -> None:
        """Record the result of an account whose plan was not applied."""
        ...
