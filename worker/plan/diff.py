"""Comparison of desired and observed numbers."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from worker.model.accounts import (
    MISSING,
    AccountMemory,
    Acknowledgement,
    Desired,
    Observed,
    ObservedAccount,
    Status,
)
from worker.model.history import NumberRecord
from worker.model.messages import Message
from worker.model.plans import Action, Cause, Change
from worker.model.results import Outcome
from worker.model.times import format_local, load_zone

__all__ = [
    "WRITES",
    "Preconditions",
    "add_causes",
    "compare",
    "confirmed_statuses",
    "diff",
    "inverse",
    "preconditions",
]


_BLOCKED: Final[Mapping[str, Message]] = {
    Status.PENDING: Message(
        "PENDING: the vendor is still reviewing its documents or ARS call; finish those, then plan again"
    ),
    Status.BLOCKED: Message("BLOCKED: the vendor has blocked this number; contact the vendor"),
    Status.DUPLICATED: Message(
        "DUPLICATED: this number is registered on another account; report the duplicate registration in the console"
    ),
    Status.EXPIRED: Message("EXPIRED: its verification has expired; verify the number again in the console"),
    Status.OVERLIMIT: Message(
        "OVERLIMIT: the account exceeds its limit of numbers; request a higher limit or remove numbers"
    ),
}
_BLOCKED_UNKNOWN: Final = Message("unknown status; check the number in the vendor's console")
_UNWRITABLE: Final = Message("only ACTIVE and INACTIVE can be written; list one of the two")
_MISSING: Final = Message("not registered on this account; register it with the vendor, or remove it from the file")
_PROTECTED: Final = Message("protected; change it by hand, or remove its protection from the file")
_UNMANAGED: Final = Message("registered but not listed; list it, or set unmanaged to ignore or deactivate")
_UNMANAGED_FIXED: Final = Message(
    "registered but not listed, and its status cannot be changed; set unmanaged to ignore"
)
_LISTED: Final = {Action.ACTIVATE: Message("listed as ACTIVE"), Action.DEACTIVATE: Message("listed as INACTIVE")}
_UNLISTED: Final = Message("not listed, and unmanaged is set to deactivate")


WRITES: Final = {
    (Action.ACTIVATE, Status.INACTIVE, Status.ACTIVE),
    (Action.DEACTIVATE, Status.ACTIVE, Status.INACTIVE),
}
"""The action, the observed and the desired status of every possible write."""


def compare(
    desired: Mapping[str, Desired], observed: ObservedAccount, memory: AccountMemory
) -> tuple[tuple[Change, ...], dict[str, Status]]:
    """Return the changes with their causes, and the result of `confirmed_statuses`."""
    changes = add_causes(diff(desired, observed.numbers), observed, memory)
    return changes, confirmed_statuses(desired, observed.numbers, memory)


def diff(desired: Mapping[str, Desired], observed: Mapping[str, Observed]) -> tuple[Change, ...]:
    """Return a change for every number in `desired` whose action is not `unchanged`.

    The changes are ordered by `Action`, so that activations come before deactivations, and then by phone. Observed
    numbers that are not in `desired` are ignored.
    """
    by_action: dict[Action, list[Change]] = {action: [] for action in Action}
    for phone, number in desired.items():
        number_now = observed.get(phone)
        status = None if number_now is None else number_now.status
        if status == number.status and number.managed:
            continue
        action, reason = _judge(number, status)
        by_action[action].append(
            Change(phone, action, status, number.status, reason, number.note, number.owner, until=number.until)
        )
    return tuple(
        change for changes_of_action in by_action.values() for change in sorted(changes_of_action, key=_by_phone)
    )


def add_causes(changes: Iterable[Change], observed: ObservedAccount, memory: AccountMemory) -> tuple[Change, ...]:
    """Return the changes, with a cause for each number whose last written status is in `memory`.

    If the number still has the written status, its file changed. If the written status is still desired, the account
    changed; `since` is the time of that change, if the API reports it. Otherwise both changed.
    """
    written_statuses = memory.written
    causes = {
        change.phone: _cause(written_statuses[change.phone], change)
        for change in changes
        if change.phone in written_statuses
    }
    drifted_phones = {phone for phone, cause in causes.items() if cause is not Cause.CONFIG_CHANGE}
    drift_times = observed.updated_at(drifted_phones) if drifted_phones else {}
    return tuple(
        replace(change, cause=causes[change.phone], since=drift_times.get(change.phone))
        if change.phone in causes
        else change
        for change in changes
    )


def _cause(written_status: Status, change: Change) -> Cause:
    if change.observed == written_status:
        return Cause.CONFIG_CHANGE
    return Cause.EXTERNAL_DRIFT if change.desired == written_status else Cause.BOTH


def confirmed_statuses(
    desired: Mapping[str, Desired], observed: Mapping[str, Observed], memory: AccountMemory
) -> dict[str, Status]:
    """Return the status of each number that has its desired status, although a run last wrote the other status.

    Both the desired and the observed status of such a number changed since that write.
    """
    return {
        phone: desired[phone].status
        for phone, status in memory.written.items()
        if phone in desired
        and desired[phone].managed
        and phone in observed
        and observed[phone].status == desired[phone].status != status
    }


def _by_phone(change: Change) -> str:
    return change.phone


def _judge(desired: Desired, status: Status | None) -> tuple[Action, str]:
    """Return the action, and its reason, for a number whose action is not `unchanged`."""
    acknowledgement = desired.acknowledgement
    if acknowledgement is None:
        return _required_action(desired, status)
    if desired.acknowledges(status):
        return Action.ACKNOWLEDGED, _acknowledged(acknowledgement)
    action, reason = _required_action(desired, status)
    if acknowledgement.has_ended:
        message = Message(
            "{reason}; its acknowledgement ended at {end}: {known}",
            reason=reason,
            end=_end(acknowledgement),
            known=acknowledgement.reason,
        )
        return action, message
    message = Message(
        "{reason}; only {known} is acknowledged: if {observed} is known too, write `observed: {observed}` under "
        "acknowledge",
        reason=reason,
        known=acknowledgement.known_status(desired.status),
        observed=status or MISSING,
    )
    return action, message


def _end(acknowledgement: Acknowledgement) -> str:
    return format_local(acknowledgement.until, load_zone(acknowledgement.timezone))


def _acknowledged(acknowledgement: Acknowledgement) -> Message:
    end = _end(acknowledgement)
    if acknowledgement.by is None:
        return Message("acknowledged until {end}: {reason}", end=end, reason=acknowledgement.reason)
    return Message(
        "acknowledged by {by} until {end}: {reason}", by=acknowledgement.by, end=end, reason=acknowledgement.reason
    )


def _required_action(desired: Desired, status: Status | None) -> tuple[Action, str]:
    """Return the action, and its reason, of a number whose difference is not acknowledged."""
    if status is None:
        return Action.MISSING, _MISSING
    if status == desired.status:
        return Action.UNMANAGED, desired.because or (_UNMANAGED if status.is_writable else _UNMANAGED_FIXED)
    if not status.is_writable:
        return Action.BLOCKED, _BLOCKED.get(status, _BLOCKED_UNKNOWN)
    if not desired.status.is_writable:
        return Action.BLOCKED, _UNWRITABLE
    if desired.protected:
        return Action.PROTECTED, _PROTECTED
    action = Action.ACTIVATE if desired.status is Status.ACTIVE else Action.DEACTIVATE
    return action, desired.because or (_LISTED[action] if desired.managed else _UNLISTED)


class Preconditions(Struct, frozen=True):
    """Planned writes, grouped by the result of a later read of the account.

    `due_changes` are the writes that remain to be sent. Numbers in `already_done` have their desired status. Numbers in
    `conflicts` have neither their desired status nor the one that the plan observed. The desired status of numbers in
    `expired` has ended by its schedule.
    """

    due_changes: tuple[Change, ...] = ()
    conflicts: tuple[Change, ...] = ()
    already_done: tuple[Change, ...] = ()
    expired: tuple[Change, ...] = ()


def preconditions(
    writes: Iterable[Change], observed: Mapping[str, Observed], now: datetime | None = None
) -> Preconditions:
    """Return planned writes in groups, by the observed numbers. Each write is in exactly one group, in its order.

    `now` is an aware time; None ignores the end (`until`) of a desired status.
    """
    due_changes: list[Change] = []
    expired: list[Change] = []
    conflicts: list[Change] = []
    already_done: list[Change] = []
    for change in writes:
        number = observed.get(change.phone)
        if now is not None and change.until is not None and datetime.fromisoformat(change.until) <= now:
            expired.append(change)
        elif number is None:
            conflicts.append(change)
        elif number.status == change.desired:
            already_done.append(change)
        else:
            (due_changes if number.status == change.observed else conflicts).append(change)
    return Preconditions(tuple(due_changes), tuple(conflicts), tuple(already_done), tuple(expired))


def inverse(numbers: Iterable[NumberRecord], run: str) -> tuple[Change, ...]:
    """Return the writes that restore the status before a run, for each number that the run changed."""
    back = {Status.ACTIVE: Action.ACTIVATE, Status.INACTIVE: Action.DEACTIVATE}
    changes = (
        Change(
            number.phone,
            back[Status(number.before)],
            number.after,
            number.before,
            Message("as before run {run}", run=run),
        )
        for number in numbers
        if number.outcome is Outcome.CHANGED and number.before is not None
    )
    return tuple(sorted(changes, key=lambda change: (change.action is Action.DEACTIVATE, change.phone)))
