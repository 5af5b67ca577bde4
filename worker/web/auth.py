"""Access to the pages: without a token on a loopback address, with the token on other addresses."""

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
"""Fewest characters of a token."""

_HOURS: Final = 12
_TRIES: Final = 10
_PER_SECONDS: Final = 60.0
_PEERS: Final = 1024
"""Most addresses whose wrong tokens are counted."""
_NETWORK: Final = 4
"""Groups of an IPv6 address that identify a site, whose hosts can use all of its addresses."""
_HOSTS: Final = frozenset({"127.0.0.1", "localhost", "[::1]"})


class Denied(Enum):
    """Why access to a page is denied."""

    HOST = "host"
    NO_TOKEN = "no token"  # noqa: S105 - a word
    LOGIN = "login"


class TooManyAttempts(Exception):
    """An address sent too many wrong tokens in the last minute."""


class Access:
    """Access control of the pages: by the `token` or, without one, by the names of this machine.

    `host` is the address of the server. `clock` returns monotonic seconds, `wall` the Unix time.
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
        self._wrong_attempts: dict[str, list[float]] = {}

    @property
    def requires_token(self) -> bool:
        """Return True if a token is required."""
        return self._token is not None

    def deny(self, host: str, authorization: str | None, cookie: str | None, peer: str) -> Denied | None:
        """Return why a request from the address `peer` is denied, or None if it is granted.

        With a token, any Host header is accepted: an attacker's site has neither the token nor the session cookie, and
        a proxy sends its own name.

        Raises:
            TooManyAttempts: the token is wrong, after too many wrong ones. The right one is always accepted.
        """
        if self._token is None:
            if not self._local:
                return Denied.NO_TOKEN
            # an attacker's site can point its own name at this machine
            return None if _name(host) in self._names else Denied.HOST
        if cookie is not None and self._is_valid_session(cookie):
            return None
        if authorization is None:
            return Denied.LOGIN
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() == "bearer":
            if self._is_right(token.strip()):
                return None
            self._check_attempts(peer)
            self._count(peer)
        return Denied.LOGIN

    def login(self, token: str, peer: str) -> str | None:
        """Return the cookie for the right token, or None for a wrong one.

        Raises:
            TooManyAttempts: the address sent too many wrong tokens; it must wait, even with the right one.
        """
        self._check_attempts(peer)
        if self._is_right(token):
            return self._session_cookie(int(self._wall()) + _HOURS * 3600)
        self._count(peer)
        return None

    def _is_right(self, token: str) -> bool:
        return self._token is not None and hmac.compare_digest(_digest(token), _digest(self._token))

    def _check_attempts(self, peer: str) -> None:
        """Raise TooManyAttempts if an address sent too many wrong tokens."""
        now = self._clock()
        fresh = [moment for moment in self._wrong_attempts.get(_network_of(peer), ()) if now - moment < _PER_SECONDS]
        if len(fresh) >= _TRIES:
            raise TooManyAttempts

    def _count(self, peer: str) -> None:
        """Count a wrong token. Of too many addresses, the one with the oldest attempt is forgotten."""
        network = _network_of(peer)
        self._wrong_attempts[network] = [*self._wrong_attempts.pop(network, ()), self._clock()][-_TRIES:]
        if len(self._wrong_attempts) > _PEERS:
            del self._wrong_attempts[next(iter(self._wrong_attempts))]

    def _session_cookie(self, until: int) -> str:
        assert self._token is not None  # noqa: S101 - there is no login without one
        return f"{until}.{hmac.new(self._token.encode(), f'session {until}'.encode(), sha256).hexdigest()}"

    def _is_valid_session(self, cookie: str) -> bool:
        until = cookie.partition(".")[0]
        if not (until.isascii() and until.isdigit() and len(until) <= len(str(1 << 63)) and int(until) > self._wall()):
            return False
        return hmac.compare_digest(self._session_cookie(int(until)).encode(), cookie.encode(errors="replace"))


def loopback(host: str) -> bool:
    """Return True if an address can only be reached from this machine."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _name(host: str) -> str:
    """Return the name of a Host header, without its port."""
    bare, colon, port = host.rpartition(":")
    return (bare if colon and port.isascii() and port.isdigit() else host).lower()


def _network_of(peer: str) -> str:
    """Return the part of an address that a client cannot choose, as one key for its wrong attempts."""
    try:
        address = ip_address(peer.partition("%")[0])
    except ValueError:
        return peer
    if isinstance(address, IPv4Address):
        return str(address)
    return str(address.ipv4_mapped or ":".join(address.exploded.split(":")[:_NETWORK]))


def _digest(text: str) -> bytes:
    return sha256(text.encode(errors="replace")).digest()
