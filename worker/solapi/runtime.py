"""The clock, chance and log that a client runs with."""

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable
from random import SystemRandom
from typing import NamedTuple

__all__ = ["Ambient"]


class Ambient(NamedTuple):
    """Time and chance, so that tests can bring their own. `clock` is monotonic and `wall` Unix time, in seconds."""

    clock: Callable[[], float] = time.monotonic
    wall: Callable[[], float] = time.time
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    uniform: Callable[[float, float], float] = SystemRandom().uniform
    salt: Callable[[], str] = lambda: secrets.token_hex(16)
