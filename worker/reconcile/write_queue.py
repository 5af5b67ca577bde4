"""Writes that wait for their turn. The ledger has the intents of a block of them before the first one leaves."""

import asyncio
from collections import deque
from collections.abc import Sequence
from datetime import datetime
from itertools import islice

from worker.model.accounts import ObservedAccount, Status
from worker.model.errors import WorkerError
from worker.model.plans import Change
from worker.model.ports import AttemptJournal

__all__ = ["Attempt", "WriteQueue"]


class Attempt:
    """The write of one number: its next request, and what is known of the requests before it.

    `sequence` counts the requests that left, `intended` those whose intent the ledger has. `deadline` is the Unix time
    at which the file stops to ask for this, None if it does not. The flags say what became of the requests so far:

    - `acknowledged`: the API accepted one, or a read showed its effect.
    - `ambiguous`: the result of some request was unknown when its answer was lost.
    - `moved`: some read has shown another status than planned. If the number is as planned again, someone else set it.
    - `superseded`: before the next request's turn, the latest read has shown it as `seen`, other than planned.
    - `conflicting`: that read showed neither the planned nor the desired status.
    - `expired`: the deadline was over when the next request's turn came.

    `held` is why the next request may not leave.
    """

    __slots__ = (
        "acknowledged",
        "ambiguous",
        "began",
        "change",
        "conflicting",
        "deadline",
        "ended",
        "error",
        "expired",
        "held",
        "intended",
        "moved",
        "phone",
        "seen",
        "sequence",
        "status",
        "superseded",
    )

    def __init__(self, change: Change) -> None:
        self.change = change
        self.phone = change.phone
        self.status = Status(change.desired)
        self.deadline = None if change.until is None else datetime.fromisoformat(change.until).timestamp()
        self.sequence = 0
        self.intended = 0
        self.acknowledged = False
        self.ambiguous = False
        self.moved = False
        self.superseded = False
        self.conflicting = False
        self.expired = False
        self.held: str | None = None
        self.seen: Status | None = None
        self.error: WorkerError | None = None
        self.began = 0.0
        self.ended = 0.0

    @property
    def intent(self) -> tuple[str, int, Status]:
        """The next request, as a journal takes it."""
        return self.phone, self.sequence + 1, self.status

    def may_leave(self, latest: ObservedAccount | None, now: float) -> bool:
        """Return True if the next request may leave, and otherwise note why it may not.

        `latest` is the last read since the plan was made, None if there was none. `now` is Unix time in seconds.
        """
        if latest is not None and self._compare(latest):
            return False
        self.expired = self.deadline is not None and self.deadline <= now
        return not self.expired and self.held is None

    def _compare(self, latest: ObservedAccount) -> bool:
        """Return True if someone else has changed the number since it was planned."""
        self.seen = latest.status(self.phone)
        if not self.moved and self.seen == self.change.observed:
            return False
        self.superseded = True
        self.conflicting = self.seen != self.status
        return True

    def resolve(self, status: Status | None) -> bool:
        """Return True if an ambiguous write is to be sent again: the number has its old status and never had another.

        `status` is that of a read after the request was given up.
        """
        if status == self.change.observed and not self.moved:
            return True
        self.conflicting = status != self.status
        self.acknowledged = not self.conflicting
        return False


class WriteQueue:
    """Attempts that wait for a worker. Their first intents are noted `block` at a time, in one transaction."""

    __slots__ = ("_block", "_journal", "_noting", "_ready", "_waiting")

    def __init__(self, attempts: Sequence[Attempt], journal: AttemptJournal, block: int) -> None:
        self._waiting = iter(attempts)
        self._ready: deque[Attempt] = deque()
        self._journal = journal
        self._block = block
        self._noting: asyncio.Task[bool] | None = None

    def take(self) -> Attempt | None:
        """Return the next attempt whose intent is noted; None if `more` must be awaited first."""
        if self._noting is None and len(self._ready) <= self._block // 2:
            self._noting = asyncio.create_task(self._note())
            self._noting.add_done_callback(_retrieve)
        return self._ready.popleft() if self._ready else None

    async def more(self) -> bool:
        """Wait until further intents are noted. Return False if there are none.

        Raises:
            LedgerError: they could not be noted.
        """
        return bool(self._ready) or (self._noting is not None and await asyncio.shield(self._noting))

    async def _note(self) -> bool:
        block = list(islice(self._waiting, self._block))
        if not block:
            return False
        await self._journal.intend([attempt.intent for attempt in block])
        for attempt in block:
            attempt.intended = 1
        self._ready += block
        self._noting = None
        return True


def _retrieve(noting: asyncio.Task[bool]) -> None:
    """Retrieve the exception of a task that no worker awaits any more, so that asyncio does not report it."""
    if not noting.cancelled():
        noting.exception()
