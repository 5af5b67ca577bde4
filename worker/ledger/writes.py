"""SQL statements of a run on the ledger. Every function runs inside a transaction that its caller commits."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Final

import msgspec

from worker.ledger.database import Connection, Intent
from worker.ledger.records import CRASHED, OPEN, AttemptState, RunInfo, Subject, credentials_of
from worker.model.accounts import AccountMemory, Observed, PlanFile, PlanFileUse, Status
from worker.model.credentials import CredentialsRef
from worker.model.errors import ErrorInfo, NumberError
from worker.model.messages import Message, english, to_parts
from worker.model.plans import AccountPlan
from worker.model.results import AccountResult, Outcome, RunOutcome
from worker.model.times import format_utc_ms
from worker.render.json_document import encodable

__all__ = [
    "REGISTERED_VERSION",
    "add_entry",
    "add_run",
    "earlier_run",
    "finish_entry",
    "finish_run",
    "intend",
    "recall",
    "record_responses",
    "settle",
    "storable",
]

_OPEN: Final = ", ".join(f"'{state}'" for state in OPEN)

_INTEND: Final = f"""
    INSERT INTO attempts (entry, phone, number, asked, state, intended_at)
    SELECT CAST(json_extract(value, '$[0]') AS BIGINT), json_extract(value, '$[1]'),
        CAST(json_extract(value, '$[2]') AS BIGINT), json_extract(value, '$[3]'), '{AttemptState.INTENT}', ?2
    FROM json_each(?1)
"""
"""SQL that inserts all rows in one statement, because each statement waits for the interpreter's lock once."""

_ANSWER: Final = """
    UPDATE attempts SET state = response.state, answered_at = ?2, http_status = response.http_status,
        error_code = response.error_code, error_message = response.error_message, error_parts = response.error_parts
    FROM (
        SELECT CAST(json_extract(value, '$[0]') AS BIGINT) AS entry, json_extract(value, '$[1]') AS phone,
            CAST(json_extract(value, '$[2]') AS BIGINT) AS number, json_extract(value, '$[3]') AS state,
            CAST(json_extract(value, '$[4]') AS BIGINT) AS http_status, json_extract(value, '$[5]') AS error_code,
            json_extract(value, '$[6]') AS error_message, json_extract(value, '$[7]') AS error_parts
        FROM json_each(?1)
    ) AS response
    WHERE attempts.entry = response.entry AND attempts.phone = response.phone AND attempts.number = response.number
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
        CAST(json_extract(value, '$[6]') AS BIGINT), CAST(json_extract(value, '$[7]') AS BIGINT),
        CAST(json_extract(value, '$[8]') AS BIGINT), json_extract(value, '$[9]'), json_extract(value, '$[10]'),
        json_extract(value, '$[11]')
    FROM json_each(?1) WHERE true
    ON CONFLICT (entry, phone) DO UPDATE SET after = excluded.after, outcome = excluded.outcome,
        attempts = excluded.attempts, duration_ms = excluded.duration_ms, http_status = excluded.http_status,
        error_code = excluded.error_code, error_message = excluded.error_message, error_parts = excluded.error_parts
"""

_CHANGED: Final = f"""
    INSERT INTO outcomes (entry, phone, attempts, duration_ms)
    SELECT ?2, json_extract(value, '$[0]'), CAST(json_extract(value, '$[1]') AS BIGINT),
        CAST(json_extract(value, '$[2]') AS BIGINT)
    FROM json_each(?1) WHERE true
    ON CONFLICT (entry, phone) DO UPDATE SET after = outcomes.desired, outcome = '{Outcome.CHANGED}',
        attempts = excluded.attempts, duration_ms = excluded.duration_ms
"""
"""SQL of the outcome `changed`, the most frequent one. It takes half the time of `_OTHERS`, with fewer columns."""

_REPLACE: Final = (
    "ON CONFLICT (key, phone) DO UPDATE SET status = excluded.status, run = excluded.run, at = excluded.at"
)

_RUN_OF_PLAN: Final = f"""
    SELECT id, started_at FROM runs WHERE plan = ?1 AND id <> ?2 AND (
        outcome = '{RunOutcome.CONVERGED}'
        OR EXISTS (SELECT 1 FROM entries JOIN attempts ON entry = entries.id WHERE run = runs.id)
    ) ORDER BY started_at LIMIT 1
"""

_SPENT: Final = f"""
    SELECT DISTINCT phone FROM attempts
    WHERE asked = '{Status.INACTIVE}' AND state <> '{AttemptState.REJECTED}' AND entry IN (
        SELECT id FROM entries WHERE key = ?1 AND id > coalesce((
            SELECT id FROM entries AS ended WHERE key = ?1 AND (outcome = '{RunOutcome.CONVERGED}'
                OR outcome <> '{CRASHED}' AND EXISTS (SELECT 1 FROM attempts WHERE entry = ended.id))
            ORDER BY id DESC LIMIT 1
        ), 0)
    )
"""
"""SQL of the deactivations that crashed runs sent since the last run of the account that ended.

A write that a read settled as lost counts: it may have arrived later.
"""

_LATER_WRITE: Final = f"""
    SELECT run, CASE WHEN intended_at >= ?3 THEN intended_at ELSE sent_by END AS at FROM (
        SELECT run, entry, answered_at, intended_at, coalesce(answered_at, CASE WHEN entries.outcome <> '{CRASHED}'
            THEN finished_at END, intended_at) AS sent_by
        FROM entries JOIN attempts ON entry = entries.id
        WHERE key = ?1 AND run <> ?2 AND (finished_at IS NULL OR finished_at >= ?3)
            AND phone IN (SELECT json_extract(value, '$[0]') FROM json_each(?4))
    ) AS requests
    WHERE sent_by >= ?3 OR answered_at IS NULL AND EXISTS (
        SELECT 1 FROM attempts AS other WHERE other.entry = requests.entry
            AND coalesce(other.answered_at, other.intended_at) >= ?3)
    ORDER BY 2 DESC LIMIT 1
"""
"""SQL of the last write that may have been sent after a time.

Intents are recorded before their requests are sent, so an older intent counts if its request may have waited: until the
response, the end of the run's writes, or the last sign of a run that crashed.
"""

REGISTERED_VERSION: Final = 5
"""The first version of the schema with the table `registered`."""

_LOST: Final = NumberError(
    "Crashed", Message("the run ended before the response to this write, and the number still has its old status")
)
_CONFLICT: Final = NumberError(
    "Conflict", Message("the run ended before this write was verified, and the number has another status now")
)
_NOT_ATTEMPTED: Final = NumberError("Crashed", Message("the run ended before this number was written"))


def intend(connection: Connection, rows: Sequence[Intent], now: str) -> None:
    """Record requests before they are sent. A row is the entry, phone, attempt number and requested status."""
    connection.execute(_INTEND, (msgspec.json.encode(rows).decode(), now))


def record_responses(
    connection: Connection,
    rows: list[tuple[int, str, int, AttemptState, int | None, str | None, str | None]],
    now: str,
) -> None:
    """Record the results of requests.

    A row is the entry, phone, attempt number, state, HTTP status, error code and error message.
    """
    encoded = [
        row if row[6] is None else (*row[:5], storable(row[5]), storable(row[6]), _parts(row[6])) for row in rows
    ]
    connection.execute(_ANSWER, (msgspec.json.encode(encoded).decode(), now))


def add_run(connection: Connection, run: RunInfo) -> None:
    """Record the start of a run."""
    connection.execute(
        """INSERT INTO runs (id, command, started_by, host, pid, version, settings, started_at, plan)
            VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)""",
        (
            run.id,
            run.command,
            storable(run.started_by),
            storable(run.host),
            run.pid,
            run.version,
            run.settings,
            run.started_at,
            storable(run.plan),
        ),
    )


def finish_run(connection: Connection, run: str, outcome: str, now: str) -> None:
    """Record the end of a run and its outcome."""
    connection.execute("UPDATE runs SET finished_at = ?, outcome = ? WHERE id = ?", (now, outcome, run))


def earlier_run(
    connection: Connection, run: str, key: str, plan: PlanFile, *, phones: Collection[str]
) -> PlanFileUse | None:
    """Return the run other than `run` that used up a plan file; None without such a run.

    A run of the plan file counts if it recorded a write or converged. A run without the plan file counts if it may have
    sent a write of any of `phones`, the numbers of the plan, after the plan was created.
    """
    applied_run = connection.execute(_RUN_OF_PLAN, (storable(plan.id), run)).fetchone()
    if applied_run is not None:
        earlier, started_at = applied_run
        return PlanFileUse(earlier, started_at, was_applied=True)
    since = format_utc_ms(datetime.fromisoformat(plan.created_at))
    rows = [(phone,) for phone in sorted(phones)]
    later_write = connection.execute(_LATER_WRITE, (key, run, since, _json(rows))).fetchone()
    if later_write is None:
        return None
    later_run, at = later_write
    return PlanFileUse(later_run, at, was_applied=False)


def add_entry(
    connection: Connection, run: str, subject: Subject, plan: AccountPlan, *, fingerprint: str, now: str
) -> int:
    """Record the plan of an account in a run. Return the id of the entry."""
    connection.execute(
        """INSERT INTO entries (run, key, account, account_id, endpoint, credentials, safety, source, sha256, revision,
            fingerprint, started_at, counts, groups, in_use)
            VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)""",
        (
            run,
            subject.key,
            storable(subject.account),
            subject.account_id,
            subject.endpoint,
            None if subject.credentials is None else _json(subject.credentials),
            _json(subject.safety),
            storable(subject.source),
            subject.sha256,
            subject.commit,
            fingerprint,
            now,
            _json(plan.counts),
            _json(subject.groups),
            _json(subject.in_use),
        ),
    )
    # RETURNING needs SQLite 3.35
    (entry,) = connection.execute(
        "SELECT max(id) FROM entries WHERE key = ? AND run = ?", (subject.key, run)
    ).fetchone()
    rows = [(change.phone, change.action, change.desired, change.observed) for change in plan.writes]
    connection.execute(_PLANNED, (_json(rows), entry))
    return int(entry)


def finish_entry(
    connection: Connection, entry: int, result: AccountResult, confirmed: Mapping[str, Status], now: str
) -> None:
    """Record the result of an account: the outcome of its numbers, its settled attempts, and its last written statuses.

    `confirmed` maps each number that has its desired status, although a run last wrote the other, to that status.
    Unmanaged numbers, and those of an account that was never started, are only counted, because they would fill the
    ledger.
    """
    error = result.error
    (planned_count,) = connection.execute("SELECT count(*) FROM outcomes WHERE entry = ?", (entry,)).fetchone()
    only_counted = {Outcome.UNMANAGED} if planned_count else {Outcome.UNMANAGED, Outcome.NOT_ATTEMPTED}
    changed_rows = [
        (number.phone, number.attempts, number.duration_ms)
        for number in result.numbers
        if planned_count and number.outcome is Outcome.CHANGED
    ]
    other_rows = [
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
        if not (planned_count and number.outcome is Outcome.CHANGED) and number.outcome not in only_counted
    ]
    connection.execute(_CHANGED, (_json(changed_rows), entry))
    connection.execute(_OTHERS, (_json(other_rows), entry))
    if len(changed_rows) < planned_count:
        _close_unsent(connection, entry)
    _close_attempts(connection, entry)
    run, key = connection.execute("SELECT run, key FROM entries WHERE id = ?", (entry,)).fetchone()
    connection.execute(
        f"INSERT INTO written SELECT ?, phone, desired, ?, ? FROM outcomes WHERE entry = ? AND outcome = ? {_REPLACE}",
        (key, run, now, entry, Outcome.CHANGED),
    )
    if confirmed:
        statuses = _last_written(connection, key)
        new_statuses = ((phone, status) for phone, status in confirmed.items() if statuses.get(phone) != status)
        _remember(connection, key, run, new_statuses, now)
    connection.execute(
        f"""UPDATE entries SET finished_at = ?, outcome = ?, error_code = ?, error_message = ?, error_parts = ?,
            counts = ?, reads = ?, writes = ?, retries = ?, settled = {_is_settled_sql("entries.id")} WHERE id = ?""",
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


def settle(connection: Connection, key: str, observed: Mapping[str, Observed], now: str) -> None:
    """Close the open entries of earlier runs of an account, using the observed statuses of its numbers.

    The caller has the lease of the account, so an entry without an end belongs to a run that crashed.
    """
    open_entries = connection.execute(
        "SELECT id, run, finished_at IS NULL FROM entries WHERE key = ? AND NOT settled ORDER BY id", (key,)
    ).fetchall()
    for entry, run, crashed in open_entries:
        rows = connection.execute(
            "SELECT phone, desired, before FROM outcomes WHERE entry = ?1 AND phone IN "
            f"(SELECT phone FROM attempts WHERE entry = ?1 AND state IN ({_OPEN}))",
            (entry,),
        ).fetchall()
        verified = []
        for phone, desired, before in rows:
            number = observed.get(phone)
            status = None if number is None else number.status
            state = _state(status, desired, before)
            connection.execute(
                f"UPDATE attempts SET state = ? WHERE entry = ? AND phone = ? AND state IN ({_OPEN})",
                (state, entry, phone),
            )
            if state is AttemptState.VERIFIED:
                verified.append((phone, desired))
            if crashed:
                _close_number(connection, entry, phone, state, status)
        _remember(connection, key, run, verified, now)
        if crashed:
            _close_crashed(connection, entry, run, observed, now)
        connection.execute("UPDATE entries SET settled = true WHERE id = ?", (entry,))


def recall(connection: Connection, key: str) -> AccountMemory:
    """Return the memory of an account, see `AccountMemory`."""
    spent_phones = frozenset(phone for (phone,) in connection.execute(_SPENT, (key,)))
    (open_count,) = connection.execute(
        "SELECT EXISTS (SELECT 1 FROM entries WHERE key = ? AND NOT settled)", (key,)
    ).fetchone()
    return AccountMemory(
        _last_written(connection, key),
        spent_phones,
        bool(open_count),
        registered(connection, key),
        _names(connection, key),
    )


def registered(connection: Connection, key: str) -> int | None:
    """Return the count of registered numbers of an account in the last run; None if no run recorded it."""
    (version,) = connection.execute("SELECT max(version) FROM migrations").fetchone()
    # an older ledger that is only read has no such table
    has_table = version >= REGISTERED_VERSION
    row = connection.execute("SELECT numbers FROM registered WHERE key = ?", (key,)).fetchone() if has_table else None
    return None if row is None else int(row[0])


def note_registered(connection: Connection, key: str, numbers: int, run: str, now: str) -> None:
    """Record the count of registered numbers of an account, unless the ledger already has that count."""
    connection.execute(
        """INSERT INTO registered VALUES (?, ?, ?, ?) ON CONFLICT (key) DO UPDATE
        SET numbers = excluded.numbers, run = excluded.run, at = excluded.at
        WHERE registered.numbers <> excluded.numbers""",
        (key, numbers, run, now),
    )


def _close_unsent(connection: Connection, entry: int) -> None:
    """Delete the intents of requests that were not sent, and give each planned number its outcome."""
    # intents are recorded in advance, several in one transaction
    connection.execute(
        "DELETE FROM attempts WHERE entry = ?1 AND state = ?2 AND number > "
        "(SELECT attempts FROM outcomes AS result WHERE result.entry = ?1 AND result.phone = attempts.phone)",
        (entry, AttemptState.INTENT),
    )
    # a result does not list unchanged numbers, and a number with a planned write can be one of them
    connection.execute(
        """UPDATE outcomes SET after = desired, outcome = ?1, attempts =
            (SELECT count(*) FROM attempts WHERE entry = outcomes.entry AND phone = outcomes.phone)
        WHERE entry = ?2 AND outcome IS NULL""",
        (Outcome.UNCHANGED, entry),
    )


def _close_attempts(connection: Connection, entry: int) -> None:
    """Settle the open attempts whose effect the verification read shows.

    If a number has a later open attempt, the earlier one is lost: a write is retried only after a read showed the old
    status.
    """
    connection.execute(
        f"""UPDATE attempts SET state = CASE
            WHEN result.attempts > 1 AND EXISTS (SELECT 1 FROM attempts AS later WHERE later.entry = attempts.entry
                AND later.phone = attempts.phone AND later.number > attempts.number AND later.state IN ({_OPEN}))
            THEN '{AttemptState.LOST}'
            WHEN result.outcome = '{Outcome.CHANGED}' THEN '{AttemptState.VERIFIED}'
            WHEN result.outcome = '{Outcome.CONFLICT}' THEN '{AttemptState.CONFLICT}' ELSE '{AttemptState.LOST}' END
        FROM outcomes AS result WHERE attempts.entry = ? AND attempts.state IN ({_OPEN})
            AND result.entry = attempts.entry AND result.phone = attempts.phone
            AND (result.outcome IN ('{Outcome.CHANGED}', '{Outcome.CONFLICT}') OR result.after = result.before)""",
        (entry,),
    )


def _close_number(connection: Connection, entry: int, phone: str, state: AttemptState, status: str | None) -> None:
    outcome, error = {
        AttemptState.VERIFIED: (Outcome.CHANGED, None),
        AttemptState.CONFLICT: (Outcome.CONFLICT, _CONFLICT),
    }.get(state, (Outcome.FAILED, _LOST))
    connection.execute(
        """UPDATE outcomes SET outcome = ?1, after = ?2, error_code = ?3, error_message = ?4, error_parts = ?5,
            attempts = (SELECT count(*) FROM attempts WHERE entry = ?6 AND phone = ?7)
        WHERE entry = ?6 AND phone = ?7""",
        (outcome, status, *_columns(error), entry, phone),
    )


def _close_crashed(connection: Connection, entry: int, run: str, observed: Mapping[str, Observed], now: str) -> None:
    """Close the entry of a crashed run: record the outcomes of refused and unsent writes.

    If the run has no other open entry, record its end as well.
    """
    attempts = connection.execute(
        """SELECT phone, asked, number, http_status, error_code, error_message, error_parts FROM attempts
        WHERE entry = ?1 AND phone IN (SELECT phone FROM outcomes WHERE entry = ?1 AND outcome IS NULL)
            AND number = (SELECT max(number) FROM attempts AS last WHERE entry = ?1 AND last.phone = attempts.phone)
        ORDER BY phone""",
        (entry,),
    ).fetchall()
    statuses = {phone: number.status for phone, *_ in attempts if (number := observed.get(phone)) is not None}
    connection.executemany(
        """UPDATE outcomes SET outcome = ?, after = ?, attempts = ?, http_status = ?, error_code = ?, error_message = ?,
            error_parts = ? WHERE entry = ? AND phone = ?""",
        (
            # a refused status that is observed all the same was set elsewhere
            (
                Outcome.UNCHANGED if statuses.get(phone) == requested else Outcome.FAILED,
                statuses.get(phone),
                *rest,
                entry,
                phone,
            )
            for phone, requested, *rest in attempts
        ),
    )
    connection.execute(
        """UPDATE outcomes SET outcome = ?, after = before, error_code = ?, error_message = ?, error_parts = ?
        WHERE entry = ? AND outcome IS NULL""",
        (Outcome.NOT_ATTEMPTED, *_columns(_NOT_ATTEMPTED), entry),
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


def _state(status: str | None, desired: str, before: str) -> AttemptState:
    if status == desired:
        return AttemptState.VERIFIED
    return AttemptState.LOST if status == before else AttemptState.CONFLICT


def _remember(connection: Connection, key: str, run: str, statuses: Iterable[tuple[str, str | None]], now: str) -> None:
    connection.executemany(
        f"INSERT INTO written VALUES (?, ?, ?, ?, ?) {_REPLACE}",
        ((key, phone, status, run, now) for phone, status in statuses),
    )


def _last_written(connection: Connection, key: str) -> dict[str, Status]:
    rows = connection.execute("SELECT phone, status FROM written WHERE key = ?", (key,))
    return {phone: Status(status) for phone, status in rows}


def _names(connection: Connection, key: str) -> dict[str, CredentialsRef | None]:
    rows = connection.execute(
        "SELECT account, credentials FROM entries WHERE id IN "
        "(SELECT max(id) FROM entries WHERE key = ? GROUP BY account)",
        (key,),
    )
    return {account: credentials_of(credentials) for account, credentials in rows}


def _is_settled_sql(entry: str) -> str:
    return f"NOT EXISTS (SELECT 1 FROM attempts WHERE entry = {entry} AND state IN ({_OPEN}))"


def _columns(error: NumberError | ErrorInfo | None) -> tuple[str | None, str | None, str | None]:
    """Return the columns of an error: its code, its English text, and the parts of its message as JSON or None."""
    return (
        (None, None, None) if error is None else (storable(error.code), storable(error.message), _parts(error.message))
    )


def _parts(text: str) -> str | None:
    return _json(encodable(to_parts(text))) if isinstance(text, Message) else None


def storable(foreign: str | None) -> str | None:
    """Return a text that SQLite can store, with its lone surrogates and NUL characters replaced."""
    return None if foreign is None else encodable(foreign).replace("\0", "\ufffd")


def _json(value: object) -> str:
    return msgspec.json.encode(value, enc_hook=english).decode()
