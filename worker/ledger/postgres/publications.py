"""The published desired state of a fleet: its revisions, and what operators do with them."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Final

from msgspec import Struct

from worker import __version__
from worker.config.desired.canonical import FORMAT
from worker.ledger.database import Connection, transaction
from worker.ledger.history import rows
from worker.ledger.writes import storable
from worker.model.errors import UsageError
from worker.model.fleet import (
    LANES,
    Budget,
    Canary,
    FleetStatus,
    FleetWorkerStatus,
    LaneCounts,
    Queue,
    Revision,
    RevisionState,
)
from worker.model.messages import Message
from worker.model.times import format_utc_ms
from worker.plan.safety import fleet_limit

__all__ = [
    "CHANGED",
    "Comparison",
    "NewRevision",
    "PublishedAccount",
    "is_published",
    "lock_rows",
    "pause",
    "publish",
    "resume",
    "status",
]

CHANGED: Final = 10
"""The priority of an account whose desired state changed. `worker.ledger.postgres.agenda` has the other priorities."""
_PUBLISHING: Final = 0x53454E45
"""The key of the advisory lock that lets one process publish at a time."""
_ROWS: Final = 0x53454E46
"""The key of the advisory lock on the rows of accounts: exclusive for a publication, shared for workers."""
_BLOCK: Final = 5000
"""Maximum count of accounts that one statement writes."""
_SHOWN: Final = 10
"""Maximum count of accounts that a status names."""

_UPSERT: Final = f"""
    INSERT INTO accounts (name, lane, document, sha256, commit, revision, is_canary, due_at, priority)
    SELECT fresh.*, ?6, false, clock_timestamp(), {CHANGED}
    FROM unnest(CAST(?1 AS TEXT[]), CAST(?2 AS INTEGER[]), CAST(?3 AS BYTEA[]), CAST(?4 AS TEXT[]), CAST(?5 AS TEXT[]))
        AS fresh
    ON CONFLICT (name) DO UPDATE SET document = excluded.document, sha256 = excluded.sha256, commit = excluded.commit,
        revision = excluded.revision, is_canary = false, due_at = excluded.due_at, priority = excluded.priority,
        failures = 0, crashes = 0, moves = 0
"""
"""SQL of new and changed accounts. The lane of a changed one stays: a worker corrects it if the API key is another.

The failures and crashes of its former documents do not count for the new ones.
"""
_ADD_REVISION: Final = """
    INSERT INTO revisions (published_by, host, commit, format, accounts, numbers, changed, removed, canary, max_failed,
        state, is_paused, paused_by, reason, fleet_wide)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, 0, ?9, ?10, ?11, ?12, ?13, ?14) RETURNING revision
"""
_FAILED_CANARY: Final = """
    SELECT name FROM accounts JOIN revisions USING (revision)
    WHERE is_canary AND failed > 0 AND is_paused AND settled = revision
        AND revision = (SELECT max(revision) FROM revisions) ORDER BY name
"""
_KEEP_COUNTS: Final = """
    UPDATE revisions SET activations = former.activations, deactivations = former.deactivations,
        counted_since = former.counted_since
    FROM revisions AS former
    WHERE revisions.revision = ?1 AND former.revision = ?2 AND former.fleet_wide IS NOT NULL
"""
"""SQL that continues the interval of the former revision, so that frequent publications do not exceed fleet-wide."""
_REVISION: Final = "SELECT * FROM revisions ORDER BY revision DESC LIMIT 1"
_WAITING_CANARY: Final = f"""
    SELECT count(*), (array_agg(name ORDER BY name) FILTER (WHERE is_held))[:{_SHOWN}]
    FROM accounts WHERE revision = ?1 AND is_canary AND settled IS DISTINCT FROM revision
"""
_QUEUE: Final = """
    SELECT count(*) FILTER (WHERE is_due),
        coalesce(extract(epoch FROM clock_timestamp() - min(due_at) FILTER (WHERE is_due)), 0)::float8, count(worker),
        count(*) FILTER (WHERE settled IS DISTINCT FROM revision), count(*) FILTER (WHERE failures > 0),
        count(*) FILTER (WHERE crashes > 0), count(*) FILTER (WHERE is_held)
    FROM accounts, LATERAL (SELECT worker IS NULL AND due_at <= clock_timestamp() AS is_due) AS due
"""
_WORKERS: Final = """
    SELECT worker, host, pid, run, started_at, (SELECT count(*) FROM leases WHERE leases.worker = workers.worker
        AND name LIKE 'lane %'), accounts, is_draining, until > clock_timestamp()
    FROM workers WHERE is_fleet ORDER BY worker
"""


class PublishedAccount(Struct, frozen=True):
    """One account of a revision.

    `document` is the canonical form of its documents, and `sha256` is the hash of `document`.
    """

    name: str
    lane: int
    document: bytes
    sha256: str
    commit: str | None


class NewRevision(Struct, frozen=True, kw_only=True):
    """A revision to publish. `fleet_wide` is the setting of that name; None for no limit.

    `canary` is how many changed accounts are written first, and `max_failed` the setting of that name. The `suspended`
    accounts become part of the canary only if there are too few others, because their writes may stay suspended for a
    long time. `files` identifies the files that describe the accounts, for `is_published`; None to read them again.
    """

    published_by: str
    host: str
    commit: str | None
    numbers: int
    canary: int
    max_failed: str
    fleet_wide: str | None
    accounts: Sequence[PublishedAccount]
    suspended: frozenset[str] = frozenset()
    files: str | None = None


class Comparison(Struct, frozen=True):
    """A new revision, compared with the current one.

    `documents_before` are the former documents of changed accounts by name. The others are counts of accounts.
    """

    documents_before: Mapping[str, bytes]
    removed: int
    accounts_before: int


def publish(connection: Connection, revision: NewRevision, review: Callable[[Comparison], None]) -> Revision | None:
    """Publish a revision in one transaction. Return it, or None if it does not differ from the current one.

    `review` raises an error to refuse the revision.

    Raises:
        LedgerError: the database cannot be written.
    """
    with transaction(connection):
        connection.execute("SELECT pg_advisory_xact_lock(?)", (_PUBLISHING,))
        before = dict(connection.execute("SELECT name, sha256 FROM accounts"))
        changed = [account for account in revision.accounts if before.get(account.name) != account.sha256]
        names = {account.name for account in revision.accounts}
        removed = [name for name in before if name not in names]
        if not changed and not removed and _current(connection) is not None:
            _note_files(connection, revision.files)
            return None
        documents_before = connection.execute(
            "SELECT name, document FROM accounts WHERE name = ANY(?)", ([account.name for account in changed],)
        )
        review(Comparison(dict(documents_before), len(removed), len(before)))
        lock_rows(connection, exclusive=True)
        failed = [name for (name,) in connection.execute(_FAILED_CANARY) if name in names]
        number = _add_revision(connection, revision, len(changed), len(removed))
        for start in range(0, len(changed), _BLOCK):
            block = changed[start : start + _BLOCK]
            columns = [[getattr(each, field) for each in block] for field in PublishedAccount.__struct_fields__]
            connection.execute(_UPSERT, (*columns, number))
        connection.execute("DELETE FROM accounts WHERE name = ANY(?)", (removed,))
        if len(changed) > _BLOCK:
            connection.execute("ANALYZE accounts")
        candidates = sorted((account.name for account in changed), key=revision.suspended.__contains__)
        _note_files(connection, revision.files)
        _choose_canary(connection, number, failed, candidates, revision.canary)
        return _current(connection)


def is_published(connection: Connection, files: str | None) -> bool:
    """Return True if the current revision was published from these files by this version, in this format."""
    row = connection.execute("SELECT files FROM revisions ORDER BY revision DESC LIMIT 1").fetchone()
    return row is not None and files is not None and row[0] == _of_version(files)


def _of_version(files: str) -> str:
    return f"{__version__} {FORMAT} {files}"


def _note_files(connection: Connection, files: str | None) -> None:
    """Record the files that the current revision describes."""
    connection.execute(
        "UPDATE revisions SET files = ? WHERE revision = (SELECT max(revision) FROM revisions)",
        (None if files is None else _of_version(files),),
    )


def pause(connection: Connection, by: str, reason: str | None) -> None:
    """Let workers read the accounts and write none, until `resume`, also those of later revisions.

    Raises:
        UsageError: nothing is published, or the fleet is already paused.
    """
    with transaction(connection):
        current = _require_current(connection)
        if current.paused and current.paused_by is not None:
            raise UsageError(Message("the fleet is already paused by {user}", user=current.paused_by))
        connection.execute(
            "UPDATE revisions SET is_paused = true, paused_by = ?, reason = ? WHERE revision = ?",
            (storable(by), storable(reason), current.revision),
        )


def resume(connection: Connection, *, allow_fleet_wide: bool) -> None:
    """Let workers write again, and let them start with the changes that the pause delayed.

    `allow_fleet_wide` lifts the limit `fleet-wide` of the current revision.

    Raises:
        UsageError: nothing is published, or the fleet is not paused.
    """
    with transaction(connection):
        current = _require_current(connection)
        if not current.paused:
            raise UsageError(Message("the fleet is not paused"))
        lock_rows(connection, exclusive=True)
        connection.execute(
            "UPDATE revisions SET is_paused = false, paused_by = NULL, reason = NULL, activations = 0, "
            "deactivations = 0, counted_since = clock_timestamp() WHERE revision = ?",
            (current.revision,),
        )
        if allow_fleet_wide:
            connection.execute("UPDATE revisions SET fleet_wide = NULL WHERE revision = ?", (current.revision,))
        connection.execute(
            "UPDATE accounts SET due_at = clock_timestamp(), priority = ?, is_held = false WHERE is_held", (CHANGED,)
        )


def status(connection: Connection, now: datetime) -> FleetStatus:
    """Return the status of the fleet at `now`, an aware time."""
    queue = Queue(*connection.execute(_QUEUE).fetchone())
    leased, wanted = connection.execute(
        "SELECT (SELECT count(*) FROM leases WHERE name LIKE 'lane %'), "
        "(SELECT count(*) FROM lanes WHERE wanted_until > clock_timestamp())"
    ).fetchone()
    revision = _current(connection)
    canary = None
    if revision is not None and revision.state is RevisionState.CANARY:
        waiting, names = connection.execute(_WAITING_CANARY, (revision.revision,)).fetchone()
        canary = Canary(waiting, tuple(names or ()))
    return FleetStatus(
        at=format_utc_ms(now),
        revision=revision,
        canary=canary,
        queue=queue,
        lanes=LaneCounts(LANES, leased, wanted),
        workers=tuple(FleetWorkerStatus(*row) for row in connection.execute(_WORKERS)),
    )


def lock_rows(connection: Connection, *, exclusive: bool = False, is_durable: bool = True) -> None:
    """Take the advisory lock of the rows of accounts until the transaction ends: exclusive or shared.

    A publication takes it exclusively, and workers share it. Otherwise they could deadlock, because they change the
    rows in different orders. Without `is_durable`, a crash of the server may undo the transaction after its commit.
    """
    function = "pg_advisory_xact_lock" if exclusive else "pg_advisory_xact_lock_shared"
    commit = "" if is_durable else ", set_config('synchronous_commit', 'off', true)"
    connection.execute(f"SELECT {function}(?){commit}", (_ROWS,))


def _add_revision(connection: Connection, revision: NewRevision, changed: int, removed: int) -> int:
    current = _current(connection)
    # the pause of an operator outlasts a revision, the one of a safety rule does not
    paused_by, reason = (None, None) if current is None else (current.paused_by, current.reason)
    row = connection.execute(
        _ADD_REVISION,
        (
            revision.published_by,
            revision.host,
            revision.commit,
            FORMAT,
            len(revision.accounts),
            revision.numbers,
            changed,
            removed,
            revision.max_failed,
            RevisionState.ROLLING,
            paused_by is not None,
            paused_by,
            None if paused_by is None else reason,
            revision.fleet_wide,
        ),
    ).fetchone()
    number = int(row[0])
    if current is not None:
        connection.execute(_KEEP_COUNTS, (number, current.revision))
    return number


def _choose_canary(
    connection: Connection, number: int, failed_names: Sequence[str], changed_names: Sequence[str], count: int
) -> None:
    """Make the first changed accounts the canary, if others follow them.

    Accounts that no worker reconciled since their last change belong to the new revision too, so that they follow its
    canary. If the canary of the former revision failed, the accounts of `failed_names` are part of the new canary.
    """
    if count:
        connection.execute(
            "UPDATE accounts SET revision = ?, due_at = clock_timestamp(), priority = ? WHERE name = ANY(?)",
            (number, CHANGED, failed_names),
        )
    connection.execute(
        "UPDATE accounts SET revision = ?, is_canary = false WHERE revision <> ? AND settled IS DISTINCT FROM revision",
        (number, number),
    )
    (total,) = connection.execute("SELECT count(*) FROM accounts WHERE revision = ?", (number,)).fetchone()
    canary_names = list(dict.fromkeys([*failed_names, *changed_names[:count]]))
    if not count or total <= max(count, len(canary_names)):
        return
    if len(canary_names) < count:
        further_names = connection.execute(
            "SELECT name FROM accounts WHERE revision = ? AND NOT name = ANY(?) ORDER BY name LIMIT ?",
            (number, canary_names, count - len(canary_names)),
        )
        canary_names += (name for (name,) in further_names)
    canary = connection.execute("UPDATE accounts SET is_canary = true WHERE name = ANY(?)", (canary_names,)).rowcount
    connection.execute(
        "UPDATE revisions SET state = ?, canary = ? WHERE revision = ?", (RevisionState.CANARY, canary, number)
    )


def _require_current(connection: Connection) -> Revision:
    connection.execute("SELECT pg_advisory_xact_lock(?)", (_PUBLISHING,))
    current = _current(connection)
    if current is None:
        raise UsageError(Message("no revision is published yet: run `senderid fleet publish`"))
    return current


def _current(connection: Connection) -> Revision | None:
    fields = next(rows(connection.execute(_REVISION)), None)
    if fields is None:
        return None
    setting = fields["fleet_wide"]
    return Revision(
        revision=fields["revision"],
        published_at=format_utc_ms(fields["published_at"]),
        published_by=fields["published_by"],
        host=fields["host"],
        commit=fields["commit"],
        accounts=fields["accounts"],
        numbers=fields["numbers"],
        changed=fields["changed"],
        removed=fields["removed"],
        canary=fields["canary"],
        state=RevisionState(fields["state"]),
        paused=fields["is_paused"],
        paused_by=fields["paused_by"],
        reason=fields["reason"],
        budget=Budget(
            None if setting is None else fleet_limit(setting, fields["numbers"]),
            fields["activations"],
            fields["deactivations"],
        ),
    )
