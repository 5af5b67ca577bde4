"""Times as people write them: moments, time zones and windows of a week, and which instants their clocks mean.

One rule holds for every time that is written without an offset: it is the first instant at which the zone's clock shows
that time, or, where the clock skips it, a later one. So a time that exists twice in autumn is its first, and one that
does not exist in spring is when the clock has jumped past it. Times keep their order under this rule, so that windows
that only touch on the clock never overlap, and never leave a gap between them.
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
    "parse_moment",
    "parse_weekly",
    "to_utc",
    "zone_names",
]

DEFAULT_ZONE: Final = "Asia/Seoul"
"""The zone of files that name none: the numbers are Korean."""

_DAY: Final = 24 * 60
WEEK: Final = 7 * _DAY
"""Minutes of a day and of a week."""

_YEARS: Final = range(1970, 3000)
"""Years that may be written: others are slips, and some of them no calendar can tell."""

_DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_TEXT_CAP: Final = 200
"""Characters of a weekly window: a few ranges."""

_moment: Final = re.compile(
    r"(?P<day>(?P<year>\d{4})-\d\d-\d\d)(?:[T ](?P<time>\d\d:\d\d(?::\d\d)?)(?P<offset>Z|[+-]\d\d:\d\d)?)?", re.ASCII
).fullmatch
_window: Final = re.compile(r"(?P<days>[a-z][a-z ,-]*?) +(?P<ranges>[0-9].*)", re.ASCII).fullmatch
_range: Final = re.compile(r" *(\d\d?):([0-5]\d) *- *(\d\d?):([0-5]\d) *", re.ASCII).fullmatch

_MOMENT_ADVICE: Final = Message("write 2026-12-01, 2026-12-01T09:00 or 2026-12-01T09:00+09:00")
_WEEKLY_ADVICE: Final = Message('write days and times, such as "Mon-Fri 09:00-18:00" or "daily 22:00-06:00"')


def load_zone(name: str) -> ZoneInfo:
    """Return the time zone of an IANA name.

    Raises:
        ValueError: there is none; the message has the name to write, where it is certain.
    """
    known = zone_names()
    if name in known:
        return ZoneInfo(name)
    names = suggest_zones(name, known)
    if len(names) > 1:
        told = Message("write one of {names}", names=", ".join(map(describe_zone, names)))
    elif names:
        told = Message("write {zone}", zone=names[0])
    elif slip := correct_spelling(name, known):
        told = Message("did you mean {zone}?", zone=slip)
    else:
        told = Message("write an IANA name such as {zone}", zone=DEFAULT_ZONE)
    raise ValueError(Message("there is no such time zone; {advice}", advice=told))


@lru_cache(maxsize=1)
def zone_names() -> frozenset[str]:
    """The names that the tzdata package knows: the same on every host, and none that is a path."""
    from importlib.resources import files  # noqa: PLC0415 - for files that name a zone or a time only

    return frozenset(files("tzdata").joinpath("zones").read_text(encoding="ascii").split())


def parse_moment(text: str) -> datetime:
    """A moment as it is written: a day, which is its midnight, or a day and a time; aware where an offset is given.

    Raises:
        ValueError: it is none.
    """
    match = _moment(text)
    if match is None:
        raise ValueError(Message("this is no moment: {advice}", advice=_MOMENT_ADVICE))
    if int(match["year"]) not in _YEARS:
        raise ValueError(Message("the year should be from {first} to {last}", first=_YEARS.start, last=_YEARS[-1]))
    try:
        return datetime.fromisoformat(f"{match['day']}T{match['time'] or '00:00'}{match['offset'] or ''}")
    except ValueError:
        raise ValueError(Message("there is no such day or time of day: {advice}", advice=_MOMENT_ADVICE)) from None


def to_utc(moment: datetime, where: ZoneInfo) -> datetime:
    """The instant, in UTC, of a moment of whole seconds: an aware one, or one on the clock of a zone."""
    if moment.tzinfo is not None:
        return moment.astimezone(UTC)
    found = moment.replace(tzinfo=where).astimezone(UTC)
    if _clock(found, where) == moment:
        return found
    # the clock skips it: before the jump it shows less, after it more
    before = moment.replace(tzinfo=where, fold=1).astimezone(UTC)
    while (span := (found - before) // timedelta(seconds=1)) > 1:
        middle = before + timedelta(seconds=span // 2)
        if _clock(middle, where) < moment:
            before = middle
        else:
            found = middle
    return found


def _clock(moment: datetime, where: ZoneInfo) -> datetime:
    return moment.astimezone(where).replace(tzinfo=None)


@lru_cache(maxsize=4096)
def parse_weekly(text: str) -> tuple[tuple[int, int], ...]:
    """The times of a text such as `Mon-Fri 09:00-12:00, 13:00-18:00`: [from, until) in minutes from Monday's midnight.

    Days are names of three letters, ranges or lists of them, or `daily`, in any letter case. A time range that ends
    before it begins ends on the next day; so the last of a week may end past `WEEK`.

    Raises:
        ValueError: it is no such text.
    """
    match = _window(text.strip().lower()) if len(text) <= _TEXT_CAP else None
    if match is None:
        raise ValueError(Message("this is no weekly window: {advice}", advice=_WEEKLY_ADVICE))
    ranges = [_minutes(each) for each in match["ranges"].split(",")]
    days = {day for each in match["days"].split(",") for day in _days(each.strip())}
    return tuple((day * _DAY + start, day * _DAY + end) for day in sorted(days) for start, end in sorted(ranges))


def _days(text: str) -> list[int]:
    if text == "daily":
        return list(range(len(_DAYS)))
    first, dash, last = (part.strip() for part in text.partition("-"))
    for name in (first, last) if dash else (first,):
        if name not in _DAYS:
            raise ValueError(
                Message("{name!r} is no day: there are Mon, Tue, Wed, Thu, Fri, Sat, Sun and daily", name=name[:20])
            )
    start = _DAYS.index(first)
    count = (_DAYS.index(last) - start) % len(_DAYS) if dash else 0
    return [(start + step) % len(_DAYS) for step in range(count + 1)]


def _minutes(text: str) -> tuple[int, int]:
    match = _range(text)
    if match is None:
        raise ValueError(
            Message("{text!r} is no range of times: {advice}", text=text.strip()[:20], advice=_WEEKLY_ADVICE)
        )
    hour, minute, end_hour, end_minute = map(int, match.groups())
    start, end = hour * 60 + minute, end_hour * 60 + end_minute
    if start >= _DAY or end > _DAY:
        raise ValueError(Message("{text!r}: a day's times are from 00:00 to 24:00", text=text.strip()))
    if start == end:
        raise ValueError(Message("{text!r} begins when it ends: a whole day is 00:00-24:00", text=text.strip()))
    return start, end if end > start else end + _DAY


def format_utc(moment: datetime) -> str:
    """An aware moment as documents carry it, to the second: UTC, ISO 8601, Z."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def format_utc_ms(moment: datetime) -> str:
    """A moment of UTC as documents and logs carry it, to the millisecond: ISO 8601, Z."""
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def format_local(moment: datetime, where: ZoneInfo) -> str:
    """An aware moment for people, such as `2026-12-22 00:00 KST`; seconds where there are any."""
    local = moment.astimezone(where)
    return local.strftime("%Y-%m-%d %H:%M:%S %Z" if local.second else "%Y-%m-%d %H:%M %Z")
