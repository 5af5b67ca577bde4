"""A fleet that keeps a ledger: full disks, runs that died, and runs that wait for each other, on real sockets."""

import asyncio
import sqlite3
from array import array
from collections import Counter
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from tests.support.ledgers import immediate_ledger, never_wait, rows, subject
from tests.support.loopback import LogRecorder, Loopback, credentials, run, runtime
from worker.config.settings import RateLimit, Retry, Settings
from worker.ledger import Ledger, Subject, group_commit, memory_reader
from worker.ledger import writes as store
from worker.ledger.history import run_record
from worker.ledger.readonly import open_read_only
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


class Household:
    """Accounts that want every number ACTIVE, and the ledger of them in a folder."""

    def __init__(self, loopback: Loopback, folder: Path, **settings: Any) -> None:
        self.loopback = loopback
        self.folder = folder
        self.sandbox = loopback.sandbox
        self.accounts = list(loopback.sandbox.accounts.values())
        given: dict[str, Any] = {"rate_limit": RateLimit(writes=10_000, reads=10_000), "retry": Retry(base_seconds=0.1)}
        self.settings = Settings(endpoint=loopback.sandbox.url, **given | settings)
        self.desired = [self._wanted(account, ON) for account in self.accounts]
        self.log = LogRecorder()

    @staticmethod
    def _wanted(account: SandboxAccount, status: str) -> DesiredAccount:
        name = account.account_id
        where = SecretRef(env=name)
        wanted = dict.fromkeys(account.statuses, Desired(Status(status)))
        lines = array("I", range(len(wanted)))
        return DesiredAccount(name, "x.yaml", wanted, lines, credentials=CredentialsRef(where, where))

    def wants(self, status: str) -> None:
        """Every number is to be so from now on."""
        self.desired = [self._wanted(account, status) for account in self.accounts]

    def subject(self, name: str) -> Subject:
        """One of the accounts, as the ledger knows it."""
        return subject(identity.key(self.settings.endpoint, name))

    def fleet(self, keeper: Ledger) -> Fleet:
        """A run's fleet."""
        keys = {account.account_id: credentials(account) for account in self.accounts}
        return Fleet(
            self.settings,
            self.loopback.transport,
            lambda reference: keys[str(reference and reference.api_key.env)],
            self.log,
            ledger=keeper,
            runtime=runtime(),
        )

    def book(self, run_id: str, **more: Any) -> Ledger:
        """A run's ledger."""
        return immediate_ledger(self.folder, run_id=run_id, **more)

    async def apply(self, run_id: str, terms: Terms = _TERMS, **more: Any) -> list[AccountResult]:
        """A whole run, noted as such."""
        async with self.book(run_id, **more) as book:
            return await self.carry_out(self.fleet(book), terms)

    async def carry_out(
        self, fleet: Fleet, terms: Terms = _TERMS, drafts: list[Draft] | None = None
    ) -> list[AccountResult]:
        """Plan and apply."""
        drafts = drafts or await fleet.plan(self.desired, terms)
        return await fleet.apply(self.desired, drafts, terms, self.log)

    @property
    def writes(self) -> Counter[tuple[str | None, str | None]]:
        """What arrived."""
        return Counter((each.phone, each.desired) for each in self.sandbox.wire if each.method == "PUT")

    def entries(self, run_id: str) -> tuple[AccountRecord, ...]:
        """Return a run's accounts from the ledger."""
        with open_read_only(self.folder / "ledger.db") as connection:
            assert connection is not None
            return run_record(connection, run_id).accounts

    def noted(self) -> Counter[tuple[Any, ...]]:
        """What the ledger has of it."""
        return Counter(rows(self.folder, "SELECT phone, asked FROM attempts"))


def _play(
    scenario: Callable[[Household], Coroutine[Any, Any, None]],
    folder: Path,
    *accounts: SandboxAccount,
    **settings: Any,
) -> None:
    async def whole() -> None:
        async with Loopback(*accounts) as loopback:
            await scenario(Household(loopback, folder, **settings))

    run(whole())


@pytest.mark.parametrize("done", [False, True])
@pytest.mark.parametrize("nth", range(2, 10))
def test_a_disk_that_fails_at_the_nth_commit_stops_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nth: int, *, done: bool
) -> None:
    """Nothing is sent from then on, also where the commit that failed reached the disk; the next run converges."""
    commit = group_commit._Batch.commit
    left = nth
    durable = Counter[tuple[Any, ...]]()

    async def scenario(household: Household) -> None:
        def failing(batch: group_commit._Batch, connection: sqlite3.Connection, now: str) -> None:
            nonlocal left, durable
            left -= 1
            if left == 0:
                durable = household.noted()
                if done:
                    commit(batch, connection, now)
                raise sqlite3.OperationalError("database or disk is full")
            commit(batch, connection, now)

        monkeypatch.setattr(group_commit._Batch, "commit", failing)
        async with household.book("first") as book:
            (result,) = await household.carry_out(household.fleet(book))
        monkeypatch.undo()
        assert left <= 0
        assert result.outcome is RunOutcome.FAILED
        assert result.error is not None
        assert (result.error.code, "disk is full" in result.error.message) == ("LedgerError", True)
        assert household.writes <= durable
        assert household.writes.total() < 120
        for number in result.numbers:
            assert (number.outcome is Outcome.CHANGED) == bool(household.writes[number.phone, ON])
        (again,) = await household.apply("second")
        assert again.outcome is RunOutcome.CONVERGED
        assert set(household.accounts[0].statuses.values()) == {ON}
        assert rows(tmp_path, "SELECT id FROM entries WHERE NOT settled") == []
        assert rows(tmp_path, "SELECT phone FROM outcomes WHERE outcome IS NULL") == []

    _play(scenario, tmp_path, _account(0, 120), concurrency=3)


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(600):
        while not condition():  # noqa: ASYNC110 - the sandbox has no event for it
            await asyncio.sleep(0.1)


async def _die(household: Household, run_id: str, fault: Fault) -> None:
    """A run that dies after its first request was lost on the way, or on the way back."""
    phone = next(iter(household.accounts[0].statuses))
    household.sandbox.script(phone, "PUT", [fault])
    async with household.book(run_id) as book:
        applying = asyncio.create_task(household.carry_out(household.fleet(book)))
        await _until(lambda: bool(household.writes))
        applying.cancel()
        await asyncio.wait([applying])


@pytest.mark.parametrize("wanted", [ON, OFF])
def test_a_run_with_nothing_to_do_closes_what_a_dead_one_left_open(tmp_path: Path, wanted: str) -> None:
    """All that the dead run sent had landed: it is called changed, and the next plan has its whole allowance."""

    async def scenario(household: Household) -> None:
        household.wants(wanted)
        await _die(household, "dead", Fault.STALL)
        assert rows(tmp_path, "SELECT state FROM attempts") == [("intent",)]
        (result,) = await household.apply("next")
        assert (result.outcome, result.requests.writes) == (RunOutcome.CONVERGED, 0)
        assert result.requests.reads == 2
        assert rows(tmp_path, "SELECT state FROM attempts") == [("verified",)]
        over = [("next", "converged", 1)] if wanted == OFF else []
        assert rows(tmp_path, "SELECT run, outcome, settled FROM entries") == [("dead", "crashed", 1), *over]
        (account,) = household.accounts
        memory = memory_reader(tmp_path / "ledger.db")(f"{household.sandbox.url} {account.account_id}")
        assert (memory.spent, memory.unsettled) == (frozenset(), False)
        (result,) = await household.apply("later")
        assert result.requests.reads == 1
        assert len(rows(tmp_path, "SELECT id FROM entries")) == 1 + len(over)

    _play(scenario, tmp_path, _account(0, 1, OFF if wanted == ON else ON))


def test_a_refused_run_closes_what_a_dead_one_left_open(tmp_path: Path) -> None:
    """What is remembered of the account is true whether or not the next plan may be carried out."""

    async def scenario(household: Household) -> None:
        await _die(household, "dead", Fault.STALL)
        household.wants(OFF)
        (result,) = await household.apply("next", Terms(Safety(min_active=1)))
        assert result.outcome is RunOutcome.REFUSED
        assert rows(tmp_path, "SELECT state FROM attempts") == [("verified",)]
        assert rows(tmp_path, "SELECT run, outcome FROM entries") == [("dead", "crashed"), ("next", "refused")]

    _play(scenario, tmp_path, _account(0, 1))


def test_what_cannot_be_closed_now_stays_open_and_harms_nothing(tmp_path: Path) -> None:
    """While another run has the account, or it cannot be read, a run with nothing to do has done nothing wrong."""

    async def scenario(household: Household) -> None:
        await _die(household, "dead", Fault.STALL)
        async with household.book("holder") as holder:
            subject = household.subject("0")
            async with holder.hold(subject, never_wait):
                (result,) = await household.apply("next", lock_timeout=60.0)
        assert result.outcome is RunOutcome.CONVERGED
        household.sandbox.script(None, "GET", [None, Fault.FORBIDDEN])
        (result,) = await household.apply("one more")
        assert (result.outcome, result.requests.reads) == (RunOutcome.CONVERGED, 2)
        assert rows(tmp_path, "SELECT state FROM attempts") == [("intent",)]
        (result,) = await household.apply("last")
        assert rows(tmp_path, "SELECT state FROM attempts") == [("verified",)]

    _play(scenario, tmp_path, _account(0, 1))


@pytest.mark.parametrize("error", [CredentialsMissing("gone"), LookupError("a bug")])
def test_an_account_that_cannot_be_closed_stops_no_other(tmp_path: Path, error: Exception) -> None:
    """Credentials that are gone after the plan, or a bug, leave what is open to the next run and the others alone."""

    async def scenario(household: Household) -> None:
        await _die(household, "dead", Fault.STALL)
        household.accounts[1].switch(next(iter(household.accounts[1].statuses)), OFF)
        async with household.book("next") as book:
            fleet = household.fleet(book)
            drafts = await fleet.plan(household.desired, _TERMS)
            resolve = fleet._credentials

            def lost(reference: CredentialsRef | None) -> Credentials:
                if reference == household.desired[0].credentials:
                    raise error
                return resolve(reference)

            fleet._credentials = lost
            results = await household.carry_out(fleet, drafts=drafts)
        assert [result.outcome for result in results] == [RunOutcome.CONVERGED] * 2
        assert all(set(account.statuses.values()) == {ON} for account in household.accounts)
        assert len(rows(tmp_path, "SELECT id FROM entries WHERE NOT settled")) == 1

    _play(scenario, tmp_path, _account(0, 1), _account(1, 1))


def test_a_run_that_waited_does_what_the_other_left_to_do(tmp_path: Path) -> None:
    """If another run has applied a part of the plan meanwhile, the rest is applied."""

    async def scenario(household: Household) -> None:
        (account,) = household.accounts
        async with household.book("first") as first, household.book("second", lock_timeout=60.0) as second:
            fleet = household.fleet(second)
            drafts = await fleet.plan(household.desired, _TERMS)
            async with first.hold(household.subject("0"), never_wait):
                waiting = asyncio.create_task(household.carry_out(fleet, drafts=drafts))
                await asyncio.sleep(1)
                done, left, _ = account.statuses
                account.switch(done, ON)
            (result,) = await waiting
            assert result.outcome is RunOutcome.CONVERGED
            assert {number.phone for number in result.numbers} == {left, _}
            assert set(account.statuses.values()) == {ON}
            assert household.writes == Counter({(left, ON): 1, (_, ON): 1})

    _play(scenario, tmp_path, _account(0, 3))


def test_a_run_that_waited_writes_nothing_that_was_not_approved(tmp_path: Path) -> None:
    """Where more is to be done than the plan had, it is stale as ever."""

    async def scenario(household: Household) -> None:
        (account,) = household.accounts
        done, *_ = account.statuses
        account.switch(done, ON)
        async with household.book("first") as first, household.book("second", lock_timeout=60.0) as second:
            fleet = household.fleet(second)
            drafts = await fleet.plan(household.desired, _TERMS)
            async with first.hold(household.subject("0"), never_wait):
                waiting = asyncio.create_task(household.carry_out(fleet, drafts=drafts))
                await asyncio.sleep(1)
                account.switch(done, OFF)
            (result,) = await waiting
            assert result.outcome is RunOutcome.REFUSED
            assert not household.writes

    _play(scenario, tmp_path, _account(0, 3))


def test_accounts_that_wait_keep_no_other_waiting(tmp_path: Path) -> None:
    """With every turn taken by an account that another run holds, the free ones are done, and then those as well."""

    async def scenario(household: Household) -> None:
        async with household.book("first") as first, household.book("second", lock_timeout=3600.0) as second:
            fleet = household.fleet(second)
            held = [household.sandbox.accounts[account.api_key] for account in household.accounts[:16]]
            free = [account for account in household.accounts if account not in held]
            release = asyncio.Event()

            async def hold(desired: DesiredAccount) -> None:
                async with first.hold(household.subject(desired.name), never_wait):
                    await release.wait()

            holding = [asyncio.create_task(hold(desired)) for desired in household.desired[:16]]
            applying = asyncio.create_task(household.carry_out(fleet))
            await _until(lambda: all(set(account.statuses.values()) == {ON} for account in free))
            assert all(set(account.statuses.values()) == {OFF} for account in held)
            release.set()
            results = await applying
            assert {result.outcome for result in results} == {RunOutcome.CONVERGED}
            assert all(set(account.statuses.values()) == {ON} for account in held)
            await asyncio.gather(*holding)

    _play(scenario, tmp_path, *map(_account, range(24)), accounts_concurrency=4)


def test_a_run_that_is_stopped_while_it_waits_was_interrupted(tmp_path: Path) -> None:
    """It ends as interrupted and not as locked, long before its time is up, and has sent nothing."""

    async def scenario(household: Household) -> None:
        loop = asyncio.get_running_loop()
        async with household.book("first") as first, household.book("second", lock_timeout=3600.0) as second:
            fleet = household.fleet(second)
            async with first.hold(household.subject("0"), never_wait):
                loop.call_later(10, fleet.interrupt, Interrupted("SIGINT"))
                (result,) = await household.carry_out(fleet)
        assert (result.outcome, loop.time() < 3000) == (RunOutcome.INTERRUPTED, True)
        assert {number.outcome for number in result.numbers} == {Outcome.NOT_ATTEMPTED}
        assert not household.writes

    _play(scenario, tmp_path, _account(0))


def test_a_bug_in_the_bookkeeping_takes_nothing_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the end of an account cannot be noted for whatever reason, its numbers still are what they became."""

    def buggy(*_: object) -> None:
        raise LookupError("the secret is 1234")

    async def scenario(household: Household) -> None:
        monkeypatch.setattr(store, "finish_entry", buggy)
        (result,) = await household.apply("first")
        assert result.outcome is RunOutcome.FAILED
        assert result.error is not None
        assert (result.error.code, result.error.message) == ("InternalError", "LookupError")
        assert {number.outcome for number in result.numbers} == {Outcome.CHANGED}

    _play(scenario, tmp_path, _account(0))


def _rereads(household: Household) -> list[object]:
    return [fields["reason"] for event, fields in household.log.lines if event == "account.reread"]


def test_a_run_notes_how_many_numbers_an_account_has(tmp_path: Path) -> None:
    """With writes and without; an unchanged count costs nothing, and a run that only plans notes nothing."""

    async def scenario(household: Household) -> None:
        name = household.accounts[0].account_id
        key = household.subject(name).key

        async def noted() -> list[tuple[Any, ...]]:
            await household.apply(f"run-{len(household.sandbox.wire)}")
            return rows(household.folder, "SELECT key, numbers, run FROM registered")

        async with household.book("plan") as book:
            await household.fleet(book).plan(household.desired, _TERMS)
        assert rows(household.folder, "SELECT * FROM registered") == []
        assert await noted() == [(key, 3, "run-1")]
        assert await noted() == [(key, 3, "run-1")]
        household.accounts[0].remove("01000010002")
        household.wants(ON)
        assert await noted() == [(key, 2, "run-8")]

    _play(scenario, tmp_path, _account(1))


@pytest.mark.parametrize(("left", "rereads"), [(7, 0), (6, 1)])
def test_an_account_that_shrank_since_the_last_run_is_read_again(tmp_path: Path, left: int, rereads: int) -> None:
    """Exactly 30 % fewer numbers are believed, one fewer is read once more: in the plan, and no more in the apply."""

    async def scenario(household: Household) -> None:
        account = household.accounts[0]
        await household.apply("first")
        for phone in list(account.statuses)[left:]:
            account.remove(phone)
        account.switch("01000010000", OFF)
        household.wants(ON)
        before = len(household.sandbox.wire)
        (result,) = await household.apply("second")
        assert result.outcome is RunOutcome.CONVERGED
        reads = [each.method for each in household.sandbox.wire[before:]].count("GET")
        assert result.requests.reads == reads == 3 + rereads
        assert _rereads(household) == [f"registered numbers fell from 10 to {left}"] * rereads

    _play(scenario, tmp_path, _account(1, numbers=10))


def test_a_shrunken_reply_settles_nothing_of_a_saved_plan(tmp_path: Path) -> None:
    """The count of the last run has the first read of `apply PLANFILE` repeated, before anything is closed by it."""

    async def scenario(household: Household) -> None:
        await household.apply("first")
        household.wants(OFF)
        async with household.book("second") as book:
            fleet = household.fleet(book)
            (drawn,) = await fleet.plan(household.desired, _TERMS)
            saved = SavedAccount.of(
                household.desired[0],
                drawn.plan,
                endpoint=household.settings.endpoint,
                safety=_TERMS.safety,
            )
            one = replace(saved, changes=saved.changes[:1])
            fleet = household.fleet(book)
            household.sandbox.script(None, "GET", [Fault.SHRUNKEN])
            (result,) = await fleet.apply_saved([one], _TERMS.allow, household.log)
        assert result.outcome is RunOutcome.CONVERGED
        assert _rereads(household) == ["registered numbers fell from 4 to 2"]
        assert rows(household.folder, "SELECT numbers FROM registered") == [(4,)]

    _play(scenario, tmp_path, _account(1, numbers=4))


def test_a_rollback_previews_what_a_second_read_shows(tmp_path: Path) -> None:
    """Its preview compares the account with the count of the last run as well."""

    async def scenario(household: Household) -> None:
        await household.apply("first")
        (entry,) = household.entries("first")
        undo = inverse_plan(entry, "first")
        one = replace(undo, changes=undo.changes[:1])
        async with household.book("second") as book:
            household.sandbox.script(None, "GET", [Fault.SHRUNKEN])
            (drawn,) = await household.fleet(book).preview([one], _TERMS.allow)
        assert [change.action for change in drawn.plan.changes] == ["deactivate"]
        assert _rereads(household) == ["registered numbers fell from 4 to 2"]

    _play(scenario, tmp_path, _account(1, numbers=4))
