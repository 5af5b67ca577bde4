"""Attempts that earlier runs left open are closed by the next run, and a run that ends leaves nothing open."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from tests.support.ledgers import ledger, never_wait, rows
from tests.support.loopback import Loopback, credentials, run, runtime
from tests.support.model_account import Recorder
from worker.config.settings import Settings
from worker.ledger import Database, Ledger, Subject
from worker.ledger.ledger import LeasedAccountLedger
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


class _Log(Recorder):
    def bind(self, **fields: object) -> "_Log":
        del fields
        return self


def _plan(*phones: str) -> AccountPlan:
    changes = tuple(Change(phone, Action.DEACTIVATE, "ACTIVE", "INACTIVE", "") for phone in phones)
    return AccountPlan(account="main", account_id="1", counts={}, changes=changes)


def _result(*numbers: NumberResult) -> AccountResult:
    return AccountResult(account="main", account_id="1", outcome=RunOutcome.PARTIAL, counts={}, numbers=numbers)


@asynccontextmanager
async def _started_account(run_ledger: Ledger, *phones: str) -> AsyncIterator[LeasedAccountLedger]:
    async with run_ledger.lease(_SUBJECT, never_wait) as account_ledger:
        await account_ledger.record_plan(_plan(*phones), "f")
        await account_ledger.intend([(phone, 1, Status.INACTIVE) for phone in phones])
        yield account_ledger


async def test_unsent_intents_are_not_attempts(database: Database) -> None:
    """Of the recorded intents, only those that were sent stay in the ledger, whatever the outcome of the number."""
    async with ledger(database) as run_ledger, _started_account(run_ledger, A, B, C) as account_ledger:
        account_ledger.record_response(A, 1, None)
        changed = NumberResult(A, Action.DEACTIVATE, "INACTIVE", "ACTIVE", "INACTIVE", Outcome.CHANGED, 1)
        conflicting = NumberResult(B, Action.DEACTIVATE, "INACTIVE", "ACTIVE", "BLOCKED", Outcome.CONFLICT)
        unattempted = NumberResult(C, Action.DEACTIVATE, "INACTIVE", "ACTIVE", "ACTIVE", Outcome.NOT_ATTEMPTED)
        await account_ledger.finish(_result(changed, conflicting, unattempted), {})
    assert rows(database, "SELECT phone, state FROM attempts") == [(A, "verified")]
    assert rows(database, "SELECT settled FROM entries") == [(1,)]


async def test_planned_number_changed_by_others_has_an_outcome(database: Database) -> None:
    """A result omits unchanged numbers. The ledger records them if a write was planned, with their attempts."""
    async with ledger(database) as run_ledger, _started_account(run_ledger, A) as account_ledger:
        account_ledger.record_response(A, 1, RateLimited("busy"))
        await account_ledger.finish(_result(), {})
    assert rows(database, "SELECT phone, outcome, after, attempts FROM outcomes") == [(A, "unchanged", "INACTIVE", 1)]
    assert rows(database, "SELECT state FROM attempts") == [("rejected",)]


async def test_account_that_was_not_started_is_recorded_in_one_transaction(database: Database) -> None:
    """Start and end are one transaction, so that a crash leaves no entry open."""
    open_entries: list[int] = []

    def submit(call: Callable[[], None]) -> None:
        call()
        open_entries.append(len(rows(database, "SELECT 1 FROM entries WHERE finished_at IS NULL")))

    async with ledger(database, submit=submit) as run_ledger:
        await run_ledger.record(_SUBJECT, _result(), {})
    assert set(open_entries) == {0}
    assert rows(database, "SELECT outcome FROM entries") == [("partial",)]


def test_open_entry_of_a_crashed_run_is_closed_without_writes(database: Database) -> None:
    """The next run finds the account as desired, reads again with the lease, and closes the entry."""
    account = SandboxAccount.of({A: "INACTIVE"}, account_id="1", api_key="NCS1", api_secret="s")
    desired = DesiredAccount("main", "x", {A: Desired(Status.INACTIVE)}, [1])

    async def scenario() -> AccountResult:
        async with Loopback(account) as loopback:
            settings = Settings(endpoint=loopback.sandbox.url)
            subject = Subject(
                **{name: getattr(_SUBJECT, name) for name in Subject.__struct_fields__ if name != "key"},
                key=f"{loopback.sandbox.url} 1",
            )
            async with (
                ledger(database, run_id="dead") as run_ledger,
                run_ledger.lease(subject, never_wait) as account_ledger,
            ):
                await account_ledger.record_plan(_plan(A), "f")
                await account_ledger.intend([(A, 1, Status.INACTIVE)])
            async with ledger(database, run_id="next") as run_ledger:
                fleet = Fleet(
                    settings,
                    loopback.transport,
                    lambda _: credentials(account),
                    _Log(),
                    ledger=run_ledger,
                    runtime=runtime(),
                )
                drafts = await fleet.plan([desired], Terms())
                (result,) = await fleet.apply([desired], drafts, Terms(), Recorder())
                second_drafts = await fleet.plan([desired], Terms())
                await fleet.apply([desired], second_drafts, Terms(), Recorder())
                return result

    result = run(scenario())
    assert (result.outcome, result.requests.reads, result.requests.writes) == (RunOutcome.CONVERGED, 2, 0)
    # the second entry ends the plan that the crashed run had started
    assert rows(database, "SELECT run, outcome, settled FROM entries") == [
        ("dead", "crashed", 1),
        ("next", "converged", 1),
    ]
    assert rows(database, "SELECT state FROM attempts") == [("verified",)]


def test_observed_account_returns_the_status_of_a_number() -> None:
    """The status is None for a number that the account does not have."""
    observed = ObservedAccount("1", {A: Observed(A, Status.ACTIVE)})
    assert (observed.status(A), observed.status(B)) == (Status.ACTIVE, None)
