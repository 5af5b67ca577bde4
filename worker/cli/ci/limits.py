"""Backoff before a retry of a request, by its response."""

from collections.abc import Mapping
from math import ceil
from typing import Final, NamedTuple

from worker.solapi.wire import retry_after

__all__ = ["Backoff", "backoff"]

_LIMITED: Final = frozenset({403, 429})
_TIMED_OUT: Final = 408
_SERVER_ERROR: Final = 500
"""The lowest status of server errors. Proxies have further ones, such as 520 to 524."""
_MINUTE: Final = 60.0
"""Seconds to wait after a rate limit without a time: GitHub requires at least a minute."""


class Backoff(NamedTuple):
    """Why a retry may help. `seconds` is None if the server requests no wait.

    `is_refusal` is True if the request certainly had no effect.
    """

    reason: str
    seconds: float | None
    is_refusal: bool


def backoff(code: int, headers: Mapping[str, str], body: bytes, now: float) -> Backoff | None:
    """Return how long to wait after an error response; None if a retry does not help.

    A 403 is a rate limit only by its headers or message; otherwise a permission is missing. `now` is the Unix time.
    """
    seconds = retry_after(headers)
    seconds = None if seconds is None else max(0.0, seconds)
    if code in _LIMITED:
        used_up = _first(headers, "x-ratelimit-remaining", "RateLimit-Remaining") == "0"
        if seconds is None and used_up:
            seconds = _until(_first(headers, "x-ratelimit-reset", "RateLimit-Reset"), now)
        if seconds is not None or used_up or code != 403 or b"rate limit" in body.lower():  # noqa: PLR2004 - the status
            return Backoff("rate limit", _MINUTE if seconds is None else seconds, is_refusal=True)
    if code == _TIMED_OUT or code >= _SERVER_ERROR:
        return Backoff("server error", seconds, is_refusal=False)
    return None


def _first(headers: Mapping[str, str], *names: str) -> str:
    return next((headers[name].strip() for name in names if name in headers), "")


def _until(reset: str, now: float) -> float | None:
    """Return the seconds until a Unix time, plus one as clocks differ; None if the text is not a time."""
    if not (reset.isascii() and reset.isdigit()):
        return None
    return max(0.0, ceil(float(reset[:12]) - now)) + 1
