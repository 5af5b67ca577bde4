"""One account's writes: activations before deactivations, each doubt settled by a look, each write proven by one.

It knows neither HTTP nor files: what it needs of the outside is in `worker.ports`.
"""

import asyncio
from collections import deque
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import islice
from typing import Final

from msgspec import Struct

from worker.documents import Action, Change, NumberError, NumberResult, Outcome
from worker.errors import (
    AccountRejected,
    ActivationsFailed,
    Ambiguous,
    ApiError,
    ConnectionFailed,
    DeadlineExceeded,
    Interrupted,
    LedgerError,
    NotWritable,
    NumberRejected,
    RateLimited,
    WorkerError,
)
from worker.looks import SharedLooks
from worker.model import ObservedAccount, Status
from worker.ports import Answered, Journal, Meter, Writer

__all__ = ["Pace", "Writes"]

_CLOSING_SECONDS: Final = 25.0
"""How long the look that proves a stopped account's writes may take."""

_BLOCK: Final = 8
"""Intents that are noted at once, for each write under way: fewer cost throughput, more tell less after a crash."""


class Pace(Struct, frozen=True):
    """How many writes of an account are under way at once, and how many seconds they may take in all."""

    concurrency: int
    deadline_seconds: float


class _Overtaken(WorkerError):
    """A look has shown that a number is no longer as the plan saw it, before the write's turn."""


class _Write:
    """One number on its way. `settled`: while it was waiting, a look has shown it to be `seen`, other than planned.

    `moved`: some look has shown it other than planned; if it is as planned again, then by somebody else's hand.
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
        "intended",
        "moved",
        "overtaken",
        "seen",
        "settled",
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
        self.seen: str | None = None
        self.error: WorkerError | None = None
        self.began = 0.0
        self.ended = 0.0

    @property
    def next_request(self) -> tuple[str, int, Status]:
        """The request that leaves next, as a journal takes it."""
        return self.change.phone, self.attempts + 1, self.asked

    async def leave(self, journal: Journal, latest: ObservedAccount | None) -> Answered:
        """One more request leaves, once it is noted, unless the latest look shows that there is nothing to write."""
        if latest is not None:
            self._compare(latest)
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
            raise _Overtaken


class _Claims:
    """Writes whose first request is noted, a block ahead of those who send them: a block is one transaction."""

    __slots__ = ("_block", "_claim", "_journal", "_queue", "_ready")

    def __init__(self, writes: Sequence[_Write], journal: Journal, block: int) -> None:
        self._queue = iter(writes)
        self._ready: deque[_Write] = deque()
        self._journal = journal
        self._block = block
        self._claim: asyncio.Task[bool] | None = None

    def take(self) -> _Write | None:
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


class Writes:
    """Carries out the writes of one account's plan.

    `observed` is the look that the writes were planned by. `least_active` is how many ACTIVE numbers must be left when
    activations fail that the deactivations lean on; 0 lets every deactivation through.
    """

    def __init__(
        self,
        changes: Sequence[Change],
        api: Writer,
        observed: ObservedAccount,
        least_active: int,
        *,
        journal: Journal,
        meter: Meter,
    ) -> None:
        self._writes = [_Write(change) for change in changes]
        self._api = api
        self._active = observed.active
        self._least_active = least_active if self._active >= least_active else 0
        self._journal = journal
        self._meter = meter
        self._under_way: set[_Write] = set()
        self._rereads = SharedLooks(api, self._noticed)
        self._final: ObservedAccount | None = None
        self.stopped: WorkerError | None = None
        """Why not everything was tried: credentials, the deadline, a signal; None where everything was."""

    async def carry_out(self, pace: Pace) -> None:
        """Send the writes, then look once more to prove them. Errors end up in `results` and `stopped`."""
        loop = asyncio.get_running_loop()
        late = DeadlineExceeded(
            f"stopped when the account's {pace.deadline_seconds:g} seconds were over; run again to go on"
        )
        deadline = loop.call_later(pace.deadline_seconds, self._api.halt, late)
        try:
            activations = [write for write in self._writes if write.change.action is Action.ACTIVATE]
            deactivations = [write for write in self._writes if write.change.action is Action.DEACTIVATE]
            if activations:
                await self._send(activations, pace.concurrency)
            if deactivations and await self._may_deactivate(activations, len(deactivations)):
                await self._send(deactivations, pace.concurrency)
        finally:
            deadline.cancel()
        if any(write.attempts for write in self._writes):
            await self._prove()

    def results(self) -> Iterator[NumberResult]:
        """What became of each number."""
        return map(self._conclude, self._writes)

    async def _send(self, writes: Sequence[_Write], concurrency: int) -> None:
        # one goes ahead, so that credentials without the right to write cost one request
        await self._write(writes[0])
        claims = _Claims(writes[1:], self._journal, _BLOCK * concurrency)
        async with asyncio.TaskGroup() as group:
            for _ in range(min(concurrency, len(writes) - 1)):
                group.create_task(self._work(claims))

    async def _work(self, claims: _Claims) -> None:
        try:
            while self.stopped is None:
                write = claims.take()
                if write is not None:
                    await self._write(write)
                elif not await claims.more():
                    return
        except LedgerError as error:
            self._halt(error)

    async def _write(self, write: _Write) -> None:
        if self.stopped is not None:
            return
        self._under_way.add(write)
        try:
            await self._api.write(
                write.change.phone,
                write.asked,
                settle=partial(self._settle, write),
                intend=lambda: write.leave(self._journal, self._rereads.latest),
            )
            write.acknowledged = not write.overtaken and write.error is None
        except _Overtaken:
            pass
        except AccountRejected as error:
            self._stop(write, error)
        except ApiError as error:
            write.error = error
            write.doubted = write.doubted or isinstance(error, Ambiguous)
        except WorkerError as reason:
            self._stop(write, reason)
        finally:
            self._under_way.discard(write)
            write.ended = asyncio.get_running_loop().time()
            self._meter.advance()

    def _noticed(self, account: ObservedAccount) -> None:
        for write in self._under_way:
            write.moved |= account.status(write.change.phone) != write.change.observed

    def _stop(self, write: _Write, reason: WorkerError) -> None:
        write.error = write.error or reason
        refused = isinstance(reason, ApiError) and reason.http_status is not None
        # an attempt before the stop may have been carried out, whatever was answered
        write.doubted = write.doubted or (write.attempts > 0 and not refused)
        self._halt(reason)

    def _halt(self, reason: WorkerError) -> None:
        if self.stopped is None:
            self.stopped = reason
            self._api.halt(reason)

    async def _settle(self, write: _Write) -> bool:
        """Whether a write in doubt is to be sent again: its number has its old status, and never had another."""
        write.doubted = True
        try:
            account = await self._rereads.look()
        except ApiError as error:
            if isinstance(error, AccountRejected):
                raise
            write.error = error
            return False
        status = account.status(write.change.phone)
        if status == write.change.observed and not write.moved:
            return True
        write.overtaken = status != write.change.desired
        return False

    async def _may_deactivate(self, activations: Sequence[_Write], deactivations: int) -> bool:
        """Whether enough numbers stay ACTIVE even if some activations failed; what is leaned on is proven first."""
        if self.stopped is not None or self._active - deactivations >= self._least_active:
            return True
        try:
            active = (await self._rereads.look()).active
        except AccountRejected as error:
            self.stopped = error
            return False
        except WorkerError:
            active = self._active
        if active - deactivations >= self._least_active:
            return True
        failed = sum(not write.acknowledged for write in activations)
        self.stopped = ActivationsFailed(
            f"{failed} activations did not succeed, and without them fewer than {self._least_active} numbers would "
            "stay ACTIVE: the deactivations were not tried"
        )
        return False

    async def _prove(self) -> None:
        limit = _CLOSING_SECONDS if self.stopped is not None else None
        try:
            async with asyncio.timeout(limit):
                self._final = await self._api.observe(closing=True)
        except AccountRejected as error:
            self.stopped = self.stopped or error
        except (ApiError, TimeoutError):
            return

    def _conclude(self, write: _Write) -> NumberResult:
        change = write.change
        after: str | None = None if self._final is None else self._final.status(change.phone)
        if write.settled and self._final is None:
            after = write.seen
        outcome, error = self._judge(write, after)
        if not write.attempts and not write.settled:
            after = change.observed
        return NumberResult(
            phone=change.phone,
            action=change.action,
            desired=change.desired,
            before=change.observed,
            after=after,
            outcome=outcome,
            attempts=write.attempts,
            error=error,
            duration_ms=round((write.ended - write.began) * 1000) if write.attempts else 0,
        )

    def _judge(self, write: _Write, after: str | None) -> tuple[Outcome, NumberError | None]:
        change = write.change
        told = None if write.error is None else write.error.number_error
        if write.settled and not write.doubted:
            # nothing of ours was carried out: it is what others made of it
            return (Outcome.UNCHANGED, None) if after == change.desired else _overtaken(after)
        if not write.attempts:
            return Outcome.NOT_ATTEMPTED, told or (None if self.stopped is None else self.stopped.number_error)
        if self._final is not None and after == change.desired and not write.overtaken:
            # refused or not, it was asked for and it shows, unless nothing ever left or the quota was used up
            ours = write.acknowledged or write.doubted or not isinstance(write.error, ConnectionFailed | RateLimited)
            return (Outcome.CHANGED if ours else Outcome.UNCHANGED), None
        if isinstance(write.error, NumberRejected):
            return (Outcome.BLOCKED if isinstance(write.error, NotWritable) else Outcome.FAILED), told
        landed = write.acknowledged or write.doubted
        if self._final is None:
            unproven = NumberError("Unproven", "the account could not be read after the write; plan again to see")
            return (Outcome.UNVERIFIED, told or unproven) if landed else (Outcome.FAILED, told)
        if write.overtaken or after not in {change.observed, change.desired}:
            return _overtaken(after)
        if write.acknowledged:
            lost = NumberError("Unproven", f"the API accepted the write, yet the number is still {after}; plan again")
            return Outcome.UNVERIFIED, lost
        if isinstance(write.error, Interrupted | DeadlineExceeded) and told is not None:
            tries = f"{write.attempts} attempt{'s' * (write.attempts != 1)} did not succeed"
            told = NumberError(told.code, f"{tries} until it was {told.message}")
        return Outcome.FAILED, told


def _overtaken(after: str | None) -> tuple[Outcome, NumberError]:
    seen = "gone" if after is None else after
    return Outcome.CONFLICT, NumberError("Conflict", f"someone else changed the number meanwhile: it is {seen}")
