"""The tables of a report: accounts, numbers, runs, and one number over all runs."""

from collections.abc import Iterable, Sequence
from typing import Final

from worker.model.history import Attempt, History, RunRecord
from worker.model.plans import Action
from worker.render.i18n import gettext as _
from worker.render.i18n import translate
from worker.render.marks import brief_counts, counts_text, ending_mark
from worker.render.report.page import AccountName, Cell, Column, RowGroup, Table, TableRow, table
from worker.render.view.attention import error_text
from worker.render.view.parts import AccountView, NumberRow
from worker.render.view.result import number_row
from worker.render.view.run import seconds_between, user_and_host

__all__ = ["accounts_table", "history_table", "numbers_table", "runs_table"]

_NOT_WRITTEN: Final = (Action.PROTECTED, Action.ACKNOWLEDGED, Action.UNMANAGED)
_NAMES: Final = 5
"""Maximum count of accounts of a run that a row names. The others are counted."""


def accounts_table(accounts: Iterable[AccountView], *, is_plan: bool) -> Table:
    """Return a table of accounts, with their verdicts (of a plan) or outcomes (of a run)."""
    columns = (
        Column("account", _("Account"), "account"),
        Column(
            "ended",
            _("Verdict") if is_plan else _("Outcome"),
            "mark",
            _("Verdict") if is_plan else _("Outcome of each account"),
        ),
        Column("active", _("ACTIVE numbers"), "share"),
        Column("on", _("To activate"), "number"),
        Column("off", _("To deactivate"), "number"),
        Column("attention", _("Need attention"), "number"),
        Column("aside", _("Not written"), "number"),
        Column("same", _("Unchanged"), "number"),
        Column("counts", _("Numbers"), "lines"),
        Column("reads", _("Reads"), "number"),
        Column("writes", _("Writes"), "number"),
        Column("retries", _("Retries"), "number"),
        Column("why", _("Why"), "lines"),
        Column("how", _("Source"), "lines"),
    )
    rows = [
        TableRow(
            (
                AccountName(account.name, account.id),
                account.mark,
                account.share,
                *(_planned(account) if is_plan else _ended(account)),
                tuple(filter(None, (*(item.title for item in account.refusals), account.error))),
                account.provenance,
            ),
            account.needs_attention,
        )
        for account in accounts
    ]
    return table("accounts", _("Accounts"), columns, rows)


def _planned(account: AccountView) -> tuple[Cell, ...]:
    if account.error:
        return (None,) * 9
    number = account.counts.get
    return (
        number(Action.ACTIVATE, 0),
        number(Action.DEACTIVATE, 0),
        account.attention_count,
        sum(number(action, 0) for action in _NOT_WRITTEN),
        number(Action.UNCHANGED, 0),
        *(None,) * 4,
    )


def _ended(account: AccountView) -> tuple[Cell, ...]:
    requests = account.requests
    return (*(None,) * 5, counts_text(account.counts), requests.reads, requests.writes, requests.retries)


def numbers_table(accounts: Iterable[AccountView], *, is_plan: bool) -> Table:
    """Return a table of the numbers of accounts."""
    columns = (
        Column("account", _("Account"), "account", _("Account")),
        Column("phone", _("Number"), "phone"),
        *(_columns(_("Action"), _("Action")) if is_plan else _columns(_("Outcome"), _("Outcome of each number"))),
    )
    rows = [
        TableRow((AccountName(account.name), row.phone, *_cells(row)), row.needs_attention, heading)
        for account in accounts
        for heading in [RowGroup(AccountName(account.name, account.id), account.mark, brief_counts(account.counts))]
        for group in account.groups()
        for row in group.rows
    ]
    return table("numbers", _("Numbers"), columns, rows)


def history_table(document: History) -> Table:
    """Return a table of the history of one number: a row for each run and account of `document`."""
    columns = (
        Column("when", _("When"), "moment"),
        Column("run", _("Run"), "code"),
        Column("account", _("Account"), "account", _("Account")),
        *_columns(_("Outcome"), _("Outcome")),
        Column("by", _("By"), "lines", _("By")),
    )
    rows = [
        TableRow(
            (
                run.started_at,
                run.run_id,
                AccountName(account.account, account.account_id),
                *_cells(row),
                user_and_host(run),
            ),
            row.needs_attention,
        )
        for run in document.runs
        for account in run.accounts
        for row in map(number_row, account.numbers or ())
    ]
    return table("numbers", _("Run history"), columns, rows)


def _columns(mark: str, facet: str) -> tuple[Column, ...]:
    """Return the columns of `_cells`. `mark` is the label of the mark, `facet` that of its filter."""
    return (
        Column("what", mark, "mark", facet),
        Column("status", _("Status"), "lines"),
        Column("why", _("Why"), "lines"),
        Column("cause", _("Cause"), "lines"),
        Column("until", _("Until"), "lines"),
        Column("note", _("Note"), "lines"),
        Column("owner", _("Owner"), "lines", _("Owner")),
        Column("attempts", _("Attempts"), "number"),
        Column("attempts", _("Attempts"), "lines"),
        Column("took", _("Duration (ms)"), "number"),
    )


def _cells(row: NumberRow) -> tuple[Cell, ...]:
    return (
        row.mark,
        row.status,
        row.reason or row.error,
        row.cause,
        row.until,
        row.note,
        row.owner,
        row.tries or None,
        tuple(map(_attempt, row.attempts)),
        row.duration_ms or None,
    )


def _attempt(attempt: Attempt) -> str:
    parts = [
        _("{number}. {desired}: {state}").format(
            number=attempt.number, desired=attempt.asked, state=translate(attempt.state)
        ),
        _("recorded {time}").format(time=_clock(attempt.intended_at)),
    ]
    if attempt.answered_at is not None:
        parts.append(_("response {time}").format(time=_clock(attempt.answered_at)))
    if attempt.error is not None:
        parts.append(error_text(attempt.error))
    return ", ".join(parts)


def _clock(stamp: str) -> str:
    return stamp[11:].removesuffix("Z")


def runs_table(runs: Sequence[RunRecord]) -> Table:
    """Return a table of runs."""
    columns = (
        Column("when", _("When"), "moment"),
        Column("run", _("Run"), "code"),
        Column("what", _("Outcome"), "mark", _("Outcome")),
        Column("command", _("Command"), "lines"),
        Column("who", _("By"), "lines", _("By")),
        Column("accounts", _("Accounts"), "lines"),
        Column("counts", _("Numbers"), "lines"),
        Column("took", _("Duration (s)"), "lines"),
    )
    return table("numbers", _("Runs"), columns, list(map(_run, runs)))


def _run(run: RunRecord) -> TableRow:
    names = tuple(account.account for account in run.accounts)
    suffix = (f"+{len(names) - _NAMES:,}",) if len(names) > _NAMES else ()
    mark = ending_mark(run.outcome, [account.error for account in run.accounts])
    return TableRow(
        (
            run.started_at,
            run.run_id,
            mark,
            run.command,
            user_and_host(run),
            names[:_NAMES] + suffix,
            brief_counts(run.counts),
            None if run.finished_at is None else f"{seconds_between(run.started_at, run.finished_at):,.1f}",
        ),
        mark.tone != "good",
    )
