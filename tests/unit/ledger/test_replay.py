"""Which runs use a plan file up: those that carried it out, and later ones that wrote to its numbers."""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.ledgers import became, clock, ledger, never, planned, seen, started, subject
from worker.ledger import NullLedger, writes
from worker.ledger.records import AttemptState
from worker.ledger.schema import connect
from worker.model.accounts import PlanFile, PlanFileUse
from worker.model.errors import LedgerError
from worker.model.results import Outcome, RunOutcome

A, B = "01000000001", "01000000002"
KEY = "vendor 1"
PLAN = PlanFile("p1", "2026-11-24T12:00:00.500Z")
MADE, BEFORE, AFTER = "2026-11-24T12:00:00.500Z", "2026-11-24T12:00:00.499Z", "2026-11-24T12:00:00.501Z"


class Kept:
    """A ledger, filled step by step."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection

    def run(self, name: str, *, plan: str | None = None, key: str = KEY) -> int:
        """A run with an entry for an account, which plans to write A and B."""
        writes.add_run(self.connection, started(name, plan=plan, started_at=f"start of {name}"))
        return writes.add_entry(self.connection, name, subject(key), planned(A, B), fingerprint="f", now=BEFORE)

    def intend(self, entry: int, phone: str = A, at: str = AFTER) -> None:
        """The intent of a request."""
        writes.intend(self.connection, [(entry, phone, 1, "INACTIVE")], at)

    def earlier(self, *phones: str, key: str = KEY, plan: PlanFile = PLAN) -> PlanFileUse | None:
        """What the run `now` hears."""
        return writes.earlier_run(self.connection, "now", key, plan, phones=phones or (A, B))


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[Kept]:
    """A new ledger."""
    connection = connect(tmp_path / "ledger.db", program="0", now=clock())
    yield Kept(connection)
    connection.close()


def test_a_run_of_the_plan_that_intended_a_write_carried_it_out(kept: Kept) -> None:
    """It counts from its first intent on, whenever that was, also where it died; a plan of another id does not."""
    entry = kept.run("r1", plan="p1")
    assert kept.earlier() is None
    kept.intend(entry, at=BEFORE)
    assert kept.earlier() == PlanFileUse("r1", "start of r1", carried_out=True)
    assert kept.earlier(plan=PlanFile("p2", AFTER)) is None


def test_a_run_of_the_plan_counts_for_all_its_accounts(kept: Kept) -> None:
    """What it wrote to one account uses the file up for the others."""
    kept.intend(kept.run("r1", plan="p1", key="vendor 2"), at=BEFORE)
    assert kept.earlier() == PlanFileUse("r1", "start of r1", carried_out=True)


@pytest.mark.parametrize("outcome", [*RunOutcome])
def test_a_run_of_the_plan_without_writes_counts_only_if_it_converged(kept: Kept, outcome: RunOutcome) -> None:
    """A busy account, missing credentials, an interruption, a refusal or conflicts leave the plan to be carried out."""
    kept.run("r1", plan="p1")
    writes.finish_run(kept.connection, "r1", outcome, AFTER)
    assert (kept.earlier() is not None) == (outcome is RunOutcome.CONVERGED)


def test_a_run_is_not_its_own_earlier_run(kept: Kept) -> None:
    """What the asking run intends itself, on this or another account, does not refuse it."""
    kept.intend(kept.run("now", plan="p1"))
    writes.finish_run(kept.connection, "now", RunOutcome.CONVERGED, AFTER)
    assert kept.earlier() is None


def test_an_interrupted_run_whose_intents_never_left_does_not_count(kept: Kept) -> None:
    """Intents are noted ahead; those that never left are gone once the run has ended."""
    entry = kept.run("r1", plan="p1")
    kept.intend(entry)
    result = became(planned(A, B), Outcome.NOT_ATTEMPTED, attempts=0)
    writes.finish_entry(kept.connection, entry, result, {}, AFTER)
    assert kept.earlier() is None


@pytest.mark.parametrize(
    ("at", "superseded"), [(BEFORE, False), (MADE, True), (AFTER, True), ("2026-11-24T12:00:01.000Z", True)]
)
def test_another_run_supersedes_the_plan_by_a_write_after_the_plan_was_made(
    kept: Kept, at: str, *, superseded: bool
) -> None:
    """The moment of its intent counts, not that of its start; the same millisecond is after."""
    kept.intend(kept.run("r1"), at=at)
    assert kept.earlier() == (PlanFileUse("r1", at, carried_out=False) if superseded else None)


@pytest.mark.parametrize("created_at", ["2026-11-24T12:00:00Z", "2026-11-24T12:00:00.0001Z", "2026-11-24T12:00:00.4Z"])
def test_fractions_of_a_second_are_compared_as_times(kept: Kept, created_at: str) -> None:
    """Texts of several lengths sort wrongly: the point comes before the Z."""
    kept.intend(kept.run("r1"))
    assert kept.earlier(plan=PlanFile("p1", created_at)) is not None


def test_only_writes_to_numbers_of_the_plan_on_its_account_supersede_it(kept: Kept) -> None:
    """Another number, or the same number on another account, does not affect the plan."""
    kept.intend(kept.run("r1"))
    kept.intend(kept.run("r2", key="vendor 2"), B)
    assert kept.earlier(A, B) is not None
    assert kept.earlier(B) is None
    assert kept.earlier(B, key="vendor 2") is not None
    assert kept.earlier(A, key="vendor 3") is None


def test_a_run_that_ended_before_the_plan_was_made_does_not_supersede_it(kept: Kept) -> None:
    """One that ended afterwards does if its writes came afterwards, whatever became of them."""
    for name, at in (("r1", BEFORE), ("r2", AFTER)):
        entry = kept.run(name)
        kept.intend(entry, at=at)
        writes.answer(kept.connection, [(entry, A, 1, AttemptState.REJECTED, 400, "X", "no")], at)
        writes.finish_entry(kept.connection, entry, became(planned(A, B), Outcome.FAILED), {}, at)
        assert (kept.earlier() is not None) == (name == "r2")


def test_the_last_write_of_all_runs_is_named(kept: Kept) -> None:
    """Of several runs the one that wrote last, with the time of that write."""
    for name, second in (("r1", 3), ("r2", 5), ("r3", 4)):
        kept.intend(kept.run(name), at=f"2026-11-24T12:00:0{second}.000Z")
    assert kept.earlier() == PlanFileUse("r2", "2026-11-24T12:00:05.000Z", carried_out=False)


def test_the_lookup_is_quick_however_long_the_history(kept: Kept) -> None:
    """With 10,000 runs, 100,000 attempts and 1,000 numbers it takes a moment, and reads no table from end to end."""
    phones = [f"010{n:08}" for n in range(1000)]
    kept.connection.execute("BEGIN")
    for number in range(10_000):
        entry = kept.run(f"r{number}", plan=f"other {number}")
        writes.intend(kept.connection, [(entry, phone, 1, "INACTIVE") for phone in phones[:10]], BEFORE)
    kept.connection.execute("UPDATE entries SET finished_at = ?", (BEFORE,))
    kept.connection.execute("COMMIT")
    statements: list[str] = []
    kept.connection.set_trace_callback(statements.append)
    began = time.perf_counter()
    assert kept.earlier(*phones) is None
    assert time.perf_counter() - began < 0.5
    kept.connection.set_trace_callback(None)
    assert len(statements) == 2
    for text in statements:
        for _, _, _, detail in kept.connection.execute(f"EXPLAIN QUERY PLAN {text}"):
            assert not detail.startswith(("SCAN runs", "SCAN entries", "SCAN attempts")), detail


async def test_a_run_that_held_the_account_first_is_heard(tmp_path: Path) -> None:
    """A page asks behind the account's lease, of its own account and run."""
    async with ledger(tmp_path, run_id="r1", now=clock(43_300)) as first:
        async with first.hold(subject(), never) as page:
            assert await page.earlier_run(PLAN, [A]) is None
            await page.resume(seen(n01000000001="ACTIVE"))
            await page.begin(planned(A), "f")
            await page.intend([(A, 1, planned(A).writes[0].desired)])  # type: ignore[list-item]
            assert await page.earlier_run(PLAN, [A]) is None
        await first.finish(RunOutcome.PARTIAL)
    async with ledger(tmp_path, run_id="r2") as second, second.hold(subject(), never) as page:
        found = await page.earlier_run(PLAN, [A])
        assert found is not None
        assert found.run == "r1"
        assert await page.earlier_run(PLAN, [B]) is None


async def test_an_unreadable_ledger_is_an_error_and_no_consent(tmp_path: Path) -> None:
    """Where it cannot be known, nothing may be written."""
    async with ledger(tmp_path) as broken, broken.hold(subject(), never) as page:
        with closing(sqlite3.connect(tmp_path / "ledger.db")) as connection, connection:
            connection.execute("DROP TABLE attempts")
        with pytest.raises(LedgerError, match="cannot be used"):
            await page.earlier_run(PLAN, [A])


async def test_without_a_ledger_no_run_is_known() -> None:
    """A run that keeps none is refused nothing."""
    assert await NullLedger().earlier_run(PLAN, [A]) is None
