"""Parse the command lines of deployments with the real command."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import click

from worker.cli.main import senderid
from worker.cli.options import address

__all__ = ["DEPLOY", "ROOT", "parse_command"]

ROOT: Final = Path(__file__).parents[2]
DEPLOY: Final = ROOT / "deploy"


def parse_command(arguments: Sequence[str]) -> dict[str, Any]:
    r"""Return the subcommand and the options that the arguments after `senderid` give.

    Raises:
        click.UsageError, UsageError: the command does not know them.
    """
    with click.Context(senderid) as above:
        name, command, remaining = senderid.resolve_command(above, list(arguments))
        assert name is not None
        assert command is not None
        if isinstance(command, click.Group):
            subcommand, command, remaining = command.resolve_command(above, remaining)
            assert command is not None
            name = f"{name} {subcommand}"
        with command.make_context(name, remaining, parent=above) as context:
            listen = context.params.get("listen")
            actual = {"verb": name, **context.params}
            return actual if listen is None else actual | {"listen": address(listen)}
