"""Access control of the status page. A loopback address does not need a token; all other addresses do."""

import hmac
import time
from collections.abc import Callable
from enum import Enum
from hashlib import sha256
from ipaddress import IPv4Address, ip_address
from typing import Final

__all__ = ["COOKIE", "MIN_TOKEN_LENGTH", "Access", "Denied", "TooManyAttempts", "is_loopback"]

COOKIE: Final = "senderid"
MIN_TOKEN_LENGTH: Final = 16
"""Minimum count of characters that a token may have."""

_HOURS: Final = 12
_TRIES: Final = 10
_PER_SECONDS: Final = 60.0
_PEERS: Final = 1024
"""Maximum count of client addresses whose wrong tokens are counted."""
_NETWORK: Final = 4
"""Leading groups of an IPv6 address that identify a client's network. A client can choose the other groups freely."""
_HOSTS: Final = frozenset({"127.0.0.1", "localhost", "[::1]"})


class Denied(Enum):
    """Why access to a page is denied."""

    HOST = "host"
    NO_TOKEN = "no token"  # noqa: S105 - a word
    LOGIN = "login"


class TooManyAttempts(Exception):
    """A client address sent too many wrong tokens within the last minute."""


class Access:
    """Access control of the pages: by `token` or, if that is None, by the Host header, which must name this machine.

    `host` is the address of the server. `clock` returns monotonic seconds, and `wall` returns the Unix time in seconds.
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
        self._local = is_loopback(host)
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

        If a token is required, any Host header is accepted: a proxy may send its own name, and an attacker's site has
        neither the token nor the session cookie.

        Raises:
            TooManyAttempts: the token is wrong, and `peer` sent too many wrong ones before. The right token is
                always accepted.
        """
        if self._token is None:
            if not self._local:
                return Denied.NO_TOKEN
            # DNS rebinding: an attacker's site can resolve its own name to this machine
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
        """Return the value of a session cookie if the token is right, otherwise None.

        Raises:
            TooManyAttempts: `peer` sent too many wrong tokens. It must wait, even with the right token.
        """
        self._check_attempts(peer)
        if self._is_right(token):
            return self._session_cookie(f"{int(self._wall()) + _HOURS * 3600}")
        self._count(peer)
        return None

    def _is_right(self, token: str) -> bool:
        return self._token is not None and hmac.compare_digest(_digest(token), _digest(self._token))

    def _check_attempts(self, peer: str) -> None:
        """Raise TooManyAttempts if a client address sent too many wrong tokens."""
        now = self._clock()
        recent = [moment for moment in self._wrong_attempts.get(_network_of(peer), ()) if now - moment < _PER_SECONDS]
        if len(recent) >= _TRIES:
            raise TooManyAttempts

    def _count(self, peer: str) -> None:
        """Count a wrong token of a client address. If too many addresses are counted, drop the least recent one."""
        network = _network_of(peer)
        self._wrong_attempts[network] = [*self._wrong_attempts.pop(network, ()), self._clock()][-_TRIES:]
        if len(self._wrong_attempts) > _PEERS:
            del self._wrong_attempts[next(iter(self._wrong_attempts))]

    def _session_cookie(self, until: str) -> str:
        assert self._token is not None  # noqa: S101 - there is no login without one
        message = f"session {until}".encode(errors="replace")
        return f"{until}.{hmac.new(self._token.encode(), message, sha256).hexdigest()}"

    def _is_valid_session(self, cookie: str) -> bool:
        until = cookie.partition(".")[0]
        expected_cookie = self._session_cookie(until).encode(errors="replace")
        is_signed = hmac.compare_digest(expected_cookie, cookie.encode(errors="replace"))
        return is_signed and int(until) > self._wall()


def is_loopback(host: str) -> bool:
    """Return True if a server on the address `host` can only be reached from this machine."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _name(host: str) -> str:
    """Return the host name of a Host header in lower case, without the port."""
    bare, colon, port = host.rpartition(":")
    return (bare if colon and port.isascii() and port.isdigit() else host).lower()


def _network_of(peer: str) -> str:
    """Return the network by which wrong tokens are counted: an IPv4 address, or the /64 prefix of an IPv6 address."""
    try:
        address = ip_address(peer.partition("%")[0])
    except ValueError:
        return peer
    if isinstance(address, IPv4Address):
        return str(address)
    return str(address.ipv4_mapped or ":".join(address.exploded.split(":")[:_NETWORK]))


def _digest(text: str) -> bytes:
    return sha256(text.encode(errors="replace")).digest()
