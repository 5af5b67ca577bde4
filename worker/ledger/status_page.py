"""What the status page asks of the ledger. Every function only reads, and takes a few pages of the file at most.

Lists go on after the last row of the page before, so that the last page costs what the first does. Measured with
5,000 accounts and 1,000,000 numbers, none needs an index beyond those of the tables.
"""

import sqlite3
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from worker.ledger.history import account_error, number_of, rows
from worker.ledger.schema import MIGRATIONS
from worker.model.history import Ending, NumberRecord
from worker.model.results import Outcome
from worker.model.status_page import (
    OUT_OF_SYNC,
    AccountState,
    LastWrite,
    NumberRun,
    RunSummary,
    WriteBucket,
    platform,
    unread,
)

__all__ = [
    "account",
    "entries_of",
    "nothing",
    "numbers",
    "read_as",
    "run",
    "runs",
    "runs_of",
    "standings",
    "story",
    "windows",
    "written",
]

_RECENT: Final = "id > (SELECT max(id) FROM entries) - 50000"
"""Where accounts that could not be read are looked for: they share their keys, and outages leave many."""

_LATEST: Final = f"""
    WITH RECURSIVE known (key) AS (
        SELECT min(key) FROM entries
        UNION ALL
        SELECT (SELECT min(key) FROM entries WHERE key > known.key) FROM known WHERE known.key IS NOT NULL
    ), last (id) AS (
        SELECT (SELECT max(id) FROM entries WHERE entries.key = known.key) FROM known WHERE key NOT LIKE '% None'
        UNION ALL
        SELECT max(id) FROM entries
        WHERE key IN (SELECT key FROM known WHERE key LIKE '% None') AND {_RECENT} GROUP BY key, account
    )
"""
"""The last entry of each account: the index is asked for one key after the other, and not read through."""

_RUN: Final = "SELECT *, (SELECT count(*) FROM entries WHERE run = runs.id) AS entries FROM runs"
_AFTER_DIGITS: Final = ":"
"""The character after 9."""
_NEEDS: Final = ", ".join(f"'{outcome}'" for outcome in sorted(OUT_OF_SYNC))


def nothing() -> sqlite3.Connection:
    """Return an empty ledger in memory, used while there is none."""
    connection = sqlite3.connect(":memory:")
    for migration in MIGRATIONS:
        connection.executescript(migration)
    return connection


def standings(connection: sqlite3.Connection) -> list[AccountState]:
    """Every account that any run noted, by name, as the last of those runs left it.

    One that could not be read has no id. By platform and name it is the same as one that could, and the later stands.
    """
    found = [
        _standing(row)
        for row in rows(connection.execute(f"{_LATEST} SELECT entries.* FROM last JOIN entries USING (id)"))
    ]
    last = {which: {each.name: each.place for each in found if each.unread is which} for which in (False, True)}
    standing = [each for each in found if each.place >= last[not each.unread].get(each.name, 0)]
    return sorted(standing, key=lambda each: (each.account, each.key))


def account(connection: sqlite3.Connection, key: str, name: str) -> AccountState | None:
    """One account likewise; None where no run noted it. `name` counts where the key says that it could not be read."""
    return next(iter(runs_of(connection, key, name, limit=1)), None)


def read_as(connection: sqlite3.Connection, name: tuple[str, str]) -> list[str]:
    """Return the keys of readable accounts with a platform and name."""
    found = connection.execute(f"{_LATEST} SELECT key, account FROM last JOIN entries USING (id) ORDER BY id DESC")
    return [key for key, account in found if not unread(key) and platform(key) == name[0] and account == name[1]]


def runs_of(
    connection: sqlite3.Connection, key: str, name: str, *, before: int | None = None, limit: int
) -> list[AccountState]:
    """Return an account as each of its runs left it, newest first, starting before the place `before`."""
    # a condition that may not hold would keep SQLite from seeking
    place = "" if before is None else "AND id < :before"
    named = f"AND account = :name AND {_RECENT}" if unread(key) else ""
    found = connection.execute(
        f"SELECT * FROM entries WHERE key = :key {place} {named} ORDER BY id DESC LIMIT :limit",
        {"key": key, "name": name, "before": before, "limit": limit},
    )
    return [_standing(row) for row in rows(found)]


def runs(connection: sqlite3.Connection, *, before: str | None = None, limit: int) -> list[RunSummary]:
    """Return runs, newest first, starting before the run `before`. Ids start with the time of the start."""
    place = "" if before is None else "WHERE id < :before"
    found = connection.execute(
        f"{_RUN} {place} ORDER BY id DESC LIMIT :limit",
        {"before": before, "limit": limit},
    )
    return [_line(row) for row in rows(found)]


def run(connection: sqlite3.Connection, run_id: str) -> RunSummary | None:
    """One run; None where there is none of that id."""
    return next((_line(row) for row in rows(connection.execute(f"{_RUN} WHERE id = ?", (run_id,)))), None)


def entries_of(
    connection: sqlite3.Connection, run_id: str, *, after: int = 0, limit: int, needing: bool = False
) -> list[AccountState]:
    """Return the accounts of a run in the order of their records, starting after the place `after`.

    `needing`: those alone that did not end well.
    """
    more = "AND coalesce(outcome, '') <> 'converged'" if needing else ""
    found = connection.execute(
        f"SELECT * FROM entries WHERE run = ? AND id > ? {more} ORDER BY id LIMIT ?",
        (run_id, after, limit),
    )
    return [_standing(row) for row in rows(found)]


def numbers(
    connection: sqlite3.Connection,
    entry: int,
    *,
    prefix: str = "",
    after: str = "",
    limit: int,
    needing: bool = False,
) -> list[NumberRecord]:
    """Return the records of an account's numbers in one run, by digits, without attempts.

    `prefix` are the first digits; `needing`: those alone that did not become as they were wanted.
    """
    more = f"AND coalesce(outcome, '{Outcome.UNVERIFIED}') IN ({_NEEDS})" if needing else ""
    found = connection.execute(
        f"SELECT * FROM outcomes WHERE entry = ? AND phone > ? AND phone >= ? AND phone < ? {more} "
        "ORDER BY phone LIMIT ?",
        (entry, after, prefix, prefix + _AFTER_DIGITS, limit),
    )
    return [number_of(row, ()) for row in rows(found)]


def written(
    connection: sqlite3.Connection, key: str, *, prefix: str = "", after: str = "", limit: int
) -> list[LastWrite]:
    """Return the numbers of an account that runs wrote, by digits, each as it was last written."""
    found = connection.execute(
        "SELECT phone, status, run, at FROM written WHERE key = ? AND phone > ? AND phone >= ? AND phone < ? "
        "ORDER BY phone LIMIT ?",
        (key, after, prefix, prefix + _AFTER_DIGITS, limit),
    )
    return [LastWrite(*row) for row in found]


def story(connection: sqlite3.Connection, phone: str, *, before: int | None = None, limit: int) -> list[NumberRun]:
    """Return what runs did to a number on any account, newest first, starting before the place `before`."""
    place = "" if before is None else "AND entry < :before"
    entries = connection.execute(
        f"SELECT entry FROM outcomes WHERE phone = :phone {place} ORDER BY entry DESC LIMIT :limit",
        {"phone": phone, "before": before, "limit": limit},
    ).fetchall()
    return [_step(connection, entry, phone) for (entry,) in entries]


def windows(connection: sqlite3.Connection, since: str, *, by_hour: bool = False) -> list[WriteBucket]:
    """Count the write requests since a moment (UTC, ISO 8601), by minute or by hour."""
    digits, zeros = (13, ":00:00Z") if by_hour else (16, ":00Z")
    found = connection.execute(
        "SELECT substr(intended_at, 1, ?1) || ?2, count(*) FROM attempts "
        "WHERE entry IN (SELECT id FROM entries WHERE run IN (SELECT id FROM runs "
        "WHERE started_at >= ?3 OR finished_at IS NULL OR finished_at >= ?3)) AND intended_at >= ?3 "
        "GROUP BY 1 ORDER BY 1",
        (digits, zeros, since),
    )
    return [WriteBucket(*row) for row in found]


def _step(connection: sqlite3.Connection, entry: int, phone: str) -> NumberRun:
    about = next(
        rows(
            connection.execute(
                "SELECT entries.key, entries.account, entries.started_at, runs.id AS run, runs.command FROM entries "
                "JOIN runs ON runs.id = entries.run WHERE entries.id = ?",
                (entry,),
            )
        )
    )
    outcome = next(rows(connection.execute("SELECT * FROM outcomes WHERE entry = ? AND phone = ?", (entry, phone))))
    attempts: Sequence[dict[str, Any]] = list(
        rows(connection.execute("SELECT * FROM attempts WHERE entry = ? AND phone = ? ORDER BY number", (entry, phone)))
    )
    return NumberRun(
        entry,
        about["run"],
        about["command"],
        about["key"],
        about["account"],
        about["started_at"],
        number_of(outcome, attempts),
    )


def _standing(row: dict[str, Any]) -> AccountState:
    return AccountState(
        place=row["id"],
        key=row["key"],
        account=row["account"],
        run_id=row["run"],
        outcome=_ending(row["outcome"]),
        started_at=row["started_at"],
        finished_at=row["finished_at"],
        counts=msgspec.json.decode(row["counts"], type=dict[str, int]),
        error=account_error(row),
        settled=bool(row["settled"]),
    )


def _line(row: dict[str, Any]) -> RunSummary:
    return RunSummary(
        run_id=row["id"],
        command=row["command"],
        started_by=row["started_by"],
        host=row["host"],
        version=row["version"],
        outcome=_ending(row["outcome"]),
        started_at=row["started_at"],
        finished_at=row["finished_at"],
        accounts=row["entries"],
    )


def _ending(outcome: str | None) -> Ending:
    return Ending.UNFINISHED if outcome is None else Ending(outcome)
