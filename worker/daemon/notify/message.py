"""Compose one message of queued notifications: plain text of limited length, without control characters."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from string import Template
from typing import Final, Literal

from msgspec import Struct

from worker.config.channels import Channel, Event
from worker.daemon.notify.changes import Notification
from worker.model.messages import Message
from worker.render.i18n import gettext as _
from worker.render.i18n import translated
from worker.render.terminal import safe

__all__ = ["ChannelMessage", "Urgency", "compose"]

Urgency = Literal["failure", "warning", "success", "info"]

_EACH: Final = 10
"""Notifications of one kind that are listed; the rest is counted."""
_BODY_CAP: Final = 3000
"""Characters of a body: the strictest services take about 4,000 a message."""
_LINE_CAP: Final = 300
"""Columns of a line."""
_TITLE_CAP: Final = 200
"""Columns of a title."""

_WORDS: Final[Mapping[Event, tuple[str, str]]] = {
    Event.FAILING: (Message("failing"), Message("working again")),
    Event.REFUSED: (Message("refused"), Message("no longer refused")),
    Event.DRIFT: (Message("changed by others"), Message("reverted")),
    Event.CHANGED: (Message("changed"), Message("changed")),
    Event.HELD: (Message("held"), Message("no longer held")),
    Event.EXPIRING: (Message("expiring"), Message("expiring")),
    Event.NOTICE: (Message("noteworthy"), Message("noteworthy")),
    Event.FILE: (Message("invalid"), Message("valid again")),
    Event.SUSPENDED: (Message("suspended"), Message("resumed")),
    Event.DAEMON: (Message("started"), Message("stopped")),
}
"""The word for each kind of notification, and for its end."""

_BAD: Final = frozenset({Event.FAILING, Event.REFUSED, Event.FILE})
_ODD: Final = frozenset({Event.DRIFT, Event.HELD, Event.EXPIRING, Event.NOTICE, Event.SUSPENDED})


class ChannelMessage(Struct, frozen=True):
    """A message to a channel. Services show `urgency` as a colour or an icon."""

    title: str
    body: str
    urgency: Urgency


def compose(news: Sequence[Notification], channel: Channel, *, host: str, untold: int = 0) -> ChannelMessage:
    """Return one message of notifications, of which there is at least one, grouped by kind in order of appearance.

    `untold` is how many more were not kept.
    """
    kinds = _kinds(news)
    fields = {
        "title": _headline(news, kinds),
        "body": _body(kinds, untold),
        "count": f"{len(news) + untold:,}",
        "host": safe(host, _TITLE_CAP),
    }
    title = Template(channel.title).substitute(fields)
    body = Template(channel.body).substitute(fields)
    return ChannelMessage(safe(title, _TITLE_CAP), body, _urgency(news))


def _kinds(news: Iterable[Notification]) -> list[list[Notification]]:
    """Return the notifications grouped by kind, kinds in order of appearance."""
    places: dict[tuple[Event, bool], int] = {}
    ordered = sorted(news, key=lambda each: places.setdefault((each.event, each.over), len(places)))
    return [list(group) for _, group in groupby(ordered, lambda each: (each.event, each.over))]


def _headline(news: Sequence[Notification], kinds: Sequence[Sequence[Notification]]) -> str:
    if len(news) == 1:
        return _line(news[0])
    each = _("{count} {what}")
    return ", ".join(each.format(count=f"{len(kind):,}", what=_word(kind[0])) for kind in kinds)


def _body(kinds: Sequence[Sequence[Notification]], untold: int) -> str:
    lines: list[str] = []
    room = _BODY_CAP
    for kind in kinds:
        if len(kinds) > 1:
            lines.append(f"{_word(kind[0]).capitalize()}:")
        left = len(kind)
        for block in map(_block, kind[:_EACH]):
            room -= len(block) + 1
            if room < 0:
                break
            lines.append(block)
            left -= 1
        if left:
            lines.append(_("… and {count} more {what}").format(count=f"{left:,}", what=_word(kind[0])))
    if untold:
        lines.append(_("… and {count} more").format(count=f"{untold:,}"))
    return "\n".join(lines)


def _block(news: Notification) -> str:
    return "\n".join((_line(news), *(f"  {safe(translated(line), _LINE_CAP)}" for line in news.lines)))


def _line(news: Notification) -> str:
    title = translated(news.title)
    return safe(title if news.account is None else f"{news.account}: {title}", _LINE_CAP)


def _word(news: Notification) -> str:
    return translated(_WORDS[news.event][news.over])


def _urgency(news: Iterable[Notification]) -> Urgency:
    begun = {each.event for each in news if not each.over}
    if begun & _BAD:
        return "failure"
    if begun & _ODD:
        return "warning"
    return "info" if begun else "success"
