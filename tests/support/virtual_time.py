"""An event loop whose time passes only when nothing is left to do: hours of waiting in milliseconds, always alike."""

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

__all__ = ["VirtualLoop", "run"]

T = TypeVar("T")


class _JumpingSelector(selectors.SelectSelector):
    """Makes the next timer due instead of waiting for it. Calls `on_turn` before each turn of the loop."""

    now = 0.0

    def __init__(self) -> None:
        super().__init__()
        self.on_turn: Callable[[], bool] = lambda: False

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        disturbed = self.on_turn()
        ready = super().select(0)
        if not ready and not disturbed:
            if timeout is None:
                raise AssertionError("everything waits and no timer is set: a deadlock")
            self.now += max(0.0, timeout)
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """Begins at 0 seconds."""

    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)
        # of what is due, in seconds: after months a float knows no nanoseconds any more, and a timer would never come
        self._clock_resolution = 1e-8

    def time(self) -> float:
        """Virtual seconds."""
        return self._jumping.now

    def each_turn(self, act: Callable[[], bool]) -> None:
        """Call *act* between any two turns: every task is at an await then. It returns True if it woke any."""
        self._jumping.on_turn = act


def run(work: Coroutine[Any, Any, T]) -> T:
    """The result of `work` on a virtual loop."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(work)
