"""Tells channels what is new, beside the run and never in its way.

Each channel gathers its news, gets them in one message at a time, and fails for itself. A failure is told once; the
news are kept and tried again until the channel works again, which is told as well.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Final, Self

from worker.config.channels import Channel
from worker.daemon.notify.changes import Notification
from worker.daemon.notify.message import ChannelMessage, compose
from worker.model.ports import Log

__all__ = ["Notifier", "Send", "deliver"]

Send = Callable[[ChannelMessage], Awaitable[str | None]]
"""Takes a message to a channel; None, or why it was not accepted."""

_KEPT: Final = 10_000
"""News that wait for one channel; a message writes out some dozens, and counts the rest."""
_FIRST_WAIT: Final = 30.0
"""Seconds until a delivery that failed is tried again; each next wait is twice as long."""
_DOUBLINGS: Final = 6
"""The longest wait is about half an hour."""
_DRAIN: Final = 5.0
"""Seconds that the end waits for what is still to be delivered."""


async def deliver(bring: Send, told: ChannelMessage, seconds: float) -> str | None:
    """Bring a message; None, or why it was not accepted within so many seconds."""
    try:
        async with asyncio.timeout(seconds):
            return await bring(told)
    except TimeoutError:
        return f"no answer within {seconds:g} s"
    except Exception as error:  # noqa: BLE001 - no thread left, or a bug: a channel stops nobody
        return type(error).__name__


class Notifier:
    """Tells channels what is new. An async context manager: at its end, what waits is delivered, or told to be lost."""

    def __init__(
        self, channels: Sequence[tuple[Channel, Send]], log: Log, *, host: str, timeout_seconds: float
    ) -> None:
        self._desks = [_ChannelQueue(channel, bring, log, host, timeout_seconds) for channel, bring in channels]
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        self._tasks = [asyncio.create_task(desk.serve()) for desk in self._desks]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for desk in self._desks:
            desk.close()
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=_DRAIN)
            for task in late:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
        for desk in self._desks:
            desk.tell_lost()

    def tell(self, news: Sequence[Notification]) -> None:
        """Hand news over. Takes no time and never fails, whatever the channels do."""
        for desk in self._desks:
            desk.take(news)


class _ChannelQueue:
    """The news of one channel on their way."""

    def __init__(self, channel: Channel, bring: Send, log: Log, host: str, seconds: float) -> None:
        self._channel = channel
        self._bring = bring
        self._log = log
        self._host = host
        self._seconds = seconds
        self._waiting: list[Notification] = []
        self._untold = 0
        self._failures = 0
        self._awake = asyncio.Event()
        self._closing = asyncio.Event()

    def take(self, news: Sequence[Notification]) -> None:
        """Keep what the channel wants to be told; what is beyond the bound is counted."""
        mine = [each for each in news if each.event in self._channel.events]
        kept = mine[: _KEPT - len(self._waiting)]
        self._waiting += kept
        self._untold += len(mine) - len(kept)
        if mine:
            self._awake.set()

    def close(self) -> None:
        """Deliver what waits now, and end."""
        self._closing.set()
        self._awake.set()

    async def serve(self) -> None:
        """Deliver, message by message, until the end."""
        while True:
            await self._awake.wait()
            if not self._waiting:
                if self._closing.is_set():
                    return
                self._awake.clear()
                continue
            if not self._failures:
                await self._pause(self._channel.digest_seconds)
            if not await self._deliver():
                if self._closing.is_set():
                    return
                await self._pause(_FIRST_WAIT * 2 ** min(self._failures - 1, _DOUBLINGS))

    def tell_lost(self) -> None:
        """Say what could not be delivered."""
        lost = len(self._waiting) + self._untold
        if lost:
            self._log.warning("notify.undelivered", channel=self._channel.name, news=lost)

    async def _pause(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._closing.wait()

    async def _deliver(self) -> bool:
        count, untold = len(self._waiting), self._untold
        told = compose(self._waiting, self._channel, host=self._host, untold=untold)
        reason = await deliver(self._bring, told, self._seconds)
        if reason is not None:
            if not self._failures:
                self._log.warning(
                    "notify.failed", channel=self._channel.name, news=count + untold, error_message=reason
                )
            self._failures += 1
            return False
        if self._failures:
            self._log.info("notify.recovered", channel=self._channel.name, news=count + untold)
            self._failures = 0
        del self._waiting[:count]
        self._untold -= untold
        return True
