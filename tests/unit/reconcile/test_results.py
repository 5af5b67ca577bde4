"""The result of accounts that are not carried out."""

import pytest

from worker.model.errors import ErrorInfo
from worker.model.plans import Verdict
from worker.model.results import AccountResult, Outcome, RunOutcome
from worker.plan.planfile import LeftOut
from worker.reconcile.results import left_out


@pytest.mark.parametrize(
    ("verdict", "outcome"), [(Verdict.REFUSED, RunOutcome.REFUSED), (Verdict.ERROR, RunOutcome.FAILED)]
)
def test_an_account_that_a_saved_plan_leaves_out_keeps_its_reason(verdict: Verdict, outcome: RunOutcome) -> None:
    message = "the saved plan has no writes for this account; plan again: too many"
    assert left_out(LeftOut("main", "7", verdict, ErrorInfo("MaxChanges", "too many"))) == AccountResult(
        account="main",
        account_id="7",
        outcome=outcome,
        error=ErrorInfo("MaxChanges", message),
        counts=dict.fromkeys(Outcome, 0),
    )
