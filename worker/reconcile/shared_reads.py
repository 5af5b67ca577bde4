"""Looks at one account that are shared by everyone who asks before they begin."""

import asyncio
from collections.abc import Callable

from worker.model.accounts import ObservedAccount
from worker.model.ports import ReadableAccount

__all__ = ["SharedLooks"]


class SharedLooks:
    """At most one look is under way, and one more is asked for, by whoever asks meanwhile.

    `notice` is told of each look before anybody else is; `latest` is the last one.
    """

    __slots__ = ("_api", "_next", "_notice", "_running", "latest")

    def __init__(self, api: ReadableAccount, notice: Callable[[ObservedAccount], None]) -> None:
        self._api = api
        self._notice = notice
        self._running: asyncio.Task[ObservedAccount] | None = None
        self._next: asyncio.Task[ObservedAccount] | None = None
        self.latest: ObservedAccount | None = None

    async def look(self) -> ObservedAccount:
        """The account at a moment after the call.

        Raises:
            WorkerError: what looking at it raised.
        """
        if self._next is None:
            self._next = asyncio.create_task(self._after(self._running))
        return await asyncio.shield(self._next)

    async def _after(self, running: asyncio.Task[ObservedAccount] | None) -> ObservedAccount:
        if running is not None:
            await asyncio.wait([running])
        self._running, self._next = self._next, None
        self.latest = await self._api.observe()
        self._notice(self.latest)
        return self.latest
