"""What earlier runs left open is closed by the next one, and a run that ends leaves nothing open."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from tests.support.ledgers import ledger, never
from tests.support.loopback import Loopback, credentials, run, runtime
from tests.support.model_account import Unheard
from worker.config.settings import Settings
from worker.ledger import Ledger, Subject
from worker.ledger.ledger import SqliteAccountLedger
from worker.model.accounts import Desired, DesiredAccount, Observed, ObservedAccount, Status
from worker.model.errors import RateLimited
from worker.model.plans import AccountPlan, Action, Change
from worker.model.results import AccountResult, NumberResult, Outcome, RunOutcome
from worker.model.safety import Safety
from worker.plan.build import Terms
from worker.reconcile.fleet import Fleet
from worker.sandbox import SandboxAccount

A, B, C = "01000000001", "01000000002", "01000000003"
_SUBJECT = Subject(
    key="vendor 1", account="main", account_id="1", endpoint="solapi", credentials=None, safety=Safety(), source="x"
)


class _Log(Unheard):
    def bind(self, **fields: object) -> "_Log":
        del fields
        return self


def _plan(*phones: str) -> AccountPlan:
    changes = tuple(Change(phone, Action.DEACTIVATE, "ACTIVE", "INACTIVE", "") for phone in phones)
    return AccountPlan(account="main", account_id="1", counts={}, changes=changes)


def _result(*numbers: NumberResult) -> AccountResult:
    return AccountResult(account="main", account_id="1", outcome=RunOutcome.PARTIAL, counts={}, numbers=numbers)


def _rows(folder: Path, sql: str) -> list[Any]:
    with closing(sqlite3.connect(folder / "ledger.db")) as connection:
        return connection.execute(sql).fetchall()


async def _page(book: Ledger, *phones: str) -> SqliteAccountLedger:
    async with book.hold(_SUBJECT, never) as page:
        await page.begin(_plan(*phones), "f")
        await page.intend([(phone, 1, Status.INACTIVE) for phone in phones])
        return page


async def test_intents_that_never_left_are_no_attempts(tmp_path: Path) -> None:
    """Of what was noted ahead, only what left stays in the ledger, whatever became of its number."""
    async with ledger(tmp_path) as book:
        page = await _page(book, A, B, C)
        page.record_answer(A, 1, None)
        changed = NumberResult(A, Action.DEACTIVATE, "INACTIVE", "ACTIVE", "INACTIVE", Outcome.CHANGED, 1)
        taken = NumberResult(B, Action.DEACTIVATE, "INACTIVE", "ACTIVE", "BLOCKED", Outcome.CONFLICT)
        idle = NumberResult(C, Action.DEACTIVATE, "INACTIVE", "ACTIVE", "ACTIVE", Outcome.NOT_ATTEMPTED)
        await page.finish(_result(changed, taken, idle), {})
    assert _rows(tmp_path, "SELECT phone, state FROM attempts") == [(A, "verified")]
    assert _rows(tmp_path, "SELECT settled FROM entries") == [(1,)]


async def test_a_planned_number_that_others_changed_has_its_outcome(tmp_path: Path) -> None:
    """A result does not name what is unchanged; the ledger does where a write was planned, with its attempts."""
    async with ledger(tmp_path) as book:
        page = await _page(book, A)
        page.record_answer(A, 1, RateLimited("busy"))
        await page.finish(_result(), {})
    assert _rows(tmp_path, "SELECT phone, outcome, after, attempts FROM outcomes") == [(A, "unchanged", "INACTIVE", 1)]
    assert _rows(tmp_path, "SELECT state FROM attempts") == [("rejected",)]


async def test_an_account_that_was_never_started_is_recorded_at_once(tmp_path: Path) -> None:
    """Start and end are one transaction, so that a crash leaves no entry open."""
    seen: list[int] = []

    def submit(call: Callable[[], None]) -> None:
        call()
        seen.append(len(_rows(tmp_path, "SELECT 1 FROM entries WHERE finished_at IS NULL")))

    async with ledger(tmp_path, submit=submit) as book:
        await book.record(_SUBJECT, _result(), {})
    assert set(seen) == {0}
    assert _rows(tmp_path, "SELECT outcome FROM entries") == [("partial",)]


def test_what_a_dead_run_left_open_is_closed_even_if_there_is_nothing_to_write(tmp_path: Path) -> None:
    """The next run finds the account as desired, looks once more under the lock, and closes the dead run's entry."""
    account = SandboxAccount.of({A: "INACTIVE"}, account_id="1", api_key="NCS1", api_secret="s")
    desired = DesiredAccount("main", "x", {A: Desired(Status.INACTIVE)}, [1])

    async def whole() -> AccountResult:
        async with Loopback(account) as loopback:
            settings = Settings(endpoint=loopback.sandbox.url)
            subject = Subject(
                **{name: getattr(_SUBJECT, name) for name in Subject.__struct_fields__ if name != "key"},
                key=f"{loopback.sandbox.url} 1",
            )
            async with ledger(tmp_path, run_id="dead") as book, book.hold(subject, never) as page:
                await page.begin(_plan(A), "f")
                await page.intend([(A, 1, Status.INACTIVE)])
            async with ledger(tmp_path, run_id="next") as book:
                fleet = Fleet(
                    settings, loopback.transport, lambda _: credentials(account), _Log(), ledger=book, runtime=runtime()
                )
                drafts = await fleet.plan([desired], Terms())
                (result,) = await fleet.apply([desired], drafts, Terms(), Unheard())
                again = await fleet.plan([desired], Terms())
                await fleet.apply([desired], again, Terms(), Unheard())
                return result

    result = run(whole())
    assert (result.outcome, result.requests.reads, result.requests.writes) == (RunOutcome.CONVERGED, 2, 0)
    # the second is the end of the plan that the dead run had begun
    assert _rows(tmp_path, "SELECT run, outcome, settled FROM entries") == [
        ("dead", "crashed", 1),
        ("next", "converged", 1),
    ]
    assert _rows(tmp_path, "SELECT state FROM attempts") == [("verified",)]


def test_the_status_of_one_number_is_asked_by_its_digits() -> None:
    """It is None for a number that the account does not have."""
    observed = ObservedAccount("1", {A: Observed(A, Status.ACTIVE)})
    assert (observed.status(A), observed.status(B)) == (Status.ACTIVE, None)
