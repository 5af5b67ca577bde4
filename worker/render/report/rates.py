"""Statistics of completed writes over time: counts in a sliding window, and pauses."""

from collections.abc import Iterable, Sequence
from itertools import chain, pairwise
from typing import Final

from msgspec import Struct

__all__ = ["Pause", "Span", "Write", "busiest", "pauses", "spans"]

_NOTABLE: Final = 1.0
"""Shortest time in seconds without a response that counts as a pause."""


class Write(Struct, frozen=True, order=True):
    """A write. `at` is its Unix time in seconds.

    `is_retry` is True if it was a retry, and `refused` is True if the quota refused it.
    """

    at: float
    is_retry: bool = False
    refused: bool = False


class Span(Struct, frozen=True):
    """The counts of writes in [start, end), in Unix seconds.

    `again` counts retries, `refused` the writes that the quota refused. `peak` is the highest count of writes in any
    sliding window that ended in this span.
    """

    start: float
    end: float
    writes: int
    again: int
    refused: int
    peak: int


class Pause(Struct, frozen=True, order=True):
    """A time without responses, in Unix seconds.

    `refused` is True if the quota refused a write shortly before it.
    """

    start: float
    end: float
    refused: bool


def busiest(writes: Sequence[Write], window: float, start: float, end: float, parts: int) -> list[int]:
    """Return, for each of `parts` equal parts of [start, end], the highest count of writes in a sliding window.

    A part counts the windows of `window` seconds that ended in it. `writes` are in order of time. Every write, and the
    window that starts at it, must lie within [start, end].
    """
    # a window excludes its start: at any moment, writes leave it before others enter
    events = sorted(chain(((write.at, 1) for write in writes), ((write.at + window, -1) for write in writes)))
    peaks = [0] * parts
    writes_in_window = last = 0
    for at, step in events:
        index = min(int((at - start) / (end - start) * parts), parts - 1)
        for part in range(last + 1, index + 1):
            peaks[part] = writes_in_window
        last = index
        writes_in_window += step
        peaks[index] = max(peaks[index], writes_in_window)
    return peaks


def pauses(writes: Sequence[Write], window: float) -> list[Pause]:
    """Return the pauses between writes, in order of time.

    A pause is a time without a response of more than `window` seconds, and more than one second. If the quota refused
    a write within the last `window` seconds, more than one second is enough.
    """
    result = []
    last_refusal = -window
    for previous, current in pairwise(writes):
        last_refusal = previous.at if previous.refused else last_refusal
        is_limited = previous.at - last_refusal < window
        if current.at - previous.at > (_NOTABLE if is_limited else max(_NOTABLE, window)):
            result.append(Pause(previous.at, current.at, is_limited))
    return result


def spans(writes: Iterable[Write], peaks: Sequence[int], start: float, end: float, parts: int) -> list[Span]:
    """Return `parts` equal spans of [start, end] with the counts of their writes.

    `peaks` is the result of `busiest` for a multiple of `parts`.
    """
    writes_of: list[list[Write]] = [[] for _ in range(parts)]
    width = (end - start) / parts
    for write in writes:
        writes_of[min(int((write.at - start) / width), parts - 1)].append(write)
    peaks_per_part = len(peaks) // parts
    return [
        Span(
            start + index * width,
            start + (index + 1) * width,
            len(span_writes),
            sum(write.is_retry for write in span_writes),
            sum(write.refused for write in span_writes),
            max(peaks[index * peaks_per_part : (index + 1) * peaks_per_part]),
        )
        for index, span_writes in enumerate(writes_of)
    ]
