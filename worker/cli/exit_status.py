"""Exit statuses of the command, and their derivation from plans and results of accounts."""

from collections.abc import Iterable
from enum import IntEnum
from typing import Final

from worker.model.plans import AccountPlan, Action, Verdict
from worker.model.results import Result, RunOutcome

__all__ = ["ExitStatus", "of_drift", "of_plans", "of_result", "overall"]


class ExitStatus(IntEnum):
    """The exit statuses of the command."""

    OK = 0
    ERROR = 1
    PENDING = 2
    UNCONVERGED = 3
    REFUSED = 4
    BUSY = 5
    USAGE = 64
    INVALID = 65
    SIGHUP = 129
    SIGINT = 130
    SIGTERM = 143


_WORST_FIRST: Final = (
    ExitStatus.ERROR,
    ExitStatus.BUSY,
    ExitStatus.REFUSED,
    ExitStatus.UNCONVERGED,
    ExitStatus.PENDING,
)

_OF_OUTCOME: Final = {
    RunOutcome.FAILED: ExitStatus.ERROR,
    RunOutcome.LOCKED: ExitStatus.BUSY,
    RunOutcome.REFUSED: ExitStatus.REFUSED,
    RunOutcome.INTERRUPTED: ExitStatus.UNCONVERGED,
    RunOutcome.PARTIAL: ExitStatus.UNCONVERGED,
    RunOutcome.CONVERGED: ExitStatus.OK,
}


def _worst(statuses: Iterable[ExitStatus]) -> ExitStatus:
    present = set(statuses)
    return next((status for status in _WORST_FIRST if status in present), ExitStatus.OK)


def of_plans(plans: Iterable[AccountPlan], *, is_detailed: bool) -> ExitStatus:
    """Return the exit status of plans. With `is_detailed`, it is not 0 if changes are pending or cannot converge."""
    return _worst(_of_plan(plan, is_detailed=is_detailed) for plan in plans)


def of_drift(plans: Iterable[AccountPlan]) -> ExitStatus:
    """Return the exit status of plans that contain drift only.

    Drift that no write can fix counts as drift. Acknowledged drift does not.
    """
    statuses = ((plan, _of_plan(plan, is_detailed=True)) for plan in plans)
    return _worst(
        ExitStatus.PENDING if status is ExitStatus.OK and _has_drift(plan) else status for plan, status in statuses
    )


def _has_drift(plan: AccountPlan) -> bool:
    return any(change.action is not Action.ACKNOWLEDGED for change in plan.changes)


def _of_plan(plan: AccountPlan, *, is_detailed: bool) -> ExitStatus:
    if plan.verdict is Verdict.ERROR:
        return ExitStatus.ERROR
    if plan.verdict is Verdict.REFUSED:
        return ExitStatus.REFUSED
    if is_detailed and any(number for action, number in plan.counts.items() if action.needs_attention):
        return ExitStatus.UNCONVERGED
    return ExitStatus.PENDING if is_detailed and plan.writes else ExitStatus.OK


def of_result(result: Result) -> ExitStatus:
    """Return the exit status of a run."""
    return _worst(_OF_OUTCOME[account.outcome] for account in result.accounts)


def overall(outcomes: Iterable[RunOutcome]) -> RunOutcome:
    """Return the outcome of a run: interrupted if any account was interrupted, otherwise the worst of its accounts."""
    present = set(outcomes)
    gravest_first = (RunOutcome.INTERRUPTED, *_OF_OUTCOME)
    return next((outcome for outcome in gravest_first if outcome in present), RunOutcome.CONVERGED)
