"""Rate limit of one API key: the vendor's quota, as a sliding window measured at the *server*.

A request occupies its slot from the moment it is sent until one window after it completed. It reached the server
in between, so two requests on one slot are more than a window apart there, whatever the latency. No window ever has
more than `capacity` requests, and the unused capacity is at most what the latency costs.
"""

import asyncio
from collections.abc import Callable
from heapq import heappop, heappush
from math import inf
from typing import Final

from worker.config.settings import RateLimit

__all__ = ["Quota", "Window"]

_TIMER_SLACK: Final = 0.0005
"""Seconds added to a timer: event loops round to a millisecond, and a timer that fires early is wasted."""


class Window:
    """Allow at most `capacity` requests in any `seconds` at the server. Waiters are served first in, first out."""

    __slots__ = ("_clock", "_cooling", "_free", "_held_until", "_timer", "_waiters", "capacity", "seconds")

    def __init__(self, capacity: int, seconds: float, *, clock: Callable[[], float]) -> None:
        self.capacity = capacity
        self.seconds = seconds
        self._clock = clock
        self._free = capacity
        self._cooling: list[float] = []
        self._waiters: list[asyncio.Future[None]] = []
        self._held_until = -inf
        self._timer: asyncio.TimerHandle | None = None

    @property
    def used(self) -> int:
        """Return the number of slots in use, including those that cool down."""
        self._reap(self._clock())
        return self.capacity - self._free

    def take(self) -> bool:
        """Take a slot that is free now. Return False if there is none, or if others wait for one."""
        now = self._clock()
        self._reap(now)
        if not self._free or self._waiters or now < self._held_until:
            return False
        self._free -= 1
        return True

    async def acquire(self) -> None:
        """Wait for a slot and take it. A cancelled wait takes none."""
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

    def release(self, *, longer: float = 0.0) -> None:
        """Release the slot of a completed request. It is free after the window plus `longer` seconds."""
        now = self._clock()
        free = now + self.seconds + longer
        heappush(self._cooling, free)
        if self._waiters:
            if self._cooling[0] is free:
                self._disarm()  # it was set to a slot that cools longer
            self._schedule(now)

    def hold(self, until: float) -> None:
        """Start no request before `until` on the clock. A hold is never shortened."""
        if until > self._held_until:
            self._held_until = until
            self._disarm()
            if self._waiters:
                self._schedule(self._clock())

    def _reap(self, now: float) -> None:
        cooling = self._cooling
        while cooling and cooling[0] < now:
            heappop(cooling)
            self._free += 1

    def _grant(self) -> None:
        self._disarm()
        now = self._clock()
        self._reap(now)
        if now >= self._held_until:
            while self._free and self._waiters:
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
        ready = now if self._free else (self._cooling[0] if self._cooling else inf)
        due = max(ready, self._held_until)
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

    def hold(self, seconds: float) -> None:
        """Start no request with this key for `seconds`, after the server reported that the quota is used up."""
        until = self._clock() + seconds
        self.reads.hold(until)
        self.writes.hold(until)
