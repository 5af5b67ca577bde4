"""Notification channels: who is told what, how often and in which words. The list of them as settings have it."""

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
"""What a template may name as `$field`: what happened in one line and in full, how much news it is, and the machine."""

_Digest = Annotated[
    float, Meta(ge=0, le=_DAY, description="News are gathered so long and told in one message; 0: told at once.")
]


class Event(StrEnum):
    """What news are about. Whoever is told that something began is told that it ended."""

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
    """One place where people are told."""

    name: Annotated[
        str, Meta(min_length=1, max_length=NAME_CAP, description="What it is called in logs and by --channel.")
    ]
    url: Annotated[
        SecretRef, Meta(description="Where its URL is kept, as Apprise understands it; it mostly holds a secret.")
    ]
    events: Annotated[tuple[Event, ...], Meta(min_length=1, description="What it is told of. Default: everything.")] = (
        tuple(Event)
    )
    digest_seconds: _Digest = 0.0
    title: Annotated[str, Meta(min_length=1, max_length=NOTE_CAP, description="Template: $title, $count, $host.")] = (
        "[senderid] $title"
    )
    body: Annotated[str, Meta(min_length=1, max_length=NOTE_CAP, description="Template: $body, too.")] = "$body"


class Notify(Struct, frozen=True, forbid_unknown_fields=True):
    """Who is told of what is new while `senderid watch` runs."""

    channels: Annotated[tuple[Channel, ...], Meta(description="None: nobody is told.")] = ()
    timeout_seconds: Annotated[
        float, Meta(gt=0, le=3600, description="So long a channel may take to accept a message.")
    ] = 10.0


def read_channels(reader: Reader, node: Node) -> tuple[Channel, ...]:
    """The channels of a list. What is wrong is told to the reader, and never repeated: it may be a secret."""
    if not isinstance(node, Sequence):
        reader.problem(node, Message("channels should be a list of {{name: NAME, url: {{env: NAME}}}}, or [] for none"))
        return ()
    found: dict[str, Channel] = {}
    for item in node.items:
        channel = _channel(reader, item)
        if channel is not None and channel.name in found:
            reader.problem(
                item, Message("there are two channels {name}: give one of them another name", name=channel.name)
            )
        elif channel is not None:
            found[channel.name] = channel
    return tuple(found.values())


def _channel(reader: Reader, node: Node) -> Channel | None:
    if not isinstance(node, Mapping):
        reader.problem(
            node, Message("a channel should be a mapping such as {{name: ops, url: {{env: OPS_CHANNEL_URL}}}}")
        )
        return None
    fields = reader.fields(node, Channel.__struct_fields__, secret=True)
    for name in ("name", "url"):
        if name not in fields:
            reader.problem(node, Message("{name} is missing: a channel has a name and a url", name=name))
    reading: dict[str, Callable[[Reader, Node], Any]] = {
        "name": lambda reader, node: read_text(reader, node, "name", NAME_CAP),
        "url": lambda reader, node: read_secret_ref(reader, node, "url"),
        "events": _events,
        "digest_seconds": _seconds,
        "title": _template,
        "body": _template,
    }
    found = {name: reading[name](reader, value) for name, value in fields.items()}
    given = {name: value for name, value in found.items() if value is not None}
    return Channel(**given) if {"name", "url"} <= given.keys() else None


def _events(reader: Reader, node: Node) -> tuple[Event, ...] | None:
    known = [event.value for event in Event]
    if not isinstance(node, Sequence) or not node.items:
        reader.problem(
            node,
            Message("events should be a list of some of {known}; leave it out for all of them", known=", ".join(known)),
        )
        return None
    found: dict[Event, Node] = {}
    for item in node.items:
        given = item.text if isinstance(item, Scalar) else ""
        if given not in known:
            reader.problem(item, Message("there is no such event{hint}", hint=suggest(given, known)))
        elif given in found:
            reader.problem(item, Message("{given} stands here twice: keep one", given=given))
        else:
            found[Event(given)] = item
    return tuple(found)


def _seconds(reader: Reader, node: Node) -> float | None:
    given = node.text if isinstance(node, Scalar) else ""
    try:
        return msgspec.convert(given, _Digest, strict=False)
    except msgspec.ValidationError:
        reader.problem(node, Message("digest_seconds should be a number of seconds from 0 to {day:,.0f}", day=_DAY))
        return None


def _template(reader: Reader, node: Node) -> str | None:
    given = read_text(reader, node, Message("a template"), NOTE_CAP, prose=True)
    if given is None:
        return None
    template = Template(given)
    if not template.is_valid():
        reader.problem(node, Message("a $ in a template begins a field: write $$ for the character itself"))
        return None
    for name in template.get_identifiers():
        if name not in FIELDS:
            reader.problem(node, Message("a template has no such field{hint}", hint=suggest(name, FIELDS)))
            return None
    return given
