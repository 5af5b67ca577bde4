"""Copy of a whole ledger from one database to another, in one transaction."""

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from itertools import zip_longest
from typing import Any, Final

from worker.ledger.database import Connection, Database, transaction
from worker.ledger.history import Snapshot
from worker.ledger.reads import READS_VERSION
from worker.ledger.writes import REGISTERED_VERSION
from worker.model.errors import LedgerError
from worker.model.messages import Message

__all__ = ["copy_ledger"]

_TABLES: Final = {
    "runs": ("id",),
    "entries": ("id",),
    "attempts": ("entry", "phone", "number"),
    "outcomes": ("entry", "phone"),
    "written": ("key", "phone"),
    "registered": ("key",),
    "reads": ("platform", "account"),
    "read_numbers": ("platform", "account"),
    "daemons": ("host", "pid", "started_at"),
}
"""The tables of records, each with its primary key. A table comes after those that it refers to."""
_ADDED_IN: Final = dict.fromkeys(("reads", "read_numbers", "daemons"), READS_VERSION) | {
    "registered": REGISTERED_VERSION
}
"""The version of the schema that added a table, for the tables that a ledger of an older version lacks."""
_ROWS: Final = 5000
"""Maximum count of rows that one statement reads or writes."""


def copy_ledger(source: Database, target: Database, *, program: str, now: Callable[[], str]) -> dict[str, int]:
    """Copy all records to an empty ledger, and compare both. Return the count of copied rows of each table.

    `program`, the version of the worker, and `now`, the current time, are for the record of a migration.

    Raises:
        LedgerError: a ledger cannot be used, the source does not exist, the target already has records, or the copy
            differs. Nothing was copied.
    """
    with source.read() as reader:
        if reader is None:
            raise LedgerError(Message("there is no ledger at {path}: correct FROM", path=source.name))
        with Snapshot(reader):
            try:
                with closing(target.connect(program=program, now=now)) as writer, transaction(writer):
                    counts = _copy(reader, writer, target)
            except sqlite3.Error as error:
                raise target.unusable(str(error)) from None
    return counts


def _copy(reader: Connection, writer: Connection, target: Database) -> dict[str, int]:
    if any(writer.execute(f"SELECT 1 FROM {table} LIMIT 1").fetchone() for table in _TABLES):
        raise LedgerError(Message("the ledger {path} already has records: copy to an empty ledger", path=target.name))
    (version,) = reader.execute("SELECT max(version) FROM migrations").fetchone()
    counts = {
        table: 0 if version < _ADDED_IN.get(table, 0) else _copy_table(reader, writer, table, key)
        for table, key in _TABLES.items()
    }
    target.continue_ids(writer)
    return counts


def _copy_table(reader: Connection, writer: Connection, table: str, key: Sequence[str]) -> int:
    """Copy the rows of a table, and compare them. Return their count.

    Raises:
        LedgerError: the rows differ.
    """
    columns = [column[0] for column in reader.execute(f"SELECT * FROM {table} LIMIT 0").description]
    placeholders = ", ".join("?" * len(columns))
    insert = f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({placeholders})"
    count = 0
    for rows in _pages(reader, table, columns, key):
        writer.executemany(insert, rows)
        count += len(rows)
    pages = zip_longest(_pages(reader, table, columns, key), _pages(writer, table, columns, key))
    if any(source_page != target_page for source_page, target_page in pages):
        raise LedgerError(
            Message("the copy differs in the table {table}, so nothing was copied: try again", table=table)
        )
    return count


def _pages(connection: Connection, table: str, columns: Sequence[str], key: Sequence[str]) -> Iterator[list[Any]]:
    """Yield the rows of a table in the order of its key, some thousands at a time."""
    positions = [columns.index(column) for column in key]
    settled = columns.index("settled") if "settled" in columns else None
    names, order, placeholders = ", ".join(columns), ", ".join(key), ", ".join("?" * len(key))
    condition: str = ""
    last: tuple[Any, ...] = ()
    while rows := connection.execute(
        f"SELECT {names} FROM {table} {condition} ORDER BY {order} LIMIT {_ROWS}", last
    ).fetchall():
        # SQLite has numbers for truth values
        yield [(*row[:settled], bool(row[settled]), *row[settled + 1 :]) for row in rows] if settled else rows
        condition, last = f"WHERE ({order}) > ({placeholders})", tuple(rows[-1][position] for position in positions)
