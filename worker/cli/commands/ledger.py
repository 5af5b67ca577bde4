"""`senderid ledger`: move a ledger to another database."""

from pathlib import Path

import click

from worker import __version__
from worker.cli import load, options
from worker.cli.exit_status import ExitStatus
from worker.config.urls import parse_ledger_url
from worker.model.errors import UsageError
from worker.render.i18n import gettext as _

__all__ = ["command"]


@click.group("ledger")
def command() -> None:
    """Move a ledger to another database, in SQLite or PostgreSQL."""


@command.command("copy", short_help="Copy a whole ledger to an empty one.")
@click.argument("source", metavar="FROM")
@click.argument("target", metavar="TO")
@options.settings
def copy(*, source: str, target: str, settings_path: str | None) -> int:
    """Copy all records of the ledger FROM to the empty ledger TO, and compare both.

    FROM and TO are paths of SQLite files or postgresql:// URLs. The password of a URL comes from ledger.password in the
    settings, otherwise from PGPASSWORD or the password file, as for psql. If the copy fails, TO stays empty. FROM is
    not changed. Stop all runs first: later records are not copied.
    """
    settings = load.load_settings(settings_path, {})

    from worker.cli.ledger import open_postgres
    from worker.cli.output import emit
    from worker.cli.runner import now
    from worker.ledger import Database, SqliteFile
    from worker.ledger.copy import copy_ledger
    from worker.render.terminal import safe

    def open_database(place: str) -> Database:
        if "://" not in place:
            return SqliteFile(Path(place))
        try:
            return open_postgres(parse_ledger_url(place), settings)
        except ValueError as error:
            raise UsageError(str(error)) from None

    databases = open_database(source), open_database(target)
    counts = copy_ledger(*databases, program=__version__, now=now)
    text = _("Copied {runs} runs, {accounts} accounts and {requests} requests from {source} to {target}.")
    names = (safe(database.name) for database in databases)
    line = text.format(
        runs=f"{counts['runs']:,}",
        accounts=f"{counts['entries']:,}",
        requests=f"{counts['attempts']:,}",
        **dict(zip(("source", "target"), names, strict=True)),
    )
    emit(f"{line}\n")
    return ExitStatus.OK
