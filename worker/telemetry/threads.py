"""A time limit for library calls that cannot be cancelled."""

import threading
from collections.abc import Callable

__all__ = ["run_with_timeout"]


def run_with_timeout(seconds: float, function: Callable[[], None]) -> bool:
    """Run `function` in a daemon thread. Return False after `seconds`; the thread then keeps running."""
    thread = threading.Thread(target=function, name="run-with-timeout", daemon=True)
    thread.start()
    thread.join(seconds)
    return not thread.is_alive()
