"""Suggestions of IANA names for time zones that are misspelt, or written as an abbreviation, an offset or a city.

No suggestion changes the offset: abbreviations, offsets and cities come from tables, and only the spelling of IANA
names is corrected.
"""

import re
from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from typing import Final
from unicodedata import normalize
from zoneinfo import ZoneInfo

from worker.model.messages import Message

__all__ = ["ABBREVIATIONS", "OFFSETS", "PLACES", "correct_spelling", "describe_zone", "suggest_zones", "zone_warning"]

OFFSETS: Final[Mapping[int, str]] = {
    -720: "Etc/GMT+12",
    -660: "Pacific/Pago_Pago",
    -600: "Pacific/Honolulu",
    -570: "Pacific/Marquesas",
    -540: "Pacific/Gambier",
    -480: "Pacific/Pitcairn",
    -420: "America/Phoenix",
    -360: "America/Costa_Rica",
    -300: "America/Panama",
    -240: "America/Puerto_Rico",
    -180: "America/Sao_Paulo",
    -120: "America/Noronha",
    -60: "Atlantic/Cape_Verde",
    0: "UTC",
    60: "Africa/Lagos",
    120: "Africa/Johannesburg",
    180: "Asia/Riyadh",
    210: "Asia/Tehran",
    240: "Asia/Dubai",
    270: "Asia/Kabul",
    300: "Asia/Karachi",
    330: "Asia/Kolkata",
    345: "Asia/Kathmandu",
    360: "Asia/Dhaka",
    390: "Asia/Yangon",
    420: "Asia/Bangkok",
    480: "Asia/Singapore",
    525: "Australia/Eucla",
    540: "Asia/Seoul",
    570: "Australia/Darwin",
    600: "Australia/Brisbane",
    660: "Pacific/Guadalcanal",
    720: "Pacific/Tarawa",
    780: "Pacific/Tongatapu",
    840: "Pacific/Kiritimati",
}
"""Offsets in minutes ahead of UTC, each with a zone that has the offset all year."""

ABBREVIATIONS: Final[Mapping[str, Mapping[str, int]]] = {
    "kst": {"Asia/Seoul": 540},
    "jst": {"Asia/Tokyo": 540},
    "hkt": {"Asia/Hong_Kong": 480},
    "sgt": {"Asia/Singapore": 480},
    "myt": {"Asia/Kuala_Lumpur": 480},
    "pht": {"Asia/Manila": 480},
    "ict": {"Asia/Bangkok": 420},
    "wib": {"Asia/Jakarta": 420},
    "pkt": {"Asia/Karachi": 300},
    "msk": {"Europe/Moscow": 180},
    "z": {"UTC": 0},
    # several places have these
    "cst": {"America/Chicago": -360, "Asia/Shanghai": 480},
    "ist": {"Asia/Kolkata": 330, "Asia/Jerusalem": 120, "Europe/Dublin": 60},
    "bst": {"Europe/London": 60, "Asia/Dhaka": 360},
    # used in a part of the year only; the second zone has the offset all year
    "edt": {"America/New_York": -240, "America/Puerto_Rico": -240},
    "cdt": {"America/Chicago": -300, "America/Panama": -300},
    "mdt": {"America/Denver": -360, "America/Costa_Rica": -360},
    "pst": {"America/Los_Angeles": -480, "Pacific/Pitcairn": -480},
    "pdt": {"America/Los_Angeles": -420, "America/Phoenix": -420},
    "akst": {"America/Anchorage": -540, "Pacific/Gambier": -540},
    "akdt": {"America/Anchorage": -480, "Pacific/Pitcairn": -480},
    "west": {"Europe/Lisbon": 60, "Africa/Lagos": 60},
    "cest": {"Europe/Paris": 120, "Africa/Johannesburg": 120},
    "eest": {"Europe/Helsinki": 180, "Asia/Riyadh": 180},
    "aest": {"Australia/Sydney": 600, "Australia/Brisbane": 600},
    "aedt": {"Australia/Sydney": 660, "Pacific/Guadalcanal": 660},
    "acst": {"Australia/Adelaide": 570, "Australia/Darwin": 570},
    "awst": {"Australia/Perth": 480},
    "nzst": {"Pacific/Auckland": 720, "Pacific/Tarawa": 720},
    "nzdt": {"Pacific/Auckland": 780, "Pacific/Tongatapu": 780},
}
"""Abbreviations that are not IANA names, each with its possible zones and their offsets in minutes ahead of UTC."""

PLACES: Final[Mapping[str, str]] = {
    **dict.fromkeys(("Korea", "South_Korea", "Republic_of_Korea", "KR", "KOR", "KST-9", "KST+9", "KST9"), "Asia/Seoul"),
    **dict.fromkeys(("Korea_Standard_Time", "Korean_Standard_Time", "Korea_Time"), "Asia/Seoul"),
    **dict.fromkeys(("Busan", "Pusan", "Incheon", "Asia/Busan", "Asia/Pusan", "Asia/Incheon"), "Asia/Seoul"),
    **dict.fromkeys(("Asia/Korea", "한국", "대한민국", "남한", "서울", "서울시", "부산", "인천"), "Asia/Seoul"),
    **dict.fromkeys(("한국시간", "한국표준시", "대한민국표준시", "서울시간", "서울표준시"), "Asia/Seoul"),
    **dict.fromkeys(("North_Korea", "DPRK", "북한", "평양"), "Asia/Pyongyang"),
    **dict.fromkeys(("Japan_Standard_Time", "Tokyo_Standard_Time", "JST-9", "JST+9", "JST9"), "Asia/Tokyo"),
    **dict.fromkeys(("Osaka", "Asia/Osaka", "일본", "도쿄", "동경", "일본시간", "일본표준시"), "Asia/Tokyo"),
    **dict.fromkeys(("China", "China_Standard_Time", "Beijing", "Peking", "Asia/Beijing"), "Asia/Shanghai"),
    **dict.fromkeys(("중국", "베이징", "북경", "상하이", "중국표준시"), "Asia/Shanghai"),
    "홍콩": "Asia/Hong_Kong",
    "대만": "Asia/Taipei",
    "타이베이": "Asia/Taipei",
    "싱가포르": "Asia/Singapore",
    "태국": "Asia/Bangkok",
    "방콕": "Asia/Bangkok",
    "Vietnam": "Asia/Ho_Chi_Minh",
    "Hanoi": "Asia/Ho_Chi_Minh",
    "Asia/Hanoi": "Asia/Ho_Chi_Minh",
    "베트남": "Asia/Ho_Chi_Minh",
    "하노이": "Asia/Ho_Chi_Minh",
    "India": "Asia/Kolkata",
    "Mumbai": "Asia/Kolkata",
    "Asia/Mumbai": "Asia/Kolkata",
    "Asia/Delhi": "Asia/Kolkata",
    "인도": "Asia/Kolkata",
    "런던": "Europe/London",
    "파리": "Europe/Paris",
    "베를린": "Europe/Berlin",
    "모스크바": "Europe/Moscow",
    "뉴욕": "America/New_York",
    "Eastern": "America/New_York",
    "Eastern_Time": "America/New_York",
    "ET": "America/New_York",
    "Central_Time": "America/Chicago",
    "CT": "America/Chicago",
    "Mountain_Time": "America/Denver",
    "MT": "America/Denver",
    "Pacific_Time": "America/Los_Angeles",
    "PT": "America/Los_Angeles",
    "로스앤젤레스": "America/Los_Angeles",
    "하와이": "Pacific/Honolulu",
    "협정세계시": "UTC",
    "세계시": "UTC",
    "Coordinated_Universal_Time": "UTC",
}
"""Places, and names of zones on other systems, each with its zone. `_` stands for a space."""

_SEASONAL: Final = {"EST": "America/New_York", "MST": "America/Denver"}
"""IANA names without summer time, each with the zone that users usually mean."""

_WINTER: Final = datetime(2026, 1, 1)  # noqa: DTZ001 - on the clock of each zone
_SUMMER: Final = datetime(2026, 7, 1)  # noqa: DTZ001 - as above
_ALIKE: Final = 0.75
"""Minimum similarity (0 to 1) of both the region and the city for a name to count as misspelt."""
_APART: Final = 0.04
"""Minimum lead in similarity (0 to 1) of the best name over every name with another offset."""
_RIVALS: Final = 4

_match_offset: Final = re.compile(r"(UTC|GMT)?([+-])?(\d\d?)(?::?([0-5]\d))?", re.ASCII | re.IGNORECASE).fullmatch
_match_inverted_offset: Final = re.compile(r"Etc/GMT([+-])(\d\d?)", re.ASCII | re.IGNORECASE).fullmatch
_match_label: Final = re.compile(r"([^()]*)\(([^()]*)\)([^()]*)").fullmatch
_blanks: Final = re.compile(r"[\s_]+")
_signs: Final = str.maketrans("\u2212\u00b1", "-+")


def suggest_zones(name: str, zones: Collection[str]) -> tuple[str, ...]:
    """Return the IANA names to suggest for an abbreviation, an offset or a city that is not an IANA name.

    The result has several names if the text is ambiguous, and none if no zone is certain. `zones` are all IANA names.
    """
    name = normalize("NFKC", name)
    plain = _plain(name)
    if plain in ABBREVIATIONS:
        return tuple(ABBREVIATIONS[plain])
    if inverted_offset := _match_inverted_offset(name):
        # only the letter case is wrong; the meaning of the sign is unclear
        minutes = int(f"{inverted_offset[1]}{inverted_offset[2]}") * 60
        return tuple(OFFSETS[zone] for zone in (-minutes, minutes) if zone in OFFSETS)
    if plain in _PLAIN_PLACES:
        return (_PLAIN_PLACES[plain],)
    minutes_ahead = _minutes(name)
    if minutes_ahead is not None:
        return (OFFSETS[minutes_ahead],) if minutes_ahead in OFFSETS else ()
    if label := _match_label(name):
        return _of_label(f"{label[1]}{label[3]}".strip(), label[2], zones)
    cities = [zone for zone in zones if _plain(zone.partition("/")[2]) == plain and not zone.startswith("Etc/")]
    return tuple(cities) if len(cities) == 1 else ()


def correct_spelling(name: str, zones: Collection[str]) -> str | None:
    """Return the IANA name that a text misspells in case, separators or letters; None if it is uncertain."""
    if _match_inverted_offset(name):
        return None
    for key in (_plain, _letters):
        same_spelling = [zone for zone in sorted(zones) if key(zone) == key(name)]
        # letters that stand alone may be an abbreviation
        if len(same_spelling) == 1 and (key is _plain or "/" in same_spelling[0]):
            return same_spelling[0]
    ranked = sorted(((_likeness(_plain(name), _plain(zone)), zone) for zone in zones), reverse=True)[:_RIVALS]
    best, candidate = ranked[0]
    if not best:
        return None
    offsets = {_offsets(zone) for likeness, zone in ranked if likeness > best - _APART}
    return candidate if len(offsets) == 1 else None


def zone_warning(name: str) -> Message | None:
    """Return a warning for an IANA name that is often a mistake, else None."""
    location = _SEASONAL.get(name)
    if location:
        return Message(
            "{zone} has no summer time: use {location} for local time", zone=describe_zone(name), location=location
        )
    inverted_offset = _match_inverted_offset(name)
    if inverted_offset is None or int(inverted_offset[2]) == 0:
        return None
    minutes = int(f"{inverted_offset[1]}{inverted_offset[2]}") * 60
    offset_text, opposite = _format(-minutes), OFFSETS.get(minutes)
    if opposite is None:
        return Message("{zone} is {offset}, as IANA inverts the sign", zone=name, offset=offset_text)
    return Message(
        "{zone} is {offset}, as IANA inverts the sign: use {opposite} for {local_name}",
        zone=name,
        offset=offset_text,
        opposite=opposite,
        local_name=_format(minutes),
    )


def describe_zone(name: str) -> str:
    """Return an IANA name with its offsets in winter and in summer: `America/Chicago (UTC-6, UTC-5)`."""
    return f"{name} ({', '.join(map(_format, dict.fromkeys(_offsets(name))))})"


def _of_label(city: str, offset: str, zones: Collection[str]) -> tuple[str, ...]:
    """Return the zones for a name such as `Seoul (UTC+9)`: those of the city that have the offset.

    The city and the offset may be in either order.
    """
    if _minutes(offset) is None:
        city, offset = offset, city
    names = (city,) if city in zones else suggest_zones(city, zones)
    return tuple(name for name in names if _minutes(offset) in _offsets(name))


def _offsets(name: str) -> tuple[int, ...]:
    """Return the offsets of a zone in January and in July, in minutes ahead of UTC."""
    offsets = (ZoneInfo(name).utcoffset(moment) or timedelta() for moment in (_WINTER, _SUMMER))
    return tuple(offset // timedelta(minutes=1) for offset in offsets)


def _likeness(first: str, second: str) -> float:
    """Return the similarity of two names, from 0 to 1.

    It is the lower of the similarity of the regions and that of the cities. The result is 0 for names without a region,
    and for `Etc/…`, where one other letter means another zone.
    """
    from difflib import SequenceMatcher  # noqa: PLC0415 - for mistakes only

    parts = tuple(zip(first.rpartition("/"), second.rpartition("/"), strict=True))
    if not all("/" in zone and not zone.startswith("etc/") for zone in (first, second)):
        return 0.0
    ratio = min(SequenceMatcher(None, *pair).ratio() for pair in parts)
    return ratio if ratio >= _ALIKE else 0.0


def _minutes(name: str) -> int | None:
    """Parse an offset such as `UTC+9`, `GMT+09:00`, `+0900` or `UTC9` to minutes ahead of UTC; None for other text."""
    match = _match_offset(_blanks.sub("", name).translate(_signs))
    if match is None or not (match[1] or match[2]):
        return None
    minutes = int(match[3]) * 60 + int(match[4] or 0)
    return -minutes if match[2] == "-" else minutes


def _format(minutes: int) -> str:
    hours, minutes_left = divmod(abs(minutes), 60)
    sign = "-" if minutes < 0 else "+"
    return f"UTC{sign}{hours}" + (f":{minutes_left:02}" if minutes_left else "")


def _letters(name: str) -> str:
    """Return a name without separators. A name with digits is unchanged, because it is an offset."""
    return name if re.search(r"\d", name) else re.sub(r"\W", "", _plain(name))


def _plain(name: str) -> str:
    return _blanks.sub("", normalize("NFKC", name)).casefold()


_PLAIN_PLACES: Final = {_plain(place): name for place, name in PLACES.items()}
