"""Time zone names: suggestions, and warnings about misleading names."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from worker.model.times import load_zone, zone_names
from worker.model.zones import (
    ABBREVIATIONS,
    OFFSETS,
    PLACES,
    correct_spelling,
    describe_zone,
    suggest_zones,
    zone_warning,
)

WINTER, SUMMER = datetime(2026, 1, 15, tzinfo=UTC), datetime(2026, 7, 15, tzinfo=UTC)


def utc_offset_minutes(name: str, moment: datetime) -> int:
    """Return the UTC offset of a zone in minutes."""
    offset = moment.astimezone(ZoneInfo(name)).utcoffset()
    assert offset is not None
    return int(offset.total_seconds() // 60)


@pytest.mark.parametrize(
    "name",
    [
        *("KST", "kst", "KST-9", "UTC+9", "utc +9", "GMT+9", "GMT+09:00", "GMT+0900", "UTC9", "+09:00", "+9"),
        *("Korea", "South Korea", "Korea Standard Time", "Seoul", "SEOUL", "Asia/Pusan", "asia/busan", "KR"),
        *("서울", "\u1109\u1165\u110b\u116e\u11af", "한국", "한국 시간", "한국시간", "대한민국"),
        *("(UTC+09:00) Seoul", "Seoul (GMT+9)", "KST (UTC+9)", "Asia/Seoul (UTC+9)", "UTC+9 (KST)"),
        *("\uff2b\uff33\uff34", "\uff35\uff34\uff23\uff0b\uff19", "서울시"),
    ],
)
def test_korean_time_in_any_spelling_suggests_asia_seoul(name: str) -> None:
    with pytest.raises(ValueError, match=r"^unknown time zone: use Asia/Seoul$"):
        load_zone(name)


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("JST", "use Asia/Tokyo"),
        ("일본", "use Asia/Tokyo"),
        ("Z", "use UTC"),
        ("UTC+0", "use UTC"),
        ("UTC\u00b10", "use UTC"),
        ("UTC\u22128", "use Pacific/Pitcairn"),
        ("UTC+5:30", "use Asia/Kolkata"),
        ("New York", "use America/New_York"),
        ("london", "use Europe/London"),
        ("CST", r"use one of America/Chicago \(UTC-6, UTC-5\), Asia/Shanghai \(UTC\+8\)"),
        ("PST", r"use one of America/Los_Angeles \(UTC-8, UTC-7\), Pacific/Pitcairn \(UTC-8\)"),
        ("etc/gmt+9", r"use one of Pacific/Gambier \(UTC-9\), Asia/Seoul \(UTC\+9\)"),
        ("etc/gmt-14", "use Pacific/Kiritimati"),
        ("Asia/seoul", r"did you mean 'Asia/Seoul'\?"),
        ("Asia Seoul", r"did you mean 'Asia/Seoul'\?"),
        ("Asia/Soul", r"did you mean 'Asia/Seoul'\?"),
        ("Asai/Seoul", r"did you mean 'Asia/Seoul'\?"),
        ("Europe/Berln", r"did you mean 'Europe/Berlin'\?"),
        ("America/New_Yrok", r"did you mean 'America/New_York'\?"),
        ("utc", r"did you mean 'UTC'\?"),
        ("rok", r"did you mean 'ROK'\?"),
        ("est", r"did you mean 'EST'\?"),
    ],
)
def test_unknown_zone_is_refused_with_suggestions(name: str, advice: str) -> None:
    """An ambiguous name lists each zone with its offsets."""
    with pytest.raises(ValueError, match=f"^(unknown|ambiguous) time zone[:;] {advice}$"):
        load_zone(name)


@pytest.mark.parametrize(
    "name",
    [
        *(
            "XST",
            "KDT",
            "MSTT",
            "UTC+13:45",
            "UTC+99",
            "09:00",
            "9",
            "Etc/GMT+99",
            "Etc/UTC+9",
            "GMT+99",
            "KST (UTC+8)",
            "UTC+8 (KST)",
        ),
        *(
            "Asia/Busen",
            "Asia/Kanpur",
            "Seul",
            "Mars",
            "Asia",
            "America/Montana",
            "",
            " ",
            "/",
            "()",
            "../../etc/passwd",
        ),
    ],
)
def test_uncertain_name_has_no_suggestion(name: str) -> None:
    with pytest.raises(ValueError, match=r": use an IANA name such as Asia/Seoul$"):
        load_zone(name)


def test_misspelling_of_zones_with_different_offsets_has_no_suggestion() -> None:
    assert correct_spelling("Brazil/Est", zone_names()) is None
    assert correct_spelling("Brazil/Est", ["Brazil/East"]) == "Brazil/East"
    assert correct_spelling("Brazil/Eastt", zone_names()) == "Brazil/East"


@pytest.mark.parametrize("name", ["ROK", "EST", "MST", "HST", "UTC", "GMT", "Etc/GMT+9", "Asia/Pyongyang", "Japan"])
def test_iana_names_are_accepted(name: str) -> None:
    assert load_zone(name) == ZoneInfo(name)


@pytest.mark.parametrize(
    ("name", "warning"),
    [
        ("Etc/GMT+9", "Etc/GMT+9 is UTC-9, as IANA inverts the sign: use Asia/Seoul for UTC+9"),
        ("Etc/GMT-9", "Etc/GMT-9 is UTC+9, as IANA inverts the sign: use Pacific/Gambier for UTC-9"),
        ("Etc/GMT-14", "Etc/GMT-14 is UTC+14, as IANA inverts the sign"),
        ("EST", "EST (UTC-5) has no summer time: use America/New_York for local time"),
        ("MST", "MST (UTC-7) has no summer time: use America/Denver for local time"),
        ("HST", None),
        ("Etc/GMT+0", None),
        ("Etc/GMT", None),
        ("Asia/Seoul", None),
    ],
)
def test_misleading_name_is_a_warning(name: str, warning: str | None) -> None:
    assert zone_warning(name) == warning


@pytest.mark.parametrize("name", [zone for zone in sorted(zone_names()) if zone.startswith("Etc/GMT")])
def test_warning_has_the_true_offset(name: str) -> None:
    """The suggested zone has the opposite offset."""
    warning = zone_warning(name)
    minutes = utc_offset_minutes(name, WINTER)
    if minutes == 0:
        assert warning is None
    else:
        assert warning is not None
        assert f"{name} is UTC{minutes // 60:+d}," in warning
        if -minutes in OFFSETS:
            assert f"use {OFFSETS[-minutes]} for UTC{-minutes // 60:+d}" in warning


@pytest.mark.parametrize(("minutes", "name"), OFFSETS.items())
def test_zone_suggested_for_an_offset_has_it_all_year(minutes: int, name: str) -> None:
    assert (utc_offset_minutes(name, WINTER), utc_offset_minutes(name, SUMMER)) == (minutes, minutes)
    sign, (hours, remainder) = "-" if minutes < 0 else "+", divmod(abs(minutes), 60)
    for written in (
        f"UTC{sign}{hours}:{remainder:02}",
        f"gmt{sign}{hours:02}{remainder:02}",
        f"{sign}{hours:02}:{remainder:02}",
    ):
        assert suggest_zones(written, zone_names()) == (name,)
    if not remainder:
        assert suggest_zones(f"UTC {sign}{hours}", zone_names()) == (name,)


@pytest.mark.parametrize("written", ABBREVIATIONS)
def test_zones_of_an_abbreviation_have_its_offset(written: str) -> None:
    """At least one zone has it all year."""
    names = suggest_zones(written.upper(), zone_names())
    assert not {written, written.upper()} & zone_names()
    assert set(names) <= zone_names()
    for name, minutes in ABBREVIATIONS[written].items():
        assert minutes in {utc_offset_minutes(name, WINTER), utc_offset_minutes(name, SUMMER)}
        assert name in describe_zone(name)
    if len(set(ABBREVIATIONS[written].values())) == 1:
        (minutes,) = set(ABBREVIATIONS[written].values())
        assert any(utc_offset_minutes(name, WINTER) == utc_offset_minutes(name, SUMMER) == minutes for name in names)


@pytest.mark.parametrize(("written", "name"), PLACES.items())
def test_place_name_suggests_an_iana_zone(written: str, name: str) -> None:
    assert name in zone_names()
    assert written not in zone_names()
    assert suggest_zones(written, zone_names()) == suggest_zones(written.lower(), zone_names()) == (name,)


def test_zone_is_described_with_its_offsets() -> None:
    assert describe_zone("UTC") == "UTC (UTC+0)"
    assert describe_zone("America/St_Johns") == "America/St_Johns (UTC-3:30, UTC-2:30)"
