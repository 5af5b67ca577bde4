"""A ledger without a file, for runs without history. It locks nothing and records nothing."""

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager

from worker.ledger.records import Subject
from worker.model.accounts import AccountMemory, ObservedAccount, PlanFile, PlanFileUse, Status
from worker.model.errors import ApiError
from worker.model.plans import AccountPlan
from worker.model.ports import SharedQuota
from worker.model.results import AccountResult

__all__ = ["NullLedger"]


class NullLedger:
    """A ledger of a run, and of each of its accounts, that records nothing.

    `recall` returns the memory of an account by its key; None for empty memories.
    """

    def __init__(self, recall: Callable[[str], Awaitable[AccountMemory]] | None = None) -> None:
        self._recall = recall

    @asynccontextmanager
    async def lease(
        self, subject: Subject, pause: Callable[[float], Awaitable[bool]], quota: SharedQuota | None = None
    ) -> AsyncIterator["NullLedger"]:
        """Yield this ledger without taking a lease."""
        del subject, pause, quota
        yield self

    async def recall(self, key: str) -> AccountMemory:
        """Return the memory of an account, from the function that was passed in."""
        return AccountMemory() if self._recall is None else await self._recall(key)

    async def record(self, subject: Subject, result: AccountResult, confirmed: Mapping[str, Status]) -> None:
        """Do nothing."""

    async def earlier_run(self, plan: PlanFile, phones: Collection[str]) -> PlanFileUse | None:
        """Return None: no run is known."""

    async def registered(self) -> int | None:
        """Return None: no run is known."""
        return None

    async def resume(self, observed: ObservedAccount) -> AccountMemory:
        """Return an empty memory."""
        del observed
        return AccountMemory()

    async def record_plan(self, plan: AccountPlan, fingerprint: str) -> None:
        """Do nothing."""

    async def intend(self, requests: Sequence[tuple[str, int, Status]]) -> None:
        """Do nothing."""

    def check_lease(self) -> None:
        """Do nothing."""

    def record_response(self, phone: str, number: int, error: ApiError | None) -> None:
        """Do nothing."""

    async def finish(self, result: AccountResult, confirmed: Mapping[str, Status]) -> None:
        """Do nothing."""
