"""Who may see the pages: on a loopback address whoever is on this machine, elsewhere who has the token."""

import hmac
import time
from collections.abc import Callable
from enum import Enum
from hashlib import sha256
from ipaddress import IPv4Address, ip_address
from typing import Final

__all__ = ["COOKIE", "MIN_TOKEN_LENGTH", "Access", "Denied", "TooManyAttempts", "loopback"]

COOKIE: Final = "senderid"
MIN_TOKEN_LENGTH: Final = 16
"""Characters of the shortest token."""

_HOURS: Final = 12
_TRIES: Final = 10
_PER_SECONDS: Final = 60.0
_PEERS: Final = 1024
"""Addresses of which wrong tokens are remembered."""
_NETWORK: Final = 4
"""Groups of an IPv6 address that one site has for itself: whoever has one of its addresses has all."""
_HOSTS: Final = frozenset({"127.0.0.1", "localhost", "[::1]"})


class Denied(Enum):
    """Why somebody may not see a page."""

    HOST = "host"
    NO_TOKEN = "no token"  # noqa: S105 - a word
    LOGIN = "login"


class TooManyAttempts(Exception):
    """There were too many wrong tokens from an address in the last minute."""


class Access:
    """Decides who sees pages; with a `token` who has it, without one whoever asks by a name of this machine.

    `host` is the address that is listened on. `clock` is any clock of seconds, `wall` Unix time.
    """

    def __init__(
        self,
        token: str | None,
        *,
        host: str,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._token = token
        self._local = loopback(host)
        self._names = _HOSTS | {f"[{host}]" if ":" in host else host}
        self._clock = clock
        self._wall = wall
        self._wrong: dict[str, list[float]] = {}

    @property
    def guarded(self) -> bool:
        """Whether there is a token."""
        return self._token is not None

    def denied(self, host: str, authorization: str | None, cookie: str | None, peer: str) -> Denied | None:
        """Why a request with these headers, from the address `peer`, is not answered, None where it is.

        With a token any host will do: a site that gives its own name this address has neither the token nor, as
        browsers keep cookies by name, the session; and a proxy sends the name that it has itself.

        Raises:
            Many: it has a wrong token, and there were too many before. The right one always opens.
        """
        if self._token is None:
            if not self._local:
                return Denied.NO_TOKEN
            # a name that an attacker's site points at this machine is none of ours
            return None if _name(host) in self._names else Denied.HOST
        if cookie is not None and self._sealed(cookie):
            return None
        if authorization is None:
            return Denied.LOGIN
        scheme, _, given = authorization.partition(" ")
        if scheme.lower() == "bearer":
            if self._right(given.strip()):
                return None
            self._bound(peer)
            self._count(peer)
        return Denied.LOGIN

    def login(self, given: str, peer: str) -> str | None:
        """The value of the cookie for who gives the right token, None for who gives a wrong one.

        Raises:
            Many: there were too many wrong ones from that address, and not even the right one is taken.
        """
        self._bound(peer)
        if self._right(given):
            return self._seal(int(self._wall()) + _HOURS * 3600)
        self._count(peer)
        return None

    def _right(self, given: str) -> bool:
        return self._token is not None and hmac.compare_digest(_digest(given), _digest(self._token))

    def _bound(self, peer: str) -> None:
        """Raise Many where an address sent too many wrong ones."""
        now = self._clock()
        fresh = [moment for moment in self._wrong.get(_whose(peer), ()) if now - moment < _PER_SECONDS]
        if len(fresh) >= _TRIES:
            raise TooManyAttempts

    def _count(self, peer: str) -> None:
        """One more wrong one; of too many addresses the one that was quiet longest is forgotten."""
        whose = _whose(peer)
        self._wrong[whose] = [*self._wrong.pop(whose, ()), self._clock()][-_TRIES:]
        if len(self._wrong) > _PEERS:
            del self._wrong[next(iter(self._wrong))]

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


def _whose(peer: str) -> str:
    """What a client cannot change of its address."""
    try:
        address = ip_address(peer.partition("%")[0])
    except ValueError:
        return peer
    if isinstance(address, IPv4Address):
        return str(address)
    return str(address.ipv4_mapped or ":".join(address.exploded.split(":")[:_NETWORK]))


def _digest(text: str) -> bytes:
    return sha256(text.encode(errors="replace")).digest()
