"""`senderid calendar`: show upcoming schedule changes, from the files only."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import click

from worker.cli import load, options
from worker.cli.exit_status import ExitStatus
from worker.cli.output import TextStyle, emit
from worker.config.files import check_writable
from worker.model.errors import UsageError
from worker.model.messages import Message

__all__ = ["command"]

_MAX_DAYS = 3660
"""Maximum count of days ahead that a calendar can show: ten years."""


@click.command("calendar")
@options.more_files
@options.files
@options.settings
@click.option("--account", "accounts", metavar="NAME", multiple=True, help="Only this account. Repeatable.")
@click.option("--days", type=click.IntRange(1, _MAX_DAYS), default=14, help="Number of days ahead. [14]")
@click.option(
    "--from",
    "start",
    metavar="TIME",
    help="Start: 2026-12-01, 2026-12-01T09:00 (in the time zone of the files) or 2026-12-01T09:00+09:00. [now]",
)
@click.option(
    "-o",
    "--format",
    "output_format",
    type=click.Choice(["text", "json", "icalendar"]),
    default="text",
    help="Output format. [text]",
)
@options.output
@click.option("--no-color", is_flag=True, help="Disable colour, as the environment variable NO_COLOR does.")
def command(
    *,
    more: Sequence[str],
    paths: Sequence[str],
    settings_path: str | None,
    accounts: Sequence[str],
    days: int,
    start: str | None,
    output_format: str,
    output: str | None,
    no_color: bool,
) -> int:
    """Show the changes that the schedules of the files make in the next days, offline.

    A campaign in a file: `schedule: [{from: 2026-12-01, until: 2026-12-22, status: ACTIVE}]` of a number.

    Shows changes of the desired state; a plan shows the writes for them. Exit status 0.
    """
    settings = load.load_settings(settings_path, {})
    desired = load.load_accounts(settings, [*paths, *more], accounts)
    now = datetime.now(UTC)
    first = now.replace(microsecond=0) if start is None else load.parse_time("--from", start, desired)
    last = first + timedelta(days)

    from worker.model.times import format_utc, format_utc_ms
    from worker.render import json_document
    from worker.render.text import calendar

    check_writable(output)
    document = calendar.Calendar(
        created_at=format_utc_ms(now),
        start=format_utc(first),
        until=format_utc(last),
        accounts=tuple(calendar.account_calendar(account, first, last) for account in desired),
    )
    match output_format:
        case "json":
            emit(json_document.encode(document), output)
        case "icalendar":
            try:
                from worker.render.ics import icalendar
            except ImportError:
                raise UsageError(
                    Message(
                        "--format icalendar needs the extra calendar: install it from a checkout with "
                        "pip install '.[calendar]'"
                    )
                ) from None

            emit(icalendar(document), output)
        case _:
            style = TextStyle.of(no_color=no_color, output=output)
            emit(calendar.text(document, color=style.color, width=style.width), output)
    return ExitStatus.OK
