"""The rate limit of one API key: the vendor's quota, as a sliding window measured at the *server*.

A request occupies its slot from the time it is sent until one window after its response. It reaches the server in
between. So two requests in the same slot reach the server more than a window apart, whatever the latency, and the
server never receives more than `capacity` requests in a window. Only the latency leaves capacity unused.
"""

import asyncio
from collections.abc import Callable, Iterable
from heapq import heappop, heappush
from itertools import zip_longest
from math import inf
from typing import Final

from worker.config.settings import RateLimit
from worker.model.ports import UsedSlots

__all__ = ["Quota", "Window"]

_TIMER_SLACK: Final = 0.0005
"""Time in seconds added to a timer: event loops round to a millisecond, and a timer that fires early is wasted."""


class Window:
    """A limit of `capacity` requests in any period of `seconds` at the server. Waiters are served in FIFO order."""

    __slots__ = ("_clock", "_cooldown_ends", "_free", "_paused_until", "_timer", "_waiters", "capacity", "seconds")

    def __init__(self, capacity: int, seconds: float, *, clock: Callable[[], float]) -> None:
        self.capacity = capacity
        self.seconds = seconds
        self._clock = clock
        self._free = capacity
        self._cooldown_ends: list[float] = []
        self._waiters: list[asyncio.Future[None]] = []
        self._paused_until = -inf
        self._timer: asyncio.TimerHandle | None = None

    @property
    def used(self) -> int:
        """The count of slots in use, including those of completed requests that still count."""
        self._reap(self._clock())
        return self.capacity - self._free

    def rests(self) -> tuple[float, ...]:
        """Return the seconds until each slot in use is free, longest first. A request in flight counts as completed."""
        now = self._clock()
        self._reap(now)
        in_flight = self.capacity - self._free - len(self._cooldown_ends)
        rests = [self.seconds] * in_flight + sorted((end - now for end in self._cooldown_ends), reverse=True)
        pause = self._paused_until - now
        if pause > 0:
            rests += [pause] * (self.capacity - len(rests))
        return tuple(max(rest, pause) for rest in rests)

    def occupy(self, rests: Iterable[float]) -> None:
        """Occupy slots for these times in seconds. They include the slots in use, so of each two ends the later counts.

        More slots than `capacity` may then be in use.
        """
        now = self._clock()
        self._reap(now)
        own_ends = sorted(self._cooldown_ends, reverse=True)
        ends = sorted((now + rest for rest in rests if rest > 0), reverse=True)
        later_ends = [max(pair) for pair in zip_longest(own_ends, ends, fillvalue=-inf)]
        self._free -= len(later_ends) - len(own_ends)
        self._cooldown_ends = later_ends[::-1]
        if self._waiters:
            self._disarm()
            self._schedule(now)

    def take(self) -> bool:
        """Take a slot without waiting. Return False if none is free, other requests wait for one, or it is paused."""
        now = self._clock()
        self._reap(now)
        if self._free <= 0 or self._waiters or now < self._paused_until:
            return False
        self._free -= 1
        return True

    async def acquire(self) -> None:
        """Wait for a slot and take it. A cancelled wait takes no slot."""
        if self.take():
            return
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        self._schedule(self._clock())
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled():
                self._free += 1
                self._grant()
            elif waiter in self._waiters:
                self._waiters.remove(waiter)
            raise

    def release(self, *, extra_pause: float = 0.0) -> None:
        """Release the slot of a completed request. The slot is free after one window plus `extra_pause` seconds."""
        now = self._clock()
        free = now + self.seconds + extra_pause
        heappush(self._cooldown_ends, free)
        if self._waiters:
            if self._cooldown_ends[0] is free:
                self._disarm()  # it was set to a slot that cools longer
            self._schedule(now)

    def pause(self, until: float) -> None:
        """Grant no slot before `until`, a time on the clock. A later call can only extend the pause."""
        if until > self._paused_until:
            self._paused_until = until
            self._disarm()
            if self._waiters:
                self._schedule(self._clock())

    def _reap(self, now: float) -> None:
        cooling = self._cooldown_ends
        while cooling and cooling[0] < now:
            heappop(cooling)
            self._free += 1

    def _grant(self) -> None:
        self._disarm()
        now = self._clock()
        self._reap(now)
        if now >= self._paused_until:
            while self._free > 0 and self._waiters:
                waiter = self._waiters.pop(0)
                if not waiter.done():
                    self._free -= 1
                    waiter.set_result(None)
        if self._waiters:
            self._schedule(now)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _schedule(self, now: float) -> None:
        if self._timer is not None:
            return
        ready = now if self._free > 0 else (self._cooldown_ends[0] if self._cooldown_ends else inf)
        due = max(ready, self._paused_until)
        if due < inf:
            delay = max(0.0, due - now) + _TIMER_SLACK
            self._timer = asyncio.get_running_loop().call_later(delay, self._grant)


class Quota:
    """The read window and the write window of one API key, shared by its accounts."""

    __slots__ = ("_clock", "reads", "writes")

    def __init__(self, rate: RateLimit, *, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.reads = Window(rate.reads, rate.per_seconds, clock=clock)
        self.writes = Window(rate.writes, rate.per_seconds, clock=clock)

    def used_slots(self) -> UsedSlots:
        """Return the slots in use, see `SharedQuota`."""
        return UsedSlots(self.reads.rests(), self.writes.rests())

    def occupy(self, slots: UsedSlots, elapsed: float) -> None:
        """Occupy the slots of this key, those of this process included, that were in use `elapsed` seconds ago."""
        self.reads.occupy(rest - elapsed for rest in slots.reads)
        self.writes.occupy(rest - elapsed for rest in slots.writes)

    def pause(self, seconds: float) -> None:
        """Grant no slot of this key for `seconds`, after the server reported that the quota is used up."""
        until = self._clock() + seconds
        self.reads.pause(until)
        self.writes.pause(until)
