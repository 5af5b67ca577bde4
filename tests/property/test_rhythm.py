"""When passes are due, for every interval, cron expression and sequence of events."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.daemon.scheduler import Cron, Interval, Scheduler, cron

START = datetime(2026, 11, 24, 9, 0, tzinfo=UTC)
SEOUL = ZoneInfo("Asia/Seoul")

MOMENTS = st.datetimes(datetime(2020, 1, 1), datetime(2040, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - UTC follows
EXPRESSIONS = st.sampled_from(["*/5 9-18 * * 1-5", "0 0 1 * *", "30 2 * * *", "0 9 29 2 *", "*/7 * * * *"])
ZONES = st.sampled_from([SEOUL, ZoneInfo("Europe/Berlin"), ZoneInfo("America/New_York"), ZoneInfo("UTC")])


def low(least: float, most: float) -> float:
    """Return the smallest value that can be drawn."""
    del most
    return least


@given(EXPRESSIONS, ZONES, MOMENTS)
def test_next_cron_time_is_later_and_on_a_whole_minute(expression: str, zone: ZoneInfo, moment: datetime) -> None:
    """The next time is in UTC, and the same from any time in between."""
    rhythm = Cron(expression, zone)
    following = rhythm.next_start(moment)
    assert following > moment
    assert following.tzinfo is UTC
    assert (following.second, following.microsecond) == (0, 0)
    assert rhythm.next_start(moment + (following - moment) / 2) == following


def test_cron_follows_the_wall_time_of_its_zone() -> None:
    """9:00 is 0:00 UTC in Korea, and stays 9:00 in Berlin when daylight saving time ends."""
    assert cron("0 9 * * *", SEOUL, START).next_start(START) == datetime(2026, 11, 25, 0, 0, tzinfo=UTC)
    berlin = cron("0 9 * * *", ZoneInfo("Europe/Berlin"), START)
    saturday = datetime(2026, 10, 24, 0, 0, tzinfo=UTC)
    first = berlin.next_start(saturday)
    assert [first.hour, berlin.next_start(first).hour] == [7, 8]


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("", "five fields"),
        ("* * * *", "five fields (minute hour day month weekday), not 4"),
        ("* * * * * *", "not 6"),
        ("61 * * * *", "bad minute field"),
        ("* * * * mon-", "bad day-of-week field"),
        ("0 0 30 2 *", "bad day-of-month field"),
        ("0 0 */31 1 1#2", "no time matches within the next 50 years"),
    ],
)
def test_invalid_cron_expression_is_refused(expression: str, message: str) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        cron(expression, SEOUL, START)
    assert message in str(caught.value)


def test_cron_expression_without_a_next_time_waits_a_year() -> None:
    """An expression that never matches again does not stop the daemon."""
    assert Cron("0 0 */31 1 1#2", ZoneInfo("UTC")).next_start(START) == START + timedelta(days=366)


@given(
    st.floats(1, 5000),
    st.floats(0, 1),
    st.lists(st.tuples(st.floats(0.001, 4000), st.floats(0, 6000)), min_size=1, max_size=40),
)
def test_missed_passes_do_not_accumulate(seconds: float, share: float, course: list[tuple[float, float]]) -> None:
    """Each pass is followed by at most one due pass, however long passes take and however late the daemon wakes."""
    agenda = Scheduler(
        Interval(seconds), START, uniform=lambda least, most: least + share * (most - least), jitter=seconds / 3
    )
    now, last = START, START - timedelta(days=1)
    for lasts, sleeps in course:
        due = agenda.due_work(now, ["a"])
        if due.is_tick:
            assert due.accounts == {"a"}
            ended = now + timedelta(seconds=lasts)
            agenda.finish_pass(now, ended)
            assert agenda.next_pass > now
            assert agenda.next_pass <= ended + timedelta(seconds=seconds * 4 / 3 + 0.001)
            last, now = now, ended
        now = max(now + timedelta(seconds=0.001), min(agenda.next_wake(), now + timedelta(seconds=sleeps)))
        assert now > last


@given(st.integers(1, 40), st.floats(1, 100_000), st.floats(0, 1))
def test_backoff_doubles_up_to_an_hour(failures: int, interval: float, share: float) -> None:
    """Each backoff lies in the upper half of its range, which starts at the interval."""
    agenda = Scheduler(Interval(interval), START, uniform=lambda least, ceiling: least + share * (ceiling - least))
    for number in range(failures):
        backoff = agenda.back_off("a", START)
        ceiling = min(3600.0, interval * 2.0**number)
        assert ceiling / 2 <= backoff * (1 + 1e-6)
        assert backoff <= ceiling * (1 + 1e-6)
    assert agenda.backoffs == {"a": failures}
    agenda.end_backoff("a")
    assert agenda.backoffs == {}


def test_window_edge_is_due_during_a_backoff() -> None:
    """The interval skips the account meanwhile."""
    agenda = Scheduler(Interval(300.0), START, uniform=low)
    agenda.finish_pass(START, START)
    for _ in range(5):
        agenda.back_off("a", START)
    at = START + timedelta(seconds=100)
    agenda.expect("a", at)
    assert agenda.next_wake() == at
    assert agenda.due_work(at - timedelta(seconds=1), ["a", "b"]).accounts == frozenset()
    assert agenda.due_work(at, ["a", "b"]).accounts == {"a"}
    agenda.expect("a", None)
    due = agenda.due_work(START + timedelta(seconds=300), ["a", "b"])
    assert due.is_tick
    assert due.accounts == {"b"}
    agenda.start_pass_now(at)
    assert agenda.due_work(at, ["a", "b"]).accounts == {"a", "b"}
    agenda.expect("a", at)
    agenda.back_off("a", at)
    agenda.forget("a")
    assert agenda.backoffs == {}
    assert agenda.next_wake() == at


def test_clock_set_back_shortens_the_waits() -> None:
    """After a step of a day, the next pass is one interval away, and no backoff is longer than the maximum."""
    agenda = Scheduler(Interval(300.0), START, uniform=low)
    agenda.finish_pass(START, START)
    agenda.back_off("a", START)
    agenda.back_off("b", START - timedelta(days=1))
    back = START - timedelta(days=1)
    agenda.limit_waits(back)
    assert agenda.next_pass == back + timedelta(seconds=300)
    assert agenda.due_work(back + timedelta(hours=1, seconds=1), ["a", "b"]).accounts == {"a", "b"}
    agenda.limit_waits(back - timedelta(seconds=0))
    assert agenda.next_pass == back + timedelta(seconds=300)


def test_pass_overran_only_if_the_next_was_due_meanwhile() -> None:
    """A suspended machine did not overrun. A pass that takes too long did, and an interval follows."""
    agenda = Scheduler(Interval(300.0), START, uniform=low)
    late = START + timedelta(hours=5)
    assert not agenda.finish_pass(late, late + timedelta(seconds=10))
    assert agenda.next_pass == late + timedelta(seconds=300)
    started_at = agenda.next_pass
    assert agenda.finish_pass(started_at, started_at + timedelta(seconds=301))
    assert agenda.next_pass == started_at + timedelta(seconds=601)
