"""Weekly windows at the ends of days and weeks."""

from datetime import UTC, datetime

import pytest

from worker.model.accounts import DatedWindow, DesiredAccount, Schedule, Status, WeeklyWindow
from worker.model.schedule import find_contradictions, scheduled_status, status_changes, transitions
from worker.model.times import parse_weekly

ON, OFF = Status.ACTIVE, Status.INACTIVE


def _weekly(text: str, status: Status = ON) -> WeeklyWindow:
    return WeeklyWindow(status, text, parse_weekly(text))


def _changes(schedule: Schedule, after: str, count: int) -> list[str]:
    changes = status_changes(schedule, datetime.fromisoformat(after))
    return [f"{when:%a %m-%d %H:%M} {current.status}" for when, current in (next(changes) for _ in range(count))]


@pytest.mark.parametrize("text", ["Sun 22:00-06:00", "Sat-Sun 22:00-06:00", "daily 22:00-06:00"])
def test_sunday_night_window_ends_on_monday_morning(text: str) -> None:
    schedule = Schedule(OFF, (), (_weekly(text),), "UTC")
    for hour, status in ((21, OFF), (22, ON), (23, ON)):
        assert scheduled_status(schedule, datetime(2026, 11, 29, hour, tzinfo=UTC)).status is status
    for hour, status in ((0, ON), (5, ON), (6, OFF)):
        assert scheduled_status(schedule, datetime(2026, 11, 30, hour, tzinfo=UTC)).status is status
    assert _changes(schedule, "2026-11-29T21:00:00+00:00", 2) == ["Sun 11-29 22:00 ACTIVE", "Mon 11-30 06:00 INACTIVE"]


def test_sunday_night_window_conflicts_with_overlapping_monday_window() -> None:
    assert find_contradictions([_weekly("Sun 22:00-06:00"), _weekly("Mon 05:00-09:00", OFF)]) == [(0, 1)]
    assert find_contradictions([_weekly("Sun 22:00-06:00"), _weekly("Mon 06:00-09:00", OFF)]) == []


def test_window_excludes_its_end() -> None:
    start, end = datetime(2026, 12, 1, tzinfo=UTC), datetime(2026, 12, 2, tzinfo=UTC)
    schedule = Schedule(OFF, (DatedWindow(ON, start, end),), (), "UTC")
    assert [scheduled_status(schedule, moment).status for moment in (start, end)] == [ON, OFF]
    assert _changes(schedule, "2026-11-01T00:00:00+00:00", 2) == ["Tue 12-01 00:00 ACTIVE", "Wed 12-02 00:00 INACTIVE"]


def test_transition_at_the_start_of_the_period_has_the_status_before_it() -> None:
    """The end of the period is excluded."""
    start, end = datetime(2026, 12, 1, tzinfo=UTC), datetime(2026, 12, 2, tzinfo=UTC)
    schedule = Schedule(OFF, (DatedWindow(ON, start, end),), (), "UTC")
    account = DesiredAccount("main", "a.yaml", {}, (), schedules={"112": schedule})
    listed = [(each.phone, each.when, each.before, each.after) for each in transitions(account, start, end)]
    assert listed == [("112", start, OFF, ON)]
