"""Server-sent events that report changes of the ledger. The browser then loads the page again."""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from hashlib import sha256
from typing import Final

from aiohttp import web

__all__ = ["MAX_STREAMS", "EventStreams"]

MAX_STREAMS: Final = 16
"""Maximum count of open event streams."""
_POLL_SECONDS: Final = 2.0
"""Seconds between checks if another process has changed the ledger."""
_KEEP_ALIVE_SECONDS: Final = 15.0
"""Seconds without an event before a keep-alive is sent. Proxies close idle connections after 30 seconds or more."""
_LIFETIME: Final = 900.0
"""Lifetime of an event stream in seconds. The browser then opens a new one."""


class EventStreams:
    """The open event streams. `state` returns a value that changes with every write to the ledger; it may block."""

    def __init__(self, state: Callable[[], object]) -> None:
        self._state = state
        self._began = time.time_ns()
        self._changes = 0
        self._now = ""
        self._listeners = 0
        self._is_closed = False
        self._changed = asyncio.Condition()
        self._poller: asyncio.Task[None] | None = None
        self._notifications: set[asyncio.Task[str]] = set()

    @property
    def is_full(self) -> bool:
        """Return True if no further stream can be opened."""
        return self._listeners >= MAX_STREAMS

    def version(self) -> str:
        """Return the version of the data, which changes with every change of the ledger. It may block."""
        return sha256(repr((self._began, self._changes, self._state())).encode()).hexdigest()[:16]

    def notify(self) -> None:
        """Send a change event to every stream. It does not block."""
        self._changes += 1
        if not self._listeners:
            return
        task = asyncio.ensure_future(self._notify_all())
        self._notifications.add(task)
        task.add_done_callback(self._notifications.discard)

    async def stream(
        self, request: web.BaseRequest, headers: dict[str, str], last: Callable[[float], None]
    ) -> web.StreamResponse:
        """Send events until the client disconnects or the lifetime of the stream ends.

        `headers` are the headers of the response. `last` sets the remaining lifetime of the connection in seconds.
        """
        self._listeners += 1
        if self._poller is None:
            self._poller = asyncio.ensure_future(self._poll())
        try:
            last(_LIFETIME)
            response = web.StreamResponse(headers=headers | {"Content-Type": "text/event-stream"})
            response.force_close()
            await response.prepare(request)
            await self._send_events(response)
            return response
        finally:
            self._listeners -= 1
            if not self._listeners and self._poller is not None:
                self._poller.cancel()
                self._poller = None

    def close(self) -> None:
        """End every stream."""
        self._is_closed = True
        if self._poller is not None:
            self._poller.cancel()
        self.notify()

    async def _send_events(self, response: web.StreamResponse) -> None:
        version = await self._notify_all()
        with suppress(ConnectionError, TimeoutError):
            await response.write(f"event: hello\ndata: {version}\n\n".encode())
            async with asyncio.timeout(_LIFETIME):
                while not self._is_closed:
                    with suppress(TimeoutError):
                        async with asyncio.timeout(_KEEP_ALIVE_SECONDS), self._changed:
                            await self._changed.wait_for(lambda: self._is_closed or self._now != version)  # noqa: B023 - evaluated before it changes
                    if self._now == version:
                        await response.write(b": alive\n\n")
                        continue
                    version = self._now
                    await response.write(f"event: change\ndata: {version}\n\n".encode())

    async def _notify_all(self) -> str:
        """Update the version, and wake every stream."""
        async with self._changed:
            if not self._is_closed:
                self._now = await asyncio.get_running_loop().run_in_executor(None, self.version)
            self._changed.notify_all()
            return self._now

    async def _poll(self) -> None:
        while True:
            await asyncio.sleep(_POLL_SECONDS)
            await self._notify_all()
