"""When passes start, and how failing accounts back off."""

import re
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from worker.daemon.scheduler import Cron, DueWork, Interval, Scheduler, Trigger, cron

_SEOUL = ZoneInfo("Asia/Seoul")
_START = datetime(2026, 6, 1, 9, 0, tzinfo=UTC)


def _after(seconds: float) -> datetime:
    return _START + timedelta(seconds=seconds)


def _longest(_: float, high: float) -> float:
    return high


def _shortest(low: float, _: float) -> float:
    return low


def _scheduler(trigger: Trigger | None = None, *, jitter: float = 0.0, longest: float = 3600.0) -> Scheduler:
    return Scheduler(trigger or Interval(60.0), _START, uniform=_longest, jitter=jitter, longest=longest)


@pytest.mark.parametrize(
    ("trigger", "start"),
    [
        (Interval(90.0), "2026-06-01 09:01:30+00:00"),
        (cron("30 18 * * *", _SEOUL, _START), "2026-06-01 09:30:00+00:00"),
        (Cron("0 0 */31 1 1#2", _SEOUL), "2027-06-02 09:00:00+00:00"),
    ],
)
def test_next_start_is_in_utc(trigger: Trigger, start: str) -> None:
    """An expression that never matches again has a start in a year."""
    assert str(trigger.next_start(_START.astimezone(_SEOUL))) == start


def test_first_pass_starts_immediately_and_covers_all_accounts() -> None:
    scheduler = _scheduler()
    assert scheduler.next_pass == scheduler.next_wake() == _START
    assert scheduler.due_work(_START, ["a", "b"]) == DueWork(frozenset({"a", "b"}), is_tick=True)
    assert scheduler.due_work(_after(-1), ["a", "b"]) == DueWork(frozenset(), is_tick=False)


@pytest.mark.parametrize(
    ("start", "end", "next_pass", "overrun"),
    [
        (0, 10, 60, False),
        (0, 59, 60, False),
        (0, 60, 120, True),
        (0, 500, 560, True),
        (59, 59, 60, False),
        (60, 60, 120, False),
        (200, 210, 260, False),
    ],
)
def test_next_pass_starts_one_interval_after_the_start(
    start: float, end: float, next_pass: float, *, overrun: bool
) -> None:
    """After an overrun it starts one interval after the end. Missed starts are skipped."""
    scheduler = _scheduler()
    assert scheduler.finish_pass(_after(start), _after(end)) is overrun
    assert scheduler.next_pass == _after(next_pass)


def test_jitter_delays_a_pass_and_not_the_ones_after_it() -> None:
    scheduler = _scheduler(jitter=5.0)
    for number in (1, 2):
        scheduler.finish_pass(scheduler.next_pass, scheduler.next_pass)
        assert scheduler.next_pass == _after(60 * number + 5)


def test_transition_is_due_at_its_time() -> None:
    scheduler = _scheduler()
    scheduler.finish_pass(_START, _START)
    scheduler.expect("a", _after(20))
    scheduler.expect("b", _after(30))
    assert scheduler.next_wake() == _after(20)
    assert scheduler.due_work(_after(19), ["a", "b"]).accounts == set()
    assert scheduler.due_work(_after(20), ["a", "b"]) == DueWork(frozenset({"a"}), is_tick=False)
    scheduler.expect("a", None)
    scheduler.forget("b")
    scheduler.expect("never", None)
    scheduler.forget("never")
    assert scheduler.next_wake() == _after(60)


def test_backoff_doubles_up_to_its_limit_and_ends() -> None:
    """The account skips passes until the backoff ends, but not its transitions."""
    scheduler = _scheduler(longest=200.0)
    assert [scheduler.back_off("a", _START) for _ in range(4)] == [60.0, 120.0, 200.0, 200.0]
    assert scheduler.backoffs == {"a": 4}
    assert scheduler.due_work(_after(199), ["a", "b"]) == DueWork(frozenset({"b"}), is_tick=True)
    scheduler.expect("a", _after(100))
    assert scheduler.due_work(_after(199), ["a"]).accounts == {"a"}
    scheduler.expect("a", None)
    assert scheduler.due_work(_after(200), ["a"]).accounts == {"a"}
    scheduler.end_backoff("a")
    scheduler.end_backoff("a")
    assert scheduler.backoffs == {}
    assert scheduler.back_off("a", _START) == 60.0
    scheduler.forget("a")
    assert scheduler.backoffs == {}


def test_backoff_is_at_least_half_of_its_longest_time() -> None:
    scheduler = Scheduler(Interval(60.0), _START, uniform=_shortest)
    assert [scheduler.back_off("a", _START) for _ in range(8)] == [30, 60, 120, 240, 480, 960, 1800, 1800]


def test_backoff_of_very_many_failures_has_a_length() -> None:
    scheduler = _scheduler()
    assert [scheduler.back_off("a", _START) for _ in range(2000)][-1] == 3600.0


def test_start_now_ends_every_wait() -> None:
    scheduler = _scheduler()
    scheduler.finish_pass(_START, _START)
    scheduler.back_off("a", _START)
    scheduler.start_pass_now(_after(7))
    assert scheduler.next_pass == _after(7)
    assert scheduler.due_work(_after(7), ["a"]) == DueWork(frozenset({"a"}), is_tick=True)
    scheduler.finish_pass(_after(7), _after(8))
    assert scheduler.next_pass == _after(67)


def test_no_wait_is_longer_than_intended_after_the_clock_was_set_back() -> None:
    scheduler = _scheduler(longest=200.0)
    scheduler.finish_pass(_START, _START)
    for account, failures in (("a", 3), ("b", 1)):
        for _ in range(failures):
            scheduler.back_off(account, _START)
    scheduler.limit_waits(_START)
    assert scheduler.next_pass == _after(60)
    assert scheduler.due_work(_after(199), ["a", "b"]).accounts == {"b"}
    scheduler.limit_waits(_after(-100))
    assert scheduler.next_pass == _after(-40)
    assert scheduler.backoffs == {"a": 3, "b": 1}
    assert scheduler.due_work(_after(99), ["a", "b"]).accounts == {"b"}
    assert scheduler.due_work(_after(100), ["a", "b"]).accounts == {"a", "b"}


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("0 0 */31 1 1#2", "no time matches within the next 50 years"),
        ("* * * *", "a cron expression has five fields (minute hour day month weekday), not 4"),
        ("99 * * * *", "bad minute field"),
        ("0 0 30 2 *", "bad day-of-month field"),
    ],
)
def test_invalid_cron_expression_has_its_reason(expression: str, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        cron(expression, ZoneInfo("Asia/Seoul"), _START)
