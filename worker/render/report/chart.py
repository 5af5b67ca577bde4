"""The requests that write of one API key over time, beside their quota, as a drawing and as a table."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from msgspec import Struct

from worker.model.times import stamp_ms
from worker.render.i18n import gettext as _
from worker.render.i18n import ngettext
from worker.render.report.rates import Pause, Span, Write, busiest, pauses, spans

__all__ = ["HEIGHT", "WIDTH", "Chart", "Rate", "drawn"]

WIDTH: Final = 1_000
HEIGHT: Final = 200
"""Of the drawing, in units of its own."""

_PARTS: Final = 240
_ROWS: Final = 24
"""Equal parts of the time that are drawn, and that are listed."""

_MARKS: Final = 500
"""Marks of one kind; more of them are one stroke anyway."""

_HEADROOM: Final = 1.15
"""The highest value is not at the very top."""


class Rate(Struct, frozen=True):
    """The quota of a run: at most `writes` in any `per_seconds`."""

    writes: int
    per_seconds: float


class Band(Struct, frozen=True):
    """A time without answers from `start`, a stamp, drawn from `x` over `width`, and what is said of it."""

    start: str
    x: float
    width: float
    text: str


class Chart(Struct, frozen=True):
    """What is drawn: `line` is a path, `limit` a height, `again` and `refused` places from left to right.

    `summary` says in words what is to be seen. `top` is the value at the upper edge; `start` and `end` are stamps.
    """

    title: str
    summary: str
    window: float
    line: str
    limit: float | None
    again: tuple[float, ...]
    refused: tuple[float, ...]
    bands: tuple[Band, ...]
    top: int
    start: str
    end: str
    rows: tuple[Span, ...]

    def clock(self, at: float) -> str:
        """The time of day of a Unix time, UTC."""
        return _stamp(at)[11:].removesuffix("Z")


def drawn(title: str, writes: Sequence[Write], window: float, rate: Rate | None) -> Chart:
    """The chart of some writes, at least one, in the order of time. `window` is in seconds."""
    start, end = writes[0].at, writes[-1].at + window
    most = busiest(writes, window, start, end, _PARTS)
    peak = max(most)
    top = round(max(peak, 0 if rate is None else rate.writes) * _HEADROOM) + 1

    def across(at: float) -> float:
        return round((at - start) / (end - start) * WIDTH, 1)

    def up(value: float) -> float:
        return round(HEIGHT - value / top * HEIGHT, 1)

    silent = pauses(writes, window)
    return Chart(
        title=title,
        summary=_summary(writes, peak, window, rate, silent),
        window=window,
        line=_steps([up(value) for value in most]),
        limit=None if rate is None else up(rate.writes),
        again=tuple(sorted({across(each.at) for each in writes if each.again}))[:_MARKS],
        refused=tuple(sorted({across(each.at) for each in writes if each.refused}))[:_MARKS],
        bands=tuple(
            Band(_stamp(each.start), across(each.start), round(across(each.end) - across(each.start), 1), _why(each))
            for each in sorted(sorted(silent, key=_length)[-_MARKS:])
        ),
        top=top,
        start=_stamp(start),
        end=_stamp(end),
        rows=tuple(spans(writes, most, start, end, _ROWS)),
    )


def _steps(heights: Sequence[float]) -> str:
    """A path of steps from the lower left corner to the lower right one."""
    width = WIDTH / len(heights)
    steps = (f"V{height:g}H{round((place + 1) * width, 1):g}" for place, height in enumerate(heights))
    return f"M0 {HEIGHT}{''.join(steps)}V{HEIGHT}Z"


def _summary(writes: Sequence[Write], peak: int, window: float, rate: Rate | None, silent: Sequence[Pause]) -> str:
    """What is to be seen, in words."""
    number = len(writes)
    told = [
        ngettext("{number:,} request that writes", "{number:,} requests that write", number).format(number=number),
        _("at most {peak:,} in any {window:g} s").format(peak=peak, window=window),
    ]
    if rate is not None:
        told.append(_("the quota is {limit:,}").format(limit=rate.writes))
    again, refused = sum(each.again for each in writes), sum(each.refused for each in writes)
    if again:
        told.append(ngettext("{number:,} retry", "{number:,} retries", again).format(number=again))
    if refused:
        told.append(_("{number:,} refused by the vendor's quota").format(number=refused))
    if silent:
        told.append(ngettext("{number:,} pause", "{number:,} pauses", len(silent)).format(number=len(silent)))
    return "; ".join(told) + "."


def _length(pause: Pause) -> float:
    return pause.end - pause.start


def _why(pause: Pause) -> str:
    seconds = _length(pause)
    if pause.refused:
        return _("held for {seconds:,.1f} s: the API said that the quota was used up").format(seconds=seconds)
    return _("nothing was answered for {seconds:,.1f} s").format(seconds=seconds)


def _stamp(at: float) -> str:
    return stamp_ms(datetime.fromtimestamp(at, UTC))
