"""Server of the simulated API. It makes the checks of the real API in the same order, and injects faults."""

import asyncio
import gzip
import re
import time
from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from email.utils import formatdate
from types import TracebackType
from typing import Any, Final, Self

import msgspec
from aiohttp import web

from worker.model.accounts import PHONE_PATTERN, Status
from worker.sandbox.faults import Fault, Faults
from worker.sandbox.messages import InvalidQuery
from worker.sandbox.responses import Disconnect, SimulatedResponse, apply_fault
from worker.sandbox.state import SandboxAccount
from worker.solapi.signing import signature

__all__ = ["Request", "Sandbox"]

_SKEW: Final = 900.0
"""Maximum time in seconds by which the date of a signature may differ. Used signatures are remembered for as long."""
_SALT: Final = range(12, 65)
_NUMBERS: Final = "/senderid/v1/numbers"
_GZIP_FROM: Final = 1024
"""Minimum size in bytes of a body that is compressed, if the client accepts gzip."""

_PAIR: Final = re.compile(r"\s*(\w+)\s*=\s*([^,]+?)\s*(?:,|$)")


class Request(msgspec.Struct, kw_only=True):
    """The record of one request and its response.

    `when` is its arrival in monotonic seconds, and `desired` the status that it writes. `status` is the HTTP status of
    the response. `is_applied` is True if the write took effect.
    """

    when: float
    method: str
    path: str
    query: dict[str, str] = {}
    phone: str | None = None
    desired: str | None = None
    api_key: str | None = None
    signature: str | None = None
    status: int | None = None
    fault: Fault | None = None
    is_applied: bool = False


class _Rejection(Exception):
    def __init__(self, status: int, code: str, message: str, **headers: str) -> None:
        super().__init__(code)
        text = "message" if status == 429 else "errorMessage"  # noqa: PLR2004
        self.response = SimulatedResponse(status, b"")
        self.response.replace(status, {"errorCode": code, text: message}, **headers)


class Sandbox:
    """Server of simulated accounts on 127.0.0.1, and an async context manager.

    `wire` contains a record of every request. `rate_limit` is the number of writes and reads that each API key may send
    in a sliding window of `window_seconds`; None means no limit. `clock` returns the Unix time in seconds, and
    `monotonic` the monotonic time in seconds, which the window uses.
    """

    def __init__(
        self,
        accounts: Sequence[SandboxAccount],
        *,
        faults: str = "calm",
        seed: int = 0,
        rate_limit: tuple[int, int] | None = (100, 20),
        window_seconds: float = 5.0,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        ssl_context: Any = None,
    ) -> None:
        self.accounts = {account.api_key: account for account in accounts}
        self.wire: list[Request] = []
        self.url = ""
        self._faults = Faults(faults, seed)
        self._limits = None if rate_limit is None else {"PUT": rate_limit[0], "GET": rate_limit[1]}
        self._window = window_seconds
        self._clock = clock
        self._monotonic = monotonic
        self._ssl = ssl_context
        self._signatures: dict[str, float] = {}
        self._arrivals: dict[tuple[str, str], deque[float]] = defaultdict(deque)
        self._runner: web.ServerRunner | None = None

    def script(self, phone: str | None, method: str, faults: Sequence[Fault | None]) -> None:
        """Append the faults of the next requests with this number and method. They precede faults of the profile.

        `phone` None means any number. A fault None means a request without a fault.
        """
        self._faults.script(method, phone, list(faults))

    async def start(self, port: int = 0) -> str:
        """Listen on `port` (0 selects a free one), and return the URL.

        Raises:
            OSError: the port cannot be used.
        """
        self._runner = web.ServerRunner(web.Server(self._handle), shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", port, ssl_context=self._ssl, backlog=1024)
        await site.start()
        scheme = "http" if self._ssl is None else "https"
        self.url = f"{scheme}://127.0.0.1:{self._runner.addresses[0][1]}"
        return self.url

    async def stop(self) -> None:
        """Close the port and all connections."""
        if self._runner is not None:
            await self._runner.cleanup()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.stop()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        path = request.path
        phone = path.removeprefix(f"{_NUMBERS}/") if path.startswith(f"{_NUMBERS}/") else None
        query = dict(request.query)
        record = Request(when=self._monotonic(), method=request.method, path=path, query=query, phone=phone)
        self.wire.append(record)
        headers: dict[str, str] = {}
        try:
            account = self._authenticate(request, record)
            headers |= self._admit(account, record)
            body = await request.read()
            record.desired = _desired_status(body)
            record.fault = self._faults.next(request.method, phone)
            response = self._respond(account, record)
        except _Rejection as rejection:
            response = rejection.response
        response.headers.update(headers)
        record.status = response.status
        return await self._send(request, response)

    def _authenticate(self, request: web.BaseRequest, record: Request) -> SandboxAccount:
        text = request.headers.get("Authorization") or request.headers.get("Authentication")
        if text is None:
            raise _Rejection(401, "Unauthorized", "인증 정보가 없습니다.")
        scheme, _, rest = text.strip().partition(" ")
        pairs = {name.lower(): value for name, value in _PAIR.findall(rest)}
        has_all_fields = {"apikey", "date", "salt", "signature"} <= pairs.keys()
        if scheme.lower() != "hmac-sha256" or not has_all_fields or not text.isascii():
            raise _Rejection(400, "ValidationError", "apiKey, date, salt, signature가 필요합니다.")
        record.api_key, record.signature = pairs["apikey"], pairs["signature"].lower()
        account = self.accounts.get(pairs["apikey"])
        if account is None:
            raise _Rejection(400, "InvalidApiKey", "유효하지 않은 API Key입니다.")
        if len(pairs["salt"]) not in _SALT:
            raise _Rejection(400, "ValidationError", "salt는 12~64바이트여야 합니다.")
        if record.signature != signature(account.api_secret, pairs["date"], pairs["salt"]):
            raise _Rejection(403, "SignatureDoesNotMatch", "생성한 Signature와 일치하지 않습니다.")
        now = self._clock()
        try:
            moment = datetime.fromisoformat(pairs["date"])
        except ValueError:
            raise _Rejection(400, "ValidationError", "date는 ISO 8601 형식이어야 합니다.") from None
        if moment.tzinfo is None or abs(moment.timestamp() - now) > _SKEW:
            raise _Rejection(403, "RequestTimeTooSkewed", "요청 시간이 서버 시간과 15분 이상 차이납니다.")
        if now - self._signatures.get(record.signature, -_SKEW) < _SKEW:
            raise _Rejection(403, "DuplicatedSignature", "이미 사용된 Signature입니다.")
        self._signatures[record.signature] = now
        return account

    def _admit(self, account: SandboxAccount, record: Request) -> dict[str, str]:
        """Count a request, and return the headers that report the quota. Reject it if the window is full."""
        if self._limits is None or record.method not in self._limits:
            return {}
        limit = self._limits[record.method]
        arrivals = self._arrivals[account.api_key, record.method]
        while arrivals and arrivals[0] <= record.when - self._window:
            arrivals.popleft()
        if len(arrivals) >= limit:
            wait = int(arrivals[0] + self._window - record.when) + 1
            raise _Rejection(429, "TooManyRequests", "요청 한도를 초과했습니다.", Retry_After=str(wait))
        arrivals.append(record.when)
        return {
            "x-ratelimit-limit": str(limit),
            "x-ratelimit-remaining": str(limit - len(arrivals)),
            "x-ratelimit-reset": f"{arrivals[0] + self._window - record.when:.3f}",
        }

    def _respond(self, account: SandboxAccount, record: Request) -> SimulatedResponse:
        """Return the response to a request, changed by the fault of the request."""
        number = account.numbers.get(record.phone or "")
        if record.fault is Fault.EDITED_BEFORE and number is not None:
            account.switch(number.phone, Status.BLOCKED)
        stale_document = account.document() if record.fault is Fault.STALE_ROWS else b""
        status_before = "" if number is None else number.status
        takes_effect = record.fault is None or record.fault.takes_effect
        try:
            response = self._respond_correctly(account, record) if takes_effect else SimulatedResponse(500, b"")
        except _Rejection as rejection:
            response = rejection.response
        if record.fault is Fault.EDITED_AFTER and number is not None:
            account.switch(number.phone, status_before)
        if record.fault is not None:
            now = datetime.fromtimestamp(self._clock(), UTC)
            apply_fault(
                record.fault,
                response,
                account=account,
                phone=record.phone,
                stale=stale_document,
                is_account_read=record.method == "GET" and record.path == _NUMBERS and response.status == 200,  # noqa: PLR2004
                now=now,
            )
        return response

    def _respond_correctly(self, account: SandboxAccount, record: Request) -> SimulatedResponse:
        if record.method == "GET" and record.path == _NUMBERS:
            return SimulatedResponse(200, account.document())
        if record.method == "GET" and record.path == f"{_NUMBERS}/active":
            active = [phone for phone, status in account.statuses.items() if status == Status.ACTIVE]
            return SimulatedResponse(200, msgspec.json.encode(active))
        if record.method == "GET" and record.path.startswith("/messages/v4/"):
            return self._list_messages(account, record)
        if record.method == "GET" and record.path == "/cash/v1/balance":
            return SimulatedResponse(200, b'{"balance":1000,"point":0}')
        if record.method == "PUT" and record.phone is not None:
            return self._write(account, record, record.phone)
        raise _Rejection(404, "ResourceNotFound", "요청한 리소스를 찾을 수 없습니다.")

    def _list_messages(self, account: SandboxAccount, record: Request) -> SimulatedResponse:
        if not account.mailbox.can_read_messages:
            raise _Rejection(403, "Forbidden", "message:read 권한이 없습니다.")
        try:
            body = account.mailbox.respond(record.path, record.query)
        except InvalidQuery as error:
            raise _Rejection(400, "ValidationError", str(error)) from None
        if body is None:
            raise _Rejection(404, "ResourceNotFound", "요청한 리소스를 찾을 수 없습니다.")
        return SimulatedResponse(200, body)

    def _write(self, account: SandboxAccount, record: Request, phone: str) -> SimulatedResponse:
        if record.desired not in {Status.ACTIVE, Status.INACTIVE} or not re.fullmatch(PHONE_PATTERN, phone, re.ASCII):
            raise _Rejection(400, "ValidationError", '"status" must be one of [ACTIVE, INACTIVE]')
        number = account.numbers.get(phone)
        if number is None:
            raise _Rejection(400, "InvalidSenderId", "등록된 발신번호 정보를 찾을 수 없습니다.")
        if number.status not in {Status.ACTIVE, Status.INACTIVE}:
            raise _Rejection(409, "FailedToUpdate", "등록된 발신번호의 상태가 'ACTIVE', 'INACTIVE'가 아닙니다.")
        account.switch(phone, str(record.desired), datetime.fromtimestamp(self._clock(), UTC))
        record.is_applied = True
        return SimulatedResponse(200, account.document())

    async def _send(self, request: web.BaseRequest, response: SimulatedResponse) -> web.StreamResponse:
        """Send a response with its delays, and close the connection where the response requires it."""
        if response.delay:
            await asyncio.sleep(response.delay)
        transport = request.transport
        if transport is None:  # the client has disconnected
            return web.Response()
        if response.cut is Disconnect.AT_ONCE:
            transport.abort()
            return web.Response()
        stream = web.StreamResponse(status=response.status)
        stream.headers["Content-Type"] = "text/html" if response.body[:1] == b"<" else "application/json"
        stream.headers["Date"] = formatdate(self._clock(), usegmt=True)
        stream.headers.update(response.headers)
        body = response.body
        accepts_gzip = "gzip" in request.headers.get("Accept-Encoding", "")
        if accepts_gzip and "Content-Encoding" not in response.headers and len(body) > _GZIP_FROM:
            stream.headers["Content-Encoding"] = "gzip"
            body = gzip.compress(body, 1)
        stream.headers["Content-Length"] = str(len(body) * response.repeat)
        if response.cut is Disconnect.HALFWAY:
            body = body[: len(body) // 2]
        with suppress(ConnectionError):
            await stream.prepare(request)
            for piece in response.pieces(body):
                await stream.write(piece)
                if response.pause:
                    await asyncio.sleep(response.pause)
            if response.cut is None:
                await stream.write_eof()
        if response.cut is Disconnect.HALFWAY:
            transport.close()
        return stream


def _desired_status(body: bytes) -> str | None:
    try:
        decoded = msgspec.json.decode(body) if body else None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    status = decoded.get("status") if isinstance(decoded, dict) else None
    return status if isinstance(status, str) else None
