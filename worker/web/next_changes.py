"""Cache of the next scheduled changes of all accounts. Numbers with the same schedule are grouped."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from heapq import merge
from itertools import islice, takewhile
from operator import attrgetter
from typing import Final

from msgspec import Struct

from worker.model.accounts import DesiredAccount, Schedule, Status
from worker.model.schedule import scheduled_status, status_changes

__all__ = ["NextChanges", "ScheduledChange"]

_SHOWN: Final = 5
"""Maximum count of phone numbers that a change lists. The others are counted."""


class ScheduledChange(Struct, frozen=True):
    """A scheduled change of numbers of one account at a UTC time.

    `count` is how many numbers change, and `phones` are the first of them.
    """

    when: datetime
    account: str
    before: Status | None
    after: Status | None
    why: str
    count: int
    phones: tuple[str, ...]


class _ScheduleGroup(Struct):
    """The numbers of an account with the same schedule: their count, and the first of them.

    `following` is the next change of the schedule after `computed_at`; None if there is none.
    """

    account: str
    schedule: Schedule
    count: int
    phones: tuple[str, ...]
    computed_at: datetime | None = None
    following: datetime | None = None


class NextChanges:
    """Cache of the numbers of each account, grouped by schedule, with the time of each group's next change."""

    def __init__(self) -> None:
        self._groups: dict[str, tuple[DesiredAccount, tuple[_ScheduleGroup, ...]]] = {}

    def next(
        self, accounts: Iterable[DesiredAccount], now: datetime, *, days: int, limit: int
    ) -> tuple[ScheduledChange, ...]:
        """Return the first `limit` changes within `days` after `now`, an aware time, in order of time."""
        self._groups = {account.name: self._group(account) for account in accounts}
        end = now + timedelta(days)
        due_changes = [
            group
            for _, group_list in self._groups.values()
            for group in group_list
            if (when := _following(group, now)) is not None and when < end
        ]
        # the first `most` groups to change contain the first `most` changes
        due_changes.sort(key=lambda group: group.following or end)
        changes = merge(*(_changes(group, now, end) for group in due_changes[:limit]), key=attrgetter("when"))
        return tuple(islice(changes, limit))

    def _group(self, account: DesiredAccount) -> tuple[DesiredAccount, tuple[_ScheduleGroup, ...]]:
        cached_entry = self._groups.get(account.name)
        if cached_entry is not None and cached_entry[0] is account:
            return cached_entry
        phones: dict[Schedule, list[str]] = {}
        for phone, schedule in account.schedules.items():
            phones.setdefault(schedule, []).append(phone)
        return account, tuple(
            _new_group(account.name, schedule, phones_alike) for schedule, phones_alike in phones.items()
        )


def _new_group(account: str, schedule: Schedule, phones: Sequence[str]) -> _ScheduleGroup:
    return _ScheduleGroup(account, schedule, len(phones), tuple(phones[:_SHOWN]))


def _following(group: _ScheduleGroup, now: datetime) -> datetime | None:
    """Return when a schedule changes next; None if never.

    The time is cached. It is computed again once it has passed, or if the clock was set back.
    """
    is_stale = (
        group.computed_at is None or now < group.computed_at or (group.following is not None and group.following <= now)
    )
    if is_stale:
        change = next(status_changes(group.schedule, now), None)
        group.computed_at, group.following = now, None if change is None else change[0]
    return group.following


def _changes(group: _ScheduleGroup, after: datetime, end: datetime) -> Iterator[ScheduledChange]:
    before = scheduled_status(group.schedule, after).status
    for when, current in takewhile(lambda change: change[0] < end, status_changes(group.schedule, after)):
        yield ScheduledChange(when, group.account, before, current.status, current.because, group.count, group.phones)
        before = current.status
