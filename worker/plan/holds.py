"""Holds: deactivations that are kept from being written, and why.

A group holds them if too few of its numbers would stay ACTIVE, the in-use guard if the number sends messages, and
`safety.pair_swaps: hold` if the account has an activation that is impossible. Nothing says which number succeeds which,
so that one such activation concerns every deactivation of the account.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final

from msgspec import structs

from worker.model.accounts import Group, NumberUse, ObservedAccount, PairSwaps
from worker.model.messages import Message, PhoneNumber, system_text
from worker.model.plans import Action, Change, Notice, NoticeKind
from worker.model.results import Outcome

__all__ = [
    "activation_obstacles",
    "dropped_change",
    "group_holds",
    "hold",
    "hold_as_approved",
    "hold_back",
    "hold_in_use",
    "hold_swaps",
    "in_order",
    "phone_list",
    "swap_reason",
]

_ORDER: Final = {action: place for place, action in enumerate(Action)}

_SHOWN: Final = 5
"""Numbers that a message names. The plan and the result list all of them."""


def hold_back(
    changes: Iterable[Change],
    observed: ObservedAccount,
    *,
    groups: Sequence[Group],
    gone: Collection[str],
    pair_swaps: PairSwaps,
    others: Iterable[Change] = (),
) -> tuple[Change, ...]:
    """Return the changes with the deactivations held that groups and swaps do not allow.

    `gone` are numbers that may yet turn INACTIVE, whatever a read shows. `others` are changes of the same account that
    are no longer part of the plan, such as conflicts.
    """
    remaining = tuple(changes)
    if groups:
        active = observed.active_phones.difference(gone)
        active |= {change.phone for change in remaining if change.action is Action.ACTIVATE}
        deactivations = (change.phone for change in remaining if change.action is Action.DEACTIVATE)
        remaining = hold(remaining, group_holds(deactivations, active, groups))
    return hold_swaps(remaining, pair_swaps, others)


def group_holds(phones: Iterable[str], active: Collection[str], groups: Iterable[Group]) -> dict[str, Message]:
    """Return the deactivations, of some in their order, that would leave a group too few ACTIVE numbers, and why.

    `active` has the phones that are ACTIVE or are going to be. A group that has too few already loses none.
    """
    asked = tuple(phones)
    belongs: dict[str, list[Group]] = {}
    left: dict[str, int] = {}
    for group in groups:
        members = set(group.members).intersection(asked)
        for phone in members:
            belongs.setdefault(phone, []).append(group)
        if members:
            left[group.name] = sum(member in active for member in group.members)
    held: dict[str, Message] = {}
    for phone in asked:
        around = belongs.get(phone, ())
        if phone not in active:
            continue
        short = next((group for group in around if left[group.name] <= group.min_active), None)
        if short is not None:
            held[phone] = _group_reason(short, left[short.name])
            continue
        for group in around:
            left[group.name] -= 1
    return held


def hold(changes: Iterable[Change], reasons: Mapping[str, str]) -> tuple[Change, ...]:
    """Return the changes with those deactivations held that `reasons` names, in the order of `Action` again."""
    if not reasons:
        return tuple(changes)
    return in_order(
        structs.replace(change, action=Action.HELD, reason=reasons[change.phone])
        if change.action is Action.DEACTIVATE and change.phone in reasons
        else change
        for change in changes
    )


def in_order(changes: Iterable[Change]) -> tuple[Change, ...]:
    """Return the changes in the order of `Action`, and otherwise in the order that they have."""
    return tuple(sorted(changes, key=lambda change: _ORDER[change.action]))


def hold_as_approved(changes: Iterable[Change], approved: Iterable[Change]) -> tuple[Change, ...]:
    """Return the changes with those held that the approved plan of the same account held."""
    return hold(changes, {change.phone: change.reason for change in approved if change.action is Action.HELD})


def hold_in_use(
    changes: Iterable[Change], usage: NumberUse, *, hold_unknown: bool
) -> tuple[tuple[Change, ...], tuple[Notice, ...]]:
    """Return the changes with deactivations of numbers in use held, and a notice if the use of some is unknown.

    `hold_unknown` holds those as well.
    """
    reasons: dict[str, str] = {
        phone: Message("in use: {use}; to deactivate it anyway, add --allow in-use", use=use)
        for phone, use in usage.in_use.items()
    }
    if not usage.unknown:
        return hold(changes, reasons), ()
    count = len(usage.unknown)
    if hold_unknown:
        reason = Message("use unknown ({reason}); to deactivate it anyway, add --allow in-use", reason=usage.why)
        reasons |= dict.fromkeys(usage.unknown, reason)
        notice = Message.plural(
            "the use of {count:,} number is unknown: held unless --allow in-use is added ({reason})",
            "the use of {count:,} numbers is unknown: held unless --allow in-use is added ({reason})",
            count,
            reason=usage.why,
        )
    else:
        notice = Message.plural(
            "the use of {count:,} number is unknown: deactivated anyway ({reason})",
            "the use of {count:,} numbers is unknown: deactivated anyway ({reason})",
            count,
            reason=usage.why,
        )
    return hold(changes, reasons), (Notice(NoticeKind.IN_USE, notice),)


def activation_obstacles(changes: Iterable[Change]) -> dict[str, str]:
    """Return the numbers that should be ACTIVE and that the changes do not activate, each with the obstacle."""
    return {change.phone: _obstacle(change) for change in changes if change.unreached}


def dropped_change(change: Change, observed: ObservedAccount) -> Change:
    """Return a change that is no longer part of its plan, with the status that its number has now."""
    action = Action.BLOCKED if change.action.writes else change.action
    return structs.replace(change, action=action, observed=observed.status(change.phone))


def hold_swaps(changes: Sequence[Change], mode: PairSwaps, others: Iterable[Change] = ()) -> tuple[Change, ...]:
    """Return the changes with all deactivations held if the mode is `hold` and some number cannot be activated.

    `others` are as for `hold_back`.
    """
    obstacles = activation_obstacles((*changes, *others)) if mode == "hold" else {}
    return hold(
        changes, dict.fromkeys((change.phone for change in changes), swap_reason(obstacles)) if obstacles else {}
    )


def swap_reason(obstacles: Mapping[str, str]) -> Message:
    """Return why a deactivation is held, for the result of `activation_obstacles`."""
    return Message(
        "held by safety.pair_swaps: cannot activate {activations}; "
        "fix that first, leave it out with --exclude, or set pair_swaps to warn",
        activations=phone_list(obstacles, obstacles),
    )


def phone_list(phones: Collection[str], statuses: Mapping[str, str] | None = None) -> tuple[Message, ...]:
    """Return the first numbers of some, each with its status if there are any, and how many more there are."""
    names: list[Message] = []
    for phone in list(phones)[:_SHOWN]:
        if statuses is None:
            names.append(Message("{phone}", phone=PhoneNumber(phone)))
        else:
            status = statuses[phone]
            text = status.replace("_", " ")
            # a status of the API may be any text, which must stay a parameter to be masked
            shown_status = system_text(text) if isinstance(status, Action | Outcome) else text
            names.append(Message("{phone} ({status})", phone=PhoneNumber(phone), status=shown_status))
    more = len(phones) - _SHOWN
    return (*names, Message("… (+{more:,})", more=more)) if more > 0 else tuple(names)


def _obstacle(change: Change) -> str:
    return change.action if change.action is Action.PROTECTED else change.observed or Action.MISSING


def _group_reason(group: Group, active: int) -> Message:
    return Message.plural(
        "group {name} would keep {count} ACTIVE number, and at least {min_active} must stay; "
        "activate another member first, or lower its min_active",
        "group {name} would keep {count} ACTIVE numbers, and at least {min_active} must stay; "
        "activate another member first, or lower its min_active",
        max(0, active - 1),
        name=group.name,
        min_active=group.min_active,
    )
