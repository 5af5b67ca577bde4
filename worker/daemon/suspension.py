"""Maintenance windows: weekly times during which the daemon reads accounts but does not write to them."""

from collections.abc import Iterator
from datetime import datetime

from worker.model.accounts import Schedule, Status, WeeklyWindow
from worker.model.messages import Message
from worker.model.schedule import scheduled_status, status_changes
from worker.model.suspension import Maintenance, Suspend
from worker.model.times import format_utc, parse_weekly

__all__ = ["active_window", "edges", "in_force", "next_edge"]


def in_force(suspend: Suspend | None, window: Maintenance, timezone: str, now: datetime) -> Suspend | None:
    """Return the suspension or maintenance window in force at `now`, an aware time; None if there is none."""
    if suspend is not None and suspend.is_in_force(now):
        return suspend
    return active_window(window, timezone, now)


def edges(suspend: Suspend | None, window: Maintenance, timezone: str, after: datetime) -> Iterator[datetime]:
    """Yield the next time after `after` at which a suspension ends, or a maintenance window starts or ends."""
    for moment in (None if suspend is None else suspend.ends, next_edge(window, timezone, after)):
        if moment is not None and moment > after:
            yield moment


def active_window(window: Maintenance, timezone: str, now: datetime) -> Suspend | None:
    """Return the suspension by a maintenance window if `now` is inside the window, otherwise None.

    `now` is an aware time. The window is in local time of `timezone`.
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
    """Return when the window next starts or ends after `after`, an aware time; None if it never does."""
    schedule = _schedule(window, timezone)
    change = None if schedule is None else next(status_changes(schedule, after), None)
    return None if change is None else change[0]


def _schedule(window: Maintenance, timezone: str) -> Schedule | None:
    if window.weekly is None:
        return None
    # any status works: only the difference between inside (a status) and outside (None) matters
    return Schedule(None, (), (WeeklyWindow(Status.INACTIVE, window.weekly, parse_weekly(window.weekly)),), timezone)
