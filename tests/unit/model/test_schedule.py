"""Weekly windows at the ends of days and weeks."""

from datetime import UTC, datetime, timedelta

import pytest
from msgspec.structs import replace

from worker.model.accounts import Acknowledgement, DatedWindow, DesiredAccount, Schedule, Status, WeeklyWindow
from worker.model.schedule import (
    find_contradictions,
    next_change,
    next_transition,
    scheduled_status,
    status_changes,
    transitions,
)
from worker.model.times import parse_weekly

ON, OFF = Status.ACTIVE, Status.INACTIVE
_ON = "scheduled ACTIVE:"
_IDLE = "no window is open and no status is set outside the windows; the number keeps its status"
_MAY, _JULY = datetime(2026, 5, 1, tzinfo=UTC), datetime(2026, 7, 1, tzinfo=UTC)


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


def test_window_within_a_longer_one_of_the_same_status_changes_nothing() -> None:
    schedule = Schedule(OFF, (), (_weekly("Mon 09:00-18:00"), _weekly("Mon 10:00-12:00")), "UTC")
    assert _changes(schedule, "2026-11-30T00:00:00+00:00", 2) == ["Mon 11-30 09:00 ACTIVE", "Mon 11-30 18:00 INACTIVE"]


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
    listed = [
        (transition.phone, transition.when, transition.before, transition.after)
        for transition in transitions(account, start, end)
    ]
    assert listed == [("112", start, OFF, ON)]


def test_simultaneous_transitions_are_in_file_order() -> None:
    """Numbers with one schedule are also listed one by one."""
    start, end = datetime(2026, 12, 1, tzinfo=UTC), datetime(2026, 12, 2, tzinfo=UTC)
    first = Schedule(OFF, (DatedWindow(ON, start, end, "sale"),), (), "UTC")
    second = Schedule(OFF, (DatedWindow(ON, start, None),), (), "UTC")
    account = DesiredAccount("main", "a.yaml", {}, (), schedules={"1": first, "2": second, "3": first})
    listed = [
        (transition.phone, transition.when, transition.why)
        for transition in transitions(account, start, end + timedelta(days=1))
    ]
    assert listed == [
        ("1", start, "scheduled ACTIVE: sale"),
        ("2", start, "scheduled ACTIVE: from 2026-12-01 00:00 UTC"),
        ("3", start, "scheduled ACTIVE: sale"),
        ("1", end, "listed as INACTIVE; no window is open"),
        ("3", end, "listed as INACTIVE; no window is open"),
    ]


@pytest.mark.parametrize(
    ("schedule", "reason"),
    [
        (Schedule(OFF, (), (), "UTC"), "listed as INACTIVE; no window is open"),
        (Schedule(None, (), (), "UTC"), _IDLE),
        (Schedule(None, (DatedWindow(ON, _MAY, None),), (), "Asia/Seoul"), f"{_ON} from 2026-05-01 09:00 KST"),
        (Schedule(None, (DatedWindow(ON, None, _JULY),), (), "Asia/Seoul"), f"{_ON} until 2026-07-01 09:00 KST"),
        (
            Schedule(None, (DatedWindow(ON, _MAY, _JULY),), (), "UTC"),
            f"{_ON} from 2026-05-01 00:00 UTC until 2026-07-01 00:00 UTC",
        ),
        (Schedule(None, (DatedWindow(ON, _MAY, _JULY, "sale"),), (), "UTC"), f"{_ON} sale"),
        (Schedule(None, (), (_weekly("daily 00:00-24:00"),), "UTC"), f"{_ON} daily 00:00-24:00"),
    ],
)
def test_status_of_a_schedule_has_its_reason(schedule: Schedule, reason: str) -> None:
    assert scheduled_status(schedule, datetime(2026, 6, 1, tzinfo=UTC)).because == reason


def test_change_after_a_moment_with_microseconds_is_on_the_minute() -> None:
    schedule = Schedule(OFF, (), (_weekly("Mon 09:00-10:00"),), "UTC")
    assert _changes(schedule, "2026-11-30T08:00:00.000001+00:00", 1) == ["Mon 11-30 09:00 ACTIVE"]
    moment = datetime(2026, 11, 30, 8, 0, 0, 1, tzinfo=UTC)
    assert next(status_changes(schedule, moment))[0] == datetime(2026, 11, 30, 9, tzinfo=UTC)


def test_window_keeps_its_local_time_in_the_week_of_a_clock_change() -> None:
    """In Berlin, summer time ended on Sunday, 25 October 2026."""
    schedule = Schedule(OFF, (), (_weekly("Sat-Sun 09:00-10:00"),), "Europe/Berlin")
    assert _changes(schedule, "2026-10-24T00:00:00+00:00", 4) == [
        "Sat 10-24 07:00 ACTIVE",
        "Sat 10-24 08:00 INACTIVE",
        "Sun 10-25 08:00 ACTIVE",
        "Sun 10-25 09:00 INACTIVE",
    ]


def test_window_conflicts_with_a_longer_one_that_encloses_others() -> None:
    days = [datetime(2026, 12, day, tzinfo=UTC) for day in range(1, 11)]
    windows = [DatedWindow(ON, days[0], days[9]), DatedWindow(ON, days[1], days[2]), DatedWindow(OFF, days[5], days[6])]
    assert find_contradictions(windows) == [(0, 2)]


def test_end_of_an_acknowledgement_is_a_change_but_no_transition() -> None:
    """The next change is the earliest end or transition after the given time."""
    day = timedelta(days=1)
    start = datetime(2026, 12, 1, tzinfo=UTC)
    window = DatedWindow(ON, start + 3 * day, None)
    known = {phone: Acknowledgement("x", start + days * day) for phone, days in (("112", 0), ("113", 2), ("114", 5))}
    account = DesiredAccount("main", "a.yaml", {}, (), acknowledgements=known)
    assert [next_change(account, start + days * day) for days in (0, 2, 5)] == [start + 2 * day, start + 5 * day, None]
    assert (next_transition(account, start), list(transitions(account, start, start + 9 * day))) == (None, [])
    scheduled = replace(account, schedules={"115": Schedule(OFF, (window,), (), "UTC")})
    assert [next_change(scheduled, start + days * day) for days in (0, 2)] == [start + 2 * day, start + 3 * day]
