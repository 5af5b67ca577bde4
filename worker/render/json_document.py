"""Encoder of documents as JSON."""

import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from worker.model.messages import english

__all__ = ["encodable", "encode", "inert"]

_UNSAFE: Final = re.compile(rb"\xc2[\x80-\x9f]|\xd8\x9c|\xe2\x80[\x8b-\x8f\xa8-\xae]|\xe2\x81[\xa0-\xaf]|\xef\xbb\xbf")
"""UTF-8 bytes of characters that JSON need not escape, although terminals or line readers interpret them.

They are C1 controls, line separators, bidirectional controls and characters without width.
"""


def encode(document: msgspec.Struct | Mapping[str, Any]) -> bytes:
    """Return a document as JSON: UTF-8, indented by 2, ended by a newline.

    A lone surrogate, as in an undecodable file name, becomes U+FFFD, since JSON cannot hold it.
    """
    try:
        data = msgspec.json.encode(document, enc_hook=english)
    except UnicodeEncodeError:
        data = msgspec.json.encode(encodable(msgspec.to_builtins(document, str_keys=True, enc_hook=english)))
    return inert(msgspec.json.format(data, indent=2)) + b"\n"


def inert(data: bytes) -> bytes:
    """Return the same JSON, in which characters that terminals or line readers interpret are escaped."""
    return data if data.isascii() else _UNSAFE.sub(lambda match: b"\\u%04x" % ord(match[0].decode()), data)


def encodable(value: Any) -> Any:
    """Return a value whose strings have U+FFFD in place of lone surrogates."""
    match value:
        case str():
            return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        case dict():
            return {encodable(key): encodable(item) for key, item in value.items()}
        case list() | tuple():
            return [encodable(item) for item in value]
        case _:
            return value
