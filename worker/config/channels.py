"""Notification channels: their events, the interval between their messages, and the templates of messages."""

from collections.abc import Callable
from enum import StrEnum
from string import Template
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta, Struct

from worker.config.fields import NAME_CAP, NOTE_CAP, read_secret_ref, read_text
from worker.config.yaml_reader import Mapping, Node, Reader, Scalar, Sequence, suggest
from worker.model.credentials import SecretRef
from worker.model.messages import Message

__all__ = ["FIELDS", "Channel", "Event", "Notify", "read_channels"]

_DAY: Final = 24 * 3600

FIELDS: Final = ("title", "body", "count", "host")
"""Fields of a template, written `$field`: a summary line, the full text, the number of events, and the host."""

_Digest = Annotated[
    float, Meta(ge=0, le=_DAY, description="Seconds to collect events for one message. 0: send immediately.")
]


class Event(StrEnum):
    """The kind of an event. A channel that is notified of the start of a condition is also notified of its end."""

    FAILING = "failing"
    REFUSED = "refused"
    DRIFT = "drift"
    CHANGED = "changed"
    HELD = "held"
    EXPIRING = "expiring"
    NOTICE = "notice"
    FILE = "file"
    SUSPENDED = "suspended"
    DAEMON = "daemon"


class Channel(Struct, frozen=True, forbid_unknown_fields=True):
    """A destination of notifications."""

    name: Annotated[str, Meta(min_length=1, max_length=NAME_CAP, description="Its name in logs and for --channel.")]
    url: Annotated[SecretRef, Meta(description="Reference to its Apprise URL, which usually contains a secret.")]
    events: Annotated[tuple[Event, ...], Meta(min_length=1, description="Events to send. Default: all.")] = tuple(Event)
    digest_seconds: _Digest = 0.0
    title: Annotated[str, Meta(min_length=1, max_length=NOTE_CAP, description="Template: $title, $count, $host.")] = (
        "[senderid] $title"
    )
    body: Annotated[str, Meta(min_length=1, max_length=NOTE_CAP, description="Template: $body, too.")] = "$body"


class Notify(Struct, frozen=True, forbid_unknown_fields=True):
    """Notifications of `senderid watch` and, with `one_shot`, of `apply` and `drift`."""

    channels: Annotated[tuple[Channel, ...], Meta(description="Empty: no notifications.")] = ()
    timeout_seconds: Annotated[
        float, Meta(gt=0, le=3600, description="Time for a channel to accept a message, seconds.")
    ] = 10.0
    one_shot: Annotated[
        bool, Meta(description="Whether apply and drift send notifications too, with the memory of watch.")
    ] = False


def read_channels(reader: Reader, node: Node) -> tuple[Channel, ...]:
    """Return the valid channels of a list. Problems are added to the reader.

    Messages repeat no value of the file, because it may be a secret.
    """
    if not isinstance(node, Sequence):
        message = Message("channels must be a list of {{name: NAME, url: {{env: NAME}}}}, or [] for none")
        reader.problem(node, message)
        return ()
    by_name: dict[str, Channel] = {}
    for item in node.items:
        channel = _channel(reader, item)
        if channel is not None and channel.name in by_name:
            message = Message("duplicate channel {name}: rename one of the two", name=channel.name)
            reader.problem(item, message)
        elif channel is not None:
            by_name[channel.name] = channel
    return tuple(by_name.values())


def _channel(reader: Reader, node: Node) -> Channel | None:
    if not isinstance(node, Mapping):
        message = Message("a channel must be a mapping such as {{name: ops, url: {{env: OPS_CHANNEL_URL}}}}")
        reader.problem(node, message)
        return None
    fields = reader.fields(node, Channel.__struct_fields__, may_hold_secrets=True)
    for name in ("name", "url"):
        if name not in fields:
            reader.problem(node, Message("missing {name}: a channel needs a name and a url", name=name))
    readers: dict[str, Callable[[Reader, Node], Any]] = {
        "name": lambda reader, node: read_text(reader, node, "name", NAME_CAP),
        "url": lambda reader, node: read_secret_ref(reader, node, "url"),
        "events": _events,
        "digest_seconds": _seconds,
        "title": _template,
        "body": _template,
    }
    values = {name: readers[name](reader, value) for name, value in fields.items()}
    fields_read = {name: value for name, value in values.items() if value is not None}
    return Channel(**fields_read) if {"name", "url"} <= fields_read.keys() else None


def _events(reader: Reader, node: Node) -> tuple[Event, ...] | None:
    names = [event.value for event in Event]
    if not isinstance(node, Sequence) or not node.items:
        message = Message("events must be a list of {choices}; omit it for all of them", choices=tuple(names))
        reader.problem(node, message)
        return None
    events: dict[Event, Node] = {}
    for item in node.items:
        name = item.text if isinstance(item, Scalar) else ""
        if name not in names:
            reader.problem(item, Message("unknown event{hint}", hint=suggest(name, names)))
        elif name in events:
            reader.problem(item, Message("duplicate event {name}: keep one", name=name))
        else:
            events[Event(name)] = item
    return tuple(events)


def _seconds(reader: Reader, node: Node) -> float | None:
    text = node.text if isinstance(node, Scalar) else ""
    try:
        return msgspec.convert(text, _Digest, strict=False)
    except msgspec.ValidationError:
        reader.problem(node, Message("digest_seconds must be a number of seconds from 0 to {maximum:,}", maximum=_DAY))
        return None


def _template(reader: Reader, node: Node) -> str | None:
    text = read_text(reader, node, Message("a template"), NOTE_CAP, is_multiline=True)
    if text is None:
        return None
    template = Template(text)
    if not template.is_valid():
        reader.problem(node, Message("$ in a template starts a field: write $$ for a literal $"))
        return None
    for name in template.get_identifiers():
        if name not in FIELDS:
            reader.problem(node, Message("unknown field in a template{hint}", hint=suggest(name, FIELDS)))
            return None
    return text
