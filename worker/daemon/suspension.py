"""Maintenance windows: weekly times in which the daemon reads but does not write."""

from datetime import datetime

from worker.model.accounts import Schedule, Status, WeeklyWindow
from worker.model.messages import Message
from worker.model.schedule import scheduled_status, status_changes
from worker.model.suspension import Maintenance, Suspend
from worker.model.times import format_utc, parse_weekly

__all__ = ["active_window", "next_edge"]


def active_window(window: Maintenance, timezone: str, now: datetime) -> Suspend | None:
    """Return the suspension of a window that contains `now`; None outside the window.

    `now` is aware; the window is in local time of `timezone`.
    """
    schedule = _schedule(window, timezone)
    if schedule is None or scheduled_status(schedule, now).status is None:
        return None
    end = next_edge(window, timezone, now)
    return Suspend(
        window.reason or Message("maintenance: {window}", window=window.weekly or ""),
        None,
        None if end is None else format_utc(end),
    )


def next_edge(window: Maintenance, timezone: str, after: datetime) -> datetime | None:
    """Return when the window next starts or ends after an aware time; None if never."""
    schedule = _schedule(window, timezone)
    change = None if schedule is None else next(status_changes(schedule, after), None)
    return None if change is None else change[0]


def _schedule(window: Maintenance, timezone: str) -> Schedule | None:
    if window.weekly is None:
        return None
    # any status will do: outside the window there is none
    return Schedule(None, (), (WeeklyWindow(Status.INACTIVE, window.weekly, parse_weekly(window.weekly)),), timezone)
