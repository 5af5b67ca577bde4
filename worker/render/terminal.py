"""Text for a terminal: escaping of untrusted text, alignment of wide characters, and colours."""

import re
from collections.abc import Callable, Iterator
from typing import Final
from unicodedata import east_asian_width, normalize

__all__ = ["Paint", "fit", "safe", "width", "wrap"]

_CODES: Final = {"bold": 1, "quiet": 2, "bad": 31, "good": 32, "warn": 33, "info": 36}
"""ANSI codes: bold, and the colours of the tones of marks."""
_WIDE: Final = frozenset("WF")
_WORDS: Final = re.compile(r"--\S+ \S+|[0-9][0-9.,]* \S+|\S+")


def safe(text: str, limit: int | None = None) -> str:
    """Return untrusted text on one line, without control characters, in at most `limit` columns.

    White space becomes spaces. Control characters, invisible characters, bidirectional overrides and lone surrogates
    become U+FFFD. Decomposed Hangul is composed. Text that is too long is cut and ends in an ellipsis.
    """
    if not text.isascii():
        text = normalize("NFC", text)
    if limit is not None:
        text = text[: limit + 1]  # a character takes at least one column
    if not text.isprintable():
        text = "".join(char if char.isprintable() else " " if char.isspace() else "\ufffd" for char in text)
    return text if limit is None or width(text) <= limit else next(_cut(text, limit - 1)) + "…"


def width(text: str) -> int:
    """Return how many columns printable text takes. Wide East Asian characters take two columns."""
    if text.isascii():
        return len(text)
    return len(text) + sum(_are_wide(text))


def _are_wide(text: str) -> Iterator[bool]:
    """Yield for each character whether it takes two columns."""
    return map(_WIDE.__contains__, map(east_asian_width, text))


def fit(text: str, columns: int) -> str:
    """Return printable text, padded with spaces to a width of `columns`."""
    return text + " " * (columns - width(text))


def wrap(text: str, columns: int) -> list[str]:
    """Return safe text in lines of at most `columns`, broken between words if possible.

    A line break separates neither an option from its value nor a number from its noun.
    """
    lines: list[str] = []
    line = ""
    for word in _WORDS.findall(safe(text)):
        candidate = f"{line} {word}" if line else word
        if width(candidate) <= columns:
            line = candidate
            continue
        if line:
            lines.append(line)
        *full_lines, line = _cut(word, columns)
        lines.extend(full_lines)
    return [*lines, line] if line else lines


def _cut(text: str, columns: int) -> Iterator[str]:
    """Yield the text in pieces of at most `columns`, each of at least one character."""
    start = columns_used = 0
    for index, is_wide in enumerate(_are_wide(text)):
        columns_used += 1 + is_wide
        if columns_used > columns and index > start:
            yield text[start:index]
            start, columns_used = index, 1 + is_wide
    yield text[start:]


class Paint:
    """Painter of text in bold or in colour. If `color` is False, it returns text unchanged."""

    __slots__ = ("_color",)

    def __init__(self, *, color: bool) -> None:
        self._color = color

    def __call__(self, style: str, text: str) -> str:
        """Return the text in bold, or in the colour of a tone."""
        return f"\x1b[{_CODES[style]}m{text}\x1b[0m" if self._color else text

    def style(self, style: str) -> Callable[[str], str]:
        """Return a function that paints text in one style."""
        return lambda text: self(style, text)
