"""Where each field of a number comes from: its entry, the defaults of its document, or those of its folder."""

from collections.abc import Iterator, Mapping
from pathlib import PurePath
from typing import Any
from unicodedata import normalize

import yaml

from worker.config import yaml_reader
from worker.config.desired.defaults import WINDOWS, Defaults, DefaultsReader
from worker.config.desired.load import SharedFiles, read_defaults
from worker.config.desired.numbers import FIELDS
from worker.config.yaml_reader import Mapping as MappingNode
from worker.config.yaml_reader import Node, Reader, Scalar
from worker.model.number_status import Origin
from worker.model.phones import normalise

__all__ = ["read_origins"]


def read_origins(source: str, data: bytes, phone: str, shared_files: SharedFiles) -> dict[str, tuple[Origin, ...]]:
    """Return the origins of the fields of a number, by the name of the account, in the documents that list it.

    The file must be valid, as `load` checks.
    """
    reader = Reader(source)
    inherited = read_defaults(source, shared_files)
    origins: dict[str, tuple[Origin, ...]] = {}
    stream = yaml_reader.parse_events(source, yaml_reader.decode(source, data))
    for event in stream:
        if isinstance(event, yaml.DocumentStartEvent):
            next(stream)
            name, found = _read_document(reader, stream, phone, inherited)
            if found:
                origins[normalize("NFC", name or PurePath(source).stem)] = found
    return origins


def _read_document(
    reader: Reader, stream: Iterator[Any], phone: str, inherited: Defaults
) -> tuple[str, tuple[Origin, ...]]:
    """Return the account name of a document, if it has one, and the origins of a number; empty if it is not listed."""
    defaults_reader = DefaultsReader(reader, inherited)
    name = ""
    origins: tuple[Origin, ...] = ()
    while not isinstance(key := next(stream), yaml.MappingEndEvent):
        value = next(stream)
        if key.value == "numbers" and not isinstance(value, yaml.ScalarEvent):
            fields = _find(reader, value, stream, phone)
            origins = () if fields is None else tuple(_origins(reader.source, fields, defaults_reader.finish()))
            continue
        node = yaml_reader.compose(reader.source, value, stream)
        match key.value:
            case "account":
                name = _text(node)
            case "defaults":
                defaults_reader.read_defaults(node)
            case "schedules":
                defaults_reader.read_schedules(node)
    return name, origins


def _find(reader: Reader, start: Any, stream: Iterator[Any], phone: str) -> dict[str, Node] | None:
    """Return the fields of a number in `numbers`; None if it is not listed. Read `numbers` to its end."""
    number_fields = None
    is_mapping = isinstance(start, yaml.MappingStartEvent)
    while not isinstance(event := next(stream), yaml.MappingEndEvent | yaml.SequenceEndEvent):
        node = yaml_reader.compose(reader.source, next(stream) if is_mapping else event, stream)
        fields = dict(reader.fields(node, ("phone", *FIELDS))) if isinstance(node, MappingNode) else {}
        if is_mapping:
            text = event.value
            if isinstance(node, Scalar) and not node.is_null:
                fields["status"] = node
        else:
            text = _text(fields.pop("phone", node))
        if normalise(text) == phone:
            number_fields = fields
    return number_fields


def _origins(source: str, fields: Mapping[str, Node], defaults: Defaults) -> Iterator[Origin]:
    own_schedule = not {"schedule", "until"}.isdisjoint(fields)
    for name in FIELDS:
        if name in fields:
            node = fields[name]
            yield Origin(field=name, value=_text(node), location=f"{source}:{node.line}")
        elif name in defaults.texts and not (name == "schedule" and own_schedule):
            yield Origin(field=name, value=defaults.texts[name], location=defaults.places[name], by_default=True)
        else:
            continue
        schedule = _text(fields["schedule"]) if "schedule" in fields else defaults.texts.get("schedule", "")
        if name == "schedule" and (place := defaults.places.get(f"schedules.{schedule}")) is not None:
            yield Origin(field=f"schedules.{schedule}", value=WINDOWS, location=place)


def _text(node: Node) -> str:
    if isinstance(node, MappingNode):
        return ", ".join(f"{_text(key)}: {_text(value)}" for key, value in node.items)
    return " ".join(node.text.split()) if isinstance(node, Scalar) else WINDOWS
