"""The writes of one account: activations before deactivations, and one read in the end that verifies all of them.

The executor knows neither HTTP nor files. What it needs of them is in `worker.model.ports`.
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
    DeadlineExceeded,
    LedgerError,
    WorkerError,
)
from worker.model.messages import Message
from worker.model.plans import Action, Change
from worker.model.ports import AttemptJournal, ProgressMeter, WritableAccount
from worker.model.results import NumberResult
from worker.plan.holds import as_found, leaning, swap_reason, unreached
from worker.reconcile.attempt import WriteAttempt
from worker.reconcile.shared_reads import SharedReads
from worker.reconcile.write_queue import WriteQueue

__all__ = ["Executor", "Needs", "Pace"]

_VERIFY_SECONDS: Final = 25.0
"""How long the verification read of an account that was stopped may take."""

_BLOCK: Final = 8
"""Intents that are noted at once, for each write in flight. Fewer cost throughput; after a crash more say less."""


class Pace(Struct, frozen=True):
    """How many writes of an account are in flight at once, and how many seconds all of them may take.

    `wall` returns Unix time in seconds: a write that is asked for until some time does not leave after it.
    """

    concurrency: int
    deadline_seconds: float
    wall: Callable[[], float] = time.time


class Needs(Struct, frozen=True):
    """What must stay ACTIVE: `least_active` numbers of the account, and the minimum of each group.

    `gone` are numbers that may yet turn INACTIVE by a request of a run that died, whatever a read shows. If
    `pair_swaps` is `hold`, deactivations wait for a read that shows the number of every activation ACTIVE.
    """

    least_active: int = 0
    groups: tuple[Group, ...] = ()
    gone: frozenset[str] = frozenset()
    pair_swaps: PairSwaps = "warn"


class Executor:
    """Carries out the writes of one account's plan.

    `observed` is the read that the writes were planned by. `needs` holds deactivations back if activations fail.
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
        self._attempts = [WriteAttempt(change) for change in changes]
        self._api = api
        self._observed = observed
        self._least_active = needs.least_active
        self._groups = needs.groups
        self._gone = needs.gone
        self._paired = needs.pair_swaps == "hold"
        self._deactivating = False
        self._wall: Callable[[], float] = time.time
        self._journal = journal
        self._meter = meter
        self._in_flight: set[WriteAttempt] = set()
        self._reads = SharedReads(api, self._on_read)
        self._final: ObservedAccount | None = None
        self.stopped: WorkerError | None = None
        """Why some writes were not attempted: credentials, the deadline or a signal; None if all were."""

    @property
    def seen(self) -> ObservedAccount:
        """The account as it was read last: to verify the writes, or else to plan them."""
        return self._observed if self._final is None else self._final

    async def carry_out(self, pace: Pace) -> None:
        """Send the writes, then verify them by one more read. Errors end up in `results` and `stopped`."""
        loop = asyncio.get_running_loop()
        self._wall = pace.wall
        late = DeadlineExceeded(
            Message(
                "stopped at the account's deadline of {seconds:g} seconds; run again to continue",
                seconds=pace.deadline_seconds,
            )
        )
        deadline = loop.call_later(pace.deadline_seconds, self._api.halt, late)
        try:
            activations = [attempt for attempt in self._attempts if attempt.change.action is Action.ACTIVATE]
            deactivations = [attempt for attempt in self._attempts if attempt.change.action is Action.DEACTIVATE]
            if activations:
                await self._send_all(activations, pace.concurrency)
            if deactivations and await self._may_deactivate(activations, len(deactivations)):
                await self._send_all(await self._permitted(deactivations), pace.concurrency)
        finally:
            deadline.cancel()
        if any(attempt.sequence for attempt in self._attempts):
            await self._verify()

    def results(self) -> Iterator[NumberResult]:
        """Yield the result of each number."""
        final = self._final
        for attempt in self._attempts:
            after = None if final is None else final.status(attempt.phone)
            yield attempt.result(after, self.stopped, verified=final is not None)

    async def _send_all(self, attempts: Sequence[WriteAttempt], concurrency: int) -> None:
        if not attempts:
            return
        # the first one goes alone, so that credentials without write permission cost one request
        await self._write(attempts[0])
        queue = WriteQueue(attempts[1:], self._journal, _BLOCK * concurrency)
        async with asyncio.TaskGroup() as group:
            for _ in range(min(concurrency, len(attempts) - 1)):
                group.create_task(self._work(queue))

    async def _work(self, queue: WriteQueue) -> None:
        try:
            while self.stopped is None:
                attempt = queue.take()
                if attempt is not None:
                    await self._write(attempt)
                elif not await queue.more():
                    return
        except LedgerError as error:
            self._halt(error)

    async def _write(self, attempt: WriteAttempt) -> None:
        if self.stopped is not None:
            return
        self._in_flight.add(attempt)
        try:
            await self._api.retry(partial(self._send, attempt))
        except AccountRejected as error:
            self._stop(attempt, error)
        except ApiError as error:
            attempt.error = error
            attempt.ambiguous = attempt.ambiguous or isinstance(error, Ambiguous)
        except WorkerError as reason:
            self._stop(attempt, reason)
        finally:
            self._in_flight.discard(attempt)
            attempt.ended = asyncio.get_running_loop().time()
            self._meter.advance()

    async def _send(self, attempt: WriteAttempt, failure: ApiError | None) -> None:
        """Acquire a slot, note the intent, sign and send, note the answer. `failure` is that of the request before.

        An ambiguous failure is resolved by a read first. A request that may not leave gives its slot back.
        """
        if isinstance(failure, Ambiguous) and not await self._resolve(attempt):
            return
        await self._api.acquire()
        try:
            leaves = attempt.may_leave(self._reads.latest, self._wall())
            if leaves and attempt.intended == attempt.sequence:
                await self._journal.intend([attempt.intent])
                attempt.intended += 1
        except BaseException:
            self._api.release()
            raise
        if not leaves:
            self._api.release()
            return
        if not attempt.sequence:
            attempt.began = asyncio.get_running_loop().time()
        attempt.sequence += 1
        try:
            await self._api.put(attempt.phone, attempt.status)
        except ApiError as error:
            self._journal.answered(attempt.phone, attempt.sequence, error)
            raise
        self._journal.answered(attempt.phone, attempt.sequence, None)
        attempt.acknowledged = True

    def _on_read(self, account: ObservedAccount) -> None:
        for attempt in self._in_flight:
            attempt.moved |= account.status(attempt.phone) != attempt.change.observed
        if self._deactivating:
            self._hold_back(account)

    def _hold_back(self, account: ObservedAccount) -> None:
        """Hold the deactivations that groups and swaps do not allow, for the account as the last read shows it.

        Those that were sent come first, as they may be carried out; of these a hold keeps back a second request only.
        """
        away = [attempt for attempt in self._attempts if attempt.change.action is Action.DEACTIVATE]
        sent = {attempt.phone for attempt in away if attempt.sequence and attempt.ended}
        waiting = sorted((attempt for attempt in away if not attempt.ended), key=lambda attempt: not attempt.sequence)
        reasons = self._reasons([attempt.phone for attempt in waiting], account, sent)
        for attempt in waiting:
            attempt.held = attempt.held or reasons.get(attempt.phone)

    def _reasons(
        self, phones: Sequence[str], account: ObservedAccount, sent: Collection[str] = ()
    ) -> Mapping[str, str]:
        """Return the deactivations to hold, each with the reason. Those that were `sent` count as carried out."""
        if self._paired:
            activations = (attempt.change for attempt in self._attempts if attempt.change.action is Action.ACTIVATE)
            lost = unreached(as_found(change, account) for change in activations)
            if lost:
                return dict.fromkeys(phones, swap_reason(lost))
        return leaning(phones, account.active_phones.difference(self._gone, sent), self._groups)

    async def _permitted(self, deactivations: list[WriteAttempt]) -> list[WriteAttempt]:
        """Return the deactivations that groups and swaps allow, after a read if activations must be verified first."""
        if not (self._groups or self._paired) or self.stopped is not None:
            return deactivations
        # a read while activations are in flight does not show how they end
        self._deactivating = True
        known = self._reads.latest or self._observed
        if self._reasons([attempt.phone for attempt in deactivations], known):
            try:
                await self._reads.read()
            except AccountRejected as error:
                self._halt(error)
            except WorkerError:
                self._hold_back(known)
        return [attempt for attempt in deactivations if attempt.held is None]

    def _stop(self, attempt: WriteAttempt, reason: WorkerError) -> None:
        attempt.error = attempt.error or reason
        refused = isinstance(reason, ApiError) and reason.http_status is not None
        # a request before the stop may have been carried out, whatever the answer was
        attempt.ambiguous = attempt.ambiguous or (attempt.sequence > 0 and not refused)
        self._halt(reason)

    def _halt(self, reason: WorkerError) -> None:
        if self.stopped is None:
            self.stopped = reason
            self._api.halt(reason)

    async def _resolve(self, attempt: WriteAttempt) -> bool:
        """Return True if an attempt whose last request is ambiguous is to be sent again, by a read of the account."""
        attempt.ambiguous = True
        try:
            account = await self._reads.read()
        except AccountRejected:
            raise
        except ApiError as error:
            attempt.error = error
            return False
        return attempt.resolve(account.status(attempt.phone))

    async def _may_deactivate(self, activations: Sequence[WriteAttempt], deactivations: int) -> bool:
        """Return True if enough numbers stay ACTIVE, by a read of the account if that depends on the activations."""
        active = self._observed.active
        least = self._least_active if active >= self._least_active else 0
        if self.stopped is not None or active - deactivations >= least:
            return True
        try:
            active = (await self._reads.read()).active
        except AccountRejected as error:
            self.stopped = error
            return False
        except WorkerError:
            pass
        if active - deactivations >= least:
            return True
        failed = sum(not attempt.acknowledged for attempt in activations)
        message = Message.plural(
            "{count} activation failed, and without it fewer than {minimum} numbers would stay ACTIVE: "
            "no deactivation was attempted",
            "{count} activations failed, and without them fewer than {minimum} numbers would stay ACTIVE: "
            "no deactivation was attempted",
            failed,
            minimum=least,
        )
        self.stopped = ActivationsFailed(message)
        return False

    async def _verify(self) -> None:
        limit = _VERIFY_SECONDS if self.stopped is not None else None
        try:
            async with asyncio.timeout(limit):
                self._final = await self._api.observe(closing=True)
        except AccountRejected as error:
            self.stopped = self.stopped or error
        except (ApiError, TimeoutError):
            return
