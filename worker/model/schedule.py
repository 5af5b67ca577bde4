"""Evaluation of schedules: the desired status of a number at a moment, and the transitions between statuses.

Transitions are complete: no desired status changes between two of them. Acknowledgements end at other times.
"""

from array import array
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from functools import lru_cache
from heapq import merge
from itertools import groupby, takewhile
from math import inf
from operator import itemgetter
from typing import Final, NamedTuple

from msgspec import Struct, structs

from worker.model.accounts import DatedWindow, Desired, DesiredAccount, IdleNumber, Schedule, Status, WeeklyWindow
from worker.model.messages import Message, join
from worker.model.times import WEEK, format_local, format_utc, load_zone, to_utc

__all__ = [
    "ScheduledStatus",
    "Transition",
    "find_contradictions",
    "is_ever_desired",
    "next_change",
    "next_transition",
    "scheduled_status",
    "settle_schedules",
    "status_changes",
    "transitions",
]

_INSTANT: Final = timedelta(microseconds=1)
"""Shorter than the time between any two edges of windows, which are in whole seconds."""
_IDLE: Final = Message("no window is open and no status is set outside the windows; the number keeps its status")


class ScheduledStatus(NamedTuple):
    """The desired status of a schedule at a moment, and the reason.

    `status` is None if the number has no desired status.
    """

    status: Status | None
    because: str


class Transition(Struct, frozen=True):
    """A change of the desired status of one number. `when` is in UTC.

    `before` and `after` are None for no desired status. `why` is the reason for `after`.
    """

    phone: str
    when: datetime
    before: Status | None
    after: Status | None
    why: str


def settle_schedules(account: DesiredAccount, moment: datetime) -> DesiredAccount:
    """Return the account with the desired state of its numbers at `moment`, an aware time.

    It has the desired status of each number instead of schedules. Each number has its acknowledgement, ended or not.
    """
    if not account.schedules and not account.acknowledgements:
        return account
    by_schedule: dict[Schedule, tuple[ScheduledStatus, str | None]] = {}
    numbers = dict(account.numbers)
    idle: dict[str, IdleNumber] = {}
    for phone, schedule in account.schedules.items():
        if schedule not in by_schedule:
            change = next(status_changes(schedule, moment), None)
            by_schedule[schedule] = (
                scheduled_status(schedule, moment),
                None if change is None else format_utc(change[0]),
            )
        current, until = by_schedule[schedule]
        number = numbers[phone]
        if current.status is None:
            idle[phone] = IdleNumber(current.because, until, number.note, number.owner)
            del numbers[phone]
        else:
            numbers[phone] = Desired(
                current.status, number.note, number.owner, number.protected, because=current.because, until=until
            )
    for phone, acknowledgement in account.acknowledgements.items():
        if phone in numbers:
            evaluated_acknowledgement = structs.replace(acknowledgement, has_ended=acknowledgement.until <= moment)
            numbers[phone] = structs.replace(numbers[phone], acknowledgement=evaluated_acknowledgement)
    lines_by_phone = zip(account.numbers, account.lines, strict=True)
    lines = array("I", (line for phone, line in lines_by_phone if phone not in idle)) if idle else account.lines
    return structs.replace(account, numbers=numbers, lines=lines, schedules={}, acknowledgements={}, idle=idle)


def next_change(account: DesiredAccount, after: datetime) -> datetime | None:
    """Return the time of the first transition or end of an acknowledgement after a moment; None if there is none."""
    transition = next_transition(account, after)
    times = {
        acknowledgement.until for acknowledgement in account.acknowledgements.values() if acknowledgement.until > after
    }
    return min(times if transition is None else times | {transition}, default=None)


def next_transition(account: DesiredAccount, after: datetime) -> datetime | None:
    """Return the time of the account's first transition after a moment; None if there is no later transition."""
    changes = (next(status_changes(schedule, after), None) for schedule in set(account.schedules.values()))
    return min((change[0] for change in changes if change is not None), default=None)


def transitions(account: DesiredAccount, start: datetime, end: datetime) -> Iterator[Transition]:
    """Yield the transitions of an account in [start, end). They are ordered by time, then by position in the file."""
    places = {phone: index for index, phone in enumerate(account.schedules)}
    phones: dict[Schedule, list[str]] = {}
    for phone, schedule in account.schedules.items():
        phones.setdefault(schedule, []).append(phone)
    changes = merge(
        *(_transitions(schedule, schedule_phones, start, end) for schedule, schedule_phones in phones.items()),
        key=itemgetter(0),
    )
    for _, transition_groups in groupby(changes, key=itemgetter(0)):
        simultaneous = [transition for _, schedule_phones in transition_groups for transition in schedule_phones]
        yield from sorted(simultaneous, key=lambda transition: places[transition.phone])


def _transitions(
    schedule: Schedule, phones: Sequence[str], start: datetime, end: datetime
) -> Iterator[tuple[datetime, list[Transition]]]:
    before = scheduled_status(schedule, start - _INSTANT).status
    for when, current in takewhile(lambda change: change[0] < end, status_changes(schedule, start - _INSTANT)):
        yield when, [Transition(phone, when, before, current.status, current.because) for phone in phones]
        before = current.status


def scheduled_status(schedule: Schedule, moment: datetime) -> ScheduledStatus:
    """Return the desired status of a schedule at an aware moment, and the reason."""
    window = _dated_at(schedule, moment) or _weekly_at(schedule, moment)
    if window is None:
        base_status = schedule.base_status
        if base_status is None:
            return ScheduledStatus(None, _IDLE)
        return ScheduledStatus(base_status, Message("listed as {status}; no window is open", status=base_status))
    text = window.text if isinstance(window, WeeklyWindow) else _span(window, schedule.timezone)
    return ScheduledStatus(
        window.status, Message("scheduled {status}: {reason}", status=window.status, reason=window.reason or text)
    )


def status_changes(schedule: Schedule, after: datetime) -> Iterator[tuple[datetime, ScheduledStatus]]:
    """Yield the time and the new desired status of each change after a moment. The iterator may be endless."""
    edges = sorted({edge for window in schedule.dated for edge in (window.start, window.end) if edge is not None})
    statuses = {schedule.base_status if window is None else window.status for _, window in _profile(schedule.weekly)}
    status, moment = scheduled_status(schedule, after).status, after
    while True:
        index = bisect_right(edges, moment)
        candidates = edges[index : index + 1]
        # weekly windows change nothing if all have one status, or while a dated window hides them
        if len(statuses) > 1 and _dated_at(schedule, moment) is None:
            candidates.append(_next_weekly(schedule, moment))
        if not candidates:
            return
        moment = min(candidates)
        current = scheduled_status(schedule, moment)
        if current.status != status:
            status = current.status
            yield moment, current


def is_ever_desired(schedule: Schedule, status: Status) -> bool:
    """Return True if `status` is the desired status of a window, or outside the windows."""
    return status == schedule.base_status or any(
        window.status == status for windows in (schedule.dated, schedule.weekly) for window in windows
    )


def find_contradictions(windows: Sequence[DatedWindow | WeeklyWindow]) -> list[tuple[int, int]]:
    """Return pairs of windows that overlap and have different statuses. A pair has two indexes, the lower one first.

    The windows are all dated or all weekly. If there are such pairs, the result has at least one, but not always all.
    """
    spans = sorted((start, end, index) for index, window in enumerate(windows) for start, end in _spans(window))
    pairs: set[tuple[int, int]] = set()
    latest: dict[Status, tuple[float, int]] = {}
    for start, end, index in spans:
        status = windows[index].status
        for other_status, (until, earlier) in latest.items():
            if other_status is not status and start < until:
                pairs.add((min(index, earlier), max(index, earlier)))
        latest[status] = max(latest.get(status, (-inf, index)), (end, index))
    return sorted(pairs)


def _spans(window: DatedWindow | WeeklyWindow) -> Iterable[tuple[float, float]]:
    if isinstance(window, WeeklyWindow):
        return _of_week(window)
    start = -inf if window.start is None else window.start.timestamp()
    return [(start, inf if window.end is None else window.end.timestamp())]


def _of_week(window: WeeklyWindow) -> Iterator[tuple[int, int]]:
    """Yield the spans of a window, in minutes from 0 to `WEEK`. A span past the end of the week wraps around."""
    for start, end in window.spans:
        yield start, min(end, WEEK)
        if end > WEEK:
            yield 0, end - WEEK


def _dated_at(schedule: Schedule, moment: datetime) -> DatedWindow | None:
    return next(
        (
            window
            for window in schedule.dated
            if (window.start is None or window.start <= moment) and (window.end is None or moment < window.end)
        ),
        None,
    )


def _weekly_at(schedule: Schedule, moment: datetime) -> WeeklyWindow | None:
    if not schedule.weekly:
        return None
    instants, windows = _fortnight(schedule.weekly, schedule.timezone, _monday(moment, schedule.timezone))
    return windows[bisect_right(instants, moment) - 1]


def _next_weekly(schedule: Schedule, after: datetime) -> datetime:
    instants, _ = _fortnight(schedule.weekly, schedule.timezone, _monday(after, schedule.timezone))
    return instants[bisect_right(instants, after)]


def _monday(moment: datetime, timezone: str) -> datetime:
    """Return Monday 00:00 of the week that contains `moment`, as naive local time."""
    local = moment.astimezone(load_zone(timezone)).replace(hour=0, minute=0, second=0, microsecond=0, tzinfo=None)
    return local.replace(fold=0) - timedelta(local.weekday())


@lru_cache(maxsize=1024)
def _fortnight(
    weekly: tuple[WeeklyWindow, ...], timezone: str, monday: datetime
) -> tuple[tuple[datetime, ...], tuple[WeeklyWindow | None, ...]]:
    """Return the start of each part of two weeks, and the window of each part or None.

    The second week is for look-ahead.
    """
    zone = load_zone(timezone)
    profile = _profile(weekly)
    parts = [(minute + week, window) for week in (0, WEEK) for minute, window in profile]
    instants = tuple(to_utc(monday + timedelta(minutes=minute), zone) for minute, _ in parts)
    return instants, tuple(window for _, window in parts)


@lru_cache(maxsize=1024)
def _profile(weekly: tuple[WeeklyWindow, ...]) -> tuple[tuple[int, WeeklyWindow | None], ...]:
    """Return the parts of the week in order. Each has its start in minutes since Monday 00:00, and a window or None."""
    parts: list[tuple[int, WeeklyWindow | None]] = []
    covered_until = 0
    for start, end, index in sorted((*span, index) for index, window in enumerate(weekly) for span in _of_week(window)):
        if start > covered_until:
            parts.append((covered_until, None))
        if end > covered_until:
            parts.append((max(start, covered_until), weekly[index]))
            covered_until = end
    if covered_until < WEEK:
        parts.append((covered_until, None))
    return tuple(parts)


def _span(window: DatedWindow, timezone: str) -> str:
    zone = load_zone(timezone)
    start = Message("from {time}", time=format_local(window.start, zone)) if window.start else ""
    end = Message("until {time}", time=format_local(window.end, zone)) if window.end else ""
    return join(filter(None, (start, end)), " ")
