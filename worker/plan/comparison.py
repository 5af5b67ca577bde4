"""Comparison of a saved plan with the desired-state files, at the time when the plan is applied."""

from collections.abc import Iterable, Mapping
from datetime import datetime

from msgspec import Struct
from msgspec.structs import replace

from worker.model import schedule
from worker.model.accounts import Desired, DesiredAccount, Status, Unmanaged
from worker.model.messages import Message
from worker.model.plans import Change, Notice, NoticeKind
from worker.model.ports import sources
from worker.plan.planfile import SavedAccount

__all__ = ["CurrentFiles", "missing_file_notices", "stale_writes", "with_current_ends"]


class CurrentFiles(Struct, frozen=True):
    """The current desired-state files of one saved account.

    `desired` is the account as the files have it now, with its schedules not yet settled; None if no file has the
    account. `missing` are the names of files that were not found, so that their desired state is unknown.
    """

    desired: DesiredAccount | None
    missing: tuple[str, ...] = ()


def stale_writes(saved_account: SavedAccount, files: CurrentFiles, moment: datetime) -> dict[str, Message]:
    """Return the numbers whose planned write the files no longer desire at `moment`, an aware time, with the reasons.

    If a number may be in a missing file, its write counts as still desired.
    """
    desired = files.desired
    if desired is None:
        message = Message(
            "account {account!r} is no longer in {files}: plan again",
            account=saved_account.account,
            files=sources(saved_account),
        )
        return {} if files.missing else dict.fromkeys(_phones(saved_account), message)
    reason = _target_changed(saved_account, desired, complete=not files.missing)
    if reason is not None:
        return dict.fromkeys(_phones(saved_account), reason)
    settled_account = schedule.settle_schedules(desired, moment)
    outdated_changes = [
        change
        for change in saved_account.changes
        if not _still_desires(settled_account, change, complete=not files.missing)
    ]
    locations = {
        phone: f"{source}:{line}"
        for phone, (source, line) in desired.locations({change.phone for change in outdated_changes}).items()
    }
    return {change.phone: _reason(settled_account, change.phone, locations) for change in outdated_changes}


def with_current_ends(changes: Iterable[Change], files: CurrentFiles, moment: datetime) -> tuple[Change, ...]:
    """Return the writes, each with the earlier end (`until`) of two: that in the plan and that in the current files."""
    numbers = {} if files.desired is None else schedule.settle_schedules(files.desired, moment).numbers
    return tuple(_with_earlier_end(change, numbers.get(change.phone)) for change in changes)


def missing_file_notices(files: CurrentFiles) -> tuple[Notice, ...]:
    """Return a notice that names the missing files; none if all files were found."""
    if not files.missing:
        return ()
    message = Message(
        "{files} not found, so the plan was not compared with the desired state; pass --files FOLDER if the files "
        "moved, or --no-files if they no longer exist",
        files=files.missing,
    )
    return (Notice(NoticeKind.FILES, message),)


def _phones(saved_account: SavedAccount) -> tuple[str, ...]:
    return tuple(change.phone for change in saved_account.changes)


def _with_earlier_end(change: Change, desired: Desired | None) -> Change:
    ends = [end for end in (change.until, None if desired is None else desired.until) if end is not None]
    return replace(change, until=min(ends)) if ends else change


def _target_changed(saved_account: SavedAccount, desired: DesiredAccount, *, complete: bool) -> Message | None:
    """Return why the files no longer describe the account of the plan; None if they still do.

    They must have the account id, endpoint and credentials of the plan. `complete` is False if a file is missing.
    """
    if desired.account_id not in {None, saved_account.account_id}:
        return Message("the account_id in {file} differs from the plan: plan again", file=desired.source)
    if desired.endpoint not in {None, saved_account.endpoint}:
        return Message("the endpoint in {file} differs from the plan: plan again", file=desired.source)
    # default credentials may also be those of a document that was not found
    if desired.credentials != saved_account.credentials and (complete or desired.credentials is not None):
        return Message("the credentials in {file} differ from the plan: plan again", file=desired.source)
    return None


def _still_desires(settled_account: DesiredAccount, change: Change, *, complete: bool) -> bool:
    """Return True if the files still desire the write, or if `complete` is False and a missing file may desire it."""
    desired = settled_account.numbers.get(change.phone)
    if desired is not None:
        return desired.status == change.desired and not desired.protected
    if change.phone in settled_account.idle:
        return False
    return not complete or (settled_account.unmanaged is Unmanaged.DEACTIVATE and change.desired == Status.INACTIVE)


def _reason(settled_account: DesiredAccount, phone: str, locations: Mapping[str, str]) -> Message:
    if phone not in locations:
        return Message("this number is no longer listed in {files}: plan again", files=sources(settled_account))
    location, desired = locations[phone], settled_account.numbers.get(phone)
    if desired is None:
        return Message("{location} has no desired status at this time: plan again", location=location)
    if desired.protected:
        return Message("{location} protects this number now: plan again", location=location)
    return Message("{location} now desires {status}: plan again", location=location, status=desired.status)
