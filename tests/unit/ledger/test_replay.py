"""Runs that use up a plan file: runs that applied it, and later runs that wrote to its numbers."""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing

import pytest

from tests.support.ledgers import (
    account_result,
    clock,
    ledger,
    never_wait,
    observed_account,
    plan_writes,
    run_info,
    subject,
)
from worker.ledger import Database, NullLedger, SqliteFile, writes
from worker.ledger.database import Connection
from worker.ledger.records import AttemptState
from worker.model.accounts import PlanFile, PlanFileUse
from worker.model.errors import LedgerError
from worker.model.results import Outcome, RunOutcome

A, B = "01000000001", "01000000002"
KEY = "vendor 1"
PLAN = PlanFile("p1", "2026-11-24T12:00:00.500Z")
CREATED, BEFORE, AFTER = "2026-11-24T12:00:00.500Z", "2026-11-24T12:00:00.499Z", "2026-11-24T12:00:00.501Z"


class Store:
    """A ledger that tests fill step by step."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    def start_run(self, name: str, *, plan: str | None = None, key: str = KEY) -> int:
        """Add a run with an entry for an account, which plans to write A and B."""
        writes.add_run(self.connection, run_info(name, plan=plan, started_at=f"start of {name}"))
        return writes.add_entry(self.connection, name, subject(key), plan_writes(A, B), fingerprint="f", now=BEFORE)

    def intend(self, entry: int, phone: str = A, at: str = AFTER) -> None:
        """Record the intent of a request."""
        writes.intend(self.connection, [(entry, phone, 1, "INACTIVE")], at)

    def earlier_run(self, *phones: str, key: str = KEY, plan: PlanFile = PLAN) -> PlanFileUse | None:
        """Return the use of the plan file that the run `now` finds."""
        return writes.earlier_run(self.connection, "now", key, plan, phones=phones or (A, B))


@pytest.fixture
def store(database: Database) -> Iterator[Store]:
    """Return an empty ledger."""
    with closing(database.connect(program="0", now=clock())) as connection:
        yield Store(connection)


def test_intended_write_uses_up_the_plan(store: Store) -> None:
    """The first intent uses up the plan, even if the run crashed. A plan with another id is not used up."""
    entry = store.start_run("r1", plan="p1")
    assert store.earlier_run() is None
    store.intend(entry, at=BEFORE)
    assert store.earlier_run() == PlanFileUse("r1", "start of r1", was_applied=True)
    assert store.earlier_run(plan=PlanFile("p2", AFTER)) is None


def test_intended_write_uses_up_the_plan_for_all_its_accounts(store: Store) -> None:
    """A write to one account uses up the file for the other accounts."""
    store.intend(store.start_run("r1", plan="p1", key="vendor 2"), at=BEFORE)
    assert store.earlier_run() == PlanFileUse("r1", "start of r1", was_applied=True)


@pytest.mark.parametrize("outcome", [*RunOutcome])
def test_run_without_writes_uses_up_the_plan_only_if_converged(store: Store, outcome: RunOutcome) -> None:
    """The plan can still be applied after a busy account, an interruption, a refusal or conflicts."""
    store.start_run("r1", plan="p1")
    writes.finish_run(store.connection, "r1", outcome, AFTER)
    assert (store.earlier_run() is not None) == (outcome is RunOutcome.CONVERGED)


def test_run_is_not_its_own_earlier_run(store: Store) -> None:
    """An intent of the current run does not make its own plan count as a replay."""
    store.intend(store.start_run("now", plan="p1"))
    writes.finish_run(store.connection, "now", RunOutcome.CONVERGED, AFTER)
    assert store.earlier_run() is None


def test_unsent_intents_do_not_use_up_the_plan(store: Store) -> None:
    """Intents are recorded before they are sent; those never sent are deleted at the end of the run."""
    entry = store.start_run("r1", plan="p1")
    store.intend(entry)
    result = account_result(plan_writes(A, B), Outcome.NOT_ATTEMPTED, attempts=0)
    writes.finish_entry(store.connection, entry, result, {}, AFTER)
    assert store.earlier_run() is None


@pytest.mark.parametrize(
    ("at", "superseded"), [(BEFORE, False), (CREATED, True), (AFTER, True), ("2026-11-24T12:00:01.000Z", True)]
)
def test_later_write_of_another_run_supersedes_the_plan(store: Store, at: str, *, superseded: bool) -> None:
    """The time of the intent counts, not the start of the run. The same millisecond counts as later."""
    store.intend(store.start_run("r1"), at=at)
    assert store.earlier_run() == (PlanFileUse("r1", at, was_applied=False) if superseded else None)


@pytest.mark.parametrize("created_at", ["2026-11-24T12:00:00Z", "2026-11-24T12:00:00.0001Z", "2026-11-24T12:00:00.4Z"])
def test_fractions_of_a_second_are_compared_as_times(store: Store, created_at: str) -> None:
    """Timestamps of different lengths do not sort as text: the point sorts before the Z."""
    store.intend(store.start_run("r1"))
    assert store.earlier_run(plan=PlanFile("p1", created_at)) is not None


def test_only_writes_to_planned_numbers_of_the_account_supersede_the_plan(store: Store) -> None:
    """Another number, or the same number on another account, does not affect the plan."""
    store.intend(store.start_run("r1"))
    store.intend(store.start_run("r2", key="vendor 2"), B)
    assert store.earlier_run(A, B) is not None
    assert store.earlier_run(B) is None
    assert store.earlier_run(B, key="vendor 2") is not None
    assert store.earlier_run(A, key="vendor 3") is None


def test_run_that_ended_before_the_plan_does_not_supersede_it(store: Store) -> None:
    """A run that ended later supersedes the plan if its writes came later, whatever their outcome."""
    for name, at in (("r1", BEFORE), ("r2", AFTER)):
        entry = store.start_run(name)
        store.intend(entry, at=at)
        writes.record_responses(store.connection, [(entry, A, 1, AttemptState.REJECTED, 400, "X", "no")], at)
        writes.finish_entry(store.connection, entry, account_result(plan_writes(A, B), Outcome.FAILED), {}, at)
        assert (store.earlier_run() is not None) == (name == "r2")


@pytest.mark.parametrize(("answered_at", "superseded"), [(BEFORE, False), (CREATED, True), (AFTER, True)])
@pytest.mark.parametrize("responding_phone", [A, B])
def test_write_that_was_intended_before_the_plan_and_sent_after_it_supersedes_it(
    store: Store, responding_phone: str, answered_at: str, *, superseded: bool
) -> None:
    """Intents are recorded in blocks, so a request may wait for its slot while the plan is created.

    Its own response, or that of another request of the run, shows that the run was still sending.
    """
    entry = store.start_run("r1")
    for phone in (A, B):
        store.intend(entry, phone, at=BEFORE)
    response = (entry, responding_phone, 1, AttemptState.OK, 200, None, None)
    writes.record_responses(store.connection, [response], answered_at)
    for phone in (A, B):
        use = store.earlier_run(phone)
        assert (use is not None) == superseded
        assert use is None or (use.run, use.was_applied) == ("r1", False)


@pytest.mark.parametrize(("at", "superseded"), [(BEFORE, False), (AFTER, True)])
def test_accepted_write_may_have_been_sent_until_the_end_of_its_run(store: Store, at: str, *, superseded: bool) -> None:
    """The ledger does not record the time of a response that the verification read confirms."""
    entry = store.start_run("r1")
    store.intend(entry, at=BEFORE)
    writes.finish_entry(store.connection, entry, account_result(plan_writes(A, B), Outcome.CHANGED), {}, at)
    assert store.earlier_run() == (PlanFileUse("r1", at, was_applied=False) if superseded else None)


def test_latest_write_of_all_runs_is_named(store: Store) -> None:
    """Of several runs, the last write is reported with its run and time."""
    for name, second in (("r1", 3), ("r2", 5), ("r3", 4)):
        store.intend(store.start_run(name), at=f"2026-11-24T12:00:0{second}.000Z")
    assert store.earlier_run() == PlanFileUse("r2", "2026-11-24T12:00:05.000Z", was_applied=False)


def test_lookup_is_fast_with_a_long_history(sqlite: SqliteFile) -> None:
    """With 10,000 runs, 100,000 attempts and 1,000 numbers it takes less than 0.5 s and scans no table."""
    phones = [f"010{n:08}" for n in range(1000)]
    connection = sqlite.connect(program="0", now=clock())
    store = Store(connection)
    connection.execute("BEGIN")
    for number in range(10_000):
        entry = store.start_run(f"r{number}", plan=f"other {number}")
        writes.intend(store.connection, [(entry, phone, 1, "INACTIVE") for phone in phones[:10]], BEFORE)
    store.connection.execute("UPDATE entries SET finished_at = ?", (BEFORE,))
    store.connection.execute("COMMIT")
    statements: list[str] = []
    connection.set_trace_callback(statements.append)
    start = time.perf_counter()
    assert store.earlier_run(*phones) is None
    assert time.perf_counter() - start < 0.5
    connection.set_trace_callback(None)
    assert len(statements) == 2
    for text in statements:
        for _, _, _, detail in store.connection.execute(f"EXPLAIN QUERY PLAN {text}"):
            assert not detail.startswith(("SCAN runs", "SCAN entries", "SCAN attempts")), detail
    connection.close()


async def test_account_ledger_finds_an_earlier_run(database: Database) -> None:
    """An account ledger asks for its own account and run, while it has the lease."""
    async with ledger(database, run_id="r1", now=clock(43_300)) as first:
        async with first.lease(subject(), never_wait) as account_ledger:
            assert await account_ledger.earlier_run(PLAN, [A]) is None
            await account_ledger.resume(observed_account(n01000000001="ACTIVE"))
            await account_ledger.record_plan(plan_writes(A), "f")
            await account_ledger.intend([(A, 1, plan_writes(A).writes[0].desired)])  # type: ignore[list-item]
            assert await account_ledger.earlier_run(PLAN, [A]) is None
        await first.finish(RunOutcome.PARTIAL)
    async with ledger(database, run_id="r2") as second, second.lease(subject(), never_wait) as account_ledger:
        use = await account_ledger.earlier_run(PLAN, [A])
        assert use is not None
        assert use.run == "r1"
        assert await account_ledger.earlier_run(PLAN, [B]) is None


async def test_unreadable_ledger_is_an_error(sqlite: SqliteFile) -> None:
    """If earlier runs cannot be determined, nothing may be written."""
    async with ledger(sqlite) as run_ledger, run_ledger.lease(subject(), never_wait) as account_ledger:
        with closing(sqlite3.connect(sqlite.path)) as connection, connection:
            connection.execute("DROP TABLE attempts")
        with pytest.raises(LedgerError, match="cannot be used"):
            await account_ledger.earlier_run(PLAN, [A])


async def test_null_ledger_does_not_know_earlier_runs() -> None:
    """A run without a ledger is never refused."""
    assert await NullLedger().earlier_run(PLAN, [A]) is None
