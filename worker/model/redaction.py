"""Texts that must not be shown, and how they are taken out of what is."""

import re
from collections.abc import Iterable, Iterator
from typing import Final

__all__ = ["REMOVED", "SHORTEST_SECRET", "Secrets", "without_headers"]

REMOVED: Final = "[removed]"
"""What stands where a secret stood."""

SHORTEST_SECRET: Final = 8
"""Characters of a secret that real endpoints are used with. A shorter one could be part of any word."""

_HEADER: Final = re.compile(
    r"""(?ix) (?<![a-z0-9])
    (?: (authorization|authentication) [\\"']*\s*[=:]\s* (?:"[^"]*" | '[^']*' | [^\r\n]+)
      | (signature|salt) [\\"']*\s*[=:]\s* (?:"[^"]*" | '[^']*' | [^\s,;]+) )"""
)
"""A whole header, or those parts of one that nobody may see."""


def without_headers(text: str) -> str:
    """The text without credentials headers, and without the salt and the signature of one, wherever it came from."""
    return _HEADER.sub(lambda found: f"{found[1] or found[2]}={REMOVED}", text)


class Secrets:
    """The secrets of a run, which grow as credentials are found.

    Looking for them takes time by the length of a text and not by their number: a reseller has a hundred thousand.
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
        """Characters of the shortest one; None where there is none."""
        return self._lengths[-1] if self._lengths else None

    def add(self, secret: str) -> None:
        """One more that must not be shown; an empty text is none."""
        length = len(secret)
        if length not in self._by_length and length:
            self._by_length[length] = set()
            self._lengths = sorted(self._by_length, reverse=True)
        if length and secret not in self._by_length[length]:
            self._by_length[length].add(secret)
            self._count += 1

    def removed_from(self, text: str, *, least: int = 1) -> str:
        """The text with every secret of `least` characters or more replaced; a longer one first, as one may be a part.

        Names of fields and events are ours: of them secrets below `SHORTEST_SECRET` take nothing out.
        """
        for length in self._lengths:
            if length < least:
                break
            text = _without(text, length, self._by_length[length])
        return text


def _without(text: str, length: int, secrets: set[str]) -> str:
    kept: list[str] = []
    start = at = 0
    while at <= len(text) - length:
        if text[at : at + length] in secrets:
            kept += (text[start:at], REMOVED)
            start = at = at + length
        else:
            at += 1
    return "".join((*kept, text[start:])) if kept else text
