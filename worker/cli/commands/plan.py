"""`senderid plan`: show what would change. It never writes to an account."""

from typing import Any

import click

from worker.cli import options
from worker.cli.planning import plan
from worker.model.errors import UsageError
from worker.model.messages import Message

__all__ = ["command"]


@click.command("plan")
@options.more_files
@options.common
@options.out
@click.option(
    "--detailed-exitcode", is_flag=True, help="Exit with status 2 if changes are pending, and 3 if some are impossible."
)
@click.option(
    "--at",
    metavar="TIME",
    help="Plan for this time: 2026-12-01, 2026-12-01T09:00 (in the time zone of the files) or 2026-12-01T09:00+09:00.",
)
def command(*, out: str | None, detailed_exitcode: bool, at: str | None, **common: Any) -> int:
    """Compare the desired state with the accounts and show what would change. Writes nothing.

    PATH is the same as -f PATH.

    Exit status: 0 planned, 1 an account could not be read, 4 a safety rule refuses the plan.
    """
    if at is not None and out is not None:
        raise UsageError(Message("--at and --out cannot be combined: a plan for another time cannot be saved"))
    return plan(options.Common.of(**common), out=out, is_detailed=detailed_exitcode, at=at)
