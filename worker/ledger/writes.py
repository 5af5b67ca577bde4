"""What a run writes into the ledger, as SQL. Every function here is part of a transaction that its caller ends."""

import sqlite3
from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from typing import Final

import msgspec

from worker.ledger.records import CRASHED, OPEN, AttemptState, RunInfo, Subject, credentials_of
from worker.model.accounts import AccountMemory, Observed, PlanFile, PlanFileUse, Status
from worker.model.credentials import CredentialsRef
from worker.model.errors import ErrorInfo, NumberError
from worker.model.messages import Message, english, parts
from worker.model.plans import AccountPlan
from worker.model.results import AccountResult, Outcome, RunOutcome
from worker.model.times import format_utc_ms
from worker.render.json_document import encodable

__all__ = [
    "add_entry",
    "add_run",
    "answer",
    "earlier_run",
    "finish_entry",
    "finish_run",
    "intend",
    "recall",
    "settle",
]

_OPEN: Final = ", ".join(f"'{state}'" for state in OPEN)

_INTEND: Final = f"""
    INSERT INTO attempts (entry, phone, number, asked, state, intended_at)
    SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]'), json_extract(value, '$[2]'),
        json_extract(value, '$[3]'), '{AttemptState.INTENT}', ?2
    FROM json_each(?1)
"""
"""One statement for all rows: each statement waits for the interpreter's lock once, however many rows it has."""

_ANSWER: Final = """
    UPDATE attempts SET state = told.state, answered_at = ?2, http_status = told.http_status,
        error_code = told.error_code, error_message = told.error_message, error_parts = told.error_parts
    FROM (
        SELECT json_extract(value, '$[0]') AS entry, json_extract(value, '$[1]') AS phone,
            json_extract(value, '$[2]') AS number, json_extract(value, '$[3]') AS state,
            json_extract(value, '$[4]') AS http_status, json_extract(value, '$[5]') AS error_code,
            json_extract(value, '$[6]') AS error_message, json_extract(value, '$[7]') AS error_parts
        FROM json_each(?1)
    ) AS told
    WHERE attempts.entry = told.entry AND attempts.phone = told.phone AND attempts.number = told.number
"""

_PLANNED: Final = """
    INSERT INTO outcomes (entry, phone, action, desired, before)
    SELECT ?2, json_extract(value, '$[0]'), json_extract(value, '$[1]'), json_extract(value, '$[2]'),
        json_extract(value, '$[3]')
    FROM json_each(?1)
"""

_OTHERS: Final = """
    INSERT INTO outcomes (entry, phone, action, desired, before, after, outcome, attempts, duration_ms, http_status,
        error_code, error_message, error_parts)
    SELECT ?2, json_extract(value, '$[0]'), json_extract(value, '$[1]'), json_extract(value, '$[2]'),
        json_extract(value, '$[3]'), json_extract(value, '$[4]'), json_extract(value, '$[5]'),
        json_extract(value, '$[6]'), json_extract(value, '$[7]'), json_extract(value, '$[8]'),
        json_extract(value, '$[9]'), json_extract(value, '$[10]'), json_extract(value, '$[11]')
    FROM json_each(?1) WHERE true
    ON CONFLICT DO UPDATE SET after = excluded.after, outcome = excluded.outcome, attempts = excluded.attempts,
        duration_ms = excluded.duration_ms, http_status = excluded.http_status, error_code = excluded.error_code,
        error_message = excluded.error_message, error_parts = excluded.error_parts
"""

_CHANGED: Final = f"""
    INSERT INTO outcomes (entry, phone, attempts, duration_ms)
    SELECT ?2, json_extract(value, '$[0]'), json_extract(value, '$[1]'), json_extract(value, '$[2]')
    FROM json_each(?1) WHERE true
    ON CONFLICT DO UPDATE SET after = desired, outcome = '{Outcome.CHANGED}', attempts = excluded.attempts,
        duration_ms = excluded.duration_ms
"""
"""What most planned numbers become: there is little to add to the plan, and that in half the time of `_OTHERS`."""

_CARRIED_OUT: Final = f"""
    SELECT id, started_at FROM runs WHERE plan = ?1 AND id <> ?2 AND (
        outcome = '{RunOutcome.CONVERGED}'
        OR EXISTS (SELECT 1 FROM entries JOIN attempts ON entry = entries.id WHERE run = runs.id)
    ) ORDER BY started_at LIMIT 1
"""

_SUPERSEDED: Final = """
    SELECT run, max(intended_at) FROM entries JOIN attempts ON entry = entries.id
    WHERE key = ?1 AND run <> ?2 AND (finished_at IS NULL OR finished_at >= ?3) AND intended_at >= ?3
        AND phone IN (SELECT value FROM json_each(?4))
"""
"""Of the columns that are not grouped SQLite gives those of the row with the maximum."""

_LOST: Final = NumberError(
    "Crashed", Message("the run ended before this write was answered, and the number still has its old status")
)
_CONFLICT: Final = NumberError(
    "Conflict", Message("the run ended before this write was verified, and the number has another status now")
)
_UNTRIED: Final = NumberError("Crashed", Message("the run ended before this number was written"))


def intend(connection: sqlite3.Connection, rows: list[tuple[int, str, int, str]], now: str) -> None:
    """Note that requests are about to leave: entry, phone, the how-manieth of its phone, and the status asked for."""
    connection.execute(_INTEND, (msgspec.json.encode(rows).decode(), now))


def answer(
    connection: sqlite3.Connection,
    rows: list[tuple[int, str, int, AttemptState, int | None, str | None, str | None]],
    now: str,
) -> None:
    """Note what became of requests: entry, phone, number, state, HTTP status, the error's code and message."""
    kept = [row if row[6] is None else (*row[:5], _text(row[5]), _text(row[6]), _parts(row[6])) for row in rows]
    connection.execute(_ANSWER, (msgspec.json.encode(kept).decode(), now))


def add_run(connection: sqlite3.Connection, run: RunInfo) -> None:
    """Note that a run began."""
    connection.execute(
        """INSERT INTO runs (id, command, started_by, host, pid, version, settings, started_at, plan)
            VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)""",
        (
            run.id,
            run.command,
            _text(run.started_by),
            _text(run.host),
            run.pid,
            run.version,
            run.settings,
            run.started_at,
            _text(run.plan),
        ),
    )


def finish_run(connection: sqlite3.Connection, run: str, outcome: str, now: str) -> None:
    """Note how a run ended."""
    connection.execute("UPDATE runs SET finished_at = ?, outcome = ? WHERE id = ?", (now, outcome, run))


def earlier_run(
    connection: sqlite3.Connection, run: str, key: str, plan: PlanFile, *, phones: Collection[str]
) -> PlanFileUse | None:
    """Return the run other than `run` that used up a plan file, which writes `phones` of an account.

    A run of the plan counts once it intended a write or ended converged. A run of anything else counts if it intended a
    write of one of the phones since the plan was made.
    """
    carried = connection.execute(_CARRIED_OUT, (_text(plan.id), run)).fetchone()
    if carried is not None:
        earlier, started_at = carried
        return PlanFileUse(earlier, started_at, carried_out=True)
    since = format_utc_ms(datetime.fromisoformat(plan.created_at))
    later, at = connection.execute(_SUPERSEDED, (key, run, since, _json(sorted(phones)))).fetchone()
    return None if later is None else PlanFileUse(later, at, carried_out=False)


def add_entry(
    connection: sqlite3.Connection, run: str, subject: Subject, plan: AccountPlan, *, fingerprint: str, now: str
) -> int:
    """Note what a run is going to do to an account; the entry's id."""
    cursor = connection.execute(
        """INSERT INTO entries (run, key, account, account_id, endpoint, credentials, safety, source, sha256, revision,
            fingerprint, started_at, counts, groups, in_use)
            VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)""",
        (
            run,
            subject.key,
            _text(subject.account),
            subject.account_id,
            subject.endpoint,
            None if subject.credentials is None else _json(subject.credentials),
            _json(subject.safety),
            _text(subject.source),
            subject.sha256,
            subject.commit,
            fingerprint,
            now,
            _json(plan.counts),
            _json(subject.groups),
            _json(subject.in_use),
        ),
    )
    entry = cursor.lastrowid
    assert entry is not None  # noqa: S101 - an insert has one
    rows = [(change.phone, change.action, change.desired, change.observed) for change in plan.writes]
    connection.execute(_PLANNED, (_json(rows), entry))
    return entry


def finish_entry(
    connection: sqlite3.Connection, entry: int, result: AccountResult, confirmed: Mapping[str, Status], now: str
) -> None:
    """Record the result of an account: its numbers, the attempts that the verification read settled, and the writes.

    `confirmed` are numbers that have their desired status now, although a run last wrote another one. Numbers that no
    file lists are only counted, and so are those of an account that was never started: they would fill the ledger.
    """
    error = result.error
    (planned,) = connection.execute("SELECT count(*) FROM outcomes WHERE entry = ?", (entry,)).fetchone()
    counted = {Outcome.UNMANAGED} if planned else {Outcome.UNMANAGED, Outcome.NOT_ATTEMPTED}
    changed = [
        (number.phone, number.attempts, number.duration_ms)
        for number in result.numbers
        if planned and number.outcome is Outcome.CHANGED
    ]
    others = [
        (
            number.phone,
            number.action,
            number.desired,
            number.before,
            number.after,
            number.outcome,
            number.attempts,
            number.duration_ms,
            None if number.error is None else number.error.http_status,
            *_columns(number.error),
        )
        for number in result.numbers
        if not (planned and number.outcome is Outcome.CHANGED) and number.outcome not in counted
    ]
    connection.execute(_CHANGED, (_json(changed), entry))
    connection.execute(_OTHERS, (_json(others), entry))
    if len(changed) < planned:
        _close_unsent(connection, entry)
    _close_attempts(connection, entry)
    run, key = connection.execute("SELECT run, key FROM entries WHERE id = ?", (entry,)).fetchone()
    connection.execute(
        "INSERT OR REPLACE INTO written SELECT ?, phone, desired, ?, ? FROM outcomes WHERE entry = ? AND outcome = ?",
        (key, run, now, entry, Outcome.CHANGED),
    )
    if confirmed:
        known = _written(connection, key)
        news = ((phone, status) for phone, status in confirmed.items() if known.get(phone) != status)
        _remember(connection, key, run, news, now)
    connection.execute(
        f"""UPDATE entries SET finished_at = ?, outcome = ?, error_code = ?, error_message = ?, error_parts = ?,
            counts = ?, reads = ?, writes = ?, retries = ?, settled = {_settled("entries.id")} WHERE id = ?""",
        (
            now,
            result.outcome,
            *_columns(error),
            _json(result.counts),
            result.requests.reads,
            result.requests.writes,
            result.requests.retries,
            entry,
        ),
    )


def settle(connection: sqlite3.Connection, key: str, observed: Mapping[str, Observed], now: str) -> None:
    """Close what earlier runs left open on an account, by the statuses that a read observed.

    The caller holds the lease of the account. An entry without an end then belongs to a run that crashed.
    """
    unsettled = connection.execute(
        "SELECT id, run, finished_at IS NULL FROM entries WHERE key = ? AND NOT settled ORDER BY id", (key,)
    ).fetchall()
    for entry, run, died in unsettled:
        rows = connection.execute(
            "SELECT phone, desired, before FROM outcomes WHERE entry = ?1 AND phone IN "
            f"(SELECT phone FROM attempts WHERE entry = ?1 AND state IN ({_OPEN}))",
            (entry,),
        ).fetchall()
        proven = []
        for phone, desired, before in rows:
            number = observed.get(phone)
            status = None if number is None else number.status
            state = _state(status, desired, before)
            connection.execute(
                f"UPDATE attempts SET state = ? WHERE entry = ? AND phone = ? AND state IN ({_OPEN})",
                (state, entry, phone),
            )
            if state is AttemptState.VERIFIED:
                proven.append((phone, desired))
            if died:
                _close_number(connection, entry, phone, state, status)
        _remember(connection, key, run, proven, now)
        if died:
            _close_died(connection, entry, run, observed, now)
        connection.execute("UPDATE entries SET settled = 1 WHERE id = ?", (entry,))


def recall(connection: sqlite3.Connection, key: str) -> AccountMemory:
    """Return what the ledger remembers of an account."""
    spent: set[str] = set()
    for entry, outcome, tried in connection.execute(
        """SELECT id, outcome, EXISTS (SELECT 1 FROM attempts WHERE entry = entries.id) FROM entries
        WHERE key = ? ORDER BY id DESC""",
        (key,),
    ):
        if outcome == RunOutcome.CONVERGED or (tried and outcome not in {None, CRASHED}):
            break  # this entry ended, so the next one belongs to another plan
        if not tried:
            continue
        spent.update(
            phone
            for (phone,) in connection.execute(
                # a write that a read settled as lost may have arrived later
                "SELECT phone FROM attempts WHERE entry = ? AND asked = ? AND state <> ?",
                (entry, Status.INACTIVE, AttemptState.REJECTED),
            )
        )
    (unsettled,) = connection.execute(
        "SELECT EXISTS (SELECT 1 FROM entries WHERE key = ? AND NOT settled)", (key,)
    ).fetchone()
    return AccountMemory(
        _written(connection, key),
        frozenset(spent),
        bool(unsettled),
        registered(connection, key),
        _names(connection, key),
    )


def registered(connection: sqlite3.Connection, key: str) -> int | None:
    """Return how many numbers an account had when a run saw it last; None if no run noted it."""
    (known,) = connection.execute("SELECT EXISTS (SELECT 1 FROM sqlite_master WHERE name = 'registered')").fetchone()
    # an older ledger that is only read has no such table
    row = connection.execute("SELECT numbers FROM registered WHERE key = ?", (key,)).fetchone() if known else None
    return None if row is None else int(row[0])


def note_registered(connection: sqlite3.Connection, key: str, numbers: int, run: str, now: str) -> None:
    """Note how many numbers an account has; nothing is written if the ledger has that count already."""
    connection.execute(
        """INSERT INTO registered VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE
        SET numbers = excluded.numbers, run = excluded.run, at = excluded.at WHERE numbers <> excluded.numbers""",
        (key, numbers, run, now),
    )


def _close_unsent(connection: sqlite3.Connection, entry: int) -> None:
    """Leave no intent of what never left, and no planned number without its outcome."""
    # intents are noted some ahead
    connection.execute(
        "DELETE FROM attempts WHERE entry = ?1 AND state = ?2 AND number > "
        "(SELECT attempts FROM outcomes AS told WHERE told.entry = ?1 AND told.phone = attempts.phone)",
        (entry, AttemptState.INTENT),
    )
    # a result does not name what is unchanged, which a number that was to be written can turn out to be
    connection.execute(
        """UPDATE outcomes SET after = desired, outcome = ?1, attempts =
            (SELECT count(*) FROM attempts WHERE entry = outcomes.entry AND phone = outcomes.phone)
        WHERE entry = ?2 AND outcome IS NULL""",
        (Outcome.UNCHANGED, entry),
    )


def _close_attempts(connection: sqlite3.Connection, entry: int) -> None:
    """Settle the attempts of numbers that the verification read showed.

    An attempt that a later one follows is lost: a write is sent again only after a read showed the old status.
    """
    connection.execute(
        f"""UPDATE attempts SET state = CASE
            WHEN seen.attempts > 1 AND EXISTS (SELECT 1 FROM attempts AS later WHERE later.entry = attempts.entry
                AND later.phone = attempts.phone AND later.number > attempts.number AND later.state IN ({_OPEN}))
            THEN '{AttemptState.LOST}'
            WHEN seen.outcome = '{Outcome.CHANGED}' THEN '{AttemptState.VERIFIED}'
            WHEN seen.outcome = '{Outcome.CONFLICT}' THEN '{AttemptState.CONFLICT}' ELSE '{AttemptState.LOST}' END
        FROM outcomes AS seen WHERE attempts.entry = ? AND attempts.state IN ({_OPEN})
            AND seen.entry = attempts.entry AND seen.phone = attempts.phone
            AND (seen.outcome IN ('{Outcome.CHANGED}', '{Outcome.CONFLICT}') OR seen.after = seen.before)""",
        (entry,),
    )


def _close_number(
    connection: sqlite3.Connection, entry: int, phone: str, state: AttemptState, seen: str | None
) -> None:
    outcome, error = {
        AttemptState.VERIFIED: (Outcome.CHANGED, None),
        AttemptState.CONFLICT: (Outcome.CONFLICT, _CONFLICT),
    }.get(state, (Outcome.FAILED, _LOST))
    connection.execute(
        """UPDATE outcomes SET outcome = ?, after = ?, error_code = ?, error_message = ?, error_parts = ?,
            attempts = (SELECT count(*) FROM attempts WHERE entry = ?6 AND phone = ?7)
        WHERE entry = ?6 AND phone = ?7""",
        (outcome, seen, *_columns(error), entry, phone),
    )


def _close_died(
    connection: sqlite3.Connection, entry: int, run: str, observed: Mapping[str, Observed], now: str
) -> None:
    """Give an outcome to each number whose writes were all refused or that was not tried, and an end to the run."""
    refused = connection.execute(
        # of the columns that are not grouped SQLite gives those of the row with the maximum
        """SELECT phone, asked, max(number), http_status, error_code, error_message, error_parts FROM attempts
        WHERE entry = ?1 AND phone IN (SELECT phone FROM outcomes WHERE entry = ?1 AND outcome IS NULL)
        GROUP BY phone""",
        (entry,),
    ).fetchall()
    seen = {phone: number.status for phone, *_ in refused if (number := observed.get(phone)) is not None}
    connection.executemany(
        """UPDATE outcomes SET outcome = ?, after = ?, attempts = ?, http_status = ?, error_code = ?, error_message = ?,
            error_parts = ? WHERE entry = ? AND phone = ?""",
        (
            # what shows although it was refused came from elsewhere
            (Outcome.UNCHANGED if seen.get(phone) == asked else Outcome.FAILED, seen.get(phone), *rest, entry, phone)
            for phone, asked, *rest in refused
        ),
    )
    connection.execute(
        """UPDATE outcomes SET outcome = ?, after = before, error_code = ?, error_message = ?, error_parts = ?
        WHERE entry = ? AND outcome IS NULL""",
        (Outcome.NOT_ATTEMPTED, *_columns(_UNTRIED), entry),
    )
    counts = dict(
        connection.execute("SELECT outcome, count(*) FROM outcomes WHERE entry = ? GROUP BY outcome", (entry,))
    )
    connection.execute(
        """UPDATE entries SET finished_at = ?, outcome = ?, counts = ?,
            writes = (SELECT count(*) FROM attempts WHERE entry = entries.id) WHERE id = ?""",
        (now, CRASHED, _json(counts), entry),
    )
    connection.execute(
        """UPDATE runs SET finished_at = ?, outcome = ? WHERE id = ? AND finished_at IS NULL
        AND NOT EXISTS (SELECT 1 FROM entries WHERE run = runs.id AND finished_at IS NULL)""",
        (now, CRASHED, run),
    )


def _state(seen: str | None, desired: str, before: str) -> AttemptState:
    if seen == desired:
        return AttemptState.VERIFIED
    return AttemptState.LOST if seen == before else AttemptState.CONFLICT


def _remember(
    connection: sqlite3.Connection, key: str, run: str, statuses: Iterable[tuple[str, str | None]], now: str
) -> None:
    connection.executemany(
        "INSERT OR REPLACE INTO written VALUES (?, ?, ?, ?, ?)",
        ((key, phone, status, run, now) for phone, status in statuses),
    )


def _written(connection: sqlite3.Connection, key: str) -> dict[str, Status]:
    rows = connection.execute("SELECT phone, status FROM written WHERE key = ?", (key,))
    return {phone: Status(status) for phone, status in rows}


def _names(connection: sqlite3.Connection, key: str) -> dict[str, CredentialsRef | None]:
    # of the columns that are not grouped SQLite gives those of the row with the maximum
    rows = connection.execute(
        "SELECT account, credentials, max(id) FROM entries WHERE key = ? GROUP BY account", (key,)
    )
    return {account: credentials_of(credentials) for account, credentials, _ in rows}


def _settled(entry: str) -> str:
    return f"NOT EXISTS (SELECT 1 FROM attempts WHERE entry = {entry} AND state IN ({_OPEN}))"


def _columns(error: NumberError | ErrorInfo | None) -> tuple[str | None, str | None, str | None]:
    """Return an error's code, its message in English, and the parts of that message as JSON if it has any."""
    return (None, None, None) if error is None else (_text(error.code), _text(error.message), _parts(error.message))


def _parts(text: str) -> str | None:
    return _json(encodable(parts(text))) if isinstance(text, Message) else None


def _text(foreign: str | None) -> str | None:
    """Return a foreign text as SQLite can store it: without lone surrogates and NUL characters."""
    return None if foreign is None else encodable(foreign).replace("\0", "\ufffd")


def _json(value: object) -> str:
    return msgspec.json.encode(value, enc_hook=english).decode()
