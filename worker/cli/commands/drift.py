"""`senderid drift`: show differences that no change of the files explains. It never writes to an account."""

from typing import Any

import click

from worker.cli import options
from worker.cli.planning import plan

__all__ = ["command"]


@click.command("drift", short_help="Show drift: differences without a change of the file. Writes nothing.")
@options.common
def command(**common: Any) -> int:
    """Show the numbers that differ although their file was not changed. Writes nothing.

    A number that no run has written yet is also shown, as its cause is unknown. Exit status: 0 no drift, 2 drift, 3
    some of it cannot converge, 4 a safety rule would refuse to revert it, 1 an account could not be read.
    """
    return plan(options.Common(**common), drift=True)
