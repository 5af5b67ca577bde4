"""The sources of time and random numbers of a client."""

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable, Iterator
from random import SystemRandom
from typing import Final, NamedTuple

__all__ = ["Runtime"]

_SALT_BYTES: Final = 16
_SALTS: Final = 256
"""Count of salts per system call: during each call, another thread may take the interpreter's lock."""


def _salts() -> Iterator[str]:
    """Yield random salts of 32 hex digits, without end."""
    while True:
        digits = secrets.token_hex(_SALT_BYTES * _SALTS)
        yield from (digits[start : start + 2 * _SALT_BYTES] for start in range(0, len(digits), 2 * _SALT_BYTES))


class Runtime(NamedTuple):
    """Clock, sleep and random numbers, which tests replace. `clock` is monotonic and `wall` Unix time, in seconds."""

    clock: Callable[[], float] = time.monotonic
    wall: Callable[[], float] = time.time
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    uniform: Callable[[float, float], float] = SystemRandom().uniform
    salt: Callable[[], str] = _salts().__next__
