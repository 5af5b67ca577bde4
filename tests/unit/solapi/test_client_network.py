"""Hostile networks: redirects, proxies, false certificates, floods. No secret leaks."""

import asyncio
import ssl
import traceback
import tracemalloc
from collections.abc import Iterator

import pytest
import trustme

from tests.support.loopback import Loopback, Peer, http_response, now, run, runtime
from worker.config.settings import Retry, Timeout
from worker.config.urls import Endpoint
from worker.model.accounts import Status
from worker.model.errors import AccountRejected, Ambiguous, ApiError, ConnectionFailed, ServerError, WorkerError
from worker.sandbox import Fault, SandboxAccount
from worker.solapi.client import AccountWriter

PHONE = "01012345678"
_MIB = 1 << 20
_ONCE = Retry(attempts=1)


def _account(**more: str) -> SandboxAccount:
    return SandboxAccount.of({PHONE: "ACTIVE"}, **more)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirect_is_not_followed(status: int) -> None:
    """The target of a redirect gets neither a read nor a write, and the account ends."""

    async def scenario() -> None:
        async with Peer(http_response()) as target, Peer(http_response(status, b"", {"Location": target.url})) as peer:
            async with Loopback(_account()) as loopback:
                writer = loopback.writer(endpoint=Endpoint(peer.url))
                for call in (writer.observe(), loopback.write(writer, PHONE, Status.INACTIVE)):
                    with pytest.raises(AccountRejected, match="redirect"):
                        await call
            assert len(peer.requests) == 2
            assert target.connections == 0

    run(scenario())


@pytest.mark.parametrize("name", ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "all_proxy"])
def test_environment_proxies_are_not_used(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy that the environment sets gets no request."""

    async def scenario() -> None:
        async with Peer(http_response()) as proxy:
            monkeypatch.setenv(name, proxy.url)
            async with Loopback(_account()) as loopback:
                assert (await loopback.reader().observe()).numbers
            assert proxy.connections == 0

    run(scenario())


@pytest.mark.parametrize("host", ["127.0.0.1", "somebody.example"])
def test_unverified_certificate_ends_the_account(host: str) -> None:
    """No HTTP request is sent to a server whose certificate cannot be verified."""

    async def scenario() -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        trustme.CA().issue_cert(host).configure_cert(context)
        async with Peer(http_response(), ssl_context=context) as peer, Loopback(_account()) as loopback:
            writer = loopback.writer(endpoint=Endpoint(peer.url))
            for call in (writer.observe(), loopback.write(writer, PHONE, Status.INACTIVE)):
                with pytest.raises(AccountRejected, match="certificate cannot be verified"):
                    await call
            assert peer.requests == []

    run(scenario())


def test_server_without_tls_ends_the_account() -> None:
    """A server that does not speak TLS gets no request in clear text."""

    async def scenario() -> None:
        async with Peer(http_response()) as peer, Loopback(_account()) as loopback:
            reader = loopback.reader(endpoint=Endpoint(peer.url.replace("http", "https")), retry=_ONCE)
            with pytest.raises(ApiError, match=r"TLS|connection"):
                await reader.observe()
            assert not any("senderid" in head for head in peer.requests)

    run(scenario())


def test_closed_port_is_a_failed_connection() -> None:
    """The error is transient for writes too, because nothing was sent."""

    async def scenario() -> None:
        async with Peer() as peer:
            gone = Endpoint(peer.url)
        async with Loopback(_account()) as loopback:
            writer = loopback.writer(endpoint=gone, retry=Retry(attempts=2))
            for call in (writer.observe(), loopback.write(writer, PHONE, Status.INACTIVE)):
                with pytest.raises(ConnectionFailed, match=r"cannot connect to 127\.0\.0\.1"):
                    await call

    run(scenario())


@pytest.mark.parametrize("both", [False, True])
def test_credentials_headers_depend_on_the_endpoint(*, both: bool) -> None:
    """The old host gets both headers with the same value. All other hosts get `Authorization` only."""

    async def scenario() -> None:
        async with Peer(http_response()) as peer, Loopback(_account()) as loopback:
            writer = loopback.writer(endpoint=Endpoint(peer.url, uses_both_headers=both))
            await writer.observe()
            await loopback.write(writer, PHONE, Status.INACTIVE)
            headers = peer.header("Authorization")
            assert len(set(headers)) == 2
            assert list(peer.header("Authentication")) == (list(headers) if both else [])
            assert {value.split()[0] for value in headers} == {"HMAC-SHA256"}
            assert peer.header("Accept-Encoding") == ["gzip", "gzip"]

    run(scenario())


@pytest.mark.parametrize(
    ("sent", "lost"),
    [
        (http_response(body=b'{"senderIds": [', length=500), True),
        (b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{"sen', True),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzzz\r\n", True),
        (b"", True),
        (b"SSH-2.0-OpenSSH_9.6\r\n", True),
        (b"HTTP/1.1 200 OK\r\nA: " + b"x" * 100_000 + b"\r\n\r\n", True),
        (http_response(body=b"<html>"), False),
        (http_response(body=b"\x00\xff"), False),
        (http_response(body=b'{"x": ' + b"[" * 5000), False),
        (http_response(body=b"{}", headers={"Content-Encoding": "gzip"}), False),
        (http_response(body=b"{}", headers={"Content-Encoding": "br"}), False),
    ],
)
def test_truncated_or_invalid_response_is_an_error(sent: bytes, *, lost: bool) -> None:
    """A truncated or invalid response fails a read and makes a write ambiguous, without waiting for the timeout."""

    async def scenario() -> None:
        async with Peer(sent, then_hang_up=lost) as peer, Loopback(_account(), timeout=Timeout(1, 30)) as loopback:
            writer = loopback.writer(endpoint=Endpoint(peer.url), retry=_ONCE)
            with pytest.raises(ConnectionFailed if lost else ServerError):
                await writer.observe()
            with pytest.raises(Ambiguous):
                await loopback.write(writer, PHONE, Status.INACTIVE)
            assert len(peer.requests) == 2
            assert now() < 1, "the client waited for more"

    run(scenario())


def _peak(fault: Fault, method: str) -> tuple[float, float]:
    """Return the peak memory in MiB of a request, and its duration in seconds of the loop."""

    async def scenario() -> tuple[float, float]:
        async with Loopback(_account()) as loopback:
            writer = loopback.writer(retry=_ONCE)
            loopback.sandbox.script(None, method, [None, fault, fault])
            for _ in range(2):  # create caches before the measurement
                await asyncio.gather(_any(loopback, writer, method), return_exceptions=True)
            tracemalloc.start()
            try:
                await asyncio.gather(_any(loopback, writer, method), return_exceptions=True)
                peak = tracemalloc.get_traced_memory()[1] / _MIB
            finally:
                tracemalloc.stop()
            await writer.observe(is_verification=True)
            return peak, now()

    return run(scenario())


async def _any(loopback: Loopback, writer: AccountWriter, method: str) -> None:
    if method == "GET":
        await writer.observe()
    else:
        await loopback.write(writer, PHONE, Status.INACTIVE)


@pytest.mark.parametrize("fault", [Fault.BOMB, Fault.FLOOD])
@pytest.mark.parametrize("method", ["GET", "PUT"])
def test_oversized_responses_are_cut_off(fault: Fault, method: str) -> None:
    """Hundreds of megabytes take little memory and time, and the next request works."""
    peak, seconds = _peak(fault, method)
    assert peak < 48
    assert seconds < 2


_BROKEN = [b"SSH-2.0-OpenSSH_9.6\r\n", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzzz\r\n", b""]


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Return an exception with all its causes and contexts, including suppressed ones."""
    waiting: list[BaseException | None] = [error]
    met: set[int] = set()
    while waiting:
        link = waiting.pop()
        if link is not None and id(link) not in met:
            met.add(id(link))
            waiting += [link.__cause__, link.__context__]
            yield link


def _texts(error: BaseException) -> str:
    """Return every text that an exception can show."""
    texts = [text for link in _chain(error) for text in (repr(link), str(link), repr(vars(link)))]
    return "\n".join([*traceback.format_exception(error), *texts])


async def _check_messages(loopback: Loopback, endpoint: Endpoint) -> str:
    """Check that no message of a read and a write has a secret. Their salts differ by number."""
    counter = iter(range(99))
    writer = loopback.writer(
        runtime=runtime(salt=lambda: f"canary-of-the-salt-{next(counter):04}"), account_id="12925149", endpoint=endpoint
    )
    texts = [repr(writer), repr(vars(writer))]
    for call in (writer.observe(), loopback.write(writer, PHONE, Status.INACTIVE)):
        try:
            await call
        except WorkerError as error:
            texts.append(_texts(error))
    return "\n".join([*texts, repr(loopback.log.lines)])


@pytest.mark.parametrize("fault", Fault)
def test_faults_reveal_no_secret(fault: Fault) -> None:
    """No exception, context, traceback or log line contains the secret, a salt or a signature."""

    async def scenario() -> None:
        async with Loopback(_account(api_secret="canary-of-the-secret")) as loopback:
            loopback.sandbox.script(None, "GET", [fault] * 9)
            loopback.sandbox.script(None, "PUT", [fault] * 9)
            text = await _check_messages(loopback, Endpoint(loopback.sandbox.url))
            signatures = [request.signature or "none" for request in loopback.sandbox.wire]
            assert signatures
            assert "canary-of" not in text
            assert not any(signature in text for signature in signatures)

    run(scenario())


@pytest.mark.parametrize("sent", _BROKEN)
def test_invalid_http_reveals_no_secret(sent: bytes) -> None:
    """The exception of aiohttp contains the headers of the request; ours does not."""

    async def scenario() -> None:
        account = _account(api_secret="canary-of-the-secret")
        async with Peer(sent, then_hang_up=True) as peer, Loopback(account) as loopback:
            texts = await _check_messages(loopback, Endpoint(peer.url))
            signatures = [header.rpartition("=")[2] for header in peer.header("Authorization")]
            assert signatures
            assert "canary-of" not in texts
            assert not any(signature in texts for signature in signatures)

    run(scenario())


class _Observer:
    def __init__(self) -> None:
        self.requests: list[tuple[str, int | None]] = []
        self.retries: list[str] = []

    def record_request(self, method: str, _: float, status: int | None) -> None:
        self.requests.append((method, status))

    def record_retry(self, error: ApiError) -> None:
        self.retries.append(error.code)


def test_retries_are_logged_and_counted() -> None:
    """Each retry has a line with the reason, the attempts so far and the wait in milliseconds."""
    skewed = http_response(403, b'{"errorCode": "RequestTimeTooSkewed"}', {"Date": "Fri, 15 Jan 2027 08:00:00 GMT"})
    used_up = http_response(429, headers={"Retry-After": "7"})
    empty = http_response(body=b'{"accountId": "1", "senderIds": []}')

    async def scenario() -> None:
        async with Peer(http_response(503), used_up, skewed, empty) as peer, Loopback(_account()) as loopback:
            loopback.transport.watcher = observer = _Observer()
            longest = runtime(uniform=lambda _, high: high)
            client = loopback.reader(endpoint=Endpoint(peer.url), retry=Retry(base_seconds=3), runtime=longest)
            await client.observe()
            assert loopback.log.lines == [
                ("request.retried", _retry(1, 3000, 503, "ServerError")),
                ("rate_limit.held", {"duration_ms": 7000, "http_status": 429}),
                ("request.retried", _retry(2, 0, 429, "RateLimited")),
            ]
            assert observer.retries == ["ServerError", "RateLimited", "RequestTimeTooSkewed"]
            assert observer.requests == [("GET", 503), ("GET", 429), ("GET", 403), ("GET", 200)]
            assert now() == pytest.approx(10, abs=0.1)

    run(scenario())


def _retry(attempts: int, duration: int, status: int, code: str) -> dict[str, object]:
    return {
        "attempts": attempts,
        "duration_ms": duration,
        "http_status": status,
        "error_code": code,
        "error_message": f"HTTP {status}",
    }
