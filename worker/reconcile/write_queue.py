"""Writes that wait for their turn: each is noted before it leaves, and kept back where a look shows that it must be."""

import asyncio
from collections import deque
from collections.abc import Sequence
from datetime import datetime
from functools import partial
from itertools import islice

from worker.model.accounts import ObservedAccount, Status
from worker.model.errors import WorkerError
from worker.model.plans import Change
from worker.model.ports import Answered, AttemptJournal

__all__ = ["Claims", "Held", "Overtaken", "Write"]


class Overtaken(WorkerError):
    """A look has shown that a number is no longer as the plan saw it, before the write's turn."""


class Held(WorkerError):
    """What leans on a number does not let go of it now, or its file has ceased to want it."""


class Write:
    """One number on its way. `settled`: while it was waiting, a look has shown it to be `seen`, other than planned.

    `moved`: some look has shown it other than planned; if it is as planned again, then by somebody else's hand.
    `held` is why it may not leave now, `lapsed` that the file wanted it until a moment that has passed.
    """

    __slots__ = (
        "acknowledged",
        "asked",
        "attempts",
        "began",
        "change",
        "doubted",
        "ended",
        "error",
        "held",
        "intended",
        "lapsed",
        "moved",
        "overtaken",
        "seen",
        "settled",
        "until",
    )

    def __init__(self, change: Change) -> None:
        self.change = change
        self.asked = Status(change.desired)
        self.attempts = 0
        self.intended = 0
        self.acknowledged = False
        self.doubted = False
        self.moved = False
        self.overtaken = False
        self.settled = False
        self.held: str | None = None
        self.lapsed = False
        self.until = None if change.until is None else datetime.fromisoformat(change.until).timestamp()
        self.seen: str | None = None
        self.error: WorkerError | None = None
        self.began = 0.0
        self.ended = 0.0

    @property
    def next_request(self) -> tuple[str, int, Status]:
        """The request that leaves next, as a journal takes it."""
        return self.change.phone, self.attempts + 1, self.asked

    async def leave(self, journal: AttemptJournal, latest: ObservedAccount | None, now: float) -> Answered:
        """One more request leaves, once it is noted, unless a look or the clock shows that it must not or need not.

        `now` is Unix time in seconds.
        """
        if latest is not None:
            self._compare(latest)
        self.lapsed = self.until is not None and self.until <= now
        if self.lapsed or self.held is not None:
            raise Held
        if self.intended == self.attempts:
            await journal.intend([self.next_request])
            self.intended += 1
        if not self.attempts:
            self.began = asyncio.get_running_loop().time()
        self.attempts += 1
        return partial(journal.answered, self.change.phone, self.attempts)

    def _compare(self, latest: ObservedAccount) -> None:
        self.seen = latest.status(self.change.phone)
        if self.moved or self.seen != self.change.observed:
            self.settled = True
            self.overtaken = self.seen != self.change.desired
            raise Overtaken


class Claims:
    """Writes whose first request is noted, a block ahead of those who send them: a block is one transaction."""

    __slots__ = ("_block", "_claim", "_journal", "_queue", "_ready")

    def __init__(self, writes: Sequence[Write], journal: AttemptJournal, block: int) -> None:
        self._queue = iter(writes)
        self._ready: deque[Write] = deque()
        self._journal = journal
        self._block = block
        self._claim: asyncio.Task[bool] | None = None

    def take(self) -> Write | None:
        """The next write that is noted, None when `more` has to be waited for."""
        if self._claim is None and len(self._ready) <= self._block // 2:
            self._claim = asyncio.create_task(self._more())
            self._claim.add_done_callback(_heard)
        return self._ready.popleft() if self._ready else None

    async def more(self) -> bool:
        """Wait until more writes are noted; False when there are none.

        Raises:
            LedgerError: they could not be noted.
        """
        return bool(self._ready) or (self._claim is not None and await asyncio.shield(self._claim))

    async def _more(self) -> bool:
        block = list(islice(self._queue, self._block))
        if not block:
            return False
        await self._journal.intend([write.next_request for write in block])
        for write in block:
            write.intended = 1
        self._ready += block
        self._claim = None
        return True


def _heard(claim: asyncio.Task[bool]) -> None:
    """Where all have stopped for another reason, nobody else hears that a claim failed."""
    if not claim.cancelled():
        claim.exception()
