"""Executor of one account's writes: activations, then deactivations, then one read that verifies all of them.

The executor depends on neither HTTP nor files. It uses them through the protocols of `worker.model.ports`.
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
from worker.plan.holds import activation_obstacles, dropped_change, group_holds, swap_reason
from worker.reconcile.attempt import WriteAttempt
from worker.reconcile.shared_reads import SharedReads
from worker.reconcile.write_queue import WriteQueue

__all__ = ["ActiveMinimums", "Executor", "Pace"]

_VERIFY_SECONDS: Final = 25.0
"""Timeout in seconds of the verification read if the account was stopped early."""

_BLOCK: Final = 8
"""Intents recorded in one transaction, per concurrent write.

A smaller block costs throughput. A larger one leaves more recorded but unsent intents after a crash.
"""


class Pace(Struct, frozen=True):
    """Limits of an account's writes: `concurrency` in flight, and `deadline_seconds` for all of them together.

    `wall` returns the Unix time in seconds. It decides whether the deadline of a single write has passed.
    """

    concurrency: int
    deadline_seconds: float
    wall: Callable[[], float] = time.time


class ActiveMinimums(Struct, frozen=True):
    """The constraints on deactivations of one account.

    At least `min_active` numbers of the account, and the minimum of each group, must stay ACTIVE. `possibly_inactive`
    are numbers that a request of a crashed run may still deactivate, even if a read shows them ACTIVE. If `pair_swaps`
    is `hold`, deactivations wait for a read that shows every activated number ACTIVE.
    """

    min_active: int = 0
    groups: tuple[Group, ...] = ()
    possibly_inactive: frozenset[str] = frozenset()
    pair_swaps: PairSwaps = "warn"


class Executor:
    """Executor of the writes of one account's plan.

    `observed` is the read that the plan was built from. If activations fail, deactivations that would violate
    `minimums` are held.
    """

    def __init__(
        self,
        changes: Sequence[Change],
        api: WritableAccount,
        observed: ObservedAccount,
        minimums: ActiveMinimums,
        *,
        journal: AttemptJournal,
        meter: ProgressMeter,
    ) -> None:
        self._attempts = [WriteAttempt(change) for change in changes]
        self._api = api
        self._observed = observed
        self._min_active = minimums.min_active
        self._groups = minimums.groups
        self._possibly_inactive = minimums.possibly_inactive
        self._hold_swaps = minimums.pair_swaps == "hold"
        self._in_deactivations = False
        self._wall: Callable[[], float] = time.time
        self._journal = journal
        self._meter = meter
        self._reads = SharedReads(api, self._on_read)
        self._probe = api.probe
        self._final: ObservedAccount | None = None
        self.stop_reason: WorkerError | None = None
        """Why some writes were not attempted: credentials, the deadline or a signal; None if all were."""

    @property
    def last_read(self) -> ObservedAccount:
        """The last read: the verification read, or the one that the plan was built from."""
        return self._observed if self._final is None else self._final

    async def run(self, pace: Pace) -> None:
        """Send the writes, then verify them by one read. Errors are reported by `results` and `stop_reason`."""
        loop = asyncio.get_running_loop()
        self._wall = pace.wall
        deadline_error = DeadlineExceeded(
            Message(
                "stopped at the account's deadline of {seconds:g} seconds; run again to continue",
                seconds=pace.deadline_seconds,
            )
        )
        deadline = loop.call_later(pace.deadline_seconds, self._api.halt, deadline_error)
        try:
            activations = [attempt for attempt in self._attempts if attempt.change.action is Action.ACTIVATE]
            deactivations = [attempt for attempt in self._attempts if attempt.change.action is Action.DEACTIVATE]
            if activations:
                await self._send_all(activations, pace.concurrency)
            if deactivations and await self._may_deactivate(activations, len(deactivations)):
                await self._send_all(await self._permitted_attempts(deactivations), pace.concurrency)
        finally:
            deadline.cancel()
        if any(attempt.sequence for attempt in self._attempts):
            await self._verify()

    def results(self) -> Iterator[NumberResult]:
        """Yield the result of each number to be written."""
        final = self._final
        for attempt in self._attempts:
            after = None if final is None else final.status(attempt.phone)
            yield attempt.result(after, self.stop_reason, is_verified=final is not None)

    async def _send_all(self, attempts: Sequence[WriteAttempt], concurrency: int) -> None:
        if not attempts:
            return
        # the first write is sent alone, so that credentials without write permission cost one request
        await self._write(attempts[0])
        queue = WriteQueue(attempts[1:], self._journal, _BLOCK * concurrency)
        async with asyncio.TaskGroup() as group:
            for _ in range(min(concurrency, len(attempts) - 1)):
                group.create_task(self._work(queue))

    async def _work(self, queue: WriteQueue) -> None:
        try:
            while self.stop_reason is None:
                attempt = queue.take()
                if attempt is not None:
                    await self._write(attempt)
                elif not await queue.wait_for_more():
                    return
        except LedgerError as error:
            self._halt(error)

    async def _write(self, attempt: WriteAttempt) -> None:
        if self.stop_reason is not None:
            return
        try:
            await self._api.retry(partial(self._send, attempt))
        except AccountRejected as error:
            self._stop(attempt, error)
        except ApiError as error:
            attempt.error = error
            attempt.is_ambiguous = attempt.is_ambiguous or isinstance(error, Ambiguous)
        except WorkerError as reason:
            self._stop(attempt, reason)
        finally:
            attempt.end = asyncio.get_running_loop().time()
            self._meter.advance()

    async def _send(self, attempt: WriteAttempt, failure: ApiError | None) -> None:
        """Acquire a slot, record the intent, sign, send, and record the result.

        `failure` is the error of the previous request. If its result is ambiguous, a read resolves it first. A request
        that must not be sent gives its slot back.
        """
        if isinstance(failure, Ambiguous) and not await self._resolve(attempt):
            return
        await self._api.acquire()
        probe = self._api.probe
        if probe is not None and probe is not self._probe:
            # the read that ended an outage shows what others changed during it
            self._probe = probe
            self._reads.accept(probe)
        try:
            may_send = attempt.may_send(self._reads.latest, self._wall())
            if may_send and attempt.intents == attempt.sequence:
                await self._journal.intend([attempt.intent])
                attempt.intents += 1
            # nothing is awaited between this check and the request
            self._journal.check_lease()
        except BaseException:
            self._api.release()
            raise
        if not may_send:
            self._api.release()
            return
        if not attempt.sequence:
            attempt.start = asyncio.get_running_loop().time()
        attempt.sequence += 1
        try:
            await self._api.put(attempt.phone, attempt.status)
        except ApiError as error:
            attempt.failure = error
            self._journal.record_response(attempt.phone, attempt.sequence, error)
            raise
        self._journal.record_response(attempt.phone, attempt.sequence, None)
        attempt.is_accepted = True

    def _on_read(self, account: ObservedAccount) -> None:
        for attempt in self._attempts:
            attempt.has_varied |= account.status(attempt.phone) != attempt.change.observed
        if self._in_deactivations:
            self._hold_back(account)

    def _hold_back(self, account: ObservedAccount) -> None:
        """Hold the deactivations that groups and swaps do not allow, given the last read of the account.

        A deactivation whose request was sent may take effect, so its number counts as INACTIVE; a hold only prevents
        its retry.
        """
        deactivations = [attempt for attempt in self._attempts if attempt.change.action is Action.DEACTIVATE]
        sent_phones = {attempt.phone for attempt in deactivations if attempt.sequence and attempt.end}
        waiting_attempts = sorted(
            (attempt for attempt in deactivations if not attempt.end), key=lambda attempt: not attempt.sequence
        )
        reasons = self._hold_reasons([attempt.phone for attempt in waiting_attempts], account, sent_phones)
        for attempt in waiting_attempts:
            attempt.hold_reason = attempt.hold_reason or reasons.get(attempt.phone)

    def _hold_reasons(
        self, phones: Sequence[str], account: ObservedAccount, sent_phones: Collection[str] = ()
    ) -> Mapping[str, str]:
        """Map each of `phones` whose deactivation must be held to the reason. `sent_phones` count as INACTIVE."""
        if self._hold_swaps:
            activations = (attempt.change for attempt in self._attempts if attempt.change.action is Action.ACTIVATE)
            obstacles = activation_obstacles(dropped_change(change, account) for change in activations)
            if obstacles:
                return dict.fromkeys(phones, swap_reason(obstacles))
        return group_holds(phones, account.active_phones.difference(self._possibly_inactive, sent_phones), self._groups)

    async def _permitted_attempts(self, deactivations: list[WriteAttempt]) -> list[WriteAttempt]:
        """Return the deactivations that groups and swaps allow. Read first if activations must be verified before."""
        if not (self._groups or self._hold_swaps) or self.stop_reason is not None:
            return deactivations
        # a read made while activations were in flight does not show their results
        self._in_deactivations = True
        latest = self._reads.latest or self._observed
        if self._hold_reasons([attempt.phone for attempt in deactivations], latest):
            try:
                await self._reads.read()
            except AccountRejected as error:
                self._halt(error)
            except WorkerError:
                self._hold_back(latest)
        return [attempt for attempt in deactivations if attempt.hold_reason is None]

    def _stop(self, attempt: WriteAttempt, reason: WorkerError) -> None:
        attempt.error = attempt.error or reason
        # the refusal of another number says nothing about this one
        is_refused = reason is attempt.failure and attempt.failure.http_status is not None
        # a request sent before the stop may have taken effect, even if its response was an error
        attempt.is_ambiguous = attempt.is_ambiguous or (attempt.sequence > 0 and not is_refused)
        self._halt(reason)

    def _halt(self, reason: WorkerError) -> None:
        if self.stop_reason is None:
            self.stop_reason = reason
            self._api.halt(reason)

    async def _resolve(self, attempt: WriteAttempt) -> bool:
        """Resolve an ambiguous attempt by a read of the account. Return True if it must be sent again."""
        attempt.is_ambiguous = True
        try:
            account = await self._reads.read()
        except AccountRejected:
            raise
        except ApiError as error:
            attempt.error = error
            return False
        return attempt.resolve(account.status(attempt.phone))

    async def _may_deactivate(self, activations: Sequence[WriteAttempt], deactivations: int) -> bool:
        """Return True if enough numbers stay ACTIVE. Read the account if this depends on the activations."""
        active = self._observed.active
        minimum = self._min_active if active >= self._min_active else 0
        if self.stop_reason is not None or active - deactivations >= minimum:
            return True
        try:
            active = (await self._reads.read()).active
        except AccountRejected as error:
            self.stop_reason = error
            return False
        except WorkerError:
            pass
        if active - deactivations >= minimum:
            return True
        failed_count = sum(not attempt.is_accepted for attempt in activations)
        message = Message.plural(
            "{count} activation failed, and without it fewer than {minimum} numbers would stay ACTIVE: "
            "no deactivation was attempted",
            "{count} activations failed, and without them fewer than {minimum} numbers would stay ACTIVE: "
            "no deactivation was attempted",
            failed_count,
            minimum=minimum,
        )
        self.stop_reason = ActivationsFailed(message)
        return False

    async def _verify(self) -> None:
        limit = _VERIFY_SECONDS if self.stop_reason is not None else None
        try:
            async with asyncio.timeout(limit):
                self._final = await self._api.observe(is_verification=True)
        except AccountRejected as error:
            self.stop_reason = self.stop_reason or error
        except (ApiError, TimeoutError):
            return
