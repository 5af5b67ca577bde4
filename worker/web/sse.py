"""Server-sent events: that something changed, and nothing of what. Who hears it asks for the page again."""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from hashlib import sha256
from typing import Final

from aiohttp import web

__all__ = ["MOST", "EventStreams"]

MOST: Final = 16
"""Streams at once."""
_LOOK: Final = 2.0
"""Seconds between looks at what others may have changed."""
_BEAT: Final = 15.0
"""Seconds of silence after which a sign of life is sent; proxies give up after 30 and more."""
_LIVES: Final = 900.0
"""Seconds of a stream, after which a browser opens the next."""


class EventStreams:
    """Who is listening, and what they are told. `look` gives a value that changes when something did; it may block."""

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
        """Whether nobody more can listen."""
        return self._listening >= MOST

    def version(self) -> str:
        """A word that is another one after every change; it may block. A page has that of before it was made."""
        return sha256(repr((self._began, self._rings, self._look())).encode()).hexdigest()[:16]

    def ring(self) -> None:
        """Something changed."""
        self._rings += 1
        if not self._listening:
            return
        task = asyncio.ensure_future(self._tell_all())
        self._ringing.add(task)
        task.add_done_callback(self._ringing.discard)

    async def stream(
        self, request: web.BaseRequest, headers: dict[str, str], last: Callable[[float], None]
    ) -> web.StreamResponse:
        """Tell who asked of changes until they leave; `last` gives the connection so many seconds more."""
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
        """End every stream, and look no more."""
        self._closed = True
        if self._looking is not None:
            self._looking.cancel()
        self.ring()

    async def _tell(self, response: web.StreamResponse) -> None:
        told = await self._tell_all()
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

    async def _tell_all(self) -> str:
        """Look, and wake who listens where something changed or this is the end."""
        async with self._rung:
            if not self._closed:
                self._now = await asyncio.get_running_loop().run_in_executor(None, self.version)
            self._rung.notify_all()
            return self._now

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(_LOOK)
            await self._tell_all()
