"""One account from the first read to the verification read: plans, refusals, and one outcome for each number."""

from array import array
from collections import Counter
from datetime import UTC, datetime

import pytest
from msgspec import structs
from msgspec.structs import replace

from tests.support.model_account import ModelAccount, Recorder
from tests.support.virtual_time import run
from worker.ledger import NullLedger
from worker.model.accounts import (
    AccountMemory,
    Acknowledgement,
    Desired,
    DesiredAccount,
    InUseOverride,
    NumberUse,
    SafetyOverride,
    Status,
    Unmanaged,
)
from worker.model.errors import (
    AccountBusy,
    AccountRejected,
    Declined,
    Interrupted,
    LedgerError,
    NumberError,
    PolicyRefusal,
    StalePlan,
    WorkerError,
)
from worker.model.plans import Action, NoticeKind, Verdict
from worker.model.results import AccountResult, Outcome, Requests, RunOutcome
from worker.model.safety import InUse, Safety
from worker.plan.build import Draft, Terms, failed_draft
from worker.plan.planfile import SavedAccount
from worker.plan.policy import Selection
from worker.reconcile.account import apply, apply_saved, conclude_unapplied, make_draft
from worker.reconcile.executor import Pace
from worker.reconcile.log import log_plan, log_result

A, B, C, D = "01000000001", "01000000002", "01000000003", "01000000004"
_ON, _OFF = Desired(Status.ACTIVE), Desired(Status.INACTIVE)
_PACE = Pace(4, 900.0)
_NOW = datetime(2026, 11, 24, tzinfo=UTC)


def _desired(unmanaged: Unmanaged = Unmanaged.REPORT, **numbers: Desired) -> DesiredAccount:
    phones = {phone.lstrip("n"): desired for phone, desired in numbers.items()}
    return DesiredAccount("main", "main.yaml", phones, array("I", range(1, len(phones) + 1)), unmanaged=unmanaged)


async def _recall_nothing(_: str | None) -> AccountMemory:
    return AccountMemory()


def _draft(desired: DesiredAccount, account: ModelAccount, terms: Terms | None = None) -> Draft:
    return run(make_draft(desired, account, terms or Terms(), _recall_nothing, Recorder(), now=_NOW))


def _apply(
    desired: DesiredAccount, account: ModelAccount, terms: Terms | None = None, log: Recorder | None = None
) -> AccountResult:
    terms = terms or Terms()
    draft = _draft(desired, account, terms)
    run_log = log or Recorder()

    async def apply_and_log() -> AccountResult:
        conclusion = await apply(
            desired,
            draft.plan,
            account,
            terms,
            now=_NOW,
            ledger=NullLedger(),
            pace=_PACE,
            log=run_log,
            meter=Recorder(),
        )
        await log_result(conclusion, run_log)
        return conclusion.result

    return run(apply_and_log())


def test_plan_takes_one_read() -> None:
    """Each number is counted in one action."""
    account = ModelAccount(n01000000001="INACTIVE", n01000000002="ACTIVE", n01000000004="PENDING")
    draft = _draft(_desired(n01000000001=_ON, n01000000002=_ON, n01000000003=_ON), account)
    assert account.reads == 1
    assert draft.plan.verdict is Verdict.OK
    assert {action: count for action, count in draft.plan.counts.items() if count} == {
        Action.ACTIVATE: 1,
        Action.UNCHANGED: 1,
        Action.MISSING: 1,
        Action.UNMANAGED: 1,
    }


def test_every_number_of_a_plan_is_logged_once() -> None:
    """Unchanged numbers are logged too."""
    account = ModelAccount(n01000000001="INACTIVE", n01000000002="ACTIVE", n01000000004="PENDING")
    log = Recorder()
    log_plan(_draft(_desired(n01000000001=_ON, n01000000002=_ON, n01000000003=_ON), account), log)
    assert Counter((event, fields["phone"]) for event, fields in log.lines if event != "notice") == {
        ("number.planned", phone): 1 for phone in (A, B, C, D)
    }


def test_apply_converges_with_one_outcome_for_each_number() -> None:
    """Each number has one final log line and one outcome, and the next plan has no writes."""
    account = ModelAccount(n01000000001="INACTIVE", n01000000002="ACTIVE", n01000000004="PENDING")
    desired = _desired(n01000000001=_ON, n01000000002=_ON, n01000000003=_ON)
    log = Recorder()
    result = _apply(desired, account, log=log)
    assert result.outcome is RunOutcome.PARTIAL
    assert {outcome: count for outcome, count in result.counts.items() if count} == {
        Outcome.CHANGED: 1,
        Outcome.UNCHANGED: 1,
        Outcome.MISSING: 1,
        Outcome.UNMANAGED: 1,
    }
    final_lines = Counter(fields["phone"] for event, fields in log.lines if event == "number")
    assert final_lines == dict.fromkeys((A, B, C, D), 1)
    assert not _draft(desired, account).plan.writes


def test_stale_plan_is_refused() -> None:
    """Nothing is written if the account changes between the plan and the second read."""
    account = ModelAccount(n01000000001="INACTIVE", n01000000002="INACTIVE")
    account.on_read = lambda read: account.statuses.update({B: Status.ACTIVE}) if read == 2 else None
    with pytest.raises(StalePlan):
        _apply(_desired(n01000000001=_ON, n01000000002=_ON), account)
    assert account.written == []


def test_safety_rules_are_checked_on_the_second_read() -> None:
    """An account with fewer ACTIVE numbers than at the time of the plan can make the plan stale."""
    account = ModelAccount(n01000000001="ACTIVE", n01000000002="ACTIVE", n01000000003="ACTIVE")
    account.on_read = lambda read: account.statuses.update({C: Status.BLOCKED}) if read == 2 else None
    terms = Terms(Safety(max_deactivations=9, min_active=2))
    with pytest.raises(StalePlan):
        _apply(_desired(n01000000001=_OFF), account, terms)
    assert account.written == []


def test_threshold_of_the_file_overrides_the_settings() -> None:
    account = ModelAccount(n01000000001="ACTIVE", n01000000002="ACTIVE", n01000000003="ACTIVE")
    desired = DesiredAccount("main", "m.yaml", {A: _OFF}, array("I", [1]), safety=SafetyOverride(max_deactivations=0))
    assert [refusal.rule for refusal in _draft(desired, account).plan.refusals] == ["max-deactivations"]


def test_allowed_min_active_permits_deactivating_the_last_number() -> None:
    """With `min-active` allowed, the operator accepts an account without ACTIVE numbers."""
    account = ModelAccount(n01000000001="ACTIVE")
    terms = Terms(allow=frozenset({"min-active"}))
    assert _apply(_desired(n01000000001=_OFF), account, terms).outcome is RunOutcome.CONVERGED
    assert account.statuses[A] is Status.INACTIVE


def test_selection_limits_plan_and_writes() -> None:
    """Only the selected number is planned and written."""
    account = ModelAccount(n01000000001="INACTIVE", n01000000002="INACTIVE")
    terms = Terms(selection=Selection(only=frozenset({B})))
    result = _apply(_desired(n01000000001=_ON, n01000000002=_ON), account, terms)
    assert account.written == [(B, "ACTIVE")]
    assert sum(result.counts.values()) == 1


def test_unlisted_numbers_are_deactivated_if_configured() -> None:
    """With `unmanaged: deactivate`, an unlisted ACTIVE number becomes INACTIVE."""
    account = ModelAccount(n01000000001="ACTIVE", n01000000002="ACTIVE")
    _apply(_desired(Unmanaged.DEACTIVATE, n01000000001=_ON), account)
    assert account.written == [(B, "INACTIVE")]


def test_protected_number_is_reported_and_unchanged() -> None:
    """A protected number that is out of sync has an outcome of its own and no error."""
    account = ModelAccount(n01000000001="ACTIVE")
    result = _apply(_desired(n01000000001=Desired(Status.INACTIVE, protected=True)), account)
    assert (result.outcome, account.written) == (RunOutcome.CONVERGED, [])
    assert [number.outcome for number in result.numbers] == [Outcome.PROTECTED]
    assert result.numbers[0].error is None


def test_acknowledged_number_is_reported_and_unchanged() -> None:
    """The account converges. Once the acknowledgement has ended, the number is written."""
    desired = _desired(n01000000001=_OFF)
    for until, outcome in (("2999-01-01", Outcome.ACKNOWLEDGED), ("2000-01-01", Outcome.CHANGED)):
        known = Acknowledgement("known", datetime.fromisoformat(until).replace(tzinfo=UTC))
        account = ModelAccount(n01000000001="ACTIVE", n01000000002="ACTIVE")
        result = _apply(replace(desired, acknowledgements={A: known}), account)
        assert (result.outcome, account.written) == (
            RunOutcome.CONVERGED,
            [] if outcome is Outcome.ACKNOWLEDGED else [(A, "INACTIVE")],
        )
        assert [number.outcome for number in result.numbers if number.phone == A] == [outcome]


def test_result_has_no_notice_on_an_acknowledged_status() -> None:
    """A run that writes another number does not report the acknowledged one again."""
    known = Acknowledgement("documents sent", datetime(2999, 1, 1, tzinfo=UTC), observed="PENDING")
    account = ModelAccount(n01000000001="PENDING", n01000000002="INACTIVE")
    desired = replace(_desired(n01000000001=_ON, n01000000002=_ON), acknowledgements={A: known})
    result = _apply(desired, account)
    assert (result.outcome, result.notices, account.written) == (RunOutcome.CONVERGED, (), [(B, "ACTIVE")])


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (AccountBusy("held"), RunOutcome.LOCKED),
        (StalePlan("stale"), RunOutcome.REFUSED),
        (Declined("no"), RunOutcome.REFUSED),
        (PolicyRefusal(()), RunOutcome.REFUSED),
        (Interrupted("stop"), RunOutcome.INTERRUPTED),
        (AccountRejected("key"), RunOutcome.FAILED),
        (LedgerError("disk"), RunOutcome.FAILED),
    ],
)
def test_unapplied_account_has_the_outcome_of_its_error(error: WorkerError, outcome: RunOutcome) -> None:
    """Planned writes are not attempted; numbers that need no write keep their outcome."""
    account = ModelAccount(n01000000001="INACTIVE", n01000000002="ACTIVE", n01000000003="PENDING")
    draft = _draft(_desired(n01000000001=_ON, n01000000002=_ON, n01000000003=_ON), account)
    result = conclude_unapplied(draft, Requests(), error).result
    assert result.outcome is outcome
    assert {number.phone: number.outcome for number in result.numbers} == {A: Outcome.NOT_ATTEMPTED, C: Outcome.BLOCKED}
    assert {number.phone: number.error for number in result.numbers} == {
        A: error.number_error,
        C: NumberError("Blocked", next(change.reason for change in draft.plan.changes if change.phone == C)),
    }
    assert result.counts[Outcome.UNCHANGED] == 1
    assert result.error == error.info
    assert [(notice.kind, notice.phone) for notice in result.notices] == [(NoticeKind.PENDING, C)]


def test_unexpected_error_after_the_first_write_is_unverified() -> None:
    """Writes were sent and not verified, so no number is reported as not attempted."""
    account = ModelAccount(n01000000001="INACTIVE", n01000000003="PENDING")
    draft = _draft(_desired(n01000000001=_ON, n01000000003=_ON), account)
    result = conclude_unapplied(draft, Requests(2, 1, 0), WorkerError("a bug")).result
    assert {number.phone: (number.outcome, number.after) for number in result.numbers} == {
        A: (Outcome.UNVERIFIED, None),
        C: (Outcome.BLOCKED, "PENDING"),
    }


def test_refused_plan_has_its_refusals_in_the_result() -> None:
    account = ModelAccount(n01000000001="ACTIVE")
    draft = _draft(_desired(n01000000001=_OFF), account)
    log = Recorder()
    log_plan(draft, log)
    assert [(event, fields.get("error_code")) for event, fields in log.lines] == [
        ("account.refused", "min-active"),
        ("number.planned", None),
    ]
    result = conclude_unapplied(draft, Requests()).result
    assert result.outcome is RunOutcome.REFUSED
    assert [refusal.rule for refusal in result.refusals] == ["min-active"]


def test_account_in_sync_is_converged_after_one_read() -> None:
    account = ModelAccount(n01000000001="ACTIVE")
    result = conclude_unapplied(_draft(_desired(n01000000001=_ON), account), Requests()).result
    assert (result.outcome, result.numbers, account.reads) == (RunOutcome.CONVERGED, (), 1)


def test_unplanned_account_has_an_outcome_for_each_number() -> None:
    """If the credentials are rejected, each listed number is not attempted, with the error of the account."""
    desired = _desired(n01000000001=_ON, n01000000002=_OFF)
    draft = failed_draft(desired, Terms(), AccountRejected("no", api_code="InvalidApiKey"), _NOW)
    log = Recorder()
    log_plan(draft, log)
    assert log.lines == [
        ("account.failed", {"http_status": None, "error_code": "InvalidApiKey", "error_message": "no"})
    ]
    assert draft.plan.verdict is Verdict.ERROR
    result = conclude_unapplied(draft, Requests()).result
    assert result.outcome is RunOutcome.FAILED
    assert result.counts[Outcome.NOT_ATTEMPTED] == 2
    assert {number.error.code for number in result.numbers if number.error} == {"InvalidApiKey"}


def _saved(account: ModelAccount, desired: DesiredAccount, safety: Safety | None = None) -> SavedAccount:
    return SavedAccount.of(
        desired, _draft(desired, account).plan, endpoint="solapi", safety=safety or Safety(max_deactivations=9)
    )


def _apply_saved(saved: SavedAccount, account: ModelAccount, moment: datetime = _NOW) -> AccountResult:
    log = Recorder()
    pace = Pace(4, 900.0, moment.timestamp)
    applying = apply_saved(saved, account, frozenset(), ledger=NullLedger(), pace=pace, log=log, meter=log, now=moment)
    return run(applying).result


def test_expired_change_of_a_saved_plan_is_conflict() -> None:
    """A change is not written once its desired status has ended. The other changes are written."""
    account = ModelAccount(n01000000001="INACTIVE", n01000000002="INACTIVE")
    until = replace(_ON, until="2026-11-24T09:00:00Z", because="scheduled ACTIVE: sale")
    saved = _saved(account, _desired(n01000000001=until, n01000000002=_ON))
    result = _apply_saved(saved, account, datetime(2026, 11, 24, 9, tzinfo=UTC))
    assert account.written == [(B, "ACTIVE")]
    expired = next(number for number in result.numbers if number.phone == A)
    assert (expired.outcome, expired.before, expired.after) == (Outcome.CONFLICT, "INACTIVE", "INACTIVE")
    assert expired.error is not None
    assert expired.error.message.startswith("the desired status ACTIVE ended at 2026-11-24T09:00:00Z")
    account = ModelAccount(n01000000001="INACTIVE", n01000000002="ACTIVE")
    assert _apply_saved(saved, account, datetime(2026, 11, 24, 8, 59, 59, tzinfo=UTC)).counts[Outcome.CHANGED] == 1


def test_saved_plan_writes_only_changes_that_are_still_due() -> None:
    """Numbers that changed since the plan are a conflict or unchanged. No other number is written."""
    account = ModelAccount(
        n01000000001="INACTIVE", n01000000002="INACTIVE", n01000000003="INACTIVE", n01000000004="INACTIVE"
    )
    saved = _saved(account, _desired(n01000000001=_ON, n01000000002=_ON, n01000000003=_ON))
    account.statuses[B] = Status.ACTIVE
    account.statuses[C] = Status.BLOCKED
    result = _apply_saved(saved, account)
    assert account.written == [(A, "ACTIVE")]
    assert {number.phone: number.outcome for number in result.numbers} == {A: Outcome.CHANGED, C: Outcome.CONFLICT}
    assert (result.counts[Outcome.UNCHANGED], result.outcome) == (1, RunOutcome.PARTIAL)


def test_saved_plan_is_checked_by_the_safety_rules_again() -> None:
    """A plan is refused if it would now leave the account without ACTIVE numbers."""
    account = ModelAccount(n01000000001="ACTIVE", n01000000002="ACTIVE")
    saved = _saved(account, _desired(n01000000001=_OFF))
    account.statuses[B] = Status.INACTIVE
    with pytest.raises(PolicyRefusal, match="min_active"):
        _apply_saved(saved, account)
    assert account.written == []


_GUARDED = Terms(Safety("100%", 0), in_use=InUse(enabled=True))


def test_apply_reuses_the_usage_query_of_its_plan() -> None:
    """Usage is queried once for each deactivation. Held numbers stay held on the second read, and notices are kept."""
    account = ModelAccount(n01000000001="ACTIVE", n01000000002="ACTIVE", n01000000003="INACTIVE")
    account.use = NumberUse({A: "busy"}, frozenset({B}), "who knows")
    terms = structs.replace(_GUARDED, in_use=InUse(enabled=True, on_unknown="allow"))
    log = Recorder()
    result = _apply(_desired(n01000000001=_OFF, n01000000002=_OFF, n01000000003=_ON), account, terms, log)
    assert account.usage_queries == [((A, B), 24)]
    assert {number.phone: number.outcome for number in result.numbers} == {
        A: Outcome.HELD,
        B: Outcome.CHANGED,
        C: Outcome.CHANGED,
    }
    assert [notice.kind for notice in result.notices] == [NoticeKind.IN_USE]
    assert [fields["message"] for event, fields in log.lines if event == "notice"] == [result.notices[0].message]


@pytest.mark.parametrize(
    ("override", "queries"),
    [
        (None, [((A,), 24)]),
        (InUseOverride(enabled=False), []),
        (InUseOverride(hours=7), [((A,), 7)]),
        (InUseOverride(on_unknown="allow"), [((A,), 24)]),
    ],
)
def test_guard_of_the_file_overrides_the_settings(
    override: InUseOverride | None, queries: list[tuple[tuple[str, ...], int]]
) -> None:
    account = ModelAccount(n01000000001="ACTIVE")
    account.use = NumberUse(unknown=frozenset({A}), why="no permission")
    draft = _draft(structs.replace(_desired(n01000000001=_OFF), in_use=override), account, _GUARDED)
    assert account.usage_queries == queries
    is_held = override is None or (override.enabled and override.on_unknown is None)
    assert [change.action for change in draft.plan.changes] == [Action.HELD if is_held else Action.DEACTIVATE]


def test_drift_does_not_query_usage() -> None:
    account = ModelAccount(n01000000001="ACTIVE")
    draft = _draft(_desired(n01000000001=_OFF), account, structs.replace(_GUARDED, drift=True))
    assert [change.action for change in draft.plan.changes] == [Action.DEACTIVATE]
    assert account.usage_queries == []


def test_result_has_the_notices_of_the_verification_read() -> None:
    account = ModelAccount(n01000000001="INACTIVE", n01000000002="PENDING")

    def block_number(read: int) -> None:
        if read == 3:
            account.statuses[B] = Status.BLOCKED

    account.on_read = block_number
    result = _apply(_desired(n01000000001=_ON, n01000000002=_ON), account)
    assert [(notice.kind, notice.phone) for notice in result.notices] == [(NoticeKind.BLOCKED, B)]
