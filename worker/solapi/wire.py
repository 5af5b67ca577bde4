"""Responses of the API as values: those to writes, and errors.

Only the fields that the worker needs are decoded. The module does no I/O.
"""

import re
from collections.abc import Mapping
from datetime import MAXYEAR, UTC, datetime
from email.utils import parsedate_to_datetime
from html import unescape
from typing import Annotated, Final, NamedTuple

import msgspec
from msgspec import Struct

from worker.model.accounts import Status
from worker.model.errors import (
    AccountRejected,
    Ambiguous,
    ApiError,
    ClockSkewed,
    NotRegistered,
    NotWritable,
    NumberRejected,
    RateLimited,
    ServerError,
    SignatureReused,
)
from worker.model.messages import Message
from worker.model.redaction import without_headers

__all__ = [
    "EXCERPT_BYTES",
    "UNREADABLE",
    "WriteResponse",
    "brief",
    "count",
    "excerpt",
    "http_date",
    "identifier",
    "page_title",
    "refusal",
    "retry_after",
    "status_body",
    "write_response",
]

_CREDENTIAL_CODES: Final = frozenset(
    {"invalidapikey", "signaturedoesnotmatch", "invalidtoken", "unauthorized", "forbidden", "accessdenied"}
)
_MESSAGE_LENGTH: Final = 500
"""Maximum length in characters of a message from the API: enough to read, too short to flood a log."""
_TITLE_LENGTH: Final = 80
_find_title: Final = re.compile(rb"<title[^>]*>(.*?)</title", re.IGNORECASE | re.DOTALL).search
_EXCERPT_LENGTH: Final = 200
EXCERPT_BYTES: Final = 8 * _EXCERPT_LENGTH
"""Count of bytes at the start of a response from which `excerpt` takes its characters."""

UNREADABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""The errors that decoding untrusted bytes may raise. Deeply nested brackets raise RecursionError."""

_SECONDS: Final = re.compile(r"(?P<whole>[0-9]+)(?:\.(?P<part>[0-9]+))?")
"""Matches a `Retry-After` in seconds."""

STATUS_BODIES: Final = {status: msgspec.json.encode({"status": status}) for status in Status if status.is_writable}


class WriteResponse(NamedTuple):
    """The account id and the number's status in the response to a write. Either is None if the response lacks it."""

    account: str | None
    status: Status | None


class _WrittenNumber(Struct, gc=False, rename={"phone": "phoneNumber"}):
    phone: str
    status: Status


class _WriteBody(Struct, gc=False, rename="camel"):
    """The response to a write, in any of its three forms."""

    account_id: str | int | None = None
    sender_ids: list[_WrittenNumber] | None = None
    phone_number: str | None = None
    status: Status | None = None
    error_code: str | None = None


class _Error(Struct, rename="camel"):
    error_code: str | int | None = None
    error_message: str | None = None
    message: str | None = None


_COUNT: Final[msgspec.json.Decoder[int]] = msgspec.json.Decoder(Annotated[int, msgspec.Meta(ge=0, le=999_999_999)])
_REPLY: Final = msgspec.json.Decoder(_WriteBody)
_ERROR: Final = msgspec.json.Decoder(_Error)


def status_body(status: Status) -> bytes:
    """Return the body of a write request that sets `status`."""
    return STATUS_BODIES[status]


def write_response(body: bytes, phone: str) -> WriteResponse:
    """Decode the response to a write of `phone` with status 200.

    Raises:
        Ambiguous: the body is not such a response, so the result of the write is unknown.
    """
    try:
        decoded = _REPLY.decode(body)
    except UNREADABLE as error:
        raise Ambiguous(
            Message("the response cannot be read: {error}", error=brief(str(error))), http_status=200
        ) from None
    if decoded.error_code is not None:
        raise Ambiguous(
            Message("the response has status 200 and the error {error_code}", error_code=brief(decoded.error_code)),
            http_status=200,
        )
    if decoded.phone_number == phone:
        status = decoded.status
    else:
        status = next((row.status for row in decoded.sender_ids or () if row.phone == phone), None)
    return WriteResponse(identifier(decoded.account_id), status)


def refusal(status: int, body: bytes, *, is_write: bool, retry_after: float | None = None) -> ApiError:
    """Return the error for any response other than a readable one with status 200.

    `body` is the start of the decompressed body. `is_write` is True for a PUT, which may have taken effect although its
    response is an error. `retry_after` is the wait that the headers request, in seconds.
    """
    api_code, detail = _parse(body)
    message = detail or Message("HTTP {status}", status=status)
    kind: type[ApiError]
    if status == 429:  # noqa: PLR2004 - HTTP statuses are clearest as numbers
        return RateLimited(message, retry_after=retry_after, api_code=api_code)
    if 300 <= status < 400:  # noqa: PLR2004
        return AccountRejected(
            Message("the endpoint redirects elsewhere; redirects are not followed: check the endpoint"),
            http_status=status,
        )
    if status == 408 or status >= 500 or status < 300 or _is_html(body):  # noqa: PLR2004
        kind = Ambiguous if is_write else ServerError
        if status < 300:  # noqa: PLR2004
            message = Message("the response cannot be read")
        if _is_html(body):
            message = Message(
                "HTTP {status} with a web page instead of JSON, probably from a proxy, a firewall or a captive "
                "portal{title}",
                status=status,
                title=page_title(body),
            )
    else:
        kind = _error_type(status, (api_code or "").lower(), message.lower(), is_write=is_write)
    return kind(message, http_status=status, api_code=api_code)


def count(raw: msgspec.Raw) -> int | None:
    """Decode an integer from 0 to 999,999,999. Return None for any other value."""
    try:
        return _COUNT.decode(raw)
    except UNREADABLE:
        return None


def identifier(value: str | int | None) -> str | None:
    """Return an id, which the API sends as a string or an integer, as text. PostgreSQL stores no NUL characters."""
    return None if value is None else str(value).replace("\0", "\ufffd")


def http_date(text: str) -> datetime | None:
    """Parse an HTTP date. Return None if the text is invalid or the year is 9999, the last one of the calendar."""
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    if moment.year == MAXYEAR:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the wait that `Retry-After` requests, in seconds; None if the header is missing or invalid."""
    text = headers.get("Retry-After", "").strip()
    seconds = _SECONDS.fullmatch(text)
    if seconds is not None:
        # a fraction is not HTTP, but proxies send it; a retry that is too early is refused again
        return float(seconds["whole"][:9]) + bool((seconds["part"] or "").strip("0"))
    until, now = http_date(text), http_date(headers.get("Date", ""))
    return None if until is None or now is None else (until - now).total_seconds()


def _error_type(status: int, code: str, message: str, *, is_write: bool) -> type[ApiError]:
    if code == "duplicatedsignature":
        return SignatureReused
    if code == "requesttimetooskewed":
        return ClockSkewed
    about_key = code == "validationerror" and "key" in message
    if status in {401, 403, 407} or code in _CREDENTIAL_CODES or about_key or not is_write:
        return AccountRejected
    if code == "invalidsenderid":
        return NotRegistered
    if code == "failedtoupdate":
        return NotWritable
    return NumberRejected


def _parse(body: bytes) -> tuple[str | None, str | None]:
    try:
        error = _ERROR.decode(body)
    except UNREADABLE:
        return None, None
    text = error.error_message or error.message
    return (
        None if error.error_code is None else brief(str(error.error_code)),
        None if text is None else brief(text),
    )


def _is_html(body: bytes) -> bool:
    return body.lstrip()[:1] == b"<"


def page_title(body: bytes) -> str:
    """Return the title of a web page as the end of a message; empty if the page has none."""
    match = _find_title(body)
    if match is None:
        return ""
    try:
        text = match[1].decode()
    except UnicodeDecodeError:
        text = match[1].decode("cp949", errors="replace")
    printable = "".join(char for char in unescape(text) if char.isprintable() or char.isspace())
    title = " ".join(without_headers(printable).split())[:_TITLE_LENGTH]
    return Message(", with the title {title!r}", title=title) if title else ""


def brief(text: str) -> str:
    """Shorten a text from the API to 500 characters, and remove echoed credentials headers."""
    text = without_headers(text[: 4 * _MESSAGE_LENGTH])
    return text if len(text) <= _MESSAGE_LENGTH else text[:_MESSAGE_LENGTH] + "…"


def excerpt(data: bytes) -> str:
    """Return the first 200 printable characters of a response, without echoed credentials headers."""
    text = data[:EXCERPT_BYTES].decode(errors="replace")
    printable = "".join(char for char in text if char.isprintable() or char.isspace())
    return " ".join(without_headers(printable).split())[:_EXCERPT_LENGTH]
