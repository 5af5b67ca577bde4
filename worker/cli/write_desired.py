"""Output of desired-state files, with a JSON Schema for editors in the same folder."""

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
    """Write a desired-state file to `path`, or to stdout if that is None.

    The schema is written beside a regular file, unless `schema_option` names another one. If a different file has the
    name of the schema, it is not overwritten.

    Raises:
        OSError: the file or its schema could not be written.
    """
    output.emit(text, path)
    if path is None or schema_option is not None or is_special(Path(path)):
        return
    document = schema("desired")
    schema_path = Path(path).with_name(SCHEMA_FILE)
    if _may_replace(schema_path, document):
        output.emit(json_document.encode(document), str(schema_path))
        click.echo(_("The schema for editors is in {path}.").format(path=schema_path), err=True)
    else:
        kept_text = _("{path} is another file and was not overwritten: set a schema with --schema.")
        click.echo(kept_text.format(path=schema_path), err=True)


def refusal(account: "ObservedAccount", output: str | None) -> str | None:
    """Return why the observed account must not be written to the file `output`; None if it may be written.

    A response with an empty object does not prove that the account has no numbers. It must not replace a file that
    lists numbers; otherwise, a notice on stderr reports it.
    """
    if account.account_id is not None:
        return None
    if output is not None and _lists_numbers(output):
        return Message(
            "the response is an empty object, which does not prove that the account has no numbers; {output} was not "
            "changed: check the account in the console, or write to another file with --output",
            output=output,
        )
    notice = _("The response is an empty object: no numbers, and no account_id to check.")
    click.echo(notice, err=True)
    return None


def listed_numbers(output: str | None) -> tuple[str, ...]:
    """Return the numbers that the existing file `output` lists; empty if there is no such desired-state file."""
    return _numbers(_existing_accounts(output) or ())


def _lists_numbers(output: str) -> bool:
    """Return True if the file lists numbers, or cannot be read as a desired-state file."""
    accounts = _existing_accounts(output)
    return Path(output).stat().st_size > 0 if accounts is None else bool(_numbers(accounts))


def _numbers(accounts: "Sequence[DesiredAccount]") -> tuple[str, ...]:
    return tuple(phone for account in accounts for phone in account.listed)


def _existing_accounts(output: str | None) -> "Sequence[DesiredAccount] | None":
    """Return the accounts of the existing file `output`; empty if it does not exist.

    Return None if it exists, but is not a valid desired-state file.
    """
    if output is None or not Path(output).is_file():
        return ()
    try:
        return desired.load([files.read_file(output)], shared_files=files.SharedFiles()).accounts
    except DesiredStateError:
        return None


def _may_replace(path: Path, new_schema: "Mapping[str, object]") -> bool:
    """Return True if the schema may be written to `path`: no file exists there, or it is an earlier schema."""
    try:
        return str(new_schema["$id"]) in path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return True
    except (OSError, UnicodeDecodeError):
        return False
