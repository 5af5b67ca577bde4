"""The calendar of the fleet: a row for each schedule of an account, with bars for the times of a status."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Final

from msgspec import Struct

from worker.model.accounts import DatedWindow, DesiredAccount, Schedule, Status, WeeklyWindow
from worker.model.schedule import scheduled_status, status_changes
from worker.model.times import format_utc, load_zone

__all__ = ["CALENDAR_DAYS", "CalendarBar", "CalendarDay", "CalendarRow", "calendar_days", "calendar_rows"]

CALENDAR_DAYS: Final = 14
_WIDTH: Final = 1000
"""Width of the whole calendar."""
_SHOWN: Final = 3
"""Maximum count of windows that the text of a schedule lists."""


class CalendarBar(Struct, frozen=True):
    """The time of a status, with its place and width in thousandths of the calendar."""

    start: str
    end: str
    status: Status
    x: float
    width: float


class CalendarRow(Struct, frozen=True):
    """The numbers of an account with one schedule. `text` describes the windows, `zone` is the time zone of the file.

    `following` is the time of the next change, and `after` the status from then on; None if there is none.
    """

    account: str
    text: str
    zone: str
    numbers: int
    bars: Sequence[CalendarBar]
    following: str | None
    after: Status | None


class CalendarDay(Struct, frozen=True):
    """One day of the calendar, in the zone of files that name none."""

    date: str
    number: int
    weekday: int
    x: float


def calendar_days(start: datetime, zone: str) -> list[CalendarDay]:
    """Return the days from `start`, a midnight in `zone`."""
    days = []
    for index in range(CALENDAR_DAYS):
        day = (start + timedelta(index)).astimezone(load_zone(zone))
        days.append(CalendarDay(f"{day:%Y-%m-%d}", day.day, day.weekday(), round(_WIDTH * index / CALENDAR_DAYS, 2)))
    return days


def calendar_rows(accounts: Iterable[DesiredAccount], start: datetime, now: datetime) -> Iterator[CalendarRow]:
    """Yield the rows of accounts that have schedules, in order. The bars of a row are computed when the row is read."""
    end = start + timedelta(CALENDAR_DAYS)
    for account in accounts:
        for schedule, numbers in Counter(account.schedules.values()).items():
            yield _row(account, schedule, numbers, (start, end), now)


def _row(
    account: DesiredAccount, schedule: Schedule, numbers: int, span: tuple[datetime, datetime], now: datetime
) -> CalendarRow:
    start, end = span
    bars, at, status = [], start, scheduled_status(schedule, start).status
    for when, current in status_changes(schedule, start):
        if status is not None:
            bars.append(_bar(at, min(when, end), status, start))
        at, status = when, current.status
        if when >= end:
            break
    else:
        when = end
    if at < end and status is not None:
        bars.append(_bar(at, end, status, start))
    following = next(status_changes(schedule, now), None)
    return CalendarRow(
        account.name,
        _text(schedule),
        schedule.timezone,
        numbers,
        bars,
        None if following is None else format_utc(following[0]),
        None if following is None else following[1].status,
    )


def _bar(start: datetime, end: datetime, status: Status, origin: datetime) -> CalendarBar:
    whole = timedelta(CALENDAR_DAYS)
    x, right = (_WIDTH * (moment - origin) / whole for moment in (start, end))
    return CalendarBar(format_utc(start), format_utc(end), status, round(x, 2), round(right - x, 2))


def _text(schedule: Schedule) -> str:
    """Return the windows of a schedule as the file has them, such as "Mon-Fri 09:00-18:00 ACTIVE"."""
    windows: list[DatedWindow | WeeklyWindow] = [*schedule.dated, *schedule.weekly]
    texts = [
        f"{_dates(window, schedule.timezone) if isinstance(window, DatedWindow) else window.text} {window.status}"
        for window in windows[:_SHOWN]
    ]
    return ", ".join(texts) + (f" +{len(windows) - _SHOWN}" if len(windows) > _SHOWN else "")


def _dates(window: DatedWindow, zone: str) -> str:
    start, end = (
        "" if moment is None else f"{moment.astimezone(load_zone(zone)):%Y-%m-%d}"
        for moment in (window.start, window.end)
    )
    return f"{start}…{end}"
