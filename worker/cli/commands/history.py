"""`senderid history`: show the runs of the ledger."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import click

from worker import __version__
from worker.cli import complete, load, options
from worker.cli.exit_status import ExitStatus
from worker.model.errors import UsageError
from worker.model.messages import Message
from worker.render.i18n import gettext as _
from worker.render.i18n import ngettext

if TYPE_CHECKING:
    from worker.cli.output import TextStyle
    from worker.config.settings import Settings
    from worker.model.history import History
    from worker.render.masking import Mask

__all__ = ["command"]

_LIMIT: Final = 20
_OUTCOMES: Final = ("converged", "partial", "refused", "failed", "locked", "interrupted", "crashed", "unfinished")


class _Since(click.ParamType[datetime]):
    """Option type of a date, a date with a time (in UTC if it has no offset), or an age."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """Return the aware time of a text such as 7d, 2026-11-24 or 2026-11-24T09:00+09:00."""
        try:
            moment = datetime.fromisoformat(value)
            return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
        except (ValueError, OverflowError):
            pass
        try:
            seconds = options.DURATION.convert(value, param, ctx)
        except click.BadParameter:
            message = _("{text} is not a time: use 24h, 7d, 2026-11-24 or 2026-11-24T09:00+09:00")
            self.fail(message.format(text=repr(value)), param, ctx)
        return _ago(seconds)


@click.command("history")
@click.argument("run", required=False, shell_complete=complete.runs)
@click.option("--account", metavar="NAME", help="Only this account.")
@click.option("--phone", metavar="PHONE", help="History of this number, over all runs and accounts.")
@click.option("--since", type=_Since(), metavar="TIME", help="Only runs since this time: 24h, 7d, 2026-11-24 (UTC).")
@click.option(
    "--outcome",
    type=click.Choice(_OUTCOMES),
    help="Only runs with this outcome. With --account, the outcome of the account counts.",
)
@click.option("--limit", type=click.IntRange(min=0), metavar="N", help="Maximum number of runs; 0 shows all. [20]")
@click.option(
    "--prune-older-than",
    "age",
    type=options.DURATION,
    metavar="TIME",
    help="Delete runs that ended more than TIME ago, such as 90d or 52w. Runs with unresolved writes are kept.",
)
@options.settings
@options.reviewable
def command(
    *,
    run: str | None,
    account: str | None,
    phone: str | None,
    since: datetime | None,
    outcome: str | None,
    limit: int | None,
    age: float | None,
    settings_path: str | None,
    output_format: str,
    mask: "Mask | None",
    output: str | None,
    no_color: bool,
    show_all: bool,
) -> int:
    """Show the runs on this host, newest first. With RUN, show that run in full: `last`, a run id or the start of one.

    Reads only the ledger. --phone shows the history of one number.
    """
    settings = load.load_settings(settings_path, {})
    output_options = options.OutputOptions(
        output_format=output_format, mask=mask, output=output, no_color=no_color, show_all=show_all
    )
    filters = (since, outcome, limit)
    if age is not None:
        if any(value is not None for value in (run, account, phone, *filters)):
            raise UsageError(Message("--prune-older-than cannot be combined with other filters: it deletes whole runs"))
        return _prune(settings, age)
    digits = None if phone is None else load.parse_phone("--phone", phone)
    if run is None and output_format == "markdown":
        raise UsageError(Message("--format markdown requires a run: senderid history RUN --format markdown"))
    if run is None:
        return _list(settings, output_options, account=account, phone=digits, since=since, outcome=outcome, limit=limit)
    if any(value is not None for value in filters):
        raise UsageError(
            Message("--since, --outcome and --limit filter the list of runs: they cannot be combined with RUN")
        )
    return _one(settings, output_options, run, account=account, phone=digits)


def _list(
    settings: "Settings",
    output_options: options.OutputOptions,
    *,
    account: str | None,
    phone: str | None,
    since: datetime | None,
    outcome: str | None,
    limit: int | None,
) -> int:

    from worker.cli.ledger import ledger_database
    from worker.ledger.history import HistoryQuery, history
    from worker.model.history import Ending, History
    from worker.model.times import format_utc_ms
    from worker.render.text import history as text

    # the history of a number is complete by default
    row_limit = limit if limit is not None else _LIMIT if phone is None else 0
    query = HistoryQuery(
        account=account,
        phone=phone,
        since=None if since is None else format_utc_ms(since),
        outcome=None if outcome is None else Ending(outcome),
        limit=row_limit,
    )
    database = ledger_database(settings)
    with database.read() as connection:
        if connection is None:
            message = _("There is no ledger yet at {path}: the first apply creates it.")
            click.echo(message.format(path=database.name), err=True)
        document = History(total=0, runs=()) if connection is None else history(connection, query)

    shown_phone = phone
    if output_options.mask is not None:
        document = output_options.mask.document(document)
        shown_phone = None if phone is None else output_options.mask.number(phone)

    def render(page: "TextStyle") -> str:
        if shown_phone is None:
            return text.runs(document, color=page.color, width=page.width)
        return text.number(shown_phone, document, color=page.color, width=page.width)

    def report() -> str:
        from worker.render import report

        return report.runs(document) if shown_phone is None else report.number(shown_phone, document)

    return _show(document, render, report, output_options)


def _one(
    settings: "Settings", output_options: options.OutputOptions, name: str, *, account: str | None, phone: str | None
) -> int:
    from worker.cli import output as printing
    from worker.cli.ledger import find_run

    printing.run(find_run(settings, name, account=account, phone=phone), output_options)
    return ExitStatus.OK


def _show(
    document: "History",
    render: "Callable[[TextStyle], str]",
    report: "Callable[[], str]",
    output_options: options.OutputOptions,
) -> int:
    from worker.cli.output import TextStyle, emit
    from worker.render import json_document

    match output_options.output_format:
        case "json":
            emit(json_document.encode(document), output_options.output)
        case "html":
            emit(report(), output_options.output)
        case _:
            emit(
                render(TextStyle.of(no_color=output_options.no_color, output=output_options.output)),
                output_options.output,
            )
    return ExitStatus.OK


def _prune(settings: "Settings", age: float) -> int:
    from worker.cli.ledger import ledger_database
    from worker.cli.runner import now
    from worker.ledger import forget
    from worker.model.times import format_utc_ms

    deleted_count = forget(ledger_database(settings), format_utc_ms(_ago(age)), program=__version__, now=now)
    text = ngettext("{count} run deleted.", "{count} runs deleted.", deleted_count)
    click.echo(text.format(count=f"{deleted_count:,}"))
    return ExitStatus.OK


def _ago(seconds: float) -> datetime:
    try:
        return datetime.now(UTC) - timedelta(seconds=seconds)
    except OverflowError:
        return datetime.min.replace(tzinfo=UTC)
