"""Where the API is: the vendor's hosts by name, and what other URL may stand in their place."""

from ipaddress import ip_address
from typing import Final
from urllib.parse import urlsplit

from msgspec import Struct

from worker.config import yaml_reader
from worker.model.messages import Message

__all__ = ["ENDPOINTS", "Endpoint", "parse_endpoint", "parse_gateway", "platform_of"]


class Endpoint(Struct, frozen=True):
    """Where the API is. `both_headers`: credentials go out under `Authentication` as well as `Authorization`."""

    url: str
    both_headers: bool = False

    @property
    def known(self) -> bool:
        """Whether it is the vendor's, or this very machine."""
        return self in ENDPOINTS.values() or self.loopback

    @property
    def loopback(self) -> bool:
        """Whether it is this very machine, as a simulated API is."""
        return _loopback(urlsplit(self.url).hostname or "")


ENDPOINTS: Final = {
    "solapi": Endpoint("https://api.solapi.com"),
    "solapi-static": Endpoint("https://api-static.solapi.com"),
    "coolsms": Endpoint("https://api.coolsms.co.kr"),
    "coolsms-rest": Endpoint("https://rest.coolsms.co.kr", both_headers=True),
}
"""The vendor's hosts by name. They are one platform; `solapi-static` has two fixed addresses for firewalled sites."""

_LABEL_CAP: Final = 63
"""Characters between two dots of a host's name."""


def parse_endpoint(text: str) -> Endpoint:
    """The endpoint of a name in `ENDPOINTS` or of a URL: https, or plain http to a loopback address.

    Raises:
        ValueError: with a sentence that says what is wrong and what is allowed.
    """
    if text in ENDPOINTS:
        return ENDPOINTS[text]
    if "@" in text or "?" in text or "#" in text:
        # whatever else is wrong, no message may repeat what could be a password or a token
        msg = Message(
            "an endpoint carries no user, password, query or fragment: take out @, ? and # and what belongs to them"
        )
        raise ValueError(msg)
    told = Message("endpoint {text}", text=yaml_reader.quote(text))
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        msg = Message("{told} is not a URL: {reason}", told=told, reason=_lower(str(error)))
        raise ValueError(msg) from None
    if parts.scheme not in {"http", "https"} or not host:
        names = yaml_reader.suggest(text, ENDPOINTS)
        msg = Message("{told} is neither the name of an endpoint nor an https URL{names}", told=told, names=names)
        raise ValueError(msg)
    if not text.isascii() or not text.isprintable() or " " in text or "\\" in text:
        msg = Message(
            "{told} has characters that no URL has: write them with %, and the host in its xn-- form", told=told
        )
        raise ValueError(msg)
    if port == 0 or not all(0 < len(label) <= _LABEL_CAP for label in host.removesuffix(".").split(".")):
        msg = Message("{told} has a host or a port that cannot be", told=told)
        raise ValueError(msg)
    if parts.scheme == "http" and not _loopback(host):
        msg = Message(
            "{told} is plain http: credentials go over https only (http is allowed to 127.0.0.1, ::1 and localhost)",
            told=told,
        )
        raise ValueError(msg)
    return Endpoint(text.rstrip("/"))


def platform_of(text: str) -> str:
    """Return what names the platform of an endpoint: `vendor` for all of the vendor's hosts, otherwise the URL.

    One URL has one name, however it is written: letter case of the host, default port, trailing dot and slash, and the
    names of this machine.
    """
    try:
        where = parse_endpoint(text)
    except ValueError:
        return text  # nothing will ever reach it
    url = _normal(where.url)
    return "vendor" if url in _VENDOR else url


def _normal(url: str) -> str:
    parts = urlsplit(url)
    host = (parts.hostname or "").removesuffix(".")
    host = "127.0.0.1" if host in {"localhost", "::1"} else host
    shown = f"[{host}]" if ":" in host else host
    port = "" if parts.port in {None, _PORTS[parts.scheme]} else f":{parts.port}"
    return f"{parts.scheme}://{shown}{port}{parts.path.rstrip('/')}"


_PORTS: Final = {"https": 443, "http": 80}
_VENDOR: Final = frozenset(_normal(each.url) for each in ENDPOINTS.values())


def _loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]


def parse_gateway(text: str) -> str:
    """The URL of a push gateway, without a slash at its end.

    Raises:
        ValueError: with a sentence that says what is wrong and what is allowed; it does not repeat the text, in which a
            password could be.
    """
    if "@" in text or "?" in text or "#" in text:
        msg = Message(
            "push_url carries no user, password, query or fragment: take out @, ? and # and what belongs to them"
        )
        raise ValueError(msg)
    try:
        parts = urlsplit(text)
        usable = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError:
        usable = False
    if not (usable and text.isascii() and text.isprintable()) or " " in text or "\\" in text:
        msg = Message("push_url should be the URL of a push gateway, such as http://pushgateway.internal:9091")
        raise ValueError(msg)
    return text.rstrip("/")
