"""Comparison of a saved plan with the desired-state files, at the time when the plan is applied."""

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime

from msgspec import Struct
from msgspec.structs import replace

from worker.model import schedule
from worker.model.accounts import Desired, DesiredAccount, ObservedAccount, Status, Unmanaged
from worker.model.messages import Message
from worker.model.plans import Action, Change, Notice, NoticeKind
from worker.model.ports import sources
from worker.plan.diff import diff
from worker.plan.planfile import SavedAccount

__all__ = ["CurrentFiles", "acknowledged_changes", "missing_file_notices", "stale_writes", "with_earliest_ends"]


class CurrentFiles(Struct, frozen=True):
    """The current desired-state files of one saved account.

    `desired` is the account as the files now describe it, with its schedules not yet settled; None if no file
    describes it. `missing` are the names of files that were not found, so that their desired state is unknown. With
    `from_stdin`, a part of the desired state came from standard input and is unknown too.
    """

    desired: DesiredAccount | None
    missing: tuple[str, ...] = ()
    from_stdin: bool = False

    @property
    def is_complete(self) -> bool:
        """Return True if no part of the desired state is unknown."""
        return not self.missing and not self.from_stdin


def stale_writes(saved_account: SavedAccount, files: CurrentFiles, moment: datetime) -> dict[str, Message]:
    """Return the numbers whose planned write the files no longer desire at `moment`, an aware time, with the reasons.

    They include the acknowledged numbers whose difference the files no longer acknowledge. If a number may be in a
    missing file, its write counts as still desired, and its acknowledgement as in force.
    """
    desired = files.desired
    if desired is None:
        message = Message(
            "account {account!r} is no longer in {files}: plan again",
            account=saved_account.account,
            files=sources(saved_account),
        )
        return dict.fromkeys(_phones(saved_account), message) if files.is_complete else {}
    reason = _target_changed(saved_account, desired, has_all_files=files.is_complete)
    if reason is not None:
        return dict.fromkeys(_phones(saved_account), reason)
    settled_account = schedule.settle_schedules(desired, moment)
    outdated_changes = [
        change
        for change in _compared(saved_account)
        if not _still_desires(settled_account, change, has_all_files=files.is_complete)
    ]
    locations = {
        phone: f"{source}:{line}"
        for phone, (source, line) in desired.locations({change.phone for change in outdated_changes}).items()
    }
    return {change.phone: _reason(settled_account, change, locations) for change in outdated_changes}


def with_earliest_ends(changes: Iterable[Change], files: CurrentFiles, moment: datetime) -> tuple[Change, ...]:
    """Return the changes. The `until` of each is the earlier of that in the plan and that in the current files."""
    numbers = {} if files.desired is None else schedule.settle_schedules(files.desired, moment).numbers
    return tuple(_with_earlier_end(change, numbers.get(change.phone)) for change in changes)


def missing_file_notices(files: CurrentFiles) -> tuple[Notice, ...]:
    """Return notices on the parts of the desired state that are unknown: standard input, and missing files."""
    notices = []
    if files.from_stdin:
        message = Message("the plan was made from standard input, so it was not compared with the desired state")
        notices.append(Notice(NoticeKind.FILES, message))
    if files.missing:
        message = Message(
            "{files} not found, so the plan was not compared with the desired state; pass --files FOLDER if the files "
            "moved, or --no-files if they no longer exist",
            files=files.missing,
        )
        notices.append(Notice(NoticeKind.FILES, message))
    return tuple(notices)


def acknowledged_changes(
    saved_account: SavedAccount, files: CurrentFiles | None, observed: ObservedAccount, moment: datetime
) -> Iterator[Change]:
    """Yield the acknowledged changes of an account at `moment`, an aware time: those of the files, or of the plan.

    Those of the plan count if the numbers may not be in the files.
    """
    desired = None if files is None or files.desired is None else schedule.settle_schedules(files.desired, moment)
    numbers = {} if desired is None else desired.numbers
    yield from (change for change in diff(numbers, observed.numbers) if change.action is Action.ACKNOWLEDGED)
    yield from (change for change in _planned_acknowledgements(saved_account) if change.phone not in numbers)


def _compared(saved_account: SavedAccount) -> tuple[Change, ...]:
    """Return the changes that follow from the files: the writes, and the acknowledged differences."""
    return (*saved_account.changes, *_planned_acknowledgements(saved_account))


def _planned_acknowledgements(saved_account: SavedAccount) -> Iterator[Change]:
    return (change for change in saved_account.impossible if change.action is Action.ACKNOWLEDGED)


def _phones(saved_account: SavedAccount) -> tuple[str, ...]:
    return tuple(change.phone for change in _compared(saved_account))


def _with_earlier_end(change: Change, desired: Desired | None) -> Change:
    ends = [end for end in (change.until, None if desired is None else desired.until) if end is not None]
    return replace(change, until=min(ends)) if ends else change


def _target_changed(saved_account: SavedAccount, desired: DesiredAccount, *, has_all_files: bool) -> Message | None:
    """Return why the files no longer describe the account of the plan; None if they still do.

    They must have the account id, endpoint and credentials of the plan. `has_all_files` is False if a file is missing.
    """
    if desired.account_id not in {None, saved_account.account_id}:
        return Message("the account_id in {file} differs from the plan: plan again", file=desired.source)
    if desired.endpoint not in {None, saved_account.endpoint}:
        return Message("the endpoint in {file} differs from the plan: plan again", file=desired.source)
    # default credentials may also be those of a document that was not found
    if desired.credentials != saved_account.credentials and (has_all_files or desired.credentials is not None):
        return Message("the credentials in {file} differ from the plan: plan again", file=desired.source)
    return None


def _still_desires(settled_account: DesiredAccount, change: Change, *, has_all_files: bool) -> bool:
    """Return True if the files still desire the write, or if a missing file may: then `has_all_files` is False."""
    desired = settled_account.numbers.get(change.phone)
    if desired is not None:
        if change.action is Action.ACKNOWLEDGED:
            return desired.status == change.desired and desired.acknowledges(change.observed)
        return desired.status == change.desired and not desired.protected and not desired.acknowledges(change.observed)
    if change.phone in settled_account.idle or settled_account.ignores(change.phone):
        return False
    return not has_all_files or (
        settled_account.unmanaged is Unmanaged.DEACTIVATE and change.desired == Status.INACTIVE
    )


def _reason(settled_account: DesiredAccount, change: Change, locations: Mapping[str, str]) -> Message:
    phone = change.phone
    if settled_account.ignores(phone):
        return Message("{file} ignores this number now: plan again", file=settled_account.source)
    if phone not in locations:
        return Message("this number is no longer listed in {files}: plan again", files=sources(settled_account))
    location, desired = locations[phone], settled_account.numbers.get(phone)
    if change.action is Action.ACKNOWLEDGED:
        return Message("{location} no longer acknowledges the status of this number: plan again", location=location)
    if desired is None:
        return Message("{location} has no desired status at this time: plan again", location=location)
    if desired.protected:
        return Message("{location} protects this number now: plan again", location=location)
    if desired.status == change.desired:
        return Message("{location} acknowledges the status of this number now: plan again", location=location)
    return Message("{location} now desires {status}: plan again", location=location, status=desired.status)
