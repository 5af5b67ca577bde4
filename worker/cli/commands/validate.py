"""`senderid validate`: check desired-state files offline."""

from collections.abc import Sequence

import click

from worker.cli import load, options
from worker.cli.exit_status import ExitStatus
from worker.render.i18n import gettext as _
from worker.render.marks import count

__all__ = ["command"]


@click.command("validate")
@options.more_files
@options.files
@options.settings
@options.masked_logs
def command(more: Sequence[str], paths: Sequence[str], settings_path: str | None) -> int:
    """Check desired-state files offline and report every problem of every file. PATH is the same as -f PATH.

    Each problem is a line `file:line:column: message` on stderr. Exit status 0, or 65 if there are problems.
    """
    settings = load.load_settings(settings_path, {})
    accounts = load.load_accounts(settings, [*paths, *more])
    numbers = sum(len(account.numbers) for account in accounts)
    text = _("OK: {accounts}, {numbers}.")
    click.echo(text.format(accounts=count(len(accounts), "account"), numbers=count(numbers, "number")))
    return ExitStatus.OK
