"""JSON documents."""

from collections.abc import Mapping
from typing import Any

import msgspec

__all__ = ["encode"]


def encode(document: msgspec.Struct | Mapping[str, Any]) -> bytes:
    """A document as JSON that people can read too: UTF-8, indented by 2, ended by a newline.

    A lone surrogate, as undecodable file names have them, becomes U+FFFD: JSON has no way to say it.
    """
    try:
        data = msgspec.json.encode(document)
    except UnicodeEncodeError:
        data = msgspec.json.encode(_encodable(msgspec.to_builtins(document, str_keys=True)))
    return msgspec.json.format(data, indent=2) + b"\n"


def _encodable(value: Any) -> Any:
    match value:
        case str():
            return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        case dict():
            return {_encodable(key): _encodable(item) for key, item in value.items()}
        case list() | tuple():
            return [_encodable(item) for item in value]
        case _:
            return value
