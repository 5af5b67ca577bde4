"""URLs of the API and of push gateways: the names of the vendor's hosts, and the rules for other URLs."""

from ipaddress import ip_address
from typing import Final
from urllib.parse import urlsplit

from msgspec import Struct

from worker.config import yaml_reader
from worker.model.messages import Message

__all__ = ["ENDPOINTS", "Endpoint", "parse_endpoint", "parse_gateway", "platform_of"]


class Endpoint(Struct, frozen=True):
    """The base URL of an API. With `both_headers`, requests have an `Authentication` and an `Authorization` header."""

    url: str
    both_headers: bool = False

    @property
    def is_known(self) -> bool:
        """Return True if the endpoint is one of the vendor's or a loopback address."""
        return self in ENDPOINTS.values() or self.is_loopback

    @property
    def is_loopback(self) -> bool:
        """Return True if the host is this machine. The simulated API runs at such an endpoint."""
        return _is_loopback(urlsplit(self.url).hostname or "")


ENDPOINTS: Final = {
    "solapi": Endpoint("https://api.solapi.com"),
    "solapi-static": Endpoint("https://api-static.solapi.com"),
    "coolsms": Endpoint("https://api.coolsms.co.kr"),
    "coolsms-rest": Endpoint("https://rest.coolsms.co.kr", both_headers=True),
}
"""The vendor's endpoints by name, all of one platform. `solapi-static` has two fixed addresses, for firewalls."""

_LABEL_CAP: Final = 63
"""Maximum length in characters of a label of a host name."""


def parse_endpoint(text: str) -> Endpoint:
    """Parse a name in `ENDPOINTS` or a URL: https, or plain http to a loopback address.

    Raises:
        ValueError: the text is neither a name nor such a URL. The message says what is allowed.
    """
    if text in ENDPOINTS:
        return ENDPOINTS[text]
    if "@" in text or "?" in text or "#" in text:
        # messages must not repeat the text: it may have a password or a token
        raise ValueError(Message("an endpoint must not have a user, password, query or fragment: remove it"))
    quoted_url = yaml_reader.quote(text)
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise ValueError(
            Message("endpoint {endpoint} is not a URL: {error}", endpoint=quoted_url, error=_lower(str(error)))
        ) from None
    if parts.scheme not in {"http", "https"} or not host:
        hint = yaml_reader.suggest(text, ENDPOINTS)
        raise ValueError(
            Message(
                "endpoint {endpoint} is neither a known name nor an https URL{hint}", endpoint=quoted_url, hint=hint
            )
        )
    if not text.isascii() or not text.isprintable() or " " in text or "\\" in text:
        raise ValueError(
            Message(
                "endpoint {endpoint} has characters that a URL cannot have: percent-encode them, and write the host in "
                "its xn-- form",
                endpoint=quoted_url,
            )
        )
    if port == 0 or not all(0 < len(label) <= _LABEL_CAP for label in host.removesuffix(".").split(".")):
        raise ValueError(Message("endpoint {endpoint} has an invalid host or port", endpoint=quoted_url))
    if parts.scheme == "http" and not _is_loopback(host):
        raise ValueError(
            Message(
                "endpoint {endpoint} is plain http: use https (http is allowed only for 127.0.0.1, ::1 and localhost)",
                endpoint=quoted_url,
            )
        )
    return Endpoint(text.rstrip("/"))


def platform_of(text: str) -> str:
    """Return the platform of an endpoint: `vendor` for each of the vendor's hosts, otherwise the normalized URL.

    Two URLs have the same platform if they differ only in the letter case of the host, a default port, a trailing dot
    or slash, or the name of this machine.
    """
    try:
        endpoint = parse_endpoint(text)
    except ValueError:
        return text  # no request can reach it
    url = _normal(endpoint.url)
    return "vendor" if url in _VENDOR else url


def _normal(url: str) -> str:
    parts = urlsplit(url)
    host = (parts.hostname or "").removesuffix(".")
    host = "127.0.0.1" if host in {"localhost", "::1"} else host
    host_text = f"[{host}]" if ":" in host else host
    port = "" if parts.port in {None, _PORTS[parts.scheme]} else f":{parts.port}"
    return f"{parts.scheme}://{host_text}{port}{parts.path.rstrip('/')}"


_PORTS: Final = {"https": 443, "http": 80}
_VENDOR: Final = frozenset(_normal(each.url) for each in ENDPOINTS.values())


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]


def parse_gateway(text: str) -> str:
    """Return the URL of a push gateway without its trailing slash.

    Raises:
        ValueError: the URL cannot be used. The message does not repeat it: it could hold a password.
    """
    if "@" in text or "?" in text or "#" in text:
        raise ValueError(Message("push_url must not have a user, password, query or fragment: remove it"))
    try:
        parts = urlsplit(text)
        is_usable = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError:
        is_usable = False
    if not (is_usable and text.isascii() and text.isprintable()) or " " in text or "\\" in text:
        raise ValueError(
            Message("push_url must be the URL of a push gateway, such as http://pushgateway.internal:9091")
        )
    return text.rstrip("/")
