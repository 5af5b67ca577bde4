"""Renderer of a plan or a result as text: accounts, errors and a closing sentence."""

from collections.abc import Iterator
from functools import partial

from worker.model.plans import Plan
from worker.model.results import Result
from worker.render.i18n import gettext as _
from worker.render.i18n import translate
from worker.render.marks import count
from worker.render.terminal import Paint, safe
from worker.render.text.layout import account_lines, in_full_or_brief, indented, names
from worker.render.view import plan_view, result_view
from worker.render.view.attention import AttentionGroup
from worker.render.view.parts import DocumentView

__all__ = ["plan", "result"]

_CODE_COLUMNS = 50


def plan(plan: Plan, *, color: bool, width: int = 80, drift: bool = False, show_all: bool = False) -> str:
    """Return a plan as text in `width` columns, ended by a newline. Without `color`, it has no escape codes.

    With `drift`, the plan contains drift only. With `show_all`, it lists every account and number.
    """
    return _document(plan_view(plan, drift=drift), Paint(color=color), width, show_all=show_all)


def result(result: Result, *, color: bool, width: int = 80, show_all: bool = False) -> str:
    """Return a result as text in `width` columns, ended by a newline. Without `color`, it has no escape codes.

    With `show_all`, it lists every account and number.
    """
    return _document(result_view(result), Paint(color=color), width, show_all=show_all)


def _document(view: DocumentView, paint: Paint, columns: int, *, show_all: bool) -> str:
    has_ended = view.ending is not None
    lines = [
        *in_full_or_brief(
            view.accounts,
            lambda account: account_lines(account, paint, columns, has_ended=has_ended, show_all=show_all),
            lambda account: account.brief,
            lambda account: [account.name],
            columns,
            show_all=show_all,
        ),
        *in_full_or_brief(
            [item for item in view.attention if view.unread and item.kind == "error"],
            lambda item: _error(item, paint, columns),
            lambda item: safe(item.text.partition(":")[0], _CODE_COLUMNS),
            lambda item: item.accounts,
            columns,
            show_all=show_all,
        ),
    ]
    if view.quiet_title:
        lines += [*indented(f"{view.quiet_title}: {names(view.quiet)}", columns, "", "  "), ""]
    return "\n".join([*lines, *_closing(view, paint, columns)]) + "\n"


def _error(item: AttentionGroup, paint: Paint, columns: int) -> Iterator[str]:
    account_prefix = count(len(item.accounts), "account") + ": " if len(item.accounts) > 1 else ""
    yield from indented(account_prefix + names(item.accounts), columns, "", "  ", paint.style("bold"))
    yield from indented(item.text, columns, "  ", "    ", paint.style("bad"))


def _closing(view: DocumentView, paint: Paint, columns: int) -> Iterator[str]:
    """Yield the verdict, with the outcome of a run in colour, and its remarks."""
    word = "" if view.ending is None else f"{translate(view.ending.word).capitalize()}:"
    first, *further_lines = indented(view.verdict, columns, "", "  ")
    yield (paint(view.tone, word) if word else "") + paint("bold", first.removeprefix(word))
    yield from (paint("bold", line) for line in further_lines)
    for tone, remark in view.remarks:
        yield from indented(remark, columns, "", "  ", partial(paint, tone))
    if view.unread:
        yield from indented(_("To check every account: senderid doctor -f PATH"), columns, "", "  ")
