"""Writing of desired-state files, with a schema for editors beside them."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from worker.cli import output
from worker.config import desired, files
from worker.config.files import is_special
from worker.model.errors import DesiredStateError
from worker.model.messages import Message
from worker.render import json_document
from worker.render.desired_yaml import SCHEMA_FILE
from worker.render.i18n import gettext as _
from worker.render.json_schema import schema

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from worker.model.accounts import DesiredAccount, ObservedAccount

__all__ = ["listed_numbers", "refusal", "write"]


def write(text: str, path: str | None, schema_option: str | None) -> None:
    """Write a desired-state file to stdout, or to a file with its schema beside it, unless another was `schema_option`.

    A device or a pipe has no schema beside it. A file there that is not such a schema is not overwritten.

    Raises:
        OSError: one of the two could not be written.
    """
    output.emit(text, path)
    if path is None or schema_option is not None or is_special(Path(path)):
        return
    document = schema("desired")
    beside = Path(path).with_name(SCHEMA_FILE)
    if _may_replace(beside, document):
        output.emit(json_document.encode(document), str(beside))
        click.echo(_("Its schema, for editors, is in {path}.").format(path=beside), err=True)
    else:
        text_left = _("{path} is another file and was not overwritten: set a schema with --schema.")
        click.echo(text_left.format(path=beside), err=True)


def refusal(account: "ObservedAccount", output: str | None) -> str | None:
    """Return why an account must not be written to a file; None if it may be.

    An empty object does not prove that the account has no numbers: it replaces no file that lists some, and where it is
    written, a notice on stderr says so.
    """
    if account.account_id is not None:
        return None
    if output is not None and _lists_numbers(output):
        return Message(
            "an empty object does not prove that the account has no numbers; {output} was kept", output=output
        )
    notice = _("The response is an empty object: no numbers, and no account_id to check.")
    click.echo(notice, err=True)
    return None


def listed_numbers(output: str | None) -> tuple[str, ...]:
    """Return the numbers that the desired-state file to be replaced lists; empty if there is none."""
    return _numbers(_replaced(output) or ())


def _lists_numbers(output: str) -> bool:
    """Return True if the file lists numbers, or cannot be read as a desired-state file."""
    accounts = _replaced(output)
    return Path(output).stat().st_size > 0 if accounts is None else bool(_numbers(accounts))


def _numbers(accounts: "Sequence[DesiredAccount]") -> tuple[str, ...]:
    return tuple(phone for account in accounts for phone in account.listed)


def _replaced(output: str | None) -> "Sequence[DesiredAccount] | None":
    """Return the accounts of the file to be replaced, none if there is no file; None if it cannot be read as one."""
    if output is None or not Path(output).is_file():
        return ()
    try:
        return desired.load([files.read_file(output)]).accounts
    except DesiredStateError:
        return None


def _may_replace(path: Path, made: "Mapping[str, object]") -> bool:
    """Return True if the schema may be written there: the path is free, or has an earlier schema."""
    try:
        return str(made["$id"]) in path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return True
    except (OSError, UnicodeDecodeError):
        return False
