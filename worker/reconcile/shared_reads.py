"""Shared reads of one account: all tasks that request a read before it starts get the same result."""

import asyncio
from collections.abc import Callable

from worker.model.accounts import ObservedAccount
from worker.model.ports import ReadableAccount

__all__ = ["SharedReads"]


class SharedReads:
    """Coalesced reads of one account: one in flight, at most one queued.

    `on_read` is called with each observed account before the waiting tasks resume. `latest` is the last observed
    account; None before the first read.
    """

    __slots__ = ("_api", "_on_read", "_queued", "_running", "latest")

    def __init__(self, api: ReadableAccount, on_read: Callable[[ObservedAccount], None]) -> None:
        self._api = api
        self._on_read = on_read
        self._running: asyncio.Task[ObservedAccount] | None = None
        self._queued: asyncio.Task[ObservedAccount] | None = None
        self.latest: ObservedAccount | None = None

    async def read(self) -> ObservedAccount:
        """Return the observed account of a read that starts after this call.

        Raises:
            WorkerError: the read failed.
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
