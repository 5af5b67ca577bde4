"""One account from the first read to the verification read: plans, refusals, and an outcome for every number."""

from array import array
from collections import Counter
from datetime import UTC, datetime

import pytest
from msgspec import structs
from msgspec.structs import replace

from tests.support.model_account import ModelAccount, Recorder
from tests.support.virtual_time import run
from worker.ledger import NullLedger
from worker.model.accounts import AccountMemory, Desired, DesiredAccount, NumberUse, SafetyOverride, Status, Unmanaged
from worker.model.errors import (
    AccountBusy,
    AccountRejected,
    Declined,
    Interrupted,
    LedgerError,
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


async def _forgetful(_: str | None) -> AccountMemory:
    return AccountMemory()


def _draft(desired: DesiredAccount, account: ModelAccount, terms: Terms | None = None) -> Draft:
    return run(make_draft(desired, account, terms or Terms(), _forgetful, Recorder(), now=_NOW))


def _apply(
    desired: DesiredAccount, account: ModelAccount, terms: Terms | None = None, log: Recorder | None = None
) -> AccountResult:
    terms = terms or Terms()
    drawn = _draft(desired, account, terms)
    heard = log or Recorder()

    async def applied() -> AccountResult:
        conclusion = await apply(
            desired, drawn.plan, account, terms, now=_NOW, ledger=NullLedger(), pace=_PACE, log=heard, meter=Recorder()
        )
        await log_result(conclusion, heard)
        return conclusion.result

    return run(applied())


def test_a_plan_takes_one_read() -> None:
    """Planning reads the account once and counts every number in one action."""
    account = ModelAccount(n01000000001="INACTIVE", n01000000002="ACTIVE", n01000000004="PENDING")
    drawn = _draft(_desired(n01000000001=_ON, n01000000002=_ON, n01000000003=_ON), account)
    assert account.reads == 1
    assert drawn.plan.verdict is Verdict.OK
    assert {a: n for a, n in drawn.plan.counts.items() if n} == {
        Action.ACTIVATE: 1,
        Action.UNCHANGED: 1,
        Action.MISSING: 1,
        Action.UNMANAGED: 1,
    }


def test_every_number_of_a_plan_has_one_line() -> None:
    """Planned lines cover the whole account, the unchanged numbers included, each once."""
    account = ModelAccount(n01000000001="INACTIVE", n01000000002="ACTIVE", n01000000004="PENDING")
    log = Recorder()
    log_plan(_draft(_desired(n01000000001=_ON, n01000000002=_ON, n01000000003=_ON), account), log)
    assert Counter((event, fields["phone"]) for event, fields in log.lines if event != "notice") == {
        ("number.planned", phone): 1 for phone in (A, B, C, D)
    }


def test_an_apply_converges_and_gives_every_number_an_outcome() -> None:
    """Each number has one final log line and one outcome, and the next plan is empty."""
    account = ModelAccount(n01000000001="INACTIVE", n01000000002="ACTIVE", n01000000004="PENDING")
    desired = _desired(n01000000001=_ON, n01000000002=_ON, n01000000003=_ON)
    log = Recorder()
    result = _apply(desired, account, log=log)
    assert result.outcome is RunOutcome.PARTIAL
    assert {o: n for o, n in result.counts.items() if n} == {
        Outcome.CHANGED: 1,
        Outcome.UNCHANGED: 1,
        Outcome.MISSING: 1,
        Outcome.UNMANAGED: 1,
    }
    closed = Counter(fields["phone"] for event, fields in log.lines if event == "number")
    assert closed == dict.fromkeys((A, B, C, D), 1)
    assert not _draft(desired, account).plan.writes


def test_a_plan_that_is_no_longer_true_is_refused() -> None:
    """Nothing is written if the account is edited between the plan and the second read."""
    account = ModelAccount(n01000000001="INACTIVE", n01000000002="INACTIVE")
    account.on_read = lambda read: account.statuses.update({B: Status.ACTIVE}) if read == 2 else None
    with pytest.raises(StalePlan):
        _apply(_desired(n01000000001=_ON, n01000000002=_ON), account)
    assert account.written == []


def test_a_rule_that_only_now_refuses_stops_the_plan() -> None:
    """The second read applies the rules again, to an account that may have shrunk."""
    account = ModelAccount(n01000000001="ACTIVE", n01000000002="ACTIVE", n01000000003="ACTIVE")
    account.on_read = lambda read: account.statuses.update({C: Status.BLOCKED}) if read == 2 else None
    terms = Terms(Safety(max_deactivations=9, min_active=2))
    with pytest.raises(StalePlan):
        _apply(_desired(n01000000001=_OFF), account, terms)
    assert account.written == []


def test_the_files_own_thresholds_hold() -> None:
    """A threshold in the desired-state file wins over the settings' one."""
    account = ModelAccount(n01000000001="ACTIVE", n01000000002="ACTIVE", n01000000003="ACTIVE")
    desired = DesiredAccount("main", "m.yaml", {A: _OFF}, array("I", [1]), safety=SafetyOverride(max_deactivations=0))
    assert [refusal.rule for refusal in _draft(desired, account).plan.refusals] == ["max-deactivations"]


def test_allowing_min_active_releases_deactivations_from_activations() -> None:
    """With min-active allowed, the operator accepts an account without ACTIVE numbers."""
    account = ModelAccount(n01000000001="ACTIVE")
    terms = Terms(allow=frozenset({"min-active"}))
    assert _apply(_desired(n01000000001=_OFF), account, terms).outcome is RunOutcome.CONVERGED
    assert account.statuses[A] is Status.INACTIVE


def test_a_selection_leaves_other_numbers_alone() -> None:
    """Only the selected number is planned and written."""
    account = ModelAccount(n01000000001="INACTIVE", n01000000002="INACTIVE")
    terms = Terms(selection=Selection(only=frozenset({B})))
    result = _apply(_desired(n01000000001=_ON, n01000000002=_ON), account, terms)
    assert account.written == [(B, "ACTIVE")]
    assert sum(result.counts.values()) == 1


def test_unlisted_numbers_are_switched_off_where_the_file_says_so() -> None:
    """Under `unmanaged: deactivate` an unlisted ACTIVE number is written INACTIVE."""
    account = ModelAccount(n01000000001="ACTIVE", n01000000002="ACTIVE")
    _apply(_desired(Unmanaged.DEACTIVATE, n01000000001=_ON), account)
    assert account.written == [(B, "INACTIVE")]


def test_protected_number_is_reported_and_unchanged() -> None:
    """A protected number that differs is an outcome of its own and no failure."""
    account = ModelAccount(n01000000001="ACTIVE")
    result = _apply(_desired(n01000000001=Desired(Status.INACTIVE, protected=True)), account)
    assert (result.outcome, account.written) == (RunOutcome.CONVERGED, [])
    assert [number.outcome for number in result.numbers] == [Outcome.PROTECTED]
    assert result.numbers[0].error is None


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
def test_an_account_that_was_not_written_says_why(error: WorkerError, outcome: RunOutcome) -> None:
    """Whatever stopped it, the account's outcome is that, and its pending numbers were not attempted."""
    account = ModelAccount(n01000000001="INACTIVE", n01000000002="ACTIVE", n01000000003="PENDING")
    drawn = _draft(_desired(n01000000001=_ON, n01000000002=_ON, n01000000003=_ON), account)
    result = conclude_unapplied(drawn, Requests(), error).result
    assert result.outcome is outcome
    assert {number.phone: number.outcome for number in result.numbers} == {
        A: Outcome.NOT_ATTEMPTED,
        C: Outcome.BLOCKED,
    }
    assert result.counts[Outcome.UNCHANGED] == 1
    assert result.error is not None


def test_a_bug_after_the_first_write_leaves_its_numbers_unverified() -> None:
    """Writes were sent and not verified, so no number is called not attempted."""
    account = ModelAccount(n01000000001="INACTIVE", n01000000003="PENDING")
    drawn = _draft(_desired(n01000000001=_ON, n01000000003=_ON), account)
    result = conclude_unapplied(drawn, Requests(2, 1, 0), WorkerError("a bug")).result
    assert {number.phone: (number.outcome, number.after) for number in result.numbers} == {
        A: (Outcome.UNVERIFIED, None),
        C: (Outcome.BLOCKED, "PENDING"),
    }


def test_a_refused_plan_carries_its_refusals_into_the_result() -> None:
    account = ModelAccount(n01000000001="ACTIVE")
    drawn = _draft(_desired(n01000000001=_OFF), account)
    log = Recorder()
    log_plan(drawn, log)
    assert [(event, fields.get("error_code")) for event, fields in log.lines] == [
        ("account.refused", "min-active"),
        ("number.planned", None),
    ]
    result = conclude_unapplied(drawn, Requests()).result
    assert result.outcome is RunOutcome.REFUSED
    assert [refusal.rule for refusal in result.refusals] == ["min-active"]


def test_nothing_to_do_is_converged() -> None:
    """An account in sync needs no second read."""
    account = ModelAccount(n01000000001="ACTIVE")
    result = conclude_unapplied(_draft(_desired(n01000000001=_ON), account), Requests()).result
    assert (result.outcome, result.numbers, account.reads) == (RunOutcome.CONVERGED, (), 1)


def test_an_account_that_cannot_be_planned_gives_each_number_an_outcome() -> None:
    """Credentials that fail leave every listed number not attempted, with the account's error."""
    desired = _desired(n01000000001=_ON, n01000000002=_OFF)
    drawn = failed_draft(desired, Terms(), AccountRejected("no", api_code="InvalidApiKey"), _NOW)
    log = Recorder()
    log_plan(drawn, log)
    assert log.lines == [
        ("account.failed", {"http_status": None, "error_code": "InvalidApiKey", "error_message": "no"})
    ]
    assert drawn.plan.verdict is Verdict.ERROR
    result = conclude_unapplied(drawn, Requests()).result
    assert result.outcome is RunOutcome.FAILED
    assert result.counts[Outcome.NOT_ATTEMPTED] == 2
    assert {number.error.code for number in result.numbers if number.error} == {"InvalidApiKey"}


def _saved(account: ModelAccount, desired: DesiredAccount, safety: Safety | None = None) -> SavedAccount:
    return SavedAccount.of(
        desired, _draft(desired, account).plan, endpoint="solapi", safety=safety or Safety(max_deactivations=9)
    )


def _apply_saved(saved: SavedAccount, account: ModelAccount, moment: datetime = _NOW) -> AccountResult:
    heard = Recorder()
    pace = Pace(4, 900.0, moment.timestamp)
    carried = apply_saved(
        saved, account, frozenset(), ledger=NullLedger(), pace=pace, log=heard, meter=heard, now=moment
    )
    return run(carried).result


def test_a_saved_plan_writes_nothing_that_the_file_has_ceased_to_want() -> None:
    """From the moment until which a change was wanted it is a conflict that says so; the rest is written."""
    account = ModelAccount(n01000000001="INACTIVE", n01000000002="INACTIVE")
    until = replace(_ON, until="2026-11-24T09:00:00Z", because="scheduled ACTIVE: sale")
    saved = _saved(account, _desired(n01000000001=until, n01000000002=_ON))
    result = _apply_saved(saved, account, datetime(2026, 11, 24, 9, tzinfo=UTC))
    assert account.written == [(B, "ACTIVE")]
    lapsed = next(number for number in result.numbers if number.phone == A)
    assert (lapsed.outcome, lapsed.before, lapsed.after) == (Outcome.CONFLICT, "INACTIVE", "INACTIVE")
    assert lapsed.error is not None
    assert lapsed.error.message.startswith("the desired status ACTIVE ended at 2026-11-24T09:00:00Z")
    account = ModelAccount(n01000000001="INACTIVE", n01000000002="ACTIVE")
    assert _apply_saved(saved, account, datetime(2026, 11, 24, 8, 59, 59, tzinfo=UTC)).counts[Outcome.CHANGED] == 1


def test_a_saved_plan_writes_exactly_its_changes_where_they_still_hold() -> None:
    """What changed meanwhile is a conflict or already done; the rest is written; nothing else is touched."""
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


def test_a_saved_plan_meets_the_safety_rules_again() -> None:
    """A plan that was harmless when it was made is refused if by now it would silence the account."""
    account = ModelAccount(n01000000001="ACTIVE", n01000000002="ACTIVE")
    saved = _saved(account, _desired(n01000000001=_OFF))
    account.statuses[B] = Status.INACTIVE
    with pytest.raises(PolicyRefusal, match="min_active"):
        _apply_saved(saved, account)
    assert account.written == []


_GUARDED = Terms(Safety("100%", 0), in_use=InUse(enabled=True))


def test_an_apply_relies_on_the_answer_of_its_plan() -> None:
    """Use is queried once per deactivation; held numbers stay held at the second read, and notices are kept."""
    account = ModelAccount(n01000000001="ACTIVE", n01000000002="ACTIVE", n01000000003="INACTIVE")
    account.use = NumberUse({A: "busy"}, frozenset({B}), "who knows")
    terms = structs.replace(_GUARDED, in_use=InUse(enabled=True, on_unknown="allow"))
    log = Recorder()
    result = _apply(_desired(n01000000001=_OFF, n01000000002=_OFF, n01000000003=_ON), account, terms, log)
    assert account.asked == [((A, B), 24)]
    assert {number.phone: number.outcome for number in result.numbers} == {
        A: Outcome.HELD,
        B: Outcome.CHANGED,
        C: Outcome.CHANGED,
    }
    assert [notice.kind for notice in result.notices] == [NoticeKind.IN_USE]
    assert [fields["message"] for event, fields in log.lines if event == "notice"] == [result.notices[0].message]


def test_drift_does_not_query_usage() -> None:
    account = ModelAccount(n01000000001="ACTIVE")
    drawn = _draft(_desired(n01000000001=_OFF), account, structs.replace(_GUARDED, drift=True))
    assert [change.action for change in drawn.plan.changes] == [Action.DEACTIVATE]
    assert account.asked == []


def test_notices_of_a_result_are_of_the_verification_read() -> None:
    account = ModelAccount(n01000000001="INACTIVE", n01000000002="PENDING")

    def review(read: int) -> None:
        if read == 3:
            account.statuses[B] = Status.BLOCKED

    account.on_read = review
    result = _apply(_desired(n01000000001=_ON, n01000000002=_ON), account)
    assert [(notice.kind, notice.phone) for notice in result.notices] == [(NoticeKind.BLOCKED, B)]
