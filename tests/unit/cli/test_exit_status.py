"""Exit statuses of one account and of several."""

from itertools import combinations, permutations

import msgspec
import pytest

from worker.cli.exit_status import ExitStatus, of_drift, of_plans, of_result, overall
from worker.model.errors import ErrorInfo, Refusal
from worker.model.plans import AccountPlan, Action, Change, Verdict, tally
from worker.model.results import AccountResult, Outcome, Result, RunOutcome

_WRITE = Change("01012345678", Action.ACTIVATE, "INACTIVE", "ACTIVE", "")
_KNOWN = msgspec.structs.replace(_WRITE, action=Action.ACKNOWLEDGED)


def _plan(verdict: Verdict = Verdict.OK, **counts: int) -> AccountPlan:
    actions = {Action(name): number for name, number in counts.items()}
    return AccountPlan(
        account="a",
        verdict=verdict,
        counts=tally(Action, actions),
        changes=(_WRITE,) if actions.get(Action.ACTIVATE) else (),
        refusals=(Refusal("min-active", ""),) if verdict is Verdict.REFUSED else (),
        error=ErrorInfo("x", "") if verdict is Verdict.ERROR else None,
    )


def _result(*outcomes: RunOutcome) -> Result:
    accounts = tuple(AccountResult(account=outcome, outcome=outcome, counts=tally(Outcome, {})) for outcome in outcomes)
    return Result(run_id="r", started_at="", finished_at="", outcome=overall(outcomes), accounts=accounts)


@pytest.mark.parametrize(
    ("plan", "plain", "detailed"),
    [
        (_plan(unchanged=3), 0, 0),
        (_plan(activate=1), 0, 2),
        (_plan(activate=1, blocked=1), 0, 3),
        (_plan(missing=1), 0, 3),
        (_plan(protected=1, acknowledged=1, unmanaged=1), 0, 0),
        (_plan(Verdict.REFUSED, activate=1), 4, 4),
        (_plan(Verdict.ERROR), 1, 1),
    ],
)
def test_plan_sets_the_exit_status(plan: AccountPlan, plain: int, detailed: int) -> None:
    """A successful plan is 0. With --detailed-exitcode, pending changes are 2 and impossible ones 3."""
    assert of_plans([plan], is_detailed=False) == plain
    assert of_plans([plan], is_detailed=True) == detailed


@pytest.mark.parametrize(
    ("plan", "status"),
    [
        (_plan(unchanged=3), 0),
        (_plan(activate=1), 2),
        (_plan(activate=1, blocked=1), 3),
        (msgspec.structs.replace(_plan(protected=1), changes=(_WRITE,)), 2),
        (msgspec.structs.replace(_plan(acknowledged=1), changes=(_KNOWN,)), 0),
        (msgspec.structs.replace(_plan(acknowledged=1, protected=1), changes=(_KNOWN, _WRITE)), 2),
        (_plan(Verdict.REFUSED, activate=1), 4),
        (_plan(Verdict.ERROR), 1),
    ],
)
def test_drift_sets_the_exit_status(plan: AccountPlan, status: int) -> None:
    """Drift is 2 even if a rule forbids the fix, and 3 if it cannot be fixed. Otherwise the plan determines it."""
    assert of_drift([plan, _plan()]) == status


def test_most_severe_plan_determines_the_status() -> None:
    """Severity decreases in the order 1, 4, 3, 2, 0."""
    plans = [_plan(Verdict.ERROR), _plan(Verdict.REFUSED), _plan(missing=1), _plan(activate=1), _plan()]
    order = [1, 4, 3, 2, 0]
    for first, second in combinations(range(len(plans)), 2):
        assert of_plans([plans[second], plans[first]], is_detailed=True) == order[first]
    assert of_plans([], is_detailed=True) == 0


@pytest.mark.parametrize(
    ("outcome", "status"),
    [
        (RunOutcome.CONVERGED, ExitStatus.OK),
        (RunOutcome.PARTIAL, ExitStatus.UNCONVERGED),
        (RunOutcome.REFUSED, ExitStatus.REFUSED),
        (RunOutcome.LOCKED, ExitStatus.BUSY),
        (RunOutcome.FAILED, ExitStatus.ERROR),
        (RunOutcome.INTERRUPTED, ExitStatus.UNCONVERGED),
    ],
)
def test_outcome_of_a_run_determines_the_status(outcome: RunOutcome, status: ExitStatus) -> None:
    assert of_result(_result(RunOutcome.CONVERGED, outcome)) is status


def test_most_severe_account_determines_the_status() -> None:
    """Severity decreases in the order 1, 5, 4, 3, 0, for any order of the accounts."""
    order = {
        RunOutcome.FAILED: 1,
        RunOutcome.LOCKED: 5,
        RunOutcome.REFUSED: 4,
        RunOutcome.PARTIAL: 3,
        RunOutcome.CONVERGED: 0,
    }
    for pair in permutations(order, 2):
        worst = next(outcome for outcome in order if outcome in pair)
        assert (of_result(_result(*pair)), overall(pair)) == (order[worst], worst)


def test_most_severe_account_determines_the_outcome_of_a_run() -> None:
    """Interrupted, failed, locked, refused, partial, converged. A run without accounts is converged."""
    order = [
        RunOutcome.INTERRUPTED,
        RunOutcome.FAILED,
        RunOutcome.LOCKED,
        RunOutcome.REFUSED,
        RunOutcome.PARTIAL,
        RunOutcome.CONVERGED,
    ]
    for first, second in combinations(order, 2):
        assert overall([second, first]) is first
    assert overall([]) is RunOutcome.CONVERGED
