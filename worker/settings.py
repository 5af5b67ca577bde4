"""Settings of a run: every key with its unit, default and reason.

Precedence: option, environment (`SENDERID_…`, nested with `__`), settings file, default. This module reads neither the
environment nor files: texts and mappings come in as arguments.
"""

from typing import Annotated, Final, Literal
from urllib.parse import urlsplit

from msgspec import Meta, Struct

__all__ = [
    "ENDPOINTS",
    "Endpoint",
    "LedgerSettings",
    "LogSettings",
    "RateLimit",
    "Retry",
    "Safety",
    "Settings",
    "Timeout",
    "endpoint",
    "threshold",
]

Positive = Annotated[int, Meta(ge=1)]
Seconds = Annotated[float, Meta(gt=0)]


class Endpoint(Struct, frozen=True):
    """Where the API is. `both_headers`: credentials go out under `Authentication` as well as `Authorization`."""

    url: str
    both_headers: bool = False


ENDPOINTS: Final = {
    "solapi": Endpoint("https://api.solapi.com"),
    "solapi-static": Endpoint("https://api-static.solapi.com"),
    "coolsms": Endpoint("https://api.coolsms.co.kr"),
    "coolsms-rest": Endpoint("https://rest.coolsms.co.kr", both_headers=True),
}
"""The vendor's hosts by name. They are one platform; `solapi-static` has two fixed addresses for firewalled sites."""

_WHOLE: Final = 100
"""Per cent."""

_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})


def endpoint(text: str) -> Endpoint:
    """The endpoint of a name in `ENDPOINTS` or of a URL: https, or plain http to a loopback address.

    Raises:
        ValueError: with a sentence that says what is wrong and what is allowed.
    """
    if text in ENDPOINTS:
        return ENDPOINTS[text]
    names = ", ".join(ENDPOINTS)
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        msg = f"endpoint {text!r} is not a URL: {error}"
        raise ValueError(msg) from None
    if parts.scheme not in {"http", "https"} or not host:
        msg = f"endpoint {text!r} is neither one of {names} nor an https URL"
        raise ValueError(msg)
    if parts.scheme == "http" and host not in _LOOPBACK:
        msg = f"endpoint {text!r} is plain http: credentials go over https only (http is allowed to 127.0.0.1, ::1 and localhost)"
        raise ValueError(msg)
    if parts.username or parts.password or parts.query or parts.fragment:
        msg = "an endpoint carries no user, password, query or fragment"
        raise ValueError(msg)
    return Endpoint(text.rstrip("/"))


class RateLimit(Struct, frozen=True, forbid_unknown_fields=True):
    """Requests per sliding window and API key.

    The vendor's own limits are about 100 writes and 20 reads in 5 seconds; the defaults leave a fifth of each to the
    account's other programs.
    """

    writes: Annotated[int, Meta(ge=1, description="Writes in one window.")] = 80
    reads: Annotated[int, Meta(ge=1, description="Reads in one window.")] = 16
    per_seconds: Annotated[float, Meta(gt=0, description="Length of the window, seconds.")] = 5.0


class Retry(Struct, frozen=True, forbid_unknown_fields=True):
    """How often and how patiently one request is tried again. Waits have full jitter."""

    attempts: Annotated[int, Meta(ge=1, le=20, description="Tries of one request, the first included.")] = 5
    base_seconds: Annotated[
        float, Meta(gt=0, description="The first wait is at most this; each next one twice it.")
    ] = 0.5
    cap_seconds: Annotated[float, Meta(gt=0, description="No wait of ours is longer than this.")] = 20.0


class Timeout(Struct, frozen=True, forbid_unknown_fields=True):
    """How long one attempt may take."""

    connect_seconds: Annotated[float, Meta(gt=0, description="Until the connection stands, TLS included.")] = 5.0
    total_seconds: Annotated[float, Meta(gt=0, description="Until the answer has been read whole.")] = 20.0


class Safety(Struct, frozen=True, forbid_unknown_fields=True):
    """When a plan is refused; a desired-state file may set both for its account."""

    max_deactivations: Annotated[
        int | str,
        Meta(description="Deactivations that one plan may hold: a number, or a percentage of the ACTIVE numbers."),
    ] = "30%"
    min_active: Annotated[int, Meta(ge=0, description="ACTIVE numbers that a plan must leave.")] = 1


class LedgerSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """Where local state is kept."""

    path: Annotated[
        str | None, Meta(description="A file; its folder also holds the locks. Null: the XDG state folder.")
    ] = None


class LogSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """What goes to stderr."""

    format: Annotated[
        Literal["auto", "json", "console"], Meta(description="auto: console on a terminal, JSON elsewhere.")
    ] = "auto"
    level: Annotated[
        Literal["debug", "info", "warning", "error"], Meta(description="The lowest level that is written.")
    ] = "info"


class Settings(Struct, frozen=True, forbid_unknown_fields=True):
    """All settings of a run."""

    endpoint: Annotated[
        str, Meta(description="solapi, solapi-static, coolsms, coolsms-rest, or a URL; for accounts that name none.")
    ] = "solapi"
    rate_limit: RateLimit = RateLimit()
    concurrency: Annotated[int, Meta(ge=1, le=1000, description="Requests under way at once, per account.")] = 16
    accounts_concurrency: Annotated[int, Meta(ge=1, le=1000, description="Accounts under way at once.")] = 16
    retry: Retry = Retry()
    deadline_seconds: Annotated[float, Meta(gt=0, description="One account's time for its writes, seconds.")] = 900.0
    timeout: Timeout = Timeout()
    safety: Safety = Safety()
    ledger: LedgerSettings = LedgerSettings()
    log: LogSettings = LogSettings()


def threshold(value: int | str, active: int) -> int:
    """How many deactivations `max_deactivations` allows on an account with `active` ACTIVE numbers.

    A percentage is rounded down and never allows fewer than 2, so that small accounts stay manageable; a plain number
    is taken as it is.

    Raises:
        ValueError: when the value is neither a whole number of 0 or more nor a percentage from 0% to 100%.
    """
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    text = str(value).strip()
    number = text.removesuffix("%").strip()
    if text.isascii() and number.isdigit():
        if text == number:
            return int(number)
        if int(number) <= _WHOLE:
            return max(2, active * int(number) // _WHOLE)
    msg = f"max_deactivations {value!r} is neither a whole number of 0 or more nor a percentage such as 30%"
    raise ValueError(msg)
