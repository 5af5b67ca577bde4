"""Reads of one account that are shared by all tasks that ask before they start."""

import asyncio
from collections.abc import Callable

from worker.model.accounts import ObservedAccount
from worker.model.ports import ReadableAccount

__all__ = ["SharedReads"]


class SharedReads:
    """Coalesces reads: one in flight, at most one queued.

    `on_read` gets each read before its waiters do; `latest` is the last one.
    """

    __slots__ = ("_api", "_on_read", "_queued", "_running", "latest")

    def __init__(self, api: ReadableAccount, on_read: Callable[[ObservedAccount], None]) -> None:
        self._api = api
        self._on_read = on_read
        self._running: asyncio.Task[ObservedAccount] | None = None
        self._queued: asyncio.Task[ObservedAccount] | None = None
        self.latest: ObservedAccount | None = None

    async def read(self) -> ObservedAccount:
        """Return the account as it was at some time after the call.

        Raises:
            WorkerError: what reading it raised.
        """
        if self._queued is None:
            self._queued = asyncio.create_task(self._after(self._running))
        return await asyncio.shield(self._queued)

    async def _after(self, running: asyncio.Task[ObservedAccount] | None) -> ObservedAccount:
        if running is not None:
            await asyncio.wait([running])
        self._running, self._queued = self._queued, None
        self.latest = await self._api.observe()
        self._on_read(self.latest)
        return self.latest
