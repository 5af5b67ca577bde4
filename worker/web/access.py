"""Who may see the pages: on a loopback address whoever is on this machine, elsewhere who has the token."""

import hmac
import time
from collections.abc import Callable
from enum import Enum
from hashlib import sha256
from ipaddress import ip_address
from typing import Final

__all__ = ["COOKIE", "LEAST", "Access", "Denied", "Many", "loopback"]

COOKIE: Final = "senderid"
LEAST: Final = 16
"""Characters of the shortest token."""

_HOURS: Final = 12
_TRIES: Final = 10
_PER_SECONDS: Final = 60.0
_HOSTS: Final = frozenset({"127.0.0.1", "localhost", "[::1]"})


class Denied(Enum):
    """Why somebody may not see a page."""

    HOST = "host"
    NO_TOKEN = "no token"  # noqa: S105 - a word
    LOGIN = "login"


class Many(Exception):
    """There were too many wrong tokens in the last minute."""


class Access:
    """Decides who sees pages; with a `token` who has it, without one whoever asks by a name of this machine.

    `local`: what is listened on is a loopback address. `clock` is any clock of seconds, `wall` Unix time.
    """

    def __init__(
        self,
        token: str | None,
        *,
        local: bool,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._token = token
        self._local = local
        self._clock = clock
        self._wall = wall
        self._wrong: list[float] = []

    @property
    def guarded(self) -> bool:
        """Whether there is a token."""
        return self._token is not None

    def denied(self, host: str, authorization: str | None, cookie: str | None) -> Denied | None:
        """Why a request with these headers is not answered, None where it is.

        Raises:
            Many: it has a token, and there were too many wrong ones.
        """
        if self._token is None:
            if not self._local:
                return Denied.NO_TOKEN
            # a name that an attacker's site points at this machine is none of ours
            return None if _name(host) in _HOSTS else Denied.HOST
        if cookie is not None and self._sealed(cookie):
            return None
        if authorization is None:
            return Denied.LOGIN
        scheme, _, given = authorization.partition(" ")
        return None if scheme.lower() == "bearer" and self._right(given.strip()) else Denied.LOGIN

    def login(self, given: str) -> str | None:
        """The value of the cookie for who gives the right token, None for who gives a wrong one.

        Raises:
            Many: there were too many wrong ones.
        """
        return self._seal(int(self._wall()) + _HOURS * 3600) if self._right(given) else None

    def _right(self, given: str) -> bool:
        now = self._clock()
        self._wrong = [moment for moment in self._wrong if now - moment < _PER_SECONDS]
        if len(self._wrong) >= _TRIES:
            raise Many
        right = self._token is not None and hmac.compare_digest(_digest(given), _digest(self._token))
        if not right:
            self._wrong.append(now)
        return right

    def _seal(self, until: int) -> str:
        assert self._token is not None  # noqa: S101 - nobody logs in without one
        return f"{until}.{hmac.new(self._token.encode(), f'session {until}'.encode(), sha256).hexdigest()}"

    def _sealed(self, cookie: str) -> bool:
        until = cookie.partition(".")[0]
        if not (until.isascii() and until.isdigit() and len(until) <= len(str(1 << 63)) and int(until) > self._wall()):
            return False
        return hmac.compare_digest(self._seal(int(until)).encode(), cookie.encode(errors="replace"))


def loopback(host: str) -> bool:
    """Whether an address can be reached from this machine alone."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _name(host: str) -> str:
    """The name of a Host header, without its port."""
    bare, colon, port = host.rpartition(":")
    return (bare if colon and port.isascii() and port.isdigit() else host).lower()


def _digest(text: str) -> bytes:
    return sha256(text.encode(errors="replace")).digest()
