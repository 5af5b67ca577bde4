"""One account's writes: activations before deactivations, each doubt settled by a look, each write proven by one.

It knows neither HTTP nor files: what it needs of the outside is in `worker.model.ports`.
"""

import asyncio
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import partial
from typing import Final

from msgspec import Struct

from worker.model.accounts import Group, ObservedAccount, PairSwaps
from worker.model.errors import (
    AccountRejected,
    ActivationsFailed,
    Ambiguous,
    ApiError,
    ConnectionFailed,
    DeadlineExceeded,
    Interrupted,
    LedgerError,
    NotWritable,
    NumberError,
    NumberRejected,
    RateLimited,
    WorkerError,
)
from worker.model.plans import Action, Change
from worker.model.ports import AttemptJournal, ProgressMeter, WritableAccount
from worker.model.results import NumberResult, Outcome
from worker.plan.holds import leaning
from worker.plan.swaps import as_found, hold_reason, unreached
from worker.reconcile.results import over
from worker.reconcile.shared_reads import SharedLooks
from worker.reconcile.write_queue import Claims, Held, Overtaken, Write

__all__ = ["Needs", "Pace", "Writes"]

_CLOSING_SECONDS: Final = 25.0
"""How long the look that proves a stopped account's writes may take."""

_BLOCK: Final = 8
"""Intents that are noted at once, for each write under way: fewer cost throughput, more tell less after a crash."""


class Pace(Struct, frozen=True):
    """How many writes of an account are under way at once, and how many seconds they may take in all.

    `wall` is Unix time in seconds: what a file wants until a moment does not leave after it.
    """

    concurrency: int
    deadline_seconds: float
    wall: Callable[[], float] = time.time


class Needs(Struct, frozen=True):
    """What must stay ACTIVE: so many numbers of the account, 0 lets all go, and so many of each group.

    `gone` are numbers that may yet turn INACTIVE by a request of a run that died, whatever a look shows. If
    `pair_swaps` is `hold`, deactivations wait for a read that shows the number of every activation ACTIVE.
    """

    least_active: int = 0
    groups: tuple[Group, ...] = ()
    gone: frozenset[str] = frozenset()
    pair_swaps: PairSwaps = "warn"


class Writes:
    """Carries out the writes of one account's plan.

    `observed` is the look that the writes were planned by. `needs` is what must stay ACTIVE when activations fail that
    the deactivations lean on.
    """

    def __init__(
        self,
        changes: Sequence[Change],
        api: WritableAccount,
        observed: ObservedAccount,
        needs: Needs,
        *,
        journal: AttemptJournal,
        meter: ProgressMeter,
    ) -> None:
        self._writes = [Write(change) for change in changes]
        self._api = api
        self._observed = observed
        self._active = observed.active
        self._least_active = needs.least_active if self._active >= needs.least_active else 0
        self._groups = needs.groups
        self._gone = needs.gone
        self._paired = needs.pair_swaps == "hold"
        self._deactivating = False
        self._wall: Callable[[], float] = time.time
        self._journal = journal
        self._meter = meter
        self._under_way: set[Write] = set()
        self._rereads = SharedLooks(api, self._noticed)
        self._final: ObservedAccount | None = None
        self.stopped: WorkerError | None = None
        """Why not everything was tried: credentials, the deadline, a signal; None where everything was."""

    @property
    def seen(self) -> ObservedAccount:
        """The account as it was seen last: by the look that proved the writes, or else that they were planned by."""
        return self._observed if self._final is None else self._final

    async def carry_out(self, pace: Pace) -> None:
        """Send the writes, then look once more to prove them. Errors end up in `results` and `stopped`."""
        loop = asyncio.get_running_loop()
        self._wall = pace.wall
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
                await self._send(await self._spared(deactivations), pace.concurrency)
        finally:
            deadline.cancel()
        if any(write.attempts for write in self._writes):
            await self._prove()

    def results(self) -> Iterator[NumberResult]:
        """What became of each number."""
        return map(self._conclude, self._writes)

    async def _send(self, writes: Sequence[Write], concurrency: int) -> None:
        if not writes:
            return
        # one goes ahead, so that credentials without the right to write cost one request
        await self._write(writes[0])
        claims = Claims(writes[1:], self._journal, _BLOCK * concurrency)
        async with asyncio.TaskGroup() as group:
            for _ in range(min(concurrency, len(writes) - 1)):
                group.create_task(self._work(claims))

    async def _work(self, claims: Claims) -> None:
        try:
            while self.stopped is None:
                write = claims.take()
                if write is not None:
                    await self._write(write)
                elif not await claims.more():
                    return
        except LedgerError as error:
            self._halt(error)

    async def _write(self, write: Write) -> None:
        if self.stopped is not None:
            return
        self._under_way.add(write)
        try:
            await self._api.write(
                write.change.phone,
                write.asked,
                settle=partial(self._settle, write),
                intend=lambda: write.leave(self._journal, self._rereads.latest, self._wall()),
            )
            write.acknowledged = not write.overtaken and write.error is None
        except (Overtaken, Held):
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
        if self._deactivating:
            self._hold_back(account)

    def _hold_back(self, account: ObservedAccount) -> None:
        """Hold the deactivations that groups and swaps do not allow, for the account as the last read shows it.

        Those that were sent come first, as they may be carried out; of these a hold keeps back a second request only.
        """
        away = [write for write in self._writes if write.change.action is Action.DEACTIVATE]
        sent = {write.change.phone for write in away if write.attempts and write.ended}
        waiting = sorted((write for write in away if not write.ended), key=lambda write: not write.attempts)
        reasons = self._reasons([write.change.phone for write in waiting], account, sent)
        for write in waiting:
            write.held = write.held or reasons.get(write.change.phone)

    def _reasons(
        self, phones: Sequence[str], account: ObservedAccount, sent: Collection[str] = ()
    ) -> Mapping[str, str]:
        """Return the deactivations to hold, each with the reason. Those that were `sent` count as carried out."""
        if self._paired:
            activations = (write.change for write in self._writes if write.change.action is Action.ACTIVATE)
            lost = unreached(as_found(change, account) for change in activations)
            if lost:
                return dict.fromkeys(phones, hold_reason(lost))
        return leaning(phones, account.active_phones.difference(self._gone, sent), self._groups)

    async def _spared(self, deactivations: list[Write]) -> list[Write]:
        """The deactivations that no group leans on; what it leans on instead is proven first, if need be."""
        if not (self._groups or self._paired) or self.stopped is not None:
            return deactivations
        # what a look shows while activations are still under way says nothing of how they end
        self._deactivating = True
        known = self._rereads.latest or self._observed
        if self._reasons([write.change.phone for write in deactivations], known):
            try:
                await self._rereads.look()
            except AccountRejected as error:
                self._halt(error)
            except WorkerError:
                self._hold_back(known)
        return [write for write in deactivations if write.held is None]

    def _stop(self, write: Write, reason: WorkerError) -> None:
        write.error = write.error or reason
        refused = isinstance(reason, ApiError) and reason.http_status is not None
        # an attempt before the stop may have been carried out, whatever was answered
        write.doubted = write.doubted or (write.attempts > 0 and not refused)
        self._halt(reason)

    def _halt(self, reason: WorkerError) -> None:
        if self.stopped is None:
            self.stopped = reason
            self._api.halt(reason)

    async def _settle(self, write: Write) -> bool:
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

    async def _may_deactivate(self, activations: Sequence[Write], deactivations: int) -> bool:
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

    def _conclude(self, write: Write) -> NumberResult:
        change = write.change
        after: str | None = None if self._final is None else self._final.status(change.phone)
        if write.settled and self._final is None:
            after = write.seen
        outcome, error = self._judge(write, after)
        if write.held is not None and (not write.attempts or after == change.observed):
            outcome, error = Outcome.HELD, NumberError("Held", write.held)
        if write.lapsed and (not write.attempts or after == change.observed):
            outcome, error = Outcome.CONFLICT, over(change)
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

    def _judge(self, write: Write, after: str | None) -> tuple[Outcome, NumberError | None]:
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
