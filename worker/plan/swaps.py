"""Swaps that silence: an account's old number is deactivated while its successor cannot be activated.

Nothing says which number succeeds which. So one activation that is impossible concerns every deactivation of the
account. `safety.pair_swaps` decides: `warn` adds a notice, `hold` holds the deactivations.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from msgspec import structs

from worker.model.accounts import ObservedAccount, PairSwaps, Status
from worker.model.messages import Message
from worker.model.plans import AccountPlan, Action, Change, Notice, NoticeKind
from worker.model.results import NumberResult, Outcome
from worker.plan.holds import hold

__all__ = ["as_found", "hold_reason", "hold_swaps", "result_notices", "unreached", "with_notice"]

_SHOWN: Final = 5
"""Numbers that a message names on each side. The plan and the result list all of them."""

_SWITCHED_OFF: Final = frozenset({Outcome.CHANGED, Outcome.UNVERIFIED})


def unreached(changes: Iterable[Change]) -> dict[str, str]:
    """Return the numbers that should be ACTIVE and that the changes do not activate, each with the obstacle."""
    return {change.phone: _obstacle(change) for change in changes if change.unreached}


def as_found(change: Change, observed: ObservedAccount) -> Change:
    """Return a change that is no longer part of its plan, with the status that its number has now."""
    action = Action.BLOCKED if change.action.writes else change.action
    return structs.replace(change, action=action, observed=observed.status(change.phone))


def hold_swaps(changes: Iterable[Change], mode: PairSwaps, others: Iterable[Change] = ()) -> tuple[Change, ...]:
    """Return the changes with all deactivations held if the mode is `hold` and some number cannot be activated.

    `others` are changes of the same account that are no longer part of the plan, such as conflicts.
    """
    kept = tuple(changes)
    lost = unreached((*kept, *others)) if mode == "hold" else {}
    return hold(kept, dict.fromkeys((change.phone for change in kept), hold_reason(lost))) if lost else kept


def hold_reason(lost: Mapping[str, str]) -> str:
    """Return the reason of a deactivation that is held, for the result of `unreached`."""
    return Message(
        "held by safety.pair_swaps: cannot activate {named}; fix that first, leave it out with "
        "--exclude, or set pair_swaps to warn",
        named=_named(lost),
    )


def with_notice(plan: AccountPlan) -> AccountPlan:
    """Return the plan with a notice if it deactivates numbers of an account and cannot activate others."""
    lost = unreached(plan.changes)
    off = [change.phone for change in plan.changes if change.action is Action.DEACTIVATE]
    if not lost or not off:
        return plan
    message = Message(
        "the plan cannot activate {named}, but would deactivate {listed}; fix the activation first, or "
        "set safety.pair_swaps to hold",
        named=_named(lost),
        listed=_listed(off),
    )
    return structs.replace(plan, notices=(*plan.notices, Notice(NoticeKind.SWAP, message)))


def result_notices(numbers: Sequence[NumberResult], mode: PairSwaps) -> tuple[Notice, ...]:
    """Return the notice of a run that deactivated numbers and did not activate others; empty if the mode is `hold`."""
    off = [number.phone for number in numbers if _switched_off(number)] if mode == "warn" else []
    lost = {number.phone: number.outcome for number in numbers if _not_activated(number)} if off else {}
    if not lost:
        return ()
    message = Message(
        "the run deactivated {listed}, but did not confirm {named} as ACTIVE; fix the activation or "
        "roll the run back; set safety.pair_swaps to hold to prevent this",
        listed=_listed(off),
        named=_named(lost),
    )
    return (Notice(NoticeKind.SWAP, message),)


def _obstacle(change: Change) -> str:
    return change.action if change.action is Action.PROTECTED else change.observed or Action.MISSING


def _switched_off(number: NumberResult) -> bool:
    return number.action is Action.DEACTIVATE and number.outcome in _SWITCHED_OFF


def _not_activated(number: NumberResult) -> bool:
    return number.desired == Status.ACTIVE != number.after


def _named(lost: Mapping[str, str]) -> str:
    return _listed([f"{phone} ({status})" for phone, status in lost.items()])


def _listed(numbers: Sequence[str]) -> str:
    more = len(numbers) - _SHOWN
    return ", ".join(numbers[:_SHOWN]) + (f", … (+{more:,})" if more > 0 else "")
