"""`senderid drift`: show differences without a change of the files. It cannot write to an account."""

from typing import Any

import click

from worker.cli import options
from worker.cli.planning import plan

__all__ = ["command"]


@click.command("drift", short_help="Show differences that no file change explains. Writes nothing.")
@options.common
def command(**common: Any) -> int:
    """Show the numbers that differ from their file although the file was not changed. Writes nothing.

    A number that no run has written yet is shown too, as its cause is unknown. Exit status 0 when nothing
    drifted, 2 when something did, 3 when some of it cannot converge, 4 when a safety rule would refuse to undo it,
    1 when an account could not be read.
    """
    return plan(options.Common(**common), drift=True)
