"""The only HTTP: one request, one answer, nothing hidden in between.

Redirects are not followed, proxies of the environment not used, certificates always verified, bodies read under a cap,
and a request whose connection broke is never sent again from here.
"""

import zlib
from collections.abc import Mapping
from types import TracebackType
from typing import Final, NamedTuple, Self

import aiohttp
from aiohttp import ClientHandlerType, ClientRequest, ClientResponse
from yarl import URL

from worker import __version__
from worker.errors import AccountRejected, Ambiguous, ApiError, ConnectionFailed, ServerError
from worker.settings import Timeout

__all__ = ["Answer", "Transport", "transport_error"]

_MIB: Final = 1 << 20
_RAW_CAP: Final = 64 * _MIB
"""Bytes of one answer as they travel. An account of a million numbers is about half of that, compressed."""
_INFLATED_CAP: Final = 256 * _MIB
"""Bytes of one answer after decompression; a few hundred bytes are a number, so this is over half a million."""

_PEEK: Final = 64
"""Bytes that tell JSON from something else."""


class Answer(NamedTuple):
    """One answer. `raw` is the beginning of the body as it travelled, and `complete` tells whether it is all of it."""

    status: int
    headers: Mapping[str, str]
    raw: bytes
    complete: bool

    def content(self) -> bytes:
        """`raw` decompressed; of an incomplete one just the beginning.

        Raises:
            ServerError: it cannot be decompressed.
            AccountRejected: it is longer than any account's document.
        """
        encoding = self.headers.get("Content-Encoding", "identity").lower()
        if encoding == "identity":
            return self.raw
        if encoding != "gzip":
            raise ServerError("the answer's compression was not asked for", http_status=self.status)
        inflater = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
        try:
            text = inflater.decompress(self.raw, _INFLATED_CAP + 1 if self.complete else _PEEK)
        except zlib.error:
            raise ServerError("the answer says gzip and is not", http_status=self.status) from None
        if len(text) > _INFLATED_CAP:
            raise AccountRejected(f"the answer is longer than {_INFLATED_CAP // _MIB} MiB", http_status=self.status)
        if self.complete and not inflater.eof:
            raise ServerError("the answer breaks off", http_status=self.status)
        return text


class _Dropped(Exception):
    """A connection broke under a request. No aiohttp error: aiohttp would send the request again by itself."""


async def _no_hidden_resend(request: ClientRequest, handler: ClientHandlerType) -> ClientResponse:
    try:
        return await handler(request)
    except aiohttp.ClientConnectorError:
        raise
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError, ConnectionError):
        raise _Dropped from None


class Transport:
    """One connection pool for all accounts of a process. An async context manager."""

    def __init__(self, timeout: Timeout) -> None:
        self.timeout = timeout
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ttl_dns_cache=60),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(
                total=self.timeout.total_seconds, sock_connect=self.timeout.connect_seconds, ceil_threshold=1e9
            ),
            headers={"User-Agent": f"senderid-worker/{__version__}", "Accept": "application/json"},
            middlewares=(_no_hidden_resend,),
            auto_decompress=False,
            read_bufsize=_MIB,
            trust_env=False,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def exchange(
        self, method: str, url: URL, headers: Mapping[str, str], body: bytes | None = None, *, keep: int | None = None
    ) -> Answer:
        """Send one request once and read its answer to the end, so that the connection can be used again.

        `keep` is how many bytes of the body are wanted; the rest is read and dropped. None wants all of it.

        Raises:
            ApiError: as of `transport_error`; AccountRejected for an endless answer.
        """
        assert self._session is not None, "a transport is used inside its context"  # noqa: S101 - a bug of ours
        wanted = _RAW_CAP if keep is None else keep
        try:
            async with self._session.request(
                method, url, headers=headers, data=body, allow_redirects=False
            ) as response:
                kept: list[bytes] = []
                size = 0
                async for chunk in response.content.iter_any():
                    if size < wanted:
                        kept.append(chunk[: wanted - size])
                    size += len(chunk)
                    if size > _RAW_CAP:
                        response.close()
                        raise AccountRejected(
                            f"the answer is longer than {_RAW_CAP // _MIB} MiB", http_status=response.status
                        )
                raw = b"".join(kept)
                return Answer(response.status, response.headers, raw, complete=len(raw) == size)
        except (aiohttp.ClientError, OSError, _Dropped) as error:
            raise transport_error(error, write=method == "PUT") from None


def transport_error(error: BaseException, *, write: bool) -> ApiError:
    """The one error that a failure below HTTP stands for. Its text never holds a header.

    Nothing was sent where no connection stood; after that, a write may have been carried out.
    """
    lost = Ambiguous if write else ConnectionFailed
    match error:
        case aiohttp.ClientConnectorCertificateError():
            reason = getattr(error.certificate_error, "verify_message", "") or "no reason given"
            return AccountRejected(f"TLS: the endpoint's certificate cannot be verified ({reason})")
        case aiohttp.ClientSSLError() | aiohttp.ServerFingerprintMismatch():
            return AccountRejected("TLS: no secure connection to the endpoint")
        case aiohttp.InvalidURL() | aiohttp.NonHttpUrlClientError() | aiohttp.TooManyRedirects():
            return AccountRejected("the endpoint's URL cannot be used")
        case aiohttp.ConnectionTimeoutError():
            return ConnectionFailed("no connection within the time allowed")
        case aiohttp.ClientConnectorError():
            reason = error.os_error.strerror or "the host is unknown or refuses"
            return ConnectionFailed(f"no connection to {error.host}:{error.port} ({reason})")
        case TimeoutError():
            return lost("no answer within the time allowed", timed_out=True)
        case aiohttp.ClientPayloadError():
            return lost("the answer broke off")
        case aiohttp.ClientResponseError():
            return lost("the answer is not HTTP")
        case _:
            return lost("the connection broke")
