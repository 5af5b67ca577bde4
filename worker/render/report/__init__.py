"""Renderer of plans, results and runs as self-contained HTML files."""

from collections.abc import Iterable, Iterator

from worker.model.history import History, RunRecord
from worker.model.phones import hyphenated
from worker.model.plans import Plan
from worker.model.results import Requests, Result
from worker.render.i18n import gettext as _
from worker.render.i18n import ngettext
from worker.render.report.chart import charts
from worker.render.report.page import Field, Report, Table, capped, page
from worker.render.report.tables import accounts_table, history_table, numbers_table, runs_table
from worker.render.view import plan_view, result_view, run_view
from worker.render.view.parts import DocumentView
from worker.render.view.run import flatten, seconds_between, user_and_host

__all__ = ["number", "plan", "result", "run", "runs"]


def plan(document: Plan, *, drift: bool = False) -> str:
    """Return a plan as an HTML document. With `drift`, the plan contains drift only."""
    view = plan_view(document, drift=drift)
    numbers = sum(count.numbers for count in view.counts)
    fields = [Field(_("Created"), document.created_at, "moment")]
    if document.at is not None:
        fields.append(Field(_("For"), document.at, "moment"))
    fields += [
        Field(_("Fingerprint"), document.fingerprint, "hash"),
        Field(_("Accounts"), f"{len(document.accounts):,}"),
        Field(_("Numbers"), f"{numbers:,}"),
    ]
    return page(_report(view, fields, is_plan=True))


def result(document: Result, remark: str = "") -> str:
    """Return a result as an HTML document that includes `remark`."""
    remarks = [" ".join(remark.split())] if remark else []
    if any(account.requests.writes for account in document.accounts):
        text = _("For a chart of the writes over time, run: senderid history {run} --format html")
        remarks.append(text.format(run=document.run_id))
    fields = [
        Field(_("Run"), document.run_id, "code"),
        *_times(document.started_at, document.finished_at),
        Field(_("Accounts"), f"{len(document.accounts):,}"),
        *_requests(account.requests for account in document.accounts),
    ]
    return page(_report(result_view(document), fields, remarks))


def run(record: RunRecord) -> str:
    """Return a run of the ledger as an HTML document."""
    fields = [
        Field(_("Command"), record.command),
        Field(_("By"), _("{user} (process {pid})").format(user=user_and_host(record), pid=record.pid)),
        *([] if record.plan is None else [Field(_("Plan file"), record.plan, "code")]),
        Field(_("Version"), record.version),
        *_times(record.started_at, record.finished_at),
        *_requests(account.requests for account in record.accounts),
    ]
    return page(_report(run_view(record), fields, record=record))


def runs(document: History) -> str:
    """Return a list of runs as an HTML document, newest first."""
    count = len(document.runs)
    if count < document.total:
        text = _("{shown:,} of {total:,} runs. To list all: --limit 0").format(shown=count, total=document.total)
    else:
        text = ngettext("{number:,} run.", "{number:,} runs.", count).format(number=count)
    return _list(_("Runs"), text, runs_table(document.runs))


def number(phone: str, document: History) -> str:
    """Return the history of one number as an HTML document, newest first.

    `phone` is the number as digits. `document` contains the runs and accounts that include it.
    """
    count = len(document.runs)
    text = ngettext("{number:,} run with this number.", "{number:,} runs with this number.", count)
    return _list(hyphenated(phone), text.format(number=count), history_table(document))


def _list(title: str, verdict: str, table: Table) -> str:
    return page(Report(title=title, tone="info", verdict=verdict, tables=(table,)))


def _report(
    view: DocumentView,
    fields: Iterable[Field],
    remarks: Iterable[str] = (),
    *,
    is_plan: bool = False,
    record: RunRecord | None = None,
) -> Report:
    drawings, note = ((), "") if record is None else charts(record)
    return Report(
        title=view.title,
        fields=tuple(fields),
        tone=view.tone,
        verdict=view.verdict,
        remarks=(*(remark for _tone, remark in view.remarks), *remarks),
        counts=view.counts,
        attention=list(capped(view.attention)),
        notices=list(capped(view.notices)),
        charts=drawings,
        chart_note=note,
        tables=(
            accounts_table([*view.accounts, *view.unread], is_plan=is_plan),
            numbers_table(view.accounts, is_plan=is_plan),
        ),
        quiet=view.quiet,
        settings=() if record is None else tuple(flatten(record.settings or {})),
    )


def _times(start: str, end: str | None) -> Iterator[Field]:
    yield Field(_("Started"), start, "moment")
    if end is not None:
        yield Field(_("Finished"), end, "moment")
        yield Field(_("Duration"), _("{seconds:,.1f} s").format(seconds=seconds_between(start, end)))


def _requests(accounts: Iterable[Requests]) -> Iterator[Field]:
    requests = sum(accounts, Requests())
    yield Field(_("Reads"), f"{requests.reads:,}")
    yield Field(_("Writes"), f"{requests.writes:,}")
    yield Field(_("Retries"), f"{requests.retries:,}")
