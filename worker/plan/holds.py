"""Holds: the rules that prevent individual deactivations, and their reasons.

A group holds a deactivation if too few of its members would stay ACTIVE. The in-use guard holds it if the number sends
messages. `safety.pair_swaps: hold` holds every deactivation of an account if one of its activations is impossible:
files do not say which number replaces which.
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

_ORDER: Final = {action: index for index, action in enumerate(Action)}

_SHOWN: Final = 5
"""Maximum count of numbers that a message lists. The plan and the result list all of them."""


def hold_back(
    changes: Iterable[Change],
    observed: ObservedAccount,
    *,
    groups: Sequence[Group],
    possibly_inactive: Collection[str],
    pair_swaps: PairSwaps,
    other_changes: Iterable[Change] = (),
) -> tuple[Change, ...]:
    """Return the changes, with each deactivation held that a group or `pair_swaps` does not allow.

    `possibly_inactive` are numbers that a crashed run may have deactivated: they do not count as ACTIVE.
    `other_changes` are changes of the same account that are no longer part of the plan, such as conflicts.
    """
    unheld_changes = tuple(changes)
    if groups:
        active = observed.active_phones.difference(possibly_inactive)
        active |= {change.phone for change in unheld_changes if change.action is Action.ACTIVATE}
        deactivations = (change.phone for change in unheld_changes if change.action is Action.DEACTIVATE)
        unheld_changes = hold(unheld_changes, group_holds(deactivations, active, groups))
    return hold_swaps(unheld_changes, pair_swaps, other_changes)


def group_holds(phones: Iterable[str], active: Collection[str], groups: Iterable[Group]) -> dict[str, Message]:
    """Return the deactivations that would leave a group with too few ACTIVE numbers, each with the reason.

    `phones` are the numbers to deactivate, in order. `active` are the numbers that are ACTIVE or will be activated. A
    group that already has too few ACTIVE numbers holds every deactivation of an ACTIVE member.
    """
    deactivations = tuple(phones)
    groups_by_phone: dict[str, list[Group]] = {}
    active_count: dict[str, int] = {}
    for group in groups:
        members = set(group.members).intersection(deactivations)
        for phone in members:
            groups_by_phone.setdefault(phone, []).append(group)
        if members:
            active_count[group.name] = sum(member in active for member in group.members)
    reasons: dict[str, Message] = {}
    for phone in deactivations:
        groups_of_phone = groups_by_phone.get(phone, ())
        if phone not in active:
            continue
        short_group = next((group for group in groups_of_phone if active_count[group.name] <= group.min_active), None)
        if short_group is not None:
            reasons[phone] = _group_reason(short_group, active_count[short_group.name])
            continue
        for group in groups_of_phone:
            active_count[group.name] -= 1
    return reasons


def hold(changes: Iterable[Change], reasons: Mapping[str, str]) -> tuple[Change, ...]:
    """Return the changes in the order of `Action`, with each deactivation held whose number is in `reasons`."""
    if not reasons:
        return tuple(changes)
    return in_order(
        structs.replace(change, action=Action.HELD, reason=reasons[change.phone])
        if change.action is Action.DEACTIVATE and change.phone in reasons
        else change
        for change in changes
    )


def in_order(changes: Iterable[Change]) -> tuple[Change, ...]:
    """Return the changes sorted by `Action`; the sort is stable."""
    return tuple(sorted(changes, key=lambda change: _ORDER[change.action]))


def hold_as_approved(changes: Iterable[Change], approved: Iterable[Change]) -> tuple[Change, ...]:
    """Return the changes, with each deactivation held that the approved plan holds, for the same reason."""
    return hold(changes, {change.phone: change.reason for change in approved if change.action is Action.HELD})


def hold_in_use(
    changes: Iterable[Change], usage: NumberUse, *, hold_unknown: bool
) -> tuple[tuple[Change, ...], tuple[Notice, ...]]:
    """Return the changes, with each deactivation held whose number is in use, and a notice if any use is unknown.

    With `hold_unknown`, the deactivations of numbers whose use is unknown are held as well.
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
    """Return the numbers that should be ACTIVE but that no change activates, each with the obstacle."""
    return {change.phone: _obstacle(change) for change in changes if change.is_unreached}


def dropped_change(change: Change, observed: ObservedAccount) -> Change:
    """Return a change that left its plan, with the current status of the number. A write becomes `blocked`."""
    action = Action.BLOCKED if change.action.writes else change.action
    return structs.replace(change, action=action, observed=observed.status(change.phone))


def hold_swaps(changes: Sequence[Change], mode: PairSwaps, other_changes: Iterable[Change] = ()) -> tuple[Change, ...]:
    """Return the changes, with all deactivations held if `mode` is `hold` and a number cannot be activated.

    `other_changes` are changes of the same account outside the plan, as in `hold_back`. They count as obstacles.
    """
    obstacles = activation_obstacles((*changes, *other_changes)) if mode == "hold" else {}
    return hold(
        changes, dict.fromkeys((change.phone for change in changes), swap_reason(obstacles)) if obstacles else {}
    )


def swap_reason(obstacles: Mapping[str, str]) -> Message:
    """Return the reason for a hold by `safety.pair_swaps`. `obstacles` is the result of `activation_obstacles`."""
    return Message(
        "held by safety.pair_swaps: cannot activate {activations}; "
        "fix that first, leave it out with --exclude, or set pair_swaps to warn",
        activations=phone_list(obstacles, obstacles),
    )


def phone_list(phones: Collection[str], statuses: Mapping[str, str] | None = None) -> tuple[Message, ...]:
    """Return the first five numbers for a message, each with its status if given, and the count of the others."""
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
    more_count = len(phones) - _SHOWN
    return (*names, Message("… (+{more:,})", more=more_count)) if more_count > 0 else tuple(names)


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
