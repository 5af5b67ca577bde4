"""The result of each number and of each account of a run."""

from collections import Counter
from collections.abc import Iterable
from itertools import chain, starmap
from typing import Final, NamedTuple

from msgspec import structs

from worker.model.accounts import ObservedAccount
from worker.model.errors import (
    AccountBusy,
    ActivationsFailed,
    CanaryFailed,
    DeadlineExceeded,
    Declined,
    Interrupted,
    NumberError,
    PolicyRefusal,
    StalePlan,
    WorkerError,
)
from worker.model.messages import Message
from worker.model.plans import Action, Change, Notice, Verdict, tally
from worker.model.results import AccountResult, NumberResult, Outcome, Requests, RunOutcome
from worker.plan.planfile import LeftOut
from worker.reconcile.attempt import expiry_error

__all__ = [
    "Conclusion",
    "as_unverified",
    "conclude",
    "conflict_result",
    "expired_result",
    "impossible_result",
    "left_out_result",
    "no_longer_desired_result",
    "not_written_result",
    "unchanged_result",
]

_NOT_WRITTEN: Final = {
    Action.ACTIVATE: Outcome.NOT_ATTEMPTED,
    Action.DEACTIVATE: Outcome.NOT_ATTEMPTED,
    Action.BLOCKED: Outcome.BLOCKED,
    Action.HELD: Outcome.HELD,
    Action.MISSING: Outcome.MISSING,
    Action.PROTECTED: Outcome.PROTECTED,
    Action.ACKNOWLEDGED: Outcome.ACKNOWLEDGED,
    Action.UNMANAGED: Outcome.UNMANAGED,
}
"""The outcome of a number that is not written, for each action."""


class Conclusion(NamedTuple):
    """The result of an account. `result` only counts unchanged numbers; `unchanged_numbers` are their results.

    With `is_planned`, the error of the account is that of its plan, which was logged with the plan.
    """

    result: AccountResult
    unchanged_numbers: Iterable[NumberResult] = ()
    is_planned: bool = False

    def with_requests(self, requests: Requests) -> "Conclusion":
        """Return the conclusion with its counts of requests replaced."""
        return self._replace(result=structs.replace(self.result, requests=requests))


def conclude(
    account: str,
    account_id: str | None,
    numbers: Iterable[NumberResult],
    *,
    requests: Requests,
    stop_reason: WorkerError | None,
    notices: tuple[Notice, ...] = (),
    desired: Iterable[tuple[str, str]] = (),
    count: int = 0,
) -> Conclusion:
    """Return the result of an account.

    `numbers` are the results of the planned numbers. `desired` yields phone and status of the `count` further numbers
    that already have their desired status.
    """
    results = list(numbers)
    counts = Counter(number.outcome for number in results)
    counts[Outcome.UNCHANGED] += count
    unchanged_results = [number for number in results if number.outcome is Outcome.UNCHANGED]
    result = AccountResult(
        account=account,
        account_id=account_id,
        outcome=_run_outcome(stop_reason, is_converged=not any(outcome.needs_attention for outcome in counts)),
        error=None if stop_reason is None else stop_reason.info,
        refusals=stop_reason.refusals if isinstance(stop_reason, PolicyRefusal) else (),
        counts=tally(Outcome, counts),
        requests=requests,
        numbers=tuple(number for number in results if number.outcome is not Outcome.UNCHANGED)
        if unchanged_results
        else tuple(results),
        notices=notices,
    )
    return Conclusion(result, chain(unchanged_results, starmap(unchanged_result, desired)))


def _run_outcome(stop_reason: WorkerError | None, *, is_converged: bool) -> RunOutcome:
    match stop_reason:
        case None | DeadlineExceeded() | ActivationsFailed() | CanaryFailed():
            return RunOutcome.CONVERGED if is_converged else RunOutcome.PARTIAL
        case PolicyRefusal() | StalePlan() | Declined():
            return RunOutcome.REFUSED
        case AccountBusy():
            return RunOutcome.LOCKED
        case Interrupted():
            return RunOutcome.INTERRUPTED
        case _:
            return RunOutcome.FAILED


def left_out_result(account: LeftOut) -> AccountResult:
    """Return the result of an account that a saved plan leaves out."""
    # the error of the plan is reported: no option of `apply` can allow writes that the plan does not contain
    message = Message(
        "the saved plan has no writes for this account; plan again: {reason}", reason=account.error.message
    )
    return AccountResult(
        account=account.account,
        account_id=account.account_id,
        outcome=RunOutcome.REFUSED if account.verdict is Verdict.REFUSED else RunOutcome.FAILED,
        error=structs.replace(account.error, message=message),
        counts=tally(Outcome, {}),
    )


def unchanged_result(phone: str, status: str | None) -> NumberResult:
    """Return the result of a number that has its desired status."""
    return NumberResult(phone, Action.UNCHANGED, status, status, status, Outcome.UNCHANGED)


def not_written_result(change: Change, reason: NumberError | None = None) -> NumberResult:
    """Return the result of a planned number that was not written. `reason` is the account's error, if it has one."""
    outcome = _NOT_WRITTEN[change.action]
    if outcome is not Outcome.NOT_ATTEMPTED and outcome.needs_attention:
        reason = NumberError(outcome.capitalize(), change.reason)
    return NumberResult(
        change.phone,
        change.action,
        change.desired,
        change.observed,
        change.observed,
        outcome,
        error=reason if outcome.needs_attention else None,
        note=change.note,
        owner=change.owner,
    )


def impossible_result(change: Change, observed: ObservedAccount, stale: str | None = None) -> NumberResult:
    """Return the result, by its current status, of a number that the saved plan lists but does not write.

    `stale` is the reason why the files no longer acknowledge its difference; None if they do, or never did.
    """
    status = observed.status(change.phone)
    if status == change.desired:
        return unchanged_result(change.phone, change.desired)
    if status != change.observed:
        return conflict_result(change, observed)
    return not_written_result(change) if stale is None else no_longer_desired_result(change, observed, stale)


def as_unverified(number: NumberResult) -> NumberResult:
    """Return the result with outcome `unverified` instead of `not_attempted`, as a request may have been sent."""
    if number.outcome is not Outcome.NOT_ATTEMPTED:
        return number
    return structs.replace(number, after=None, outcome=Outcome.UNVERIFIED)


def conflict_result(change: Change, observed: ObservedAccount) -> NumberResult:
    """Return the conflict of a number whose observed status has changed since the plan."""
    status = observed.status(change.phone)
    planned_status = change.observed or ""
    if status is None:
        message = Message(
            "the number was {planned} when planned, and is not registered now: plan again", planned=planned_status
        )
    else:
        message = Message(
            "the number was {planned} when planned, and is {status} now: plan again",
            planned=planned_status,
            status=status,
        )
    return structs.replace(_conflict(change, status, NumberError("Conflict", message)), before=change.observed)


def expired_result(change: Change, observed: ObservedAccount) -> NumberResult:
    """Return the conflict of a planned write whose desired status has since ended by its schedule."""
    return _conflict(change, observed.status(change.phone), expiry_error(change))


def no_longer_desired_result(change: Change, observed: ObservedAccount, reason: str) -> NumberResult:
    """Return the conflict of a planned write that the desired-state files no longer desire."""
    return _conflict(change, observed.status(change.phone), NumberError("Conflict", reason))


def _conflict(change: Change, status: str | None, error: NumberError) -> NumberResult:
    return NumberResult(
        change.phone,
        change.action,
        change.desired,
        status,
        status,
        Outcome.CONFLICT,
        error=error,
        note=change.note,
        owner=change.owner,
    )
