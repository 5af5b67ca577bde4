"""What a file says of accounts, without reading its numbers."""

from collections.abc import Iterator
from typing import Any
from unicodedata import normalize

import yaml
from msgspec import Struct

from worker import strictyaml
from worker.desired.document import HEAD_KEYS

__all__ = ["Named", "names"]


class Named(Struct, frozen=True):
    """A document that writes the name of its account, at `line`. `head` is True if it has keys of the whole account."""

    name: str
    line: int
    head: bool


def names(source: str, data: bytes) -> list[Named]:
    """Return the documents that name their account with `account:`, up to the first place that is not YAML."""
    found: list[Named] = []
    try:
        stream = strictyaml.events(source, strictyaml.decode(source, data))
        for event in stream:
            if isinstance(event, yaml.DocumentStartEvent):
                _read(stream, found)
    except strictyaml.YamlProblem:
        pass
    return found


def _read(stream: Iterator[Any], found: list[Named]) -> None:
    """Add one document to those found as soon as it is named."""
    start: Any = next(stream)
    if not isinstance(start, yaml.MappingStartEvent):
        strictyaml.skip(start, stream)
        return
    named: tuple[str, int] | None = None
    head = False
    before = len(found)
    while not isinstance(key := next(stream), yaml.MappingEndEvent):
        name = key.value if isinstance(key, yaml.ScalarEvent) else ""
        strictyaml.skip(key, stream)
        value: Any = next(stream)
        strictyaml.skip(value, stream)
        head = head or name in HEAD_KEYS
        if name == "account" and isinstance(value, yaml.ScalarEvent):
            named = normalize("NFC", value.value.strip()), value.start_mark.line + 1  # type: ignore[union-attr]
        if named is not None:
            found[before:] = [Named(*named, head)]
