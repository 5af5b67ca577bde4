"""What is answered under one path."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

__all__ = ["Page"]

_TEXT: Final = "text/plain; charset=utf-8"


class Page(NamedTuple):
    """What is answered under one path, with headers beside those of every answer."""

    status: int
    body: bytes
    content_type: str = _TEXT
    headers: Mapping[str, str] = MappingProxyType({})
