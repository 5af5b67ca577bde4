"""Command lines of deployments, parsed by the real command."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import click

from worker.cli.main import senderid
from worker.cli.options import address

__all__ = ["DEPLOY", "ROOT", "meant"]

ROOT: Final = Path(__file__).parents[2]
DEPLOY: Final = ROOT / "deploy"


def meant(arguments: Sequence[str]) -> dict[str, Any]:
    """The verb and the options that the arguments after `senderid` give, as the command reads them.

    Raises:
        click.UsageError, UsageError: the command does not know them.
    """
    with click.Context(senderid) as above:
        name, command, rest = senderid.resolve_command(above, list(arguments))
        assert name is not None
        assert command is not None
        with command.make_context(name, rest, parent=above) as context:
            listen = context.params.get("listen")
            found = {"verb": name, **context.params}
            return found if listen is None else found | {"listen": address(listen)}
