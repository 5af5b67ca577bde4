"""What the network may do to a client: lead it elsewhere, listen in, pretend, drown it. No secret comes out of it."""

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
def test_a_redirect_is_not_followed(status: int) -> None:
    """Neither a read nor a write reaches the target of a redirect, and the account stops."""

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
def test_proxies_of_the_environment_are_not_used(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy that is set in the environment gets nothing to see."""

    async def scenario() -> None:
        async with Peer(http_response()) as proxy:
            monkeypatch.setenv(name, proxy.url)
            async with Loopback(_account()) as loopback:
                assert (await loopback.reader().observe()).numbers
            assert proxy.connections == 0

    run(scenario())


@pytest.mark.parametrize("host", ["127.0.0.1", "somebody.example"])
def test_a_certificate_that_cannot_be_verified_ends_the_account(host: str) -> None:
    """Not a byte of HTTP is sent to such a server."""

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


def test_tls_that_is_none_ends_the_account() -> None:
    """A server that does not speak TLS gets no request in clear text."""

    async def scenario() -> None:
        async with Peer(http_response()) as peer, Loopback(_account()) as loopback:
            reader = loopback.reader(endpoint=Endpoint(peer.url.replace("http", "https")), retry=_ONCE)
            with pytest.raises(ApiError, match=r"TLS|connection"):
                await reader.observe()
            assert not any("senderid" in head for head in peer.requests)

    run(scenario())


def test_closed_port_is_a_failed_connection() -> None:
    """It is transient for a write as well, because nothing was sent."""

    async def scenario() -> None:
        async with Peer() as peer:
            gone = Endpoint(peer.url)
        async with Loopback(_account()) as loopback:
            writer = loopback.writer(endpoint=gone, retry=Retry(attempts=2))
            for call in (writer.observe(), loopback.write(writer, PHONE, Status.INACTIVE)):
                with pytest.raises(ConnectionFailed, match=r"no connection to 127\.0\.0\.1"):
                    await call

    run(scenario())


@pytest.mark.parametrize("both", [False, True])
def test_credentials_go_out_under_the_names_that_the_endpoint_wants(*, both: bool) -> None:
    """The old host gets them under both names, alike; every other one under `Authorization` alone."""

    async def scenario() -> None:
        async with Peer(http_response()) as peer, Loopback(_account()) as loopback:
            writer = loopback.writer(endpoint=Endpoint(peer.url, both_headers=both))
            await writer.observe()
            await loopback.write(writer, PHONE, Status.INACTIVE)
            sent = peer.header("Authorization")
            assert len(set(sent)) == 2
            assert list(peer.header("Authentication")) == (list(sent) if both else [])
            assert {value.split()[0] for value in sent} == {"HMAC-SHA256"}
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
def test_half_an_answer_is_none(sent: bytes, *, lost: bool) -> None:
    """An answer that breaks off, is not HTTP or not the API's fails a read and leaves a write ambiguous, in time."""

    async def scenario() -> None:
        async with Peer(sent, then_hang_up=lost) as peer, Loopback(_account(), timeout=Timeout(1, 30)) as loopback:
            writer = loopback.writer(endpoint=Endpoint(peer.url), retry=_ONCE)
            with pytest.raises(ConnectionFailed if lost else ServerError):
                await writer.observe()
            with pytest.raises(Ambiguous):
                await loopback.write(writer, PHONE, Status.INACTIVE)
            assert len(peer.requests) == 2
            assert now() < 1, "it was waited for"

    run(scenario())


def _peak(fault: Fault, method: str) -> tuple[float, float]:
    """The most memory in MiB that a request held, and how long it took in seconds of the loop."""

    async def scenario() -> tuple[float, float]:
        async with Loopback(_account()) as loopback:
            writer = loopback.writer(retry=_ONCE)
            loopback.sandbox.script(None, method, [None, fault, fault])
            for _ in range(2):  # what is made once is made now
                await asyncio.gather(_any(loopback, writer, method), return_exceptions=True)
            tracemalloc.start()
            try:
                await asyncio.gather(_any(loopback, writer, method), return_exceptions=True)
                peak = tracemalloc.get_traced_memory()[1] / _MIB
            finally:
                tracemalloc.stop()
            await writer.observe(closing=True)
            return peak, now()

    return run(scenario())


async def _any(loopback: Loopback, writer: AccountWriter, method: str) -> None:
    if method == "GET":
        await writer.observe()
    else:
        await loopback.write(writer, PHONE, Status.INACTIVE)


@pytest.mark.parametrize("fault", [Fault.BOMB, Fault.FLOOD])
@pytest.mark.parametrize("method", ["GET", "PUT"])
def test_bombs_and_floods_are_cut_off(fault: Fault, method: str) -> None:
    """Hundreds of megabytes take neither much memory nor time, and the next request works."""
    peak, seconds = _peak(fault, method)
    assert peak < 48
    assert seconds < 2


_BROKEN = [b"SSH-2.0-OpenSSH_9.6\r\n", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzzz\r\n", b""]


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An exception with everything that led to it, also what is not shown."""
    waiting: list[BaseException | None] = [error]
    met: set[int] = set()
    while waiting:
        found = waiting.pop()
        if found is not None and id(found) not in met:
            met.add(id(found))
            waiting += [found.__cause__, found.__context__]
            yield found


def _texts(error: BaseException) -> str:
    """Return every text that an exception can be made to show."""
    said = [text for link in _chain(error) for text in (repr(link), str(link), repr(vars(link)))]
    return "\n".join([*traceback.format_exception(error), *said])


async def _says_nothing(loopback: Loopback, endpoint: Endpoint) -> str:
    """Check the messages of a read and a write, whose salts differ by number."""
    left = iter(range(99))
    writer = loopback.writer(
        runtime=runtime(salt=lambda: f"canary-of-the-salt-{next(left):04}"), account_id="12925149", endpoint=endpoint
    )
    texts = [repr(writer), repr(vars(writer))]
    for call in (writer.observe(), loopback.write(writer, PHONE, Status.INACTIVE)):
        try:
            await call
        except WorkerError as error:
            texts.append(_texts(error))
    return "\n".join([*texts, repr(loopback.log.lines)])


@pytest.mark.parametrize("fault", Fault)
def test_no_secret_comes_out_of_a_fault(fault: Fault) -> None:
    """No exception, shown or not, no traceback and no log line holds the secret, a salt or a signature."""

    async def scenario() -> None:
        async with Loopback(_account(api_secret="canary-of-the-secret")) as loopback:
            loopback.sandbox.script(None, "GET", [fault] * 9)
            loopback.sandbox.script(None, "PUT", [fault] * 9)
            text = await _says_nothing(loopback, Endpoint(loopback.sandbox.url))
            signatures = [request.signature or "none" for request in loopback.sandbox.wire]
            assert signatures
            assert "canary-of" not in text
            assert not any(signature in text for signature in signatures)

    run(scenario())


@pytest.mark.parametrize("sent", _BROKEN)
def test_no_secret_comes_out_of_what_is_not_http(sent: bytes) -> None:
    """The same holds where aiohttp's own exception holds the request's headers."""

    async def scenario() -> None:
        account = _account(api_secret="canary-of-the-secret")
        async with Peer(sent, then_hang_up=True) as peer, Loopback(account) as loopback:
            texts = await _says_nothing(loopback, Endpoint(peer.url))
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
