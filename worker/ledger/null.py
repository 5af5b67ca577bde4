"""A ledger without a file, for runs that are nobody's history: nothing is locked, kept or remembered."""

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager

from worker.ledger.records import Subject
from worker.model.accounts import AccountMemory, ObservedAccount, PlanFile, PlanFileUse, Status
from worker.model.errors import ApiError
from worker.model.plans import AccountPlan
from worker.model.results import AccountResult

__all__ = ["Nothing"]


class Nothing:
    """Takes everything and keeps nothing; as a ledger and as a page of one. `recall` may remember for it."""

    def __init__(self, recall: Callable[[str], AccountMemory] | None = None) -> None:
        self._recall = recall

    @asynccontextmanager
    async def hold(self, subject: Subject, pause: Callable[[float], Awaitable[bool]]) -> AsyncIterator["Nothing"]:
        """Itself; nobody waits."""
        del subject, pause
        yield self

    async def recall(self, key: str) -> AccountMemory:
        """What is remembered elsewhere."""
        return AccountMemory() if self._recall is None else self._recall(key)

    async def record(self, subject: Subject, result: AccountResult, confirmed: Mapping[str, Status]) -> None:
        """Nothing."""

    async def earlier_run(self, plan: PlanFile, phones: Collection[str]) -> PlanFileUse | None:
        """Return None: no run is known."""

    async def registered(self) -> int | None:
        """Nothing."""
        return None

    async def resume(self, observed: ObservedAccount) -> AccountMemory:
        """Nothing."""
        del observed
        return AccountMemory()

    async def begin(self, plan: AccountPlan, fingerprint: str) -> None:
        """Nothing."""

    async def intend(self, requests: Sequence[tuple[str, int, Status]]) -> None:
        """Nothing."""

    def answered(self, phone: str, number: int, error: ApiError | None) -> None:
        """Nothing."""

    async def finish(self, result: AccountResult, confirmed: Mapping[str, Status]) -> None:
        """Nothing."""
