"""Removal of secrets from text."""

import re
from collections.abc import Iterable, Iterator
from typing import Final

__all__ = ["REMOVED", "SHORTEST_SECRET", "Secrets", "without_headers"]

REMOVED: Final = "[removed]"
"""The text that replaces a secret."""

SHORTEST_SECRET: Final = 8
"""Minimum length in characters of a secret for real endpoints. A shorter text could be part of any word."""

_HEADER: Final = re.compile(
    r"""(?ix) (?<![a-z0-9])
    (?: (authorization|authentication) [\\"']*\s*[=:]\s* (?:"[^"]*" | '[^']*' | [^\r\n]+)
      | (signature|salt) [\\"']*\s*[=:]\s* (?:"[^"]*" | '[^']*' | [^\s,;]+) )"""
)
"""Matches a credentials header, or a signature or salt alone."""


def without_headers(text: str) -> str:
    """Return the text without credentials headers, salts and signatures."""
    return _HEADER.sub(lambda match: f"{match[1] or match[2]}={REMOVED}", text)


class Secrets:
    """The set of secrets of a run. Credentials are added when they are read.

    The time that `remove_from` takes depends on the length of the text, not on the count of secrets, because a
    reseller may have 100,000.
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
        return (secret for same_length in self._by_length.values() for secret in same_length)

    @property
    def shortest(self) -> int | None:
        """The length of the shortest secret, in characters; None if there are no secrets."""
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

    def remove_from(self, text: str, *, min_length: int = 1) -> str:
        """Return the text with each secret of at least `min_length` characters replaced by `REMOVED`, longest first.

        Callers pass `SHORTEST_SECRET` for names of fields and events, so that short secrets do not change these names.
        """
        for length in self._lengths:
            if length < min_length:
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
