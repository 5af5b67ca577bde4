"""The command group `senderid`, which loads and runs commands, and reports their errors."""

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from importlib import import_module
from keyword import iskeyword
from pathlib import Path
from traceback import extract_tb
from typing import Final, TextIO

import click

from worker import __version__
from worker.cli import signals
from worker.cli.exit_status import ExitStatus
from worker.cli.lang import LANG, localized, set_language
from worker.model.errors import (
    ChannelUnusable,
    DesiredStateError,
    PlanFileError,
    PolicyRefusal,
    SettingsError,
    UsageError,
    WorkerError,
)
from worker.render.i18n import gettext as _
from worker.render.i18n import ngettext, translate

__all__ = ["run", "senderid"]

COMMANDS: Final = {
    "init": "Write a working folder: desired state, settings, .gitignore, a pipeline.",
    "validate": "Check desired-state files offline.",
    "plan": "Show what would change. Writes nothing.",
    "show": "Show a saved plan, offline.",
    "apply": "Plan, confirm, write and verify.",
    "status": "Show the status of every number now. Writes nothing.",
    "drift": "Show drift: differences found without a change of the file. Writes nothing.",
    "calendar": "Show upcoming schedule changes, offline.",
    "watch": "Reconcile accounts continuously until stopped.",
    "serve": "Serve the ledger as read-only web pages.",
    "history": "Show runs, one run in full, or the history of a number.",
    "rollback": "Undo a run: plan, confirm, write and verify.",
    "ledger": "Move a ledger to another database.",
    "fleet": "Reconcile accounts with many workers.",
    "export": "Print the current state as a desired-state file.",
    "import": "Convert a CSV table or an account document of the API to a desired-state file.",
    "doctor": "Check the prerequisites of a run, with -f of every account.",
    "notify": "Test the notification channels.",
    "schema": "Print the JSON Schemas.",
    "sandbox": "Serve the simulated API.",
    "demo": "Run a demo without an account.",
    "completion": "Print the completion script of a shell.",
}
"""Commands by name, each with its line in the help page, which is printed without importing the commands."""
_KEY_LOG: Final = "SSLKEYLOGFILE"


class _Commands(click.Group):
    """Command group that imports the module of a command when it is used, so that the others are not imported."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in COMMANDS:
            return None
        module = f"{cmd_name}_" if iskeyword(cmd_name) else cmd_name
        command = import_module(f"worker.cli.commands.{module}").command
        assert isinstance(command, click.Command)  # noqa: S101 - every module of a command has one
        command.short_help = COMMANDS[cmd_name]
        return localized(command)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section(_("Commands")):
            formatter.write_dl([(name, translate(line)) for name, line in COMMANDS.items()])


_HELP: Final = """Reconcile the SMS sender numbers of CoolSMS / SOLAPI accounts with desired-state files.

\b
발신번호를 파일에 적힌 상태로 유지합니다.
New here? Run `senderid demo`. It needs no account.
`senderid init` writes the files to start from.

\b
Exit status:
  0    converged, nothing to do, or planned
  1    credentials, network, wrong account, local state
  2    changes are pending (plan --detailed-exitcode), or numbers drifted (drift)
  3    some numbers did not converge: failed, blocked, missing, held, conflict
  4    refused by a safety rule, or cancelled at the prompt: nothing was written
  5    another run has the lease of the account
  64   usage error
  65   invalid desired state or settings: nothing was sent
  129  stopped by SIGHUP, such as a lost connection; `watch` reloads instead
  130  interrupted by SIGINT
  143  stopped by SIGTERM; like the two above, after in-flight requests finished
"""


@click.group(
    cls=_Commands,
    help=_HELP,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, message="senderid %(version)s")
def senderid() -> None:
    """Run a command."""


senderid.params.append(LANG)


def run(arguments: Sequence[str]) -> int:
    """Run a command line, print its errors to stderr, and return its exit status."""
    stderr = sys.stderr
    try:
        set_language(arguments)
        _drop_key_log()
        return _run(arguments)
    finally:
        # the interpreter flushes both streams again at exit, where an error would change the exit status
        for stream in (sys.stdout, sys.stderr):
            _flush_or_discard(stream)
        sys.stderr = stderr  # --mask may have replaced it


def _drop_key_log() -> None:
    """Remove SSLKEYLOGFILE from the environment if the file cannot be written, as all TLS connections would fail."""
    path = os.environ.get(_KEY_LOG)
    if not path or os.access(path if os.path.lexists(path) else Path(path).parent, os.W_OK):
        return
    del os.environ[_KEY_LOG]
    _print_error(_("warning: {variable} is ignored: {path} cannot be written").format(variable=_KEY_LOG, path=path))


def _run(arguments: Sequence[str]) -> int:
    try:
        command = localized(senderid, has_option=False)
        status = command.main(args=list(arguments), prog_name="senderid", standalone_mode=False)
        sys.stdout.flush()
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - a bug is reported too
        number = signals.cause_of(error)
        if number is None:
            return _report(error)
        signals.abandon(sys.stdout)
        _print_error(_("Interrupted."))
        return signals.status(number)
    return status if isinstance(status, int) else ExitStatus.OK


def _report(error: BaseException) -> ExitStatus:
    """Print an error to stderr, and return its exit status."""
    match error:
        case click.UsageError():
            with suppress(OSError, ValueError):
                error.show()
            return ExitStatus.USAGE
        case DesiredStateError() | SettingsError():
            count = len(error.problems) + error.omitted_count
            total = ngettext("{count} problem; nothing was sent.", "{count} problems; nothing was sent.", count)
            _print_error("\n".join((*_lines(error), total.format(count=f"{count:,}"))))
            return ExitStatus.INVALID
        case WorkerError():
            _print_error(f"senderid: {translate(str(error))}")
            return _status(error)
        case BrokenPipeError():
            return ExitStatus.ERROR
        case OSError():
            _print_error(f"senderid: {error.filename or _('output')}: {translate(error.strerror or '')}")
            return ExitStatus.ERROR
        case _:
            # the text of an unexpected error may contain secrets: print its type and its location instead
            frame = extract_tb(error.__traceback__)[-1]
            location = f"{Path(frame.filename).name}:{frame.lineno} in {frame.name}"
            bug = _("senderid: this is a bug, please report it: {error} at {location} (senderid {version})")
            _print_error(bug.format(error=type(error).__name__, location=location, version=__version__))
            return ExitStatus.ERROR


def _lines(error: DesiredStateError | SettingsError) -> Iterator[str]:
    for problem in error.problems:
        yield f"{problem.source}:{problem.line}:{problem.column}: {translate(problem.message)}"
    if error.omitted_count:
        yield _("… and {count} more").format(count=f"{error.omitted_count:,}")


def _print_error(text: str) -> None:
    """Print to stderr without terminal control characters. A closed or full stderr is not an error."""
    from worker.render.terminal import safe

    with suppress(OSError, ValueError):
        click.echo("\n".join(map(safe, text.split("\n"))), err=True)


def _status(error: WorkerError) -> ExitStatus:
    match error:
        case UsageError():
            return ExitStatus.USAGE
        case PlanFileError() | ChannelUnusable():
            return ExitStatus.INVALID
        case PolicyRefusal():
            return ExitStatus.REFUSED
        case _:
            return ExitStatus.ERROR


def _flush_or_discard(stream: TextIO) -> None:
    try:
        stream.flush()
    except (OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
