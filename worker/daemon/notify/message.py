"""Composer of messages from queued notifications: plain text of limited length, without control characters."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from string import Template
from typing import Final, Literal

from msgspec import Struct

from worker.config.channels import Channel, Event
from worker.daemon.notify.changes import Notification
from worker.model.messages import Message
from worker.render.i18n import gettext as _
from worker.render.i18n import translate
from worker.render.terminal import safe

__all__ = ["ChannelMessage", "Urgency", "compose"]

Urgency = Literal["failure", "warning", "success", "info"]

_MAX_PER_KIND: Final = 10
"""Maximum count of notifications of one kind that a message lists. The others are counted."""
_BODY_CAP: Final = 3000
"""Maximum length in characters of a body. The strictest services accept about 4,000 characters per message."""
_LINE_CAP: Final = 300
"""Maximum width in columns of a line."""
_TITLE_CAP: Final = 200
"""Maximum width in columns of a title."""

_WORDS: Final[Mapping[Event, tuple[str, str]]] = {
    Event.FAILING: (Message("failing"), Message("working again")),
    Event.REFUSED: (Message("refused"), Message("no longer refused")),
    Event.DRIFT: (Message("changed externally"), Message("reverted")),
    Event.CHANGED: (Message("changed"), Message("changed")),
    Event.HELD: (Message("held"), Message("no longer held")),
    Event.EXPIRING: (Message("expiring"), Message("expiring")),
    Event.NOTICE: (Message("noteworthy"), Message("noteworthy")),
    Event.FILE: (Message("invalid"), Message("valid again")),
    Event.SUSPENDED: (Message("suspended"), Message("resumed")),
    Event.DAEMON: (Message("started"), Message("stopped")),
}
"""The words for each kind of notification: for the start of its state, and for the end."""

_FAILURES: Final = frozenset({Event.FAILING, Event.REFUSED, Event.FILE})
_WARNINGS: Final = frozenset({Event.DRIFT, Event.HELD, Event.EXPIRING, Event.NOTICE, Event.SUSPENDED})


class ChannelMessage(Struct, frozen=True):
    """A message to a channel, in plain text. Services show `urgency` as a colour or an icon."""

    title: str
    body: str
    urgency: Urgency


def compose(news: Sequence[Notification], channel: Channel, *, host: str, dropped_count: int = 0) -> ChannelMessage:
    """Return one message with at least one notification. They are grouped by kind, in order of first appearance.

    `dropped_count` is the count of further notifications that the full queue did not accept.
    """
    kinds = _kinds(news)
    fields = {
        "title": _headline(news, kinds),
        "body": _body(kinds, dropped_count),
        "count": f"{len(news) + dropped_count:,}",
        "host": safe(host, _TITLE_CAP),
    }
    title = Template(channel.title).substitute(fields)
    body = Template(channel.body).substitute(fields)
    return ChannelMessage(safe(title, _TITLE_CAP), body, _urgency(news))


def _kinds(news: Iterable[Notification]) -> list[list[Notification]]:
    """Return the notifications grouped by kind. Groups are in order of first appearance."""
    kind_order: dict[tuple[Event, bool], int] = {}
    ordered_news = sorted(
        news, key=lambda notification: kind_order.setdefault((notification.event, notification.is_end), len(kind_order))
    )
    return [
        list(group)
        for _, group in groupby(ordered_news, lambda notification: (notification.event, notification.is_end))
    ]


def _headline(news: Sequence[Notification], kinds: Sequence[Sequence[Notification]]) -> str:
    if len(news) == 1:
        return _line(news[0])
    template = _("{count} {what}")
    return ", ".join(template.format(count=f"{len(kind):,}", what=_word(kind[0])) for kind in kinds)


def _body(kinds: Sequence[Sequence[Notification]], dropped_count: int) -> str:
    lines: list[str] = []
    bytes_left = _BODY_CAP
    for kind in kinds:
        if len(kinds) > 1:
            lines.append(f"{_word(kind[0]).capitalize()}:")
        remaining_count = len(kind)
        for block in map(_block, kind[:_MAX_PER_KIND]):
            bytes_left -= len(block) + 1
            if bytes_left < 0:
                break
            lines.append(block)
            remaining_count -= 1
        if remaining_count:
            lines.append(_("… and {count} more {what}").format(count=f"{remaining_count:,}", what=_word(kind[0])))
    if dropped_count:
        lines.append(_("… and {count} more").format(count=f"{dropped_count:,}"))
    return "\n".join(lines)


def _block(news: Notification) -> str:
    return "\n".join((_line(news), *(f"  {safe(translate(line), _LINE_CAP)}" for line in news.lines)))


def _line(news: Notification) -> str:
    title = translate(news.title)
    return safe(title if news.account is None else f"{news.account}: {title}", _LINE_CAP)


def _word(news: Notification) -> str:
    return translate(_WORDS[news.event][news.is_end])


def _urgency(news: Iterable[Notification]) -> Urgency:
    events = {notification.event for notification in news if not notification.is_end}
    if events & _FAILURES:
        return "failure"
    if events & _WARNINGS:
        return "warning"
    return "info" if events else "success"
