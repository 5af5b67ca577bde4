"""Schedules compared with a minute-by-minute reference: over clock changes, midnights and leap days."""

from array import array
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from tests.support.examples import examples
from worker.model.accounts import DatedWindow, Desired, DesiredAccount, IdleNumber, Schedule, Status, WeeklyWindow
from worker.model.schedule import (
    Transition,
    find_contradictions,
    is_ever_desired,
    next_transition,
    scheduled_status,
    settle_schedules,
    status_changes,
    transitions,
)
from worker.model.times import WEEK, format_local, load_zone, parse_moment, parse_weekly, to_utc

ZONES = ("Europe/Berlin", "America/New_York", "America/Havana", "Asia/Seoul", "Australia/Lord_Howe", "Asia/Beirut")
"""Clocks that change at two in the morning, at midnight, by half an hour, and not at all."""

_MINUTE = timedelta(minutes=1)
statuses = st.sampled_from([Status.ACTIVE, Status.INACTIVE])
days = st.sampled_from(
    [
        datetime(2026, 3, 7),  # noqa: DTZ001 - a clock's time: New York's and Havana's are put forward on the 8th
        datetime(2026, 3, 28),  # noqa: DTZ001 - Berlin's and Beirut's on the 29th
        datetime(2026, 10, 24),  # noqa: DTZ001 - Berlin's and Beirut's back on the 25th
        datetime(2026, 10, 31),  # noqa: DTZ001 - New York's and Havana's on the 1st
        datetime(2026, 10, 3),  # noqa: DTZ001 - Lord Howe's forward by half an hour on the 4th
        datetime(2028, 2, 28),  # noqa: DTZ001 - the day before a leap day
        datetime(2026, 12, 31),  # noqa: DTZ001 - the last day of a year
    ]
)
"""Days before something odd."""
clocks = st.builds(lambda day, minutes: day + minutes * _MINUTE, days, st.integers(0, 3 * 24 * 60))
ranges = st.builds(lambda start, length: (start, start + length), st.integers(0, WEEK - 1), st.integers(1, 24 * 60))
weeks = st.builds(
    lambda status, spans: WeeklyWindow(status, "w", tuple(spans)), statuses, st.lists(ranges, min_size=1, max_size=3)
)


def _dated(status: Status, start: datetime, hours: int, ends: tuple[bool, bool], zone: str) -> DatedWindow:
    first, last = to_utc(start, load_zone(zone)), to_utc(start + timedelta(hours=hours), load_zone(zone))
    return DatedWindow(status, first if ends[0] else None, last if ends[1] or not ends[0] else None)


@st.composite
def schedules(draw: st.DrawFn) -> Schedule:
    """Return schedules in one of the zones, without contradictions."""
    where = draw(st.sampled_from(ZONES))
    ends = st.tuples(st.booleans(), st.booleans())
    dated = st.lists(st.builds(_dated, statuses, clocks, st.integers(3, 30), ends, st.just(where)), max_size=3)
    some, every = tuple(draw(dated)), tuple(draw(st.lists(weeks, max_size=3)))
    assume(not find_contradictions(some) and not find_contradictions(every))
    return Schedule(draw(st.none() | statuses), some, every, where)


def _first_shown(clock: datetime, zone: str) -> datetime:
    """Return the first minute in UTC at which the clock shows this time or a later one, within a day."""
    moment = clock.replace(tzinfo=UTC) - timedelta(hours=26)
    while moment.astimezone(ZoneInfo(zone)).replace(tzinfo=None) < clock:
        moment += _MINUTE
    return moment


@examples(60)
@given(clocks, st.sampled_from(ZONES))
@example(datetime(2026, 3, 29, 2, 30), "Europe/Berlin")  # noqa: DTZ001 - a clock's time
@example(datetime(2026, 10, 25, 2, 30), "Europe/Berlin")  # noqa: DTZ001 - a clock's time
@example(datetime(2026, 3, 8), "America/Havana")  # noqa: DTZ001 - a clock's time
@example(datetime(2026, 11, 1), "America/Havana")  # noqa: DTZ001 - a clock's time
def test_wall_time_is_the_first_instant_that_shows_it_or_later(clock: datetime, zone: str) -> None:
    """This includes times that the clock skips or shows twice."""
    assert to_utc(clock, load_zone(zone)) == _first_shown(clock, zone)


@given(clocks, clocks, st.sampled_from(ZONES))
def test_wall_times_keep_their_order(one: datetime, other: datetime, zone: str) -> None:
    """A later wall time is not an earlier instant, so adjacent windows do not overlap."""
    earlier, later = sorted((one, other))
    assert to_utc(earlier, load_zone(zone)) <= to_utc(later, load_zone(zone))


_Window = tuple[datetime, datetime, Status]


def _weekly_windows(schedule: Schedule, near: datetime) -> list[_Window]:
    """Return the start, the end and the status of each weekly window that is in force within a week of a time."""
    zone = load_zone(schedule.timezone)
    today = near.astimezone(zone).replace(hour=0, minute=0, second=0, microsecond=0, tzinfo=None, fold=0)
    days = [today + timedelta(offset) for offset in range(-15, 9)]
    return [
        (to_utc(day + start * _MINUTE, zone), to_utc(day + end * _MINUTE, zone), week.status)
        for day in days
        if day.weekday() == 0
        for week in schedule.weekly
        for start, end in week.spans
    ]


def _reference(
    schedule: Schedule, moment: datetime, weekly: Sequence[tuple[datetime, datetime, Status]]
) -> Status | None:
    """Return the status of a schedule at a given time, computed from every window of the days around it."""
    for window in schedule.dated:
        if (window.start is None or window.start <= moment) and (window.end is None or moment < window.end):
            return window.status
    return next((status for start, end, status in weekly if start <= moment < end), schedule.base_status)


@pytest.mark.slow
@examples(40, deadline=None)
@given(schedules(), clocks)
def test_status_equals_that_of_every_minute(schedule: Schedule, clock: datetime) -> None:
    """Compare 36 hours minute by minute, including the transitions between them."""
    start = to_utc(clock, load_zone(schedule.timezone))
    weekly = _weekly_windows(schedule, start)
    minutes = [start + minute * _MINUTE for minute in range(36 * 60)]
    statuses = [_reference(schedule, moment, weekly) for moment in minutes]
    expected = [
        (later, status)
        for (later, status), previous in zip(zip(minutes[1:], statuses[1:], strict=True), statuses, strict=False)
        if status is not previous
    ]
    actual = []
    for when, held in status_changes(schedule, start):
        if when > minutes[-1]:
            break
        actual.append((when, held.status))
    assert actual == expected
    edges = [start, *(when for when, _ in actual), minutes[-1]]
    for moment in {*edges, *(edge - timedelta(seconds=1) for edge in edges[1:]), *minutes[::97]}:
        assert scheduled_status(schedule, moment).status is _reference(schedule, moment, weekly)


@given(st.lists(weeks, min_size=1, max_size=4))
def test_weekly_contradictions_are_found_exactly(windows: Sequence[WeeklyWindow]) -> None:
    """A contradiction is reported exactly if some minute of the week has two statuses."""
    minutes = [{minute % WEEK for start, end in window.spans for minute in range(start, end)} for window in windows]

    def clash(one: int, other: int) -> bool:
        return windows[one].status is not windows[other].status and not minutes[one].isdisjoint(minutes[other])

    contradictions = find_contradictions(windows)
    pairs = [(one, other) for other in range(len(windows)) for one in range(other) if clash(one, other)]
    assert bool(contradictions) == bool(pairs)
    assert set(contradictions) <= set(pairs)


hours = st.none() | st.integers(0, 20).map(lambda hour: datetime(2026, 12, 1, hour, tzinfo=UTC))
dated_windows = st.builds(DatedWindow, statuses, hours, hours).filter(
    lambda window: window.start is None or window.end is None or window.start < window.end
)


@given(st.lists(dated_windows, max_size=5))
def test_dated_contradictions_are_found_exactly(windows: Sequence[DatedWindow]) -> None:
    """A contradiction is reported exactly if some hour has two statuses, even for windows without a start or an end."""
    hours = [
        {
            hour
            for hour in range(-1, 22)
            if (window.start is None or window.start.hour <= hour) and (window.end is None or hour < window.end.hour)
        }
        for window in windows
    ]

    def clash(one: int, other: int) -> bool:
        return windows[one].status is not windows[other].status and not hours[one].isdisjoint(hours[other])

    contradictions = find_contradictions(windows)
    pairs = [(one, other) for other in range(len(windows)) for one in range(other) if clash(one, other)]
    assert bool(contradictions) == bool(pairs)
    assert set(contradictions) <= set(pairs)


def _account(*schedules: Schedule | None) -> DesiredAccount:
    phones = [f"0100000{index:04}" for index in range(len(schedules))]
    numbers = dict.fromkeys(phones, Desired(Status.INACTIVE, note="n", owner="o", protected=True))
    scheduled = {phone: schedule for phone, schedule in zip(phones, schedules, strict=True) if schedule is not None}
    return DesiredAccount("main", "main.yaml", numbers, array("I", range(1, len(phones) + 1)), schedules=scheduled)


@examples(60, deadline=None)
@given(st.lists(st.none() | schedules(), max_size=4), clocks, st.integers(0, 5 * 24))
def test_account_changes_only_at_transitions(schedules: list[Schedule | None], clock: datetime, hours: int) -> None:
    """Replayed transitions give the account at any time, and `next_transition` returns the first of them."""
    account = _account(*schedules)
    start = clock.replace(tzinfo=UTC)
    end = start + timedelta(hours=hours)
    changes = list(transitions(account, start, end))
    assert [change.when for change in changes] == sorted(change.when for change in changes)
    transition = next_transition(account, start - timedelta(microseconds=1))
    assert next(iter(changes), None) is None or transition == changes[0].when
    assert changes or transition is None or transition >= end
    state = _statuses(settle_schedules(account, start - timedelta(seconds=1)))
    for change, following in pairwise([*changes, Transition("", end, None, None, "")]):
        assert state[change.phone] is change.before is not change.after
        state[change.phone] = change.after
        if following.when > change.when:
            for moment in (change.when, following.when - timedelta(seconds=1)):
                assert _statuses(settle_schedules(account, moment)) == state


def _statuses(account: DesiredAccount) -> dict[str, Status | None]:
    assert not account.schedules
    assert len(account.lines) == len(account.numbers)
    return {phone: desired.status for phone, desired in account.numbers.items()} | dict.fromkeys(account.idle)


@examples(60, deadline=None)
@given(schedules(), clocks)
def test_until_is_when_the_desired_status_changes(schedule: Schedule, clock: datetime) -> None:
    """A number has the reason and the end of its status, keeps its other fields, and is idle without a status."""
    account = _account(schedule, None)
    moment = clock.replace(tzinfo=UTC)
    settled = settle_schedules(account, moment)
    phone, other = account.numbers
    change = next(status_changes(schedule, moment), None)
    until = None if change is None else change[0].strftime("%Y-%m-%dT%H:%M:%SZ")
    held = scheduled_status(schedule, moment)
    if held.status is None:
        assert settled.idle == {phone: IdleNumber(held.because, until, "n", "o")}
        assert (list(settled.numbers), list(settled.lines)) == ([other], [2])
    else:
        assert settled.numbers[phone] == Desired(
            held.status, "n", "o", protected=True, because=held.because, until=until
        )
        assert is_ever_desired(schedule, held.status)
        assert not settled.idle
    assert settled.numbers[other] is account.numbers[other]


def test_account_without_schedules_is_unchanged() -> None:
    """The same object is returned, and no change is ever due."""
    account = _account(None)
    moment = datetime(2026, 12, 1, tzinfo=UTC)
    assert settle_schedules(account, moment) is account
    assert next_transition(account, moment) is None
    assert list(transitions(account, moment, moment + timedelta(400))) == []


names = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


@given(
    st.integers(0, 6),
    st.integers(0, 6),
    st.integers(0, 1439),
    st.integers(0, 1440),
    st.sampled_from([str.upper, str.lower, str]),
)
def test_weekly_windows_are_read(first: int, last: int, start: int, end: int, spelled: type[str]) -> None:
    """For any range of days and times, each day has its minutes, past midnight if the range ends before it starts."""
    assume(start != end)
    text = spelled(f"{names[first]}-{names[last]} {start // 60:02}:{start % 60:02}-{end // 60:02}:{end % 60:02}")
    count = (last - first) % 7 + 1
    expected = sorted((first + step) % 7 for step in range(count))
    length = end - start if end > start else end - start + 1440
    assert parse_weekly(text) == tuple((day * 1440 + start, day * 1440 + start + length) for day in expected)


@given(clocks, st.sampled_from(ZONES))
def test_formatted_time_is_parsed_back(clock: datetime, zone: str) -> None:
    """An ambiguous wall time is parsed as the first of the two instants."""
    moment = to_utc(clock, load_zone(zone))
    text, _, name = format_local(moment, load_zone(zone)).rpartition(" ")
    assert name
    assert to_utc(parse_moment(text), load_zone(zone)) == moment


@pytest.mark.parametrize("text", ["2026-12-01T09:00+09:00", "2026-12-01T00:00Z"])
def test_time_with_an_offset_ignores_the_zone(text: str) -> None:
    instants = {to_utc(parse_moment(text), load_zone(zone)) for zone in ZONES}
    assert instants == {datetime(2026, 12, 1, tzinfo=UTC)}
