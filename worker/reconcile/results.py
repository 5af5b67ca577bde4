"""How the story of each number and account ends: its outcome, its closing line, and what became of the account."""

import asyncio
from collections import Counter
from collections.abc import Iterable
from typing import Final

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
from worker.model.plans import Action, Change, Notice, Verdict, tally
from worker.model.ports import Log
from worker.model.results import AccountResult, NumberResult, Outcome, Requests, RunOutcome
from worker.plan.planfile import LeftOut

__all__ = [
    "as_it_is",
    "closed",
    "conflict",
    "lapsed",
    "left_out",
    "over",
    "still_impossible",
    "tell",
    "tell_notices",
    "unknown",
    "untouched",
    "unwanted",
]

_UNTOUCHED: Final = {
    Action.ACTIVATE: Outcome.NOT_ATTEMPTED,
    Action.DEACTIVATE: Outcome.NOT_ATTEMPTED,
    Action.BLOCKED: Outcome.BLOCKED,
    Action.HELD: Outcome.HELD,
    Action.MISSING: Outcome.MISSING,
    Action.PROTECTED: Outcome.PROTECTED,
    Action.UNMANAGED: Outcome.UNMANAGED,
}
"""What becomes of a number that is not written, by its action."""

_AT_ONCE: Final = 200
"""Lines that are written before anybody else has a turn, some milliseconds."""


async def tell(result: AccountResult, log: Log) -> None:
    """Write the lines of a result's notices and the closing one of each number; between some, other work goes on."""
    tell_notices(result.notices, log)
    for first in range(0, len(result.numbers), _AT_ONCE):
        for number in result.numbers[first : first + _AT_ONCE]:
            _tell(number, log)
        await asyncio.sleep(0)


def tell_notices(notices: Iterable[Notice], log: Log) -> None:
    """Write the line of each notice."""
    for notice in notices:
        log.warning("notice", kind=notice.kind, phone=notice.phone, message=notice.message)


def untouched(change: Change, reason: NumberError | None = None) -> NumberResult:
    """What becomes of a planned number that is not written; `reason` is why, where that is no fault of its own."""
    outcome = _UNTOUCHED[change.action]
    if outcome is not Outcome.NOT_ATTEMPTED and outcome.stuck:
        reason = NumberError(outcome.capitalize(), change.reason)
    return NumberResult(
        change.phone,
        change.action,
        change.desired,
        change.observed,
        change.observed,
        outcome,
        error=reason if outcome.stuck else None,
    )


def still_impossible(change: Change, observed: ObservedAccount) -> NumberResult:
    """What becomes of a number that a saved plan could not write, by what it is now."""
    number = observed.numbers.get(change.phone)
    now = None if number is None else number.status
    if now == change.desired:
        return as_it_is(change.phone, change.desired)
    return untouched(change) if now == change.observed else conflict(change, observed)


def left_out(saved: LeftOut) -> AccountResult:
    """The result of an account that a saved plan has no writes of."""
    # the message is from then: no option of now lets writes through that are not there
    message = f"the saved plan holds no writes of this account; plan again: {saved.error.message}"
    return AccountResult(
        account=saved.account,
        account_id=saved.account_id,
        outcome=RunOutcome.REFUSED if saved.verdict is Verdict.REFUSED else RunOutcome.FAILED,
        error=structs.replace(saved.error, message=message),
        counts=tally(Outcome, {}),
    )


def unknown(number: NumberResult) -> NumberResult:
    """The same number, of which nobody knows any more whether it was written."""
    if number.outcome is not Outcome.NOT_ATTEMPTED:
        return number
    return structs.replace(number, after=None, outcome=Outcome.UNVERIFIED)


def as_it_is(phone: str, status: str | None) -> NumberResult:
    """A number that is as desired."""
    return NumberResult(phone, Action.UNCHANGED, status, status, status, Outcome.UNCHANGED)


def conflict(change: Change, observed: ObservedAccount) -> NumberResult:
    """A number that is no longer as its saved plan saw it."""
    number = observed.numbers.get(change.phone)
    now = None if number is None else number.status
    error = NumberError("Conflict", f"the plan saw {change.observed}; the number is {now or 'gone'} now: plan again")
    return NumberResult(change.phone, change.action, change.desired, change.observed, now, Outcome.CONFLICT, 0, error)


def lapsed(change: Change, observed: ObservedAccount) -> NumberResult:
    """A number that its saved plan wanted so until a moment that has passed."""
    return _conflicting(change, observed, over(change))


def unwanted(change: Change, observed: ObservedAccount, reason: str) -> NumberResult:
    """Return the result of a write that the desired-state files no longer ask for."""
    return _conflicting(change, observed, NumberError("Conflict", reason))


def _conflicting(change: Change, observed: ObservedAccount, error: NumberError) -> NumberResult:
    now = observed.status(change.phone)
    return NumberResult(change.phone, change.action, change.desired, now, now, Outcome.CONFLICT, 0, error)


def over(change: Change) -> NumberError:
    """Why a write does not leave any more whose time is over."""
    return NumberError("Conflict", f"the file wanted {change.desired} until {change.until}, which is over: plan again")


def closed(
    account: str,
    account_id: str | None,
    results: Iterable[NumberResult],
    *,
    requests: Requests,
    log: Log,
    stopped: WorkerError | None,
    notices: tuple[Notice, ...] = (),
) -> AccountResult:
    """The account's result, and the closing line of each number that it only counts."""
    counts: Counter[Outcome] = Counter()
    kept = []
    for number in results:
        counts[number.outcome] += 1
        if number.outcome is Outcome.UNCHANGED:
            _tell(number, log)
        else:
            kept.append(number)
    return AccountResult(
        account=account,
        account_id=account_id,
        outcome=_outcome(stopped, as_wanted=not any(outcome.stuck for outcome in counts)),
        error=None if stopped is None else stopped.info,
        refusals=stopped.refusals if isinstance(stopped, PolicyRefusal) else (),
        counts=tally(Outcome, counts),
        requests=requests,
        numbers=tuple(kept),
        notices=notices,
    )


def _outcome(stopped: WorkerError | None, *, as_wanted: bool) -> RunOutcome:
    match stopped:
        case None | DeadlineExceeded() | ActivationsFailed() | CanaryFailed():
            return RunOutcome.CONVERGED if as_wanted else RunOutcome.PARTIAL
        case PolicyRefusal() | StalePlan() | Declined():
            return RunOutcome.REFUSED
        case AccountBusy():
            return RunOutcome.LOCKED
        case Interrupted():
            return RunOutcome.INTERRUPTED
        case _:
            return RunOutcome.FAILED


def _tell(number: NumberResult, log: Log) -> None:
    fields: dict[str, object] = {
        "phone": number.phone,
        "action": number.action,
        "desired": number.desired,
        "before": number.before,
        "after": number.after,
        "outcome": number.outcome,
    }
    if number.attempts:
        fields |= {"attempts": number.attempts, "duration_ms": number.duration_ms}
    if number.error is None:
        log.info("number", **fields)
    else:
        error = number.error
        log.warning(
            "number", **fields, http_status=error.http_status, error_code=error.code, error_message=error.message
        )
