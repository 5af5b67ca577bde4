"""Dispatcher of notifications to channels, which does not delay passes.

Each channel has its own queue and gets one message at a time. If a channel fails, this is logged once, and other
channels are not affected. Its notifications stay queued and are retried. The recovery of the channel is logged.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Final, Self

from worker.config.channels import Channel
from worker.daemon.notify.changes import Notification
from worker.daemon.notify.message import ChannelMessage, compose
from worker.model.messages import Message
from worker.model.ports import Log

__all__ = ["Notifier", "Send", "deliver"]

Send = Callable[[ChannelMessage], Awaitable[str | None]]
"""Sends a message to a channel. Returns None if the channel accepted it, otherwise the reason."""

_QUEUE_CAP: Final = 10_000
"""Maximum count of queued notifications of one channel. A message lists some dozens and counts the others."""
_FIRST_WAIT: Final = 30.0
"""Seconds until a failed delivery is retried. Each further wait is twice as long."""
_DOUBLINGS: Final = 6
"""Maximum count of doublings of the first wait: the longest wait is about half an hour."""
_DRAIN: Final = 5.0
"""Maximum time in seconds that the shutdown waits for deliveries."""


async def deliver(send: Send, message: ChannelMessage, seconds: float) -> str | None:
    """Send a message with a timeout of `seconds`. Return None if the channel accepted it, otherwise the reason."""
    try:
        async with asyncio.timeout(seconds):
            return await send(message)
    except TimeoutError:
        return Message("no response within {seconds:g} s", seconds=seconds)
    except Exception as error:  # noqa: BLE001 - a bug, or no thread can start: a channel must not stop the daemon
        return type(error).__name__


class Notifier:
    """Dispatcher of notifications to channels, and an async context manager.

    Its exit delivers the queued notifications within some seconds, and logs how many were lost.
    """

    def __init__(
        self, channels: Sequence[tuple[Channel, Send]], log: Log, *, host: str, timeout_seconds: float
    ) -> None:
        self._queues = [_ChannelQueue(channel, send, log, host, timeout_seconds) for channel, send in channels]
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        self._tasks = [asyncio.create_task(queue.serve()) for queue in self._queues]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for queue in self._queues:
            queue.close()
        if self._tasks:
            _, unfinished_tasks = await asyncio.wait(self._tasks, timeout=_DRAIN)
            for task in unfinished_tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
        for queue in self._queues:
            queue.log_lost()

    def notify(self, notifications: Sequence[Notification]) -> None:
        """Queue notifications for all channels. It neither blocks nor raises."""
        for queue in self._queues:
            queue.take(notifications)


class _ChannelQueue:
    """The queue of one channel, and its delivery."""

    def __init__(self, channel: Channel, send: Send, log: Log, host: str, seconds: float) -> None:
        self._channel = channel
        self._send = send
        self._log = log
        self._host = host
        self._seconds = seconds
        self._queue: list[Notification] = []
        self._dropped_count = 0
        self._failures = 0
        self._awake = asyncio.Event()
        self._close_requested = asyncio.Event()

    def take(self, notifications: Sequence[Notification]) -> None:
        """Queue the notifications that the channel subscribes to. If the queue is full, drop and count them."""
        subscribed_news = [notification for notification in notifications if notification.event in self._channel.events]
        accepted_news = subscribed_news[: _QUEUE_CAP - len(self._queue)]
        self._queue += accepted_news
        self._dropped_count += len(subscribed_news) - len(accepted_news)
        if subscribed_news:
            self._awake.set()

    def close(self) -> None:
        """Request that `serve` delivers the queue without delay, then returns."""
        self._close_requested.set()
        self._awake.set()

    async def serve(self) -> None:
        """Deliver the queued notifications, one message after another, until `close` is called."""
        while True:
            await self._awake.wait()
            if not self._queue:
                if self._close_requested.is_set():
                    return
                self._awake.clear()
                continue
            if not self._failures:
                await self._pause(self._channel.digest_seconds)
            if not await self._deliver():
                if self._close_requested.is_set():
                    return
                await self._pause(_FIRST_WAIT * 2 ** min(self._failures - 1, _DOUBLINGS))

    def log_lost(self) -> None:
        """Log how many notifications were dropped or not delivered, if any."""
        lost_count = len(self._queue) + self._dropped_count
        if lost_count:
            self._log.warning("notify.undelivered", channel=self._channel.name, news=lost_count)

    async def _pause(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._close_requested.wait()

    async def _deliver(self) -> bool:
        count, dropped_count = len(self._queue), self._dropped_count
        message = compose(self._queue, self._channel, host=self._host, dropped_count=dropped_count)
        reason = await deliver(self._send, message, self._seconds)
        if reason is not None:
            if not self._failures:
                self._log.warning(
                    "notify.failed", channel=self._channel.name, news=count + dropped_count, error_message=reason
                )
            self._failures += 1
            return False
        if self._failures:
            self._log.info("notify.recovered", channel=self._channel.name, news=count + dropped_count)
            self._failures = 0
        del self._queue[:count]
        self._dropped_count -= dropped_count
        return True
