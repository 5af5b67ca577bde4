"""Events for open pages over real sockets: they report that something changed, without its content."""

import asyncio
import re
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.pages import record_run, request, serve_pages
from worker.ledger import SqliteFile
from worker.web import Access, StatusPages
from worker.web.sse import MAX_STREAMS, EventStreams


def _connect(url: str) -> socket.socket:
    host, _, port = url.removeprefix("http://").rpartition(":")
    connection = socket.create_connection((host, int(port)), timeout=20)
    connection.sendall(b"GET /events HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
    return connection


def _read_until(connection: socket.socket, marker: bytes) -> bytes:
    data = b""
    while marker not in data:
        received = connection.recv(4096)
        assert received, data
        data += received
    return data


def test_listeners_get_changes_without_their_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A recorded change sends an event with a count and without names."""
    monkeypatch.setattr("worker.web.sse._POLL_SECONDS", 0.05)
    record_run(tmp_path, "main")
    path = tmp_path / "ledger.db"
    with serve_pages(path) as url, _connect(url) as connection:
        assert b"text/event-stream" in _read_until(connection, b"event: hello")
        record_run(tmp_path, "secret-name", run="20261124T010000Z-000002")
        assert b"secret-name" not in _read_until(connection, b"event: change")


async def test_change_during_a_delivery_is_delivered(monkeypatch: pytest.MonkeyPatch) -> None:
    """The ledger changes while a client receives an event. The client gets another event, with the new version."""
    changes = [0]
    streams = EventStreams(lambda: changes[0])
    received: asyncio.Queue[bytes] = asyncio.Queue()

    class Response:
        def __init__(self, headers: dict[str, str]) -> None:
            assert headers["Content-Type"] == "text/event-stream"

        def force_close(self) -> None:
            """Close the connection after the response."""

        async def prepare(self, _request: object) -> None:
            """Send the headers."""

        async def write(self, data: bytes) -> None:
            """Receive an event. The ledger changes once meanwhile."""
            received.put_nowait(data)
            if data.startswith(b"event: change") and changes == [1]:
                await change()

    async def change() -> None:
        changes[0] += 1
        streams.notify()
        await asyncio.sleep(0.05)  # the streams are notified

    monkeypatch.setattr("worker.web.sse.web.StreamResponse", Response)
    stream = asyncio.ensure_future(streams.stream(None, {}, lambda _seconds: None))  # type: ignore[arg-type]
    async with asyncio.timeout(20):
        hello = await received.get()
        await change()
        first, second = await received.get(), await received.get()
    streams.close()
    await stream
    versions = [event.partition(b"data: ")[2] for event in (hello, first, second)]
    assert [event.partition(b"\n")[0] for event in (first, second)] == [b"event: change"] * 2
    assert len(set(versions)) == 3


def test_page_has_the_version_of_the_first_event(tmp_path: Path) -> None:
    """The versions are equal as long as nothing changes between page and event."""
    record_run(tmp_path, "main")
    path = tmp_path / "ledger.db"
    versions = []
    with serve_pages(path) as url:
        for run in ("20261124T010000Z-000002", "20261124T010000Z-000003"):
            page_version = re.findall(r'data-version="(\w+)"', request(url).body)
            with _connect(url) as connection:
                assert _read_until(connection, b"\n\n").endswith(
                    f"event: hello\ndata: {page_version[0]}\n\n\r\n".encode()
                )
            versions.append(page_version[0])
            record_run(tmp_path, "main", run=run)
    assert len(set(versions)) == 2


def test_head_request_for_events_does_not_take_a_slot(tmp_path: Path) -> None:
    """HEAD gets a response immediately."""
    with serve_pages(tmp_path / "ledger.db") as url:
        for _ in range(MAX_STREAMS + 1):
            response = request(url, "/events", "HEAD")
            assert (response.status, response.headers["content-type"], response.body) == (200, "text/event-stream", "")
        assert _has_free_slot(url)


def test_listeners_are_limited(tmp_path: Path) -> None:
    """Others get 503 until one disconnects. Pages are still served."""
    with serve_pages(tmp_path / "ledger.db") as url:
        connections = [_connect(url) for _ in range(MAX_STREAMS)]
        for connection in connections:
            _read_until(connection, b"event: hello")
        assert request(url, "/events").status == 503
        assert request(url).status == 200
        for connection in connections:
            connection.close()
        _wait_until(lambda: _has_free_slot(url))


def _has_free_slot(url: str) -> bool:
    with _connect(url) as connection:
        return b" 200 " in connection.recv(64)


def _wait_until(condition: Callable[[], bool], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end


def test_stream_sends_keep_alives_and_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Proxies keep a stream open that sends comments. Each stream has a maximum lifetime."""
    monkeypatch.setattr("worker.web.sse._KEEP_ALIVE_SECONDS", 0.02)
    monkeypatch.setattr("worker.web.sse._LIFETIME", 1.0)
    with serve_pages(tmp_path / "ledger.db") as url, _connect(url) as connection:
        _read_until(connection, b": alive")
        while connection.recv(4096):
            pass


def test_site_can_be_closed_twice(tmp_path: Path) -> None:
    """The first close may come before the first listener."""
    site = StatusPages(SqliteFile(tmp_path / "ledger.db"), Access(None, host="127.0.0.1"))
    site.close()
    site.close()
