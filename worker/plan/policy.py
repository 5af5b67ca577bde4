"""What a run may touch: which numbers are ours, which were asked for, and how much one plan may take away.

Numbers that no file lists are settled here, before the comparison, so that the comparison treats every number alike.
"""

from collections.abc import Mapping
from typing import Final

from msgspec import Struct

from worker.model.accounts import (
    AccountMemory,
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

__all__ = ["Selection", "adopt", "check_registered", "drifted", "scope", "select", "spent"]


_UNLISTABLE: Final = Message(
    "registered, but no file can list it as it is written there; change it in the vendor's console"
)

_NAMED: Final = 20
"""Further implausible numbers that an error names."""


class Selection(Struct, frozen=True):
    """Which numbers a run is about, in digits. An empty `only` means all of them; `exclude` wins over `only`."""

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

    Such a number is a slip of another one, which counts as unlisted: nothing may be written on the word of this file.

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
        "{source}:{line}:1: {phone} is not registered on this account, and {reason}, or take it off the list",
        source=source,
        line=line,
        phone=PhoneNumber(phone),
        reason=reason,
    )
    others = [
        Message("{phone} ({place})", phone=PhoneNumber(phone), place=f"{other * (other != source)}:{line}")
        for other, line, phone in more[:_NAMED]
    ]
    likewise = (*others, "…") if len(more) > _NAMED else tuple(others)
    raise ImplausibleNumber(Message("{first}; likewise {others}", first=first, others=likewise) if others else first)


def adopt(desired: DesiredAccount, observed: ObservedAccount) -> Mapping[str, Desired]:
    """What every number should be, by its digits: the listed ones and, by the file's policy, the unlisted ones.

    Under `report` an unlisted number is wanted as it is. Under `deactivate` it is wanted INACTIVE where its status can
    be written, and as it is elsewhere. Under `ignore` it is left out. `managed` is False for all of these, except where
    `deactivate` finds a number INACTIVE: that is as its file wants it. A listed number of which nothing is wanted
    now is wanted as it is under both, and so is a number that no file can list. Where nothing is unlisted the answer is
    the file's own mapping and not a copy.

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
            wanted = Status.INACTIVE if deactivate and status.writable else status
            shared[status] = Desired(wanted, managed=deactivate and status is Status.INACTIVE)
        unlisted[phone] = shared[status]
    return desired.numbers | unlisted if unlisted else desired.numbers


def select(wanted: Mapping[str, Desired], selection: Selection) -> Mapping[str, Desired]:
    """The numbers that a run is about. Where nothing was selected the answer is `wanted` itself and not a copy."""
    only, exclude = selection.only, selection.exclude
    if only:
        return {phone: wanted[phone] for phone in wanted if phone in only and phone not in exclude}
    if exclude:
        return {phone: wanted[phone] for phone in wanted if phone not in exclude}
    return wanted


def drifted(change: Change) -> bool:
    """Whether a number is not as desired for another reason than that its file was changed; unknown reasons count."""
    return change.action is not Action.UNMANAGED and change.cause is not Cause.CONFIG_CHANGE


def spent(memory: AccountMemory, wanted: Mapping[str, Desired], observed: ObservedAccount) -> int:
    """How many numbers runs that died have switched off, which are still wanted so and still are."""
    return sum(
        phone in wanted
        and wanted[phone].status is Status.INACTIVE
        and phone in observed.numbers
        and observed.numbers[phone].status is Status.INACTIVE
        for phone in memory.spent
    )
