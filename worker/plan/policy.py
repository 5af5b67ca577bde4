"""The scope of a plan: its numbers, each with its desired state.

Unlisted numbers get a desired status here, so that the comparison treats all numbers alike.
"""

from collections.abc import Mapping
from typing import Final

from msgspec import Struct

from worker.model.accounts import (
    Desired,
    DesiredAccount,
    ObservedAccount,
    Status,
    Unmanaged,
)
from worker.model.errors import ImplausibleNumber
from worker.model.messages import Message, PhoneNumber
from worker.model.phones import is_listable, why_implausible
from worker.model.plans import Action, Cause, Change

__all__ = ["Selection", "adopt", "check_registered", "is_drift", "scope", "select"]


_UNLISTABLE: Final = Message(
    "registered, but no file can list it as the vendor writes it; change it in the vendor's console"
)

_MOST_NAMES: Final = 20
"""Most further implausible numbers in an error."""


class Selection(Struct, frozen=True):
    """The selected numbers of a run, in digits. An empty `only` selects all; `exclude` takes precedence over `only`."""

    only: frozenset[str] = frozenset()
    exclude: frozenset[str] = frozenset()


def scope(desired: DesiredAccount, observed: ObservedAccount, selection: Selection) -> Mapping[str, Desired]:
    """Return the numbers of a plan, each with its desired state. Schedules must be settled.

    Raises:
        ImplausibleNumber: see `check_registered`.
    """
    check_registered(desired, observed)
    return select(adopt(desired, observed), selection)


def check_registered(desired: DesiredAccount, observed: ObservedAccount) -> None:
    """Refuse an account whose file lists an implausible number that is not registered.

    Such a number is probably a typo of a registered one, which would then be treated as unlisted.

    Raises:
        ImplausibleNumber: the file lists such numbers; the message has their places.
    """
    missing = (*desired.numbers.keys() - observed.numbers.keys(), *desired.idle.keys() - observed.numbers.keys())
    reasons = {phone: reason for phone in missing if (reason := why_implausible(phone))}
    if not reasons:
        return
    places = desired.places(reasons)
    places_of_missing = sorted((*places.get(phone, (desired.source, desired.line)), phone) for phone in reasons)
    (source, line, phone), *more = places_of_missing
    reason = reasons[phone]
    first = Message(
        "{source}:{line}:1: {phone} is not registered on this account, and {reason}, or remove it from the file",
        source=source,
        line=line,
        phone=PhoneNumber(phone),
        reason=reason,
    )
    if not more:
        raise ImplausibleNumber(first)
    others = [
        Message("{phone} ({source}:{line})", phone=PhoneNumber(phone), source=other * (other != source), line=line)
        for other, line, phone in more[:_MOST_NAMES]
    ]
    rest = (*others, *("…",) * (len(more) > _MOST_NAMES))
    raise ImplausibleNumber(Message("{first}; likewise {others}", first=first, others=rest))


def adopt(desired: DesiredAccount, observed: ObservedAccount) -> Mapping[str, Desired]:
    """Return the desired state of the listed numbers and, by the policy of the file, of the unlisted ones.

    For an unlisted number, `report` desires the observed status. `deactivate` desires INACTIVE if its status can be
    written, and otherwise the observed one. `ignore` leaves it out. `managed` is False for all of these, except for
    INACTIVE numbers under `deactivate`. Under `report` and `deactivate`, a listed number without a desired status now
    keeps the observed one, and so does a number that no file can list.

    If nothing is unlisted, this is the file's own mapping and not a copy.
    """
    if desired.unmanaged is Unmanaged.IGNORE:
        return desired.numbers
    deactivate = desired.unmanaged is Unmanaged.DEACTIVATE
    by_status: dict[Status, Desired] = {}
    unlisted: dict[str, Desired] = {}
    for phone, number in observed.numbers.items():
        if phone in desired.numbers:
            continue
        status = number.status
        if phone in desired.idle:
            idle = desired.idle[phone]
            unlisted[phone] = Desired(
                status, idle.note, idle.owner, managed=False, because=idle.because, until=idle.until
            )
            continue
        if not is_listable(phone):
            unlisted[phone] = Desired(status, managed=False, because=_UNLISTABLE)
            continue
        if status not in by_status:
            target = Status.INACTIVE if deactivate and status.writable else status
            by_status[status] = Desired(target, managed=deactivate and status is Status.INACTIVE)
        unlisted[phone] = by_status[status]
    return desired.numbers | unlisted if unlisted else desired.numbers


def select(numbers: Mapping[str, Desired], selection: Selection) -> Mapping[str, Desired]:
    """Return the selected numbers. Without a selection this is `numbers` itself and not a copy."""
    only, exclude = selection.only, selection.exclude
    if only:
        return {phone: numbers[phone] for phone in numbers if phone in only and phone not in exclude}
    if exclude:
        return {phone: numbers[phone] for phone in numbers if phone not in exclude}
    return numbers


def is_drift(change: Change) -> bool:
    """Return True if a number differs by drift: the cause is unknown, or not only a change of its file."""
    return change.action is not Action.UNMANAGED and change.cause is not Cause.CONFIG_CHANGE
