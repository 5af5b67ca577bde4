"""`senderid status`: show the current state of every number. It never writes to an account."""

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import click
from msgspec import structs

from worker.cli import complete, load, options
from worker.cli.exit_status import ExitStatus
from worker.config import files
from worker.config.files import check_writable
from worker.model.errors import UsageError, WorkerError
from worker.model.messages import Message

if TYPE_CHECKING:
    from worker.cli.runner import Session
    from worker.model.accounts import DesiredAccount
    from worker.model.number_status import AccountStatus, Origin, StatusReport

__all__ = ["command"]


@click.command("status")
@options.more_files
@options.selected
@click.option("--differs", is_flag=True, help="Only numbers whose observed status is not the desired one.")
@click.option(
    "--observed",
    metavar="STATUS",
    multiple=True,
    shell_complete=complete.statuses,
    help="Only numbers with this observed status, such as PENDING, or MISSING if not registered. Repeatable.",
)
@click.option(
    "--expires-within",
    type=options.DURATION,
    metavar="TIME",
    help="Only numbers whose registration ends within this time, or has ended: 30d, 4w.",
)
@click.option(
    "--explain",
    metavar="PHONE",
    help="Only this number, and where its status, owner, note, protection, acknowledgement and schedule come from.",
)
@options.listing
@options.logging
def command(
    *, differs: bool, observed: tuple[str, ...], expires_within: float | None, explain: str | None, **common: Any
) -> int:
    """Show each number with its observed and desired status, owner, note, next scheduled change and expiry.

    Reads each account once and writes nothing. Numbers that differ are marked with *. PATH is the same as -f PATH.

    Exit status 0, or 1 if an account could not be read. `drift` and `plan --detailed-exitcode` exit with status 2 if
    numbers differ.
    """
    common_options = options.Common.of(**common)
    settings = load.load_settings(
        common_options.settings_path, common_options.overrides | {"log.level": common_options.log_level or "warning"}
    )
    desired, others = load.load_with_others(settings, common_options.paths, common_options.accounts)
    selection = load.parse_selection(common_options, desired, others)
    phone = None if explain is None else load.parse_phone("--explain", explain)
    if phone is not None:
        selection = structs.replace(selection, only=frozenset({phone}))
    if phone is not None and common_options.output_format == "csv":
        raise UsageError(Message("--explain cannot be combined with --format csv: use text or json"))

    from worker.cli import runner
    from worker.model.number_status import AccountStatus, StatusReport
    from worker.model.times import format_utc_ms
    from worker.plan.status import StatusFilter, account_status

    now = datetime.now(UTC)
    states = StatusFilter(
        differs=differs,
        observed=frozenset(status.upper() for status in observed),
        expires_before=None if expires_within is None else _later(now, expires_within),
    )
    check_writable(common_options.output)

    async def verb(run: "Session") -> int:
        accounts = [
            AccountStatus(account=account.name, timezone=account.timezone, error=read.info)
            if isinstance(read, WorkerError)
            else account_status(account, read, selection, states, now)
            for account, read in zip(desired, await run.fleet.observe(desired), strict=True)
        ]
        if phone is not None:
            accounts = [_explained(account, source, phone) for account, source in zip(accounts, desired, strict=True)]
        _show(StatusReport(created_at=format_utc_ms(now), accounts=tuple(accounts)), common_options)
        return ExitStatus.ERROR if any(account.error for account in accounts) else ExitStatus.OK

    return runner.run(verb, settings, no_color=common_options.no_color, reads_ledger=True)


def _explained(account: "AccountStatus", desired: "DesiredAccount", phone: str) -> "AccountStatus":
    """Return the state of an account with the origins of the fields of a number, if its files list it."""
    from worker.config.desired import is_shared
    from worker.config.desired.origins import read_origins
    from worker.model.ports import sources

    origins: tuple[Origin, ...] = ()
    for source in sources(desired):
        file = None if is_shared(source) or source == files.STDIN else files.read_file(source)
        if isinstance(file, tuple):
            origins += read_origins(*file, phone, files.SharedFiles()).get(desired.name, ())
    numbers = tuple(structs.replace(number, origins=origins) for number in account.numbers)
    return structs.replace(account, numbers=numbers)


def _later(now: datetime, seconds: float) -> datetime:
    try:
        return now + timedelta(seconds=seconds)
    except OverflowError:
        raise UsageError(Message("--expires-within is too long: use 30d or 4w")) from None


def _show(report: "StatusReport", common: options.Common) -> None:
    from worker.cli.output import TextStyle, emit
    from worker.render import json_document

    if common.mask is not None:
        report = common.mask.document(report)
    match common.output_format:
        case "json":
            emit(json_document.encode(report), common.output)
        case "csv":
            from worker.render.status_csv import status_csv

            emit(status_csv(report), common.output)
        case _:
            from worker.render.text import status

            style = TextStyle.of(no_color=common.no_color, output=common.output)
            emit(status.text(report, color=style.color, width=style.width), common.output)
