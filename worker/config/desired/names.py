"""A fast reader of the account names in a file, which skips its numbers."""

import re
from collections.abc import Iterator
from pathlib import PurePath
from typing import Any, Final
from unicodedata import normalize

import yaml
from msgspec import Struct

from worker.config import yaml_reader
from worker.config.desired.document import HEAD_KEYS

__all__ = ["DocumentName", "read_names"]

_LINE: Final = re.compile(r"""^account[ \t]*:[ \t]*(["']?)(.*?)\1[ \t]*(?:[ \t]#.*)?$""", re.MULTILINE)
_HEAD_LINE: Final = re.compile(rf"^(?:{'|'.join(sorted(HEAD_KEYS))})[ \t]*:", re.MULTILINE)


class DocumentName(Struct, frozen=True):
    """The account name of a document, with its line in the file.

    `has_account_keys` is True if the document has account-level keys, and `is_named` if it has the key `account`.
    """

    name: str
    line: int
    has_account_keys: bool
    is_named: bool = True


def read_names(source: str, data: bytes) -> list[DocumentName]:
    """Return the account name of each document of a file.

    A document with `numbers` but without `account` has the name of the file. After invalid YAML, each line
    that starts with `account:` counts as a document.
    """
    names: list[DocumentName] = []
    text = ""
    try:
        text = yaml_reader.decode(source, data)
        stream = yaml_reader.parse_events(source, text)
        for event in stream:
            if isinstance(event, yaml.DocumentStartEvent):
                _read(stream, names, PurePath(source).stem)
    except yaml_reader.YamlError:
        last_line = names[-1].line if names else 0
        names += [name for name in _by_lines(text) if name.line > last_line]
    return names


def _by_lines(text: str) -> Iterator[DocumentName]:
    has_account_keys = _HEAD_LINE.search(text) is not None
    for match in _LINE.finditer(text):
        yield DocumentName(normalize("NFC", match[2].strip()), text.count("\n", 0, match.start()) + 1, has_account_keys)


def _read(stream: Iterator[Any], names: list[DocumentName], stem: str) -> None:
    """Add the name of one document to `names`: once it is read, or at the end of a document that has only numbers."""
    start: Any = next(stream)
    if not isinstance(start, yaml.MappingStartEvent):
        yaml_reader.skip(start, stream)
        return
    line = start.start_mark.line + 1  # type: ignore[union-attr]
    account: tuple[str, int] | None = None
    has_account_keys = numbers = False
    count_before = len(names)
    while not isinstance(key := next(stream), yaml.MappingEndEvent):
        name = key.value if isinstance(key, yaml.ScalarEvent) else ""
        yaml_reader.skip(key, stream)
        value: Any = next(stream)
        yaml_reader.skip(value, stream)
        has_account_keys = has_account_keys or name in HEAD_KEYS
        numbers = numbers or name == "numbers"
        if name == "account" and isinstance(value, yaml.ScalarEvent):
            account = normalize("NFC", value.value.strip()), value.start_mark.line + 1  # type: ignore[union-attr]
        if account is not None:
            names[count_before:] = [DocumentName(*account, has_account_keys)]
    if account is None and numbers:
        names.append(DocumentName(normalize("NFC", stem), line, has_account_keys, is_named=False))
