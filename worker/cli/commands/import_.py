"""`senderid import`: convert a table or the API's account document to a desired-state file."""

import codecs
from typing import TYPE_CHECKING, Final

import click

from worker.cli import complete, load, options
from worker.cli.exit_status import ExitStatus
from worker.model.messages import Message
from worker.render.i18n import ngettext

if TYPE_CHECKING:
    from collections.abc import Sequence

    from worker.model.accounts import ObservedAccount, Status

__all__ = ["command"]

_NO_TABLES: Final = (b"{", b"[", b"<")
"""First characters of JSON and HTML. No table starts with them."""


@click.command("import")
@click.argument("path", metavar="FILE", shell_complete=complete.file)
@click.option(
    "--from",
    "kind",
    type=click.Choice(["auto", "csv", "json"]),
    default="auto",
    help="Format of FILE; auto detects it by the first character. [auto]",
)
@click.option(
    "--skip-column", "skipped", metavar="NAME", multiple=True, help="Ignore this column of the table. Repeatable."
)
@click.option(
    "--encoding",
    type=click.Choice(["auto", "utf-8", "cp949", "utf-16"]),
    default="auto",
    help="Encoding of the table; auto detects it. [auto]",
)
@options.desired_output
def command(
    *,
    path: str,
    kind: str,
    skipped: tuple[str, ...],
    encoding: str,
    name: str,
    output: str | None,
    schema: str | None,
    force: bool,
) -> int:
    """Print a desired-state file with the numbers of FILE; - is standard input. Works offline.

    One of the first rows of a CSV file has the column names: phone and status, optionally note, owner and
    protected; or 전화번호, 상태, 메모, 담당자 and 보호. Ignore any other column with --skip-column. Rows above
    the names, and notes below the numbers, are ignored with a warning. JSON is the account document of
    GET /senderid/v1/numbers. An empty object never replaces a file that lists numbers, not even with --force.

    With --output, a line on stderr counts the numbers that were written.

    Each problem is a line `file:line:column: message` on stderr; then no file is printed. Exit status 0, or 65.
    """
    from worker.cli import write_desired
    from worker.model.errors import DesiredStateError, Problem, UsageError
    from worker.render.desired_yaml import desired_yaml, listable_numbers, listed_yaml

    options.refuse_overwrite(output, force=force)
    source, data = load.read_input(path)
    schema_url = options.schema_reference(schema)
    document = _utf_8(data)
    if kind == "json" or (kind == "auto" and document.lstrip().startswith(_NO_TABLES)):
        if encoding != "auto":
            raise UsageError(Message("--encoding applies to CSV tables only: JSON is UTF-8"))
        account = _document(source, document)
        if (refusal := write_desired.refusal(account, output)) is not None:
            raise DesiredStateError([Problem(source, 1, 1, refusal)])
        statuses = [number.status for number in listable_numbers(account)]
        text = desired_yaml(account, name=name, schema=schema_url)
    else:
        from worker.config.csv_import import read_csv

        imported = read_csv(source, data, skipped, encoding)
        load.print_warnings(imported.warnings)
        statuses = [number.status for number in imported.numbers.values()]
        text = listed_yaml(imported.numbers, name=name, schema=schema_url)
    write_desired.write(text, output, schema)
    if output is not None:
        click.echo(_written(statuses, output), err=True)
    return ExitStatus.OK


def _written(statuses: "Sequence[Status]", output: str) -> str:
    """Return the count of numbers that were written, by status."""
    active_count = sum(status.value == "ACTIVE" for status in statuses)
    text = ngettext(
        "Wrote {count:,} number to {path}: {active:,} ACTIVE, {inactive:,} INACTIVE.",
        "Wrote {count:,} numbers to {path}: {active:,} ACTIVE, {inactive:,} INACTIVE.",
        len(statuses),
    )
    return text.format(count=len(statuses), path=output, active=active_count, inactive=len(statuses) - active_count)


def _utf_8(data: bytes) -> bytes:
    """Return text as UTF-8 without a byte-order mark. UTF-16 is detected by its byte-order mark."""
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return data.decode("utf-16", errors="replace").encode()
    return data.removeprefix(codecs.BOM_UTF8)


def _document(source: str, data: bytes) -> "ObservedAccount":
    from worker.model.errors import DesiredStateError, Problem, ServerError
    from worker.solapi.account_document import AccountDecoder

    document = AccountDecoder()
    try:
        document.feed(data)
        return document.finish()
    except ServerError as error:
        raise DesiredStateError([Problem(source, 1, 1, str(error))]) from None
