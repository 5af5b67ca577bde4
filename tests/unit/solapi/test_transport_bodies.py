"""Bodies over a real socket: complete, in pieces, truncated, stalled, endless, compressed or not."""

import asyncio
import gzip
import time
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from unittest.mock import Mock

import aiohttp
import pytest
from aiohttp.base_protocol import BaseProtocol
from yarl import URL

from worker.config.settings import Timeout
from worker.model.errors import AccountRejected, Ambiguous, ApiError, ConnectionFailed, ServerError
from worker.solapi.transport import Response, Transport, _BodyDecoder, _completes_soon, _read_beginning

Play = Callable[[asyncio.StreamWriter], Awaitable[None]]

_LONG = bytes(range(256)) * 2_000
_BOUNDLESS = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n"


def _head(length: int, status: str = "200 OK", more: str = "") -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: {length}\r\n{more}\r\n".encode()


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


@asynccontextmanager
async def _served(play: Play) -> AsyncIterator[URL]:
    """Yield a server that reads the head and body of one request, then plays."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                await play(writer)
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    async with server:
        yield URL(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/")


async def _exchange(play: Play, method: str = "PUT", *, sink: Callable[[bytes], None] | None = None) -> Response:
    timeout = Timeout(connect_seconds=1, total_seconds=0.3)
    async with _served(play) as url, Transport(timeout) as transport:
        return await transport.exchange(method, url, {}, sink=sink)


def _says(*pieces: bytes) -> Play:
    async def play(writer: asyncio.StreamWriter) -> None:
        for piece in pieces:
            writer.write(piece)

    return play


async def _breaks(writer: asyncio.StreamWriter) -> None:
    writer.write(_head(len(_LONG)) + _LONG[:100_000])
    await writer.drain()
    writer.close()


async def _stalls(writer: asyncio.StreamWriter) -> None:
    writer.write(_head(len(_LONG)) + _LONG[:100_000])


async def _floods(writer: asyncio.StreamWriter) -> None:
    writer.write(_BOUNDLESS + b"\r\n")
    for _ in range(80):
        writer.write(_chunk(bytes(1 << 20)))
        await writer.drain()


@pytest.mark.parametrize("moment", [0.02, 0.0])
async def test_start_of_a_long_response_is_kept(monkeypatch: pytest.MonkeyPatch, moment: float) -> None:
    """The response is read to its end, with or without a length, fast or slow."""
    monkeypatch.setattr("worker.solapi.transport._MOMENT", moment)
    with_length = await _exchange(_says(_head(len(_LONG)), _LONG[:9], _LONG[9:]))
    without_length = await _exchange(_says(_BOUNDLESS + b"\r\n", _chunk(_LONG[:9]), _chunk(_LONG[9:]), _chunk(b"")))
    for response in (with_length, without_length):
        assert (response.raw, response.complete) == (_LONG[: 16 << 10], False)


@pytest.mark.parametrize("moment", [0.02, 0.0])
async def test_short_response_is_kept_unchanged(monkeypatch: pytest.MonkeyPatch, moment: float) -> None:
    """This includes an empty response, and bodies that arrive fast or slowly."""
    monkeypatch.setattr("worker.solapi.transport._MOMENT", moment)
    assert (await _exchange(_says(_head(3), b"yes")))[2:] == (b"yes", True)
    assert (await _exchange(_says(_BOUNDLESS + b"\r\n", _chunk(b"yes"), _chunk(b""))))[2:] == (b"yes", True)
    assert (await _exchange(_says(_head(0))))[2:] == (b"", True)


@pytest.mark.parametrize(("method", "error"), [("PUT", Ambiguous), ("GET", ConnectionFailed)])
@pytest.mark.parametrize("sink", [None, [].append])
async def test_truncated_or_stalled_body_ends_in_time(
    method: str, error: type[ApiError], sink: Callable[[bytes], None] | None
) -> None:
    """A truncated body is an error immediately. A stalled body is an error when the time of the attempt is over."""
    with pytest.raises(error) as broken:
        await _exchange(_breaks, method, sink=sink)
    assert not broken.value.timed_out
    with pytest.raises(error) as stalled:
        await _exchange(_stalls, method, sink=sink)
    assert stalled.value.timed_out


async def test_body_truncated_before_the_wait_is_an_error_immediately() -> None:
    """A failure before the wait ends it, not the time of the attempt."""
    loop = asyncio.get_running_loop()
    body = aiohttp.StreamReader(BaseProtocol(loop), 1, loop=loop)
    body.set_exception(aiohttp.ClientPayloadError("broken"))
    with pytest.raises(aiohttp.ClientPayloadError):
        await _completes_soon(body, loop.time() + 60)


async def test_connection_is_reused_after_a_dropped_body() -> None:
    """A long response whose body is dropped does not cost a new connection."""
    peers = set()

    async def play(writer: asyncio.StreamWriter) -> None:
        peers.add(writer.get_extra_info("peername"))
        writer.write(_head(len(_LONG)) + _LONG)

    async with _served(play) as url, Transport(Timeout()) as transport:
        for _ in range(3):
            await transport.exchange("PUT", url, {})
    assert len(peers) == 1


async def test_document_is_streamed_to_the_sink() -> None:
    """The decompressed body of a 200 goes to the sink. The body of any other status stays in the response."""
    packed = gzip.compress(_LONG)
    gzipped = "Content-Encoding: gzip\r\n"
    for head, body in ((_head(len(packed), more=gzipped), packed), (_head(len(_LONG)), _LONG)):
        pieces: list[bytes] = []
        response = await _exchange(_says(head, body), "GET", sink=pieces.append)
        assert (response.raw, b"".join(pieces)) == (b"", _LONG)
    refused = await _exchange(
        _says(_head(4, "400 No"), b"why?"), "GET", sink=lambda _: pytest.fail("this is no document")
    )
    assert refused.content() == b"why?"


_GZIP = "Content-Encoding: gzip\r\n"
_PACKED = gzip.compress(_LONG)
_MEMBERS = gzip.compress(_LONG[:1_000]) + gzip.compress(b"") + gzip.compress(_LONG[1_000:])


@pytest.mark.parametrize(
    ("more", "body"),
    [
        ("Content-Encoding:\r\n", _LONG),
        ("Content-Encoding: \t \r\n", _LONG),
        ("Content-Encoding: IDENTITY\r\n", _LONG),
        ("Content-Encoding: x-gzip\r\n", _PACKED),
        ("Content-Encoding:  X-GZip \r\n", _PACKED),
        ("Content-Encoding: identity, gzip\r\n", _PACKED),
        ("Content-Encoding: gzip,\r\n", _PACKED),
        ("Content-Encoding: identity\r\n" + _GZIP, _PACKED),
        (_GZIP, _MEMBERS),
        (_GZIP, _MEMBERS + bytes(20_000)),
        (_GZIP, _PACKED + bytes(20_000) + gzip.compress(b"")),
        (_GZIP, b""),
    ],
)
async def test_every_spelling_of_identity_and_gzip_is_accepted(more: str, body: bytes) -> None:
    """RFC 9110 and RFC 1952: blank, any letter case, x-gzip, lists, several members, zeros after a member."""
    pieces: list[bytes] = []
    await _exchange(_says(_head(len(body), more=more), body), "GET", sink=pieces.append)
    assert b"".join(pieces) == (_LONG if body else b"")


@pytest.mark.parametrize("size", [1, 7, 1 << 20])
def test_gzip_member_may_start_and_end_in_any_piece(size: int) -> None:
    pieces: list[bytes] = []
    body = _BodyDecoder(200, {"content-encoding": "gzip"}, pieces.append)
    travelled = _MEMBERS + bytes(9)
    for start in range(0, len(travelled), size):
        body.feed(travelled[start : start + size])
    body.finish()
    assert b"".join(pieces) == _LONG


def test_time_of_tiny_gzip_members_is_linear() -> None:
    """The time grows with the number of members, not with its square."""
    flood = gzip.compress(b"") * 50_000
    body = _BodyDecoder(200, {"Content-Encoding": "gzip"}, lambda _: None)
    started_at = time.process_time()
    body.feed(flood)
    body.finish()
    assert time.process_time() - started_at < 5


_NOT_GZIP = "the response claims to be gzip but is not"
_TRUNCATED = "the response is truncated"
_UNSUPPORTED = "the response has an unsupported compression"


@pytest.mark.parametrize(
    ("more", "body", "message"),
    [
        (_GZIP, b"no gzip", _NOT_GZIP),
        (_GZIP, bytes(20), _NOT_GZIP),
        (_GZIP, zlib.compress(_LONG), _NOT_GZIP),
        (_GZIP, _PACKED[:-20], _TRUNCATED),
        (_GZIP, _MEMBERS[:-20], _TRUNCATED),
        (_GZIP, _PACKED + gzip.compress(b"")[:1], _TRUNCATED),
        (_GZIP, _PACKED + b"?", _TRUNCATED),
        (_GZIP, _PACKED + b"X", _TRUNCATED),
        (_GZIP, _PACKED + b"no gzip", _NOT_GZIP),
        (_GZIP, _PACKED + bytes(9) + b"no gzip", _NOT_GZIP),
        ("Content-Encoding: br\r\n", b"?", _UNSUPPORTED),
        ("Content-Encoding: deflate\r\n", b"?", _UNSUPPORTED),
        ("Content-Encoding: gzip, br\r\n", _PACKED, _UNSUPPORTED),
        ("Content-Encoding: gzip, gzip\r\n", gzip.compress(_PACKED), _UNSUPPORTED),
    ],
)
async def test_invalid_compression_is_a_failed_read(more: str, body: bytes, message: str) -> None:
    """Wrong, truncated and unknown compressions are errors, in a document and in an error body."""
    with pytest.raises(ServerError) as document:
        await _exchange(_says(_head(len(body), more=more), body), "GET", sink=lambda _: None)
    with pytest.raises(ServerError) as refusal:
        (await _exchange(_says(_head(len(body), "500 No", more), body))).content()
    assert (str(document.value), document.value.http_status) == (message, 200)
    assert (str(refusal.value), refusal.value.http_status) == (message, 500)


def test_body_is_decompressed_in_limited_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """A small response that decompresses to gigabytes cannot fill the memory."""
    monkeypatch.setattr("worker.solapi.transport._PIECE", 1000)
    pieces: list[bytes] = []
    decoder = _BodyDecoder(200, {"Content-Encoding": "gzip"}, pieces.append)
    decoder.feed(_PACKED)
    decoder.finish()
    assert max(map(len, pieces)) == 1000
    assert b"".join(pieces) == _LONG
    assert Response(200, {"Content-Encoding": "gzip"}, _PACKED).content() == _LONG


@pytest.mark.parametrize(("cap", "headers"), [("_RAW_CAP", {"Content-Encoding": "gzip"}), ("_INFLATED_CAP", {})])
def test_body_of_several_pieces_may_reach_its_limit_and_not_exceed_it(
    cap: str, headers: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.solapi.transport._MIB", 100)
    monkeypatch.setattr(f"worker.solapi.transport.{cap}", 100)
    decoder = _BodyDecoder(200, headers, lambda _: None)
    body = gzip.compress(b"") + bytes(101)
    for start in range(0, 100, 10):
        decoder.feed(body[start : start + 10])
    with pytest.raises(AccountRejected) as raised:
        decoder.feed(body[100:101])
    assert (str(raised.value), raised.value.http_status) == ("the response is larger than 1 MiB", 200)


async def _read_in_steps(monkeypatch: pytest.MonkeyPatch, *pieces: bytes) -> Response:
    """Return what is kept of a body of which each piece arrives after the previous one is read."""
    waiting = list(pieces)

    async def arrive(content: aiohttp.StreamReader, _: float) -> bool:
        content.feed_data(waiting.pop(0))
        if not waiting:
            content.feed_eof()
        return not waiting

    monkeypatch.setattr("worker.solapi.transport._completes_soon", arrive)
    loop = asyncio.get_running_loop()
    body = aiohttp.StreamReader(BaseProtocol(loop), 1 << 20, loop=loop)
    return await _read_beginning(Mock(status=502, headers={}, content=body), 0.0)


async def test_slow_body_is_kept_up_to_16_kib(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (await _read_in_steps(monkeypatch, b"ab", b"cd", b"ef"))[2:] == (b"abcdef", True)
    beginning = (_LONG[:10_000] * 2)[: 16 << 10]
    for pieces in (2, 3):
        assert (await _read_in_steps(monkeypatch, *[_LONG[:10_000]] * pieces))[2:] == (beginning, False)


async def test_rest_of_a_slow_body_has_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.solapi.transport._MIB", 10)
    monkeypatch.setattr("worker.solapi.transport._RAW_CAP", 10)
    assert not (await _read_in_steps(monkeypatch, bytes(16 << 10), bytes(5), bytes(5), b"")).complete
    with pytest.raises(AccountRejected) as raised:
        await _read_in_steps(monkeypatch, bytes(16 << 10), bytes(5), bytes(6), b"")
    assert (str(raised.value), raised.value.http_status) == ("the response is larger than 1 MiB", 502)


async def test_endless_response_ends_the_account(monkeypatch: pytest.MonkeyPatch) -> None:
    """The limits apply to a write's response of 80 MB and to a document before and after decompression."""
    timeout = Timeout(connect_seconds=1, total_seconds=20)
    async with _served(_floods) as url, Transport(timeout) as transport:
        with pytest.raises(AccountRejected, match="larger than 64 MiB"):
            await transport.exchange("PUT", url, {})
    monkeypatch.setattr("worker.solapi.transport._INFLATED_CAP", 1 << 20)
    bomb = gzip.compress(bytes(8 << 20))
    for more, body in (("Content-Encoding: gzip\r\n", bomb), ("", bytes(2 << 20))):
        with pytest.raises(AccountRejected, match="larger than 1 MiB"):
            await _exchange(_says(_head(len(body), more=more), body), "GET", sink=lambda _: None)
    monkeypatch.setattr("worker.solapi.transport._RAW_CAP", 100)
    with pytest.raises(AccountRejected):
        await _exchange(_says(_head(len(bomb), more="Content-Encoding: gzip\r\n"), bomb), "GET", sink=lambda _: None)
