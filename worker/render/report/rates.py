"""Rates of completed writes: counts in a sliding window, and pauses."""

from collections.abc import Iterable, Sequence
from itertools import chain, pairwise
from typing import Final

from msgspec import Struct

__all__ = ["Pause", "Span", "Write", "busiest", "pauses", "spans"]

_NOTABLE: Final = 1.0
"""Seconds without a response that count as a pause."""


class Write(Struct, frozen=True, order=True):
    """A write at a Unix time in seconds; flags say if it was a retry, and if the quota refused it."""

    at: float
    again: bool = False
    refused: bool = False


class Span(Struct, frozen=True):
    """Counts of [start, end), Unix seconds; `most` is the highest count of any window that ended in it."""

    start: float
    end: float
    writes: int
    again: int
    refused: int
    most: int


class Pause(Struct, frozen=True, order=True):
    """A time without responses; `refused` is True if the last responses before it were rate limits."""

    start: float
    end: float
    refused: bool


def busiest(writes: Sequence[Write], window: float, start: float, end: float, parts: int) -> list[int]:
    """Return the highest count of writes in any `window` seconds that ended in each equal part of [start, end].

    `writes` are in the order of time. Each of them and its window lie within [start, end].
    """
    # a window is open at its start: what leaves it at one moment leaves before others enter
    events = sorted(chain(((each.at, 1) for each in writes), ((each.at + window, -1) for each in writes)))
    most = [0] * parts
    now = last = 0
    for at, step in events:
        place = min(int((at - start) / (end - start) * parts), parts - 1)
        for part in range(last + 1, place + 1):
            most[part] = now
        last = place
        now += step
        most[place] = max(most[place], now)
    return most


def pauses(writes: Sequence[Write], window: float) -> list[Pause]:
    """Return the times between writes, in the order of time, without a response for longer than a window.

    A pause takes at least a second; that is enough if the quota refused a write within the window before it.
    """
    result = []
    last_refusal = -window
    for one, other in pairwise(writes):
        last_refusal = one.at if one.refused else last_refusal
        is_limited = one.at - last_refusal < window
        if other.at - one.at > (_NOTABLE if is_limited else max(_NOTABLE, window)):
            result.append(Pause(one.at, other.at, is_limited))
    return result


def spans(writes: Iterable[Write], most: Sequence[int], start: float, end: float, parts: int) -> list[Span]:
    """Return equal parts of [start, end] with their writes. `most` has counts of a multiple of finer parts."""
    writes_of: list[list[Write]] = [[] for _ in range(parts)]
    width = (end - start) / parts
    for each in writes:
        writes_of[min(int((each.at - start) / width), parts - 1)].append(each)
    finer = len(most) // parts
    return [
        Span(
            start + place * width,
            start + (place + 1) * width,
            len(some),
            sum(each.again for each in some),
            sum(each.refused for each in some),
            max(most[place * finer : (place + 1) * finer]),
        )
        for place, some in enumerate(writes_of)
    ]
