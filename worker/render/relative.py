"""Times for users: relative to now, such as "3 h ago", and in the zone of the reader."""

from datetime import UTC, datetime
from typing import Final

from worker.model.times import DEFAULT_ZONE, load_zone
from worker.render.i18n import gettext as _

__all__ = ["local", "relative", "units"]

_STEPS: Final = ((86_400 * 2, 86_400), (3600 * 2, 3600), (120, 60), (0, 1))
"""The least seconds from which a unit is used, and the seconds of that unit: days, hours, minutes, seconds."""


def units() -> tuple[str, ...]:
    """Return the texts of an amount of days, hours, minutes and seconds, for `str.format`."""
    return _("{n} d"), _("{n} h"), _("{n} min"), _("{n} s")


def relative(stamp: str, now: str) -> str:
    """Return a time relative to `now`, such as "3 h ago" or "in 40 min". Both are UTC, ISO 8601, Z."""
    seconds = round((datetime.fromisoformat(stamp) - datetime.fromisoformat(now)).total_seconds())
    index = next(index for index, (least, _size) in enumerate(_STEPS) if abs(seconds) >= least)
    amount = units()[index].format(n=abs(seconds) // _STEPS[index][1])
    return (_("in {time}") if seconds > 0 else _("{time} ago")).format(time=amount)


def local(stamp: str, zone: str = DEFAULT_ZONE) -> str:
    """Return a time in a zone and in UTC, such as "2026-11-24 09:20 KST · 00:20 UTC"."""
    moment = datetime.fromisoformat(stamp)
    zoned, utc = moment.astimezone(load_zone(zone)), moment.astimezone(UTC)
    time_format = "%H:%M UTC" if zoned.date() == utc.date() else "%Y-%m-%d %H:%M UTC"
    return f"{zoned:%Y-%m-%d %H:%M %Z} · {utc.strftime(time_format)}"
