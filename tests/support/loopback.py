"""A sandbox and its client over real sockets, on a loop whose time advances only while all sockets are idle.

Hours of waiting take no time, and a wait without end fails immediately.
"""

import asyncio
import selectors
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Any, Self, TypeVar

from tests.support.model_account import Recorder
from worker.config.settings import RateLimit, Retry, Timeout
from worker.config.urls import Endpoint
from worker.model.accounts import Status
from worker.model.credentials import Credentials, Secret
from worker.model.errors import Ambiguous, ApiError
from worker.sandbox import Sandbox, SandboxAccount
from worker.solapi.client import AccountReader, AccountWriter
from worker.solapi.limiter import Quota
from worker.solapi.runtime import Runtime
from worker.solapi.transport import Transport

__all__ = [
    "EPOCH",
    "LogRecorder",
    "Loopback",
    "Peer",
    "credentials",
    "http_response",
    "now",
    "put",
    "run",
    "runtime",
    "signing_key",
]

EPOCH = 1_800_000_000.0
"""Unix time at which every test begins."""
_GRACE = 0.001
"""Real seconds that the kernel is given to hand bytes over, before time jumps to the next timer."""
_STUCK = 5.0
"""Real seconds after which nothing is believed to come any more."""

T = TypeVar("T")
Client = TypeVar("Client", bound=AccountReader)


def signing_key(header: str) -> str:
    """Return the API key in a credentials header."""
    return header.partition("apiKey=")[2].partition(",")[0]


class _PatientSelector(selectors.DefaultSelector):
    now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if ready or timeout == 0:
            return ready
        ready = super().select(_STUCK if timeout is None else _GRACE)
        if not ready and timeout is None:
            raise AssertionError("everything waits and no timer is set: a deadlock")
        if not ready and timeout is not None:
            self.now += max(0.0, timeout)
        return ready


class _Loop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._patient = _PatientSelector()
        super().__init__(self._patient)

    def time(self) -> float:
        return self._patient.now


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run `work` on a loop in virtual time, and return its result."""
    with asyncio.Runner(loop_factory=_Loop) as runner:
        return runner.run(work)


def now() -> float:
    """Return the loop's time in seconds."""
    return asyncio.get_running_loop().time()


def runtime(**more: Any) -> Runtime:
    """Return a runtime with the time of the loop and real randomness."""
    return Runtime(**{"clock": now, "wall": lambda: EPOCH + now()} | more)


def credentials(account: SandboxAccount) -> Credentials:
    """Return the key pair of an account."""
    return Credentials(account.api_key, Secret(account.api_secret))


async def put(
    client: AccountWriter, phone: str, status: Status, resend: Callable[[], Awaitable[bool]] | None = None
) -> None:
    """Write a number as the executor does.

    `resend` decides if an ambiguous write is sent again; None always resends.
    """

    async def attempt(failure: ApiError | None) -> None:
        if isinstance(failure, Ambiguous) and resend is not None and not await resend():
            return
        await client.acquire()
        await client.put(phone, status)

    await client.retry(attempt)


class LogRecorder(Recorder):
    """Log that ignores bound fields, and passes the event of each line to `on_line`."""

    def __init__(self) -> None:
        super().__init__()
        self.on_line: Callable[[str], None] = lambda _: None

    def info(self, event: str, **fields: object) -> None:
        """Keep a line."""
        super().info(event, **fields)
        self.on_line(event)

    warning = info

    def bind(self, **fields: object) -> Self:
        """Return this log."""
        del fields
        return self


class Loopback:
    """A sandbox and a transport to it, as an async context manager. `options` go to the sandbox."""

    def __init__(
        self,
        *accounts: SandboxAccount,
        timeout: Timeout = Timeout(1.0, 2.0),  # noqa: B008 - a value
        **options: Any,
    ) -> None:
        self.account = accounts[0]
        self.sandbox = Sandbox(
            accounts, **{"rate_limit": None, "clock": lambda: EPOCH + now(), "monotonic": now} | options
        )
        self.transport = Transport(timeout)
        self.log = LogRecorder()

    async def __aenter__(self) -> Self:
        self._stack = AsyncExitStack()
        await self._stack.enter_async_context(self.sandbox)
        await self._stack.enter_async_context(self.transport)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    def client(self, kind: type[Client], **more: Any) -> Client:
        """Return a client of the first account, with ample time and quota."""
        options: dict[str, Any] = {
            "endpoint": Endpoint(self.sandbox.url),
            "credentials": credentials(self.account),
            "quota": Quota(RateLimit(writes=10_000, reads=10_000), clock=now),
            "retry": Retry(base_seconds=0.1),
            "log": self.log,
            "runtime": runtime(),
        } | more
        return kind(self.transport, **options)

    def reader(self, **more: Any) -> AccountReader:
        """Return a client that reads the first account."""
        return self.client(AccountReader, **more)

    def writer(self, **more: Any) -> AccountWriter:
        """Return a client that writes the first account."""
        return self.client(AccountWriter, **more)

    async def write(self, writer: AccountWriter, phone: str, status: Status) -> None:
        """Write a number, and resolve ambiguous results with a read."""

        async def resend() -> bool:
            return (await writer.observe()).numbers[phone].status != status

        await put(writer, phone, status, resend)


def http_response(
    status: int = 200, body: bytes = b"{}", headers: dict[str, str] | None = None, *, length: int | None = None
) -> bytes:
    """Return the bytes of an HTTP response."""
    fields = {"Content-Length": str(len(body) if length is None else length), **(headers or {})}
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"HTTP/1.1 {status} Whatever\r\n{lines}\r\n".encode() + body


class Peer:
    """A server that sends the next of `responses` to each request, and repeats the last one. b"" closes the connection.

    `requests` holds the head of each request as received. `connections` is the number of connections.
    """

    def __init__(self, *responses: bytes, then_hang_up: bool = False, ssl_context: Any = None) -> None:
        self._responses = list(responses)
        self._then_hang_up = then_hang_up
        self._ssl = ssl_context
        self._server: asyncio.Server | None = None
        self._writers: list[asyncio.StreamWriter] = []
        self.requests: list[str] = []
        self.connections = 0
        self.url = ""

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._ssl)
        scheme = "http" if self._ssl is None else "https"
        self.url = f"{scheme}://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._server is not None
        for writer in self._writers:
            writer.close()
        self._server.close()
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.append(writer)
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                self.requests.append(head)
                length = next(
                    (line.split(":")[1] for line in head.split("\r\n") if line.startswith("Content-Length")), 0
                )
                await reader.readexactly(int(length))
                response = self._responses.pop(0) if len(self._responses) > 1 else self._responses[0]
                writer.write(response)
                await writer.drain()
                if not response or self._then_hang_up:
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    def header(self, name: str) -> Sequence[str]:
        """Return the values of a header in all requests."""
        lines = (line.partition(": ") for head in self.requests for line in head.split("\r\n"))
        return [value for field, _, value in lines if field.lower() == name.lower()]
