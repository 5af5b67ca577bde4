"""Results of accounts that are not applied."""

import pytest
from msgspec.structs import replace

from worker.model.accounts import Observed, ObservedAccount, Status
from worker.model.errors import (
    AccountBusy,
    ActivationsFailed,
    CanaryFailed,
    DeadlineExceeded,
    Declined,
    ErrorInfo,
    Interrupted,
    LedgerError,
    NumberError,
    PolicyRefusal,
    Refusal,
    StalePlan,
    WorkerError,
)
from worker.model.plans import Action, Change, Notice, NoticeKind, Verdict
from worker.model.results import AccountResult, NumberResult, Outcome, Requests, RunOutcome
from worker.plan.planfile import LeftOut
from worker.reconcile.attempt import WriteAttempt
from worker.reconcile.results import (
    as_unverified,
    conclude,
    conflict_result,
    expired_result,
    impossible_result,
    left_out_result,
    no_longer_desired_result,
    not_written_result,
    unchanged_result,
)


@pytest.mark.parametrize(
    ("verdict", "outcome"), [(Verdict.REFUSED, RunOutcome.REFUSED), (Verdict.ERROR, RunOutcome.FAILED)]
)
def test_account_left_out_of_a_saved_plan_keeps_its_reason(verdict: Verdict, outcome: RunOutcome) -> None:
    message = "the saved plan has no writes for this account; plan again: too many"
    assert left_out_result(LeftOut("main", "7", verdict, ErrorInfo("MaxChanges", "too many"))) == AccountResult(
        account="main",
        account_id="7",
        outcome=outcome,
        error=ErrorInfo("MaxChanges", message),
        counts=dict.fromkeys(Outcome, 0),
    )


def _number_result(phone: str, outcome: Outcome) -> NumberResult:
    return NumberResult(phone, Action.ACTIVATE, "ACTIVE", "INACTIVE", "ACTIVE", outcome, 1)


def test_unchanged_numbers_are_counted_and_logged_but_not_listed() -> None:
    """Unchanged numbers are unnecessary writes, and numbers that the plan only counts."""
    numbers = [_number_result("0101", Outcome.CHANGED), _number_result("0102", Outcome.UNCHANGED)]
    desired = [("0103", "ACTIVE"), ("0104", "INACTIVE")]
    notices = (Notice(NoticeKind.LIMIT, "nearly full"),)
    conclusion = conclude(
        "main", "7", numbers, requests=Requests(1, 2), stop_reason=None, notices=notices, desired=desired, count=2
    )
    result = AccountResult(
        account="main",
        account_id="7",
        outcome=RunOutcome.CONVERGED,
        counts=dict.fromkeys(Outcome, 0) | {Outcome.CHANGED: 1, Outcome.UNCHANGED: 3},
        requests=Requests(1, 2),
        numbers=(numbers[0],),
        notices=notices,
    )
    assert conclusion.result == result
    assert conclusion.with_requests(Requests(3, 4, 5)).result == replace(result, requests=Requests(3, 4, 5))
    assert conclude("main", "7", (), requests=Requests(), stop_reason=None).result.counts == dict.fromkeys(Outcome, 0)
    assert list(conclusion.unchanged_numbers) == [
        numbers[1],
        unchanged_result("0103", "ACTIVE"),
        unchanged_result("0104", "INACTIVE"),
    ]


_CHANGE = Change("0101", Action.ACTIVATE, "INACTIVE", "ACTIVE", "listed", until="2027-01-01T00:00:00Z")


def _account(status: Status | None) -> ObservedAccount:
    return ObservedAccount("7", {} if status is None else {"0101": Observed("0101", status)})


def test_unchanged_number_has_one_status() -> None:
    assert unchanged_result("0101", "ACTIVE") == NumberResult(
        "0101", Action.UNCHANGED, "ACTIVE", "ACTIVE", "ACTIVE", Outcome.UNCHANGED
    )


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (None, "the number was INACTIVE when planned, and is not registered now: plan again"),
        (Status.BLOCKED, "the number was INACTIVE when planned, and is BLOCKED now: plan again"),
    ],
)
def test_number_that_changed_since_the_plan_is_a_conflict(status: Status | None, message: str) -> None:
    error = NumberError("Conflict", message)
    expected = NumberResult("0101", Action.ACTIVATE, "ACTIVE", "INACTIVE", status, Outcome.CONFLICT, 0, error)
    assert conflict_result(_CHANGE, _account(status)) == expected
    assert impossible_result(_CHANGE, _account(status)) == expected


def test_result_keeps_the_note_and_the_owner_of_the_file() -> None:
    change = replace(_CHANGE, note="old head office", owner="marketing")
    attempt = WriteAttempt(change)
    for result in (
        not_written_result(change),
        expired_result(change, _account(None)),
        attempt.result(None, None, is_verified=False),
    ):
        assert (result.note, result.owner) == ("old head office", "marketing")


@pytest.mark.parametrize("status", [None, Status.INACTIVE])
def test_write_that_is_no_longer_desired_is_a_conflict_with_its_reason(status: Status | None) -> None:
    ended = NumberError("Conflict", "the desired status ACTIVE ended at 2027-01-01T00:00:00Z: plan again")
    dropped = NumberError("Conflict", "the file no longer lists it")
    for result, error in (
        (expired_result(_CHANGE, _account(status)), ended),
        (no_longer_desired_result(_CHANGE, _account(status), "the file no longer lists it"), dropped),
    ):
        assert result == NumberResult("0101", Action.ACTIVATE, "ACTIVE", status, status, Outcome.CONFLICT, 0, error)


@pytest.mark.parametrize(
    ("action", "outcome", "error"),
    [
        (Action.ACTIVATE, Outcome.NOT_ATTEMPTED, NumberError("Interrupted", "stopped")),
        (Action.DEACTIVATE, Outcome.NOT_ATTEMPTED, NumberError("Interrupted", "stopped")),
        (Action.BLOCKED, Outcome.BLOCKED, NumberError("Blocked", "listed")),
        (Action.HELD, Outcome.HELD, NumberError("Held", "listed")),
        (Action.MISSING, Outcome.MISSING, NumberError("Missing", "listed")),
        (Action.PROTECTED, Outcome.PROTECTED, None),
        (Action.UNMANAGED, Outcome.UNMANAGED, None),
    ],
)
def test_number_that_is_not_written_keeps_its_status(
    action: Action, outcome: Outcome, error: NumberError | None
) -> None:
    """A number that needs attention has the reason of its plan, and a write that was not sent that of the account."""
    change = replace(_CHANGE, action=action)
    stop = NumberError("Interrupted", "stopped")
    expected = NumberResult("0101", action, "ACTIVE", "INACTIVE", "INACTIVE", outcome, 0, error)
    assert not_written_result(change, stop) == expected
    if action.needs_attention:
        assert impossible_result(change, _account(Status.INACTIVE)) == expected
        assert impossible_result(change, _account(Status.ACTIVE)) == unchanged_result("0101", "ACTIVE")


def test_write_that_may_have_been_sent_is_unverified() -> None:
    stop = NumberError("LedgerError", "disk full")
    result = not_written_result(_CHANGE, stop)
    assert as_unverified(result) == NumberResult(
        "0101", Action.ACTIVATE, "ACTIVE", "INACTIVE", None, Outcome.UNVERIFIED, 0, stop
    )
    held = not_written_result(replace(_CHANGE, action=Action.HELD))
    assert as_unverified(held) is held


@pytest.mark.parametrize(
    ("stop", "outcomes"),
    [
        (None, (RunOutcome.CONVERGED, RunOutcome.PARTIAL)),
        (DeadlineExceeded("late"), (RunOutcome.CONVERGED, RunOutcome.PARTIAL)),
        (ActivationsFailed("no"), (RunOutcome.CONVERGED, RunOutcome.PARTIAL)),
        (CanaryFailed("no"), (RunOutcome.CONVERGED, RunOutcome.PARTIAL)),
        (PolicyRefusal([Refusal("min-active", "too few")]), (RunOutcome.REFUSED,) * 2),
        (StalePlan("changed"), (RunOutcome.REFUSED,) * 2),
        (Declined("no"), (RunOutcome.REFUSED,) * 2),
        (AccountBusy("leased"), (RunOutcome.LOCKED,) * 2),
        (Interrupted("stopped"), (RunOutcome.INTERRUPTED,) * 2),
        (LedgerError("disk full"), (RunOutcome.FAILED,) * 2),
    ],
)
def test_outcome_of_an_account_follows_from_its_error_and_its_numbers(
    stop: WorkerError | None, outcomes: tuple[RunOutcome, RunOutcome]
) -> None:
    for number, outcome in zip((Outcome.CHANGED, Outcome.FAILED), outcomes, strict=True):
        result = conclude("main", "7", [_number_result("0101", number)], requests=Requests(), stop_reason=stop).result
        assert result.outcome is outcome
        assert result.error == (None if stop is None else stop.info)
        assert result.refusals == (stop.refusals if isinstance(stop, PolicyRefusal) else ())
