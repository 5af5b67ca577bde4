"""Bar charts of requests over time, as values that a template draws: bars, axes, the limit of the quota."""

from collections.abc import Sequence

from msgspec import Struct

from worker.model.status_page import RequestBucket

__all__ = ["CHART_HEIGHT", "CHART_WIDTH", "BarPart", "RequestChart", "request_chart"]

CHART_WIDTH, CHART_HEIGHT = 1000, 160
"""Width and height of a chart in its own units. A page stretches it."""
_TICKS = 4
"""Count of labels of the x axis. They divide the axis into equal parts."""


class BarPart(Struct, frozen=True):
    """A part of a bar: reads, writes or rejected writes, one above the other."""

    kind: str
    x: float
    y: float
    width: float
    height: float


class RequestChart(Struct, frozen=True):
    """A chart of requests over time, stacked. `top` is the value at its upper edge, `limit_y` the height of the limit.

    `ticks` are the times below the x axis, in equal distances. `peak` is the highest sum of a bar.
    """

    parts: Sequence[BarPart]
    buckets: Sequence[RequestBucket]
    top: int
    peak: int
    limit: int | None
    limit_y: float | None
    ticks: Sequence[str]


def request_chart(buckets: Sequence[RequestBucket], limit: int | None = None) -> RequestChart:
    """Return the chart of at least one bucket. `limit` is how many requests a bucket may have; None if unknown.

    A limit far above all bars is not drawn, because it would hide them.
    """
    peak = max(bucket.reads + bucket.writes for bucket in buckets)
    is_shown = limit is not None and limit <= max(4 * peak, 10)
    top = _nice(max(peak, limit or 0) if is_shown else peak)
    step = CHART_WIDTH / len(buckets)
    parts = []
    for index, bucket in enumerate(buckets):
        base = 0
        for kind, value in (
            ("reads", bucket.reads),
            ("writes", bucket.writes - bucket.rejected),
            ("rejected", bucket.rejected),
        ):
            if value > 0:
                height = CHART_HEIGHT * value / top
                y = CHART_HEIGHT - CHART_HEIGHT * base / top - height
                parts.append(
                    BarPart(kind, round(index * step, 2), round(y, 2), round(max(1, step * 0.85), 2), round(height, 2))
                )
                base += value
    ticks = list(dict.fromkeys(buckets[len(buckets) * tick // _TICKS].start for tick in range(_TICKS)))
    limit_y = None if limit is None or not is_shown else round(CHART_HEIGHT - CHART_HEIGHT * limit / top, 2)
    return RequestChart(parts, buckets, top, peak, limit, limit_y, ticks)


def _nice(value: int) -> int:
    """Return the next value of 1, 2, 4 or 5 times a power of ten, so that half of it is a round number too."""
    size = 1
    while True:
        for factor in (2, 4, 10):
            if factor * size >= value:
                return factor * size
        size *= 10
