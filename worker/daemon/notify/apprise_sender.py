"""Delivery of messages by Apprise, a library for mail, chats and webhooks. No other module imports Apprise.

Apprise is imported only if a channel is configured. Its log can contain secrets of URLs, so it is dropped. The reason
of a failed delivery contains no part of the channel's URL.
"""

import asyncio
import logging
import re
from collections.abc import Iterable
from contextlib import suppress
from threading import Thread
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote

from worker.daemon.notify.message import ChannelMessage
from worker.model.errors import ChannelUnusable
from worker.model.messages import Message
from worker.model.redaction import Secrets, without_headers

if TYPE_CHECKING:
    from apprise import Apprise

__all__ = ["AppriseSender", "open_sender"]

_LOGS: Final = ("apprise", "urllib3")
"""Loggers that could log URLs, so that their records are dropped. The result of a delivery has their warnings."""

_PART: Final = re.compile(r"[^/:@?&=#,\s]{4,}")
"""Pattern of the parts of a URL that could be a token, a password or a target."""


def open_sender(name: str, url: str) -> "AppriseSender":
    """Return the sender of the channel `name`, whose Apprise URL is `url`.

    Raises:
        ChannelUnusable: Apprise is not installed, or does not accept the URL.
    """
    for name_of_log in _LOGS:
        library_log = logging.getLogger(name_of_log)
        library_log.setLevel(logging.WARNING)
        library_log.propagate = False
    try:
        import apprise  # noqa: PLC0415 - an extra, and slow to load
    except ImportError:
        raise ChannelUnusable(
            Message(
                "channel {channel}: notifications need the extra notify: install it from a checkout with "
                "pip install '.[notify]'",
                channel=name,
            )
        ) from None
    asset = apprise.AppriseAsset(
        app_id="senderid",
        app_desc="SMS sender numbers",
        # icons would be fetched from a third-party host
        image_url_mask="",
        image_url_logo="",
        # send on the calling thread
        async_mode=False,
        service_timeout=0,
        http_redirects=False,
        storage_mode=apprise.PersistentStoreMode.MEMORY,
        allow_templates=False,
    )
    service = apprise.Apprise(asset=asset)
    if not service.add(url) or len(service) != 1:
        raise ChannelUnusable(
            Message(
                "channel {channel}: Apprise does not accept its URL; see docs/how-to/notifications.md for examples",
                channel=name,
            )
        )
    return AppriseSender(name, service, _parts(url))


class AppriseSender:
    """Sender of messages to one channel. Each message is sent in its own daemon thread."""

    def __init__(self, name: str, service: "Apprise", secrets: Secrets) -> None:
        self.name = name
        self._service = service
        self._secrets = secrets
        self._thread: Thread | None = None

    async def __call__(self, message: ChannelMessage) -> str | None:
        """Send a message. Return None if the channel accepted it, otherwise the reason.

        If the call is cancelled, its thread keeps running. Until that thread ends, no other message is sent.
        """
        if self._thread is not None and self._thread.is_alive():
            return Message("the previous delivery is still running")
        loop = asyncio.get_running_loop()
        delivery: asyncio.Future[str | None] = loop.create_future()

        def settle(reason: str | None) -> None:
            if not delivery.done():
                delivery.set_result(reason)

        def send() -> None:
            reason = self._send(message)
            with suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(settle, reason)

        self._thread = Thread(target=send, name=f"notify {self.name}", daemon=True)
        self._thread.start()
        return await delivery

    def _send(self, message: ChannelMessage) -> str | None:
        from apprise import NotifyFormat, NotifyType  # noqa: PLC0415 - see above

        try:
            results = self._service.notify(
                body=message.body,
                title=message.title,
                notify_type=NotifyType(message.urgency),
                body_format=NotifyFormat.TEXT,
            )
        except Exception as error:  # noqa: BLE001 - a bug in Apprise; its text may contain secrets
            return type(error).__name__
        if results:
            return None
        return self._reason(entry.message for result in results for attempt in result for entry in attempt)

    def _reason(self, messages: Iterable[str]) -> str:
        reason = " ".join(next(iter(messages), "").split())
        if not reason:
            return Message("the channel did not accept it")
        return without_headers(self._secrets.remove_from(reason))


def _parts(url: str) -> Secrets:
    """Return the parts of a URL that no message may contain, both percent-encoded and decoded."""
    parts = url.partition("://")[2]
    return Secrets((url, parts, *_PART.findall(parts), *_PART.findall(unquote(parts))))
