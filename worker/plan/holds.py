"""Deactivations that are kept back, as something leans on the number: its group would have too few ACTIVE ones."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final

from msgspec import structs

from worker.model.accounts import Group, NumberUse, ObservedAccount
from worker.model.messages import Message
from worker.model.plans import Action, Change, Notice, NoticeKind

__all__ = ["hold", "in_order", "kept_back", "leaning", "spare", "used"]

_ORDER: Final = {action: place for place, action in enumerate(Action)}


def leaning(phones: Iterable[str], active: Collection[str], groups: Iterable[Group]) -> dict[str, str]:
    """Which of some deactivations, taken in their order, would leave a group too few ACTIVE numbers, and why.

    `active` has the phones that are ACTIVE, or that somebody vouches for. A group that has too few already loses none.
    """
    asked = tuple(phones)
    belongs: dict[str, list[Group]] = {}
    left: dict[str, int] = {}
    for group in groups:
        ours = set(group.members).intersection(asked)
        for phone in ours:
            belongs.setdefault(phone, []).append(group)
        if ours:
            left[group.name] = sum(member in active for member in group.members)
    held: dict[str, str] = {}
    for phone in asked:
        around = belongs.get(phone, ())
        if phone not in active:
            continue
        short = next((group for group in around if left[group.name] <= group.min_active), None)
        if short is not None:
            held[phone] = _reason(short, left[short.name])
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


def spare(
    changes: Iterable[Change], observed: ObservedAccount, groups: Sequence[Group], gone: Collection[str] = ()
) -> tuple[Change, ...]:
    """The changes without those deactivations that no group can spare, even if every activation succeeds.

    `gone` are numbers that may yet turn INACTIVE, whatever a look shows.
    """
    kept = tuple(changes)
    if not groups:
        return kept
    active = observed.active_phones.difference(gone) | {
        change.phone for change in kept if change.action is Action.ACTIVATE
    }
    return hold(kept, leaning((change.phone for change in kept if change.action is Action.DEACTIVATE), active, groups))


def used(
    changes: Iterable[Change], usage: NumberUse, *, hold_unknown: bool
) -> tuple[tuple[Change, ...], tuple[Notice, ...]]:
    """The changes without the deactivations of numbers that are in use, and a notice where the use of some is unknown.

    `hold_unknown` holds those as well.
    """
    reasons = {
        phone: Message("in use: {told}; if it may go all the same, add --allow in-use", told=told)
        for phone, told in usage.in_use.items()
    }
    if not usage.unknown:
        return hold(changes, reasons), ()
    fate = Message("held, unless --allow in-use is added") if hold_unknown else Message("let go all the same")
    told = Message.plural(
        "whether {count:,} number is in use could not be found out: {fate} ({why})",
        "whether {count:,} numbers are in use could not be found out: {fate} ({why})",
        len(usage.unknown),
        fate=fate,
        why=usage.why,
    )
    if hold_unknown:
        reasons |= dict.fromkeys(
            usage.unknown,
            Message(
                "whether it is in use could not be found out ({why}); add --allow in-use if it may go", why=usage.why
            ),
        )
    return hold(changes, reasons), (Notice(NoticeKind.IN_USE, told),)


def kept_back(changes: Iterable[Change], approved: Iterable[Change]) -> tuple[Change, ...]:
    """The changes, of which those stay held that the approved plan of the same account held."""
    return hold(changes, {change.phone: change.reason for change in approved if change.action is Action.HELD})


def _reason(group: Group, active: int) -> str:
    return Message(
        "group {name} would keep {active} ACTIVE numbers, and at least {min_active} must be; activate "
        "another member first, or lower its min_active",
        name=group.name,
        active=max(0, active - 1),
        min_active=group.min_active,
    )
