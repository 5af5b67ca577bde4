"""Slow, half-closed and silent servers on real sockets: every request ends in time with the right error."""

import asyncio
import socket
import struct
from array import array
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from tests.support.loopback import LogRecorder, Loopback, credentials, http_response, now, run, runtime
from worker.config.settings import RateLimit, Retry, Settings, Timeout
from worker.config.urls import Endpoint
from worker.model.accounts import Desired, DesiredAccount, Status
from worker.model.credentials import Credentials, CredentialsRef, Secret, SecretRef
from worker.model.errors import Ambiguous, ConnectionFailed
from worker.model.results import RunOutcome
from worker.model.safety import Safety
from worker.plan.build import Terms
from worker.reconcile.fleet import Fleet
from worker.sandbox import SandboxAccount
from worker.solapi.client import AccountWriter

PHONE = "01012345678"
_DOCUMENT = b'{"accountId": "1", "senderIds": [{"phoneNumber": "01012345678", "status": "ACTIVE"}]}'
_ANSWER = http_response(body=_DOCUMENT, headers={"Connection": "close"})
_UNTOLD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
_TIMEOUT = Timeout(connect_seconds=1.0, total_seconds=20.0)

Play = Callable[[asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def _served(play: Play) -> AsyncIterator[str]:
    """Yield the URL of a server that reads the head of one request and plays.

    The server never closes the connection itself.
    """
    open_ones = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        open_ones.append(writer)
        try:
            await reader.readuntil(b"\r\n\r\n")
            await play(writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        for writer in open_ones:
            writer.close()


def _client_of(play: Play, scenario: Callable[[Loopback, AccountWriter], Awaitable[None]]) -> None:
    """Run a scenario with a client that tries once and waits up to 20 seconds for a response."""

    async def whole() -> None:
        account = SandboxAccount.of({PHONE: "ACTIVE"})
        async with _served(play) as url, Loopback(account, timeout=_TIMEOUT) as loopback:
            await scenario(loopback, loopback.writer(endpoint=Endpoint(url), retry=Retry(attempts=1)))

    run(whole())


def _drips(data: bytes) -> Play:
    async def play(writer: asyncio.StreamWriter) -> None:
        for byte in data * 1000:
            writer.write(bytes([byte]))
            await asyncio.sleep(0.5)

    return play


def _drips_after(start: bytes) -> Play:
    async def play(writer: asyncio.StreamWriter) -> None:
        writer.write(start)
        await _drips(b"1\r\n \r\n")(writer)

    return play


@pytest.mark.parametrize(
    "play",
    [
        pytest.param(_drips(b"H"), id="no HTTP"),
        pytest.param(_drips(b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 999), id="head"),
        pytest.param(_drips_after(_UNTOLD), id="body"),
        pytest.param(_drips_after(http_response(body=b" ", length=10**6)), id="body of a known length"),
        pytest.param(_drips_after(http_response(500, b" ", length=10**6)), id="error"),
    ],
)
def test_slow_bytes_do_not_extend_the_timeout(play: Play) -> None:
    """A read and a write time out when the time of the attempt is over, however slow the response is."""

    async def scenario(loopback: Loopback, writer: AccountWriter) -> None:
        with pytest.raises(ConnectionFailed) as read:
            await writer.observe()
        assert read.value.timed_out or now() < 20, "it was not waited for, as it is no HTTP"
        assert now() <= 20.1
        started_at = now()
        with pytest.raises(Ambiguous) as write:
            await loopback.write(writer, PHONE, Status.INACTIVE)
        assert write.value.timed_out is read.value.timed_out
        assert now() <= started_at + 20.1

    _client_of(play, scenario)


def _shuts(start: bytes, how: int) -> Play:
    """Return a server that sends a start and shuts one side of the connection, which stays open."""

    async def play(writer: asyncio.StreamWriter) -> None:
        writer.write(start)
        await writer.drain()
        writer.get_extra_info("socket").shutdown(how)

    return play


@pytest.mark.parametrize(
    "start",
    [
        b"",
        b"HTTP/1.1 200",
        b"HTTP/1.1 200 OK\r\nContent-Length: 90\r\n",
        http_response(body=_DOCUMENT[:40], length=len(_DOCUMENT)),
        _UNTOLD + b"9\r\n" + _DOCUMENT[:9] + b"\r\n",
        http_response(500, b"{", length=100),
    ],
)
def test_half_closed_connection_is_an_error(start: bytes) -> None:
    """A server that stops sending in the middle of its response is not waited for."""

    async def scenario(loopback: Loopback, writer: AccountWriter) -> None:
        with pytest.raises(ConnectionFailed):
            await writer.observe()
        with pytest.raises(Ambiguous):
            await loopback.write(writer, PHONE, Status.INACTIVE)
        assert now() < 1

    _client_of(_shuts(start, socket.SHUT_WR), scenario)


@pytest.mark.parametrize(
    ("start", "how"),
    [
        (_ANSWER, socket.SHUT_WR),
        (_ANSWER, socket.SHUT_RD),
        (b"HTTP/1.1 200 OK\r\n\r\n" + _DOCUMENT, socket.SHUT_WR),
        (b"HTTP/1.0 200 OK\r\nConnection: close\r\n\r\n" + _DOCUMENT, socket.SHUT_WR),
    ],
)
def test_complete_response_counts_after_a_half_close(start: bytes, how: int) -> None:
    """The response is complete when the server stops sending or reading after it."""

    async def scenario(loopback: Loopback, writer: AccountWriter) -> None:
        for _ in range(2):
            assert (await writer.observe()).active == 1
            await loopback.write(writer, PHONE, Status.ACTIVE)
        assert now() < 1

    _client_of(_shuts(start, how), scenario)


@pytest.mark.parametrize("start", [b"", b"HTTP/1.1 2", http_response(body=_DOCUMENT[:40], length=len(_DOCUMENT))])
def test_reset_is_reported_immediately(start: bytes) -> None:
    """A reset before or during a response fails a read and makes a write ambiguous."""

    async def resets(writer: asyncio.StreamWriter) -> None:
        writer.write(start)
        await writer.drain()
        # without lingering, closing sends RST instead of FIN
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()

    async def scenario(loopback: Loopback, writer: AccountWriter) -> None:
        with pytest.raises(ConnectionFailed):
            await writer.observe()
        with pytest.raises(Ambiguous):
            await loopback.write(writer, PHONE, Status.INACTIVE)
        assert now() < 1

    _client_of(resets, scenario)


@pytest.mark.parametrize("accepts", [True, False])
@pytest.mark.parametrize(("stalled", "good"), [(10, 30), (20, 20)])
def test_silent_server_delays_its_own_accounts_only(stalled: int, good: int, *, accepts: bool) -> None:
    """Connections that are accepted or not, and never served, delay their own accounts only.

    If fewer accounts are stalled than may run concurrently, the others are not delayed. If more are stalled, the others
    wait for a turn.
    """

    async def scenario() -> None:
        accounts = [
            SandboxAccount.of(
                {f"010{number:04}{index:04}": "INACTIVE" for index in range(5)},
                account_id=f"{number}",
                api_key=f"NCS{number:013}",
                api_secret=f"secret-of-{number}",
            )
            for number in range(good)
        ]
        keys = {account.account_id: credentials(account) for account in accounts}
        process: dict[str, float] = {}

        class Noting(LogRecorder):
            def info(self, event: str, **fields: object) -> None:
                super().info(event, **fields)
                if event == "number":
                    process[str(fields["phone"])[3:7]] = now()

            warning = info

        async def nothing(_: asyncio.StreamWriter) -> None:
            pass

        def resolve(reference: CredentialsRef | None) -> Credentials:
            assert reference is not None
            name = str(reference.api_key.env)
            return keys.get(name, Credentials(f"NCSSTALLED{name}", Secret("x")))

        silent = socket.create_server(("127.0.0.1", 0), backlog=200)
        try:
            async with _served(nothing) as taken, Loopback(*accounts, timeout=_TIMEOUT) as loopback:
                url = taken if accepts else f"http://127.0.0.1:{silent.getsockname()[1]}"
                rate = RateLimit(writes=100, reads=100)
                settings = Settings(endpoint=loopback.sandbox.url, rate_limit=rate, retry=Retry(attempts=2))
                fleet = Fleet(settings, loopback.transport, resolve, Noting(), runtime=runtime())
                desired = [
                    _desired(f"{5000 + number}", [f"010{5000 + number:04}0000"], url) for number in range(stalled)
                ]
                desired += [_desired(account.account_id, list(account.numbers)) for account in accounts]
                terms = Terms(Safety(min_active=0), allow=frozenset({"fleet-wide"}))
                drafts = await fleet.plan(desired, terms)
                planned = now()
                results = await fleet.apply(desired, drafts, terms, LogRecorder())
            outcomes = [RunOutcome.FAILED] * stalled + [RunOutcome.CONVERGED] * good
            assert [result.outcome for result in results] == outcomes
            assert all(set(account.statuses.values()) == {"ACTIVE"} for account in accounts)
            # two attempts of 20 seconds for each round of 16 accounts, plus the backoff
            assert planned < (42 if stalled <= settings.accounts_concurrency else 84)
            assert max(process.values()) - planned < 1, "the accounts that are there waited for those that are not"
        finally:
            silent.close()

    run(scenario())


def _desired(name: str, phones: list[str], url: str | None = None) -> DesiredAccount:
    secret = SecretRef(env=name)
    numbers = dict.fromkeys(phones, Desired(Status.ACTIVE))
    return DesiredAccount(
        name,
        "x.yaml",
        numbers,
        array("I", range(len(phones))),
        credentials=CredentialsRef(secret, secret),
        endpoint=url,
    )
