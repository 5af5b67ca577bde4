"""The latest read of each account, and the last heartbeat of each daemon. They do not belong to a run.

An account has one row, whatever its files and runs: its platform and its name identify it, as the id of an account that
could not be read is unknown. Its numbers are one document, which is written only if it changed.
"""

import sqlite3
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timedelta
from typing import Final

import msgspec
from msgspec import Struct

from worker.ledger.database import Connection, Database, transaction
from worker.ledger.history import rows
from worker.ledger.writes import storable
from worker.model.messages import english, restore
from worker.model.reads import AccountRead, Attention, DaemonRecord, NumberState, decode_numbers, platform
from worker.model.times import format_utc_ms
from worker.render.json_document import encodable

__all__ = [
    "READS_VERSION",
    "RecordedRead",
    "account_read",
    "account_reads",
    "last_daemon",
    "numbers_of",
    "record_daemon",
    "record_reads",
    "save",
    "search",
]

READS_VERSION: Final = 7
"""The version of the schema that added the tables of this module."""
_KEPT: Final = timedelta(days=7)
"""Time after which a daemon that sends no heartbeat is forgotten."""

_RECORD: Final = """
    INSERT INTO reads (platform, account, key, at, failed_at, summary) VALUES (?, ?, ?, ?, ?, ?)
    ON CONFLICT (platform, account) DO UPDATE SET key = excluded.key, at = excluded.at, summary = excluded.summary,
        failed_at = coalesce(excluded.failed_at, reads.failed_at)
    WHERE excluded.at >= reads.at
"""
_RECORD_NUMBERS: Final = """
    INSERT INTO read_numbers (platform, account, search, numbers) VALUES (?, ?, ?, ?)
    ON CONFLICT (platform, account) DO UPDATE SET search = excluded.search, numbers = excluded.numbers
    WHERE read_numbers.numbers <> excluded.numbers
"""
_RECORD_DAEMON: Final = """
    INSERT INTO daemons (host, pid, started_at, last_pass, next_pass, outcome, ended_at) VALUES (?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (host, pid, started_at) DO UPDATE SET last_pass = excluded.last_pass, next_pass = excluded.next_pass,
        outcome = excluded.outcome, ended_at = excluded.ended_at
"""


class RecordedRead(Struct, frozen=True):
    """A read to record. `numbers` are the numbers as JSON, as `encode_numbers` returns them.

    They are empty if the account could not be read: its numbers of the read before are kept.
    """

    read: AccountRead
    numbers: bytes = b""


def save(
    database: Database,
    reads: Iterable[RecordedRead],
    daemon: DaemonRecord,
    *,
    program: str,
    now: Callable[[], str],
) -> None:
    """Record the reads of a pass, and the heartbeat of its daemon, in one transaction. It blocks.

    `program` and `now` are for the record of a migration of the ledger.

    Raises:
        LedgerError: the ledger cannot be written.
    """
    try:
        with database.write(program=program, now=now) as connection, transaction(connection):
            record_reads(connection, reads)
            record_daemon(connection, daemon)
    except sqlite3.Error as error:
        raise database.unusable(str(error)) from None


def record_reads(connection: Connection, reads: Iterable[RecordedRead]) -> None:
    """Record reads, unless the ledger has a later one of the account."""
    summaries, numbers = [], []
    for recorded in reads:
        read = recorded.read
        account = (platform(read.key), storable(read.account))
        summary = encodable(msgspec.to_builtins(read, enc_hook=english))
        summaries.append((*account, read.key, read.at, read.failed_at, msgspec.json.encode(summary).decode()))
        if recorded.numbers:
            document = recorded.numbers.decode()
            numbers.append((*account, _searched(document), document))
    connection.executemany(_RECORD, summaries)
    connection.executemany(_RECORD_NUMBERS, numbers)


def record_daemon(connection: Connection, daemon: DaemonRecord) -> None:
    """Record a heartbeat of a daemon, and forget daemons without one for a week."""
    connection.execute(_RECORD_DAEMON, msgspec.structs.astuple(daemon))
    oldest = format_utc_ms(datetime.fromisoformat(daemon.last_pass) - _KEPT)
    connection.execute("DELETE FROM daemons WHERE last_pass < ?", (oldest,))


def account_reads(connection: Connection) -> list[AccountRead]:
    """Return the latest read of each account. Of several names of one account, only the latest is returned."""
    if not _has_tables(connection):
        return []
    cursor = connection.execute("SELECT summary, failed_at FROM reads ORDER BY at")
    by_key: dict[str, AccountRead] = {}
    unread = []
    for summary, failed_at in cursor:
        read = _decoded(summary, failed_at)
        if read.key.endswith(" None"):
            unread.append(read)
        else:
            by_key[read.key] = read
    return [*by_key.values(), *unread]


def account_read(connection: Connection, of_platform: str, account: str) -> AccountRead | None:
    """Return the latest read of an account; None if no run has read it."""
    if not _has_tables(connection):
        return None
    row = connection.execute(
        "SELECT summary, failed_at FROM reads WHERE platform = ? AND account = ?", (of_platform, account)
    ).fetchone()
    return None if row is None else _decoded(*row)


def numbers_of(connection: Connection, of_platform: str, account: str) -> list[NumberState]:
    """Return the numbers of an account as its latest successful read found them."""
    if not _has_tables(connection):
        return []
    row = connection.execute(
        "SELECT numbers FROM read_numbers WHERE platform = ? AND account = ?", (of_platform, account)
    ).fetchone()
    return [] if row is None else decode_numbers(row[0])


def search(connection: Connection, text: str, limit: int) -> Iterator[tuple[str, str, NumberState]]:
    """Yield at most `limit` numbers whose digits, note or owner contain `text`, with the platform and the account."""
    if not _has_tables(connection):
        return
    folded_text = text.casefold()
    pattern = "".join(f"!{char}" if char in "!%_" else char for char in folded_text)
    cursor = connection.execute(
        "SELECT platform, account, numbers FROM read_numbers WHERE search LIKE ? ESCAPE '!' "
        "ORDER BY account, platform LIMIT ?",
        (f"%{pattern}%", limit),
    )
    match_count = 0
    for of_platform, account, document in cursor:
        for number in decode_numbers(document):
            if folded_text in _words(number):
                yield of_platform, account, number
                match_count += 1
                if match_count == limit:
                    return


def last_daemon(connection: Connection) -> DaemonRecord | None:
    """Return the daemon with the latest heartbeat; None without one."""
    if not _has_tables(connection):
        return None
    cursor = connection.execute("SELECT * FROM daemons ORDER BY last_pass DESC LIMIT 1")
    return next((msgspec.convert(row, DaemonRecord) for row in rows(cursor)), None)


def _has_tables(connection: Connection) -> bool:
    # a reader does not migrate the ledger of an older version
    (version,) = connection.execute("SELECT max(version) FROM migrations").fetchone()
    return version is not None and int(version) >= READS_VERSION


def _decoded(summary: str, failed_at: str | None) -> AccountRead:
    read = msgspec.json.decode(summary, type=AccountRead)
    return msgspec.structs.replace(read, failed_at=failed_at, needs=tuple(map(_restored, read.needs)))


def _restored(item: Attention) -> Attention:
    return msgspec.structs.replace(item, message=restore(item.message, item.parts), parts=None)


def _searched(document: str) -> str:
    """Return the text to search in: the digits, notes and owners of all numbers of an account."""
    return "\n".join(map(_words, decode_numbers(document)))


def _words(number: NumberState) -> str:
    words = " ".join(filter(None, (number.phone, number.note, number.owner)))
    # a database cannot store the character NUL
    return words.replace("\0", " ").casefold()
