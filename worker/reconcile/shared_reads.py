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

    __slots__ = ("_api", "_current_read", "_next_read", "_on_read", "latest")

    def __init__(self, api: ReadableAccount, on_read: Callable[[ObservedAccount], None]) -> None:
        self._api = api
        self._on_read = on_read
        self._current_read: asyncio.Task[ObservedAccount] | None = None
        self._next_read: asyncio.Task[ObservedAccount] | None = None
        self.latest: ObservedAccount | None = None

    async def read(self) -> ObservedAccount:
        """Return the observed account of a read that starts after this call.

        Raises:
            WorkerError: the read failed.
        """
        if self._next_read is None:
            self._next_read = asyncio.create_task(self._after(self._current_read))
        return await asyncio.shield(self._next_read)

    async def _after(self, previous_read: asyncio.Task[ObservedAccount] | None) -> ObservedAccount:
        if previous_read is not None:
            await asyncio.wait([previous_read])
        self._current_read, self._next_read = self._next_read, None
        observed = await self._api.observe()
        self.accept(observed)
        return observed

    def accept(self, observed: ObservedAccount) -> None:
        """Set the last observed account, and call `on_read` with it."""
        self.latest = observed
        self._on_read(observed)
