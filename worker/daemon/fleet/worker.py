"""The loop of a worker: it takes due accounts in slices, and reconciles each account as a pass of `senderid watch`.

The accounts of a slice do not wait for each other. They are one run in the ledger.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, MutableMapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Protocol

import msgspec
from msgspec.structs import replace

from worker.config import desired
from worker.config.desired.canonical import decode_documents
from worker.config.settings import Settings
from worker.daemon import suspension
from worker.daemon.fleet.admission import report_pause
from worker.daemon.fleet.agenda import AgendaThread
from worker.daemon.passes import AccountPass, Pass, Passes
from worker.daemon.scheduler import backoff_seconds
from worker.ledger.batches import Batches
from worker.ledger.postgres.agenda import (
    CHANGED,
    ROUTINE,
    Agenda,
    Balance,
    DueAccount,
    Pause,
    QueueLength,
    Reconciled,
    RevisionInForce,
    Slice,
)
from worker.ledger.postgres.leases import PostgresLeases, lane_name
from worker.model.accounts import AccountMemory, DesiredAccount
from worker.model.credentials import DEFAULT_CREDENTIALS, Credentials, CredentialsRef
from worker.model.errors import CredentialsMissing, DesiredStateError, Interrupted, SettingsError
from worker.model.fleet import RevisionState
from worker.model.messages import Message
from worker.model.plans import Action, Verdict
from worker.model.results import Outcome, RunOutcome
from worker.model.schedule import next_change
from worker.model.suspension import Suspend
from worker.model.times import DEFAULT_ZONE
from worker.reconcile import identity
from worker.solapi.runtime import Runtime
from worker.telemetry.logs import Logger

__all__ = ["FleetEvents", "FleetWorker"]

_TICK: Final = 1.0
"""Time in seconds between two checks of the lanes and of the due accounts."""
_QUEUE_TICKS: Final = 5
"""Count of ticks between two measurements of the queue."""
_SLICE: Final = 4
"""Maximum count of accounts of a slice, as a multiple of `accounts_concurrency`."""
_AT_ONCE: Final = 8
"""Maximum count of accounts that are read or written concurrently, as a multiple of `accounts_concurrency`.

It is more than 1, so that accounts with many writes do not delay the others.
"""
_TAKEN: Final = 16
"""Maximum count of accounts in progress or next, as a multiple of `accounts_concurrency`."""
_FINISH_SECONDS: Final = 0.05
"""Time in seconds to wait for further turns to end, so that one statement records all of them."""
_MAX_MOVES: Final = 3
"""Maximum count of moves of an account without a turn. More moves mean that workers have different keys for it."""
_BUSY_SECONDS: Final = 5.0
"""Time in seconds after which an account is tried again whose lease another run has."""
_STALE_SECONDS: Final = 60.0
"""Time in seconds without a tick after which the worker should be restarted."""
_CONVERGED: Final = frozenset({Outcome.CHANGED, Outcome.UNCHANGED})


class FleetEvents(Protocol):
    """Listener of a worker, such as its metrics. It must neither raise nor block."""

    def on_pass(self, finished_pass: Pass) -> None:
        """Receive the result of a pass over the accounts of one slice."""
        ...

    def on_balance(self, balance: Balance) -> None:
        """Receive the counts of lanes after the workers shared them."""
        ...

    def on_queue(self, queue: QueueLength) -> None:
        """Receive the length of the queue of the fleet."""
        ...


class FleetWorker:
    """A worker, which reconciles due accounts until `stop` is called.

    `agenda` and `leases` are those of the worker. `credentials` resolves a reference to credentials. `memories` are the
    memories of accounts in progress, for `passes`. `every` is the interval between two passes over an account, in
    seconds. `conclude` returns the outcome of a slice, given those of its accounts, and `end_run(run_id, outcome)`
    records it.
    """

    def __init__(
        self,
        agenda: AgendaThread,
        passes: Passes,
        credentials: Callable[[CredentialsRef | None], Credentials],
        memories: MutableMapping[str, AccountMemory],
        log: Logger,
        *,
        leases: PostgresLeases,
        settings: Settings,
        every: float,
        new_run_id: Callable[[], str],
        conclude: Callable[[Iterable[RunOutcome]], RunOutcome],
        end_run: Callable[[str, RunOutcome], Awaitable[None]],
        listeners: Sequence[FleetEvents] = (),
        runtime: Runtime | None = None,
    ) -> None:
        self._agenda = agenda
        self._leases = leases
        self._passes = passes
        self._credentials = credentials
        self._memories = memories
        self._log = log
        self._settings = settings
        self._every = every
        self._new_run_id = new_run_id
        self._conclude = conclude
        self._end_run = end_run
        self._listeners = listeners
        self._runtime = runtime or Runtime()
        self._slice_size = _SLICE * settings.accounts_concurrency
        self._capacity = _TAKEN * settings.accounts_concurrency
        self._slots = asyncio.Semaphore(_AT_ONCE * settings.accounts_concurrency)
        self._finish = Batches(self._finish_together, delay=_FINISH_SECONDS)
        self._slices: set[asyncio.Task[None]] = set()
        self._suspect: asyncio.Task[None] | None = None
        self._unfinished = 0
        self._may_be_due = True
        self._error: Exception | None = None
        self._wake = asyncio.Event()
        self._stop_reason: Interrupted | None = None
        self._lanes = -1
        self._last_tick = self._runtime.clock()
        self._names: dict[str, None] = {}
        self._last: Pass | None = None

    @property
    def names(self) -> Collection[str]:
        """The names of the accounts that this worker has reconciled."""
        return self._names

    @property
    def last(self) -> Pass | None:
        """The last finished slice; None before the end of the first one."""
        return self._last

    @property
    def next_pass(self) -> datetime:
        """The time at which the accounts of the last slice are due again."""
        return (self._now() if self._last is None else self._last.ended_at) + timedelta(seconds=self._every)

    @property
    def accounts(self) -> Sequence[DesiredAccount]:
        """No accounts: they are in the database, not in files."""
        return ()

    @property
    def suspended(self) -> Mapping[str | None, Suspend]:
        """No suspensions: a slice checks those of its own accounts."""
        return {}

    @property
    def broken(self) -> Mapping[str, DesiredStateError | SettingsError]:
        """No files: `senderid fleet publish` refuses invalid ones."""
        return {}

    def why_not_alive(self) -> str | None:
        """Return why the worker should be restarted, or None if it is alive."""
        seconds = self._runtime.clock() - self._last_tick
        if seconds < _STALE_SECONDS:
            return None
        return Message("the worker has not checked its lanes for {seconds:.0f} seconds", seconds=seconds)

    def why_not_ready(self) -> str | None:
        """Return why the worker reconciles no accounts, or None if it does."""
        return None if self._lanes > 0 else Message("the worker has no lanes yet")

    def stop(self, reason: Interrupted) -> None:
        """Take no further accounts. `run` returns when in-flight writes have finished and the lanes are handed over."""
        self._stop_reason = reason
        self._log.info("fleet.draining", error_code=reason.code, error_message=str(reason))
        self._passes.interrupt(reason)
        self._wake.set()

    async def run(self) -> None:
        """Reconcile due accounts until `stop` is called.

        Raises:
            LedgerError: the database cannot be used, or the leases of the worker have ended.
        """
        self._log.info("fleet.started", duration_ms=round(self._every * 1000))
        try:
            await self._take_turns()
            await self._release(await self._agenda(Agenda.drain))
            await asyncio.gather(*self._slices)
            await self._release(await self._agenda(Agenda.drain))
        except BaseException:
            # the leases outlast the requests of the other slices
            self._passes.interrupt(Interrupted(Message("the worker is stopping because of an error")))
            await asyncio.gather(*self._slices, return_exceptions=True)
            raise
        self._log.info("fleet.stopped")

    async def _take_turns(self) -> None:
        tick = 0
        due_at = self._runtime.clock()
        while self._stop_reason is None:
            now = self._last_tick = self._runtime.clock()
            is_tick = now >= due_at
            if is_tick:
                await self._balance(measure_queue=tick % _QUEUE_TICKS == 0)
                tick, due_at = tick + 1, now + _TICK
                self._may_be_due = True
            await self._fill()
            if is_tick:
                await self._take_suspect()
            await self._rest(due_at - self._runtime.clock())

    async def _balance(self, *, measure_queue: bool) -> None:
        balance = await self._agenda(Agenda.balance)
        await self._release(balance.idle)
        if balance.taken_over:
            self._log.warning("fleet.taken_over", lanes=balance.taken_over)
        if balance.lanes != self._lanes:
            self._lanes = balance.lanes
            self._log.info("fleet.lanes", lanes=balance.lanes, workers=balance.workers)
        for listener in self._listeners:
            listener.on_balance(balance)
        if measure_queue:
            queue = await self._agenda(Agenda.queue)
            for listener in self._listeners:
                listener.on_queue(queue)

    async def _release(self, idle_lanes: Collection[str]) -> None:
        if idle_lanes:
            await self._agenda(Agenda.release, self._leases.used_slots(idle_lanes))

    async def _fill(self) -> None:
        """Start slices until no more accounts are due before the next tick, or enough are in progress or next."""
        while self._may_be_due and self._stop_reason is None and self._unfinished <= self._capacity - self._slice_size:
            next_slice = await self._agenda(Agenda.take, self._slice_size)
            if next_slice is not None:
                self._start(next_slice)
            self._may_be_due = next_slice is not None and len(next_slice.accounts) == self._slice_size

    async def _take_suspect(self) -> None:
        """Start an account that may have caused several crashes, one at a time.

        It is read alone, or beside the others if it waits for an interval already.
        """
        if self._suspect is None or self._suspect.done():
            min_wait = self._every if self._slices else 0.0
            next_slice = await self._agenda(Agenda.take, 1, suspects_only=True, min_wait=min_wait)
            if next_slice is not None:
                self._suspect = self._start(next_slice)

    def _start(self, next_slice: Slice) -> asyncio.Task[None]:
        self._unfinished += len(next_slice.accounts)
        task = asyncio.ensure_future(self._reconcile(next_slice.accounts, next_slice.revision))
        self._slices.add(task)
        task.add_done_callback(lambda _: self._wake.set())
        return task

    async def _rest(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(max(seconds, 0.0)):
                await self._wake.wait()
        self._wake.clear()
        if self._error is not None:
            raise self._error
        for task in [task for task in self._slices if task.done()]:
            self._slices.discard(task)
            task.result()

    async def _reconcile(self, due_accounts: Sequence[DueAccount], revision: RevisionInForce) -> None:
        """Reconcile the accounts of a slice."""
        run_id, started_at = self._new_run_id(), self._now()
        accounts = {due.name: _account(due) for due in due_accounts}
        api_keys = {due.name: self._api_key(accounts[due.name]) for due in due_accounts}
        misplaced = {
            due.name: lane
            for due in due_accounts
            if (api_key := api_keys[due.name]) is not None
            and (lane := identity.lane(accounts[due.name].endpoint or self._settings.endpoint, api_key)) != due.lane
        }
        moving = {
            due.name: misplaced[due.name] for due in due_accounts if due.name in misplaced and due.moves < _MAX_MOVES
        }
        if moving:
            await self._agenda(Agenda.move, moving, due_accounts)
            self._unfinished -= len(moving)
            due_accounts = [due for due in due_accounts if due.name not in moving]
        if not due_accounts:
            return
        for due in due_accounts:
            api_key = api_keys[due.name]
            if api_key is not None and due.name not in misplaced:
                self._leases.add_quota(lane_name(due.lane), self._passes.quota(api_key))
        keys = [due.key for due in due_accounts if due.key is not None]
        # otherwise each account reads its own memory, so that only the one with an unreadable row fails
        with suppress(ValueError, msgspec.DecodeError):
            self._memories.update(await self._agenda(Agenda.memories, keys))
        turns = [
            self._take_turn(
                run_id,
                due,
                accounts[due.name],
                is_paused=revision.is_paused,
                is_misplaced=due.name in misplaced,
            )
            for due in due_accounts
        ]
        finished_turns = [turn for turn in await asyncio.gather(*turns) if turn is not None]
        for key in keys:
            self._memories.pop(key, None)
        if self._error is not None:
            raise self._error
        outcome = self._conclude(turn.outcome for turn in finished_turns)
        await self._end_run(run_id, outcome)
        account_passes = tuple(account_pass for turn in finished_turns for account_pass in turn.accounts)
        self._report_pass(Pass(run_id, started_at, self._now(), outcome, account_passes), revision.number)

    async def _take_turn(
        self, run_id: str, due: DueAccount, account: DesiredAccount, *, is_paused: bool, is_misplaced: bool
    ) -> Pass | None:
        """Reconcile an account. Return None after an error, which ends the worker before its other accounts end."""
        try:
            try:
                async with self._slots:
                    turn, now = await self._run_pass(run_id, account, is_paused=is_paused, is_misplaced=is_misplaced)
            finally:
                self._unfinished -= 1
                self._wake.set()
            (account_pass,) = turn.accounts
            unsent = _unsent_writes(account_pass)
            reconciled = replace(
                self._outcome(due, account_pass, account, now),
                unsent_activations=unsent[Action.ACTIVATE],
                unsent_deactivations=unsent[Action.DEACTIVATE],
            )
            await self._finish((due, reconciled))
        except Exception as error:  # noqa: BLE001 - raised by the loop
            self._error = self._error or error
            return None
        self._names[due.name] = None
        self._passes.forget_identity(due.name)
        return turn

    async def _run_pass(
        self, run_id: str, account: DesiredAccount, *, is_paused: bool, is_misplaced: bool
    ) -> tuple[Pass, datetime]:
        """Return the pass of an account, and the time for which it was planned.

        Raises:
            LedgerError: the database cannot be used.
        """
        now = self._now()
        if is_misplaced:
            turn = await self._passes.fail(run_id, account, _different_keys(account), now)
        else:
            read_only = frozenset({account.name} if is_paused or self._is_suspended(account, now) else ())
            turn = await self._passes.run(run_id, [account], read_only, now)
        if turn.error is not None:
            raise turn.error
        return turn, now

    async def _finish_together(self, turns: Sequence[tuple[DueAccount, Reconciled]]) -> list[None]:
        due_accounts, reconciled = zip(*turns, strict=True)
        decision = await self._agenda(Agenda.finish, due_accounts, reconciled)
        if decision is not None:
            self._report(decision, due_accounts[0].revision)
            # the accounts after the canary
            self._may_be_due = True
            self._wake.set()
        return [None] * len(turns)

    def _outcome(
        self, due: DueAccount, account_pass: AccountPass, account: DesiredAccount, now: datetime
    ) -> Reconciled:
        """Return when the account is due next."""
        plan, result = account_pass.plan, account_pass.result
        key = None
        if plan.account_id is not None and plan.error is None:
            key = identity.key(account.endpoint or self._settings.endpoint, plan.account_id)
        is_unwritten = result is None and plan.verdict is Verdict.OK and bool(plan.writes)
        if self._stop_reason is not None and (is_unwritten or _is_interrupted(account_pass)):
            return self._again(due, 0.0)
        if result is not None and result.outcome is RunOutcome.LOCKED:
            return self._again(due, _BUSY_SECONDS)
        seconds, failures = self._every, 0
        if account_pass.has_failed:
            failures = due.failures + 1
            seconds = backoff_seconds(failures, self._every, uniform=self._runtime.uniform)
            self._log.warning("fleet.backoff", account=due.name, attempts=failures, duration_ms=round(seconds * 1000))
        transition = self._next_transition(account, now)
        is_transition = transition is not None and transition < seconds
        planned, failed = (0, 0) if is_unwritten else _canary_counts(account_pass)
        return Reconciled(
            name=due.name,
            revision=due.revision,
            seconds=transition if transition is not None and is_transition else seconds,
            priority=CHANGED if is_transition else ROUTINE,
            failures=failures,
            key=key,
            is_held=is_unwritten,
            is_settled=not is_unwritten,
            planned=planned,
            failed=failed,
        )

    def _again(self, due: DueAccount, seconds: float) -> Reconciled:
        return Reconciled(
            name=due.name,
            revision=due.revision,
            seconds=seconds,
            priority=CHANGED,
            failures=due.failures,
            is_settled=False,
        )

    def _api_key(self, account: DesiredAccount) -> str | None:
        """Return the API key of the account; None if it is not available, which the pass reports."""
        try:
            return self._credentials(account.credentials).api_key
        except CredentialsMissing:
            return None

    def _is_suspended(self, account: DesiredAccount, now: datetime) -> bool:
        settings = self._settings
        return (
            suspension.in_force(settings.suspend, settings.maintenance, DEFAULT_ZONE, now) is not None
            or suspension.in_force(account.suspend, account.maintenance, account.timezone, now) is not None
        )

    def _next_transition(self, account: DesiredAccount, after: datetime) -> float | None:
        """Return the seconds until the next change of the account's desired state or of a suspension; None for none."""
        settings = self._settings
        change = next_change(account, after)
        moments = (
            *suspension.edges(settings.suspend, settings.maintenance, DEFAULT_ZONE, after),
            *suspension.edges(account.suspend, account.maintenance, account.timezone, after),
            *([] if change is None else [change]),
        )
        first = min(moments, default=None)
        return None if first is None else max((first - self._now()).total_seconds(), 0.0)

    def _report(self, decision: Pause | RevisionState | None, revision: int) -> None:
        if isinstance(decision, Pause):
            report_pause(decision, self._log)
        elif decision is not None:
            self._log.info("fleet.rolling", revision=revision)

    def _report_pass(self, result: Pass, revision: int) -> None:
        self._last = result
        has_news = result.outcome is RunOutcome.FAILED or any(
            account_pass.result is not None for account_pass in result.accounts
        )
        (self._log.info if has_news else self._log.debug)(
            "fleet.slice",
            run_id=result.run_id,
            revision=revision,
            outcome=result.outcome,
            accounts=len(result.accounts),
            counts=result.counts,
            duration_ms=round((result.ended_at - result.started_at).total_seconds() * 1000),
        )
        for listener in self._listeners:
            listener.on_pass(result)

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._runtime.wall(), UTC)


def _account(due: DueAccount) -> DesiredAccount:
    (account,) = desired.join(decode_documents(due.document))
    return replace(account, commit=due.commit, parts=tuple(replace(part, commit=due.commit) for part in account.parts))


def _different_keys(account: DesiredAccount) -> CredentialsMissing:
    return CredentialsMissing(
        Message(
            "the workers of the fleet have different API keys for this account, so they pass it to each other: give "
            "all of them the same key in {location}",
            location=(account.credentials or DEFAULT_CREDENTIALS).api_key.location,
        )
    )


def _is_interrupted(account_pass: AccountPass) -> bool:
    error = account_pass.plan.error
    result = account_pass.result
    return (error is not None and error.code == Interrupted.__name__) or (
        result is not None and result.outcome is RunOutcome.INTERRUPTED
    )


def _unsent_writes(account_pass: AccountPass) -> Counter[Action | None]:
    """Return how many planned writes of an account were certainly not sent, by action."""
    if account_pass.result is None:
        return Counter(change.action for change in account_pass.plan.writes)
    # a write that may have been sent has another outcome
    return Counter(number.action for number in account_pass.result.numbers if number.outcome is Outcome.NOT_ATTEMPTED)


def _canary_counts(account_pass: AccountPass) -> tuple[int, int]:
    """Return how many writes of an account were planned, and how many failed. An account that failed counts as one."""
    plan, result = account_pass.plan, account_pass.result
    if plan.verdict is not Verdict.OK:
        return 1, 1
    if result is None:
        return 0, 0
    outcomes: Mapping[str, Any] = {number.phone: number.outcome for number in result.numbers}
    failed = sum(outcomes.get(change.phone, Outcome.UNCHANGED) not in _CONVERGED for change in plan.writes)
    if result.error is not None and not plan.writes:
        return 1, 1
    return len(plan.writes), failed
