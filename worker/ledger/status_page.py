"""Queries of the status page. They only read, and each reads only a few pages of the file.

A list continues after the last row of the previous page, so that every page of it costs the same. With 5,000 accounts
and 1,000,000 numbers, measurements showed that no query needs another index.
"""

import sqlite3
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from worker.ledger.database import Connection
from worker.ledger.history import account_error, number_of, rows
from worker.ledger.schema import MIGRATIONS
from worker.model.errors import Declined
from worker.model.history import Ending, NumberRecord
from worker.model.reads import is_unread, platform
from worker.model.results import Outcome
from worker.model.status_page import (
    AccountState,
    LastWrite,
    NumberRun,
    RequestBucket,
    RunSummary,
    RunTimes,
)

__all__ = [
    "account_states",
    "empty_ledger",
    "entries_of",
    "last_writes",
    "last_writes_of",
    "number_count",
    "number_runs",
    "numbers",
    "request_counts",
    "rollbacks_of",
    "run",
    "run_times",
    "runs",
    "runs_by_id",
    "runs_of",
    "runs_of_account",
]

_RECENT: Final = "id > (SELECT max(id) FROM entries) - 50000"
"""SQL condition of the entries to search for accounts that could not be read, which share keys: an outage adds many."""

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
"""SQL of the last entry of each account. It seeks each key in the index instead of scanning the index."""

_RUN: Final = f"""
    SELECT *, (SELECT count(*) FROM entries WHERE run = runs.id) AS entries,
        CASE WHEN outcome = '{Ending.REFUSED}' THEN (
            SELECT count(*) FROM entries WHERE run = runs.id AND error_code = '{Declined.__name__}'
        ) ELSE 0 END AS declined
    FROM runs
"""
"""SQL of a run, with the count of its accounts, and of those whose plan the user declined."""
_TOO_MANY: Final = 429
"""The HTTP status of a request beyond the quota."""
_SECONDS: Final = 3600
"""Maximum count of seconds of a run whose writes are counted one by one."""
_AFTER_ALL: Final = "~"
"""A character after those of the ids of runs."""
_AFTER_DIGITS: Final = ":"
"""The character after 9."""
_OUT_OF_SYNC: Final = ", ".join(f"'{outcome}'" for outcome in Outcome if outcome.needs_attention)


def empty_ledger() -> sqlite3.Connection:
    """Return an empty ledger in memory, for a status page without a ledger file."""
    connection = sqlite3.connect(":memory:")
    for migration in MIGRATIONS:
        connection.executescript(migration)
    return connection


def account_states(connection: Connection) -> list[AccountState]:
    """Return the state of every account after its last run, ordered by name.

    An account that could not be read has no id, so an account may be listed with its id and without.
    """
    cursor = connection.execute(f"{_LATEST} SELECT entries.* FROM last JOIN entries USING (id)")
    return sorted(map(_account_state, rows(cursor)), key=lambda state: (state.account, state.key))


def runs_of(
    connection: Connection, key: str, name: str, *, before: int | None = None, limit: int
) -> list[AccountState]:
    """Return the state of an account after each of its runs, newest first. `before` is a position in the ledger."""
    # a condition that may not hold would keep SQLite from seeking
    condition = "" if before is None else "AND id < :before"
    only_name = f"AND account = :name AND {_RECENT}" if is_unread(key) else ""
    cursor = connection.execute(
        f"SELECT * FROM entries WHERE key = :key {condition} {only_name} ORDER BY id DESC LIMIT :limit",
        {"key": key, "name": name, "before": before, "limit": limit},
    )
    return [_account_state(row) for row in rows(cursor)]


def runs_of_account(
    connection: Connection, key: str, name: str, *, before: int | None = None, limit: int
) -> list[AccountState]:
    """Return the runs of an account as `runs_of` does, including those that could not read it, whose key has no id."""
    unread_key = f"{platform(key)} None"
    keys = (key,) if key == unread_key else (key, unread_key)
    entries = [entry for each_key in keys for entry in runs_of(connection, each_key, name, before=before, limit=limit)]
    return sorted(entries, key=lambda entry: -entry.position)[:limit]


def runs(connection: Connection, *, before: str | None = None, limit: int) -> list[RunSummary]:
    """Return the runs before the run `before`, newest first. The ids of runs sort by start time."""
    condition = "" if before is None else "WHERE id < :before"
    cursor = connection.execute(
        f"{_RUN} {condition} ORDER BY id DESC LIMIT :limit",
        {"before": before, "limit": limit},
    )
    return [_run_summary(row) for row in rows(cursor)]


def runs_by_id(connection: Connection, start: str, *, limit: int) -> list[RunSummary]:
    """Return the runs whose id starts with `start`, newest first."""
    cursor = connection.execute(
        f"{_RUN} WHERE id >= ? AND id < ? ORDER BY id DESC LIMIT ?", (start, start + _AFTER_ALL, limit)
    )
    return [_run_summary(row) for row in rows(cursor)]


def run(connection: Connection, run_id: str) -> RunSummary | None:
    """Return one run; None if the ledger has no run with this id."""
    return next((_run_summary(row) for row in rows(connection.execute(f"{_RUN} WHERE id = ?", (run_id,)))), None)


def number_count(connection: Connection, run_id: str) -> int:
    """Return the count of the numbers that a run recorded."""
    (count,) = connection.execute(
        "SELECT count(*) FROM outcomes WHERE entry IN (SELECT id FROM entries WHERE run = ?)", (run_id,)
    ).fetchone()
    return int(count)


def entries_of(
    connection: Connection, run_id: str, *, after: int = 0, limit: int, attention_only: bool = False
) -> list[AccountState]:
    """Return the accounts of a run in the order of their records, after the position `after`.

    `attention_only` leaves out converged accounts.
    """
    condition = "AND coalesce(outcome, '') <> 'converged'" if attention_only else ""
    cursor = connection.execute(
        f"SELECT * FROM entries WHERE run = ? AND id > ? {condition} ORDER BY id LIMIT ?",
        (run_id, after, limit),
    )
    return [_account_state(row) for row in rows(cursor)]


def numbers(
    connection: Connection,
    entry: int,
    *,
    prefix: str = "",
    after: str = "",
    limit: int,
    attention_only: bool = False,
) -> list[NumberRecord]:
    """Return the records of an account's numbers in one run, by digits, without attempts.

    Only numbers that start with `prefix` and come after `after` are returned. `attention_only` leaves out numbers that
    are in sync.
    """
    condition = f"AND coalesce(outcome, '{Outcome.UNVERIFIED}') IN ({_OUT_OF_SYNC})" if attention_only else ""
    cursor = connection.execute(
        f"SELECT * FROM outcomes WHERE entry = ? AND phone > ? AND phone >= ? AND phone < ? {condition} "
        "ORDER BY phone LIMIT ?",
        (entry, after, prefix, prefix + _AFTER_DIGITS, limit),
    )
    return [number_of(row, ()) for row in rows(cursor)]


def last_writes(connection: Connection, key: str, *, prefix: str = "", after: str = "", limit: int) -> list[LastWrite]:
    """Return the last write of each number of an account, ordered by digits.

    Only numbers that start with `prefix` and come after `after` are returned.
    """
    cursor = connection.execute(
        "SELECT phone, status, run, at FROM written WHERE key = ? AND phone > ? AND phone >= ? AND phone < ? "
        "ORDER BY phone LIMIT ?",
        (key, after, prefix, prefix + _AFTER_DIGITS, limit),
    )
    return [LastWrite(*row) for row in cursor]


def last_writes_of(connection: Connection, key: str, phones: Sequence[str]) -> dict[str, LastWrite]:
    """Return the last write of each of `phones` of an account that a run has written."""
    cursor = connection.execute(
        "SELECT phone, status, run, at FROM written WHERE key = ?1 "
        "AND phone IN (SELECT json_extract(value, '$[0]') FROM json_each(?2))",
        (key, msgspec.json.encode([[phone] for phone in phones]).decode()),
    )
    return {row[0]: LastWrite(*row) for row in cursor}


def number_runs(connection: Connection, phone: str, *, before: int | None = None, limit: int) -> list[NumberRun]:
    """Return the runs of a number on any account, newest first, from entries before the position `before`."""
    condition = "" if before is None else "AND entry < :before"
    entries = connection.execute(
        f"SELECT entry FROM outcomes WHERE phone = :phone {condition} ORDER BY entry DESC LIMIT :limit",
        {"phone": phone, "before": before, "limit": limit},
    ).fetchall()
    return [_number_run(connection, entry, phone) for (entry,) in entries]


def request_counts(
    connection: Connection, since: str, *, by_hour: bool = False, key: str | None = None
) -> list[RequestBucket]:
    """Return the counts of requests since a time (UTC, ISO 8601, Z), by minute or by hour, in order of time.

    `key` is the key of an account; None counts all accounts.
    """
    digits, zeros = (13, ":00:00Z") if by_hour else (16, ":00Z")
    condition = "" if key is None else "AND key = :key"
    recent = (
        "SELECT id FROM entries WHERE run IN (SELECT id FROM runs "
        f"WHERE started_at >= :since OR finished_at IS NULL OR finished_at >= :since) {condition}"
    )
    values = {"digits": digits, "zeros": zeros, "since": since, "key": key}
    if key is None:
        del values["key"]
    writes = connection.execute(
        "SELECT substr(intended_at, 1, :digits) || :zeros AS start, count(*), "
        f"count(CASE WHEN http_status = {_TOO_MANY} THEN 1 END) FROM attempts "
        f"WHERE entry IN ({recent}) AND intended_at >= :since GROUP BY 1 ORDER BY 1",
        values,
    )
    buckets = {start: RequestBucket(start, 0, count, rejected) for start, count, rejected in writes}
    reads = connection.execute(
        "SELECT substr(started_at, 1, :digits) || :zeros AS start, sum(reads) FROM entries "
        f"WHERE id IN ({recent}) AND started_at >= :since GROUP BY 1",
        values,
    )
    for start, count in reads:
        bucket = buckets.get(start, RequestBucket(start))
        buckets[start] = RequestBucket(start, int(count), bucket.writes, bucket.rejected)
    return [buckets[start] for start in sorted(buckets)]


def run_times(connection: Connection, run: RunSummary) -> RunTimes:
    """Return the times of the stages of a run, and its requests."""
    (settings,) = connection.execute("SELECT settings FROM runs WHERE id = ?", (run.run_id,)).fetchone()
    totals = connection.execute(
        "SELECT min(started_at), sum(reads), sum(writes), sum(retries) FROM entries WHERE run = ?", (run.run_id,)
    ).fetchone()
    batches = connection.execute(
        "SELECT min(intended_at), max(coalesce(answered_at, intended_at)), max(entries.finished_at) "
        "FROM attempts JOIN entries ON entries.id = entry WHERE run = ? GROUP BY entry ORDER BY 1",
        (run.run_id,),
    ).fetchall()
    seconds = connection.execute(
        "SELECT substr(intended_at, 1, 19) || 'Z', count(*), "
        f"count(CASE WHEN http_status = {_TOO_MANY} THEN 1 END) FROM attempts "
        "WHERE entry IN (SELECT id FROM entries WHERE run = ?) GROUP BY 1 ORDER BY 1 LIMIT ?",
        (run.run_id, _SECONDS),
    )
    has_canary = msgspec.json.decode(settings, type=dict[str, Any]).get("canary") is not None
    return RunTimes(
        started_at=run.started_at,
        planned_at=totals[0],
        first_write=batches[0][0] if batches else None,
        canary_ended_at=_canary_end(batches) if has_canary else None,
        last_answer=max((answered for _first, answered, _end in batches), default=None),
        finished_at=run.finished_at,
        reads=int(totals[1] or 0),
        writes=int(totals[2] or 0),
        retries=int(totals[3] or 0),
        buckets=tuple(RequestBucket(start, 0, count, rejected) for start, count, rejected in seconds),
    )


def _canary_end(batches: Sequence[tuple[str, str, str | None]]) -> str | None:
    """Return when the accounts that were written first had all ended, before the first write of the others."""
    latest = ""
    for index, (first, _answered, end) in enumerate(batches):
        if index and latest and first >= latest:
            return latest
        if end is None:
            return None
        latest = max(latest, end)
    return None


def rollbacks_of(connection: Connection, run_id: str) -> list[RunSummary]:
    """Return the runs that rolled a run back, the newest first."""
    cursor = connection.execute(f"{_RUN} WHERE command = ? ORDER BY id DESC LIMIT 10", (f"rollback {run_id}",))
    return [_run_summary(row) for row in rows(cursor)]


def _number_run(connection: Connection, entry: int, phone: str) -> NumberRun:
    entry_row = next(
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
        entry_row["run"],
        entry_row["command"],
        entry_row["key"],
        entry_row["account"],
        entry_row["started_at"],
        number_of(outcome, attempts),
    )


def _account_state(row: dict[str, Any]) -> AccountState:
    return AccountState(
        position=row["id"],
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


def _run_summary(row: dict[str, Any]) -> RunSummary:
    return RunSummary(
        run_id=row["id"],
        command=row["command"],
        started_by=row["started_by"],
        host=row["host"],
        version=row["version"],
        outcome=_ending(row["outcome"]),
        declined=0 < row["declined"] == row["entries"],
        started_at=row["started_at"],
        finished_at=row["finished_at"],
        accounts=row["entries"],
    )


def _ending(outcome: str | None) -> Ending:
    return Ending.UNFINISHED if outcome is None else Ending(outcome)
