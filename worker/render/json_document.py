"""JSON documents."""

import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from worker.model.messages import english

__all__ = ["encodable", "encode", "inert"]

_OBEYED: Final = re.compile(rb"\xc2[\x80-\x9f]|\xd8\x9c|\xe2\x80[\x8b-\x8f\xa8-\xae]|\xe2\x81[\xa0-\xaf]|\xef\xbb\xbf")
"""In UTF-8, what JSON leaves as it is and terminals obey or readers of lines stop at: C1 controls, U+2028 and the
like, what changes the direction of a text, and what takes no room in it."""


def encode(document: msgspec.Struct | Mapping[str, Any]) -> bytes:
    """A document as JSON that people can read too: UTF-8, indented by 2, ended by a newline.

    A lone surrogate, as undecodable file names have them, becomes U+FFFD: JSON has no way to say it.
    """
    try:
        data = msgspec.json.encode(document, enc_hook=english)
    except UnicodeEncodeError:
        data = msgspec.json.encode(encodable(msgspec.to_builtins(document, str_keys=True, enc_hook=english)))
    return inert(msgspec.json.format(data, indent=2)) + b"\n"


def inert(data: bytes) -> bytes:
    """The same JSON without a character that does something to a terminal or a reader of lines: it is escaped."""
    return data if data.isascii() else _OBEYED.sub(lambda found: b"\\u%04x" % ord(found[0].decode()), data)


def encodable(value: Any) -> Any:
    """A value of texts, mappings, lists and what is neither, with U+FFFD in place of lone surrogates."""
    match value:
        case str():
            return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        case dict():
            return {encodable(key): encodable(item) for key, item in value.items()}
        case list() | tuple():
            return [encodable(item) for item in value]
        case _:
            return value
