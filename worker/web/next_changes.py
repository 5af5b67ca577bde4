"""Find the next scheduled changes of many accounts, with numbers of one schedule grouped, and cache them."""

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
"""Phones that a change lists."""


class ScheduledChange(Struct, frozen=True):
    """Numbers of an account with the same change at a UTC time: their count, and some of them."""

    when: datetime
    account: str
    before: Status | None
    after: Status | None
    why: str
    count: int
    phones: tuple[str, ...]


class _ScheduleGroup(Struct):
    """Numbers of an account with one schedule, and when it changes next after `asked`; None if never."""

    account: str
    schedule: Schedule
    count: int
    phones: tuple[str, ...]
    asked: datetime | None = None
    following: datetime | None = None


class NextChanges:
    """Caches the groups of numbers of each account, and when they change next."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[DesiredAccount, tuple[_ScheduleGroup, ...]]] = {}

    def next(
        self, accounts: Iterable[DesiredAccount], now: datetime, *, days: int, most: int
    ) -> tuple[ScheduledChange, ...]:
        """Return the first `most` changes within `days` after an aware time, in order."""
        self._known = {account.name: self._grouped(account) for account in accounts}
        end = now + timedelta(days)
        due = [
            alike
            for _, some in self._known.values()
            for alike in some
            if (when := _following(alike, now)) is not None and when < end
        ]
        # a group that is not among the first `most` to change has none of the first `most` changes
        due.sort(key=lambda alike: alike.following or end)
        told = merge(*(_turns(alike, now, end) for alike in due[:most]), key=attrgetter("when"))
        return tuple(islice(told, most))

    def _grouped(self, account: DesiredAccount) -> tuple[DesiredAccount, tuple[_ScheduleGroup, ...]]:
        known = self._known.get(account.name)
        if known is not None and known[0] is account:
            return known
        phones: dict[Schedule, list[str]] = {}
        for phone, schedule in account.schedules.items():
            phones.setdefault(schedule, []).append(phone)
        return account, tuple(_alike(account.name, schedule, some) for schedule, some in phones.items())


def _alike(account: str, schedule: Schedule, phones: Sequence[str]) -> _ScheduleGroup:
    return _ScheduleGroup(account, schedule, len(phones), tuple(phones[:_SHOWN]))


def _following(alike: _ScheduleGroup, now: datetime) -> datetime | None:
    """Return when a schedule changes next; computed again once that is past, or the clock was set back."""
    stale = alike.asked is None or now < alike.asked or (alike.following is not None and alike.following <= now)
    if stale:
        found = next(status_changes(alike.schedule, now), None)
        alike.asked, alike.following = now, None if found is None else found[0]
    return alike.following


def _turns(alike: _ScheduleGroup, after: datetime, end: datetime) -> Iterator[ScheduledChange]:
    before = scheduled_status(alike.schedule, after).status
    for when, held in takewhile(lambda change: change[0] < end, status_changes(alike.schedule, after)):
        yield ScheduledChange(when, alike.account, before, held.status, held.because, alike.count, alike.phones)
        before = held.status
