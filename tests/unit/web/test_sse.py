"""Events for open pages over real sockets: that something changed, and nothing of what."""

import re
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.pages import record_run, request, serve_pages
from worker.web import Access, StatusPages
from worker.web.sse import MOST


def _listen(url: str) -> socket.socket:
    host, _, port = url.removeprefix("http://").rpartition(":")
    found = socket.create_connection((host, int(port)), timeout=20)
    found.sendall(b"GET /events HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
    return found


def _until(found: socket.socket, words: bytes) -> bytes:
    data = b""
    while words not in data:
        more = found.recv(4096)
        assert more, data
        data += more
    return data


def test_listeners_get_changes_without_their_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a run records makes an event, which has a count and no name."""
    monkeypatch.setattr("worker.web.sse._POLL_SECONDS", 0.05)
    path = record_run(tmp_path, "main")
    with serve_pages(path) as url, _listen(url) as found:
        assert b"text/event-stream" in _until(found, b"event: hello")
        record_run(tmp_path, "secret-name", run="20261124T010000Z-000002")
        assert b"secret-name" not in _until(found, b"event: change")


def test_a_page_says_what_it_shows(tmp_path: Path) -> None:
    """Its version is the first event of a listener, as long as nothing changed between."""
    path = record_run(tmp_path, "main")
    versions = []
    with serve_pages(path) as url:
        for run in ("20261124T010000Z-000002", "20261124T010000Z-000003"):
            shown = re.findall(r'data-version="(\w+)"', request(url).body)
            with _listen(url) as found:
                assert _until(found, b"\n\n").endswith(f"event: hello\ndata: {shown[0]}\n\n\r\n".encode())
            versions.append(shown[0])
            record_run(tmp_path, "main", run=run)
    assert len(set(versions)) == 2


def test_asking_for_the_headers_of_events_takes_no_place(tmp_path: Path) -> None:
    """HEAD is answered at once, however often it comes."""
    with serve_pages(tmp_path / "ledger.db") as url:
        for _ in range(MOST + 1):
            answer = request(url, "/events", "HEAD")
            assert (answer.status, answer.headers["content-type"], answer.body) == (200, "text/event-stream", "")
        assert _free(url)


def test_listeners_are_limited(tmp_path: Path) -> None:
    """Beyond them it is 503; a place that was left is free again, and pages are served all the while."""
    with serve_pages(tmp_path / "ledger.db") as url:
        crowd = [_listen(url) for _ in range(MOST)]
        for each in crowd:
            _until(each, b"event: hello")
        assert request(url, "/events").status == 503
        assert request(url).status == 200
        for each in crowd:
            each.close()
        _eventually(lambda: _free(url))


def _free(url: str) -> bool:
    with _listen(url) as found:
        return b" 200 " in found.recv(64)


def _eventually(holds: Callable[[], bool], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end


def test_silence_is_broken_by_signs_of_life_and_a_stream_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that proxies keep it, and none is kept for ever."""
    monkeypatch.setattr("worker.web.sse._KEEP_ALIVE_SECONDS", 0.02)
    monkeypatch.setattr("worker.web.sse._LIFETIME", 1.0)
    with serve_pages(tmp_path / "ledger.db") as url, _listen(url) as found:
        _until(found, b": alive")
        while found.recv(4096):
            pass


def test_closed_site_reads_no_more(tmp_path: Path) -> None:
    """Closing it twice, or before the first listener, is no mistake."""
    site = StatusPages(tmp_path / "ledger.db", Access(None, host="127.0.0.1"))
    site.close()
    site.close()
