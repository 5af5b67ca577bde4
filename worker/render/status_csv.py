"""Renderer of the current state of numbers as CSV for spreadsheets."""

import csv
from io import StringIO
from typing import Final

from worker.model.number_status import StatusReport
from worker.model.phones import hyphenated

__all__ = ["status_csv"]

_COLUMNS: Final = (
    "account",
    "phone",
    "observed",
    "desired",
    "differs",
    "owner",
    "note",
    "next_at",
    "next_status",
    "expires_at",
    "extended",
    "protected",
    "listed",
    "error",
    "acknowledged_until",
)
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")
"""First characters of cells that spreadsheets calculate."""


def status_csv(report: StatusReport) -> str:
    """Return one row for each number, and one for each account that could not be read, with its error code.

    Phone numbers have hyphens, so that spreadsheets keep their leading 0. A text that a spreadsheet would calculate
    gets an apostrophe.
    """
    file = StringIO()
    writer = csv.writer(file)
    writer.writerow(_COLUMNS)
    for account in report.accounts:
        if account.error is not None:
            writer.writerow([_cell(account.account), *[""] * (len(_COLUMNS) - 3), _cell(account.error.code), ""])
        for number in account.numbers:
            values = (
                account.account,
                hyphenated(number.phone),
                number.observed,
                number.desired,
                number.differs,
                number.owner,
                number.note,
                None if number.next is None else number.next.at,
                None if number.next is None else number.next.status,
                number.expires_at,
                number.extended,
                number.protected,
                number.listed,
                None,
                None if number.acknowledged is None else number.acknowledged.until,
            )
            writer.writerow(map(_cell, values))
    return file.getvalue()


def _cell(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    text = "" if value is None else str(value)
    return f"'{text}" if text.startswith(_FORMULA) else text
