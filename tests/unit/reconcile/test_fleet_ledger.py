"""Fleets with a ledger, on real sockets: full disks, crashed runs, and runs that wait for each other."""

import asyncio
import sqlite3
from array import array
from collections import Counter
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from msgspec.structs import replace

from tests.support.ledgers import immediate_ledger, never_wait, rows, subject
from tests.support.loopback import LogRecorder, Loopback, credentials, run, runtime
from tests.support.postgres import new_database
from worker.config.settings import RateLimit, Retry, Settings
from worker.ledger import Ledger, Subject, group_commit, memory_reader
from worker.ledger import writes as store
from worker.ledger.database import Connection, Leases
from worker.ledger.history import run_record
from worker.ledger.postgres.database import PostgresDatabase
from worker.ledger.postgres.leases import lane_name
from worker.ledger.sqlite import SqliteFile
from worker.model.accounts import Desired, DesiredAccount, Status
from worker.model.credentials import Credentials, CredentialsRef, SecretRef
from worker.model.errors import CredentialsMissing, Interrupted
from worker.model.history import AccountRecord
from worker.model.results import AccountResult, Outcome, RunOutcome
from worker.model.safety import Safety
from worker.plan.build import Draft, Terms
from worker.plan.planfile import SavedAccount
from worker.reconcile import identity
from worker.reconcile.fleet import Fleet
from worker.reconcile.rollback import inverse_plan
from worker.sandbox import Fault, SandboxAccount

ON, OFF = "ACTIVE", "INACTIVE"
_TERMS = Terms(Safety(max_deactivations="100%", min_active=0), allow=frozenset({"fleet-wide"}))


def _account(number: int, numbers: int = 3, status: str = OFF) -> SandboxAccount:
    statuses = {f"010{number:04}{index:04}": status for index in range(numbers)}
    return SandboxAccount.of(
        statuses, account_id=f"{number}", api_key=f"NCS{number:013}", api_secret=f"secret-of-{number}"
    )


class FleetSetup:
    """Accounts with all numbers desired ACTIVE, and their ledger in a folder."""

    def __init__(self, loopback: Loopback, folder: Path, **settings: Any) -> None:
        self.loopback = loopback
        self.folder = folder
        self.sandbox = loopback.sandbox
        self.accounts = list(loopback.sandbox.accounts.values())
        defaults: dict[str, Any] = {
            "rate_limit": RateLimit(writes=10_000, reads=10_000),
            "retry": Retry(base_seconds=0.1),
        }
        self.settings = Settings(endpoint=loopback.sandbox.url, **defaults | settings)
        self.desired = [self._desired_account(account, ON) for account in self.accounts]
        self.log = LogRecorder()

    @staticmethod
    def _desired_account(account: SandboxAccount, status: str) -> DesiredAccount:
        name = account.account_id
        secret_ref = SecretRef(env=name)
        desired_numbers = dict.fromkeys(account.statuses, Desired(Status(status)))
        lines = array("I", range(len(desired_numbers)))
        return DesiredAccount(
            name, "x.yaml", desired_numbers, lines, credentials=CredentialsRef(secret_ref, secret_ref)
        )

    def set_desired(self, status: str) -> None:
        """Set the desired status of every number."""
        self.desired = [self._desired_account(account, status) for account in self.accounts]

    def subject(self, name: str) -> Subject:
        """Return an account as the ledger identifies it."""
        return subject(identity.key(self.settings.endpoint, name))

    def fleet(self, ledger: Ledger) -> Fleet:
        """Return the fleet of a run."""
        keys = {account.account_id: credentials(account) for account in self.accounts}
        return Fleet(
            self.settings,
            self.loopback.transport,
            lambda reference: keys[str(reference and reference.api_key.env)],
            self.log,
            ledger=ledger,
            runtime=runtime(),
        )

    def ledger(self, run_id: str, **options: Any) -> Ledger:
        """Return the ledger of a run."""
        return immediate_ledger(self.folder, run_id=run_id, **options)

    async def apply(self, run_id: str, terms: Terms = _TERMS, **options: Any) -> list[AccountResult]:
        """Plan and apply in a run of its own, with its ledger."""
        async with self.ledger(run_id, **options) as run_ledger:
            return await self.plan_and_apply(self.fleet(run_ledger), terms)

    async def plan_and_apply(
        self, fleet: Fleet, terms: Terms = _TERMS, drafts: list[Draft] | None = None
    ) -> list[AccountResult]:
        """Plan, unless `drafts` are given, and apply."""
        drafts = drafts or await fleet.plan(self.desired, terms)
        return await fleet.apply(self.desired, drafts, terms, self.log)

    @property
    def writes(self) -> Counter[tuple[str | None, str | None]]:
        """Count the writes that arrived, by number and status."""
        return Counter((request.phone, request.desired) for request in self.sandbox.wire if request.method == "PUT")

    def entries(self, run_id: str) -> tuple[AccountRecord, ...]:
        """Return the accounts of a run from the ledger."""
        with SqliteFile(self.folder / "ledger.db").read() as connection:
            assert connection is not None
            return run_record(connection, run_id).accounts

    def recorded_attempts(self) -> Counter[tuple[Any, ...]]:
        """Count the attempts in the ledger, by number and status."""
        return Counter(rows(self.folder, "SELECT phone, asked FROM attempts"))


def _run_scenario(
    scenario: Callable[[FleetSetup], Coroutine[Any, Any, None]],
    folder: Path,
    *accounts: SandboxAccount,
    **settings: Any,
) -> None:
    async def scenario_with_sandbox() -> None:
        async with Loopback(*accounts) as loopback:
            await scenario(FleetSetup(loopback, folder, **settings))

    run(scenario_with_sandbox())


@pytest.mark.parametrize("is_durable", [False, True])
@pytest.mark.parametrize("nth", range(2, 10))
def test_failed_commit_stops_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nth: int, *, is_durable: bool
) -> None:
    """Nothing more is sent, even if the failed commit reached the disk. The next run converges."""
    commit = group_commit._Batch.commit
    remaining = nth
    durable = Counter[tuple[Any, ...]]()

    async def scenario(setup: FleetSetup) -> None:
        def failing_commit(batch: group_commit._Batch, connection: Connection, leases: Leases, now: str) -> None:
            nonlocal remaining, durable
            remaining -= 1
            if remaining == 0:
                durable = setup.recorded_attempts()
                if is_durable:
                    commit(batch, connection, leases, now)
                raise sqlite3.OperationalError("database or disk is full")
            commit(batch, connection, leases, now)

        monkeypatch.setattr(group_commit._Batch, "commit", failing_commit)
        async with setup.ledger("first") as run_ledger:
            (result,) = await setup.plan_and_apply(setup.fleet(run_ledger))
        monkeypatch.undo()
        assert remaining <= 0
        assert result.outcome is RunOutcome.FAILED
        assert result.error is not None
        assert (result.error.code, "disk is full" in result.error.message) == ("LedgerError", True)
        assert setup.writes <= durable
        assert setup.writes.total() < 120
        for number in result.numbers:
            assert (number.outcome is Outcome.CHANGED) == bool(setup.writes[number.phone, ON])
        (second_result,) = await setup.apply("second")
        assert second_result.outcome is RunOutcome.CONVERGED
        assert set(setup.accounts[0].statuses.values()) == {ON}
        assert rows(tmp_path, "SELECT id FROM entries WHERE NOT settled") == []
        assert rows(tmp_path, "SELECT phone FROM outcomes WHERE outcome IS NULL") == []

    _run_scenario(scenario, tmp_path, _account(0, 120), concurrency=3)


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(600):
        while not condition():  # noqa: ASYNC110 - the sandbox has no event for it
            await asyncio.sleep(0.1)


async def _crash(setup: FleetSetup, run_id: str, fault: Fault) -> None:
    """Run until the first request has arrived or is lost, then cancel the run."""
    phone = next(iter(setup.accounts[0].statuses))
    setup.sandbox.script(phone, "PUT", [fault])
    async with setup.ledger(run_id) as run_ledger:
        apply_task = asyncio.create_task(setup.plan_and_apply(setup.fleet(run_ledger)))
        await _until(lambda: bool(setup.writes))
        apply_task.cancel()
        await asyncio.wait([apply_task])


@pytest.mark.parametrize("desired", [ON, OFF])
def test_converged_run_closes_the_entry_of_a_crashed_run(tmp_path: Path, desired: str) -> None:
    """All writes of the crashed run took effect, so they are changed, and the next plan has its full allowance."""

    async def scenario(setup: FleetSetup) -> None:
        setup.set_desired(desired)
        await _crash(setup, "dead", Fault.STALL)
        assert rows(tmp_path, "SELECT state FROM attempts") == [("intent",)]
        (result,) = await setup.apply("next")
        assert (result.outcome, result.requests.writes) == (RunOutcome.CONVERGED, 0)
        assert result.requests.reads == 2
        assert rows(tmp_path, "SELECT state FROM attempts") == [("verified",)]
        expected_entries = [("next", "converged", 1)] if desired == OFF else []
        assert rows(tmp_path, "SELECT run, outcome, settled FROM entries") == [
            ("dead", "crashed", 1),
            *expected_entries,
        ]
        (account,) = setup.accounts
        memory = await memory_reader(SqliteFile(tmp_path / "ledger.db"))(f"{setup.sandbox.url} {account.account_id}")
        assert (memory.spent, memory.has_open_attempts) == (frozenset(), False)
        (result,) = await setup.apply("later")
        assert result.requests.reads == 1
        assert len(rows(tmp_path, "SELECT id FROM entries")) == 1 + len(expected_entries)

    _run_scenario(scenario, tmp_path, _account(0, 1, OFF if desired == ON else ON))


def test_refused_run_closes_the_entry_of_a_crashed_run(tmp_path: Path) -> None:
    """Attempts are settled whether or not the next plan may be applied."""

    async def scenario(setup: FleetSetup) -> None:
        await _crash(setup, "dead", Fault.STALL)
        setup.set_desired(OFF)
        (result,) = await setup.apply("next", Terms(Safety(min_active=1)))
        assert result.outcome is RunOutcome.REFUSED
        assert rows(tmp_path, "SELECT state FROM attempts") == [("verified",)]
        assert rows(tmp_path, "SELECT run, outcome FROM entries") == [("dead", "crashed"), ("next", "refused")]

    _run_scenario(scenario, tmp_path, _account(0, 1))


def test_unsettled_entry_stays_open_without_failing_the_run(tmp_path: Path) -> None:
    """The account is leased by another run or cannot be read, and the run has nothing to write."""

    async def scenario(setup: FleetSetup) -> None:
        await _crash(setup, "dead", Fault.STALL)
        async with setup.ledger("holder") as holder:
            subject = setup.subject("0")
            async with holder.lease(subject, never_wait):
                (result,) = await setup.apply("next", lock_timeout=60.0)
        assert result.outcome is RunOutcome.CONVERGED
        setup.sandbox.script(None, "GET", [None, Fault.FORBIDDEN])
        (result,) = await setup.apply("one more")
        assert (result.outcome, result.requests.reads) == (RunOutcome.CONVERGED, 2)
        assert rows(tmp_path, "SELECT state FROM attempts") == [("intent",)]
        (result,) = await setup.apply("last")
        assert rows(tmp_path, "SELECT state FROM attempts") == [("verified",)]

    _run_scenario(scenario, tmp_path, _account(0, 1))


@pytest.mark.parametrize("error", [CredentialsMissing("gone"), LookupError("a bug")])
def test_account_that_cannot_be_settled_does_not_stop_the_others(tmp_path: Path, error: Exception) -> None:
    """Missing credentials or a bug leave the entry open for the next run."""

    async def scenario(setup: FleetSetup) -> None:
        await _crash(setup, "dead", Fault.STALL)
        setup.accounts[1].switch(next(iter(setup.accounts[1].statuses)), OFF)
        async with setup.ledger("next") as run_ledger:
            fleet = setup.fleet(run_ledger)
            drafts = await fleet.plan(setup.desired, _TERMS)
            resolve = fleet._credentials

            def resolve_or_raise(reference: CredentialsRef | None) -> Credentials:
                if reference == setup.desired[0].credentials:
                    raise error
                return resolve(reference)

            fleet._credentials = resolve_or_raise
            results = await setup.plan_and_apply(fleet, drafts=drafts)
        assert [result.outcome for result in results] == [RunOutcome.CONVERGED] * 2
        assert all(set(account.statuses.values()) == {ON} for account in setup.accounts)
        assert len(rows(tmp_path, "SELECT id FROM entries WHERE NOT settled")) == 1

    _run_scenario(scenario, tmp_path, _account(0, 1), _account(1, 1))


def test_waiting_run_applies_the_remaining_changes(tmp_path: Path) -> None:
    """Another run has applied a part of the plan meanwhile."""

    async def scenario(setup: FleetSetup) -> None:
        (account,) = setup.accounts
        async with setup.ledger("first") as first, setup.ledger("second", lock_timeout=60.0) as second:
            fleet = setup.fleet(second)
            drafts = await fleet.plan(setup.desired, _TERMS)
            async with first.lease(setup.subject("0"), never_wait):
                apply_task = asyncio.create_task(setup.plan_and_apply(fleet, drafts=drafts))
                await asyncio.sleep(1)
                already_active, inactive, _ = account.statuses
                account.switch(already_active, ON)
            (result,) = await apply_task
            assert result.outcome is RunOutcome.CONVERGED
            assert {number.phone for number in result.numbers} == {inactive, _}
            assert set(account.statuses.values()) == {ON}
            assert setup.writes == Counter({(inactive, ON): 1, (_, ON): 1})

    _run_scenario(scenario, tmp_path, _account(0, 3))


def test_waiting_run_refuses_additional_changes(tmp_path: Path) -> None:
    """If the account needs more changes than the plan has, the plan is stale."""

    async def scenario(setup: FleetSetup) -> None:
        (account,) = setup.accounts
        already_active, *_ = account.statuses
        account.switch(already_active, ON)
        async with setup.ledger("first") as first, setup.ledger("second", lock_timeout=60.0) as second:
            fleet = setup.fleet(second)
            drafts = await fleet.plan(setup.desired, _TERMS)
            async with first.lease(setup.subject("0"), never_wait):
                apply_task = asyncio.create_task(setup.plan_and_apply(fleet, drafts=drafts))
                await asyncio.sleep(1)
                account.switch(already_active, OFF)
            (result,) = await apply_task
            assert result.outcome is RunOutcome.REFUSED
            assert not setup.writes

    _run_scenario(scenario, tmp_path, _account(0, 3))


def test_waiting_accounts_do_not_block_the_others(tmp_path: Path) -> None:
    """If all slots are taken by leased accounts, the other accounts are applied first."""

    async def scenario(setup: FleetSetup) -> None:
        async with setup.ledger("first") as first, setup.ledger("second", lock_timeout=3600.0) as second:
            fleet = setup.fleet(second)
            leased = [setup.sandbox.accounts[account.api_key] for account in setup.accounts[:16]]
            free = [account for account in setup.accounts if account not in leased]
            release = asyncio.Event()

            async def hold_lease(desired: DesiredAccount) -> None:
                async with first.lease(setup.subject(desired.name), never_wait):
                    await release.wait()

            leases = [asyncio.create_task(hold_lease(desired)) for desired in setup.desired[:16]]
            apply_task = asyncio.create_task(setup.plan_and_apply(fleet))
            await _until(lambda: all(set(account.statuses.values()) == {ON} for account in free))
            assert all(set(account.statuses.values()) == {OFF} for account in leased)
            release.set()
            results = await apply_task
            assert {result.outcome for result in results} == {RunOutcome.CONVERGED}
            assert all(set(account.statuses.values()) == {ON} for account in leased)
            await asyncio.gather(*leases)

    _run_scenario(scenario, tmp_path, *map(_account, range(24)), accounts_concurrency=4)


def test_waiting_run_that_is_stopped_is_interrupted(tmp_path: Path) -> None:
    """The outcome is `interrupted`, not `locked`. Nothing is sent."""

    async def scenario(setup: FleetSetup) -> None:
        loop = asyncio.get_running_loop()
        async with setup.ledger("first") as first, setup.ledger("second", lock_timeout=3600.0) as second:
            fleet = setup.fleet(second)
            async with first.lease(setup.subject("0"), never_wait):
                loop.call_later(10, fleet.interrupt, Interrupted("SIGINT"))
                (result,) = await setup.plan_and_apply(fleet)
        assert (result.outcome, loop.time() < 3000) == (RunOutcome.INTERRUPTED, True)
        assert {number.outcome for number in result.numbers} == {Outcome.NOT_ATTEMPTED}
        assert not setup.writes

    _run_scenario(scenario, tmp_path, _account(0))


def test_unexpected_ledger_error_keeps_the_outcomes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the end of an account cannot be recorded, its numbers keep their outcomes."""

    def raise_bug(*_: object) -> None:
        raise LookupError("the secret is 1234")

    async def scenario(setup: FleetSetup) -> None:
        monkeypatch.setattr(store, "finish_entry", raise_bug)
        (result,) = await setup.apply("first")
        assert result.outcome is RunOutcome.FAILED
        assert result.error is not None
        assert (result.error.code, result.error.message) == ("InternalError", "LookupError")
        assert {number.outcome for number in result.numbers} == {Outcome.CHANGED}

    _run_scenario(scenario, tmp_path, _account(0))


def _rereads(setup: FleetSetup) -> list[object]:
    return [fields["reason"] for event, fields in setup.log.lines if event == "account.reread"]


def test_run_records_the_count_of_registered_numbers(tmp_path: Path) -> None:
    """An unchanged count is not written again, and a run that only plans records nothing."""

    async def scenario(setup: FleetSetup) -> None:
        name = setup.accounts[0].account_id
        key = setup.subject(name).key

        async def record_count() -> list[tuple[Any, ...]]:
            await setup.apply(f"run-{len(setup.sandbox.wire)}")
            return rows(setup.folder, "SELECT key, numbers, run FROM registered")

        async with setup.ledger("plan") as run_ledger:
            await setup.fleet(run_ledger).plan(setup.desired, _TERMS)
        assert rows(setup.folder, "SELECT * FROM registered") == []
        assert await record_count() == [(key, 3, "run-1")]
        assert await record_count() == [(key, 3, "run-1")]
        setup.accounts[0].remove("01000010002")
        setup.set_desired(ON)
        assert await record_count() == [(key, 2, "run-8")]

    _run_scenario(scenario, tmp_path, _account(1))


@pytest.mark.parametrize(("count", "rereads"), [(7, 0), (6, 1)])
def test_account_that_shrank_since_the_last_run_is_read_again(tmp_path: Path, count: int, rereads: int) -> None:
    """Exactly 30 % fewer numbers are accepted. One number less is read again by the plan, but not by the apply."""

    async def scenario(setup: FleetSetup) -> None:
        account = setup.accounts[0]
        await setup.apply("first")
        for phone in list(account.statuses)[count:]:
            account.remove(phone)
        account.switch("01000010000", OFF)
        setup.set_desired(ON)
        requests_before = len(setup.sandbox.wire)
        (result,) = await setup.apply("second")
        assert result.outcome is RunOutcome.CONVERGED
        reads = [request.method for request in setup.sandbox.wire[requests_before:]].count("GET")
        assert result.requests.reads == reads == 3 + rereads
        assert _rereads(setup) == [f"registered numbers fell from 10 to {count}"] * rereads

    _run_scenario(scenario, tmp_path, _account(1, numbers=10))


def test_shrunken_response_does_not_settle_a_saved_plan(tmp_path: Path) -> None:
    """The first read of `apply PLANFILE` is repeated because the last run counted more numbers."""

    async def scenario(setup: FleetSetup) -> None:
        await setup.apply("first")
        setup.set_desired(OFF)
        async with setup.ledger("second") as run_ledger:
            fleet = setup.fleet(run_ledger)
            (draft,) = await fleet.plan(setup.desired, _TERMS)
            saved = SavedAccount.of(
                setup.desired[0],
                draft.plan,
                endpoint=setup.settings.endpoint,
                safety=_TERMS.safety,
            )
            first_change = replace(saved, changes=saved.changes[:1])
            fleet = setup.fleet(run_ledger)
            setup.sandbox.script(None, "GET", [Fault.SHRUNKEN])
            (result,) = await fleet.apply_saved([first_change], _TERMS.allow, setup.log)
        assert result.outcome is RunOutcome.CONVERGED
        assert _rereads(setup) == ["registered numbers fell from 4 to 2"]
        assert rows(setup.folder, "SELECT numbers FROM registered") == [(4,)]

    _run_scenario(scenario, tmp_path, _account(1, numbers=4))


def test_rollback_preview_repeats_a_shrunken_read(tmp_path: Path) -> None:
    """The preview compares the account with the count of the last run too."""

    async def scenario(setup: FleetSetup) -> None:
        await setup.apply("first")
        (entry,) = setup.entries("first")
        rollback = inverse_plan(entry, "first")
        first_change = replace(rollback, changes=rollback.changes[:1])
        async with setup.ledger("second") as run_ledger:
            setup.sandbox.script(None, "GET", [Fault.SHRUNKEN])
            (draft,) = await setup.fleet(run_ledger).preview([first_change], _TERMS.allow)
        assert [change.action for change in draft.plan.changes] == ["deactivate"]
        assert _rereads(setup) == ["registered numbers fell from 4 to 2"]

    _run_scenario(scenario, tmp_path, _account(1, numbers=4))


def test_rotated_key_has_its_own_lane_and_quota(tmp_path: Path) -> None:
    """A run leases the lane of the key that sends the writes, even if another key read the account for the plan."""
    database = PostgresDatabase(new_database())

    async def scenario(setup: FleetSetup) -> None:
        account = setup.accounts[0]
        key = credentials(account)
        rotated = replace(key, api_key="NCSROTATED")
        setup.sandbox.accounts[rotated.api_key] = account
        async with immediate_ledger(database) as run_ledger:
            fleet = Fleet(
                setup.settings,
                setup.loopback.transport,
                lambda _: key,
                setup.log,
                ledger=run_ledger,
                runtime=runtime(),
            )
            drafts = await fleet.plan(setup.desired, _TERMS)
            former, key = key, rotated
            (result,) = await fleet.apply(setup.desired, drafts, _TERMS, Mock())
        assert result.outcome is RunOutcome.CONVERGED
        lane = lane_name(identity.lane(setup.settings.endpoint, rotated.api_key))
        assert rows(database, "SELECT name FROM lanes") == [(lane,)]
        assert set(fleet.quotas) == {former.api_key, rotated.api_key}

    _run_scenario(scenario, tmp_path, _account(0))
    database.close()
