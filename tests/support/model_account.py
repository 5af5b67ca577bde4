"""Account in memory with the interface of the API client, and with faults set beforehand."""

import asyncio
from collections.abc import Awaitable, Callable, Collection

from worker.model.accounts import NumberUse, Observed, ObservedAccount, Status
from worker.model.errors import Ambiguous, ApiError, WorkerError
from worker.model.results import Requests

__all__ = ["ModelAccount", "Unheard"]


class Unheard:
    """Log and meter that only remember."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, dict[str, object]]] = []
        self.advanced = 0

    def info(self, event: str, **fields: object) -> None:
        """Remember a line."""
        self.lines.append((event, fields))

    warning = info

    def advance(self) -> None:
        """Count a number."""
        self.advanced += 1


class ModelAccount:
    """Account that `faults` and hooks disturb.

    `faults` maps a phone to the errors of its next attempts, each raised before or after the write is carried
    out. `before` and `after` are called with the account around each read, to change it as an operator would.
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
        self.remembered: list[int | None] = []
        self.asked: list[tuple[tuple[str, ...], int]] = []
        self.most_at_once = 0
        self.slots = 0
        self._at_once: dict[str, int] = {}
        self._halted: WorkerError | None = None

    @property
    def requests(self) -> Requests:
        """Looks and writes until now."""
        return Requests(self.reads, len(self.written), 0)

    def halt(self, reason: WorkerError) -> None:
        """Refuse writes from now on."""
        self._halted = self._halted or reason

    async def observe(self, *, closing: bool = False) -> ObservedAccount:
        """Return the current account after a moment."""
        if self._halted is not None and not closing:
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
        """Return the current account; read again if earlier runs remember more numbers, as the client does."""
        self.remembered.append(registered)
        return await self.observe() if registered is not None and registered > len(observed.numbers) else observed

    async def usage(self, phones: Collection[str], hours: int) -> NumberUse:
        """Return the usage that was set beforehand."""
        self.asked.append((tuple(phones), hours))
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
        assert failure is not None
        raise failure

    async def acquire(self) -> None:
        """Take a slot; there are enough."""
        if self._halted is not None:
            raise self._halted
        self.slots += 1

    def release(self) -> None:
        """Take a slot back."""
        self.slots -= 1

    async def put(self, phone: str, status: Status) -> None:
        """Change a number, or meet its next fault."""
        self.written.append((phone, status))
        self.on_write(phone)
        self._at_once[phone] = self._at_once.get(phone, 0) + 1
        self.most_at_once = max(self.most_at_once, self._at_once[phone])
        await asyncio.sleep(1)
        self._at_once[phone] -= 1
        faults = self.faults.get(phone)
        error, carried_out = faults.pop(0) if faults else (None, True)
        if carried_out:
            self.statuses[phone] = status
        if error is not None:
            raise error
