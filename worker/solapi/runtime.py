"""The clock and the random numbers of a client."""

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable
from random import SystemRandom
from typing import NamedTuple

__all__ = ["Runtime"]


class Runtime(NamedTuple):
    """Clock, sleep and random numbers, which tests replace. `clock` is monotonic and `wall` Unix time, in seconds."""

    clock: Callable[[], float] = time.monotonic
    wall: Callable[[], float] = time.time
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    uniform: Callable[[float, float], float] = SystemRandom().uniform
    salt: Callable[[], str] = lambda: secrets.token_hex(16)
