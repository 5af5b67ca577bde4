"""The scope of a plan: the numbers that it covers, and the desired state of each.

This module gives unlisted numbers a desired status, so that the comparison treats all numbers alike.
"""

from collections.abc import Mapping
from typing import Final, TypeVar
from unicodedata import normalize

from msgspec import Struct

from worker.model.accounts import (
    Desired,
    DesiredAccount,
    IdleNumber,
    ObservedAccount,
    Status,
    Unmanaged,
)
from worker.model.errors import ImplausibleNumber
from worker.model.messages import Message, PhoneNumber
from worker.model.phones import is_listable, why_implausible
from worker.model.plans import Action, Cause, Change

__all__ = ["Selection", "adopt", "check_registered", "fold", "is_drift", "scope", "select"]


_UNLISTABLE: Final = Message(
    "registered, but no file can list it as the vendor writes it; change it in the vendor's console"
)

_MAX_NAMES: Final = 20
"""Maximum count of implausible numbers that an error lists after the first one."""


Number = TypeVar("Number", Desired, IdleNumber, Desired | IdleNumber)


class Selection(Struct, frozen=True):
    """The selected numbers of a run: those that every field selects. An empty field selects all numbers.

    `only` and `exclude` are digits. `owners` are whole owners, and `notes` are parts of notes, both as `fold` returns
    them. They select no unlisted number.
    """

    only: frozenset[str] = frozenset()
    exclude: frozenset[str] = frozenset()
    owners: frozenset[str] = frozenset()
    notes: frozenset[str] = frozenset()

    def describes(self, number: Desired | IdleNumber) -> bool:
        """Return True if `owners` and `notes` select a number."""
        return (not self.owners or fold(number.owner) in self.owners) and (
            not self.notes or any(note in fold(number.note) for note in self.notes)
        )


def scope(desired: DesiredAccount, observed: ObservedAccount, selection: Selection) -> Mapping[str, Desired]:
    """Return the desired state of every number in the scope of a plan. The schedules of `desired` must be settled.

    Raises:
        ImplausibleNumber: the file lists an implausible number that is not registered.
    """
    check_registered(desired, observed)
    return select(adopt(desired, observed), selection)


def check_registered(desired: DesiredAccount, observed: ObservedAccount) -> None:
    """Check that every implausible number in the file of an account is registered.

    An implausible number that is not registered is probably a typo of a registered one, which the plan would then treat
    as unlisted.

    Raises:
        ImplausibleNumber: a number fails the check. The message has the location of each such number.
    """
    missing_phones = (*desired.numbers.keys() - observed.numbers.keys(), *desired.idle.keys() - observed.numbers.keys())
    reasons = {phone: reason for phone in missing_phones if (reason := why_implausible(phone))}
    if not reasons:
        return
    locations = desired.locations(reasons)
    missing_locations = sorted((*locations.get(phone, (desired.source, desired.line)), phone) for phone in reasons)
    (source, line, phone), *further_locations = missing_locations
    reason = reasons[phone]
    first_message = Message(
        "{source}:{line}:1: {phone} is not registered on this account, and {reason}, or remove it from the file",
        source=source,
        line=line,
        phone=PhoneNumber(phone),
        reason=reason,
    )
    if not further_locations:
        raise ImplausibleNumber(first_message)
    other_messages = [
        Message("{phone} ({source}:{line})", phone=PhoneNumber(phone), source=other * (other != source), line=line)
        for other, line, phone in further_locations[:_MAX_NAMES]
    ]
    shown_messages = (*other_messages, *("…",) * (len(further_locations) > _MAX_NAMES))
    raise ImplausibleNumber(Message("{first}; likewise {others}", first=first_message, others=shown_messages))


def adopt(desired: DesiredAccount, observed: ObservedAccount) -> Mapping[str, Desired]:
    """Return the desired state of the listed numbers and, by the `unmanaged` policy of the file, of the unlisted ones.

    The desired status of an unlisted number depends on the policy:

    - `ignore`: the number is left out.
    - `report`: the observed status.
    - `deactivate`: INACTIVE if the observed status can be written, otherwise the observed status.

    A number that the file ignores is left out under every policy.

    Under `report` and `deactivate`, two other kinds of numbers also keep their observed status: listed numbers without
    a desired status at this time, and numbers that no file can list. `managed` is False for all these numbers, except
    for unlisted INACTIVE numbers under `deactivate`.

    If there are no such numbers, the result is `desired.numbers` itself and not a copy.
    """
    if desired.unmanaged is Unmanaged.IGNORE:
        return desired.numbers
    deactivate = desired.unmanaged is Unmanaged.DEACTIVATE
    by_status: dict[Status, Desired] = {}
    unlisted_numbers: dict[str, Desired] = {}
    for phone, number in observed.numbers.items():
        if phone in desired.numbers:
            continue
        status = number.status
        if phone in desired.idle:
            idle = desired.idle[phone]
            unlisted_numbers[phone] = Desired(
                status, idle.note, idle.owner, managed=False, because=idle.because, until=idle.until
            )
            continue
        if desired.ignored and desired.ignores(phone):
            continue
        if not is_listable(phone):
            unlisted_numbers[phone] = Desired(status, managed=False, because=_UNLISTABLE)
            continue
        if status not in by_status:
            target = Status.INACTIVE if deactivate and status.is_writable else status
            by_status[status] = Desired(target, managed=deactivate and status is Status.INACTIVE)
        unlisted_numbers[phone] = by_status[status]
    return desired.numbers | unlisted_numbers if unlisted_numbers else desired.numbers


def select(numbers: Mapping[str, Number], selection: Selection) -> Mapping[str, Number]:
    """Return the selected numbers. If all are selected, the result is `numbers` itself and not a copy."""
    only_phones, exclude = selection.only, selection.exclude
    if selection.owners or selection.notes:
        numbers = {phone: number for phone, number in numbers.items() if selection.describes(number)}
    if only_phones:
        return {phone: numbers[phone] for phone in numbers if phone in only_phones and phone not in exclude}
    if exclude:
        return {phone: numbers[phone] for phone in numbers if phone not in exclude}
    return numbers


def fold(text: str | None) -> str:
    """Return a text for comparison: composed, without differences of letter case or white space; empty for None."""
    return " ".join(normalize("NFC", text or "").casefold().split())


def is_drift(change: Change) -> bool:
    """Return True if the difference is drift: its cause is unknown, or it includes a change of the account."""
    return change.action is not Action.UNMANAGED and change.cause is not Cause.CONFIG_CHANGE
