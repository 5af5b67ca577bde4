"""Results of accounts that are not applied."""

import pytest

from worker.model.errors import ErrorInfo
from worker.model.plans import Action, Verdict
from worker.model.results import AccountResult, NumberResult, Outcome, Requests, RunOutcome
from worker.plan.planfile import LeftOut
from worker.reconcile.results import conclude, left_out_result, unchanged_result


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
    """These are unnecessary writes, and numbers that the plan only counts."""
    numbers = [_number_result("0101", Outcome.CHANGED), _number_result("0102", Outcome.UNCHANGED)]
    desired = [("0103", "ACTIVE"), ("0104", "INACTIVE")]
    conclusion = conclude("main", "7", numbers, requests=Requests(1, 2), stop_reason=None, desired=desired, count=2)
    assert conclusion.result.numbers == (numbers[0],)
    assert conclusion.result.counts == dict.fromkeys(Outcome, 0) | {Outcome.CHANGED: 1, Outcome.UNCHANGED: 3}
    assert conclusion.result.outcome is RunOutcome.CONVERGED
    assert list(conclusion.unchanged_numbers) == [
        numbers[1],
        unchanged_result("0103", "ACTIVE"),
        unchanged_result("0104", "INACTIVE"),
    ]
