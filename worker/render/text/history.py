"""Renderer of the ledger as text: runs as a table, one run in full, or the history of one number."""

from collections.abc import Iterator
from typing import Final

from worker.model.history import Ending, History, RunRecord
from worker.model.phones import hyphenated
from worker.render.i18n import gettext as _
from worker.render.i18n import translate
from worker.render.marks import Mark, brief_counts, count, ending_mark
from worker.render.terminal import Paint, fit, safe
from worker.render.text.layout import account_lines, group_lines, header, in_full_or_brief, indented, names
from worker.render.view import run_view
from worker.render.view.run import flatten, groups_of, seconds_between, user_and_host

__all__ = ["number", "run", "runs"]

_WHEN_COLUMNS: Final = 19
_OUTCOME_COLUMNS: Final = max(map(len, Ending))
_ACCOUNT_COLUMNS: Final = 20


def runs(document: History, *, color: bool, width: int = 80) -> str:
    """Return runs as a table in `width` columns, ended by a newline. Without `color`, it has no escape codes."""
    paint = Paint(color=color)
    lines = []
    if document.runs:
        titles = (
            (_("WHEN (UTC)"), _WHEN_COLUMNS),
            (_("OUTCOME"), _OUTCOME_COLUMNS),
            (_("ACCOUNT"), _ACCOUNT_COLUMNS),
        )
        lines = [paint("quiet", "  ".join([*(fit(*title) for title in titles), _("NUMBERS")]))]
    for run in document.runs:
        lines += _row(run, paint, width)
    return "\n".join([*lines, _summary(document, paint)]) + "\n"


def run(run: RunRecord, *, color: bool, width: int = 80, show_all: bool = False) -> str:
    """Return one run in full: user, host, files, settings, and its numbers with their attempts.

    With `show_all`, it lists every account and number.
    """
    paint = Paint(color=color)
    view = run_view(run)
    lines = [_("Run {run}: ").format(run=safe(run.run_id)), *_about(run, paint, width)]
    lines[0] = paint("bold", lines[0]) + paint(view.tone, translate(_ending(run).word))
    for tone, remark in view.remarks:
        lines += indented(remark, width, "  ", "    ", paint.style(tone))
    lines.append("")
    lines += in_full_or_brief(
        view.accounts,
        lambda account: account_lines(account, paint, width, has_ended=True, show_all=show_all),
        lambda account: account.brief,
        lambda account: [account.name],
        width,
        show_all=show_all,
    )
    if not view.accounts:
        lines += [_("No accounts are recorded for this run."), ""]
    return "\n".join(lines[:-1]) + "\n"


def number(phone: str, document: History, *, color: bool, width: int = 80) -> str:
    """Return the history of one number as text, newest first.

    `phone` is the number as digits. `document` contains the runs and accounts that include it.
    """
    paint = Paint(color=color)
    lines = []
    for run in document.runs:
        for account in run.accounts:
            lines.append(f"{_when(run.started_at)}  {header(account.account, account.account_id, paint, width // 2)}")
            text = _("{command} by {user}, run {run}: {outcome}").format(
                command=run.command,
                user=user_and_host(run),
                run=run.run_id,
                outcome=translate(ending_mark(account.outcome, [account.error]).word),
            )
            lines += indented(text, width, "  ", "    ", paint.style("quiet"))
            lines += [*group_lines(groups_of(account), paint, width), ""]
    return "\n".join([*lines, _number_summary(document, paint, safe(hyphenated(phone)))]) + "\n"


def _ending(run: RunRecord) -> Mark:
    return ending_mark(run.outcome, [account.error for account in run.accounts])


def _row(run: RunRecord, paint: Paint, columns: int) -> Iterator[str]:
    ending = _ending(run)
    accounts = safe(names([account.account for account in run.accounts]), _ACCOUNT_COLUMNS)
    names_columns = columns - _WHEN_COLUMNS - _OUTCOME_COLUMNS - _ACCOUNT_COLUMNS - 6
    cells = (
        _when(run.started_at),
        paint(ending.tone, fit(translate(ending.word), _OUTCOME_COLUMNS)),
        fit(accounts, _ACCOUNT_COLUMNS),
        safe(brief_counts(run.counts), names_columns),
    )
    yield "  ".join(cells).rstrip()
    line = _("{run}, {command} by {user}").format(run=run.run_id, command=run.command, user=user_and_host(run))
    yield from indented(line, columns, "  ", "    ", paint.style("quiet"))


def _summary(document: History, paint: Paint) -> str:
    number = len(document.runs)
    if not number:
        return _("No runs.")
    if number < document.total:
        text = _("{count} of {runs}. To list all: --limit 0")
        return paint("quiet", text.format(count=f"{number:,}", runs=count(document.total, "run")))
    return paint("quiet", _("{runs}.").format(runs=count(number, "run")))


def _number_summary(document: History, paint: Paint, phone: str) -> str:
    number = len(document.runs)
    if not number:
        return _("No runs with {phone}.").format(phone=phone)
    if number < document.total:
        text = _("{count} of {runs} with {phone}. To list all: --limit 0")
        return paint("quiet", text.format(count=f"{number:,}", runs=count(document.total, "run"), phone=phone))
    return paint("quiet", _("{runs} with {phone}.").format(runs=count(number, "run"), phone=phone))


def _about(run: RunRecord, paint: Paint, columns: int) -> Iterator[str]:
    """Yield the command, user, times, plan file and settings of a run."""
    text = _("{command} by {user} (process {pid}), senderid {version}").format(
        command=run.command, user=user_and_host(run), pid=run.pid, version=run.version
    )
    yield from indented(text, columns, "  ", "    ")
    yield from indented(_span(run), columns, "  ", "    ")
    if run.plan is not None:
        yield from indented(_("plan file {plan}").format(plan=run.plan), columns, "  ", "    ")
    if run.settings:
        settings = _("settings: {settings}").format(settings=", ".join(flatten(run.settings)))
        yield from indented(settings, columns, "  ", "    ", paint.style("quiet"))


def _span(run: RunRecord) -> str:
    start = f"{_when(run.started_at)} UTC"
    if run.finished_at is None:
        return _("since {start}").format(start=start)
    return _("from {start} to {end}, {seconds} s").format(
        start=start, end=_when(run.finished_at), seconds=f"{seconds_between(run.started_at, run.finished_at):,.1f}"
    )


def _when(stamp: str) -> str:
    return safe(f"{stamp[:10]} {stamp[11:19]}")
