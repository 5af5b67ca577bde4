"""Layout of help texts with wide characters, which take two columns. Click counts them as one column."""

from collections.abc import Iterable, Iterator
from typing import Final

import click

from worker.render.terminal import fit, width, wrap

__all__ = ["WideContext"]

_RAW: Final = "\b"
"""Mark on the first line of a paragraph whose lines must not be wrapped, as in click."""


class _WideFormatter(click.HelpFormatter):
    """Help formatter that wraps lines by columns instead of characters."""

    def write_text(self, text: str) -> None:
        """Write paragraphs at the current indent."""
        indent = " " * self.current_indent
        paragraphs = (
            "\n".join(indent + line for line in _lines(paragraph, self.width - self.current_indent))
            for paragraph in text.strip("\n").split("\n\n")
        )
        self.write("\n\n".join(paragraphs) + "\n")

    def write_dl(self, rows: Iterable[tuple[str, str]], col_max: int = 30, col_spacing: int = 2) -> None:
        """Write terms with their meanings. The meaning is beside the term, or below a term that is too long."""
        rows = list(rows)
        indent = " " * self.current_indent
        column = min(max((width(term) for term, _ in rows), default=0), col_max)
        meaning_indent = indent + " " * (column + col_spacing)
        for term, meaning in rows:
            lines = [line for text in meaning.split("\n\n") for line in _lines(text, self.width - len(meaning_indent))]
            if width(term) > column or not lines:
                self.write(f"{indent}{term}\n")
            else:
                self.write(f"{indent}{fit(term, column)}{' ' * col_spacing}{lines.pop(0)}\n")
            for line in lines:
                self.write(f"{meaning_indent}{line}\n")


def _lines(paragraph: str, columns: int) -> Iterator[str]:
    lines = paragraph.splitlines()
    if lines[:1] == [_RAW]:
        yield from lines[1:]
    else:
        yield from wrap(paragraph, columns)


class WideContext(click.Context):
    """Click context whose help is wrapped by columns instead of characters."""

    formatter_class = _WideFormatter
