"""Leases in PostgreSQL: one writer per account and per lane among all hosts.

A run is a row of `workers`, which it renews every few seconds. Its leases are rows of `leases`, each with a token that
no other lease has. They end with the row of the run, and another run may delete that row only after it was not renewed
for the time of a lease and of a request.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from itertools import zip_longest
from threading import Event, Lock, Thread
from typing import Any, Final

import msgspec
from msgspec import Struct

from worker.ledger.database import Connection, Intent, Transactions, Wait
from worker.ledger.postgres import alarm
from worker.ledger.postgres.connection import POOLED, PostgresConnection, PostgresCursor
from worker.ledger.records import AttemptState, RunInfo, Subject
from worker.ledger.writes import storable
from worker.model.errors import AccountBusy, LeaseLost, LedgerError
from worker.model.messages import Message
from worker.model.ports import SharedQuota, UsedSlots

__all__ = ["BEAT_SECONDS", "LEASE_SECONDS", "PostgresLeases", "lane_name", "refuse_pooler"]

LEASE_SECONDS: Final = 15.0
"""Time in seconds for which a lease is valid without a renewal."""
BEAT_SECONDS: Final = 3.0
"""Time in seconds between two renewals."""
_BEAT_TIMEOUT: Final = 5.0
"""Time limit in seconds for one renewal, so that a run that cannot renew its leases ends before the kernel ends it."""
_PAUSE: Final = 0.5
"""Time in seconds between two attempts to take a lease that another run has."""
_CONTENDED: Final = 0.05
"""Time in seconds before another attempt if a lease was being taken or released."""
_PATIENCE: Final = 75.0
"""Time in seconds for which a run waits for a lane of a fleet's worker, which yields it after its current accounts."""
_WISH_SECONDS: Final = 5.0
"""Time in seconds for which a request for a lane is valid."""

_NO_SLOTS: Final = "{}"

_START: Final = """
    INSERT INTO workers (run, host, pid, started_at, until, grace, is_fleet)
    VALUES (?1, ?2, ?3, ?4, clock_timestamp() + make_interval(secs => ?5), make_interval(secs => ?6), ?7)
    RETURNING worker
"""
_BEAT: Final = """
    UPDATE workers SET until = clock_timestamp() + make_interval(secs => ?2)
    WHERE worker = ?1 AND until > clock_timestamp()
"""
_FENCE: Final = """
    SELECT leases.token FROM workers LEFT JOIN leases ON leases.worker = workers.worker AND token = ANY(?2)
    WHERE workers.worker = ?1 AND until > clock_timestamp() FOR KEY SHARE OF workers
"""
"""SQL that keeps other runs from deleting the row of the run before the transaction ends."""
_INTEND: Final = f"""
    WITH valid AS (
        SELECT token FROM leases JOIN workers ON workers.worker = leases.worker
        WHERE workers.worker = ?1 AND token = ANY(?2) AND until > clock_timestamp() FOR KEY SHARE OF workers
    )
    INSERT INTO attempts (entry, phone, number, asked, state, intended_at)
    SELECT intent.*, '{AttemptState.INTENT}', ?3
    FROM unnest(CAST(?4 AS BIGINT[]), CAST(?5 AS TEXT[]), CAST(?6 AS BIGINT[]), CAST(?7 AS TEXT[])) AS intent
    WHERE (SELECT count(*) FROM valid) = cardinality(?2) AND cardinality(?2) > 0
"""
_TAKE: Final = """
    INSERT INTO leases (name, worker) SELECT free.name, ?1 FROM unnest(CAST(?2 AS TEXT[])) AS free (name)
    WHERE pg_try_advisory_xact_lock(hashtextextended(free.name, 0))
        AND NOT EXISTS (SELECT 1 FROM leases WHERE leases.name = free.name)
        AND NOT EXISTS (SELECT 1 FROM lanes WHERE lanes.name = free.name AND free_at > clock_timestamp())
    ON CONFLICT (name) DO NOTHING RETURNING name, token
"""
"""SQL that takes the leases that are free. It does not wait for other transactions, so that runs cannot deadlock."""
_REMOVE_ENDED: Final = """
    DELETE FROM workers WHERE worker IN (
        SELECT worker FROM workers WHERE worker IN (SELECT worker FROM leases WHERE name = ANY(?1))
            AND until + grace < clock_timestamp() FOR UPDATE SKIP LOCKED
    )
"""
_HOLDER: Final = """
    SELECT name, host, pid, run, started_at, is_fleet FROM leases JOIN workers ON workers.worker = leases.worker
    WHERE name = ANY(?1) ORDER BY name = ?2 DESC LIMIT 1
"""
_RELEASE: Final = "DELETE FROM leases WHERE token = ANY(?1) AND worker = ?2"
_HAND_OVER: Final = """
    INSERT INTO lanes (name, slots, released_at)
    SELECT used.*, clock_timestamp() FROM unnest(CAST(?1 AS TEXT[]), CAST(?2 AS TEXT[])) AS used
    ON CONFLICT (name) DO UPDATE SET slots = excluded.slots, released_at = excluded.released_at
"""
_USED_SLOTS: Final = """
    SELECT name, slots, CAST(extract(epoch FROM clock_timestamp() - released_at) AS DOUBLE PRECISION) FROM lanes
    WHERE name = ANY(?1)
"""
_RELEASE_LANES: Final = f"""
    WITH released AS (DELETE FROM leases WHERE worker = ?1 AND name LIKE 'lane %' RETURNING name)
    INSERT INTO lanes (name, slots, released_at, free_at)
    SELECT name, '{_NO_SLOTS}', clock_timestamp(), clock_timestamp() + make_interval(secs => ?2) FROM released
    ON CONFLICT (name) DO UPDATE
    SET slots = excluded.slots, released_at = excluded.released_at, free_at = excluded.free_at
"""
"""SQL that releases all lanes of a run. No run takes them before the window has passed."""
_WANT: Final = f"""
    INSERT INTO lanes (name, slots, released_at, wanted_until)
    VALUES (?1, '{_NO_SLOTS}', 'epoch', clock_timestamp() + make_interval(secs => ?2))
    ON CONFLICT (name) DO UPDATE SET wanted_until = excluded.wanted_until
"""
_STOP: Final = "DELETE FROM workers WHERE worker = ?1 AND NOT EXISTS (SELECT 1 FROM leases WHERE worker = ?1)"
"""SQL that stops a worker. Unreleased leases stay until they expire, because the slots that they used are unknown."""


class _Holder(Struct, frozen=True):
    """The run that has the lease `name`: host, process id, run id, and start (UTC, ISO 8601, Z).

    `is_fleet` is True if it is a worker of a fleet, which yields a lane that another run wants.
    """

    name: str
    host: str
    pid: int
    run: str
    started_at: str
    is_fleet: bool


class _Lane:
    """The lease of a lane: its token, and the count of accounts that use it.

    `slots` are those that other runs had used at `handed_over_at`, in seconds since boot. `quotas`, one of each API key
    of the lane that this run used, have occupied them.
    """

    def __init__(self, token: int, slots: UsedSlots, handed_over_at: float) -> None:
        self.token = token
        self.uses = 0
        self.quotas: list[SharedQuota] = []
        self._slots = slots
        self._handed_over_at = handed_over_at

    def add(self, quota: SharedQuota) -> None:
        """Occupy the slots of the lane in a quota."""
        if quota not in self.quotas:
            self.quotas.append(quota)
            quota.occupy(self._slots, alarm.seconds_since_boot() - self._handed_over_at)

    def used_slots(self) -> UsedSlots | None:
        """Return the slots in use of the API key that uses most; None if this run used no API key of the lane.

        The limit applies to each key, so these slots are enough for any of them.
        """
        if not self.quotas:
            return None
        used = [quota.used_slots() for quota in self.quotas]
        return UsedSlots(_longest(slots.reads for slots in used), _longest(slots.writes for slots in used))


class PostgresLeases:
    """The leases of one run, or of the worker of a fleet. `open_connection` opens the connection that renews them.

    No other run takes a lease before `grace_seconds` have passed since it ended. In this time the last request arrives,
    and then leaves the window of the quota at the server. A lease that is released hands its used slots over instead.
    """

    def __init__(
        self,
        run: RunInfo,
        grace_seconds: float,
        open_connection: Callable[[], PostgresConnection],
        *,
        is_fleet: bool = False,
    ) -> None:
        self._run = run
        self._grace_seconds = grace_seconds
        self._open_connection = open_connection
        self._is_fleet = is_fleet
        self._connections: set[PostgresConnection] = set()
        self._stopping = Event()
        self._lanes: dict[str, _Lane] = {}
        self._lock = Lock()
        self._worker = 0
        self._deadline = 0.0
        self._thread: Thread | None = None
        self.failure: LedgerError | None = None

    def start(self, connection: Connection) -> None:
        """Record the run as a worker, and start to renew its leases.

        Raises:
            LedgerError: the database cannot be written.
        """
        assert isinstance(connection, PostgresConnection)  # noqa: S101 - both are of one database
        self._connections.add(connection)
        self._renewals = self._open_connection()
        run = self._run
        sent_at = alarm.seconds_since_boot()
        try:
            refuse_pooler(connection, self._renewals)
            (self._worker,) = self._execute_in_time(
                _START,
                run.id,
                storable(run.host),
                run.pid,
                run.started_at,
                LEASE_SECONDS,
                self._grace_seconds,
                self._is_fleet,
            ).fetchone()
        except BaseException:
            self._renewals.close()
            raise
        self._deadline = sent_at + LEASE_SECONDS
        alarm.arm(self, self._deadline)
        self._thread = Thread(target=self._renew, name="lease", daemon=True)
        self._thread.start()

    @property
    def worker(self) -> int:
        """The id of this run in the table `workers`."""
        return self._worker

    @property
    def rest_seconds(self) -> float:
        """The time in seconds until other runs may take the leases, if they are not renewed."""
        return self._deadline + self._grace_seconds - alarm.seconds_since_boot()

    @property
    def lanes(self) -> tuple[str, ...]:
        """The names of the lanes whose leases this run has."""
        return tuple(self._lanes)

    def attach(self, connection: Connection) -> None:
        """End every statement of a connection when the leases end."""
        assert isinstance(connection, PostgresConnection)  # noqa: S101 - both are of one database
        self._connections.add(connection)

    def take_lanes(self, connection: Connection, names: Sequence[str]) -> None:
        """Take the leases of those of the lanes that are free, and keep them until `release_lanes`."""
        tokens: dict[str, int] = dict(connection.execute(_TAKE, (self._worker, list(names))))
        lanes = _lanes(connection, tokens)
        with self._lock:
            for name, lane in lanes.items():
                lane.uses = 1
                self._lanes[name] = lane

    def add_quota(self, lane: str, quota: SharedQuota) -> None:
        """Occupy the slots that other runs used, before a request with an API key of a lane that this run has."""
        self._lanes[lane].add(quota)

    def used_slots(self, names: Iterable[str]) -> dict[str, UsedSlots | None]:
        """Return the used slots of lanes. The quotas are those of the thread that calls this method."""
        return {name: self._lanes[name].used_slots() for name in names}

    def release_lanes(self, connection: Connection, used_slots: Mapping[str, UsedSlots | None]) -> None:
        """Release lanes that `take_lanes` took, inside a transaction, and hand over their slots.

        No request with an API key of these lanes may be sent since `used_slots` was called.

        Raises:
            LeaseLost: the leases have ended.
        """
        with self._lock:
            tokens = [self._lanes.pop(name).token for name in used_slots]
        self.fence(connection, tokens)
        _hand_over(connection, used_slots)
        connection.execute(_RELEASE, (tokens, self._worker))

    def release_all(self, connection: Connection, window_seconds: float) -> None:
        """Release everything that the run has, over another connection, inside a transaction.

        Other runs can take the lanes after the window of their quotas.
        """
        connection.execute(_RELEASE_LANES, (self._worker, window_seconds))
        connection.execute("DELETE FROM workers WHERE worker = ?", (self._worker,))

    def stop(self) -> None:
        """Stop renewing leases, and stop the kernel's timer. The run must not send further requests."""
        if self._thread is None:
            return
        self._stopping.set()
        self._thread.join()
        self._thread = None
        alarm.disarm(self)
        with suppress(LedgerError):
            self._execute_in_time(_STOP, self._worker)
        self._renewals.close()

    @asynccontextmanager
    async def lease(
        self,
        subject: Subject,
        wait: Wait,
        transactions: Transactions,
        quota: SharedQuota | None = None,
    ) -> AsyncIterator[int]:
        """Take the leases of an account and of its lane for the duration of the context. Yield the account's token.

        Raises:
            AccountBusy: another run has one of the leases. The message has its host, process, id and start.
            LedgerError: the leases cannot be taken.
        """
        lane = lane_name(subject.lane)
        while True:
            holder = await transactions.run(partial(self._take, lane, subject.key))
            if isinstance(holder, int):
                break
            if holder is None:
                await asyncio.sleep(_CONTENDED)
                continue
            is_lane = holder.name == lane
            if is_lane and holder.is_fleet:
                await transactions.run(partial(_want, lane))
            if not await wait(_PAUSE, _PATIENCE if is_lane and holder.is_fleet else 0.0):
                raise AccountBusy(_busy(holder, is_lane=is_lane))
        token = holder
        if quota is not None:
            self._lanes[lane].add(quota)
        try:
            yield token
        finally:
            with suppress(LedgerError):
                await transactions.run(partial(self._release, lane, token, self._lanes[lane].used_slots()))

    def check(self) -> None:
        """Check that the leases have not ended by this machine's clock.

        Raises:
            LeaseLost: they may have ended.
        """
        if self.failure is not None:
            raise self.failure
        if alarm.seconds_since_boot() >= self._deadline:
            raise _lost()

    def fence(self, connection: Connection, tokens: Sequence[int]) -> None:
        """Check the leases of `tokens`, and keep them from ending before the current transaction.

        Raises:
            LeaseLost: one of them has ended.
        """
        valid_tokens = {token for (token,) in connection.execute(_FENCE, (self._worker, list(tokens)))}
        if not valid_tokens or not valid_tokens.issuperset(tokens):
            raise _lost()

    def intend(self, connection: Connection, intents: Sequence[Intent], now: str, tokens: Sequence[int]) -> None:
        """Record requests before they are sent, in one statement that also checks the leases of `tokens`.

        Raises:
            LeaseLost: one of them has ended. Nothing was recorded.
        """
        columns = [[intent[position] for intent in intents] for position in range(4)]
        if connection.execute(_INTEND, (self._worker, list(tokens), now, *columns)).rowcount != len(intents):
            raise _lost()

    def _take(self, lane: str, key: str, connection: Connection) -> int | _Holder | None:
        """Take both leases. Return the account's token, or the run that has one of them; None if none has."""
        names = [key] if lane in self._lanes else [key, lane]
        tokens: dict[str, int] = dict(connection.execute(_TAKE, (self._worker, names)))
        missing = [name for name in names if name not in tokens]
        if missing and connection.execute(_REMOVE_ENDED, (missing,)).rowcount:
            tokens |= dict(connection.execute(_TAKE, (self._worker, missing)))
            missing = [name for name in names if name not in tokens]
        if missing:
            connection.execute(_RELEASE, (list(tokens.values()), self._worker))
            row = connection.execute(_HOLDER, (missing, key)).fetchone()
            return None if row is None else _Holder(*row)
        if lane in tokens:
            self._lanes |= _lanes(connection, {lane: tokens[lane]})
        with self._lock:
            self._lanes[lane].uses += 1
        return tokens[key]

    def _release(self, lane: str, token: int, slots: UsedSlots | None, connection: Connection) -> None:
        leased_lane = self._lanes[lane]
        with self._lock:
            leased_lane.uses -= 1
        if leased_lane.uses:
            connection.execute(_RELEASE, ([token], self._worker))
            return
        del self._lanes[lane]
        _hand_over(connection, {lane: slots})
        connection.execute(_RELEASE, ([token, leased_lane.token], self._worker))

    def _renew(self) -> None:
        """Renew the leases until the run ends. It runs in a thread of its own."""
        try:
            while not self._stopping.wait(BEAT_SECONDS):
                sent_at = alarm.seconds_since_boot()
                if not self._execute_in_time(_BEAT, self._worker, LEASE_SECONDS).rowcount:
                    raise _lost()
                self._deadline = sent_at + LEASE_SECONDS
                alarm.arm(self, self._deadline)
        except LedgerError as error:
            self.failure = error
            for connection in tuple(self._connections):
                connection.abort()

    def _execute_in_time(self, sql: str, *parameters: Any) -> PostgresCursor:
        self._renewals.expire_in(_BEAT_TIMEOUT)
        try:
            return self._renewals.execute(sql, parameters)
        except TimeoutError:
            reason = Message("no response within {seconds:g} s", seconds=_BEAT_TIMEOUT)
            raise self._renewals.unusable(reason) from None


def refuse_pooler(connection: PostgresConnection, other: PostgresConnection) -> None:
    """Check that two open connections have a process of the server each.

    Raises:
        LedgerError: they share one, which happens only behind a pooler that gives each transaction another session.
    """
    (backend,), (other_backend,) = (each.execute("SELECT pg_backend_pid()").fetchone() for each in (connection, other))
    if backend == other_backend:
        raise connection.unusable(POOLED)


def lane_name(lane: int) -> str:
    """Return the name of the lease of a lane."""
    return f"lane {lane}"


def _lanes(connection: Connection, tokens: Mapping[str, int]) -> dict[str, _Lane]:
    """Return lanes that were just taken, with the slots that their last holders used."""
    used_slots = connection.execute(_USED_SLOTS, (list(tokens),)).fetchall()
    now = alarm.seconds_since_boot()  # after the response, so that no slot is free too early
    lanes = {name: _Lane(token, UsedSlots(), now) for name, token in tokens.items()}
    for name, slots, elapsed in used_slots:
        lanes[name] = _Lane(tokens[name], msgspec.json.decode(slots, type=UsedSlots), now - elapsed)
    return lanes


def _hand_over(connection: Connection, used_slots: Mapping[str, UsedSlots | None]) -> None:
    """Record the used slots of lanes. Those of a lane that this run did not use stay as they were handed over to it."""
    used = {name: msgspec.json.encode(slots).decode() for name, slots in used_slots.items() if slots is not None}
    if used:
        connection.execute(_HAND_OVER, (list(used), list(used.values())))


def _longest(rests: Iterable[Sequence[float]]) -> tuple[float, ...]:
    """Return the longest of the first rests, of the second ones, and so on."""
    return tuple(map(max, zip_longest(*rests, fillvalue=0.0)))


def _want(lane: str, connection: Connection) -> None:
    connection.execute(_WANT, (lane, _WISH_SECONDS))


def _lost() -> LeaseLost:
    return LeaseLost(
        Message(
            "the lease of this run ended, so another run may write to the account: nothing more was sent; run again to "
            "continue"
        )
    )


def _busy(holder: _Holder, *, is_lane: bool) -> Message:
    holding_run = Message(
        "host {host}, process {pid}, run {run}, since {time}",
        host=holder.host,
        pid=holder.pid,
        run=holder.run,
        time=holder.started_at,
    )
    if is_lane:
        return Message(
            "another run uses the API key of this account ({holder}); try again later, or wait with --lock-timeout",
            holder=holding_run,
        )
    return Message(
        "another run has the lease of this account ({holder}); try again later, or wait with --lock-timeout",
        holder=holding_run,
    )
