"""Failures below HTTP: every exception of aiohttp becomes one error, whose text contains no header."""

import asyncio
import ssl
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest
from aiohttp import client_exceptions
from aiohttp.client_reqrep import ConnectionKey
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from tests.support.loopback import Loopback, Peer, http_response, now, run
from worker.config.settings import Retry, Timeout
from worker.model.errors import AccountRejected, Ambiguous, ApiError, ConnectionFailed, ServerError
from worker.sandbox import Fault, SandboxAccount
from worker.solapi.transport import Transport, missing_authority, transport_error

_CANARY = "signature=0123456789abcdef"

_NOT_SENT = (aiohttp.ClientConnectorError, aiohttp.ClientHttpProxyError, aiohttp.ConnectionTimeoutError)
_HOPELESS = (
    aiohttp.ClientSSLError,
    aiohttp.ServerFingerprintMismatch,
    aiohttp.InvalidURL,
    aiohttp.NonHttpUrlClientError,
    aiohttp.TooManyRedirects,
)


def _exceptions() -> Iterator[type[BaseException]]:
    for name in client_exceptions.__all__:
        kind = getattr(client_exceptions, name)
        if isinstance(kind, type) and issubclass(kind, aiohttp.ClientError):
            yield kind


def _exception(kind: type[BaseException]) -> BaseException:
    key = ConnectionKey("api.example", 443, True, True, None, None, None, None)  # noqa: FBT003 - aiohttp's own tuple
    info = aiohttp.RequestInfo(
        URL("https://api.example/"), "PUT", CIMultiDictProxy(CIMultiDict({"Authorization": _CANARY})), URL("https://x/")
    )
    arguments: list[tuple[Any, ...]] = []
    if issubclass(kind, aiohttp.ClientConnectorCertificateError):
        arguments.append((key, ssl.SSLCertVerificationError("self-signed")))
    if issubclass(kind, client_exceptions.UnixClientConnectorError):
        arguments.append(("/socket", key, OSError(2, "no")))
    if issubclass(kind, aiohttp.ServerFingerprintMismatch):
        arguments.append((b"a", b"b", "api.example", 443))
    arguments += [(key, OSError(111, "refused")), (info, ()), (URL("https://x/"),), ()]
    for argument in arguments:
        try:
            return kind(*argument)
        except TypeError:
            continue
    raise AssertionError(f"no way known to make {kind}")


@pytest.mark.parametrize("kind", [*_exceptions(), TimeoutError, OSError, ConnectionResetError])
def test_every_aiohttp_exception_is_one_error(kind: type[BaseException]) -> None:
    """No exception of aiohttp passes through.

    If nothing was sent the error is transient; otherwise a write is ambiguous.
    """
    for write in (False, True):
        error = transport_error(_exception(kind), is_write=write)
        expected: type[ApiError] = Ambiguous if write else ConnectionFailed
        if issubclass(kind, _HOPELESS):
            expected = AccountRejected
        elif issubclass(kind, _NOT_SENT):
            expected = ConnectionFailed
        assert type(error) is expected
        assert _CANARY not in str(error)
        assert "Authorization" not in repr(error)


def test_only_a_timed_out_request_may_still_arrive() -> None:
    """The error says so, and the slot is held longer."""
    assert transport_error(TimeoutError(), is_write=True).timed_out
    assert not transport_error(ConnectionResetError(), is_write=True).timed_out


_KEY = ConnectionKey("api.example", 443, True, True, None, None, None, None)  # noqa: FBT003 - aiohttp's own tuple
_SELF_SIGNED = ssl.SSLCertVerificationError("self-signed")
_SELF_SIGNED.verify_message = "self-signed certificate"
_CHECK = "check the endpoint and this machine's clock"
_ADD = "set network.ca_file or SSL_CERT_FILE to add a certificate authority of your own"


@pytest.mark.parametrize(
    ("failure", "message"),
    [
        (
            aiohttp.ClientConnectorCertificateError(_KEY, _SELF_SIGNED),
            f"TLS: the endpoint's certificate cannot be verified (self-signed certificate): {_CHECK}; {_ADD}",
        ),
        (
            aiohttp.ClientConnectorCertificateError(_KEY, ssl.CertificateError()),
            f"TLS: the endpoint's certificate cannot be verified (no reason given): {_CHECK}; {_ADD}",
        ),
        (aiohttp.ServerFingerprintMismatch(b"a", b"b", "x", 443), "TLS: no secure connection to the endpoint"),
        (aiohttp.InvalidUrlClientError("x"), "the endpoint's URL cannot be used"),
        (aiohttp.ConnectionTimeoutError(), "the connection timed out"),
        (
            aiohttp.ClientConnectorError(_KEY, OSError(111, "another text")),
            "cannot connect to api.example:443 (Connection refused)",
        ),
        (
            aiohttp.ClientConnectorDNSError(_KEY, OSError(-2, "Name or service not known")),
            "cannot connect to api.example:443 (Name or service not known)",
        ),
        (
            aiohttp.ClientConnectorError(_KEY, OSError()),
            "cannot connect to api.example:443 (unknown host, or connection refused)",
        ),
        (TimeoutError(), "the request timed out"),
        (aiohttp.ClientPayloadError(), "the response ended early"),
        (_exception(aiohttp.ClientResponseError), "the response is not HTTP"),
        (ConnectionResetError(), "the connection broke"),
    ],
)
def test_each_failure_has_its_message(failure: BaseException, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    assert str(transport_error(failure, is_write=False)) == message


def test_missing_ssl_cert_file_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failure = aiohttp.ClientConnectorCertificateError(_KEY, _SELF_SIGNED)
    gone = tmp_path / "gone.pem"
    monkeypatch.setenv("SSL_CERT_FILE", str(gone))
    assert missing_authority() == str(gone)
    assert str(transport_error(failure, is_write=False)).endswith(
        f"SSL_CERT_FILE is set to {gone}, which does not exist"
    )
    gone.touch()
    assert missing_authority() is None
    assert str(transport_error(failure, is_write=False)).endswith(_ADD)


class _Watcher:
    def __init__(self) -> None:
        self.requests: list[tuple[str, float, int | None]] = []
        self.retries: list[ApiError] = []

    def record_request(self, method: str, seconds: float, status: int | None) -> None:
        self.requests.append((method, seconds, status))

    def record_retry(self, error: ApiError) -> None:
        self.retries.append(error)


async def test_watcher_gets_method_duration_and_status_of_each_request(
    responses: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a complete response the status is None."""
    times = iter([10.0, 12.0, 20.0, 25.0, 30.0, 31.0])
    monkeypatch.setattr("worker.solapi.transport.time", SimpleNamespace(perf_counter=lambda: next(times)))
    url, watcher = URL("https://api.example/x"), _Watcher()
    responses.add(str(url), method="GET", status=503)
    responses.add(str(url), method="PUT", exception=ConnectionResetError())
    responses.add(str(url), method="GET", body=b"no gzip", headers={"Content-Encoding": "gzip"})
    async with Transport(Timeout(), watcher) as transport:
        assert (await transport.exchange("GET", url, {})).status == 503
        with pytest.raises(Ambiguous):
            await transport.exchange("PUT", url, {})
        with pytest.raises(ServerError):
            await transport.exchange("GET", url, {}, sink=lambda _: None)
    assert watcher.requests == [("GET", 2.0, 503), ("PUT", 5.0, None), ("GET", 1.0, 200)]


async def test_requests_do_not_wait_for_connections_of_others() -> None:
    """The pool has no limit: the rate limit decides how many requests are in flight."""
    count = 101
    arrived = asyncio.Barrier(count)

    async def respond(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await arrived.wait()
        writer.write(http_response())
        writer.close()

    server = await asyncio.start_server(respond, "127.0.0.1", 0, backlog=count)
    url = URL(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/")
    async with server, Transport(Timeout(connect_seconds=5, total_seconds=5)) as transport:
        responses = await asyncio.gather(*(transport.exchange("GET", url, {}) for _ in range(count)))
    assert {response.status for response in responses} == {200}


async def test_cookies_are_not_sent_back() -> None:
    async with Peer(http_response(headers={"Set-Cookie": "session=1"})) as peer, Transport(Timeout()) as transport:
        url = URL(peer.url).with_host("localhost")
        for _ in range(2):
            await transport.exchange("GET", url, {})
    assert len(peer.requests) == 2
    assert peer.header("Cookie") == []


def test_long_timeout_is_not_rounded_up_to_whole_seconds() -> None:
    async def scenario() -> None:
        async with Loopback(SandboxAccount.of({"01012345678": "ACTIVE"}), timeout=Timeout(6.0, 10.5)) as loopback:
            loopback.sandbox.script(None, "GET", [Fault.STALL])
            with pytest.raises(ConnectionFailed):
                await loopback.reader(retry=Retry(attempts=1)).observe()
            assert now() == pytest.approx(10.5, abs=0.1)

    run(scenario())


async def test_unopened_transport_raises() -> None:
    with pytest.raises(AssertionError, match="context"):
        await Transport(Timeout()).exchange("GET", URL("http://127.0.0.1:1/"), {})
