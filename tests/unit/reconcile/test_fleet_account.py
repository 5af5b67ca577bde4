"""One account of a fleet, on real sockets: applies, saved plans, rollbacks, and the client."""

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pytest
from msgspec.structs import replace

from tests.support.loopback import EPOCH, LogRecorder, Loopback, credentials, run, runtime
from worker.config.settings import CanarySettings, RateLimit, Retry, SafetySettings, Settings
from worker.ledger import NullLedger, Subject
from worker.model.accounts import DatedWindow, Desired, DesiredAccount, Group, PlanFile, PlanFileUse, Schedule, Status
from worker.model.credentials import Credentials, Secret
from worker.model.errors import CredentialsMissing, Declined, ErrorInfo, Interrupted, Refusal
from worker.model.plans import AccountPlan, Action, Change, NoticeKind, Verdict, tally
from worker.model.ports import DefaultTarget, SharedQuota
from worker.model.results import AccountResult, Outcome, RunOutcome
from worker.model.safety import Health, InUse, Safety
from worker.plan.build import Draft, Terms
from worker.plan.comparison import CurrentFiles
from worker.plan.planfile import SavedAccount
from worker.reconcile.fleet import Fleet
from worker.sandbox import Fault, SandboxAccount
from worker.sandbox.messages import Sent
from worker.solapi.client import AccountReader

A, B, C = "01000000001", "01000000002", "01000000003"
_PLAN: Final = PlanFile("p1", "2026-11-24T00:00:00.000Z")
_UP: Final = Change(A, Action.ACTIVATE, "INACTIVE", "ACTIVE", "listed as ACTIVE")
_DOWN: Final = Change(B, Action.DEACTIVATE, "ACTIVE", "INACTIVE", "listed as INACTIVE")


class _Ledger(NullLedger):
    """A ledger that keeps the subjects of leases and records, and knows one earlier run of the plan."""

    def __init__(self, earlier: PlanFileUse | None = None) -> None:
        super().__init__()
        self.earlier = earlier
        self.plan_files: list[PlanFile] = []
        self.leased: list[Subject] = []
        self.recorded: list[tuple[Subject, RunOutcome]] = []
        self.confirmed: list[Mapping[str, Status]] = []

    @asynccontextmanager
    async def lease(
        self, subject: Subject, pause: Callable[[float], Awaitable[bool]], quota: SharedQuota | None = None
    ) -> AsyncIterator[NullLedger]:
        self.leased.append(subject)
        async with super().lease(subject, pause, quota) as ledger:
            yield ledger

    async def record(self, subject: Subject, result: AccountResult, confirmed: Mapping[str, Status]) -> None:
        self.recorded.append((subject, result.outcome))
        self.confirmed.append(confirmed)

    async def finish(self, result: AccountResult, confirmed: Mapping[str, Status]) -> None:
        del result
        self.confirmed.append(confirmed)

    async def earlier_run(self, plan: PlanFile, phones: Collection[str]) -> PlanFileUse | None:
        del phones
        self.plan_files.append(plan)
        return self.earlier


class _Setup:
    """A fleet of one account, whose numbers A and C are INACTIVE and B is ACTIVE."""

    def __init__(self, loopback: Loopback, ledger: _Ledger, **settings: Any) -> None:
        (self.account,) = loopback.sandbox.accounts.values()
        self.sandbox = loopback.sandbox
        self.ledger = ledger
        self.log = LogRecorder()
        self.keys: Credentials | Exception = credentials(self.account)
        defaults: dict[str, Any] = {"rate_limit": RateLimit(writes=10_000, reads=10_000), "retry": Retry(attempts=1)}
        self.settings = Settings(endpoint=self.sandbox.url, **defaults | settings)
        self.fleet = Fleet(
            self.settings, loopback.transport, lambda _: self._resolve(), self.log, ledger=ledger, runtime=runtime()
        )

    def _resolve(self) -> Credentials:
        if isinstance(self.keys, Exception):
            raise self.keys
        return self.keys

    def saved(self, *changes: Change, **fields: Any) -> SavedAccount:
        defaults: dict[str, Any] = {
            "account": "main",
            "account_id": "7",
            "source": "main.yaml",
            "endpoint": self.settings.endpoint,
            "credentials": None,
            "safety": Safety("100%", 0),
            "changes": changes,
        }
        return SavedAccount(**defaults | fields)

    async def apply(self, saved: SavedAccount, allow: frozenset[str] = frozenset(), **options: Any) -> AccountResult:
        (result,) = await self.fleet.apply_saved([saved], allow, self.log, **options)
        return result

    async def preview(self, saved: SavedAccount, allow: frozenset[str] = frozenset()) -> Draft:
        (draft,) = await self.fleet.preview([saved], allow)
        return draft

    async def roll_back(
        self, saved: SavedAccount, draft: Draft, decline_error: Declined | None = None
    ) -> AccountResult:
        (result,) = await self.fleet.roll_back([saved], [draft], frozenset(), self.log, decline_error)
        return result

    @property
    def written(self) -> list[tuple[str | None, str | None]]:
        return [(request.phone, request.desired) for request in self.sandbox.wire if request.method == "PUT"]


def _run(
    scenario: Callable[[_Setup], Coroutine[Any, Any, None]], ledger: _Ledger | None = None, **settings: Any
) -> None:
    async def scenario_with_sandbox() -> None:
        account = SandboxAccount.of(
            {A: "INACTIVE", B: "ACTIVE", C: "INACTIVE"}, account_id="7", api_secret="secret-of-7", limit=6
        )
        async with Loopback(account) as loopback:
            await scenario(_Setup(loopback, ledger or _Ledger(), **settings))

    run(scenario_with_sandbox())


def _desired(name: str = "main", **statuses: str) -> DesiredAccount:
    numbers = {phone.removeprefix("n"): Desired(Status(status)) for phone, status in statuses.items()}
    return DesiredAccount(name, "main.yaml", numbers, range(1, len(numbers) + 1))


def _outcomes(result: AccountResult) -> dict[str, Outcome]:
    return {number.phone: number.outcome for number in result.numbers}


@pytest.mark.parametrize("plan", [_PLAN, None])
def test_used_up_plan_file_is_refused_unless_its_replay_is_allowed(plan: PlanFile | None) -> None:
    async def scenario(setup: _Setup) -> None:
        result = await setup.apply(setup.saved(_UP), plan=plan)
        assert setup.ledger.plan_files == ([] if plan is None else [_PLAN])
        assert setup.written == ([(A, "ACTIVE")] if plan is None else [])
        assert [refusal.rule for refusal in result.refusals] == ([] if plan is None else ["replay"])

    _run(scenario, _Ledger(PlanFileUse("r1", "2026-11-24T01:00:00.000Z", was_applied=True)))


@pytest.mark.parametrize("is_compared", [False, True])
def test_saved_plan_is_compared_with_the_current_files_of_the_account(*, is_compared: bool) -> None:
    """The files are read while the account is leased."""
    files = CurrentFiles(DesiredAccount("main", "main.yaml", {A: Desired(Status.INACTIVE)}, [3]))

    async def scenario(setup: _Setup) -> None:
        leased_accounts: list[tuple[str, list[str]]] = []

        def read(name: str) -> CurrentFiles:
            leased_accounts.append((name, [subject.account for subject in setup.ledger.leased]))
            return files

        result = await setup.apply(setup.saved(_UP), files=read if is_compared else None)
        assert leased_accounts == ([("main", ["main"])] if is_compared else [])
        assert _outcomes(result) == {A: Outcome.CONFLICT if is_compared else Outcome.CHANGED}

    _run(scenario)


@pytest.mark.parametrize("allow", [frozenset[str](), frozenset({"max-deactivations"})])
def test_saved_plan_is_refused_by_its_rules_unless_allowed(allow: frozenset[str]) -> None:
    async def scenario(setup: _Setup) -> None:
        result = await setup.apply(setup.saved(_DOWN, safety=Safety(0, 0)), allow)
        assert setup.written == ([(B, "INACTIVE")] if allow else [])
        assert result.outcome is (RunOutcome.CONVERGED if allow else RunOutcome.REFUSED)

    _run(scenario)


@pytest.mark.parametrize("is_rollback", [False, True])
@pytest.mark.parametrize("limit_percent", [50, 51])
def test_thresholds_of_the_settings_apply_to_saved_plans_and_rollbacks(
    limit_percent: int, *, is_rollback: bool
) -> None:
    """Three of six registration slots are used."""

    async def scenario(setup: _Setup) -> None:
        saved, kinds = setup.saved(_UP), [NoticeKind.LIMIT] if limit_percent == 50 else []
        draft = await setup.preview(saved)
        assert [notice.kind for notice in draft.plan.notices] == kinds
        result = await (setup.roll_back(saved, draft) if is_rollback else setup.apply(saved))
        assert [notice.kind for notice in result.notices] == kinds

    _run(scenario, health=Health(limit_percent=limit_percent))


@pytest.mark.parametrize("allow", [frozenset[str](), frozenset({"in-use"})])
def test_rollback_queries_usage_once_and_keeps_its_notices(allow: frozenset[str]) -> None:
    """The preview queries it, unless allowed. Numbers whose use is unknown are deactivated here, with a notice."""

    async def scenario(setup: _Setup) -> None:
        setup.account.mailbox.can_read_messages = False
        saved = setup.saved(_DOWN, in_use=InUse(enabled=True, on_unknown="allow"))
        draft = await setup.preview(saved, allow)
        queries = sum("/messages/" in request.path for request in setup.sandbox.wire)
        assert (queries > 0) is not bool(allow)
        result = await setup.roll_back(saved, draft)
        assert sum("/messages/" in request.path for request in setup.sandbox.wire) == queries
        assert _outcomes(result) == {B: Outcome.CHANGED}
        assert [notice.kind for notice in result.notices] == ([] if allow else [NoticeKind.IN_USE])
        requests = result.requests
        assert (requests.reads + requests.writes, requests.writes) == (len(setup.sandbox.wire), 1)

    _run(scenario)


def test_rollback_holds_numbers_in_use_and_changes_since_the_preview() -> None:
    """B is in use. C was changed since the run, and is changed back after the preview."""

    async def scenario(setup: _Setup) -> None:
        setup.account.mailbox.sent.append(Sent(B, "2027-01-15T07:59:00Z"))
        setup.account.switch(C, "PENDING")
        saved = setup.saved(_UP, _DOWN, replace(_UP, phone=C), in_use=InUse(enabled=True))
        draft = await setup.preview(saved)
        assert {change.phone: change.action for change in draft.plan.changes} == {
            A: Action.ACTIVATE,
            B: Action.HELD,
            C: Action.BLOCKED,
        }
        setup.account.switch(C, "INACTIVE")
        result = await setup.roll_back(saved, draft)
        assert setup.written == [(A, "ACTIVE")]
        assert _outcomes(result) == {A: Outcome.CHANGED, B: Outcome.HELD, C: Outcome.BLOCKED}

    assert EPOCH == 1_800_000_000
    _run(scenario)


@pytest.mark.parametrize("cause", ["declined", "unreadable", "refused"])
def test_rollback_that_must_not_start_sends_nothing(cause: str) -> None:
    """Each number has the reason, and the ledger records the account with the limits of the run."""

    async def scenario(setup: _Setup) -> None:
        safety = Safety(0, 0) if cause == "refused" else Safety("100%", 0)
        saved = setup.saved(_DOWN, safety=safety, groups=(Group("support", (B,), 0),), in_use=InUse(hours=7))
        if cause == "unreadable":
            setup.keys = CredentialsMissing("gone")
        draft = await setup.preview(saved)
        setup.keys = credentials(setup.account)
        result = await setup.roll_back(saved, draft, Declined("not confirmed") if cause == "declined" else None)
        code = {"declined": "Declined", "unreadable": "CredentialsMissing", "refused": "PolicyRefusal"}[cause]
        outcome = RunOutcome.FAILED if cause == "unreadable" else RunOutcome.REFUSED
        assert (result.account, result.account_id, result.outcome) == ("main", "7", outcome)
        assert result.error is not None
        assert result.error.code == code
        (number,) = result.numbers
        assert (number.phone, number.outcome, number.error and number.error.code) == (B, Outcome.NOT_ATTEMPTED, code)
        assert (setup.written, setup.ledger.leased) == ([], [])
        ((subject, recorded_outcome),) = setup.ledger.recorded
        assert (subject.endpoint, subject.account, subject.safety, recorded_outcome) == (
            setup.settings.endpoint,
            "main",
            safety,
            outcome,
        )
        assert (subject.groups, subject.in_use) == (saved.groups, saved.in_use)
        assert result.requests.reads == (0 if cause == "unreadable" else 1)

    _run(scenario)


def test_rollback_that_fails_before_its_first_request_has_the_result_of_its_preview() -> None:
    """B has the status before the run again, so it is unchanged."""

    async def scenario(setup: _Setup) -> None:
        setup.account.switch(B, "INACTIVE")
        setup.account.switch(C, "PENDING")
        saved = setup.saved(_UP, _DOWN, replace(_UP, phone=C))
        draft = await setup.preview(saved)
        setup.keys = CredentialsMissing("gone")
        result = await setup.roll_back(saved, draft)
        assert _outcomes(result) == {A: Outcome.NOT_ATTEMPTED, C: Outcome.BLOCKED}
        assert (result.counts[Outcome.UNCHANGED], result.requests.reads) == (1, 1)
        assert [(notice.kind, notice.phone) for notice in result.notices] == [(NoticeKind.PENDING, C)]

    _run(scenario)


def test_account_that_a_canary_holds_back_is_recorded_with_its_reason() -> None:
    """The writes of the account are not attempted. Numbers that cannot be written keep their outcome."""

    async def scenario(setup: _Setup) -> None:
        setup.sandbox.script(A, "PUT", [Fault.NOT_WRITABLE])
        blocked = Change(C, Action.BLOCKED, "PENDING", "ACTIVE", "PENDING")
        first, second = setup.saved(_UP), setup.saved(_DOWN, account="other", impossible=(blocked,))
        results = await setup.fleet.apply_saved([first, second], frozenset(), setup.log)
        assert [result.account for result in results] == ["main", "other"]
        assert (results[1].account_id, results[1].outcome) == ("7", RunOutcome.PARTIAL)
        assert _outcomes(results[1]) == {B: Outcome.NOT_ATTEMPTED, C: Outcome.BLOCKED}
        assert [(subject.account, outcome) for subject, outcome in setup.ledger.recorded] == [
            ("other", RunOutcome.PARTIAL)
        ]
        assert [subject.account for subject in setup.ledger.leased] == ["main"]

    _run(scenario, canary=CanarySettings(accounts=1))


def test_account_of_another_id_is_not_written() -> None:
    """Credentials that were exchanged since the plan lead to another account."""

    async def scenario(setup: _Setup) -> None:
        result = await setup.apply(setup.saved(_UP, account_id="8"))
        assert result.error is not None
        assert (result.error.code, setup.written) == ("WrongAccount", [])
        draft = await setup.preview(setup.saved(_UP, account_id="8"))
        assert (draft.plan.verdict, draft.error and draft.error.code) == (Verdict.ERROR, "WrongAccount")

    _run(scenario)


def test_fleet_counts_the_writes_of_all_its_accounts() -> None:
    async def scenario(setup: _Setup) -> None:
        await setup.apply(setup.saved(_UP))
        await setup.apply(setup.saved(_DOWN))
        assert setup.fleet.writes == 2

    _run(scenario)


@pytest.mark.parametrize(("attempts", "outcome"), [(1, Outcome.FAILED), (2, Outcome.CHANGED)])
def test_retries_are_those_of_the_settings(attempts: int, outcome: Outcome) -> None:
    async def scenario(setup: _Setup) -> None:
        setup.sandbox.script(A, "PUT", [Fault.RATE_LIMITED])
        assert _outcomes(await setup.apply(setup.saved(_UP))) == {A: outcome}

    _run(scenario, retry=Retry(attempts=attempts, base_seconds=0.1))


@pytest.mark.parametrize(
    ("length", "endpoint", "is_refused"),
    [(7, "solapi", True), (8, "solapi", False), (7, "http://127.0.0.1:1", False), (7, None, False)],
)
def test_secret_that_is_too_short_is_refused_except_on_this_machine(
    length: int, endpoint: str | None, *, is_refused: bool
) -> None:
    async def scenario(setup: _Setup) -> None:
        setup.keys = Credentials(setup.account.api_key, Secret("x" * length))
        target = DefaultTarget(None, endpoint)
        if is_refused:
            with (
                pytest.raises(CredentialsMissing, match="fewer than 8 characters"),
                setup.fleet.client(AccountReader, target, setup.log),
            ):
                pass
        else:
            with setup.fleet.client(AccountReader, target, setup.log):
                pass

    _run(scenario)


def test_first_interruption_is_the_reason_of_the_fleet() -> None:
    async def scenario(setup: _Setup) -> None:
        for reason in ("SIGTERM", "SIGINT"):
            setup.fleet.interrupt(Interrupted(reason))
        result = await setup.apply(setup.saved(_UP))
        assert (result.outcome, result.error) == (RunOutcome.INTERRUPTED, ErrorInfo("Interrupted", "SIGTERM"))
        (draft,) = await setup.fleet.plan(
            [DesiredAccount("main", "main.yaml", {A: Desired(Status.ACTIVE)}, [1])], Terms()
        )
        assert (draft.error, setup.sandbox.wire) == (setup.fleet.interrupted, [])

    _run(scenario)


_TERMS: Final = Terms(Safety("100%", 0))


def test_duplicate_account_keeps_what_its_read_showed() -> None:
    async def scenario(setup: _Setup) -> None:
        drafts = await setup.fleet.plan([_desired("a"), _desired("b")], _TERMS)
        assert [draft.error and draft.error.code for draft in drafts] == ["DuplicateAccount"] * 2
        assert [draft.requests.reads for draft in drafts] == [1, 1]
        assert [draft.statuses for draft in drafts] == [{Status.ACTIVE: 1, Status.INACTIVE: 2}] * 2

    _run(scenario)


def test_plans_of_a_fleet_are_guarded_by_its_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rules that the user allowed do not refuse. The refusals are part of the drafts."""
    calls: list[tuple[list[str], int | str, frozenset[str]]] = []

    def guard(plans: Sequence[AccountPlan], limit: int | str, allow: frozenset[str]) -> tuple[AccountPlan, ...]:
        calls.append(([plan.account for plan in plans], limit, allow))
        return tuple(replace(plan, verdict=Verdict.REFUSED) for plan in plans)

    monkeypatch.setattr("worker.reconcile.fleet.guard_fleet", guard)

    async def scenario(setup: _Setup) -> None:
        terms = replace(_TERMS, allow=frozenset({"in-use"}))
        (draft,) = await setup.fleet.plan([_desired()], terms)
        assert calls == [(["main"], "7%", terms.allow)]
        assert draft.plan.verdict is Verdict.REFUSED

    _run(scenario, safety=SafetySettings(fleet_wide="7%"))


def test_refused_account_is_not_the_canary_and_not_written() -> None:
    async def scenario(setup: _Setup) -> None:
        refused, planned = _desired("a", **{f"n{B}": "INACTIVE"}), _desired("b", **{f"n{A}": "ACTIVE"})
        (draft,) = await setup.fleet.plan([planned], _TERMS)
        refusal = AccountPlan(
            account="a",
            account_id="7",
            verdict=Verdict.REFUSED,
            refusals=(Refusal("min-active", "too few"),),
            counts=tally(Action, {Action.DEACTIVATE: 1}),
            changes=(_DOWN,),
        )
        drafts = [Draft(refusal, refused.numbers), draft]
        first, second = await setup.fleet.apply([refused, planned], drafts, _TERMS, setup.log)
        assert (first.outcome, second.outcome) == (RunOutcome.REFUSED, RunOutcome.CONVERGED)
        assert setup.written == [(A, "ACTIVE")]
        assert [subject.account for subject in setup.ledger.leased] == ["b"]

    _run(scenario, canary=CanarySettings(accounts=1))


@pytest.mark.parametrize(("hours", "outcome"), [(0, RunOutcome.CONVERGED), (1, RunOutcome.REFUSED)])
def test_account_without_writes_is_stale_once_its_schedule_asks_for_one(hours: int, outcome: RunOutcome) -> None:
    """The window in which B is ACTIVE ends while the plan waits for its approval."""
    noon = datetime(2026, 11, 24, 12, tzinfo=UTC)
    hour = timedelta(hours=1)
    window = Schedule(Status.INACTIVE, (DatedWindow(Status.ACTIVE, noon, noon + hour),), (), "UTC")
    desired = replace(_desired(**{f"n{B}": "ACTIVE"}), schedules={B: window})

    async def scenario(setup: _Setup) -> None:
        drafts = await setup.fleet.plan([desired], _TERMS, now=noon)
        (result,) = await setup.fleet.apply([desired], drafts, _TERMS, setup.log, now=noon + hours * hour)
        assert (result.outcome, setup.written) == (outcome, [])

    _run(scenario)


@pytest.mark.parametrize("way", ["declined", "in sync", "open attempts", "written"])
def test_confirmed_statuses_and_requests_are_recorded(way: str) -> None:
    async def scenario(setup: _Setup) -> None:
        desired = _desired(**{f"n{A}": "ACTIVE" if way in {"declined", "written"} else "INACTIVE"})
        (draft,) = await setup.fleet.plan([desired], _TERMS)
        draft = replace(draft, confirmed_statuses={B: Status.ACTIVE}, has_open_attempts=way == "open attempts")
        if way == "declined":
            (result,) = await setup.fleet.decline([desired], [draft], _TERMS, Declined("not confirmed"))
        else:
            (result,) = await setup.fleet.apply([desired], [draft], _TERMS, setup.log)
        assert setup.ledger.confirmed == [{B: Status.ACTIVE}]
        assert result.requests.reads + result.requests.writes == len(setup.sandbox.wire)
        assert len(setup.ledger.leased) == (way in {"open attempts", "written"})

    _run(scenario)


def test_read_that_lacks_numbers_is_repeated() -> None:
    """Numbers of the file, or of the last read with the same credentials."""

    async def scenario(setup: _Setup) -> None:
        setup.sandbox.script(None, "GET", [Fault.SHRUNKEN])
        desired = _desired(**{f"n{phone}": "ACTIVE" for phone in (A, B, C)})
        (draft,) = await setup.fleet.plan([desired], _TERMS)
        assert (draft.requests.reads, draft.plan.counts[Action.MISSING]) == (2, 0)
        setup.sandbox.script(None, "GET", [Fault.SHRUNKEN])
        observed = await setup.fleet.read(DefaultTarget(None, None), setup.log)
        assert (len(observed.numbers), len(setup.sandbox.wire)) == (3, 4)

    _run(scenario)
