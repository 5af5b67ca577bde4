"""URLs of the API, push gateways and ledgers: the names of the vendor's hosts, and the rules for other URLs."""

import re
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Final
from urllib.parse import parse_qsl, urlsplit

from msgspec import Struct

from worker.config import yaml_reader
from worker.model.messages import Message

__all__ = [
    "ENDPOINTS",
    "Endpoint",
    "is_host_pattern",
    "is_loopback",
    "matches_host",
    "parse_endpoint",
    "parse_gateway",
    "parse_ledger_url",
    "parse_proxy",
    "platform_of",
]


class Endpoint(Struct, frozen=True):
    """The base URL of an API.

    With `uses_both_headers`, requests have an `Authentication` and an `Authorization` header.
    """

    url: str
    uses_both_headers: bool = False

    @property
    def is_known(self) -> bool:
        """Return True if the endpoint is one of the vendor's or a loopback address."""
        return self in ENDPOINTS.values() or self.is_loopback

    @property
    def is_loopback(self) -> bool:
        """Return True if the host is this machine. The simulated API runs at such an endpoint."""
        return is_loopback(urlsplit(self.url).hostname or "")


ENDPOINTS: Final = {
    "solapi": Endpoint("https://api.solapi.com"),
    "solapi-static": Endpoint("https://api-static.solapi.com"),
    "coolsms": Endpoint("https://api.coolsms.co.kr"),
    "coolsms-rest": Endpoint("https://rest.coolsms.co.kr", uses_both_headers=True),
}
"""The vendor's endpoints by name, all of one platform. `solapi-static` has two fixed addresses, for firewalls."""

_LABEL_CAP: Final = 63
"""Maximum length in characters of a label of a host name."""


@lru_cache
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
    if parts.scheme == "http" and not is_loopback(host):
        raise ValueError(
            Message(
                "endpoint {endpoint} is plain http: use https (http is allowed only for 127.0.0.1, ::1 and localhost)",
                endpoint=quoted_url,
            )
        )
    return Endpoint(text.rstrip("/"))


@lru_cache
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
_VENDOR: Final = frozenset(_normal(endpoint.url) for endpoint in ENDPOINTS.values())


def is_loopback(host: str) -> bool:
    """Return True if a host name or address is this machine."""
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


_is_label: Final = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?").fullmatch


def is_host_pattern(text: str) -> bool:
    """Return True if a text is a host, a domain, an address or a network, as `matches_host` takes it."""
    return _parse_network(text) is not None or all(map(_is_label, text.removeprefix(".").split(".")))


def matches_host(pattern: str, host: str) -> bool:
    """Return True if a host is the pattern, is below that domain, or has an address in that network."""
    network = _parse_network(pattern)
    if network is not None:
        try:
            return ip_address(host) in network
        except ValueError:
            return False
    name, domain = host.lower().removesuffix("."), pattern.lower().removeprefix(".")
    return name == domain or name.endswith(f".{domain}")


def _parse_network(text: str) -> IPv4Network | IPv6Network | None:
    try:
        return ip_network(text, strict=False)
    except ValueError:
        return None


def parse_proxy(text: str) -> str:
    """Return the URL of an HTTP proxy without its trailing slash.

    Raises:
        ValueError: the URL cannot be used. The message does not repeat it: it could hold a password.
    """
    if "@" in text:
        raise ValueError(
            Message(
                "proxy must not have a user or password: remove them, and set network.proxy_credentials to "
                "{{env: NAME}}"
            )
        )
    try:
        parts = urlsplit(text)
        is_usable = parts.scheme == "http" and parts.hostname and parts.port and parts.path in {"", "/"}
    except ValueError:
        is_usable = False
    if not (is_usable and text.isascii() and text.isprintable()) or "?" in text or "#" in text or " " in text:
        raise ValueError(
            Message("proxy must be the URL of an HTTP proxy with its port, such as http://proxy.internal:3128")
        )
    return text.rstrip("/")


_SSL_MODES: Final = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
_LEDGER_OPTIONS: Final = (
    "host",
    "passfile",
    "port",
    "sslcert",
    "sslcrl",
    "sslkey",
    "sslmode",
    "sslrootcert",
    "target_session_attrs",
)
"""The options of a ledger's URL, as libpq names them."""


def parse_ledger_url(text: str) -> str:
    """Return the URL of a ledger in PostgreSQL.

    Raises:
        ValueError: the URL cannot be used. The message does not repeat it: it could hold a password.
    """
    try:
        parts = urlsplit(text)
        options = dict(parse_qsl(parts.query, strict_parsing=bool(parts.query), max_num_fields=20))
    except ValueError:
        parts, options = urlsplit(""), {}
    if ":" in parts.netloc.rpartition("@")[0] or options.keys() & {"password", "sslpassword"}:
        raise ValueError(
            Message(
                "url must not have a password: remove it, replace it at the server, and set ledger.password to "
                "{{env: NAME}} or {{file: PATH}}"
            )
        )
    if (
        parts.scheme not in {"postgresql", "postgres"}
        or not parts.path.strip("/")
        or parts.fragment
        or not (text.isascii() and text.isprintable())
        or " " in text
    ):
        raise ValueError(
            Message("url must be the URL of a PostgreSQL database, such as postgresql://senderid@db.internal/senderid")
        )
    for name in options:
        if name not in _LEDGER_OPTIONS:
            raise ValueError(Message("unknown option in url{hint}", hint=yaml_reader.suggest(name, _LEDGER_OPTIONS)))
    if options.get("sslmode", "prefer") not in _SSL_MODES:
        raise ValueError(Message("sslmode in url must be one of {values}", values=_SSL_MODES))
    return text
