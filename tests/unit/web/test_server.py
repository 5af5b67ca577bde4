"""The daemon's HTTP server over real sockets: answers, refusals, and clients that stall."""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from typing import NamedTuple

import pytest
from aiohttp import web
from prometheus_client.parser import text_string_to_metric_families

from tests.support import loopback
from worker.telemetry.metrics import Metrics
from worker.web import serve
from worker.web.server import HttpResponse

_MORE_THAN_SOCKETS_TAKE = 64 << 20


class Answer(NamedTuple):
    """An answer: status, headers by lower-case names, body."""

    status: int
    headers: dict[str, str]
    body: str


class Daemon:
    """What is served, in any state."""

    def __init__(self) -> None:
        self.figures = Metrics()
        self.dead: str | None = None
        self.unready: str | None = None
        self.accepted: list[str] = []

    def render_metrics(self, accept: str) -> tuple[bytes, str]:
        """Real ones."""
        self.accepted.append(accept)
        return self.figures.render(accept)

    def why_not_alive(self) -> str | None:
        """As a test wants it."""
        return self.dead

    def why_not_ready(self) -> str | None:
        """As a test wants it."""
        return self.unready


class Broken(Daemon):
    """One with a bug."""

    def why_not_alive(self) -> str | None:
        """No answer."""
        raise KeyError("0123456789ABCDEF")


def play(scenario: Callable[[str], Awaitable[None]], daemon: Daemon | None = None) -> None:
    """Run a scenario against a server on a loop whose time jumps."""

    async def work() -> None:
        async with serve(daemon or Daemon(), port=0) as url:
            await scenario(url)

    loopback.run(work())


async def connect(url: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection to the server."""
    host, _, port = url.removeprefix("http://").rpartition(":")
    return await asyncio.open_connection(host, int(port), limit=1 << 24)


async def ask(url: str, text: str) -> Answer:
    """The answer to a request as it travels; the server must close the connection after it."""
    reader, writer = await connect(url)
    writer.write(text.encode())
    raw = (await reader.read()).decode()
    writer.close()
    await writer.wait_closed()
    head, _, body = raw.partition("\r\n\r\n")
    status, *lines = head.split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines)
    return Answer(int(status.split()[1]), {name.lower(): value for name, value in headers.items()}, body)


async def get(url: str, path: str, method: str = "GET", more: str = "") -> Answer:
    """The answer to a plain request."""
    return await ask(url, f"{method} {path} HTTP/1.1\r\nHost: x\r\n{more}\r\n")


async def rest(reader: asyncio.StreamReader) -> int:
    """How many bytes still come until the connection ends, by whatever end."""
    count = 0
    try:
        while data := await reader.read(1 << 16):
            count += len(data)
    except ConnectionResetError:
        pass
    return count


def test_metrics_are_served_in_the_format_asked_for() -> None:
    """As text where nothing else is asked for, as OpenMetrics where it is, and readable as such."""

    async def scenario(url: str) -> None:
        plain = await get(url, "/metrics")
        assert plain.status == 200
        assert plain.headers["content-type"].startswith("text/plain; version=")
        names = {family.name for family in text_string_to_metric_families(plain.body)}
        assert "senderid_build_info" in names
        open_ = await get(
            url, "/metrics", more="Accept: application/openmetrics-text;version=1.0.0,text/plain;q=0.5\r\n"
        )
        assert open_.headers["content-type"].startswith("application/openmetrics-text")
        assert open_.body.endswith("# EOF\n")

    daemon = Daemon()
    play(scenario, daemon)
    assert daemon.accepted == ["", "application/openmetrics-text;version=1.0.0,text/plain;q=0.5"]


@pytest.mark.parametrize(
    ("dead", "unready", "health", "readiness"),
    [
        (None, None, (200, "ok\n"), (200, "ok\n")),
        (None, "the first round is not done", (200, "ok\n"), (503, "the first round is not done\n")),
        ("no heartbeat for 90 s", "마지막 상태 없음", (503, "no heartbeat for 90 s\n"), (503, "마지막 상태 없음\n")),
    ],
)
def test_health_and_readiness_have_their_reason(
    dead: str | None, unready: str | None, health: tuple[int, str], readiness: tuple[int, str]
) -> None:
    """200 while all is well, 503 with why it is not."""
    daemon = Daemon()
    daemon.dead, daemon.unready = dead, unready

    async def scenario(url: str) -> None:
        for path, wanted in (("/healthz", health), ("/readyz", readiness)):
            answer = await get(url, path)
            assert (answer.status, answer.body) == wanted
            assert answer.headers["content-type"] == "text/plain; charset=utf-8"

    play(scenario, daemon)


@pytest.mark.parametrize("path", ["/metrics", "/healthz", "/nothing"])
def test_head_is_get_without_the_body(path: str) -> None:
    """Status and length are as of GET."""

    async def scenario(url: str) -> None:
        whole, head = await get(url, path), await get(url, path, "HEAD")
        assert (head.status, head.body) == (whole.status, "")
        assert head.headers["content-length"] == whole.headers["content-length"]

    play(scenario)


@pytest.mark.parametrize("path", ["/", "/metrics/", "/metrics/x", "/favicon.ico", "/..%2fetc/passwd", "//metrics"])
def test_there_is_nothing_else(path: str) -> None:
    """Any other path is 404, and its text is not repeated."""

    async def scenario(url: str) -> None:
        answer = await get(url, path)
        assert (answer.status, answer.body) == (404, "there are /metrics, /healthz, /readyz\n")

    play(scenario)


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "TRACE"])
def test_nothing_can_be_changed(method: str) -> None:
    """Only GET and HEAD are answered; a body that comes along is not read."""

    async def scenario(url: str) -> None:
        answer = await get(url, "/metrics", method, "Content-Length: 1000000\r\n")
        assert (answer.status, answer.headers["allow"], answer.body) == (405, "GET, HEAD", "GET or HEAD\n")

    play(scenario)


@pytest.mark.parametrize("path", ["/metrics", "/readyz", "/nothing"])
def test_every_answer_has_security_headers(path: str) -> None:
    """No other site may run, frame, keep or embed it; and it does not name its software."""

    async def scenario(url: str) -> None:
        headers = (await get(url, path)).headers
        assert headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cross-origin-resource-policy"] == "same-origin"
        assert headers["cache-control"] == "no-store"
        assert headers["server"] == "senderid"

    play(scenario)


def test_bug_is_reported_by_its_type_alone(capfd: pytest.CaptureFixture[str]) -> None:
    """500 without the text of the error, which may hold anything, and without a traceback anywhere."""

    async def scenario(url: str) -> None:
        answer = await get(url, "/healthz")
        assert (answer.status, answer.body) == (500, "a bug, please report it: KeyError\n")

    play(scenario, Broken())
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    "text",
    [
        "\x16\x03\x01\x02\x00\x01\x00\r\n\r\n",
        f"GET /metrics?{'x' * 4000} HTTP/1.1\r\nHost: x\r\n\r\n",
        f"GET /metrics HTTP/1.1\r\nHost: x\r\nCookie: {'x' * 4000}\r\n\r\n",
        "GET /metrics HTTP/1.1\r\nHost: x\r\n" + "A: b\r\n" * 100 + "\r\n",
    ],
    ids=["tls", "line", "header", "headers"],
)
def test_what_is_no_request_or_too_long_is_refused(text: str, capfd: pytest.CaptureFixture[str]) -> None:
    """TLS, a long line, a long header and too many headers are 400, and make no line in our log."""

    async def scenario(url: str) -> None:
        assert (await ask(url, text)).status == 400
        assert (await get(url, "/healthz")).status == 200

    play(scenario)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("sent", ["", "GET /metr", "GET /metrics HTTP/1.1\r\nHost: x\r\n"])
def test_who_does_not_go_on_is_let_go(sent: str) -> None:
    """A connection that sends nothing, or stalls, ends after ten seconds and blocks no other meanwhile."""

    async def scenario(url: str) -> None:
        began = loopback.now()
        reader, writer = await connect(url)
        writer.write(sent.encode())
        assert (await get(url, "/healthz")).status == 200
        assert await rest(reader) == 0
        assert 9.9 < loopback.now() - began < 11
        writer.close()

    play(scenario)


def test_who_does_not_read_is_let_go() -> None:
    """An answer that the client does not read is given up after ten seconds."""

    class Long(Daemon):
        def render_metrics(self, accept: str) -> tuple[bytes, str]:
            return b"x" * _MORE_THAN_SOCKETS_TAKE, accept

    async def scenario(url: str) -> None:
        loop, (host, _, port) = asyncio.get_running_loop(), url.removeprefix("http://").rpartition(":")
        with socket.socket() as deaf:
            deaf.setblocking(False)  # noqa: FBT003 - the standard library's own
            await loop.sock_connect(deaf, (host, int(port)))
            await loop.sock_sendall(deaf, b"GET /metrics HTTP/1.1\r\nHost: x\r\nAccept: text/plain\r\n\r\n")
            assert (await get(url, "/healthz")).status == 200
            await asyncio.sleep(11)
            reader, writer = await asyncio.open_connection(sock=deaf)
            assert await rest(reader) < _MORE_THAN_SOCKETS_TAKE
            writer.close()

    play(scenario, Long())


def test_connections_are_limited() -> None:
    """At most 64 are served; later ones are turned away at once, and places that were left are free again."""

    async def scenario(url: str) -> None:
        crowd = [await connect(url) for _ in range(64)]
        reader, writer = await connect(url)
        assert await rest(reader) == 0
        writer.close()
        assert loopback.now() < 5
        for _, left in crowd:
            left.close()
            await left.wait_closed()
        assert (await get(url, "/healthz")).status == 200

    play(scenario)


@pytest.mark.parametrize(("lifetime", "received"), [(None, False), (15.0, False), (25.0, True)])
def test_page_may_prolong_its_connection(lifetime: float | None, *, received: bool) -> None:
    """A page that takes 20 seconds needs a longer lifetime than the usual 10 seconds."""

    async def page(_: web.BaseRequest, headers: dict[str, str], live_until: Callable[[float], None]) -> HttpResponse:
        if lifetime is not None:
            live_until(lifetime)
        await asyncio.sleep(20)
        return HttpResponse(200, b"late", headers=headers)

    async def work() -> None:
        async with serve(Daemon(), port=0, pages=page) as url:
            reader, writer = await connect(url)
            writer.write(b"GET /page HTTP/1.1\r\nHost: x\r\n\r\n")
            assert (await rest(reader) > 0) is received
            writer.close()

    loopback.run(work())


async def test_taken_port_is_an_error() -> None:
    """The error names the port, for the command to show."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match="Address already in use") as caught:
            async with serve(Daemon(), port=port):
                pass
    assert caught.value.filename == f"127.0.0.1:{port}"


async def test_only_this_machine_is_answered_unless_asked_for() -> None:
    """Without a host it listens on the loopback address."""
    async with serve(Daemon(), port=0) as url:
        assert url.startswith("http://127.0.0.1:")
    async with serve(Daemon(), "::1", 0) as url:
        assert url.startswith("http://[::1]:")
