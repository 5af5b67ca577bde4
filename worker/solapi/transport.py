"""The HTTP transport. Each call sends exactly one request.

The transport follows no redirects, uses no proxy of the environment, always verifies certificates, and limits the
size of responses. It never resends a request whose connection broke.
"""

import asyncio
import os
import ssl
import time
import zlib
from collections.abc import Callable, Coroutine, Iterator, Mapping
from http import HTTPStatus
from pathlib import Path
from types import TracebackType
from typing import Final, NamedTuple, Self, TypedDict

import aiohttp
from aiohttp import ClientHandlerType, ClientRequest, ClientResponse
from msgspec import Struct
from yarl import URL

from worker import __version__
from worker.config.settings import Timeout
from worker.config.urls import is_loopback, matches_host
from worker.model.credentials import Secret
from worker.model.errors import AccountRejected, Ambiguous, ApiError, ConnectionFailed, ServerError
from worker.model.messages import Message, system_text
from worker.model.ports import RequestObserver

__all__ = ["Response", "Route", "Transport", "missing_authority", "transport_error"]

_HEADERS: Final = {
    "User-Agent": f"senderid-worker/{__version__}",
    "Accept": "application/json",
    "Accept-Encoding": "gzip",
    "Content-Type": "application/json",
}
"""The headers of every request, besides its credentials header."""

_MIB: Final = 1 << 20
_RAW_CAP: Final = 64 * _MIB
"""Maximum size of a response before decompression, in bytes. An account of a million numbers needs about half of it."""
_INFLATED_CAP: Final = 2048 * _MIB
"""Maximum size of a decompressed response, in bytes. An account of a million numbers needs about a quarter of it."""
_PIECE: Final = _MIB
"""Maximum count of decompressed bytes per step."""
_SLICE: Final = 16 << 10
"""Maximum count of compressed bytes per step. zlib copies the input after each gzip member, which may have 20 bytes."""

_READ_BUFFER: Final = _MIB
"""Half of the maximum count of bytes of a body in the read buffer. Twice this holds a response of 60,000 numbers."""
_MOMENT: Final = 0.02
"""Time in seconds within which most bodies arrive completely."""
_BEGINNING: Final = 16 << 10
"""Count of bytes to keep of a body that is not streamed: enough for an error or a write to a small account."""
_PEEK: Final = 256
"""Count of bytes of a longer body that suffice to distinguish JSON from other content, even if compressed."""


class _ProxyOptions(TypedDict, total=False):
    proxy: str
    proxy_headers: dict[str, str]


class Response(NamedTuple):
    """A response. `raw` is the start of the body before decompression; `complete` is True if it is the whole body.

    `raw` is empty if the body was streamed to the `sink` of `Transport.exchange`.
    """

    status: int
    headers: Mapping[str, str]
    raw: bytes = b""
    complete: bool = True

    def content(self) -> bytes:
        """Return `raw` decompressed; only the start of it if the body is incomplete.

        Raises:
            ServerError: `raw` cannot be decompressed.
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
    """A decoder of a response body, which passes the decompressed pieces to `sink`."""

    def __init__(self, status: int, headers: Mapping[str, str], sink: Callable[[bytes], object]) -> None:
        codings = list(_codings(headers))
        if codings not in ([], ["gzip"]):
            raise ServerError(Message("the response has an unsupported compression"), http_status=status)
        self._inflater = _gunzip() if codings else None
        self._status = status
        self._sink = sink
        self._compressed_bytes = self._decoded_bytes = 0

    def feed(self, data: bytes) -> None:
        """Decode a piece of the body.

        Raises:
            ServerError: the data cannot be decompressed.
            AccountRejected: the body is larger than the limit, 64 MiB compressed or 2 GiB decompressed.
        """
        self._compressed_bytes += len(data)
        if self._inflater is None:
            self._emit(data)
            return
        self._check_size(self._compressed_bytes, _RAW_CAP)
        for start in range(0, len(data), _SLICE):
            self._inflate(self._inflater, data[start : start + _SLICE])

    def finish(self) -> None:
        """Check that the body has ended.

        Raises:
            ServerError: the compressed body is incomplete.
        """
        if self._inflater is not None and self._compressed_bytes and not self._inflater.eof:
            raise ServerError(Message("the response is truncated"), http_status=self._status)

    def _inflate(self, inflater: "zlib._Decompress", data: bytes) -> None:
        """Decompress gzip members (RFC 1952) in sequence. As in gzip(1), zero bytes may follow a member."""
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
        self._sink(data)

    def _check_size(self, size: int, cap: int) -> None:
        if size > cap:
            raise AccountRejected(
                Message("the response is larger than {cap} MiB", cap=cap // _MIB), http_status=self._status
            )


def _codings(headers: Mapping[str, str]) -> Iterator[str]:
    """Yield the content codings of a response (RFC 9110) from all its header lines."""
    for name, value in headers.items():
        if name.lower() == "content-encoding":
            names = (coding.strip().lower() for coding in value.split(","))
            yield from ("gzip" if coding == "x-gzip" else coding for coding in names if coding not in {"", "identity"})


def _gunzip() -> "zlib._Decompress":
    return zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)


class _ConnectionDropped(Exception):
    """The connection broke during a request. This is not an aiohttp error, because aiohttp would resend the request."""


async def _no_hidden_resend(request: ClientRequest, handler: ClientHandlerType) -> ClientResponse:
    try:
        return await handler(request)
    except aiohttp.ClientConnectorError:
        raise
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError, ConnectionError):
        raise _ConnectionDropped from None


class Route(Struct, frozen=True):
    """The way to the API: an HTTP proxy, if any, and the authorities that sign certificates; None for the system's.

    `credentials` are the value of the header `Proxy-Authorization`. `no_proxy` are the hosts that are reached directly,
    as `matches_host` takes them. This machine is always one.
    """

    proxy: str | None = None
    credentials: Secret | None = None
    no_proxy: tuple[str, ...] = ()
    tls: ssl.SSLContext | None = None

    def proxy_for(self, host: str) -> str | None:
        """Return the URL of the proxy for a host; None if the host is reached directly."""
        if self.proxy is None or is_loopback(host) or any(matches_host(pattern, host) for pattern in self.no_proxy):
            return None
        return self.proxy


_DIRECT: Final = Route()


class Transport:
    """The connection pool for all accounts of a process, as an async context manager.

    `watcher` receives the duration and status of each request.
    """

    def __init__(self, timeout: Timeout, watcher: RequestObserver | None = None, route: Route = _DIRECT) -> None:
        self.timeout = timeout
        self.watcher = watcher
        self.route = route
        self._proxies: dict[str, str | None] = {}
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ttl_dns_cache=60, ssl=self.route.tls or True),
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
        sink: Callable[[bytes], None] | None = None,
    ) -> Coroutine[None, None, Response]:
        """Send one request once. Read the whole response, so that the connection can be reused.

        `sink` receives the body of a response with status 200, decompressed and in pieces. Of any other response, the
        result has the start of the body.

        Raises:
            ApiError: an error of `transport_error` or of `sink`; ServerError if the body cannot be decompressed;
                AccountRejected if it is too long.
        """
        exchange = self._exchange(method, url, headers, body, sink)
        return exchange if self.watcher is None else _watched(exchange, method, self.watcher)

    async def _exchange(
        self,
        method: str,
        url: URL,
        headers: Mapping[str, str],
        body: bytes | None,
        sink: Callable[[bytes], None] | None,
    ) -> Response:
        session = self._open_session()
        deadline = asyncio.get_running_loop().time() + self.timeout.total_seconds
        try:
            async with session.request(
                method, url, headers=headers, data=body, allow_redirects=False, **self._proxy_options(url.host or "")
            ) as response:
                try:
                    if sink is None or response.status != HTTPStatus.OK:
                        return await _read_beginning(response, deadline)
                    document = _BodyDecoder(response.status, response.headers, sink)
                    async for chunk in response.content.iter_any():
                        document.feed(chunk)
                    document.finish()
                    return Response(response.status, response.headers)
                except ApiError:
                    response.close()
                    raise
        except (aiohttp.ClientError, OSError, _ConnectionDropped) as error:
            failure = transport_error(error, is_write=method == "PUT")
        # outside the handler, the error has no context: the text of aiohttp's error has the credentials header
        raise failure

    def _proxy_options(self, host: str) -> _ProxyOptions:
        """Return the options of a request to a host that concern a proxy."""
        if self.route.proxy is None:
            return {}
        if host not in self._proxies:
            self._proxies[host] = self.route.proxy_for(host)
        proxy = self._proxies[host]
        if proxy is None:
            return {}
        if self.route.credentials is None:
            return {"proxy": proxy}
        return {"proxy": proxy, "proxy_headers": {"Proxy-Authorization": self.route.credentials.reveal()}}


async def _watched(exchange: Coroutine[None, None, Response], method: str, watcher: RequestObserver) -> Response:
    clock = time.perf_counter  # the loop's own is as fine as a millisecond
    start = clock()
    try:
        response = await exchange
    except ApiError as error:
        watcher.record_request(method, clock() - start, error.http_status)
        raise
    watcher.record_request(method, clock() - start, response.status)
    return response


async def _read_beginning(response: ClientResponse, deadline: float) -> Response:
    """Return the response with the first 16 KiB of its body. Read and drop the rest."""
    content, beginning, dropped_bytes = response.content, b"", 0
    while not (content.is_eof() or await _completes_soon(content, deadline)):
        # the body is slow, or longer than the buffer: make room
        piece = content.read_nowait()
        head = piece[: _BEGINNING - len(beginning)]
        beginning += head
        dropped_bytes += len(piece) - len(head)
        if dropped_bytes > _RAW_CAP:
            raise AccountRejected(
                Message("the response is larger than {raw_cap} MiB", raw_cap=_RAW_CAP // _MIB),
                http_status=response.status,
            )
    beginning += content.read_nowait(_BEGINNING - len(beginning))
    return Response(response.status, response.headers, beginning, complete=content.at_eof() and not dropped_bytes)


async def _completes_soon(content: aiohttp.StreamReader, deadline: float) -> bool:
    """Return True if a body ends within 20 ms. Waiting for the end costs less than waking up for each piece."""
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
    """Return the path in SSL_CERT_FILE if that file does not exist, else None.

    OpenSSL then trusts no certificate authority, and reports no error.
    """
    path = os.environ.get("SSL_CERT_FILE")
    return path if path and not Path(path).is_file() else None


def transport_error(error: BaseException, *, is_write: bool) -> ApiError:
    """Return the error for a failure below HTTP. Its message never contains a header.

    If the connection failed, nothing was sent. If it broke later, a write may have taken effect.
    """
    error_type = Ambiguous if is_write else ConnectionFailed
    match error:
        case aiohttp.ClientConnectorCertificateError():
            reason = getattr(error.certificate_error, "verify_message", "") or Message("no reason given")
            path = missing_authority()
            advice = (
                Message("set network.ca_file or SSL_CERT_FILE to add a certificate authority of your own")
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
        case aiohttp.ClientConnectorError() | aiohttp.ClientHttpProxyError():
            return _connection_failure(error)
        case TimeoutError():
            return error_type(Message("the request timed out"), timed_out=True)
        case aiohttp.ClientPayloadError():
            return error_type(Message("the response ended early"))
        case aiohttp.ClientResponseError():
            return error_type(Message("the response is not HTTP"))
        case _:
            return error_type(Message("the connection broke"))


def _connection_failure(error: aiohttp.ClientConnectorError | aiohttp.ClientHttpProxyError) -> ApiError:
    """Return the error for a connection that the network or a proxy did not open. Nothing was sent to the API."""
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return _proxy_refusal(error.status)
    cause = error.os_error
    text = os.strerror(cause.errno) if cause.errno and cause.errno > 0 else cause.strerror
    reason = system_text(text) if text else Message("unknown host, or connection refused")
    host, port = error.host, error.port or 0
    return ConnectionFailed(
        Message("cannot connect to the proxy {host}:{port} ({reason})", host=host, port=port, reason=reason)
        if isinstance(error, aiohttp.ClientProxyConnectionError)
        else Message("cannot connect to {host}:{port} ({reason})", host=host, port=port, reason=reason)
    )


def _proxy_refusal(status: int) -> ApiError:
    if status == HTTPStatus.PROXY_AUTHENTICATION_REQUIRED:
        return AccountRejected(
            Message("the proxy requires a user and a password: check network.proxy_credentials"), http_status=status
        )
    message = Message("the proxy does not connect to the endpoint (HTTP {status})", status=status)
    if HTTPStatus.BAD_REQUEST <= status < HTTPStatus.INTERNAL_SERVER_ERROR:
        return AccountRejected(message, http_status=status)
    return ConnectionFailed(message)
