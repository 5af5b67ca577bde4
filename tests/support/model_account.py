"""An account in memory with the interface of the API client, and with faults set by the test."""

import asyncio
from collections.abc import Awaitable, Callable, Collection

from worker.model.accounts import NumberUse, Observed, ObservedAccount, Status
from worker.model.errors import Ambiguous, ApiError, WorkerError
from worker.model.results import Requests

__all__ = ["ModelAccount", "Recorder"]


class Recorder:
    """Log and meter that keep what they receive."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, dict[str, object]]] = []
        self.advanced = 0

    def info(self, event: str, **fields: object) -> None:
        """Keep a line."""
        self.lines.append((event, fields))

    warning = info

    def advance(self) -> None:
        """Count a number."""
        self.advanced += 1


class ModelAccount:
    """An account that `faults` and hooks disturb.

    `faults` maps a number to the errors of its next attempts. Each is raised before or after the write takes effect.
    `on_read` and `on_write` are called before each request, to change the account as an operator would.
    """

    def __init__(self, account_id: str = "1", **numbers: str) -> None:
        self.account_id = account_id
        self.statuses = {phone.lstrip("n"): Status(status) for phone, status in numbers.items()}
        self.faults: dict[str, list[tuple[ApiError | None, bool]]] = {}
        self.written: list[tuple[str, str]] = []
        self.reads = 0
        self.failing_reads: dict[int, WorkerError] = {}
        self.on_read: Callable[[int], None] = lambda _: None
        self.on_write: Callable[[str], None] = lambda _: None
        self.use = NumberUse()
        self.probe: ObservedAccount | None = None
        self.registered_counts: list[int | None] = []
        self.usage_queries: list[tuple[tuple[str, ...], int]] = []
        self.max_concurrent_writes = 0
        self.slots = 0
        self._at_once: dict[str, int] = {}
        self._halted: WorkerError | None = None

    @property
    def requests(self) -> Requests:
        """Return the numbers of reads and writes so far."""
        return Requests(self.reads, len(self.written), 0)

    def halt(self, reason: WorkerError) -> None:
        """Refuse further writes."""
        self._halted = self._halted or reason

    async def observe(self, *, is_verification: bool = False) -> ObservedAccount:
        """Return the current account after 0.1 s."""
        if self._halted is not None and not is_verification:
            raise self._halted
        self.reads += 1
        self.on_read(self.reads)
        await asyncio.sleep(0.1)
        if self.reads in self.failing_reads:
            raise self.failing_reads[self.reads]
        return ObservedAccount(
            self.account_id, {phone: Observed(phone, status) for phone, status in self.statuses.items()}
        )

    async def confirm(self, observed: ObservedAccount, registered: int | None) -> ObservedAccount:
        """Return the current account. Read again if earlier runs registered more numbers, as the client does."""
        self.registered_counts.append(registered)
        return await self.observe() if registered is not None and registered > len(observed.numbers) else observed

    async def usage(self, phones: Collection[str], hours: int) -> NumberUse:
        """Return the usage that the test set."""
        self.usage_queries.append((tuple(phones), hours))
        return self.use

    async def retry(self, attempt: Callable[[ApiError | None], Awaitable[None]]) -> None:
        """Make up to five attempts, as the client does."""
        failure: ApiError | None = None
        for _ in range(5):
            try:
                return await attempt(failure)
            except ApiError as error:
                failure = error
                if not isinstance(failure, Ambiguous) and "later" not in str(failure):
                    raise
                if self._halted is not None:
                    raise self._halted from None
        assert failure is not None
        raise failure

    async def acquire(self) -> None:
        """Take a slot. There are always free slots."""
        if self._halted is not None:
            raise self._halted
        self.slots += 1

    def release(self) -> None:
        """Return a slot."""
        self.slots -= 1

    async def put(self, phone: str, status: Status) -> None:
        """Change a number, or raise its next fault."""
        self.written.append((phone, status))
        self.on_write(phone)
        self._at_once[phone] = self._at_once.get(phone, 0) + 1
        self.max_concurrent_writes = max(self.max_concurrent_writes, self._at_once[phone])
        await asyncio.sleep(1)
        self._at_once[phone] -= 1
        faults = self.faults.get(phone)
        error, takes_effect = faults.pop(0) if faults else (None, True)
        if takes_effect:
            self.statuses[phone] = status
        if error is not None:
            raise error
