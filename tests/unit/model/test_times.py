"""Times, time zones and weekly windows: accepted formats and refusals."""

from datetime import UTC, datetime, timedelta

import pytest

from worker.model.times import format_local, format_utc, format_utc_ms, load_zone, parse_moment, parse_weekly, to_utc

SEOUL = load_zone("Asia/Seoul")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-12-01", "2026-11-30T15:00:00Z"),
        ("2026-12-01T09:00", "2026-12-01T00:00:00Z"),
        ("2026-12-01 09:00", "2026-12-01T00:00:00Z"),
        ("2026-12-01T09:00:30", "2026-12-01T00:00:30Z"),
        ("2026-12-01T09:00Z", "2026-12-01T09:00:00Z"),
        ("2026-12-01T09:00-05:00", "2026-12-01T14:00:00Z"),
        ("2028-02-29", "2028-02-28T15:00:00Z"),
    ],
)
def test_time_is_parsed_in_the_given_zone(text: str, expected: str) -> None:
    """A date without a time means midnight."""
    assert format_utc(to_utc(parse_moment(text), SEOUL)) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not a time: use a form such as 2026-12-01,"),
        ("tomorrow", "not a time"),
        ("2026-12-1", "not a time"),
        ("2026-12-01T9:00", "not a time"),
        ("2026-12-01T09:00 ", "not a time"),
        ("2026-12-01+09:00", "not a time"),
        ("２０２６-12-01", "not a time"),  # noqa: RUF001 - digits of another width
        ("2026-02-29", "no such day or time"),
        ("2026-12-01T24:00", "no such day or time"),
        ("1969-12-31", "the year must be from 1970 to 2999"),
        ("9999-12-31", "the year must be from 1970 to 2999"),
    ],
)
def test_invalid_time_is_refused_with_advice(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}"):
        parse_moment(text)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("asia/seoul", "did you mean 'Asia/Seoul'"),
        ("Asia/Soul", "did you mean 'Asia/Seoul'"),
        ("Mars", "use an IANA name such as Asia/Seoul"),
        ("../../etc/passwd", "unknown time zone"),
        ("/usr/share/zoneinfo/Asia/Seoul", "unknown time zone"),
        ("localtime", "unknown time zone"),
        ("", "unknown time zone"),
    ],
)
def test_invalid_zone_is_refused(name: str, message: str) -> None:
    """Paths and host-dependent names such as `localtime` are not IANA names."""
    with pytest.raises(ValueError, match=message):
        load_zone(name)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Mon 00:00-24:00", ((0, 1440),)),
        ("sat,SUN 9:30-10:00", ((7770, 7800), (9210, 9240))),
        ("Fri-Mon 00:00-00:01", ((0, 1), (5760, 5761), (7200, 7201), (8640, 8641))),
        ("Mon,Wed-Thu 10:00-11:00", ((600, 660), (3480, 3540), (4920, 4980))),
        ("Sun 22:00-06:00", ((9960, 10440),)),
        ("Tue 13:00-18:00, 09:00-12:00", ((1980, 2160), (2220, 2520))),
        (" Mon , Mon - Mon  18:00 - 00:00 ", ((1080, 1440),)),
    ],
)
def test_weekly_windows_become_sorted_minutes_of_the_week(text: str, expected: tuple[tuple[int, int], ...]) -> None:
    assert parse_weekly(text) == expected


def test_daily_is_every_day() -> None:
    assert parse_weekly("Daily 09:00-10:00") == parse_weekly("Mon-Sun 09:00-10:00")
    assert len(parse_weekly("daily 09:00-10:00")) == 7


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not a weekly window"),
        ("Mon", "not a weekly window"),
        ("09:00-18:00", "not a weekly window"),
        ("Mon 09:00" + "-18:00" * 40, "not a weekly window"),
        ("Monday 09:00-18:00", "unknown day 'monday': use Mon"),
        ("Mon-Fry 09:00-18:00", "unknown day 'fry'"),
        ("Mon, 09:00-18:00", "unknown day ''"),
        ("Mon 0900-1800", "invalid time range '0900-1800'"),
        ("Mon 09:60-10:00", "invalid time range"),
        ("Mon 09:00-10:00,", "invalid time range ''"),
        ("Mon 09:00-25:00", "times are from 00:00 to 24:00"),
        ("Mon 24:00-06:00", "times are from 00:00 to 24:00"),
        ("Mon 09:00-24:01", "times are from 00:00 to 24:00"),
        ("Mon 09:00-09:00", "empty time range '09:00-09:00': a whole day is 00:00-24:00"),
        (f"{'x' * 30} 09:00-18:00", f"unknown day '{'x' * 20}': use Mon"),
        (f"Mon 0{'9' * 30}", f"invalid time range '0{'9' * 19}': use a form such as 09:00-18:00"),
    ],
)
def test_invalid_weekly_window_is_refused(text: str, message: str) -> None:
    """A long part of it is shown shortened."""
    with pytest.raises(ValueError, match=message):
        parse_weekly(text)


@pytest.mark.parametrize(
    ("zone", "local", "instant"),
    [
        ("Europe/Berlin", "2026-03-29T01:59:59", "2026-03-29T00:59:59Z"),
        ("Europe/Berlin", "2026-03-29T02:00:00", "2026-03-29T01:00:00Z"),
        ("Europe/Berlin", "2026-03-29T02:59:59", "2026-03-29T01:00:00Z"),
        ("Europe/Berlin", "2026-03-29T03:00:00", "2026-03-29T01:00:00Z"),
        ("Europe/Berlin", "2026-10-25T02:30:00", "2026-10-25T00:30:00Z"),
        ("America/New_York", "2026-03-08T02:17:41", "2026-03-08T07:00:00Z"),
        ("Australia/Lord_Howe", "2026-10-04T02:15:00", "2026-10-03T15:30:00Z"),
        ("Pacific/Apia", "2011-12-30T13:14:15", "2011-12-30T10:00:00Z"),
    ],
)
def test_skipped_time_is_the_moment_of_the_jump(zone: str, local: str, instant: str) -> None:
    """A time that the clock shows twice is the first one. Samoa skipped a whole day."""
    converted = to_utc(datetime.fromisoformat(local), load_zone(zone))
    assert (format_utc(converted), converted.tzinfo) == (instant, UTC)
    assert to_utc(converted.astimezone(SEOUL), load_zone(zone)).tzinfo is UTC


def test_every_second_of_a_skipped_hour_is_the_moment_of_the_jump() -> None:
    start, zone = datetime(2026, 3, 29, 2), load_zone("Europe/Berlin")  # noqa: DTZ001 - local time
    instants = {to_utc(start + timedelta(seconds=second), zone) for second in range(0, 3600, 7)}
    assert instants == {datetime(2026, 3, 29, 1, tzinfo=UTC)}


def test_times_are_formatted_in_the_named_zone() -> None:
    """`Z` is UTC. Local times omit seconds that are 0."""
    assert format_utc_ms(datetime(2026, 12, 1, 0, 0, 0, 7999, tzinfo=SEOUL)) == "2026-11-30T15:00:00.007Z"
    assert format_utc(datetime(2026, 12, 1, tzinfo=SEOUL)) == "2026-11-30T15:00:00Z"
    assert format_local(datetime(2026, 12, 1, tzinfo=UTC), SEOUL) == "2026-12-01 09:00 KST"
    assert format_local(datetime(2026, 12, 1, 0, 0, 5, tzinfo=UTC), SEOUL) == "2026-12-01 09:00:05 KST"
