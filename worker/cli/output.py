"""Write plans, results and runs in the requested format, to stdout or a file."""

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol, Self, TextIO

from worker.cli import signals
from worker.config.files import _STDERR, replace

if TYPE_CHECKING:
    from worker.model.history import RunRecord
    from worker.model.plans import Plan
    from worker.model.results import Result
    from worker.render.masking import Mask

__all__ = ["OutputOptions", "TextStyle", "color", "emit", "plan", "result", "run"]

_NARROWEST: Final = 80
_WIDEST: Final = 120
"""Columns of text: fewer break tables, more are hard to read."""


class OutputOptions(Protocol):
    """The output options of a document: `--format`, `--output`, `--mask` and `--no-color`."""

    @property
    def form(self) -> str:
        """One of `options.FORMS`."""
        ...

    @property
    def mask(self) -> "Mask | None":
        """How numbers are masked; None if they are shown in full."""
        ...

    @property
    def output(self) -> str | None:
        """The file to write; None for stdout."""
        ...

    @property
    def no_color(self) -> bool:
        """True if text has no colour even on a terminal."""
        ...


def plan(document: "Plan", wanted: OutputOptions, *, drift: bool = False) -> None:
    """Print a plan. With `drift`, omit what the file itself changed."""
    from worker.render import json_document, text

    if wanted.mask is not None:
        document = wanted.mask.document(document)
    match wanted.form:
        case "json":
            emit(json_document.encode(document), wanted.output)
        case "html":
            from worker.render import report

            emit(report.plan(document, drift=drift), wanted.output)
        case "markdown":
            from worker.render import markdown

            emit(markdown.plan(document, drift=drift), wanted.output)
        case _:
            page = TextStyle.of(no_color=wanted.no_color, output=wanted.output)
            emit(text.plan(document, color=page.color, width=page.width, drift=drift), wanted.output)


def result(document: "Result", wanted: OutputOptions, remark: "Callable[[Result], str]" = lambda _: "") -> None:
    """Print a result and, unless it is JSON, the remark on it."""
    from worker.render import json_document, text

    remarked = remark(document)
    if wanted.mask is not None:
        document, remarked = wanted.mask.document(document), wanted.mask.text(remarked)
    match wanted.form:
        case "json":
            emit(json_document.encode(document), wanted.output)
        case "html":
            from worker.render import report

            emit(report.result(document, remarked), wanted.output)
        case "markdown":
            from worker.render import markdown

            emit(markdown.result(document, remarked), wanted.output)
        case _:
            page = TextStyle.of(no_color=wanted.no_color, output=wanted.output)
            told = text.result(document, color=page.color, width=page.width)
            emit(told + remarked, wanted.output)


def run(told: "RunRecord", wanted: OutputOptions) -> None:
    """Print one run in full."""
    from worker.model.history import History
    from worker.render import json_document
    from worker.render.text import history

    if wanted.mask is not None:
        told = wanted.mask.document(told)
    match wanted.form:
        case "json":
            emit(json_document.encode(History(total=1, runs=(told,))), wanted.output)
        case "html":
            from worker.render import report

            emit(report.run(told), wanted.output)
        case "markdown":
            from worker.render import markdown

            emit(markdown.run(told), wanted.output)
        case _:
            page = TextStyle.of(no_color=wanted.no_color, output=wanted.output)
            emit(history.run(told, color=page.color, width=page.width), wanted.output)


def color(stream: TextIO, *, no_color: bool) -> bool:
    """Return True if a stream is a terminal and colour is not disabled."""
    return stream.isatty() and not no_color and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"


class TextStyle(NamedTuple):
    """How text is rendered: with colour or without, and in how many columns."""

    color: bool
    width: int

    @classmethod
    def of(cls, *, no_color: bool, output: str | None = None) -> Self:
        """Return the style for the terminal of stdout; plain if stdout is no terminal or the output is a file."""
        if output is not None or not sys.stdout.isatty():
            return cls(color=False, width=_NARROWEST)
        columns = shutil.get_terminal_size().columns
        return cls(color=color(sys.stdout, no_color=no_color), width=min(max(columns, _NARROWEST), _WIDEST))


def emit(document: str | bytes, output: str | None = None) -> None:
    """Write a document to stdout, or whole or not at all to a file; a device or a pipe just gets it.

    Raises:
        OSError: it could not be written.
        Interruption: a signal arrived; the reader of a pipe may never read.
    """
    data = document.encode() if isinstance(document, str) else document
    with signals.raising():
        if output is None or output in _STDERR:
            stream = sys.stdout if output is None else sys.stderr
            stream.flush()
            stream.buffer.write(data)
            stream.buffer.flush()
        else:
            replace(Path(output), data, mode=0o644)
