"""Plans, results and stories in the form that was asked for, on stdout or in a file."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from worker.model.history import RunStory
    from worker.model.plans import Plan, Result
    from worker.render.masking import Mask

__all__ = ["Wanted", "plan", "result", "run"]


class Wanted(Protocol):
    """How a document is wanted: what `--format`, `--output` and `--no-color` said."""

    @property
    def form(self) -> str:
        """One of `options.FORMS`."""
        ...

    @property
    def mask(self) -> "Mask | None":
        """How numbers are masked; None where they are shown in full."""
        ...

    @property
    def output(self) -> str | None:
        """The file to write; None for stdout."""
        ...

    @property
    def no_color(self) -> bool:
        """Whether text is to be without colours even on a terminal."""
        ...


def plan(document: "Plan", wanted: Wanted, *, drift: bool = False) -> None:
    """Print a plan. One of `drift` leaves out what the file itself changed."""
    from worker.cli.runner import Page, emit
    from worker.render import json_document, text

    if wanted.mask is not None:
        document = wanted.mask.plan(document)
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
            page = Page.of(no_color=wanted.no_color, output=wanted.output)
            emit(text.plan(document, color=page.color, width=page.width, drift=drift), wanted.output)


def result(document: "Result", wanted: Wanted, remark: "Callable[[Result], str]" = lambda _: "") -> None:
    """Print a result and, where it is text, what there is to remark on it."""
    from worker.cli.runner import Page, emit
    from worker.render import json_document, text

    remarked = remark(document)
    if wanted.mask is not None:
        document, remarked = wanted.mask.result(document), wanted.mask.text(remarked)
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
            page = Page.of(no_color=wanted.no_color, output=wanted.output)
            told = text.result(document, color=page.color, width=page.width)
            emit(told + remarked, wanted.output)


def run(told: "RunStory", wanted: Wanted) -> None:
    """Print one run in full."""
    from worker.cli.runner import Page, emit
    from worker.model.history import History
    from worker.render import json_document
    from worker.render.text import history

    if wanted.mask is not None:
        told = wanted.mask.run(told)
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
            page = Page.of(no_color=wanted.no_color, output=wanted.output)
            emit(history.run(told, color=page.color, width=page.width), wanted.output)
