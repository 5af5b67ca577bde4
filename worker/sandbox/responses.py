"""Simulated responses, and the faults that change them."""

import gzip
import zlib
from collections.abc import Iterator
from datetime import datetime, timedelta
from email.utils import format_datetime
from enum import Enum
from functools import cache
from typing import Any, Final

import msgspec

from worker.sandbox.faults import Fault
from worker.sandbox.state import SandboxAccount

__all__ = ["Disconnect", "SimulatedResponse", "apply_fault"]

_PAGE: Final = b"<html><head><title>Error</title></head><body><h1>Something went wrong</h1></body></html>"
_MIB: Final = 1 << 20
_BOMB_MIB: Final = 300
_FLOOD_MIB: Final = 80
_STALLED: Final = 3600.0
"""Delay in seconds of a stalled response. It is longer than any client waits."""


class Disconnect(Enum):
    """The moment at which a connection is closed."""

    AT_ONCE = "before the response"
    HALFWAY = "in the middle of the body"


class SimulatedResponse:
    """A response, and how it is sent.

    `delay` is in seconds before the response, and `pause` is in seconds between pieces of `piece` bytes. `repeat` is
    how often the body is sent. `cut` is the moment at which the connection is closed; None if it stays open.
    """

    __slots__ = ("body", "cut", "delay", "headers", "pause", "piece", "repeat", "status")

    def __init__(self, status: int, body: bytes) -> None:
        self.status = status
        self.body = body
        self.headers: dict[str, str] = {}
        self.delay = 0.0
        self.pause = 0.0
        self.piece = 0
        self.repeat = 1
        self.cut: Disconnect | None = None

    def pieces(self, whole: bytes) -> Iterator[bytes]:
        """Yield the body `whole` in pieces of the size in which it is sent."""
        step = self.piece or len(whole) or 1
        for _ in range(self.repeat):
            for start in range(0, len(whole), step):
                yield whole[start : start + step]

    def replace(self, status: int, body: bytes | dict[str, object] = b"", **headers: str) -> None:
        """Replace status and body, and add headers. An underscore in the name of a header becomes a hyphen."""
        self.status = status
        self.body = body if isinstance(body, bytes) else msgspec.json.encode(body)
        self.headers |= {name.replace("_", "-"): value for name, value in headers.items()}


_ERRORS: Final[dict[Fault, tuple[int, bytes | dict[str, object]]]] = {
    Fault.INTERNAL_ERROR: (500, {"errorCode": "InternalError", "errorMessage": "내부 오류가 발생했습니다."}),
    Fault.BAD_GATEWAY: (502, _PAGE),
    Fault.UNAVAILABLE: (503, _PAGE),
    Fault.GATEWAY_TIMEOUT: (504, b""),
    Fault.REQUEST_TIMEOUT: (408, b""),
    Fault.FAILS_AFTERWARDS: (500, {"errorCode": "InternalError", "errorMessage": "내부 오류가 발생했습니다."}),
    Fault.HTML: (200, _PAGE),
    Fault.GARBAGE: (200, b"\x00\xff\xfe garbage"),
    Fault.NO_CONTENT: (204, b""),
    Fault.OTHER_JSON: (200, b'["what", {"is": "this"}]'),
    Fault.DUPLICATED_SIGNATURE: (403, {"errorCode": "DuplicatedSignature", "errorMessage": "이미 사용되었습니다."}),
    Fault.CLOCK_SKEW: (403, {"errorCode": "RequestTimeTooSkewed", "errorMessage": "시간이 차이납니다."}),
    Fault.ESCAPES: (
        500,
        {"errorCode": "Evil\r\n\x1b[2J", "errorMessage": "\x1b[31mred\x1b[0m\r\nlevel=error forged\x07"},
    ),
    Fault.INVALID_KEY: (400, {"errorCode": "InvalidApiKey", "errorMessage": "유효하지 않은 API Key입니다."}),
    Fault.WRONG_SIGNATURE: (403, {"errorCode": "SignatureDoesNotMatch", "errorMessage": "일치하지 않습니다."}),
    Fault.FORBIDDEN: (403, {"errorCode": "Forbidden", "errorMessage": "권한이 없습니다."}),
    Fault.NOT_FOUND: (404, {"errorCode": "ResourceNotFound", "errorMessage": "찾을 수 없습니다."}),
    Fault.NOT_REGISTERED: (400, {"errorCode": "InvalidSenderId", "errorMessage": "찾을 수 없습니다."}),
    Fault.NOT_WRITABLE: (409, {"errorCode": "FailedToUpdate", "errorMessage": "변경할 수 없습니다."}),
    Fault.TEAPOT: (418, {"errorCode": "Teapot", "errorMessage": "차 주전자입니다."}),
}

_RETRY_AFTER: Final = {
    Fault.RATE_LIMITED: "1",
    Fault.RATE_LIMITED_FRACTIONALLY: "1.5",
    Fault.RATE_LIMITED_SILENTLY: None,
    Fault.RATE_LIMITED_BEFORE: "-5",
    Fault.RATE_LIMITED_OBSCURELY: "soon",
    Fault.RATE_LIMITED_FOR_A_YEAR: "31536000",
}


_CUTS: Final = {
    Fault.RESET_BEFORE: Disconnect.AT_ONCE,
    Fault.RESET_AFTER: Disconnect.AT_ONCE,
    Fault.TRUNCATED: Disconnect.HALFWAY,
}
_HEADERS: Final = {
    Fault.NOT_GZIP: {"Content-Encoding": "gzip"},
    Fault.BLANK_ENCODING: {"Content-Encoding": ""},
    Fault.STRANGE_DATE: {"Date": "yesterday, around noon"},
}
_WRITE_FAULTS: Final = frozenset({Fault.ONE_NUMBER_RESPONSE, Fault.SHORT_RESPONSE, Fault.STALE_ROWS})
"""Faults that change the response to a write."""
_READ_FAULTS: Final = frozenset(
    {Fault.NO_ACCOUNT_ID, Fault.NO_NUMBER_LIST, Fault.NULL_NUMBER_LIST, Fault.EMPTY_OBJECT, Fault.SHRUNKEN}
)
"""Faults that change the response to a read of the account."""
_DELAYS: Final = {Fault.SLOW: 0.3, Fault.STALL: _STALLED}


def apply_fault(
    fault: Fault,
    response: SimulatedResponse,
    *,
    account: SandboxAccount,
    phone: str | None,
    stale: bytes,
    is_account_read: bool,
    now: datetime,
) -> None:
    """Change a response as a fault requires.

    `phone` is the number of the request, if it has one. `stale` is the account document before the write.
    `is_account_read` is True if the request reads the account. `now` is the aware time of the server.
    """
    if fault in _ERRORS:
        status, body = _ERRORS[fault]
        response.replace(status, body)
    elif fault in _RETRY_AFTER:
        response.replace(429, {"errorCode": "TooManyRequests", "message": "요청 한도를 초과했습니다."})
        if (wait := _RETRY_AFTER[fault]) is not None:
            response.headers["Retry-After"] = wait
    elif fault in _CUTS:
        response.cut = _CUTS[fault]
    elif fault in _HEADERS:
        response.headers |= _HEADERS[fault]
    elif fault in _DELAYS:
        response.delay = _DELAYS[fault]
    elif phone is not None and response.status == 200 and fault in _WRITE_FAULTS:  # noqa: PLR2004
        _distort_write(fault, response, account, phone, stale)
    elif is_account_read and fault in _READ_FAULTS:
        response.body = _remove_part(fault, response.body)
    else:
        _distort(fault, response, account, now)


def _distort_write(
    fault: Fault, response: SimulatedResponse, account: SandboxAccount, phone: str, stale: bytes
) -> None:
    if fault is Fault.STALE_ROWS:
        response.body = stale
    elif fault is Fault.ONE_NUMBER_RESPONSE:
        response.body = account.one_number_document(phone)
    else:
        response.body = msgspec.json.encode({"phoneNumber": phone, "status": account.numbers[phone].status})


def _remove_part(fault: Fault, document: bytes) -> bytes:
    """Return an account document without the part that the fault removes."""
    if fault is Fault.EMPTY_OBJECT:
        return b"{}"
    decoded = msgspec.json.decode(document, type=dict[str, Any])
    match fault:
        case Fault.NO_ACCOUNT_ID:
            decoded.pop("accountId", None)
        case Fault.NO_NUMBER_LIST:
            decoded.pop("senderIds", None)
        case Fault.NULL_NUMBER_LIST:
            decoded["senderIds"] = None
        case _:
            decoded["senderIds"] = decoded.get("senderIds", [])[::2]
    return msgspec.json.encode(decoded)


def _distort(fault: Fault, response: SimulatedResponse, account: SandboxAccount, now: datetime) -> None:
    match fault:
        case Fault.RATE_LIMITED_UNTIL:
            until = format_datetime(now + timedelta(seconds=1), usegmt=True)
            response.replace(429, {"errorCode": "TooManyRequests", "message": "한도"}, Retry_After=until)
        case Fault.UNKNOWN_FIELDS:
            if response.body.startswith(b"{"):
                rest = response.body[1:]
                response.body = b'{"zebra":{"stripes":[1,2]}' + (rest if rest == b"}" else b"," + rest)
        case Fault.DRIP:
            response.piece, response.pause = max(1, len(response.body) // 10), 0.02
        case Fault.REDIRECT:
            response.replace(307, b"", Location="http://127.0.0.1:9/elsewhere")
        case Fault.OTHER_ACCOUNT:
            response.body = response.body.replace(account.account_id.encode(), b"99999999", 1)
        case Fault.BOMB:
            response.replace(200, _compressed(_BOMB_MIB), Content_Encoding="gzip")
        case Fault.FLOOD:
            response.replace(200, bytes(_MIB), Content_Encoding="gzip")
            response.repeat = _FLOOD_MIB
        case _:
            _encode(fault, response)


def _encode(fault: Fault, response: SimulatedResponse) -> None:
    """Compress the body in the valid but rare form of the fault."""
    if fault is Fault.X_GZIP:
        response.replace(response.status, gzip.compress(response.body), Content_Encoding="x-gzip")
    elif fault is Fault.TWO_GZIP_MEMBERS:
        half = len(response.body) // 2
        members = gzip.compress(response.body[:half]) + gzip.compress(response.body[half:])
        response.replace(response.status, members, Content_Encoding="gzip")


@cache
def _compressed(mebibytes: int) -> bytes:
    packer = zlib.compressobj(1, wbits=16 + zlib.MAX_WBITS)
    blank = b" " * _MIB
    pieces = [packer.compress(b'{"senderIds":['), *(packer.compress(blank) for _ in range(mebibytes))]
    return b"".join([*pieces, packer.compress(b"]}"), packer.flush()])
