"""A model of the API: what it does with each request. It defines the true state of the account."""

import hmac
import re
from collections import deque
from collections.abc import Callable, Collection
from datetime import datetime
from email.utils import formatdate
from hashlib import sha256
from random import Random
from typing import Any, Final, NamedTuple

import msgspec

from tests.simulation.faults import Fault
from tests.simulation.history import Edit, History, Request, ResponseKind
from worker.config.settings import RateLimit

__all__ = ["ACCOUNT_ID", "API_KEY", "API_SECRET", "EPOCH", "OTHER_KEY", "Api", "WireResponse"]

EPOCH: Final = 1_800_000_000.0
"""Unix time at which the loop's clock is 0."""
ACCOUNT_ID: Final = "12925149"
API_KEY: Final = "NCSSIMULATION"
OTHER_KEY: Final = "NCSSIMULATIONTWO"
"""A second key of the same account."""
API_SECRET: Final = "secret-of-the-simulation"

_SKEW_SECONDS: Final = 900.0
_LONGEST_HOLD: Final = 60.0
_WRITABLE: Final = frozenset({"ACTIVE", "INACTIVE"})
_header = re.compile(
    r"HMAC-SHA256 apiKey=(?P<key>\w+), date=(?P<date>[^,]+), salt=(?P<salt>\w{12,64}), signature=(?P<signature>\w{64})"
).fullmatch


class WireResponse(NamedTuple):
    """A response in transit, and what a client can know of it."""

    status: int
    headers: dict[str, str]
    body: bytes
    kind: ResponseKind = ResponseKind.REFUSED


class Api:
    """One account at the server. `wall` is the server's clock in Unix seconds; `clock` is that of the loop."""

    def __init__(
        self,
        numbers: dict[str, str],
        quota: RateLimit,
        history: History,
        *,
        clock: Callable[[], float],
        wall: Callable[[], float],
        chance: Random,
        account_id: str = ACCOUNT_ID,
        keys: Collection[str] = (API_KEY, OTHER_KEY),
    ) -> None:
        self.account_id = account_id
        self._keys = keys
        self.numbers = numbers
        self._quota = quota
        self._history = history
        self._clock = clock
        self._wall = wall
        self._chance = chance
        self._seen: set[str] = set()
        self._arrivals: dict[bool, deque[float]] = {True: deque(), False: deque()}

    @property
    def active(self) -> int:
        """Return the number of ACTIVE numbers."""
        return sum(status == "ACTIVE" for status in self.numbers.values())

    def edit(self, phone: str, status: str | None) -> None:
        """Change, add or remove a number, as an operator would."""
        previous = self.numbers.get(phone)
        if status is None:
            self.numbers.pop(phone, None)
        else:
            self.numbers[phone] = status
        moment = self._history.mark("edit", phone=phone, detail=f"{previous} {status}")
        self._history.edits.append(Edit(moment, phone, previous, status))
        self._history.active.append((moment, self.active, None))

    def arrive(self, request: Request, fault: Fault) -> WireResponse:
        """Accept a request and return the response."""
        request.arrived = self._history.mark(
            "arrive", request.run, request.phone, f"{request.method} {request.requested}"
        )
        if fault.instead == "error" and not fault.after:
            return self._server_error()
        refused = self._reject_signature(request) or self._too_many(request) or self._instead(request, fault)
        if refused is not None:
            return refused
        if not request.writes:
            return self._distorted_read(request, fault) or self._read(request, fault)
        return self._write(request, fault)

    def _reject_signature(self, request: Request) -> WireResponse | None:
        """Return the error of an invalid signature, or None."""
        arguments = _header(request.header)
        if arguments is None or arguments["key"] not in self._keys:
            return self._error_response(400, "InvalidApiKey", "no such key")
        signed = hmac.new(API_SECRET.encode(), (arguments["date"] + arguments["salt"]).encode(), sha256).hexdigest()
        if signed != arguments["signature"]:
            return self._error_response(403, "SignatureDoesNotMatch", "the signature is wrong")
        if abs(datetime.fromisoformat(arguments["date"]).timestamp() - self._wall()) > _SKEW_SECONDS:
            return self._error_response(403, "RequestTimeTooSkewed", "the date is too far off")
        if signed in self._seen:
            return self._error_response(403, "DuplicatedSignature", "the signature was used before")
        self._seen.add(signed)
        return None

    def _too_many(self, request: Request) -> WireResponse | None:
        arrivals, now = self._arrivals[request.writes], self._clock()
        while arrivals and arrivals[0] <= now - self._quota.per_seconds:
            arrivals.popleft()
        if len(arrivals) >= (self._quota.writes if request.writes else self._quota.reads):
            return self._limited(request)
        arrivals.append(now)
        return None

    def _instead(self, request: Request, fault: Fault) -> WireResponse | None:
        match fault.instead:
            case "limited":
                return self._limited(request)
            case "duplicated":
                return self._error_response(403, "DuplicatedSignature", "the signature was used before")
            case "unauthorized":
                return self._error_response(*self._chance.choice([(401, "Unauthorized"), (403, "Forbidden")]), "no")
            case "redirected":
                return WireResponse(307, self._headers() | {"Location": "https://elsewhere.example/"}, b"")
            case "rejected" if request.writes:
                codes = [(400, "ValidationError"), (400, "InvalidSenderId"), (409, "FailedToUpdate"), (422, "Odd")]
                return self._error_response(*self._chance.choice(codes), "no such thing")
            case _:
                return None

    def _limited(self, request: Request) -> WireResponse:
        """Return a 429 with any kind of Retry-After, and the part of it that a client must follow."""
        requested, seconds = self._chance.choice(_RETRY_AFTER)
        request.hold = seconds if 0 < seconds <= _LONGEST_HOLD else self._quota.per_seconds
        value = self._date(seconds) if requested in _DATES else requested
        more = {} if value is None else {"Retry-After": value}
        response = self._error_response(429, "TooManyRequests", "")
        body = b'{"errorCode": "TooManyRequests", "message": "too many"}'
        bodies = [body, b"", b"<html>slow down</html>"]
        return WireResponse(429, response.headers | more, self._chance.choice(bodies), ResponseKind.RETRYABLE)

    def _distorted_read(self, request: Request, fault: Fault) -> WireResponse | None:
        """Return a response that differs from the account, or None.

        A run never gets two in a row, because it accepts the loss that a second read confirms.
        """
        received = [read for read in self._history.requests if read.run == request.run and read.received_account]
        if fault.instead not in {"stranger", "emptied", "shrunk"} or (received and received[-1].distorted):
            return None
        request.distorted = True
        if fault.instead == "stranger":
            return self._ok(self._chance.choice(_STRANGERS), ResponseKind.REFUSED)
        if fault.instead == "emptied":
            return self._ok({}, ResponseKind.REFUSED)
        request.account_at_response = dict(self.numbers)
        request.omitted = frozenset(self._chance.sample(sorted(self.numbers), (len(self.numbers) + 1) // 2))
        return self._ok(self._document(request.visible, self.account_id))

    def _read(self, request: Request, fault: Fault) -> WireResponse:
        request.account_at_response = dict(self.numbers)
        match fault.instead:
            case "error":
                return self._server_error()
            case "garbage":
                return self._garbage()
            case "other account":
                return self._ok(self._document(self.numbers, "999"), ResponseKind.REFUSED)
            case _:
                return self._ok(self._document(self.numbers, self.account_id))

    def _write(self, request: Request, fault: Fault) -> WireResponse:
        previous = dict(self.numbers)
        phone, requested = request.phone, request.requested
        if phone not in previous:
            return self._error_response(400, "InvalidSenderId", "not registered")
        if previous[phone] not in _WRITABLE:
            return self._error_response(409, "FailedToUpdate", "cannot be written")
        if fault.instead != "untrue":
            self.numbers[phone] = requested
            request.effect = previous[phone] != requested
            moment = self._history.mark("effect", request.run, phone, f"{previous[phone]} {requested}")
            if request.effect:
                self._history.active.append((moment, self.active, request))
        match fault.instead:
            case "error":
                return self._server_error()
            case "garbage":
                return self._garbage()
            case "other account":
                return self._ok(self._document(self.numbers, "999"), ResponseKind.AMBIGUOUS)
            case "stale" if previous[phone] != requested:
                return self._ok(self._write_response(previous, phone, previous[phone]), ResponseKind.AMBIGUOUS)
            case _:
                return self._ok(self._write_response(previous | {phone: requested}, phone, requested))

    def _write_response(self, numbers: dict[str, str], phone: str, status: str) -> dict[str, Any]:
        """Return the response to a write, in one of its three shapes."""
        shape = self._chance.randrange(3)
        if shape == 0:
            return self._document(numbers, self.account_id)
        if shape == 1:
            return self._document({phone: status}, self.account_id)
        return {"phoneNumber": phone, "status": status}

    def _document(self, numbers: dict[str, str], account_id: str) -> dict[str, Any]:
        rows = [{"phoneNumber": phone, "status": status, "method": None} for phone, status in numbers.items()]
        return {"accountId": account_id, "limit": 5, "senderIds": rows, "limitationDocuments": []}

    def _ok(self, document: object, kind: ResponseKind = ResponseKind.ACCEPTED) -> WireResponse:
        return WireResponse(200, self._headers(), msgspec.json.encode(document), kind)

    def _error_response(self, status: int, code: str, message: str) -> WireResponse:
        body = msgspec.json.encode({"errorCode": code, "errorMessage": message})
        second = code in {"DuplicatedSignature", "RequestTimeTooSkewed"}
        return WireResponse(status, self._headers(), body, ResponseKind.RETRYABLE if second else ResponseKind.REFUSED)

    def _server_error(self) -> WireResponse:
        status = self._chance.choice([408, 500, 502, 503, 504])
        bodies = [b"", b"<html>bad gateway</html>", b'{"oops": 1}']
        return WireResponse(status, self._headers(), self._chance.choice(bodies), ResponseKind.AMBIGUOUS)

    def _garbage(self) -> WireResponse:
        bodies = [b"<html>login</html>", b"", b"[1, 2", b'{"errorCode": "Odd", "errorMessage": "x"}', b'"text"']
        return WireResponse(200, self._headers(), self._chance.choice(bodies), ResponseKind.AMBIGUOUS)

    def _headers(self) -> dict[str, str]:
        return {"Date": self._date()}

    def _date(self, after: float = 0.0) -> str:
        """Return the server's time, or the time some seconds after it, as a header has it."""
        return formatdate(int(self._wall()) + after, usegmt=True)


_STRANGERS: Final[list[object]] = [
    [],
    "maintenance",
    {"status": "ok"},
    {"senderIds": []},
    {"senderIds": None, "accountId": ACCOUNT_ID},
    {"accountId": ACCOUNT_ID},
    {"data": {"accountId": ACCOUNT_ID, "senderIds": []}},
    {"message": "login", "limit": 5},
]
"""Responses with status 200 that are JSON but not an account document."""

_DATES: Final = {"a date to come": 2.0, "a date long gone": -3600.0, "a date far off": 86400.0}
_RETRY_AFTER: Final[list[tuple[str | None, float]]] = [
    (None, 0.0),
    ("1", 1.0),
    ("3", 3.0),
    ("0", 0.0),
    ("-5", 0.0),
    ("86400", 86400.0),
    ("soon", 0.0),
    ("1.5", 0.0),
    *_DATES.items(),
]
"""Values of Retry-After, each with the seconds that a client must wait."""
