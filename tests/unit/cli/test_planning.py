"""Helpers of the commands that write."""

import pytest

from worker.cli.planning import count_writes
from worker.model.errors import Refusal
from worker.model.plans import AccountPlan, Action, Change, Verdict
from worker.plan.build import Draft


@pytest.mark.parametrize(("refused", "writes"), [((), 2), ((0,), 1), ((0, 1), 0)])
def test_writes_of_refused_plans_are_not_counted(refused: tuple[int, ...], writes: int) -> None:
    """If there are no writes to count, the command does not ask for confirmation."""
    change = Change("01012345678", Action.ACTIVATE, "INACTIVE", "ACTIVE", "")
    plans = (
        AccountPlan(
            account=f"a{index}",
            counts={Action.ACTIVATE: 1},
            changes=(change,),
            verdict=Verdict.REFUSED if index in refused else Verdict.OK,
            refusals=(Refusal("min-active", ""),) if index in refused else (),
        )
        for index in range(2)
    )
    assert count_writes([Draft(plan, {}) for plan in plans]) == writes
