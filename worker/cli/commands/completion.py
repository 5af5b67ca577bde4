"""`senderid completion`: print the completion script of a shell."""

from typing import Final

import click

from worker.cli.exit_status import ExitStatus

__all__ = ["command"]

_SHELLS: Final = ("bash", "zsh", "fish")

_HELP: Final = """Print a shell script that completes commands, options, accounts, runs and rules.

\b
bash   senderid completion bash > ~/.local/share/bash-completion/completions/senderid
zsh    senderid completion zsh > "${fpath[1]}/_senderid"
fish   senderid completion fish > ~/.config/fish/completions/senderid.fish

Open a new shell afterwards. The folder must exist, and `senderid` must be on the PATH.
"""


@click.command("completion", help=_HELP)
@click.argument("shell", type=click.Choice(_SHELLS))
@click.pass_context
def command(context: click.Context, *, shell: str) -> int:
    """Print the completion script of a shell."""
    from click.shell_completion import get_completion_class

    from worker.cli.output import emit

    script = get_completion_class(shell)
    assert script is not None  # noqa: S101 - click supports all these shells
    root = context.find_root()
    emit(script(root.command, {}, "senderid", "_SENDERID_COMPLETE").source().strip() + "\n")
    return ExitStatus.OK
