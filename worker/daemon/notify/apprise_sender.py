"""The one module that knows Apprise, the library by which messages reach mail, chats and webhooks.

It is loaded when a channel is configured and not before. Its own log, which tells more of URLs than anybody should see,
goes nowhere; what it says of a delivery that failed is told without any part of the channel's URL.
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
from worker.model.redaction import Secrets, without_headers

if TYPE_CHECKING:
    from apprise import Apprise

__all__ = ["AppriseSender", "open_sender"]

_LOGS: Final = ("apprise", "urllib3")
"""Where URLs would be logged; warnings come with a delivery's result as well."""

_PART: Final = re.compile(r"[^/:@?&=#,\s]{4,}")
"""Parts of a URL that could be a token or a password, or tell where it leads."""


def open_sender(name: str, url: str) -> "AppriseSender":
    """The way to the channel `name`, whose URL this is.

    Raises:
        ChannelUnusable: the library is not installed, or cannot make sense of the URL.
    """
    for name_of_log in _LOGS:
        quiet = logging.getLogger(name_of_log)
        quiet.setLevel(logging.WARNING)
        quiet.propagate = False
    try:
        import apprise  # noqa: PLC0415 - an extra, and slow to load
    except ImportError:
        told = "notifications need a library that is not installed: pip install 'senderid-worker[notify]'"
        raise ChannelUnusable(f"channel {name}: {told}") from None
    asset = apprise.AppriseAsset(
        app_id="senderid",
        app_desc="SMS sender numbers",
        # icons would be fetched from a host that nobody chose
        image_url_mask="",
        image_url_logo="",
        # everything happens on the thread that asks for it
        async_mode=False,
        service_timeout=0,
        http_redirects=False,
        storage_mode=apprise.PersistentStoreMode.MEMORY,
        allow_templates=False,
    )
    service = apprise.Apprise(asset=asset)
    if not service.add(url) or len(service) != 1:
        told = "its URL is none that Apprise understands; docs/how-to/notifications.md has examples"
        raise ChannelUnusable(f"channel {name}: {told}")
    return AppriseSender(name, service, _parts(url))


class AppriseSender:
    """Brings messages to one channel, each on a thread of its own that nobody waits for at the end."""

    def __init__(self, name: str, service: "Apprise", secrets: Secrets) -> None:
        self.name = name
        self._service = service
        self._secrets = secrets
        self._thread: Thread | None = None

    async def __call__(self, message: ChannelMessage) -> str | None:
        """Bring a message; None where the channel took it, or why it did not.

        Whoever stops waiting leaves the thread behind. As long as it lives, nothing more is brought.
        """
        if self._thread is not None and self._thread.is_alive():
            return "the delivery before has not come to an end"
        loop = asyncio.get_running_loop()
        done: asyncio.Future[str | None] = loop.create_future()

        def settle(reason: str | None) -> None:
            if not done.done():
                done.set_result(reason)

        def bring() -> None:
            reason = self._bring(message)
            with suppress(RuntimeError):  # the loop is closed: nobody waits
                loop.call_soon_threadsafe(settle, reason)

        self._thread = Thread(target=bring, name=f"notify {self.name}", daemon=True)
        self._thread.start()
        return await done

    def _bring(self, message: ChannelMessage) -> str | None:
        from apprise import NotifyFormat, NotifyType  # noqa: PLC0415 - see above

        try:
            done = self._service.notify(
                body=message.body,
                title=message.title,
                notify_type=NotifyType(message.urgency),
                body_format=NotifyFormat.TEXT,
            )
        except Exception as error:  # noqa: BLE001 - a service's own bug; its text may hold anything
            return type(error).__name__
        if done:
            return None
        return self._told(entry.message for result in done for attempt in result for entry in attempt)

    def _told(self, messages: Iterable[str]) -> str:
        told = " ".join(next(iter(messages), "it was not accepted").split())
        return without_headers(self._secrets.removed_from(told))


def _parts(url: str) -> Secrets:
    """What no message may repeat: the URL and its parts, as they are written and as they are meant."""
    parts = url.partition("://")[2]
    return Secrets((url, parts, *_PART.findall(parts), *_PART.findall(unquote(parts))))
