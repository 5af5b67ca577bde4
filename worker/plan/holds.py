"""Deactivations that are kept back, as something leans on the number: its group would have too few ACTIVE ones."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final

from msgspec import structs

from worker.model.accounts import Group, NumberUse, ObservedAccount
from worker.model.plans import Action, Change, Notice, NoticeKind

__all__ = ["counted", "hold", "kept_back", "leaning", "shortages", "spare", "used"]

_UNKNOWN: Final = "whether it is in use could not be found out"
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
    """The changes, of which those deactivations are held that `reasons` names, in the order of `Action` again."""
    told = (
        structs.replace(change, action=Action.HELD, reason=reasons[change.phone])
        if change.action is Action.DEACTIVATE and change.phone in reasons
        else change
        for change in changes
    )
    return tuple(sorted(told, key=lambda change: _ORDER[change.action])) if reasons else tuple(told)


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
        phone: f"in use: {told}; if it may go all the same, add --allow in-use" for phone, told in usage.in_use.items()
    }
    if not usage.unknown:
        return hold(changes, reasons), ()
    fate = "held, unless --allow in-use is added" if hold_unknown else "let go all the same"
    number = len(usage.unknown)
    some = "1 number is" if number == 1 else f"{number:,} numbers are"
    told = f"whether {some} in use could not be found out: {fate} ({usage.why})"
    if hold_unknown:
        reasons |= dict.fromkeys(usage.unknown, f"{_UNKNOWN} ({usage.why}); add --allow in-use if it may go")
    return hold(changes, reasons), (Notice(NoticeKind.IN_USE, told),)


def kept_back(changes: Iterable[Change], approved: Iterable[Change]) -> tuple[Change, ...]:
    """The changes, of which those stay held that the approved plan of the same account held."""
    return hold(changes, {change.phone: change.reason for change in approved if change.action is Action.HELD})


def counted(counts: Mapping[Action, int], changes: Iterable[Change]) -> dict[Action, int]:
    """Counts of a plan's actions, once some of its deactivations are held."""
    held = sum(change.action is Action.HELD for change in changes)
    away = counts[Action.DEACTIVATE] + counts.get(Action.HELD, 0)
    return {**counts, Action.DEACTIVATE: away - held, Action.HELD: held}


def shortages(observed: ObservedAccount, groups: Iterable[Group]) -> tuple[Notice, ...]:
    """The groups that have fewer ACTIVE numbers now than they should."""
    found = []
    for group in groups:
        active = sum(observed.active_phone(member) for member in group.members)
        if active < group.min_active:
            told = (
                f"group {group.name} has {active} of {len(group.members)} numbers ACTIVE, and at least "
                f"{group.min_active} should be: activate more of its members"
            )
            found.append(Notice(NoticeKind.GROUP, told))
    return tuple(found)


def _reason(group: Group, active: int) -> str:
    return (
        f"group {group.name} would keep {max(0, active - 1)} ACTIVE numbers, and at least {group.min_active} must be; "
        "activate another member first, or lower its min_active"
    )
