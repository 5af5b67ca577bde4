"""Output of plans, results and runs in the requested format, to stdout or to a file."""

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple, Self, TextIO

from worker.cli import signals
from worker.config.files import _STDERR, replace

if TYPE_CHECKING:
    from worker.cli.options import OutputOptions
    from worker.model.history import RunRecord
    from worker.model.plans import Plan
    from worker.model.results import Result

__all__ = ["TextStyle", "emit", "plan", "result", "run", "uses_color"]

_NARROWEST: Final = 80
_WIDEST: Final = 120
"""Minimum and maximum width of text in columns. Fewer columns would break tables, and more would be hard to read."""


def plan(document: "Plan", options: "OutputOptions", *, drift: bool = False, text_below: str = "") -> None:
    """Print a plan. With `drift`, the plan contains drift only. `text_below` is printed below it in text."""
    from worker.render import json_document, text

    if options.mask is not None:
        document, text_below = options.mask.document(document), options.mask.text(text_below)
    match options.output_format:
        case "json":
            emit(json_document.encode(document), options.output)
        case "html":
            from worker.render import report

            emit(report.plan(document, drift=drift), options.output)
        case "markdown":
            from worker.render import markdown

            emit(markdown.plan(document, drift=drift), options.output)
        case _:
            style = TextStyle.of(no_color=options.no_color, output=options.output)
            page = text.plan(document, color=style.color, width=style.width, drift=drift, show_all=options.show_all)
            emit(page + text_below, options.output)


def result(document: "Result", options: "OutputOptions", remark: "Callable[[Result], str]" = lambda _: "") -> None:
    """Print a result. `remark` returns a text that is printed below the result, except in JSON."""
    from worker.render import json_document, text

    text_below = remark(document)
    if options.mask is not None:
        document, text_below = options.mask.document(document), options.mask.text(text_below)
    match options.output_format:
        case "json":
            emit(json_document.encode(document), options.output)
        case "html":
            from worker.render import report

            emit(report.result(document, text_below), options.output)
        case "markdown":
            from worker.render import markdown

            emit(markdown.result(document, text_below), options.output)
        case _:
            style = TextStyle.of(no_color=options.no_color, output=options.output)
            table = text.result(document, color=style.color, width=style.width, show_all=options.show_all)
            emit(table + text_below, options.output)


def run(record: "RunRecord", options: "OutputOptions") -> None:
    """Print one run in full."""
    from worker.model.history import History
    from worker.render import json_document
    from worker.render.text import history

    if options.mask is not None:
        record = options.mask.document(record)
    match options.output_format:
        case "json":
            emit(json_document.encode(History(total=1, runs=(record,))), options.output)
        case "html":
            from worker.render import report

            emit(report.run(record), options.output)
        case "markdown":
            from worker.render import markdown

            emit(markdown.run(record), options.output)
        case _:
            style = TextStyle.of(no_color=options.no_color, output=options.output)
            page = history.run(record, color=style.color, width=style.width, show_all=options.show_all)
            emit(page, options.output)


def uses_color(stream: TextIO, *, no_color: bool) -> bool:
    """Return True if text on the stream is coloured.

    That is the case if it is a terminal, and neither `no_color`, NO_COLOR nor TERM=dumb disables colour.
    """
    return stream.isatty() and not no_color and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"


class TextStyle(NamedTuple):
    """The style of rendered text: the use of colour, and the width in columns."""

    color: bool
    width: int

    @classmethod
    def of(cls, *, no_color: bool, output: str | None = None) -> Self:
        """Return the style for stdout. It is without colour if stdout is not a terminal, or if the output is a file."""
        if output is not None or not sys.stdout.isatty():
            return cls(color=False, width=_NARROWEST)
        columns = shutil.get_terminal_size().columns
        return cls(color=uses_color(sys.stdout, no_color=no_color), width=min(max(columns, _NARROWEST), _WIDEST))


def emit(document: str | bytes, output: str | None = None) -> None:
    """Write a document to the file `output`, or to stdout if that is None.

    A file is replaced atomically, unless it is a device or a pipe.

    Raises:
        OSError: the document could not be written.
        Interruption: a signal arrived. Writing to a pipe can block forever, so a signal must be able to end it.
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
