"""Passes of the daemon: a pass reads accounts, writes their desired state, and logs changes since the last pass.

Passes share connections, quota windows and the last reads. A pass without writes or new results records no run in the
ledger.
"""

from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager
from datetime import UTC, datetime
from typing import Any, Final, Protocol, Self

from msgspec import Struct, structs

from worker.config.settings import Settings
from worker.ledger import LedgerProtocol
from worker.ledger.reads import RecordedRead
from worker.model.accounts import DesiredAccount, Status
from worker.model.credentials import Credentials, CredentialsRef
from worker.model.errors import Interrupted, LedgerError, WorkerError
from worker.model.plans import NOT_WRITTEN, AccountPlan, Change, Notice, Verdict
from worker.model.reads import AccountRead
from worker.model.results import AccountResult, Outcome, RunOutcome
from worker.model.times import format_utc_ms
from worker.plan.build import Draft, Terms, failed_draft
from worker.reconcile.fleet import Fleet
from worker.reconcile.identity import Identities
from worker.reconcile.log import log_changes, log_error, log_notices, log_refusals
from worker.reconcile.reads import recorded_reads
from worker.solapi.baseline import Baseline
from worker.solapi.limiter import Quota
from worker.solapi.runtime import Runtime
from worker.solapi.transport import Transport
from worker.telemetry.logs import Logger

__all__ = ["AccountPass", "Admit", "Admitted", "LedgerSource", "Pass", "PassLedger", "Passes", "ReadSink"]

_ROUTINE: Final = frozenset({Outcome.UNCHANGED, Outcome.UNMANAGED, Outcome.PROTECTED, Outcome.ACKNOWLEDGED})
_FAILED: Final = frozenset({Outcome.FAILED, Outcome.UNVERIFIED})


class PassLedger(LedgerProtocol, Protocol):
    """The ledger of one pass, such as `worker.ledger.Ledger`."""

    async def finish(self, outcome: RunOutcome) -> None:
        """Record the outcome of the pass.

        Raises:
            LedgerError: the outcome could not be recorded.
        """
        ...


class LedgerSource(Protocol):
    """Source of ledgers: the read-only memory of earlier runs, and a ledger for each pass that writes."""

    @property
    def memory(self) -> LedgerProtocol:
        """The memory of earlier runs, read-only."""
        ...

    def open(self, run_id: str) -> AbstractAsyncContextManager[PassLedger]:
        """Return the ledger of a pass as a context manager. Its entry raises LedgerError if it cannot be written."""
        ...


class ReadSink(Protocol):
    """Receiver of the state of accounts, such as `worker.daemon.reads.ReadRecorder`."""

    def note(self, reads: Sequence[RecordedRead]) -> None:
        """Receive the state of the accounts of a pass, before the pass is reported."""
        ...


Admitted = tuple[list[Draft], frozenset[str]]
"""The drafts after a check against all other accounts of a fleet, and the names of those that must not be written."""


Admit = Callable[[Sequence[DesiredAccount], Sequence[Draft], frozenset[str]], Awaitable[Admitted]]
"""A check of the drafts of some accounts, in their order, and of the names of those that are not written anyway."""


class AccountPass(Struct, frozen=True):
    """One account in one pass.

    `result` is None if the plan was neither applied nor recorded. `statuses` counts the account's numbers by status, as
    the pass read them. `read` is the state of the account after the pass; None if it was not determined.
    """

    plan: AccountPlan
    result: AccountResult | None = None
    statuses: Mapping[Status, int] = {}
    read: AccountRead | None = None

    @property
    def has_failed(self) -> bool:
        """Return True if the account could not be read or written, so that it must back off."""
        if self.result is None:
            return self.plan.error is not None
        return self.result.outcome is RunOutcome.FAILED or any(self.result.counts.get(outcome) for outcome in _FAILED)

    @property
    def outcome(self) -> RunOutcome:
        """The outcome of the account. Without a result, it follows from the plan."""
        if self.result is not None:
            return self.result.outcome
        if self.plan.verdict is not Verdict.OK:
            return RunOutcome.FAILED if self.plan.verdict is Verdict.ERROR else RunOutcome.REFUSED
        return RunOutcome.PARTIAL if _is_noteworthy(self.plan) else RunOutcome.CONVERGED


class Pass(Struct, frozen=True):
    """The result of one pass. `started_at` and `ended_at` are aware times.

    `error` is the error if the ledger could not be written.
    """

    run_id: str
    started_at: datetime
    ended_at: datetime
    outcome: RunOutcome
    accounts: tuple[AccountPass, ...]
    error: LedgerError | None = None

    @property
    def counts(self) -> dict[str, int]:
        """The numbers of all accounts, counted by outcome, or by action if the plan was not applied."""
        total = Counter[str]()
        for account in self.accounts:
            total.update(account.plan.counts if account.result is None else account.result.counts)
        return {name: count for name, count in total.items() if count}


class _LastReport(Struct, frozen=True):
    """The last logged state of an account, which the next pass compares with the new state."""

    error: str | None
    rules: tuple[str, ...]
    changes: frozenset[Change]
    notices: frozenset[Notice]

    @classmethod
    def of(cls, plan: AccountPlan) -> Self:
        return cls(
            None if plan.error is None else plan.error.code,
            tuple(refusal.rule for refusal in plan.refusals),
            frozenset(plan.changes),
            frozenset(plan.notices),
        )


class _QuietLog:
    """Log adapter that demotes unchanged-state events to DEBUG."""

    def __init__(self, log: Logger) -> None:
        self._log = log

    def bind(self, **fields: Any) -> Self:
        return type(self)(self._log.bind(**fields))

    def info(self, event: str, **fields: Any) -> None:
        routine = event == "account.observed" or (
            event == "number" and fields.get("outcome") in _ROUTINE and not fields.get("attempts")
        )
        (self._log.debug if routine else self._log.info)(event, **fields)

    def warning(self, event: str, **fields: Any) -> None:
        # `Passes._report` logs notices and unreadable accounts, once each
        is_logged_elsewhere = event == "notice" or (event == "number" and fields.get("action") is None)
        (self._log.debug if is_logged_elsewhere else self._log.warning)(event, **fields)


class _NoProgress:
    def advance(self) -> None:
        pass


class Passes:
    """Runner of passes. Passes that run at the same time have no account in common.

    `conclude` returns the outcome of a pass, given those of its accounts. `admit` decides which drafts may be written,
    for a fleet; None admits all of them. `recorder` receives the state of the accounts after each pass; None records
    nothing.
    """

    def __init__(
        self,
        settings: Settings,
        terms: Terms,
        transport: Transport,
        credentials: Callable[[CredentialsRef | None], Credentials],
        log: Logger,
        *,
        ledgers: LedgerSource,
        conclude: Callable[[Iterable[RunOutcome]], RunOutcome],
        admit: Admit | None = None,
        recorder: ReadSink | None = None,
        runtime: Runtime | None = None,
    ) -> None:
        self._settings = settings
        self._terms = terms
        self._transport = transport
        self._credentials = credentials
        self._log = log
        self._ledgers = ledgers
        self._conclude = conclude
        self._admit = admit
        self._recorder = recorder
        self._runtime = runtime or Runtime()
        self._quotas: dict[str, Quota] = {}
        self._identities = Identities()
        self._baselines: dict[str, Baseline] = {}
        self._last_reports: dict[str, _LastReport] = {}
        self._unrecorded: set[str] = set()
        self._fleets: set[Fleet] = set()
        self._interruption: Interrupted | None = None

    @property
    def quotas(self) -> Collection[Quota]:
        """The quotas of the API keys in use."""
        return self._quotas.values()

    def quota(self, api_key: str) -> Quota:
        """Return the quota of an API key, which all passes share."""
        return self._quotas.setdefault(api_key, Quota(self._settings.rate_limit, clock=self._runtime.clock))

    def interrupt(self, reason: Interrupted) -> None:
        """Start no further requests, not even in later passes. In-flight writes finish and are verified."""
        self._interruption = reason
        for fleet in self._fleets:
            fleet.interrupt(reason)

    def use(self, settings: Settings, terms: Terms) -> None:
        """Use other settings and terms from the next pass on."""
        before, self._settings, self._terms = self._settings, settings, terms
        if settings.rate_limit == before.rate_limit:
            return
        # the server still counts requests that were sent under the old quota
        seconds = before.rate_limit.per_seconds + before.timeout.total_seconds
        self._quotas = {key: Quota(settings.rate_limit, clock=self._runtime.clock) for key in self._quotas}
        for quota in self._quotas.values():
            quota.pause(seconds)

    def forget(self, account: str, *, is_removed: bool = False) -> None:
        """Forget the last logged state of an account, so that the next pass logs all of it again.

        With `is_removed`, also forget the identity of the account.
        """
        self._last_reports.pop(account, None)
        self._unrecorded.discard(account)
        if is_removed:
            self._identities.forget(account)

    def forget_identity(self, account: str) -> None:
        """Forget the identity of an account that another worker of a fleet may reconcile next."""
        self._identities.forget(account)

    async def run(
        self,
        run_id: str,
        accounts: Sequence[DesiredAccount],
        read_only_accounts: frozenset[str],
        now: datetime,
        others: Sequence[DesiredAccount] = (),
    ) -> Pass:
        """Read the accounts, and write the state that is desired at `now`, an aware time. Return the result.

        Accounts in `read_only_accounts` are read but not written. `others` are accounts of the same files that are not
        part of this pass, as for `Fleet.plan`.
        """
        start = self._now()
        log = _QuietLog(self._log.bind(run_id=run_id))
        with self._new_fleet(log, self._ledgers.memory) as fleet:
            drafts = await fleet.plan(accounts, self._terms, others, now=now)
        if self._admit is not None and self._interruption is None:
            drafts, not_admitted = await self._admit(accounts, drafts, read_only_accounts)
            read_only_accounts |= not_admitted
        return await self._conclude_pass(run_id, accounts, drafts, read_only_accounts, start=start, now=now)

    async def fail(self, run_id: str, account: DesiredAccount, error: WorkerError, now: datetime) -> Pass:
        """Report and record an account that must not be read because of `error`. Return the result."""
        draft = failed_draft(account, self._terms, error, now)
        return await self._conclude_pass(run_id, [account], [draft], frozenset(), start=self._now(), now=now)

    async def _conclude_pass(
        self,
        run_id: str,
        accounts: Sequence[DesiredAccount],
        drafts: Sequence[Draft],
        read_only_accounts: frozenset[str],
        *,
        start: datetime,
        now: datetime,
    ) -> Pass:
        """Write the accounts, and report and record their state. Return the result."""
        log = _QuietLog(self._log.bind(run_id=run_id))
        account_passes = [AccountPass(draft.plan, statuses=draft.statuses) for draft in drafts]
        error = None
        if self._interruption is None:
            writable_indexes = [
                index
                for index, (account, draft) in enumerate(zip(accounts, drafts, strict=True))
                if self._report(draft, log, is_read_only=account.name in read_only_accounts)
            ]
            try:
                results, error = await self._write(
                    run_id, [accounts[i] for i in writable_indexes], [drafts[i] for i in writable_indexes], log, now
                )
            except LedgerError as ledger_error:
                results, error = [], ledger_error
            for index, result in zip(writable_indexes, results, strict=False):
                account_passes[index] = structs.replace(account_passes[index], result=result)
            if error is not None:
                for index in writable_indexes:
                    self.forget(accounts[index].name)
        outcome = self._conclude(account_pass.outcome for account_pass in account_passes)
        if error is not None:
            outcome = RunOutcome.FAILED
        if self._interruption is not None:
            outcome = RunOutcome.INTERRUPTED
        account_passes = self._with_reads(accounts, drafts, account_passes, run_id, read_only_accounts)
        return Pass(run_id, start, self._now(), outcome, tuple(account_passes), error)

    def _with_reads(
        self,
        accounts: Sequence[DesiredAccount],
        drafts: Sequence[Draft],
        account_passes: Sequence[AccountPass],
        run_id: str,
        read_only_accounts: frozenset[str],
    ) -> list[AccountPass]:
        """Return the passes with the state of their accounts, which the recorder receives too."""
        reads = recorded_reads(
            accounts,
            drafts,
            [account_pass.result for account_pass in account_passes],
            endpoint=self._settings.endpoint,
            at=format_utc_ms(self._now()),
            command="watch",
            run_id=run_id,
            # for a daemon that only reads, all accounts are read-only, not suspended; it records nothing
            suspended_accounts=frozenset() if self._recorder is None else read_only_accounts,
        )
        if self._recorder is not None:
            self._recorder.note(reads)
        return [
            structs.replace(account_pass, read=recorded.read)
            for account_pass, recorded in zip(account_passes, reads, strict=True)
        ]

    async def _write(
        self, run_id: str, accounts: Sequence[DesiredAccount], drafts: Sequence[Draft], log: _QuietLog, now: datetime
    ) -> tuple[list[AccountResult], LedgerError | None]:
        """Write the accounts. Return their results, and the error if the end of the run could not be recorded.

        Raises:
            LedgerError: the start of the run could not be recorded, so no request was sent.
        """
        if not accounts:
            return [], None
        async with self._ledgers.open(run_id) as ledger:
            with self._new_fleet(log, ledger) as fleet:
                results = await fleet.apply(accounts, drafts, self._terms, _NoProgress(), now=now)
            try:
                await ledger.finish(self._conclude(result.outcome for result in results))
            except LedgerError as error:
                return results, error
        return results, None

    @contextmanager
    def _new_fleet(self, log: _QuietLog, ledger: LedgerProtocol) -> Iterator[Fleet]:
        fleet = Fleet(
            self._settings,
            self._transport,
            self._credentials,
            log,
            ledger=ledger,
            runtime=self._runtime,
            quotas=self._quotas,
            identities=self._identities,
            baselines=self._baselines,
            records_numbers=self._recorder is not None,
        )
        if self._interruption is not None:
            fleet.interrupt(self._interruption)
        self._fleets.add(fleet)
        try:
            yield fleet
        finally:
            self._fleets.discard(fleet)

    def _report(self, draft: Draft, log: _QuietLog, *, is_read_only: bool) -> bool:
        """Log the changes since the last pass. Return True if there are writes to send or results to record."""
        plan = draft.plan
        log = log.bind(account=plan.account)
        current_report, previous_report = _LastReport.of(plan), self._last_reports.get(plan.account)
        self._last_reports[plan.account] = current_report
        is_new = current_report != previous_report
        if is_new and draft.error is not None:
            log_error(draft.error, log)
        log_refusals(plan.refusals if is_new else (), log)
        known_notices = frozenset[Notice]() if previous_report is None else previous_report.notices
        log_notices(
            (notice for notice in plan.notices if notice not in known_notices), self._log.bind(account=plan.account)
        )
        writes = plan.verdict is Verdict.OK and bool(plan.writes)
        # what is noteworthy about a suspended account is recorded after the suspension
        is_unrecorded = _is_noteworthy(plan) and (is_new or plan.account in self._unrecorded)
        if is_read_only and is_unrecorded:
            self._unrecorded.add(plan.account)
        else:
            self._unrecorded.discard(plan.account)
        if not is_read_only and (writes or draft.has_open_attempts or draft.confirmed_statuses or is_unrecorded):
            return True
        known_changes = frozenset[Change]() if previous_report is None else previous_report.changes
        log_changes((change for change in plan.changes if change not in known_changes), log)
        return False

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._runtime.wall(), UTC)


def _is_noteworthy(plan: AccountPlan) -> bool:
    """Return True if a plan is a reason to record a run in the ledger."""
    return plan.verdict is not Verdict.OK or any(change.action not in NOT_WRITTEN for change in plan.changes)
