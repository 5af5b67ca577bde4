"""Parsing and formatting of times, time zones and weekly windows.

A time without an offset means the first instant at which the zone's clock shows that time or, if the clock skips it, a
later time. If the clock shows a time twice in autumn, the first occurrence counts. If the clock skips a time in spring,
the moment of the jump counts. This rule keeps the order of times, so adjacent windows have neither overlaps nor gaps.
"""

import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo

from worker.model.messages import Message
from worker.model.zones import correct_spelling, describe_zone, suggest_zones

__all__ = [
    "DEFAULT_ZONE",
    "WEEK",
    "format_local",
    "format_utc",
    "format_utc_ms",
    "load_zone",
    "parse_api_time",
    "parse_moment",
    "parse_weekly",
    "to_utc",
    "zone_names",
]

DEFAULT_ZONE: Final = "Asia/Seoul"
"""Time zone of files that name none: sender numbers are Korean."""

_DAY: Final = 24 * 60
WEEK: Final = 7 * _DAY
"""Minutes of a week."""

_YEARS: Final = range(1970, 3000)
"""Years that a time may have."""

_DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_TEXT_CAP: Final = 200
"""Maximum length of a weekly window, in characters."""

_match_moment: Final = re.compile(
    r"(?P<day>(?P<year>\d{4})-\d\d-\d\d)(?:[T ](?P<time>\d\d:\d\d(?::\d\d)?)(?P<offset>Z|[+-]\d\d:\d\d)?)?", re.ASCII
).fullmatch
_match_window: Final = re.compile(r"(?P<days>[a-z][a-z ,-]*?) +(?P<ranges>[0-9].*)", re.ASCII).fullmatch
_match_range: Final = re.compile(r" *(\d\d?):([0-5]\d) *- *(\d\d?):([0-5]\d) *", re.ASCII).fullmatch


def load_zone(name: str) -> ZoneInfo:
    """Return the time zone of an IANA name.

    Raises:
        ValueError: the zone does not exist. The message suggests a name if the intended zone is certain.
    """
    zones = zone_names()
    if name in zones:
        return ZoneInfo(name)
    names = suggest_zones(name, zones)
    if len(names) > 1:
        raise ValueError(Message("ambiguous time zone: use one of {zones}", zones=tuple(map(describe_zone, names))))
    if names:
        raise ValueError(Message("unknown time zone: use {zone}", zone=names[0]))
    if suggestion := correct_spelling(name, zones):
        raise ValueError(Message("unknown time zone; did you mean {zone!r}?", zone=suggestion))
    raise ValueError(Message("unknown time zone: use an IANA name such as {zone}", zone=DEFAULT_ZONE))


@lru_cache(maxsize=1)
def zone_names() -> frozenset[str]:
    """Return the zone names of the tzdata package, so that the names are the same on every host."""
    from importlib.resources import files  # noqa: PLC0415 - for files that name a zone or a time only

    return frozenset(files("tzdata").joinpath("zones").read_text(encoding="ascii").split())


def parse_moment(text: str) -> datetime:
    """Parse a day, which means its midnight, or a day and a time. The result is aware if the text has an offset.

    Raises:
        ValueError: the text is neither a day nor a time, or the year is not from 1970 to 2999.
    """
    match = _match_moment(text)
    if match is None:
        raise ValueError(
            Message("not a time: use a form such as 2026-12-01, 2026-12-01T09:00 or 2026-12-01T09:00+09:00")
        )
    if int(match["year"]) not in _YEARS:
        raise ValueError(Message("the year must be from {first} to {last}", first=_YEARS.start, last=_YEARS[-1]))
    try:
        return datetime.fromisoformat(f"{match['day']}T{match['time'] or '00:00'}{match['offset'] or ''}")
    except ValueError:
        raise ValueError(
            Message("no such day or time: use a form such as 2026-12-01, 2026-12-01T09:00 or 2026-12-01T09:00+09:00")
        ) from None


def parse_api_time(text: str) -> datetime | None:
    """Parse a time from the API. Without an offset it is UTC. Return None if the text is not a time."""
    try:
        moment = datetime.fromisoformat(text)
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        return None


def to_utc(moment: datetime, zone: ZoneInfo) -> datetime:
    """Convert a moment in whole seconds to UTC. A naive moment is local time in the zone `zone`."""
    if moment.tzinfo is not None:
        return moment.astimezone(UTC)
    high = moment.replace(tzinfo=zone).astimezone(UTC)
    if _clock(high, zone) == moment:
        return high
    # the clock skips the moment: bisect for the jump
    low = moment.replace(tzinfo=zone, fold=1).astimezone(UTC)
    while (span := (high - low) // timedelta(seconds=1)) > 1:
        middle = low + timedelta(seconds=span // 2)
        if _clock(middle, zone) < moment:
            low = middle
        else:
            high = middle
    return high


def _clock(moment: datetime, zone: ZoneInfo) -> datetime:
    return moment.astimezone(zone).replace(tzinfo=None)


@lru_cache(maxsize=4096)
def parse_weekly(text: str) -> tuple[tuple[int, int], ...]:
    """Parse a weekly window such as `Mon-Fri 09:00-12:00, 13:00-18:00`.

    Each span of the result is [from, until) in minutes since Monday 00:00. Days are three-letter names, or ranges or
    lists of names, or `daily`, in any letter case. A time range that ends before it starts ends on the next day, so the
    last span of a week may end after `WEEK`.

    Raises:
        ValueError: the text is not a weekly window.
    """
    match = _match_window(text.strip().lower()) if len(text) <= _TEXT_CAP else None
    if match is None:
        raise ValueError(
            Message('not a weekly window: use days and times such as "Mon-Fri 09:00-18:00" or "daily 22:00-06:00"')
        )
    ranges = [_minutes(text) for text in match["ranges"].split(",")]
    days = {day for part in match["days"].split(",") for day in _days(part.strip())}
    return tuple((day * _DAY + start, day * _DAY + end) for day in sorted(days) for start, end in sorted(ranges))


def _days(text: str) -> list[int]:
    if text == "daily":
        return list(range(len(_DAYS)))
    first, dash, last = (part.strip() for part in text.partition("-"))
    for name in (first, last) if dash else (first,):
        if name not in _DAYS:
            raise ValueError(
                Message("unknown day {day!r}: use Mon, Tue, Wed, Thu, Fri, Sat, Sun or daily", day=name[:20])
            )
    start = _DAYS.index(first)
    count = (_DAYS.index(last) - start) % len(_DAYS) if dash else 0
    return [(start + step) % len(_DAYS) for step in range(count + 1)]


def _minutes(text: str) -> tuple[int, int]:
    match = _match_range(text)
    if match is None:
        raise ValueError(
            Message("invalid time range {range!r}: use a form such as 09:00-18:00", range=text.strip()[:20])
        )
    hour, minute, end_hour, end_minute = map(int, match.groups())
    start, end = hour * 60 + minute, end_hour * 60 + end_minute
    if start >= _DAY or end > _DAY:
        raise ValueError(Message("invalid time range {range!r}: times are from 00:00 to 24:00", range=text.strip()))
    if start == end:
        raise ValueError(Message("empty time range {range!r}: a whole day is 00:00-24:00", range=text.strip()))
    return start, end if end > start else end + _DAY


def format_utc(moment: datetime) -> str:
    """Format an aware moment for documents: UTC, ISO 8601, Z, with a precision of seconds."""
    return moment.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def format_utc_ms(moment: datetime) -> str:
    """Format an aware moment for documents and logs: UTC, ISO 8601, Z, with a precision of milliseconds."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def format_local(moment: datetime, zone: ZoneInfo) -> str:
    """Format an aware moment as local time for users, such as `2026-12-22 00:00 KST`. Seconds of 0 are omitted."""
    local = moment.astimezone(zone)
    return local.strftime("%Y-%m-%d %H:%M:%S %Z" if local.second else "%Y-%m-%d %H:%M %Z")
