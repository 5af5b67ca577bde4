"""Serve one account from a process of its own, with as little work as asyncio allows, to measure the client.

The server can enforce a sliding window, delay its responses, and respond to a write with the whole account document,
gzipped. It prints one JSON line with its URL when it is ready. `GET /stats` returns the counts and times of writes.
"""

import argparse
import asyncio
import gzip
import json
import random
import socket
from collections import deque
from email.utils import formatdate
from typing import cast

import uvloop

ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"


def row(phone: str, status: str, chance: random.Random) -> dict[str, object]:
    """Return a row of the account document, as long as the vendor's, with parts that do not compress."""
    made = f"2018-{chance.randint(1, 12):02}-{chance.randint(1, 28):02}T05:25:27.{chance.randint(0, 999):03}Z"
    return {
        "unlockDuplicate": {"duplicateId": None, "reason": None, "name": None, "status": None},
        "status": status,
        "expireAt": None,
        "method": "ARS",
        "dateCreated": made,
        "dateUpdated": made,
        "log": [{"createAt": made, "message": "발신번호 상태를 변경하였습니다."}],
        "approvalDocuments": [],
        "phoneNumber": phone,
        "handleKey": "SED20181120142527" + "".join(chance.choices(ALPHABET, k=16)),
    }


class State:
    """The statuses of the account, the sliding window, and the statistics of writes."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.statuses = {f"010{number:08}": "INACTIVE" for number in range(options.numbers)}
        self.window: float = options.window
        self.capacity: int = options.capacity
        self.latency: tuple[float, float] = (options.latency[0] / 1000, options.latency[1] / 1000)
        self.whole = options.whole_responses
        self.arrivals: deque[float] = deque()
        self.chance = random.Random(1)
        self.stats = {"writes": 0, "refused": 0, "first": 0.0, "filled": 0.0, "last": 0.0}
        rows = (json.dumps(row(phone, "?", self.chance), ensure_ascii=False) for phone in self.statuses)
        self.halves = [text.encode().split(b"?", 1) for text in rows]
        self.response = gzip.compress(self.document(), 6) if self.whole else b'{"ok":true}'

    def document(self) -> bytes:
        """Build the account document quickly, because its time counts against the client."""
        halves = zip(self.halves, self.statuses.values(), strict=True)
        rows = b",".join([b"%b%b%b" % (left, status.encode(), right) for (left, right), status in halves])
        return b'{"accountId":"1","limit":1000000,"senderIds":[%b]}' % rows

    def admitted(self, now: float) -> bool:
        """Return True if the sliding window has room for a write that arrives now."""
        if not self.capacity:
            return True
        arrivals = self.arrivals
        while arrivals and arrivals[0] <= now - self.window:
            arrivals.popleft()
        if len(arrivals) >= self.capacity:
            return False
        arrivals.append(now)
        return True


class Connection(asyncio.Protocol):
    """One keep-alive connection, with one request at a time."""

    def __init__(self, state: State, loop: asyncio.AbstractEventLoop) -> None:
        self.state = state
        self.loop = loop
        self.buffer = b""
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Handle each complete request."""
        self.buffer += data
        while (end := self.buffer.find(b"\r\n\r\n")) >= 0:
            head = self.buffer[:end]
            mark = head.lower().find(b"content-length:")
            length = int(head[mark + 15 :].split(b"\r\n", 1)[0]) if mark >= 0 else 0
            if len(self.buffer) < end + 4 + length:
                return
            body = self.buffer[end + 4 : end + 4 + length]
            self.buffer = self.buffer[end + 4 + length :]
            self.respond(head, body)

    def respond(self, head: bytes, body: bytes) -> None:
        """Handle one request."""
        method, path, _ = head.split(b"\r\n", 1)[0].split(b" ")
        state = self.state
        if method == b"PUT":
            now = self.loop.time()
            if not state.admitted(now):
                state.stats["refused"] += 1
                self.send(b"429 Too Many Requests", b'{"errorCode":"TooManyRequests"}', b"")
                return
            state.stats["writes"] += 1
            state.stats["first"] = state.stats["first"] or now
            state.stats["last"] = now
            if state.stats["writes"] == state.capacity:
                state.stats["filled"] = now
            state.statuses[path.rsplit(b"/", 1)[1].decode()] = "INACTIVE" if b"INACTIVE" in body else "ACTIVE"
            coding = b"Content-Encoding: gzip\r\n" if state.whole else b""
            self.send(b"200 OK", state.response, coding, delayed=True)
        elif path == b"/stats":
            self.send(b"200 OK", json.dumps(state.stats).encode(), b"")
        else:
            self.send(b"200 OK", state.document(), b"")

    def send(self, status: bytes, body: bytes, headers: bytes, *, delayed: bool = False) -> None:
        """Send a response, at once or after the latency."""
        date = formatdate(usegmt=True).encode()
        response = b"HTTP/1.1 %b\r\nDate: %b\r\nContent-Type: application/json\r\n%bContent-Length: %d\r\n\r\n%b" % (
            status,
            date,
            headers,
            len(body),
            body,
        )
        assert self.transport is not None
        low, high = self.state.latency
        if delayed and high:
            self.loop.call_later(self.state.chance.uniform(low, high), self.transport.write, response)
        else:
            self.transport.write(response)


def main() -> None:
    """Serve until killed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--numbers", type=int, default=1)
    parser.add_argument("--capacity", type=int, default=0, help="writes in a window; 0 is no limit")
    parser.add_argument("--window", type=float, default=5.0)
    parser.add_argument("--latency", type=float, nargs=2, default=(0.0, 0.0), metavar="MS")
    parser.add_argument("--whole-responses", action="store_true")
    state = State(parser.parse_args())
    loop = uvloop.new_event_loop()
    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
    loop.run_until_complete(loop.create_server(lambda: Connection(state, loop), sock=listener))
    print(json.dumps({"url": f"http://127.0.0.1:{listener.getsockname()[1]}"}), flush=True)
    loop.run_forever()


if __name__ == "__main__":
    main()
