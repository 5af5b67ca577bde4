"""An event loop in virtual time: time advances only when no callback is ready.

Hours take milliseconds, and runs repeat exactly.
"""

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

__all__ = ["VirtualLoop", "run"]

T = TypeVar("T")


class _JumpingSelector(selectors.SelectSelector):
    """Selector that advances time to the next timer instead of waiting. It ignores files: they are not in virtual time.

    It calls `on_turn` before each turn of the loop.
    """

    now = 0.0

    def __init__(self) -> None:
        super().__init__()
        self.on_turn: Callable[[], bool] = lambda: False

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if not self.on_turn():
            if timeout is None:
                raise AssertionError("everything waits and no timer is set: a deadlock")
            self.now += max(0.0, timeout)
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """Event loop in virtual time, which starts at 0 seconds."""

    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)
        # in seconds: after months, a float cannot represent nanoseconds, and a timer would never be due
        self._clock_resolution = 1e-8

    def _write_to_self(self) -> None:
        """Do nothing: no other thread waits for the selector to return."""

    def time(self) -> float:
        """Return the virtual time in seconds."""
        return self._jumping.now

    def on_each_turn(self, act: Callable[[], bool]) -> None:
        """Call *act* between any two turns, when every task is at an await. It returns True if it woke a task."""
        self._jumping.on_turn = act


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run `work` on a virtual loop, and return its result."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(work)
