"""Maintenance windows: the times of every week in which the daemon looks, and writes nothing."""

from datetime import datetime

from worker.model.accounts import Schedule, Status, WeeklyWindow
from worker.model.schedule import scheduled_status, status_changes
from worker.model.suspension import Maintenance, Suspend
from worker.model.times import format_utc, parse_weekly

__all__ = ["edge", "suspended"]


def suspended(window: Maintenance, timezone: str, now: datetime) -> Suspend | None:
    """What a window suspends at an aware moment, on the clock of a zone; None outside of it."""
    schedule = _schedule(window, timezone)
    if schedule is None or scheduled_status(schedule, now).status is None:
        return None
    end = edge(window, timezone, now)
    return Suspend(window.reason or f"maintenance: {window.weekly}", None, None if end is None else format_utc(end))


def edge(window: Maintenance, timezone: str, after: datetime) -> datetime | None:
    """When the window next begins or ends after an aware moment; None where it never does."""
    schedule = _schedule(window, timezone)
    found = None if schedule is None else next(status_changes(schedule, after), None)
    return None if found is None else found[0]


def _schedule(window: Maintenance, timezone: str) -> Schedule | None:
    if window.weekly is None:
        return None
    # which status stands for it is of no matter: outside there is none
    return Schedule(None, (), (WeeklyWindow(Status.INACTIVE, window.weekly, parse_weekly(window.weekly)),), timezone)
