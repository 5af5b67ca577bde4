"""`senderid plan`: show what would change. It cannot write to an account."""

from typing import Any

import click

from worker.cli import options
from worker.cli.planning import plan
from worker.model.errors import UsageError
from worker.model.messages import Message

__all__ = ["command"]


@click.command("plan", short_help="Show what would change. Writes nothing.")
@options.common
@options.out
@click.option("--detailed-exitcode", is_flag=True, help="Exit with 2 when changes are pending, 3 when some cannot be.")
@click.option(
    "--at",
    metavar="TIME",
    help="Plan for that time: 2026-12-01, 2026-12-01T09:00 (by the files' time zone) or 2026-12-01T09:00+09:00.",
)
def command(*, out: str | None, detailed_exitcode: bool, at: str | None, **common: Any) -> int:
    """Compare the desired state with the accounts and show what would change. Writes nothing.

    Exit status 0 when the plan could be made, 1 when an account could not be read, 4 when a safety rule refuses it.
    """
    if at is not None and out is not None:
        raise UsageError(Message("a plan of another time cannot be saved: --at and --out do not go together"))
    return plan(options.Common(**common), out=out, detailed=detailed_exitcode, at=at)
