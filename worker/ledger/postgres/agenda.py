"""The agenda of a fleet's worker: its lanes, and the accounts in them that are due.

Lanes are shared evenly between the live workers. A worker keeps its lanes until it ends, until there are more workers,
or until another run wants one.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Final

from msgspec import Struct

from worker.config.desired.canonical import FORMAT
from worker.config.settings import resolve_limit
from worker.ledger.database import Connection, transaction
from worker.ledger.postgres.leases import PostgresLeases, lane_name
from worker.ledger.postgres.memories import recall_all
from worker.ledger.postgres.publications import CHANGED, lock_rows
from worker.model.accounts import AccountMemory
from worker.model.errors import LedgerError
from worker.model.fleet import LANES, RevisionState
from worker.model.messages import Message
from worker.model.plans import Action
from worker.model.ports import UsedSlots
from worker.plan.safety import fleet_refusals

__all__ = [
    "CHANGED",
    "CRASHED",
    "ROUTINE",
    "Agenda",
    "Balance",
    "DueAccount",
    "Pause",
    "Reconciled",
    "RevisionInForce",
    "Slice",
    "give_up",
]

ROUTINE: Final = 0
"""The priority of an account whose next pass is due."""
CRASHED: Final = -10
"""The priority of an account that was in progress when a worker died."""
_SUSPECT_CRASHES: Final = 2
"""Count of crashes after which an account may be their cause. A worker reads one such account at a time."""
_LAST_SECONDS: Final = 30.0
"""Time in seconds for which accounts that were in progress when a worker died let other due accounts go first."""

_LIVE_WORKERS: Final = "SELECT count(*) FROM workers WHERE is_fleet AND NOT is_draining AND until > clock_timestamp()"
_REMOVE_DEAD: Final = """
    DELETE FROM workers WHERE worker IN
        (SELECT worker FROM workers WHERE until + grace < clock_timestamp() FOR UPDATE SKIP LOCKED)
    RETURNING (SELECT count(*) FROM leases WHERE leases.worker = workers.worker AND name LIKE 'lane %')
"""
"""SQL that removes workers that died. It returns how many lanes each had."""
_REQUEUE: Final = f"""
    UPDATE accounts SET worker = NULL, crashes = crashes + 1, priority = {CRASHED},
        due_at = clock_timestamp() + make_interval(secs => CASE WHEN crashes = 0 THEN 0
            ELSE least(?1, ?2 * 2 ^ least(crashes - 1, 20)) END)
    WHERE worker IS NOT NULL AND NOT EXISTS (SELECT 1 FROM workers WHERE workers.worker = accounts.worker)
"""
_FREE_LANES: Final = """
    SELECT lane FROM unnest(CAST(?1 AS TEXT[])) AS lane
    WHERE NOT EXISTS (SELECT 1 FROM leases WHERE leases.name = lane)
        AND NOT EXISTS (SELECT 1 FROM lanes WHERE lanes.name = lane
            AND (wanted_until > clock_timestamp() OR free_at > clock_timestamp()))
    ORDER BY random() LIMIT ?2
"""
_TAKE_DUE: Final = f"""
    WITH due AS (
        SELECT due.name FROM unnest(CAST(?4 AS SMALLINT[])) AS class (priority), LATERAL (
            SELECT name, due_at FROM accounts
            WHERE accounts.priority = class.priority AND worker IS NULL
                AND due_at <= statement_timestamp() - make_interval(secs => ?8)
                AND lane = ANY(?2) AND (crashes >= {_SUSPECT_CRASHES}) = ?5 AND (revision <> ?6 OR is_canary)
            ORDER BY due_at LIMIT ?3 FOR UPDATE SKIP LOCKED
        ) AS due ORDER BY CASE WHEN class.priority < {ROUTINE}
            AND due_at < statement_timestamp() - make_interval(secs => ?7) THEN {ROUTINE} ELSE class.priority END DESC,
            due.due_at LIMIT ?3
    )
    UPDATE accounts SET worker = ?1 FROM due WHERE accounts.name = due.name
        AND EXISTS (SELECT 1 FROM workers WHERE worker = ?1 AND until > clock_timestamp())
    RETURNING accounts.name, lane, document, commit, revision, is_canary, key, failures, priority, moves
"""
_FINISH: Final = f"""
    UPDATE accounts SET worker = NULL, crashes = 0, moves = 0, failures = done.failures, is_held = done.is_held,
        key = coalesce(done.key, accounts.key),
        due_at = CASE WHEN accounts.revision = done.revision
            THEN clock_timestamp() + make_interval(secs => done.seconds) ELSE accounts.due_at END,
        priority = CASE WHEN accounts.revision = done.revision THEN done.priority ELSE {CHANGED} END,
        settled = CASE WHEN done.is_settled THEN done.revision ELSE settled END,
        planned = CASE WHEN done.is_settled THEN done.planned ELSE accounts.planned END,
        failed = CASE WHEN done.is_settled THEN done.failed ELSE accounts.failed END
    FROM unnest(CAST(?2 AS TEXT[]), CAST(?3 AS BIGINT[]), CAST(?4 AS FLOAT8[]), CAST(?5 AS SMALLINT[]),
        CAST(?6 AS INTEGER[]), CAST(?7 AS TEXT[]), CAST(?8 AS BOOLEAN[]), CAST(?9 AS BOOLEAN[]), CAST(?10 AS BIGINT[]),
        CAST(?11 AS BIGINT[]), CAST(?12 AS BIGINT[]), CAST(?13 AS BIGINT[])) AS done (name, revision, seconds, priority,
        failures, key, is_held, is_settled, planned, failed, unsent_activations, unsent_deactivations)
    WHERE accounts.name = done.name AND accounts.worker = ?1
    RETURNING accounts.name, unsent_activations, unsent_deactivations
"""
_RETURN_UNSENT: Final = """
    UPDATE revisions SET activations = activations - ?2, deactivations = deactivations - ?3
    WHERE revision = (SELECT max(revision) FROM revisions) AND counted_since = ?1
"""
"""SQL that counts writes no longer, unless their interval is over: then they do not count any more."""
_CANARY: Final = """
    SELECT count(*) FILTER (WHERE settled IS DISTINCT FROM revision), coalesce(sum(planned), 0)::bigint,
        coalesce(sum(failed), 0)::bigint
    FROM accounts WHERE revision = ?1 AND is_canary
"""
_QUEUE_LENGTH: Final = f"""
    SELECT count(*), coalesce(extract(epoch FROM clock_timestamp() - min(due_at)), 0)::float8, coalesce(extract(epoch
        FROM clock_timestamp() - min(due_at) FILTER (WHERE priority = {CHANGED})), 0)::float8
    FROM accounts WHERE worker IS NULL AND due_at <= statement_timestamp()
"""


class DueAccount(Struct, frozen=True):
    """An account that is due, as the current revision describes it.

    `document` is the canonical form of its documents. `key` is its key in the ledger; None if it was never read.
    `moves` counts its moves to other lanes since its last turn.
    """

    name: str
    lane: int
    document: bytes
    commit: str | None
    revision: int
    is_canary: bool
    key: str | None
    failures: int
    priority: int
    moves: int


class Reconciled(Struct, frozen=True, kw_only=True):
    """The end of an account's turn. Its fields are in the order of the parameters of `_FINISH`.

    `seconds` is the time until its next turn, and `priority` that of the turn. `is_held` is True if the account has
    changes that were not written, because of a pause, a suspension or a maintenance window.
    `is_settled` is True if the account was reconciled with `revision`. `planned` and `failed` are counts of writes, and
    so are `unsent_activations` and `unsent_deactivations`: those that were planned and certainly not sent.
    """

    name: str
    revision: int
    seconds: float
    priority: int = ROUTINE
    failures: int = 0
    key: str | None = None
    is_held: bool = False
    is_settled: bool = True
    planned: int = 0
    failed: int = 0
    unsent_activations: int = 0
    unsent_deactivations: int = 0


class Balance(Struct, frozen=True):
    """The lanes after they were shared between the workers.

    `lanes` is the count of the lanes of this worker, `workers` that of all live workers, and `taken_over` that of the
    lanes of dead workers. `idle` are further lanes of this worker, which `Agenda.release` hands over.
    """

    lanes: int
    workers: int
    taken_over: int
    idle: frozenset[str] = frozenset()


class QueueLength(Struct, frozen=True):
    """How many accounts are due and wait, and for how many seconds the oldest one and the oldest change have."""

    due: int
    oldest_seconds: float
    publish_lag_seconds: float


class RevisionInForce(Struct, frozen=True):
    """The current revision, as workers need it."""

    number: int
    state: RevisionState
    is_paused: bool


class Slice(Struct, frozen=True):
    """Accounts that a worker takes together, and the revision that was current then."""

    revision: RevisionInForce
    accounts: tuple[DueAccount, ...]


class Pause(Struct, frozen=True):
    """A pause that a safety rule set, and its reason."""

    revision: int
    reason: str


def give_up(connection: Connection, leases: PostgresLeases, window_seconds: float) -> None:
    """Release the lanes and the accounts of a worker that lost its connection, after its last request has ended.

    Its accounts stay due. Other runs can take its lanes after the window of their quotas.
    """
    with transaction(connection):
        lock_rows(connection)
        connection.execute("UPDATE accounts SET worker = NULL WHERE worker = ?", (leases.worker,))
        leases.release_all(connection, window_seconds)


class Agenda:
    """The agenda of one worker. One thread at a time may use it.

    `leases` are those of the worker. `every` is the interval between two passes over an account, and `longest_rest` the
    longest rest of an account, both in seconds.
    """

    def __init__(
        self,
        connection: Connection,
        leases: PostgresLeases,
        *,
        every: float,
        longest_rest: float,
    ) -> None:
        self._connection = connection
        self._leases = leases
        self._every = every
        self._longest_rest = longest_rest
        self._in_use = Counter[str]()
        self._turns: dict[str, int] = {}
        self._intervals: dict[str, datetime] = {}
        self._yielded: Collection[str] = frozenset()

    def balance(self) -> Balance:
        """Take over the lanes of dead workers, give lanes to other runs that want them, and share the rest evenly."""
        connection, leases = self._connection, self._leases
        with transaction(connection):
            taken_over = sum(count for (count,) in connection.execute(_REMOVE_DEAD))
            lock_rows(connection)
            connection.execute(_REQUEUE, (self._longest_rest, self._every))
            (workers,) = connection.execute(_LIVE_WORKERS).fetchone()
            idle = self._yield_lanes(share=-(-LANES // max(workers, 1)))
        return Balance(len(leases.lanes) - len(idle), workers, taken_over, idle)

    def release(self, used_slots: Mapping[str, UsedSlots | None]) -> None:
        """Release idle lanes, and hand over their used slots."""
        with transaction(self._connection):
            self._leases.release_lanes(self._connection, used_slots)

    def queue(self) -> QueueLength:
        """Return how many accounts of the fleet wait, and for how long."""
        return QueueLength(*self._connection.execute(_QUEUE_LENGTH).fetchone())

    def take(self, count: int, *, suspects_only: bool = False, min_wait: float = 0.0) -> Slice | None:
        """Return at most `count` accounts that are due for `min_wait` seconds; None if there are none.

        They are in progress until `finish`. Changed accounts come first, then those that are due for the longest time,
        then those that were in progress when a worker died a moment ago. Accounts that may have caused several crashes
        come only with `suspects_only`.

        Raises:
            LedgerError: the current revision was published by a newer version.
        """
        lanes = [int(name.rpartition(" ")[2]) for name in self._leases.lanes if name not in self._yielded]
        if not lanes:
            return None
        with transaction(self._connection):
            # a turn that is lost is taken again
            lock_rows(self._connection, is_durable=False)
            revision = self._current()
            if revision is None:
                return None
            # during a canary, the other accounts of its revision wait
            waiting = revision.number if revision.state is RevisionState.CANARY else 0
            classes = [CHANGED, ROUTINE, CRASHED]
            parameters = (self._leases.worker, lanes, count, classes, suspects_only, waiting, _LAST_SECONDS, min_wait)
            rows = self._connection.execute(_TAKE_DUE, parameters)
            accounts = tuple(DueAccount(*row) for row in rows)
        self._in_use.update(lane_name(account.lane) for account in accounts)
        self._turns |= {account.name: account.revision for account in accounts}
        return Slice(revision, accounts) if accounts else None

    def move(self, accounts: Mapping[str, int], due_accounts: Sequence[DueAccount]) -> None:
        """Move accounts to the lanes of their API keys, where they stay due.

        `accounts` maps names to lanes. `due_accounts` are all accounts that were taken in the same turn.
        """
        with transaction(self._connection):
            lock_rows(self._connection)
            self._connection.execute(
                "UPDATE accounts SET lane = moved.lane, moves = moves + 1, worker = NULL "
                "FROM unnest(CAST(?2 AS TEXT[]), CAST(?3 AS INTEGER[])) AS moved (name, lane) "
                "WHERE accounts.name = moved.name AND worker = ?1",
                (self._leases.worker, list(accounts), list(accounts.values())),
            )
        self._in_use.subtract(lane_name(account.lane) for account in due_accounts if account.name in accounts)

    def finish(
        self, due_accounts: Collection[DueAccount], reconciled: Sequence[Reconciled]
    ) -> Pause | RevisionState | None:
        """End the turns of accounts. Their unsent writes no longer count towards the limit of the fleet.

        Return the pause or the new state of the revision if the canary is decided now, otherwise None.
        """
        columns = [[getattr(turn, field) for turn in reconciled] for field in Reconciled.__struct_fields__]
        decision: Pause | RevisionState | None = None
        with transaction(self._connection):
            lock_rows(self._connection, is_durable=False)
            ended = self._connection.execute(_FINISH, (self._leases.worker, *columns)).fetchall()
            self._return_unsent(ended)
            self._connection.execute(
                "UPDATE workers SET accounts = accounts + ? WHERE worker = ?", (len(reconciled), self._leases.worker)
            )
            if any(account.is_canary for account in due_accounts):
                decision = self._judge_canary()
        self._in_use.subtract(lane_name(account.lane) for account in due_accounts)
        for account in due_accounts:
            self._turns.pop(account.name, None)
            self._intervals.pop(account.name, None)
        return decision

    def admit(
        self, writes_by_account: Mapping[str, Mapping[Action, int]], keys: Mapping[str, str]
    ) -> tuple[frozenset[str], dict[str, tuple[str, ...]], Pause | None]:
        """Decide which accounts may be written now.

        `writes_by_account` are the planned writes of each account by action, and `keys` the key of each account in the
        ledger. An account that was published again or removed since it was taken may not be written.

        Return:
        - the accounts that may not be written
        - all names of each account that the revision describes under several names
        - the pause that was set, or None if the writes are within the limit of the revision
        """
        with transaction(self._connection):
            lock_rows(self._connection)
            row = self._connection.execute(
                "SELECT revision, is_paused, fleet_wide, numbers, activations, deactivations, "
                "counted_since < clock_timestamp() - make_interval(secs => ?) FROM revisions "
                "ORDER BY revision DESC LIMIT 1 FOR UPDATE",
                (self._every,),
            ).fetchone()
            names = self._same_accounts(keys)
            denied = set(names) | self._outdated(writes_by_account)
            if row is None:
                return frozenset(writes_by_account), names, None
            revision, is_paused, setting, numbers, activations, deactivations, is_over = row
            if is_paused:
                return frozenset(writes_by_account), names, None
            spent = Counter({Action.ACTIVATE: 0 if is_over else activations})
            spent[Action.DEACTIVATE] = 0 if is_over else deactivations
            pause = None
            for name, counts in writes_by_account.items():
                if name in denied:
                    continue
                refusals = {} if setting is None else fleet_refusals(spent + Counter(counts), numbers, setting)
                if refusals or pause is not None:
                    denied.add(name)
                    pause = pause or Pause(revision, next(iter(refusals.values())).message)
                else:
                    spent += Counter(counts)
            (interval,) = self._connection.execute(
                "UPDATE revisions SET activations = ?, deactivations = ?, is_paused = ?, reason = ?, "
                "counted_since = CASE WHEN ? THEN clock_timestamp() ELSE counted_since END WHERE revision = ? "
                "RETURNING counted_since",
                (
                    spent[Action.ACTIVATE],
                    spent[Action.DEACTIVATE],
                    pause is not None,
                    None if pause is None else str.__str__(pause.reason),
                    is_over,
                    revision,
                ),
            ).fetchone()
        self._intervals |= {name: interval for name in writes_by_account if name not in denied}
        return frozenset(denied), names, pause

    def memories(self, keys: Sequence[str]) -> dict[str, AccountMemory]:
        """Return the memories of accounts by their keys."""
        return recall_all(self._connection, keys)

    def drain(self) -> frozenset[str]:
        """Record that this worker ends. Return the lanes that are not in use, so that it can release them."""
        with transaction(self._connection):
            self._connection.execute("UPDATE workers SET is_draining = true WHERE worker = ?", (self._leases.worker,))
            return self._yield_lanes(share=0)

    def _current(self) -> RevisionInForce | None:
        row = self._connection.execute(
            "SELECT revision, state, is_paused, format FROM revisions ORDER BY revision DESC LIMIT 1"
        ).fetchone()
        if row is None:
            return None
        if row[3] > FORMAT:
            message = Message("revision {revision} was published by a newer senderid: upgrade", revision=row[0])
            raise LedgerError(message)
        return RevisionInForce(row[0], RevisionState(row[1]), row[2])

    def _yield_lanes(self, share: int) -> frozenset[str]:
        """Choose wanted and surplus lanes to release, and take free lanes up to `share`.

        Return those of the lanes to release that are not in use. The others follow later.
        """
        leases = self._leases
        lanes = leases.lanes
        requested = {
            name
            for (name,) in self._connection.execute(
                "SELECT name FROM lanes WHERE name = ANY(?) AND wanted_until > clock_timestamp()", (list(lanes),)
            )
        }
        idle_first = sorted((name for name in lanes if name not in requested), key=lambda name: self._in_use[name] > 0)
        self._yielded = requested.union(idle_first[: max(0, len(idle_first) - share)])
        idle = frozenset(name for name in self._yielded if not self._in_use[name])
        missing = share - len(lanes) + len(idle)
        if missing > 0:
            names = [name for name in map(lane_name, range(LANES)) if name not in lanes]
            rows = self._connection.execute(_FREE_LANES, (names, missing))
            leases.take_lanes(self._connection, [name for (name,) in rows])
        return idle

    def _return_unsent(self, ended: Iterable[tuple[str, int, int]]) -> None:
        """Return the unsent activations and deactivations of admitted accounts to the limit of their interval."""
        unsent: dict[datetime, tuple[int, int]] = {}
        for name, activations, deactivations in ended:
            if activations + deactivations and name in self._intervals:
                interval = self._intervals[name]
                total = unsent.get(interval, (0, 0))
                unsent[interval] = (total[0] + activations, total[1] + deactivations)
        for interval, counts in unsent.items():
            self._connection.execute(_RETURN_UNSENT, (interval, *counts))

    def _outdated(self, accounts: Collection[str]) -> set[str]:
        """Return those of the accounts whose row is no longer the one that was taken."""
        rows = self._connection.execute(
            "SELECT name, revision FROM accounts WHERE name = ANY(?) AND worker = ?",
            (list(accounts), self._leases.worker),
        )
        revisions: dict[str, int] = dict(rows)
        return {name for name in accounts if revisions.get(name) != self._turns.get(name)}

    def _same_accounts(self, keys: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
        """Record the keys of accounts. Return those that are published under several names, with these names."""
        self._connection.execute(
            "UPDATE accounts SET key = fresh.key "
            "FROM unnest(CAST(? AS TEXT[]), CAST(? AS TEXT[])) AS fresh (name, key) "
            "WHERE accounts.name = fresh.name AND accounts.key IS DISTINCT FROM fresh.key",
            (list(keys), list(keys.values())),
        )
        rows = self._connection.execute(
            "SELECT key, array_agg(name ORDER BY name) FROM accounts WHERE key = ANY(?) "
            "GROUP BY key HAVING count(*) > 1",
            (list(set(keys.values())),),
        )
        names_by_key = {key: tuple(names) for key, names in rows}
        return {name: names_by_key[key] for name, key in keys.items() if key in names_by_key}

    def _judge_canary(self) -> Pause | RevisionState | None:
        row = self._connection.execute(
            "SELECT revision, state, max_failed, canary FROM revisions ORDER BY revision DESC LIMIT 1 FOR UPDATE"
        ).fetchone()
        if row is None or row[1] != RevisionState.CANARY:
            return None
        revision, _, max_failed, accounts = row
        waiting, planned, failed = self._connection.execute(_CANARY, (revision,)).fetchone()
        if waiting:
            return None
        limit = resolve_limit("max_failed", max_failed, planned)
        reason = None
        if failed > limit:
            reason = Message.plural(
                "{failed} of {total} numbers of the first account were not changed as planned; at most {limit} may "
                "fail (canary.max_failed: {setting})",
                "{failed} of {total} numbers of the first {count} accounts were not changed as planned; at most "
                "{limit} may fail (canary.max_failed: {setting})",
                accounts,
                failed=failed,
                total=planned,
                limit=limit,
                setting=max_failed,
            )
        self._connection.execute(
            "UPDATE revisions SET state = ?, is_paused = is_paused OR ?, reason = coalesce(reason, ?) "
            "WHERE revision = ?",
            (RevisionState.ROLLING, reason is not None, None if reason is None else str.__str__(reason), revision),
        )
        return RevisionState.ROLLING if reason is None else Pause(revision, reason)
