"""The kernel's timer that ends this process when a lease ends.

A check before a request cannot protect an account alone: the process may be stopped between the check and the request,
and continue after another run has taken the lease. The kernel then delivers SIGALRM, which ends the process before it
executes another instruction.
"""

import signal
import time
from threading import Lock, current_thread, main_thread
from typing import Final

__all__ = ["arm", "disarm", "seconds_since_boot"]

_SOON: Final = 1e-6
"""Time in seconds of a timer that expires immediately. 0 would stop the timer."""
_CLOCK: Final = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
"""A clock that continues while the machine is suspended."""

_deadlines: Final[dict[object, float]] = {}
_lock: Final = Lock()


def seconds_since_boot() -> float:
    """Return the time in seconds of a clock that continues while the machine is suspended."""
    return time.clock_gettime(_CLOCK)


def arm(owner: object, deadline: float) -> None:
    """End this process at `deadline`, in seconds since boot, unless the owner sets another one before."""
    with _lock:
        if not _deadlines and current_thread() is main_thread():
            signal.signal(signal.SIGALRM, signal.SIG_DFL)  # the parent process may have ignored it
        _deadlines[owner] = deadline
        _set_timer()


def disarm(owner: object) -> None:
    """Remove the deadline of an owner."""
    with _lock:
        if _deadlines.pop(owner, None) is not None:
            _set_timer()


def _set_timer() -> None:
    rest = max(min(_deadlines.values()) - seconds_since_boot(), _SOON) if _deadlines else 0.0
    signal.setitimer(signal.ITIMER_REAL, rest)
