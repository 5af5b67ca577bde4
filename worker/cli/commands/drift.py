"""`senderid drift`: show differences that no change of the files explains. It never writes to an account."""

from typing import Any

import click

from worker.cli import options
from worker.cli.planning import plan

__all__ = ["command"]


@click.command("drift")
@options.more_files
@options.common
def command(**common: Any) -> int:
    """Show drift: numbers that differ from the desired state although their file did not change. Writes nothing.

    Numbers that no run has written yet are also shown, because the cause of their difference is
    unknown. PATH is the same as -f PATH.

    Exit status: 0 no drift, 1 an account could not be read, 2 drift, 3 some numbers cannot converge, 4 a safety rule
    would refuse the revert.
    """
    return plan(options.Common.of(**common), drift=True)
