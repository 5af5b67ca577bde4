"""Rows of the ledger: settling of open attempts, memory of an account, and deletion of runs."""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from operator import itemgetter

import pytest
from msgspec.structs import replace

from tests.support.ledgers import account_result, clock, observed_account, plan_writes, run_info, subject
from worker.ledger import Database, SqliteFile, retention, writes
from worker.ledger.database import Connection, transaction
from worker.ledger.group_commit import ResponseRow
from worker.ledger.records import CRASHED, AttemptState
from worker.model.accounts import AccountMemory, Status
from worker.model.errors import NumberError
from worker.model.plans import AccountPlan
from worker.model.results import AccountResult, Outcome, RunOutcome

A, B, C = "0100001", "0100002", "0100003"
NAMES = {"main": None}
ON, OFF = "ACTIVE", "INACTIVE"
KEY = "vendor 1"


class Store:
    """A ledger to which tests write as runs do, with a new time for each step."""

    def __init__(self, connection: Connection, database: Database) -> None:
        self.connection = connection
        self.database = database
        self.now = clock()
        self.runs = 0

    def start_entry(self, plan: AccountPlan, key: str = KEY) -> int:
        """Add a run with one entry and return the id of the entry."""
        self.runs += 1
        run = run_info(f"r{self.runs}", started_at=self.now())
        writes.add_run(self.connection, run)
        return writes.add_entry(self.connection, run.id, subject(key), plan, fingerprint="f", now=self.now())

    def intend(self, entry: int, *phones: str, desired: str = OFF, number: int = 1) -> None:
        """Record intents of requests."""
        writes.intend(self.connection, [(entry, phone, number, desired) for phone in phones], self.now())

    def record_response(self, entry: int, phone: str, state: AttemptState, *error: object, number: int = 1) -> None:
        """Record the response to a request; `error` is status, code and message."""
        status, code, message = error or (None, None, None)
        writes.record_responses(self.connection, [(entry, phone, number, state, status, code, message)], self.now())  # type: ignore[list-item]

    def finish(self, entry: int, result: AccountResult, confirmed: dict[str, Status] | None = None) -> None:
        """Finish an entry and its run."""
        writes.finish_entry(self.connection, entry, result, confirmed or {}, self.now())
        writes.finish_run(self.connection, f"r{self.runs}", result.outcome, self.now())

    def settle(self, key: str = KEY, **statuses: str) -> None:
        """Settle open attempts by a read of the account."""
        writes.settle(self.connection, key, observed_account(**statuses).numbers, self.now())

    def recall(self, key: str = KEY) -> AccountMemory:
        """Return the memory of the account."""
        return writes.recall(self.connection, key)

    def trim(self, max_bytes: int, *, current_run: str) -> int:
        """Delete the oldest runs. Return the count of deleted runs."""
        with transaction(self.connection):
            return retention.trim(self.connection, self.database.used_bytes, max_bytes, current_run=current_run)

    def query(self, sql: str) -> list[tuple[object, ...]]:
        """Return the rows of a query."""
        return self.connection.execute(sql).fetchall()

    def states(self, entry: int) -> dict[object, object]:
        """Return the last state of each phone."""
        return dict(
            self.connection.execute("SELECT phone, state FROM attempts WHERE entry = ? ORDER BY number", (entry,))
        )

    def outcomes(self, entry: int) -> dict[str, tuple[object, ...]]:
        """Return outcome, status after the run, attempts and error code of each phone."""
        query = "SELECT phone, outcome, after, attempts, error_code FROM outcomes WHERE entry = ?"
        return {phone: tuple(columns) for phone, *columns in self.connection.execute(query, (entry,))}


class SqliteStore(Store):
    """A ledger in an SQLite file."""

    def __init__(self, connection: sqlite3.Connection, database: SqliteFile) -> None:
        super().__init__(connection, database)
        self.sqlite = connection
        self.file = database
        connection.execute("PRAGMA synchronous = OFF")


@pytest.fixture
def store(database: Database) -> Iterator[Store]:
    """Return an empty ledger."""
    with closing(database.connect(program="0", now=clock())) as connection:
        yield Store(connection, database)


@pytest.fixture
def sqlite_store(sqlite: SqliteFile) -> Iterator[SqliteStore]:
    """Return an empty ledger in an SQLite file."""
    with closing(sqlite.connect(program="0", now=clock())) as connection:
        yield SqliteStore(connection, sqlite)


@pytest.mark.parametrize("state", [AttemptState.INTENT, AttemptState.OK, AttemptState.AMBIGUOUS])
@pytest.mark.parametrize(
    ("read", "expected", "outcome", "after", "code"),
    [
        ({"n0100001": OFF}, AttemptState.VERIFIED, Outcome.CHANGED, OFF, None),
        ({"n0100001": ON}, AttemptState.LOST, Outcome.FAILED, ON, "Crashed"),
        ({"n0100001": "BLOCKED"}, AttemptState.CONFLICT, Outcome.CONFLICT, "BLOCKED", "Conflict"),
        ({}, AttemptState.CONFLICT, Outcome.CONFLICT, None, "Conflict"),
    ],
)
def test_read_settles_open_attempts_of_a_killed_run(  # noqa: PLR0917 - a table
    store: Store,
    state: AttemptState,
    read: dict[str, str],
    expected: AttemptState,
    outcome: Outcome,
    after: str | None,
    code: str | None,
) -> None:
    """The read decides the outcome of the number, whatever the state of the request."""
    entry = store.start_entry(plan_writes(A, B))
    store.intend(entry, A)
    if state is not AttemptState.INTENT:
        store.record_response(entry, A, state)
    assert store.recall().has_open_attempts
    store.settle(n0100002=ON, **read)
    assert store.states(entry) == {A: expected}
    assert store.outcomes(entry) == {A: (outcome, after, 1, code), B: (Outcome.NOT_ATTEMPTED, ON, 0, "Crashed")}
    assert store.query("SELECT outcome, settled, writes, finished_at IS NULL FROM entries") == [(CRASHED, 1, 1, 0)]
    assert store.query("SELECT outcome, finished_at IS NULL FROM runs") == [(CRASHED, 0)]
    assert store.recall().written == ({A: OFF} if expected is AttemptState.VERIFIED else {})
    assert not store.recall().has_open_attempts
    rows_before = (
        store.query("SELECT * FROM attempts"),
        store.query("SELECT * FROM outcomes"),
        store.query("SELECT * FROM entries"),
    )
    store.settle(n0100001="PENDING", n0100002="PENDING")
    assert rows_before == (
        store.query("SELECT * FROM attempts"),
        store.query("SELECT * FROM outcomes"),
        store.query("SELECT * FROM entries"),
    )


def test_crashed_run_ends_when_the_last_of_its_accounts_is_settled(store: Store) -> None:
    """The end and the outcome of a run that has ended already are kept."""
    first = store.start_entry(plan_writes(A))
    other = writes.add_entry(
        store.connection, "r1", subject("vendor 2"), plan_writes(B), fingerprint="f", now=store.now()
    )
    store.intend(first, A)
    store.intend(other, B)
    store.settle(n0100001=OFF)
    assert store.query("SELECT finished_at, outcome FROM runs") == [(None, None)]
    assert store.query("SELECT key, outcome, settled FROM entries ORDER BY id") == [
        (KEY, CRASHED, 1),
        ("vendor 2", None, 0),
    ]
    store.settle("vendor 2", n0100002=OFF)
    ((end, outcome),) = store.query("SELECT finished_at, outcome FROM runs")
    assert (end is not None, outcome) == (True, CRASHED)
    third = writes.add_entry(
        store.connection, "r1", subject("vendor 3"), plan_writes(C), fingerprint="f", now=store.now()
    )
    store.intend(third, C)
    store.settle("vendor 3", n0100003=OFF)
    assert store.query("SELECT finished_at, outcome FROM runs") == [(end, CRASHED)]


@pytest.mark.parametrize(
    ("read", "outcome", "after"),
    [
        ({"n0100001": ON}, Outcome.FAILED, ON),
        ({"n0100001": "PENDING"}, Outcome.FAILED, "PENDING"),
        ({}, Outcome.FAILED, None),
        ({"n0100001": OFF}, Outcome.UNCHANGED, OFF),
    ],
)
def test_rejected_number_of_a_crashed_run_stays_failed(
    store: Store, read: dict[str, str], outcome: Outcome, after: str | None
) -> None:
    """The number has failed with the last API error, unless someone else set the desired status."""
    entry = store.start_entry(plan_writes(A))
    store.intend(entry, A)
    store.record_response(entry, A, AttemptState.REJECTED, 429, "TooManyRequests", "slow down")
    store.intend(entry, A, number=2)
    store.record_response(entry, A, AttemptState.REJECTED, 409, "FailedToUpdate", "not now", number=2)
    store.settle(**read)
    assert store.states(entry) == {A: AttemptState.REJECTED}
    assert store.outcomes(entry) == {A: (outcome, after, 2, "FailedToUpdate")}
    assert store.query("SELECT http_status, error_message FROM outcomes") == [(409, "not now")]
    assert store.recall() == AccountMemory(names=NAMES)


def test_read_settles_all_attempts_of_a_number(store: Store) -> None:
    """An ambiguous attempt and its retry get the same state; a rejected attempt keeps its own."""
    entry = store.start_entry(plan_writes(A))
    for number, state in enumerate((AttemptState.AMBIGUOUS, AttemptState.REJECTED, None), 1):
        store.intend(entry, A, number=number)
        if state is not None:
            store.record_response(entry, A, state, number=number)
    store.settle(n0100001=OFF)
    assert store.query("SELECT number, state FROM attempts ORDER BY number") == [
        (1, AttemptState.VERIFIED),
        (2, AttemptState.REJECTED),
        (3, AttemptState.VERIFIED),
    ]
    assert store.outcomes(entry) == {A: (Outcome.CHANGED, OFF, 3, None)}


@pytest.mark.parametrize(
    ("read", "expected"),
    [(OFF, AttemptState.VERIFIED), (ON, AttemptState.LOST), ("EXPIRED", AttemptState.CONFLICT)],
)
def test_later_read_settles_unverified_attempts_only(store: Store, read: str, expected: AttemptState) -> None:
    """An unverified attempt is settled later; the recorded outcome stays."""
    entry = store.start_entry(plan_writes(A))
    store.intend(entry, A)
    store.record_response(entry, A, AttemptState.OK)
    store.finish(entry, account_result(plan_writes(A), Outcome.UNVERIFIED, after=None))
    before = store.outcomes(entry), store.query("SELECT finished_at, outcome FROM entries")
    assert store.states(entry) == {A: AttemptState.OK}
    assert store.recall() == AccountMemory(has_open_attempts=True, names=NAMES)
    store.settle(n0100001=read)
    assert store.states(entry) == {A: expected}
    assert (store.outcomes(entry), store.query("SELECT finished_at, outcome FROM entries")) == before
    assert store.recall() == AccountMemory({A: Status(OFF)} if read == OFF else {}, names=NAMES)


@pytest.mark.parametrize(
    ("outcome", "after", "expected"),
    [
        (Outcome.CHANGED, OFF, AttemptState.VERIFIED),
        (Outcome.CONFLICT, "BLOCKED", AttemptState.CONFLICT),
        (Outcome.FAILED, ON, AttemptState.LOST),
        (Outcome.UNVERIFIED, ON, AttemptState.LOST),
        (Outcome.UNVERIFIED, None, AttemptState.AMBIGUOUS),
    ],
)
def test_verification_read_settles_open_attempts(
    store: Store, outcome: Outcome, after: str | None, expected: AttemptState
) -> None:
    """Without a verification read, the attempts of the entry stay open."""
    entry = store.start_entry(plan_writes(A))
    store.intend(entry, A)
    store.record_response(entry, A, AttemptState.AMBIGUOUS)
    store.finish(entry, account_result(plan_writes(A), outcome, after=after))
    assert store.states(entry) == {A: expected}
    assert store.query("SELECT settled FROM entries") == [(expected is not AttemptState.AMBIGUOUS,)]
    assert store.recall().written == ({A: OFF} if outcome is Outcome.CHANGED else {})


def test_lost_attempt_does_not_take_credit_from_its_retry(store: Store) -> None:
    """An ambiguous write is sent again only after a read found the old status, so the last one took effect."""
    plan = plan_writes(A, B)
    entry = store.start_entry(plan)
    store.intend(entry, A, B)
    store.record_response(entry, A, AttemptState.AMBIGUOUS)
    store.record_response(entry, B, AttemptState.AMBIGUOUS)
    store.intend(entry, A, B, number=2)
    store.record_response(entry, A, AttemptState.OK, number=2)
    store.record_response(entry, B, AttemptState.REJECTED, 400, "ValidationError", "no", number=2)
    result = account_result(plan, Outcome.CHANGED)
    store.finish(entry, replace(result, numbers=tuple(replace(number, attempts=2) for number in result.numbers)))
    assert store.query("SELECT phone, number, state FROM attempts ORDER BY phone, number") == [
        (A, 1, AttemptState.LOST),
        (A, 2, AttemptState.VERIFIED),
        (B, 1, AttemptState.VERIFIED),
        (B, 2, AttemptState.REJECTED),
    ]


def test_number_missing_from_the_result_is_unchanged(store: Store) -> None:
    """Each planned number has an outcome when the entry ends, even if its request was never sent."""
    entry = store.start_entry(plan_writes(A, B))
    store.intend(entry, A, B)
    store.record_response(entry, B, AttemptState.REJECTED, None, "ConnectionFailed", "refused")
    store.finish(entry, account_result(plan_writes(A), Outcome.CHANGED))
    assert store.outcomes(entry) == {A: (Outcome.CHANGED, OFF, 1, None), B: (Outcome.UNCHANGED, OFF, 1, None)}
    assert store.recall().written == {A: OFF}


def test_error_texts_are_stored_in_full(store: Store) -> None:
    """NUL and lone surrogates are replaced; emoji and long texts are stored unchanged."""
    texts = ["a\0b", "\udc00é", "발신번호 😀", "x" * 500]
    phones = [f"010000{n}" for n in range(4)]
    entry = store.start_entry(plan_writes(*phones))
    store.intend(entry, *phones)
    rows: list[ResponseRow] = [
        (entry, phone, 1, AttemptState.REJECTED, 400, text, text) for phone, text in zip(phones, texts, strict=True)
    ]
    writes.record_responses(store.connection, rows, "now")
    stored = ["a\ufffdb", "\ufffdé", *texts[2:]]
    assert [text for (text,) in store.query("SELECT error_message FROM attempts ORDER BY phone")] == stored
    result = account_result(plan_writes(*phones), Outcome.FAILED)
    numbers = [
        replace(number, error=NumberError(text, text)) for number, text in zip(result.numbers, texts, strict=True)
    ]
    store.finish(entry, replace(result, numbers=tuple(numbers)))
    assert store.query("SELECT error_code, error_message FROM outcomes ORDER BY phone") == list(
        zip(stored, stored, strict=True)
    )
    undecodable = replace(subject("vendor 2"), account="a\udcff", source="d/\udcff.yaml")
    writes.add_entry(store.connection, "r1", undecodable, plan_writes(), fingerprint="", now="now")
    assert store.query("SELECT account, source FROM entries WHERE key = 'vendor 2'") == [("a\ufffd", "d/\ufffd.yaml")]


def test_last_written_status_is_remembered_for_each_account(store: Store) -> None:
    """A later run overwrites it, a failed one does not, changes by others are recorded, and accounts do not mix."""
    for key in (KEY, "vendor 2"):
        entry = store.start_entry(plan_writes(A, B), key)
        store.finish(entry, account_result(plan_writes(A, B), Outcome.CHANGED))
    entry = store.start_entry(plan_writes(A, desired=ON))
    store.finish(entry, account_result(plan_writes(A, desired=ON), Outcome.CHANGED))
    entry = store.start_entry(plan_writes(C))
    store.finish(entry, account_result(plan_writes(C), Outcome.FAILED), {A: Status(ON), B: Status(ON)})
    assert store.recall().written == {A: ON, B: ON}
    assert store.recall("vendor 2").written == {A: OFF, B: OFF}
    assert store.recall("vendor 3") == AccountMemory()
    # a status that was already known keeps the run that wrote it
    assert store.query("SELECT phone, run FROM written WHERE key = 'vendor 1'") == [(A, "r3"), (B, "r4")]


def _record_crash(store: Store, *phones: str, desired: str = OFF) -> int:
    entry = store.start_entry(plan_writes(*phones, desired=desired))
    store.intend(entry, *phones, desired=desired)
    return entry


def _record_run(store: Store, outcome: RunOutcome, *phones: str) -> None:
    plan = plan_writes(*phones)
    entry = store.start_entry(plan)
    store.intend(entry, *phones)
    numbers = account_result(plan, Outcome.CHANGED)
    store.finish(entry, replace(numbers, outcome=outcome))


def test_deactivations_of_crashed_runs_count_until_a_run_ends(store: Store) -> None:
    """The deactivations of several crashed runs add up, also with refused, cancelled or locked runs in between."""
    _record_crash(store, A)
    assert store.recall().spent == {A}
    store.settle(n0100001=OFF)
    assert store.recall().spent == {A}
    for outcome in (RunOutcome.REFUSED, RunOutcome.LOCKED, RunOutcome.FAILED, RunOutcome.INTERRUPTED):
        _record_run(store, outcome)
        assert store.recall().spent == {A}
    _record_crash(store, B)
    _record_crash(store, C, desired=ON)
    assert store.recall().spent == {A, B}
    store.settle(n0100002=OFF, n0100003=ON)
    assert store.recall().spent == {A, B}
    assert store.recall("vendor 2").spent == frozenset()


@pytest.mark.parametrize("outcome", list(RunOutcome))
def test_run_that_attempted_writes_starts_a_new_count(store: Store, outcome: RunOutcome) -> None:
    """The next plan is a new one, whatever the outcome of the run."""
    _record_crash(store, A)
    store.settle(n0100001=OFF)
    _record_run(store, outcome, B)
    assert store.recall().spent == frozenset()
    _record_crash(store, C)
    assert store.recall().spent == {C}


def test_converged_run_starts_a_new_count(store: Store) -> None:
    """A completed plan is over, even if the run that finds it completed sends nothing."""
    _record_crash(store, A)
    store.settle(n0100001=OFF)
    _record_run(store, RunOutcome.CONVERGED)
    assert store.recall().spent == frozenset()


def test_rejected_requests_do_not_count_as_deactivations(store: Store) -> None:
    """A rejected request has deactivated nothing; a request that a read found lost may arrive later."""
    entry = _record_crash(store, A, B, C)
    store.record_response(entry, A, AttemptState.REJECTED, 400, "InvalidSenderId", "")
    assert store.recall().spent == {B, C}
    store.settle(n0100001=ON, n0100002=ON, n0100003="PENDING")
    assert store.recall().spent == {B, C}


def test_open_runs_are_never_pruned(store: Store) -> None:
    """Runs in progress, crashed runs and ambiguous requests are kept by every prune, as are written statuses."""
    _record_run(store, RunOutcome.CONVERGED, A)
    _record_crash(store, B)
    entry = _record_crash(store, C)
    store.finish(entry, account_result(plan_writes(C), Outcome.UNVERIFIED, after=None))
    assert retention.prune(store.connection, "9999") == 1
    assert store.query("SELECT id FROM runs ORDER BY id") == [("r2",), ("r3",)]
    assert store.query("SELECT DISTINCT entry FROM attempts ORDER BY entry") == [(2,), (3,)]
    assert store.query("SELECT id FROM entries ORDER BY id") == [(2,), (3,)]
    assert store.query("SELECT DISTINCT entry FROM outcomes ORDER BY entry") == [(2,), (3,)]
    assert store.recall().written == {A: OFF}
    store.settle(n0100002=OFF, n0100003=OFF)
    assert retention.prune(store.connection, "9999") == 2
    assert store.query("SELECT id FROM runs") == store.query("SELECT id FROM entries") == []
    assert store.query("SELECT phone FROM attempts") == store.query("SELECT phone FROM outcomes") == []
    assert store.recall().written == {A: OFF, B: OFF, C: OFF}


def test_runs_that_count_for_safety_rules_are_never_pruned(store: Store) -> None:
    """A crashed run is kept until another run has ended, so that pruning does not increase an allowance."""
    _record_crash(store, A)
    store.settle(n0100001=OFF)
    _record_run(store, RunOutcome.REFUSED)
    assert retention.prune(store.connection, "9999") == 1
    assert store.trim(0, current_run="r2") == 0
    assert store.query("SELECT id FROM runs") == [("r1",)]
    assert store.recall().spent == {A}
    _record_run(store, RunOutcome.PARTIAL, B)
    assert retention.prune(store.connection, "9999") == 2


def test_ledger_is_trimmed_only_above_its_limit(store: Store) -> None:
    for phone in (A, B, C):
        _record_run(store, RunOutcome.CONVERGED, phone)
    used_bytes = store.database.used_bytes(store.connection)
    assert store.trim(used_bytes, current_run="r3") == 0
    assert store.trim(used_bytes - 1, current_run="r3") > 0


def test_used_bytes_are_those_of_the_file(sqlite_store: SqliteStore) -> None:
    _record_run(sqlite_store, RunOutcome.CONVERGED, A)
    assert sqlite_store.file.used_bytes(sqlite_store.sqlite) == len(sqlite_store.sqlite.serialize())


def test_prune_deletes_runs_that_ended_before_the_time(store: Store) -> None:
    """The end of the run counts, to the millisecond."""
    for phone in (A, B, C):
        _record_run(store, RunOutcome.CONVERGED, phone)
    ((end,),) = store.query("SELECT finished_at FROM runs WHERE id = 'r2'")
    assert retention.prune(store.connection, str(end)) == 1
    assert store.query("SELECT id FROM runs ORDER BY id") == [("r2",), ("r3",)]


def _record_runs(store: Store, runs: int, numbers: int = 50) -> list[str]:
    phones = [f"010{n:08}" for n in range(numbers)]
    for _ in range(runs):
        _record_run(store, RunOutcome.CONVERGED, *phones)
    return phones


def test_trim_keeps_the_file_within_its_limit(sqlite_store: SqliteStore) -> None:
    """The oldest runs are deleted until the rest fits, and the freed pages are returned to the disk."""
    phones = _record_runs(sqlite_store, 60)
    sqlite_store.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    path = sqlite_store.file.path
    limit = path.stat().st_size // 3
    deleted = sqlite_store.trim(limit, current_run="r60")
    sqlite_store.file.shrink(sqlite_store.connection)
    remaining = [run for (run,) in sqlite_store.query("SELECT id FROM runs ORDER BY started_at")]
    assert remaining == [f"r{number}" for number in range(deleted + 1, 61)]
    assert 10 < len(remaining) < 30
    sqlite_store.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    assert path.stat().st_size <= limit
    assert sqlite_store.query("PRAGMA freelist_count") == [(0,)]
    assert sqlite_store.recall().written == dict.fromkeys(phones, OFF)
    assert sqlite_store.trim(limit, current_run="r60") == 0


def test_trim_keeps_the_run_that_ends(store: Store) -> None:
    """The current run and open runs are kept, however small the limit."""
    _record_runs(store, 3)
    _record_crash(store, A)
    _record_runs(store, 2)
    assert store.trim(1, current_run="r6") == 4
    assert store.query("SELECT id FROM runs ORDER BY id") == [("r4",), ("r6",)]


def test_trim_keeps_a_run_that_has_just_started(store: Store) -> None:
    """Another process may have started a run that has no entry yet."""
    _record_runs(store, 2)
    writes.add_run(store.connection, run_info("other", started_at="2000-01-01T00:00:00.000Z"))
    assert store.trim(1, current_run="r2") == 1
    assert store.query("SELECT id FROM runs ORDER BY id") == [("other",), ("r2",)]


def test_prune_returns_free_pages(sqlite_store: SqliteStore) -> None:
    """No empty page stays in the file."""
    _record_runs(sqlite_store, 20)
    (before,) = sqlite_store.query("PRAGMA page_count")
    retention.prune(sqlite_store.connection, "9999")
    sqlite_store.file.shrink(sqlite_store.connection)
    (after,) = sqlite_store.query("PRAGMA page_count")
    assert int(str(after[0])) < int(str(before[0])) / 2
    assert sqlite_store.query("PRAGMA freelist_count") == [(0,)]


def _use_every_statement(store: Store) -> None:
    _record_crash(store, A, B)
    entry = store.start_entry(plan_writes(C))
    store.intend(entry, C)
    store.record_response(entry, C, AttemptState.REJECTED, 400, "x", "y")
    store.settle(n0100001=OFF, n0100002=ON, n0100003=ON)
    _record_run(store, RunOutcome.PARTIAL, C)
    entry = store.start_entry(plan_writes(C))
    store.finish(entry, account_result(plan_writes(C), Outcome.CHANGED), {A: Status(ON)})
    store.recall()
    store.trim(1, current_run="r4")
    retention.prune(store.connection, "9999")


def test_no_statement_scans_a_large_table(sqlite_store: SqliteStore) -> None:
    """Every statement finds entries, attempts, outcomes and written statuses by an index."""
    statements: list[str] = []
    sqlite_store.sqlite.set_trace_callback(statements.append)
    _use_every_statement(sqlite_store)
    sqlite_store.sqlite.set_trace_callback(None)
    large = ("entries", "attempts", "outcomes", "written")
    queries = [text for text in statements if text.lstrip().startswith(("SELECT", "INSERT", "UPDATE", "DELETE"))]
    assert len(set(queries)) > 30
    for text in queries:
        for _, _, _, detail in sqlite_store.sqlite.execute(f"EXPLAIN QUERY PLAN {text}"):
            assert not any(detail.startswith(f"SCAN {table}") for table in large), (detail, text)


def test_recall_is_fast_with_a_long_history(store: Store) -> None:
    """A recall takes less than 1 s with 100,000 attempts of crashed runs, and under 0.1 s after a run that ended."""
    phones = [f"010{n:08}" for n in range(1000)]
    store.connection.execute("BEGIN")
    for _ in range(100):
        _record_crash(store, *phones)
    store.connection.execute("COMMIT")
    store.connection.execute("UPDATE entries SET outcome = ?, finished_at = 'then', settled = true", (CRASHED,))
    memory, seconds = _fastest_recall(store)
    assert (len(memory.spent), seconds < 1) == (1000, True)
    _record_run(store, RunOutcome.CONVERGED, A)
    memory, seconds = _fastest_recall(store)
    assert (memory, seconds < 0.1) == (AccountMemory({A: Status(OFF)}, names=NAMES), True)


def _fastest_recall(store: Store) -> tuple[AccountMemory, float]:
    """Return the memory, and the least time in seconds of three attempts, because the machine may be busy."""

    def recall() -> tuple[AccountMemory, float]:
        start = time.perf_counter()
        return store.recall(), time.perf_counter() - start

    return min((recall() for _ in range(3)), key=itemgetter(1))
