"""Server-sent events that report that something changed. The browser then loads the page again."""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from hashlib import sha256
from typing import Final

from aiohttp import web

__all__ = ["MOST", "EventStreams"]

MOST: Final = 16
"""Most streams at once."""
_LOOK: Final = 2.0
"""Seconds between checks for changes by other processes."""
_BEAT: Final = 15.0
"""Seconds of silence before a keep-alive; proxies close idle connections after 30 or more."""
_LIVES: Final = 900.0
"""Lifetime of a stream in seconds; the browser then opens the next."""


class EventStreams:
    """The open streams. `look` returns a value that changes with the ledger; it may block."""

    def __init__(self, look: Callable[[], object]) -> None:
        self._look = look
        self._began = time.time_ns()
        self._rings = 0
        self._now = ""
        self._listening = 0
        self._closed = False
        self._rung = asyncio.Condition()
        self._looking: asyncio.Task[None] | None = None
        self._ringing: set[asyncio.Task[str]] = set()

    @property
    def full(self) -> bool:
        """True if no further stream can be opened."""
        return self._listening >= MOST

    def version(self) -> str:
        """Return a version that differs after every change; it may block."""
        return sha256(repr((self._began, self._rings, self._look())).encode()).hexdigest()[:16]

    def ring(self) -> None:
        """Report a change to every stream."""
        self._rings += 1
        if not self._listening:
            return
        task = asyncio.ensure_future(self._notify_all())
        self._ringing.add(task)
        task.add_done_callback(self._ringing.discard)

    async def stream(
        self, request: web.BaseRequest, headers: dict[str, str], last: Callable[[float], None]
    ) -> web.StreamResponse:
        """Report changes until the client leaves; `last` extends the lifetime of the connection."""
        self._listening += 1
        if self._looking is None:
            self._looking = asyncio.ensure_future(self._watch())
        try:
            last(_LIVES)
            response = web.StreamResponse(headers=headers | {"Content-Type": "text/event-stream"})
            response.force_close()
            await response.prepare(request)
            await self._tell(response)
            return response
        finally:
            self._listening -= 1
            if not self._listening and self._looking is not None:
                self._looking.cancel()
                self._looking = None

    def close(self) -> None:
        """End every stream."""
        self._closed = True
        if self._looking is not None:
            self._looking.cancel()
        self.ring()

    async def _tell(self, response: web.StreamResponse) -> None:
        told = await self._notify_all()
        with suppress(ConnectionError, TimeoutError):
            await response.write(f"event: hello\ndata: {told}\n\n".encode())
            async with asyncio.timeout(_LIVES):
                while not self._closed:
                    with suppress(TimeoutError):
                        async with asyncio.timeout(_BEAT), self._rung:
                            await self._rung.wait_for(lambda: self._closed or self._now != told)  # noqa: B023 - asked before it changes
                    if self._now == told:
                        await response.write(b": alive\n\n")
                        continue
                    told = self._now
                    await response.write(f"event: change\ndata: {told}\n\n".encode())

    async def _notify_all(self) -> str:
        """Update the version, and wake every stream."""
        async with self._rung:
            if not self._closed:
                self._now = await asyncio.get_running_loop().run_in_executor(None, self.version)
            self._rung.notify_all()
            return self._now

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(_LOOK)
            await self._notify_all()
