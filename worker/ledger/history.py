"""Queries of the run history. They only read, each from one snapshot of the ledger."""

from collections import Counter
from collections.abc import Iterator, Sequence
from enum import StrEnum
from typing import Any, Final, TypeVar

import msgspec
from msgspec import Struct

from worker.ledger.database import Connection, Cursor
from worker.ledger.records import credentials_of
from worker.model.accounts import Group
from worker.model.errors import ErrorInfo, NumberError
from worker.model.history import AccountRecord, Attempt, AttemptState, Ending, History, NumberRecord, RunRecord
from worker.model.messages import restore
from worker.model.plans import Action
from worker.model.results import Outcome, Requests
from worker.model.safety import InUse, Safety

__all__ = [
    "HistoryQuery",
    "Snapshot",
    "account_error",
    "find_run_ids",
    "history",
    "last_changing_run",
    "number_of",
    "rows",
    "run_record",
]

K = TypeVar("K", bound=StrEnum)


class HistoryQuery(Struct, frozen=True, kw_only=True):
    """A query for runs. A run must match every field that is not None.

    `account` is the name of an account, and `phone` the digits of a number. `since` is the earliest start of a run
    (UTC, ISO 8601, Z). `outcome` is the outcome of the run or, if `account` is set, of that account. `limit` is the
    maximum count of runs to return; 0 returns all.
    """

    account: str | None = None
    phone: str | None = None
    since: str | None = None
    outcome: Ending | None = None
    limit: int = 0


_ALL: Final = 2**63 - 1
"""The limit of a query that returns all rows."""

_ENTRY_MATCHES: Final = f"""
    (CAST(:account AS TEXT) IS NULL OR account = :account)
    AND (CAST(:phone AS TEXT) IS NULL
        OR EXISTS (SELECT 1 FROM outcomes WHERE entry = entries.id AND phone = :phone))
    AND (CAST(:outcome AS TEXT) IS NULL OR CAST(:account AS TEXT) IS NULL
        OR coalesce(entries.outcome, '{Ending.UNFINISHED}') = :outcome)
"""
"""SQL condition of the entries that match a query."""

_MATCHING_RUNS: Final = f"""
    FROM runs WHERE (CAST(:since AS TEXT) IS NULL OR started_at >= :since)
    AND (CAST(:outcome AS TEXT) IS NULL OR CAST(:account AS TEXT) IS NOT NULL
        OR coalesce(outcome, '{Ending.UNFINISHED}') = :outcome)
    AND (CAST(:phone AS TEXT) IS NULL
        OR id IN (SELECT run FROM entries WHERE id IN (SELECT entry FROM outcomes WHERE phone = :phone)))
    AND (CAST(:account AS TEXT) IS NULL AND CAST(:phone AS TEXT) IS NULL
        OR EXISTS (SELECT 1 FROM entries WHERE run = runs.id AND {_ENTRY_MATCHES}))
"""
"""SQL of the runs that match a query. Runs of one number are found by an index, without a scan of all runs."""


def history(connection: Connection, query: HistoryQuery) -> History:
    """Return the runs that match a query, newest first, each with its matching accounts.

    If the query has a `phone`, each account contains only the record of that number; otherwise no numbers.
    """
    parameters = msgspec.structs.asdict(query)
    with Snapshot(connection):
        (total,) = connection.execute(f"SELECT count(*) {_MATCHING_RUNS}", parameters).fetchone()
        matching_runs = connection.execute(
            f"SELECT * {_MATCHING_RUNS} ORDER BY started_at DESC, id DESC LIMIT :rows",
            parameters | {"rows": query.limit or _ALL},
        )
        runs = list(rows(matching_runs))
        ids = msgspec.json.encode([(row["id"],) for row in runs]).decode()
        entries = connection.execute(
            "SELECT * FROM entries WHERE run IN (SELECT json_extract(value, '$[0]') FROM json_each(:runs)) "
            f"AND {_ENTRY_MATCHES} ORDER BY id",
            parameters | {"runs": ids},
        )
        accounts: dict[str, list[AccountRecord]] = {}
        for row in list(rows(entries)):
            numbers = None if query.phone is None else _numbers(connection, row["id"], query.phone)
            accounts.setdefault(row["run"], []).append(_account(row, numbers))
    return History(total=total, runs=tuple(_run(row, accounts.get(row["id"], ())) for row in runs))


def find_run_ids(connection: Connection, name: str, limit: int) -> tuple[str, ...]:
    """Return `name` if it is the id of a run, else at most `limit` ids that start with it, newest first."""
    exact = connection.execute("SELECT id FROM runs WHERE id = ?", (name,)).fetchone()
    if exact is not None:
        return (name,)
    ids = connection.execute(
        "SELECT id FROM runs WHERE substr(id, 1, length(?1)) = ?1 ORDER BY started_at DESC, id DESC LIMIT ?2",
        (name, limit),
    )
    return tuple(run for (run,) in ids)


def last_changing_run(connection: Connection) -> str | None:
    """Return the id of the newest run that changed numbers; None if there is none."""
    row = connection.execute(
        "SELECT run FROM entries WHERE writes > 0 AND EXISTS"
        f" (SELECT 1 FROM outcomes WHERE entry = entries.id AND outcome = '{Outcome.CHANGED}') ORDER BY id DESC LIMIT 1"
    ).fetchone()
    return None if row is None else row[0]


def run_record(connection: Connection, run: str, *, account: str | None = None, phone: str | None = None) -> RunRecord:
    """Return one run with its settings, accounts, numbers and attempts.

    `account` and `phone`, unless None, limit the result to one account and to one number.

    Raises:
        KeyError: the ledger has no run with this id.
    """
    with Snapshot(connection):
        runs = list(rows(connection.execute("SELECT * FROM runs WHERE id = ?", (run,))))
        if not runs:
            raise KeyError(run)
        entries = connection.execute(
            "SELECT * FROM entries WHERE run = ?1 AND (CAST(?2 AS TEXT) IS NULL OR account = ?2) ORDER BY id",
            (run, account),
        )
        accounts = [_account(row, _numbers(connection, row["id"], phone)) for row in list(rows(entries))]
    settings = msgspec.json.decode(runs[0]["settings"], type=dict[str, Any])
    return msgspec.structs.replace(_run(runs[0], accounts), settings=settings)


class Snapshot:
    """A read transaction, as a context manager. Until it ends, writes of other processes are not visible."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def __enter__(self) -> None:
        self._connection.execute("BEGIN")

    def __exit__(self, *_: object) -> None:
        self._connection.execute("COMMIT")


def rows(cursor: Cursor) -> Iterator[dict[str, Any]]:
    """Return the rows of a cursor as mappings of column name to value."""
    names = [column[0] for column in cursor.description]
    return (dict(zip(names, row, strict=True)) for row in cursor)


def _run(row: dict[str, Any], accounts: Sequence[AccountRecord]) -> RunRecord:
    counts: Counter[str] = Counter()
    for account in accounts:
        counts.update(account.counts)
    return RunRecord(
        run_id=row["id"],
        command=row["command"],
        outcome=_ending(row["outcome"]),
        started_at=row["started_at"],
        finished_at=row["finished_at"],
        started_by=row["started_by"],
        host=row["host"],
        pid=row["pid"],
        version=row["version"],
        plan=row.get("plan"),
        counts=dict(counts),
        accounts=tuple(accounts),
    )


def _account(row: dict[str, Any], numbers: tuple[NumberRecord, ...] | None) -> AccountRecord:
    counts = msgspec.json.decode(row["counts"], type=dict[str, int])
    return AccountRecord(
        account=row["account"],
        account_id=row["account_id"],
        outcome=_ending(row["outcome"]),
        started_at=row["started_at"],
        finished_at=row["finished_at"],
        endpoint=row["endpoint"],
        credentials=credentials_of(row["credentials"]),
        safety=msgspec.json.decode(row["safety"], type=Safety),
        in_use=msgspec.json.decode(row.get("in_use", "{}"), type=InUse),
        groups=msgspec.json.decode(row.get("groups", "[]"), type=tuple[Group, ...]),
        source=row["source"],
        sha256=row["sha256"],
        commit=row["revision"],
        fingerprint=row["fingerprint"],
        error=account_error(row),
        counts={kind: number for kind, number in counts.items() if number},
        requests=Requests(row["reads"], row["writes"], row["retries"]),
        settled=bool(row["settled"]),
        numbers=numbers,
    )


def _numbers(connection: Connection, entry: int, phone: str | None) -> tuple[NumberRecord, ...]:
    """Return the records of the numbers of an entry, ordered by digits. `phone`, unless None, selects one number."""
    condition = "WHERE entry = ?1 AND (CAST(?2 AS TEXT) IS NULL OR phone = ?2)"
    attempts: dict[str, list[dict[str, Any]]] = {}
    for row in rows(connection.execute(f"SELECT * FROM attempts {condition} ORDER BY phone, number", (entry, phone))):
        attempts.setdefault(row["phone"], []).append(row)
    return tuple(
        number_of(row, attempts.get(row["phone"], ()))
        for row in rows(connection.execute(f"SELECT * FROM outcomes {condition} ORDER BY phone", (entry, phone)))
    )


def number_of(row: dict[str, Any], attempts: Sequence[dict[str, Any]]) -> NumberRecord:
    """Return the record of one number, from its row of `outcomes` and its ordered rows of `attempts`."""
    return NumberRecord(
        phone=row["phone"],
        action=_optional(Action, row["action"]),
        desired=row["desired"],
        before=row["before"],
        after=row["after"],
        outcome=_optional(Outcome, row["outcome"]),
        duration_ms=row["duration_ms"],
        error=_error(row),
        attempts=tuple(
            Attempt(
                number=attempt["number"],
                asked=attempt["asked"],
                state=AttemptState(attempt["state"]),
                intended_at=attempt["intended_at"],
                answered_at=attempt["answered_at"],
                error=_error(attempt),
            )
            for attempt in attempts
        ),
    )


def _ending(outcome: str | None) -> Ending:
    return Ending.UNFINISHED if outcome is None else Ending(outcome)


def _optional(kind: type[K], text: str | None) -> K | None:
    return None if text is None else kind(text)


def account_error(row: dict[str, Any]) -> ErrorInfo | None:
    """Return the error of an account from its row of `entries`; None if it has no error."""
    code = row["error_code"]
    return None if code is None else ErrorInfo(code, _message(row))


def _error(row: dict[str, Any]) -> NumberError | None:
    code = row["error_code"]
    return None if code is None else NumberError(code, _message(row), row["http_status"])


def _message(row: dict[str, Any]) -> str:
    """Return the message of an error from its row. If an older version wrote the row, it is only the English text."""
    text, message_parts = row["error_message"] or "", row.get("error_parts")
    return text if message_parts is None else restore(text, msgspec.json.decode(message_parts))
