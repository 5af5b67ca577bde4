"""Removal of secrets from text."""

import re
from collections.abc import Iterable, Iterator
from typing import Final

__all__ = ["REMOVED", "SHORTEST_SECRET", "Secrets", "without_headers"]

REMOVED: Final = "[removed]"
"""The replacement of a secret."""

SHORTEST_SECRET: Final = 8
"""Minimum length of a secret for real endpoints. A shorter one could be part of any word."""

_HEADER: Final = re.compile(
    r"""(?ix) (?<![a-z0-9])
    (?: (authorization|authentication) [\\"']*\s*[=:]\s* (?:"[^"]*" | '[^']*' | [^\r\n]+)
      | (signature|salt) [\\"']*\s*[=:]\s* (?:"[^"]*" | '[^']*' | [^\s,;]+) )"""
)
"""A credentials header, or its secret parts."""


def without_headers(text: str) -> str:
    """Return the text without credentials headers, salts and signatures."""
    return _HEADER.sub(lambda match: f"{match[1] or match[2]}={REMOVED}", text)


class Secrets:
    """The secrets of a run; credentials are added as they are read.

    The time of a removal depends on the length of the text, not on the number of secrets: a reseller has 100,000.
    """

    __slots__ = ("_by_length", "_count", "_lengths")

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._by_length: dict[int, set[str]] = {}
        self._lengths: list[int] = []
        self._count = 0
        for secret in secrets:
            self.add(secret)

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[str]:
        return (secret for some in self._by_length.values() for secret in some)

    @property
    def shortest(self) -> int | None:
        """Length of the shortest secret; None without any."""
        return self._lengths[-1] if self._lengths else None

    def add(self, secret: str) -> None:
        """Add a secret; empty text is ignored."""
        length = len(secret)
        if length not in self._by_length and length:
            self._by_length[length] = set()
            self._lengths = sorted(self._by_length, reverse=True)
        if length and secret not in self._by_length[length]:
            self._by_length[length].add(secret)
            self._count += 1

    def removed_from(self, text: str, *, least: int = 1) -> str:
        """Return the text with every secret of `least` characters or more replaced, longer ones first.

        For names of fields and events, callers pass `SHORTEST_SECRET`, so that short secrets leave them intact.
        """
        for length in self._lengths:
            if length < least:
                break
            text = _without(text, length, self._by_length[length])
        return text


def _without(text: str, length: int, secrets: set[str]) -> str:
    pieces: list[str] = []
    start = at = 0
    while at <= len(text) - length:
        if text[at : at + length] in secrets:
            pieces += (text[start:at], REMOVED)
            start = at = at + length
        else:
            at += 1
    return "".join((*pieces, text[start:])) if pieces else text
