"""The HTTP server of the daemon over real sockets: responses, refusals, and clients that stall."""

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

import pytest
from aiohttp import web
from prometheus_client.parser import text_string_to_metric_families

from tests.support import loopback
from worker.telemetry.metrics import Metrics
from worker.web import serve
from worker.web.server import HttpResponse

_MORE_THAN_SOCKET_BUFFERS = 64 << 20


class Response(NamedTuple):
    """A response: status, headers by lower-case names, and body."""

    status: int
    headers: dict[str, str]
    body: str


class Daemon:
    """A daemon in a state that tests set."""

    def __init__(self) -> None:
        self.figures = Metrics()
        self.dead: str | None = None
        self.unready: str | None = None
        self.accepted: list[str] = []

    def render_metrics(self, accept: str) -> tuple[bytes, str]:
        """Return real metrics."""
        self.accepted.append(accept)
        return self.figures.render(accept)

    def why_not_alive(self) -> str | None:
        """Return the reason that the test has set."""
        return self.dead

    def why_not_ready(self) -> str | None:
        """Return the reason that the test has set."""
        return self.unready


class Broken(Daemon):
    """A daemon that raises an unexpected error."""

    def why_not_alive(self) -> str | None:
        """Raise an unexpected error."""
        raise KeyError("0123456789ABCDEF")


def run_scenario(scenario: Callable[[str], Awaitable[None]], daemon: Daemon | None = None) -> None:
    """Run a scenario against a server on a loop with virtual time."""

    async def serve_and_run() -> None:
        async with serve(daemon or Daemon(), port=0) as url:
            await scenario(url)

    loopback.run(serve_and_run())


async def connect(url: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Open a connection to the server."""
    host, _, port = url.removeprefix("http://").rpartition(":")
    return await asyncio.open_connection(host, int(port), limit=1 << 24)


async def send(url: str, text: str) -> Response:
    """Return the response to a raw request. The server must close the connection after it."""
    reader, writer = await connect(url)
    writer.write(text.encode())
    response_text = (await reader.read()).decode()
    writer.close()
    await writer.wait_closed()
    head, _, body = response_text.partition("\r\n\r\n")
    status, *lines = head.split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines)
    return Response(int(status.split()[1]), {name.lower(): value for name, value in headers.items()}, body)


async def get(url: str, path: str, method: str = "GET", headers: str = "") -> Response:
    """Return the response to a request without a body."""
    return await send(url, f"{method} {path} HTTP/1.1\r\nHost: x\r\n{headers}\r\n")


async def count_remaining_bytes(reader: asyncio.StreamReader) -> int:
    """Return the number of bytes until the connection ends in any way."""
    count = 0
    try:
        while data := await reader.read(1 << 16):
            count += len(data)
    except ConnectionResetError:
        pass
    return count


def test_metrics_are_served_in_the_requested_format() -> None:
    """The default is the text format. OpenMetrics is served if the client accepts it."""

    async def scenario(url: str) -> None:
        text_response = await get(url, "/metrics")
        assert text_response.status == 200
        assert text_response.headers["content-type"].startswith("text/plain; version=")
        names = {family.name for family in text_string_to_metric_families(text_response.body)}
        assert "senderid_build_info" in names
        openmetrics_response = await get(
            url, "/metrics", headers="Accept: application/openmetrics-text;version=1.0.0,text/plain;q=0.5\r\n"
        )
        assert openmetrics_response.headers["content-type"].startswith("application/openmetrics-text")
        assert openmetrics_response.body.endswith("# EOF\n")

    daemon = Daemon()
    run_scenario(scenario, daemon)
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
    """The status is 200, or 503 with the reason."""
    daemon = Daemon()
    daemon.dead, daemon.unready = dead, unready

    async def scenario(url: str) -> None:
        for path, expected in (("/healthz", health), ("/readyz", readiness)):
            response = await get(url, path)
            assert (response.status, response.body) == expected
            assert response.headers["content-type"] == "text/plain; charset=utf-8"

    run_scenario(scenario, daemon)


@pytest.mark.parametrize("path", ["/metrics", "/healthz", "/nothing"])
def test_head_is_get_without_the_body(path: str) -> None:
    """Status and length are those of GET."""

    async def scenario(url: str) -> None:
        get_response, head_response = await get(url, path), await get(url, path, "HEAD")
        assert (head_response.status, head_response.body) == (get_response.status, "")
        assert head_response.headers["content-length"] == get_response.headers["content-length"]

    run_scenario(scenario)


@pytest.mark.parametrize("path", ["/", "/metrics/", "/metrics/x", "/favicon.ico", "/..%2fetc/passwd", "//metrics"])
def test_unknown_path_is_not_found(path: str) -> None:
    """The path is not repeated in the response."""

    async def scenario(url: str) -> None:
        response = await get(url, path)
        assert (response.status, response.body) == (404, "not found; the paths are /metrics, /healthz, /readyz\n")

    run_scenario(scenario)


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "TRACE"])
def test_methods_other_than_get_and_head_are_refused(method: str) -> None:
    """The body of the request is not read."""

    async def scenario(url: str) -> None:
        response = await get(url, "/metrics", method, "Content-Length: 1000000\r\n")
        assert (response.status, response.headers["allow"], response.body) == (
            405,
            "GET, HEAD",
            "method not allowed; use GET or HEAD\n",
        )

    run_scenario(scenario)


@pytest.mark.parametrize("path", ["/metrics", "/readyz", "/nothing"])
def test_every_response_has_security_headers(path: str) -> None:
    """Other sites cannot embed or cache it, and it does not name its software."""

    async def scenario(url: str) -> None:
        headers = (await get(url, path)).headers
        assert headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cross-origin-resource-policy"] == "same-origin"
        assert headers["cache-control"] == "no-store"
        assert headers["server"] == "senderid"

    run_scenario(scenario)


def test_unexpected_error_is_reported_by_its_type_only(capfd: pytest.CaptureFixture[str]) -> None:
    """The status is 500 without the text of the error and without a traceback."""

    async def scenario(url: str) -> None:
        response = await get(url, "/healthz")
        assert (response.status, response.body) == (500, "a bug, please report it: KeyError\n")

    run_scenario(scenario, Broken())
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
def test_invalid_and_oversized_requests_are_refused(
    text: str, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """TLS, a long line, a long header and too many headers get 400, without a log line."""
    caplog.set_level(logging.DEBUG)

    async def scenario(url: str) -> None:
        assert (await send(url, text)).status == 400
        assert (await get(url, "/healthz")).status == 200

    run_scenario(scenario)
    assert capfd.readouterr() == ("", "")
    assert [record.getMessage() for record in caplog.records if record.name != "asyncio"] == []
    assert not logging.getLogger().disabled


@pytest.mark.parametrize("request_start", ["", "GET /metr", "GET /metrics HTTP/1.1\r\nHost: x\r\n"])
def test_stalled_request_is_closed_after_ten_seconds(request_start: str) -> None:
    """A connection that sends nothing or stalls does not block others."""

    async def scenario(url: str) -> None:
        start = loopback.now()
        reader, writer = await connect(url)
        writer.write(request_start.encode())
        assert (await get(url, "/healthz")).status == 200
        assert await count_remaining_bytes(reader) == 0
        assert 9.9 < loopback.now() - start < 11
        writer.close()

    run_scenario(scenario)


def test_stalled_response_is_abandoned_after_ten_seconds() -> None:
    """The client does not read the response."""

    class DaemonWithLongMetrics(Daemon):
        def render_metrics(self, accept: str) -> tuple[bytes, str]:
            return b"x" * _MORE_THAN_SOCKET_BUFFERS, accept

    async def scenario(url: str) -> None:
        loop, (host, _, port) = asyncio.get_running_loop(), url.removeprefix("http://").rpartition(":")
        with socket.socket() as client:
            client.setblocking(False)  # noqa: FBT003 - the standard library's own
            await loop.sock_connect(client, (host, int(port)))
            await loop.sock_sendall(client, b"GET /metrics HTTP/1.1\r\nHost: x\r\nAccept: text/plain\r\n\r\n")
            assert (await get(url, "/healthz")).status == 200
            await asyncio.sleep(11)
            reader, writer = await asyncio.open_connection(sock=client)
            assert await count_remaining_bytes(reader) < _MORE_THAN_SOCKET_BUFFERS
            writer.close()

    run_scenario(scenario, DaemonWithLongMetrics())


def test_connections_are_limited() -> None:
    """At most 64 connections are served. Further connections are closed immediately, until one is free again."""

    async def scenario(url: str) -> None:
        connections = [await connect(url) for _ in range(64)]
        reader, writer = await connect(url)
        assert await count_remaining_bytes(reader) == 0
        writer.close()
        assert loopback.now() < 5
        for _, open_writer in connections:
            open_writer.close()
            await open_writer.wait_closed()
        assert (await get(url, "/healthz")).status == 200

    run_scenario(scenario)


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
            assert (await count_remaining_bytes(reader) > 0) is received
            writer.close()

    loopback.run(work())


async def test_taken_port_is_an_error() -> None:
    """The error names the address and the port."""
    with socket.create_server(("127.0.0.1", 0)) as occupied:
        port = occupied.getsockname()[1]
        with pytest.raises(OSError, match="Address already in use") as caught:
            async with serve(Daemon(), port=port):
                pass
    assert caught.value.filename == f"127.0.0.1:{port}"


async def test_server_listens_on_loopback_by_default() -> None:
    async with serve(Daemon(), port=0) as url:
        assert url.startswith("http://127.0.0.1:")
    async with serve(Daemon(), "::1", 0) as url:
        assert url.startswith("http://[::1]:")


def test_closed_connections_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    servers: list[web.Server] = []
    real = web.ServerRunner

    def runner(server: web.Server, **options: Any) -> web.ServerRunner:
        servers.append(server)
        return real(server, **options)

    monkeypatch.setattr(web, "ServerRunner", runner)

    async def scenario(url: str) -> None:
        for _ in range(3):
            assert (await get(url, "/healthz")).status == 200
        await asyncio.sleep(1)
        assert servers[0].connections == []

    run_scenario(scenario)
