"""Work that cannot be cancelled, such as that of other people's libraries, and is not waited for beyond its time."""

import threading
from collections.abc import Callable

__all__ = ["within"]


def within(seconds: float, work: Callable[[], None]) -> bool:
    """Do some work on a thread of its own; whether it was done in so many seconds. Otherwise it goes on, unheeded."""
    thread = threading.Thread(target=work, name="patience", daemon=True)
    thread.start()
    thread.join(seconds)
    return not thread.is_alive()
