"""Charts that compare a run's writes over time with the quota, one chart for each API key."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from msgspec import Struct, ValidationError, convert

from worker.model.history import Attempt, RunRecord
from worker.model.times import format_utc_ms
from worker.render.i18n import gettext as _
from worker.render.i18n import ngettext
from worker.render.report.rates import Pause, Span, Write, busiest, pauses, spans
from worker.render.view.run import endpoint_text

__all__ = ["HEIGHT", "WIDTH", "Chart", "Rate", "charts", "draw"]

WIDTH: Final = 1_000
HEIGHT: Final = 200
"""Width and height of the drawing in SVG units."""

_PARTS: Final = 240
_ROWS: Final = 24
"""Equal parts into which the time is divided: `_PARTS` for the drawing, `_ROWS` for its table."""

_MARKS: Final = 500
"""Maximum count of marks of one kind in a chart, as more would overlap."""

_HEADROOM: Final = 1.15
"""Ratio of the upper edge of a chart to its highest value."""

_CHARTS: Final = 5
"""Maximum count of API keys that get a chart. Those with the most writes are chosen."""

_WINDOW: Final = 5.0
"""Length in seconds of the window in which writes are counted if the run does not record its quota."""

_TOO_MANY: Final = 429


class Rate(Struct, frozen=True):
    """The quota of a run: at most `writes` in any window of `per_seconds` seconds."""

    writes: int
    per_seconds: float


class Band(Struct, frozen=True):
    """A time without responses, drawn as a band.

    `start` is its timestamp, `x` and `width` are SVG units, and `text` describes it.
    """

    start: str
    x: float
    width: float
    text: str


class Chart(Struct, frozen=True):
    """The chart of one API key: the accounts that use it, and the endpoint with the credentials.

    `line` is the SVG path of the writes in a sliding window of `window` seconds. `limit` is the y coordinate of the
    quota; None without a quota. `again` and `refused` are the x coordinates of retries and of writes that the quota
    refused. `top` is the count of writes at the upper edge, `start` and `end` are timestamps, and `summary` describes
    the chart in words.
    """

    accounts: tuple[str, ...]
    key: str
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
        """Return the time of day in UTC of a Unix time in seconds."""
        return _stamp(at)[11:].removesuffix("Z")


def charts(run: RunRecord) -> tuple[tuple[Chart, ...], str]:
    """Return the charts of the API keys with the most writes, and a sentence that counts the other keys, if any."""
    rate = _rate(run)
    keys: dict[str, tuple[list[str], list[Write]]] = {}
    for account in run.accounts:
        writes = [_write(attempt) for number in account.numbers or () for attempt in number.attempts]
        if writes:
            names_of_key, writes_of_key = keys.setdefault(endpoint_text(account), ([], []))
            names_of_key.append(account.account)
            writes_of_key.extend(writes)
    window = _WINDOW if rate is None else rate.per_seconds
    ordered_keys = sorted(keys.items(), key=lambda item: -len(item[1][1]))
    drawings = tuple(draw(names, key, sorted(writes), window, rate) for key, (names, writes) in ordered_keys[:_CHARTS])
    other_counts = [len(writes) for _key, (_names, writes) in ordered_keys[_CHARTS:]]
    if not other_counts:
        return drawings, ""
    text = ngettext(
        "{number:,} more API key without a chart had {writes:,} writes.",
        "{number:,} more API keys without a chart had {writes:,} writes.",
        len(other_counts),
    )
    return drawings, text.format(number=len(other_counts), writes=sum(other_counts))


def _rate(run: RunRecord) -> Rate | None:
    """Return the quota that a run recorded in its settings; None if it recorded none."""
    try:
        return convert((run.settings or {}).get("rate_limit"), Rate)
    except ValidationError:
        return None


def _write(attempt: Attempt) -> Write:
    """Return an attempt as a write at the time of its response or, without a response, of its intent."""
    at = datetime.fromisoformat(attempt.answered_at or attempt.intended_at).timestamp()
    is_refused = attempt.error is not None and attempt.error.http_status == _TOO_MANY
    return Write(at, is_retry=attempt.number > 1, refused=is_refused)


def draw(accounts: Sequence[str], key: str, writes: Sequence[Write], window: float, rate: Rate | None) -> Chart:
    """Return the chart of at least one write. `writes` are in order of time, and `window` is in seconds."""
    start, end = writes[0].at, writes[-1].at + window
    peaks = busiest(writes, window, start, end, _PARTS)
    peak = max(peaks)
    top = round(max(peak, 0 if rate is None else rate.writes) * _HEADROOM) + 1

    def across(at: float) -> float:
        return round((at - start) / (end - start) * WIDTH, 1)

    def up(value: float) -> float:
        return round(HEIGHT - value / top * HEIGHT, 1)

    silent_spans = pauses(writes, window)
    return Chart(
        accounts=tuple(accounts),
        key=key,
        summary=_summary(writes, peak, window, rate, silent_spans),
        window=window,
        line=_steps([up(value) for value in peaks]),
        limit=None if rate is None else up(rate.writes),
        again=tuple(sorted({across(write.at) for write in writes if write.is_retry}))[:_MARKS],
        refused=tuple(sorted({across(write.at) for write in writes if write.refused}))[:_MARKS],
        bands=tuple(
            Band(_stamp(span.start), across(span.start), round(across(span.end) - across(span.start), 1), _why(span))
            for span in sorted(sorted(silent_spans, key=_length)[-_MARKS:])
        ),
        top=top,
        start=_stamp(start),
        end=_stamp(end),
        rows=tuple(spans(writes, peaks, start, end, _ROWS)),
    )


def _steps(heights: Sequence[float]) -> str:
    """Return an SVG path of steps with these heights, from the lower left corner to the lower right corner."""
    width = WIDTH / len(heights)
    steps = (f"V{height:g}H{round((index + 1) * width, 1):g}" for index, height in enumerate(heights))
    return f"M0 {HEIGHT}{''.join(steps)}V{HEIGHT}Z"


def _summary(
    writes: Sequence[Write], peak: int, window: float, rate: Rate | None, silent_spans: Sequence[Pause]
) -> str:
    number = len(writes)
    parts = [
        ngettext("{number:,} write", "{number:,} writes", number).format(number=number),
        _("at most {peak:,} in any {window:g} s").format(peak=peak, window=window),
    ]
    if rate is not None:
        parts.append(_("the quota is {limit:,}").format(limit=rate.writes))
    repeated_count, refused_count = sum(write.is_retry for write in writes), sum(write.refused for write in writes)
    if repeated_count:
        parts.append(ngettext("{number:,} retry", "{number:,} retries", repeated_count).format(number=repeated_count))
    if refused_count:
        parts.append(_("{number:,} refused by the vendor's quota").format(number=refused_count))
    if silent_spans:
        parts.append(
            ngettext("{number:,} pause", "{number:,} pauses", len(silent_spans)).format(number=len(silent_spans))
        )
    return "; ".join(parts) + "."


def _length(pause: Pause) -> float:
    return pause.end - pause.start


def _why(pause: Pause) -> str:
    seconds = _length(pause)
    if pause.refused:
        return _("waited {seconds:,.1f} s: the API reported that the quota was used up").format(seconds=seconds)
    return _("no responses for {seconds:,.1f} s").format(seconds=seconds)


def _stamp(at: float) -> str:
    return format_utc_ms(datetime.fromtimestamp(at, UTC))
