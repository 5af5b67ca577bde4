"""HTTP transport: each call sends exactly one request.

It follows no redirects, ignores proxies of the environment, always verifies certificates, limits the size of bodies
and never resends a request whose connection broke.
"""

import asyncio
import os
import time
import zlib
from collections.abc import Callable, Coroutine, Iterator, Mapping
from http import HTTPStatus
from pathlib import Path
from types import TracebackType
from typing import Final, NamedTuple, Self

import aiohttp
from aiohttp import ClientHandlerType, ClientRequest, ClientResponse
from yarl import URL

from worker import __version__
from worker.config.settings import Timeout
from worker.model.errors import AccountRejected, Ambiguous, ApiError, ConnectionFailed, ServerError
from worker.model.messages import Message, system_text
from worker.model.ports import RequestObserver

__all__ = ["Response", "Transport", "missing_authority", "transport_error"]

_HEADERS: Final = {
    "User-Agent": f"senderid-worker/{__version__}",
    "Accept": "application/json",
    "Accept-Encoding": "gzip",
    "Content-Type": "application/json",
}
"""Headers of every request, besides its credentials."""

_MIB: Final = 1 << 20
_RAW_CAP: Final = 64 * _MIB
"""Most compressed bytes of one response. An account of a million numbers has about half of that."""
_INFLATED_CAP: Final = 2048 * _MIB
"""Most decompressed bytes of one response. An account of a million numbers has about a quarter of that."""
_PIECE: Final = _MIB
"""Bytes decompressed at once."""
_SLICE: Final = 16 << 10
"""Compressed bytes taken at once. zlib copies what follows each gzip member, and members can be 20 bytes short."""

_READ_BUFFER: Final = _MIB
"""Half of the bytes of a body that may wait in memory. Twice this is the response of 60,000 numbers."""
_MOMENT: Final = 0.02
"""Seconds within which most bodies arrive completely."""
_BEGINNING: Final = 16 << 10
"""Bytes kept of a response that is not read as a document: every error, and the response of a small account."""
_PEEK: Final = 256
"""Bytes of a longer body that distinguish JSON from other content, also while compressed."""


class Response(NamedTuple):
    """One response. `raw` is the start of the body as received; `complete` is True if it is the whole body."""

    status: int
    headers: Mapping[str, str]
    raw: bytes = b""
    complete: bool = True

    def content(self) -> bytes:
        """Return `raw` decompressed; only its start if the body is incomplete.

        Raises:
            ServerError: it cannot be decompressed.
        """
        if self.complete and not any(_codings(self.headers)):
            return self.raw
        pieces: list[bytes] = []
        body = _BodyDecoder(self.status, self.headers, pieces.append)
        if self.complete:
            body.feed(self.raw)
            body.finish()
        else:
            body.feed(self.raw[:_PEEK])
        return b"".join(pieces)


class _BodyDecoder:
    """Decoder of a response body: passes it to `into` piece by piece, decompressed."""

    def __init__(self, status: int, headers: Mapping[str, str], into: Callable[[bytes], object]) -> None:
        codings = list(_codings(headers))
        if codings not in ([], ["gzip"]):
            raise ServerError(Message("the response has an unsupported compression"), http_status=status)
        self._inflater = _gunzip() if codings else None
        self._status = status
        self._into = into
        self._compressed_bytes = self._decoded_bytes = 0

    def feed(self, data: bytes) -> None:
        """Decode a piece of the body.

        Raises:
            ServerError: they cannot be decompressed.
            AccountRejected: the body is longer than any account's document.
        """
        self._compressed_bytes += len(data)
        if self._inflater is None:
            self._emit(data)
            return
        self._check_size(self._compressed_bytes, _RAW_CAP)
        for start in range(0, len(data), _SLICE):
            self._inflate(self._inflater, data[start : start + _SLICE])

    def finish(self) -> None:
        """End the body.

        Raises:
            ServerError: the compressed body is incomplete.
        """
        if self._inflater is not None and self._compressed_bytes and not self._inflater.eof:
            raise ServerError(Message("the response is truncated"), http_status=self._status)

    def _inflate(self, inflater: "zlib._Decompress", data: bytes) -> None:
        """Decompress gzip members (RFC 1952) one after the other; as in gzip(1), zeros may follow one."""
        while data:
            if inflater.eof:
                data = data.lstrip(b"\0")
                if not data:
                    return
                self._inflater = inflater = _gunzip()
            try:
                self._emit(inflater.decompress(data, _PIECE))
            except zlib.error:
                raise ServerError(
                    Message("the response claims to be gzip but is not"), http_status=self._status
                ) from None
            data = inflater.unused_data if inflater.eof else inflater.unconsumed_tail

    def _emit(self, data: bytes) -> None:
        self._decoded_bytes += len(data)
        self._check_size(self._decoded_bytes, _INFLATED_CAP)
        self._into(data)

    def _check_size(self, size: int, cap: int) -> None:
        if size > cap:
            raise AccountRejected(
                Message("the response is longer than {cap} MiB", cap=cap // _MIB), http_status=self._status
            )


def _codings(headers: Mapping[str, str]) -> Iterator[str]:
    """Yield the content codings of a response (RFC 9110) from all its header lines."""
    for name, value in headers.items():
        if name.lower() == "content-encoding":
            names = (each.strip().lower() for each in value.split(","))
            yield from ("gzip" if each == "x-gzip" else each for each in names if each not in {"", "identity"})


def _gunzip() -> "zlib._Decompress":
    return zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)


class _ConnectionDropped(Exception):
    """A connection broke during a request. Not an aiohttp error, as aiohttp would resend the request."""


async def _no_hidden_resend(request: ClientRequest, handler: ClientHandlerType) -> ClientResponse:
    try:
        return await handler(request)
    except aiohttp.ClientConnectorError:
        raise
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError, ConnectionError):
        raise _ConnectionDropped from None


class Transport:
    """One connection pool for all accounts of a process. An async context manager.

    `watcher` receives the duration and status of each request.
    """

    def __init__(self, timeout: Timeout, watcher: RequestObserver | None = None) -> None:
        self.timeout = timeout
        self.watcher = watcher
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ttl_dns_cache=60),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(
                total=self.timeout.total_seconds, sock_connect=self.timeout.connect_seconds, ceil_threshold=1e9
            ),
            headers=_HEADERS,
            middlewares=(_no_hidden_resend,),
            auto_decompress=False,
            read_bufsize=_READ_BUFFER,
            trust_env=False,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._open_session().close()

    def _open_session(self) -> aiohttp.ClientSession:
        assert self._session is not None, "a transport is used inside its context"  # noqa: S101 - a bug of the worker
        return self._session

    def exchange(
        self,
        method: str,
        url: URL,
        headers: Mapping[str, str],
        body: bytes | None = None,
        *,
        into: Callable[[bytes], None] | None = None,
    ) -> Coroutine[None, None, Response]:
        """Send one request once. Read its response to the end, so that the connection can be reused.

        `into` gets the decompressed body of a 200 piece by piece. Of any other body, the response has the beginning.

        Raises:
            ApiError: see `transport_error`; also ServerError for a body that cannot be decompressed, AccountRejected
                for an endless one, and what `into` raises.
        """
        exchange = self._exchange(method, url, headers, body, into)
        return exchange if self.watcher is None else _watched(exchange, method, self.watcher)

    async def _exchange(
        self,
        method: str,
        url: URL,
        headers: Mapping[str, str],
        body: bytes | None,
        into: Callable[[bytes], None] | None,
    ) -> Response:
        session = self._open_session()
        deadline = asyncio.get_running_loop().time() + self.timeout.total_seconds
        try:
            async with session.request(method, url, headers=headers, data=body, allow_redirects=False) as response:
                try:
                    if into is None or response.status != HTTPStatus.OK:
                        return await _read_beginning(response, deadline)
                    document = _BodyDecoder(response.status, response.headers, into)
                    async for chunk in response.content.iter_any():
                        document.feed(chunk)
                    document.finish()
                    return Response(response.status, response.headers)
                except ApiError:
                    response.close()
                    raise
        except (aiohttp.ClientError, OSError, _ConnectionDropped) as error:
            failure = transport_error(error, write=method == "PUT")
        # raised out here, aiohttp's error, whose text has the header, is no part of it
        raise failure


async def _watched(exchange: Coroutine[None, None, Response], method: str, watcher: RequestObserver) -> Response:
    clock = time.perf_counter  # the loop's own is as fine as a millisecond
    began = clock()
    try:
        response = await exchange
    except ApiError as error:
        watcher.request(method, clock() - began, error.http_status)
        raise
    watcher.request(method, clock() - began, response.status)
    return response


async def _read_beginning(response: ClientResponse, deadline: float) -> Response:
    """Return the response with the beginning of its body. Read and drop the rest."""
    content, beginning, dropped = response.content, b"", 0
    while not (content.is_eof() or await _completes_soon(content, deadline)):
        # it is slow, or longer than the buffer: make room
        piece = content.read_nowait()
        head = piece[: _BEGINNING - len(beginning)]
        beginning += head
        dropped += len(piece) - len(head)
        if dropped > _RAW_CAP:
            raise AccountRejected(
                Message("the response is longer than {raw_cap} MiB", raw_cap=_RAW_CAP // _MIB),
                http_status=response.status,
            )
    beginning += content.read_nowait(_BEGINNING - len(beginning))
    return Response(response.status, response.headers, beginning, complete=content.at_eof() and not dropped)


async def _completes_soon(content: aiohttp.StreamReader, deadline: float) -> bool:
    """Return True if a body ends within a moment. Waking up for each of its pieces costs far more."""
    failure = content.exception()
    if failure is not None:
        raise failure
    moment = asyncio.get_running_loop().time() + _MOMENT
    try:
        async with asyncio.timeout_at(min(moment, deadline)):
            await content.wait_eof()
    except TimeoutError:
        if moment < deadline:
            return False
        raise
    return True


def missing_authority() -> str | None:
    """Return the path in SSL_CERT_FILE if that file is missing: OpenSSL then trusts no authority, without an error."""
    path = os.environ.get("SSL_CERT_FILE")
    return path if path and not Path(path).is_file() else None


def transport_error(error: BaseException, *, write: bool) -> ApiError:
    """Return the error for a failure below HTTP. Its text never holds a header.

    Without a connection, nothing was sent. After that, a write may have been carried out.
    """
    unanswered = Ambiguous if write else ConnectionFailed
    match error:
        case aiohttp.ClientConnectorCertificateError():
            reason = getattr(error.certificate_error, "verify_message", "") or Message("no reason given")
            path = missing_authority()
            advice = (
                Message("set SSL_CERT_FILE to add a certificate authority of your own")
                if path is None
                else Message("SSL_CERT_FILE is set to {path}, which does not exist", path=str(path))
            )
            return AccountRejected(
                Message(
                    "TLS: the endpoint's certificate cannot be verified ({reason}): check the endpoint and this "
                    "machine's clock; {advice}",
                    reason=reason,
                    advice=advice,
                )
            )
        case aiohttp.ClientSSLError() | aiohttp.ServerFingerprintMismatch():
            return AccountRejected(Message("TLS: no secure connection to the endpoint"))
        case aiohttp.InvalidURL() | aiohttp.NonHttpUrlClientError() | aiohttp.TooManyRedirects():
            return AccountRejected(Message("the endpoint's URL cannot be used"))
        case aiohttp.ConnectionTimeoutError():
            return ConnectionFailed(Message("the connection timed out"))
        case aiohttp.ClientConnectorError():
            cause = error.os_error
            text = os.strerror(cause.errno) if cause.errno and cause.errno > 0 else cause.strerror
            reason = system_text(text) if text else Message("unknown host, or connection refused")
            return ConnectionFailed(
                Message(
                    "no connection to {host}:{port} ({reason})", host=error.host, port=error.port or 0, reason=reason
                )
            )
        case TimeoutError():
            return unanswered(Message("the request timed out"), timed_out=True)
        case aiohttp.ClientPayloadError():
            return unanswered(Message("the response ended early"))
        case aiohttp.ClientResponseError():
            return unanswered(Message("the response is not HTTP"))
        case _:
            return unanswered(Message("the connection broke"))
