"""The numbers that a plan is about, with what is desired of each.

Unlisted numbers get a desired status here, so that the comparison treats every number alike.
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

__all__ = ["Selection", "adopt", "check_registered", "drifted", "scope", "select"]


_UNLISTABLE: Final = Message(
    "registered, but no file can list it as the vendor writes it; change it in the vendor's console"
)

_NAMED: Final = 20
"""Further implausible numbers that an error names."""


class Selection(Struct, frozen=True):
    """The numbers of a run, in digits. An empty `only` means all of them; `exclude` wins over `only`."""

    only: frozenset[str] = frozenset()
    exclude: frozenset[str] = frozenset()


def scope(desired: DesiredAccount, observed: ObservedAccount, selection: Selection) -> Mapping[str, Desired]:
    """Return the numbers that a plan is about, each with what is desired of it. Schedules must be settled.

    Raises:
        ImplausibleNumber: as `check_registered` does.
    """
    check_registered(desired, observed)
    return select(adopt(desired, observed), selection)


def check_registered(desired: DesiredAccount, observed: ObservedAccount) -> None:
    """Refuse an account whose file lists a number that is implausible and not registered.

    Such a number is a typo of another one, which counts as unlisted then. So nothing may be written by this file.

    Raises:
        ImplausibleNumber: with the place of each such number.
    """
    missing = (*desired.numbers.keys() - observed.numbers.keys(), *desired.idle.keys() - observed.numbers.keys())
    reasons = {phone: reason for phone in missing if (reason := why_implausible(phone))}
    if not reasons:
        return
    places = desired.places(reasons)
    found = sorted((*places.get(phone, (desired.source, desired.line)), phone) for phone in reasons)
    (source, line, phone), *more = found
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
        for other, line, phone in more[:_NAMED]
    ]
    rest = (*others, *("…",) * (len(more) > _NAMED))
    raise ImplausibleNumber(Message("{first}; likewise {others}", first=first, others=rest))


def adopt(desired: DesiredAccount, observed: ObservedAccount) -> Mapping[str, Desired]:
    """Return what is desired of every number: of the listed ones, and by the file's policy of the unlisted ones.

    `report` desires the observed status of an unlisted number. `deactivate` desires INACTIVE if its status can be
    written, and otherwise the observed one. `ignore` leaves it out. `managed` is False for all of these, except for
    numbers that `deactivate` finds INACTIVE. A listed number of which nothing is asked now keeps the observed status
    under `report` and `deactivate`, and so does a number that no file can list.

    If nothing is unlisted, this is the file's own mapping and not a copy.
    """
    if desired.unmanaged is Unmanaged.IGNORE:
        return desired.numbers
    deactivate = desired.unmanaged is Unmanaged.DEACTIVATE
    shared: dict[Status, Desired] = {}
    unlisted: dict[str, Desired] = {}
    for phone, number in observed.numbers.items():
        if phone in desired.numbers:
            continue
        status = number.status
        if phone in desired.idle:
            rest = desired.idle[phone]
            unlisted[phone] = Desired(
                status, rest.note, rest.owner, managed=False, because=rest.because, until=rest.until
            )
            continue
        if not is_listable(phone):
            unlisted[phone] = Desired(status, managed=False, because=_UNLISTABLE)
            continue
        if status not in shared:
            target = Status.INACTIVE if deactivate and status.writable else status
            shared[status] = Desired(target, managed=deactivate and status is Status.INACTIVE)
        unlisted[phone] = shared[status]
    return desired.numbers | unlisted if unlisted else desired.numbers


def select(numbers: Mapping[str, Desired], selection: Selection) -> Mapping[str, Desired]:
    """Return the selected numbers. Without a selection this is `numbers` itself and not a copy."""
    only, exclude = selection.only, selection.exclude
    if only:
        return {phone: numbers[phone] for phone in numbers if phone in only and phone not in exclude}
    if exclude:
        return {phone: numbers[phone] for phone in numbers if phone not in exclude}
    return numbers


def drifted(change: Change) -> bool:
    """Return True if a number differs for another reason than a change of its file; unknown reasons count."""
    return change.action is not Action.UNMANAGED and change.cause is not Cause.CONFIG_CHANGE
