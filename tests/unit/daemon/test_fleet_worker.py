"""The loop of a fleet's worker, over a real database and with passes that a test scripts."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, closing, suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
import structlog
from msgspec.structs import replace

from tests.support.fleets import FleetProcess, document, publish_accounts
from tests.support.ledgers import ledger, rows, subject
from tests.support.postgres import new_database
from worker.cli.exit_status import overall
from worker.config.settings import RateLimit, Settings
from worker.daemon.fleet import Admission, FleetWorker
from worker.daemon.fleet.agenda import AgendaThread
from worker.daemon.passes import AccountPass, Pass
from worker.ledger.postgres.agenda import Agenda, Balance, QueueLength
from worker.ledger.postgres.database import PostgresDatabase
from worker.model.accounts import AccountMemory, DesiredAccount, Observed, ObservedAccount, Status
from worker.model.credentials import Credentials, CredentialsRef, Secret
from worker.model.errors import CredentialsMissing, Interrupted, LedgerError, WorkerError
from worker.model.plans import AccountPlan, Action, Change, Verdict, tally
from worker.model.ports import UsedSlots
from worker.model.results import AccountResult, NumberResult, Outcome, RunOutcome
from worker.plan.build import Draft, Terms, build, failed_draft
from worker.reconcile import identity
from worker.solapi.limiter import Quota
from worker.solapi.runtime import Runtime

PHONE = "01000000001"
WRITE = Change(PHONE, Action.ACTIVATE, "INACTIVE", "ACTIVE", "")
Script = Callable[[DesiredAccount], AccountPass]


def _plan(name: str, *changes: Change, **more: Any) -> AccountPlan:
    counts = tally(Action, {change.action: 1 for change in changes})
    return AccountPlan(account=name, account_id="1", counts=counts, changes=changes, **more)


def _result(name: str, outcome: RunOutcome, number: Outcome = Outcome.CHANGED) -> AccountResult:
    numbers = (NumberResult(PHONE, WRITE.action, "ACTIVE", "INACTIVE", "ACTIVE", number, 1),)
    return AccountResult(account=name, account_id="1", outcome=outcome, counts={number: 1}, numbers=numbers)


class _Passes:
    """Passes whose accounts end as a script says."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.held: list[frozenset[str]] = []
        self.ended: list[tuple[str, RunOutcome]] = []
        self.slow: str | None = None
        self.error: LedgerError | None = None
        self.interruption: Interrupted | None = None
        self.started = asyncio.Event()
        self.may_end = asyncio.Event()
        self.may_end.set()
        self.shared_quota = Quota(RateLimit(), clock=time.monotonic)
        self.agenda: AgendaThread | None = None
        self.admitted: dict[Action, int] = {}

    def interrupt(self, reason: Interrupted) -> None:
        self.interruption = reason

    def forget_identity(self, account: str) -> None:
        """Do nothing."""

    def quota(self, api_key: str) -> Quota:
        assert api_key == "NCSKEY"
        return self.shared_quota

    async def end_run(self, run_id: str, outcome: RunOutcome) -> None:
        self.ended.append((run_id, outcome))

    async def fail(self, run_id: str, account: DesiredAccount, error: WorkerError, now: datetime) -> Pass:
        plan = failed_draft(account, Terms(), error, now).plan
        return Pass(run_id, now, now, RunOutcome.FAILED, (AccountPass(plan),))

    async def run(self, run_id: str, accounts: Sequence[DesiredAccount], held: frozenset[str], now: datetime) -> Pass:
        self.held.append(held)
        self.started.set()
        if self.slow in {None, accounts[0].name}:
            await self.may_end.wait()
        if self.admitted and self.agenda is not None:
            await self.agenda(Agenda.admit, {accounts[0].name: self.admitted}, {})
        outcome = RunOutcome.CONVERGED
        return Pass(run_id, now, now, outcome, tuple(map(self.script, accounts)), self.error)


class _Listener:
    def __init__(self) -> None:
        self.passes: list[Pass] = []
        self.balances: list[Balance] = []
        self.queues: list[QueueLength] = []

    def on_pass(self, finished_pass: Pass) -> None:
        self.passes.append(finished_pass)

    def on_balance(self, balance: Balance) -> None:
        self.balances.append(balance)

    def on_queue(self, queue: QueueLength) -> None:
        self.queues.append(queue)


def _credentials(reference: CredentialsRef | None) -> Credentials:
    if reference is not None:
        raise CredentialsMissing("no key")
    return Credentials("NCSKEY", Secret("secret"))


@pytest.fixture
def database() -> PostgresDatabase:
    """Return an empty ledger."""
    return PostgresDatabase(new_database())


@asynccontextmanager
async def _running(
    database: PostgresDatabase, passes: _Passes, listener: _Listener | None = None
) -> AsyncIterator[tuple[FleetWorker, "asyncio.Task[None]"]]:
    """Run a worker inside the block, and stop it at the end."""
    process = FleetProcess(database)
    passes.agenda = agenda = AgendaThread(process.agenda)
    log: Any = structlog.wrap_logger(structlog.testing.CapturingLogger())
    worker = FleetWorker(
        agenda,
        passes,  # type: ignore[arg-type] # scripted
        _credentials,
        {},
        log,
        leases=process.leases,
        settings=Settings(),
        every=300.0,
        new_run_id=lambda: "run",
        conclude=overall,
        end_run=passes.end_run,
        listeners=[] if listener is None else [listener],
        runtime=Runtime(uniform=lambda low, _: low),
    )
    task = asyncio.ensure_future(worker.run())
    try:
        yield worker, task
    finally:
        passes.may_end.set()
        if not task.done():
            worker.stop(Interrupted("stopped"))
        with suppress(LedgerError):
            await task
        agenda.close()
        with process:
            pass


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 - the database has no event for it
            await asyncio.sleep(0.02)


def _states(database: PostgresDatabase) -> list[Any]:
    """Return for each account: seconds until its next turn, priority, failures, is it held, and is it settled."""
    return rows(
        database,
        "SELECT round(extract(epoch FROM due_at - clock_timestamp()))::int, priority, failures, is_held, "
        "settled IS NOT NULL FROM accounts WHERE worker IS NULL ORDER BY name",
    )


async def _after_one_turn(database: PostgresDatabase, script: Script, text: str) -> tuple[_Passes, Any, float]:
    """Return the passes, the state of the account after its turn, and the seconds that it took at most."""
    start = time.monotonic()
    publish_accounts(database, document("a", text), lane=lambda _: identity.lane("solapi", "NCSKEY"))
    passes = _Passes(script)
    listener = _Listener()
    async with _running(database, passes, listener):
        await _until(lambda: bool(listener.passes))
        (state,) = _states(database)
    return passes, state, time.monotonic() - start + 1


_NUMBERS = f"numbers: {{{PHONE}: ACTIVE}}"


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        (lambda account: AccountPass(_plan(account.name)), (300, 0, 0, False, True)),
        (
            lambda account: AccountPass(_plan(account.name, WRITE), _result(account.name, RunOutcome.CONVERGED)),
            (300, 0, 0, False, True),
        ),
        (
            lambda account: AccountPass(
                failed_draft(account, Terms(), CredentialsMissing("no"), datetime.now(UTC)).plan
            ),
            (150, 0, 1, False, True),
        ),
        (
            lambda account: AccountPass(_plan(account.name, WRITE), _result(account.name, RunOutcome.LOCKED)),
            (5, 10, 0, False, False),
        ),
        (lambda account: AccountPass(_plan(account.name, WRITE)), (300, 0, 0, True, False)),
    ],
    ids=["converged", "written", "failed", "locked", "held"],
)
async def test_account_is_due_again_by_its_result(
    database: PostgresDatabase, script: Script, expected: tuple[Any, ...]
) -> None:
    """An account is due after the interval, after its rest or, if another run had its lease, soon."""
    _, state, elapsed = await _after_one_turn(database, script, _NUMBERS)
    assert expected[0] - elapsed <= state[0] <= expected[0]
    assert state[1:] == expected[1:]


@pytest.mark.parametrize(
    "entry", ["schedule: [{{from: '{}', status: INACTIVE}}]", "acknowledge: {{reason: x, until: '{}'}}"]
)
async def test_change_of_the_desired_state_comes_before_the_next_pass(database: PostgresDatabase, entry: str) -> None:
    """A schedule starts a window, or an acknowledgement ends."""
    moment = (datetime.now(UTC) + timedelta(seconds=60)).isoformat(timespec="seconds")
    text = f"numbers: {{{PHONE}: {{status: ACTIVE, {entry.format(moment)}}}}}"
    _, state, elapsed = await _after_one_turn(database, lambda account: AccountPass(_plan(account.name)), text)
    assert 60 - elapsed <= state[0] <= 60
    assert state[1] == 10


async def test_suspended_account_is_not_written(database: PostgresDatabase) -> None:
    text = f"suspend: {{reason: move}}\n{_NUMBERS}"
    passes, _, _ = await _after_one_turn(database, lambda account: AccountPass(_plan(account.name)), text)
    assert passes.held[0] == frozenset({"a"})


async def test_account_without_keys_stays_in_its_lane(database: PostgresDatabase) -> None:
    """The pass reports that they are missing."""
    text = f"credentials: {{api_key: {{env: K}}, api_secret: {{env: S}}}}\n{_NUMBERS}"
    passes, _, _ = await _after_one_turn(database, lambda account: AccountPass(_plan(account.name)), text)
    assert passes.held == [frozenset()]


async def test_slow_account_does_not_delay_the_others(database: PostgresDatabase) -> None:
    """Meanwhile, the others are written and become due again, and further accounts are taken."""
    names = [f"a{index:02}" for index in range(80)]
    publish_accounts(database, *map(document, names), lane=lambda _: identity.lane("solapi", "NCSKEY"))
    passes = _Passes(lambda account: AccountPass(_plan(account.name)))
    passes.slow = "a00"
    passes.may_end.clear()
    listener = _Listener()
    async with _running(database, passes, listener):
        await _until(
            lambda: (
                rows(database, "SELECT name FROM accounts WHERE settled IS NULL OR worker IS NOT NULL") == [("a00",)]
            )
        )
        await _until(lambda: sum(len(done.accounts) for done in listener.passes) == 16)
        passes.may_end.set()
        await _until(lambda: sum(len(done.accounts) for done in listener.passes) == 80)
    assert passes.ended == [("run", RunOutcome.CONVERGED)] * 2


async def test_account_that_workers_pass_to_each_other_fails(database: PostgresDatabase) -> None:
    """Workers with different keys of one reference would move it for ever. The next turn tries again."""
    publish_accounts(database, document("a"), lane=lambda _: 0)
    with closing(database.open()) as connection:
        connection.execute("UPDATE accounts SET moves = 3")
    passes = _Passes(lambda account: AccountPass(_plan(account.name)))
    listener = _Listener()
    async with _running(database, passes, listener):
        await _until(lambda: bool(listener.passes))
    ((account_pass,),) = [done.accounts for done in listener.passes]
    assert account_pass.plan.error is not None
    assert account_pass.plan.error.message == (
        "the workers of the fleet have different API keys for this account, so they pass it to each other: give all of "
        "them the same key in the environment variable SOLAPI_API_KEY"
    )
    assert passes.held == []
    assert rows(database, "SELECT lane, moves, failures FROM accounts") == [(0, 0, 1)]


async def test_account_after_two_crashes_is_read_in_a_busy_fleet_too(database: PostgresDatabase) -> None:
    """The account is read if no other account is in progress, or with other accounts after an interval."""
    publish_accounts(database, *map(document, "abc"), lane=lambda _: identity.lane("solapi", "NCSKEY"))
    with closing(database.open()) as connection:
        connection.execute(
            "UPDATE accounts SET crashes = 2, due_at = due_at - make_interval(secs => CASE name WHEN 'a' THEN 301 "
            "ELSE 0 END) WHERE name < 'c'"
        )
    passes = _Passes(lambda account: AccountPass(_plan(account.name)))
    passes.slow = "c"
    passes.may_end.clear()
    async with _running(database, passes):
        await _until(lambda: rows(database, "SELECT name FROM accounts WHERE settled IS NOT NULL") == [("a",)])
        passes.may_end.set()
        await _until(lambda: rows(database, "SELECT count(*) FROM accounts WHERE settled IS NOT NULL") == [(3,)])
    assert rows(database, "SELECT sum(crashes) FROM accounts") == [(0,)]


async def test_unreadable_memory_does_not_end_the_worker(database: PostgresDatabase) -> None:
    """The pass of the account reads its memory again, and fails alone."""
    publish_accounts(database, document("a"), document("b"), lane=lambda _: identity.lane("solapi", "NCSKEY"))
    async with ledger(database) as run_ledger:
        await run_ledger.record(subject("a"), _result("a", RunOutcome.CONVERGED), {PHONE: Status.ACTIVE})
    with closing(database.open()) as connection:
        connection.script("UPDATE accounts SET key = name; UPDATE entries SET credentials = 'broken'")
    passes = _Passes(lambda account: AccountPass(_plan(account.name)))
    listener = _Listener()
    async with _running(database, passes, listener):
        await _until(lambda: bool(listener.passes))
    assert len(passes.held) == 2


async def test_account_in_a_wrong_lane_is_moved_first(database: PostgresDatabase) -> None:
    publish_accounts(database, document("a"), lane=lambda _: 0)
    listener = _Listener()
    async with _running(database, _Passes(lambda account: AccountPass(_plan(account.name))), listener) as (worker, _):
        await _until(lambda: bool(listener.passes))
        assert list(worker.names) == ["a"]
        assert worker.last is listener.passes[0]
        assert worker.why_not_ready() is None
        assert worker.why_not_alive() is None
        assert (worker.accounts, worker.suspended, worker.broken) == ((), {}, {})
        assert worker.next_pass > datetime.now(UTC)
    assert rows(database, "SELECT lane FROM accounts") == [(identity.lane("solapi", "NCSKEY"),)]
    assert (listener.balances[0].lanes, listener.queues[0].due) == (1024, 1)


async def test_used_slots_are_handed_over(database: PostgresDatabase) -> None:
    """The quota of an API key has those of the last holder before the first read. The next holder gets all of them."""
    lane = identity.lane("solapi", "NCSKEY")
    publish_accounts(database, document("a"), lane=lambda _: lane)
    with closing(database.open()) as connection:
        slots = '{"reads":[50.0,40.0],"writes":[30.0]}'
        connection.execute("INSERT INTO lanes VALUES (?, ?, clock_timestamp())", (f"lane {lane}", slots))
    used: list[tuple[int, int]] = []

    def script(account: DesiredAccount) -> AccountPass:
        quota = passes.shared_quota
        used.append((quota.reads.used, quota.writes.used))
        assert quota.writes.take()
        quota.writes.release()
        return AccountPass(_plan(account.name))

    passes = _Passes(script)
    listener = _Listener()
    async with _running(database, passes, listener) as (worker, task):
        await _until(lambda: bool(listener.passes))
        worker.stop(Interrupted("stopped"))
        await task
    assert used == [(2, 1)]
    ((text,),) = rows(database, "SELECT slots FROM lanes")
    handed_over = msgspec.json.decode(text, type=UsedSlots)
    assert (len(handed_over.reads), len(handed_over.writes)) == (2, 2)
    assert 0 < handed_over.reads[0] < 50


async def test_stopped_worker_hands_over_what_it_did_not_write(database: PostgresDatabase) -> None:
    """An account that was not written is due immediately, and the lanes are free."""
    publish_accounts(database, document("a"), lane=lambda _: identity.lane("solapi", "NCSKEY"))
    passes = _Passes(lambda account: AccountPass(_plan(account.name, WRITE)))
    passes.may_end.clear()
    async with _running(database, passes) as (worker, task):
        await passes.started.wait()
        worker.stop(Interrupted("stopped"))
        passes.may_end.set()
        await task
        assert passes.interruption is not None
        ((seconds, *state),) = _states(database)
        assert (seconds <= 0, state) == (True, [10, 0, False, False])
        assert rows(database, "SELECT count(*) FROM leases") == [(0,)]


@pytest.mark.parametrize(
    ("outcomes", "counted"),
    [
        (None, 0),
        ((Outcome.NOT_ATTEMPTED, Outcome.NOT_ATTEMPTED), 0),
        ((Outcome.CHANGED, Outcome.NOT_ATTEMPTED), 1),
        ((Outcome.UNVERIFIED, Outcome.FAILED), 2),
    ],
)
async def test_writes_that_were_not_sent_count_no_longer(
    database: PostgresDatabase, outcomes: tuple[Outcome, Outcome] | None, counted: int
) -> None:
    """Otherwise they would count again in the next turn. A write that may have been sent still counts."""
    publish_accounts(database, document("a"), lane=lambda _: identity.lane("solapi", "NCSKEY"))
    changes = (WRITE, replace(WRITE, phone="01000000002"))

    def turn(account: DesiredAccount) -> AccountPass:
        plan = _plan(account.name, *changes)
        if outcomes is None:
            return AccountPass(plan)
        numbers = tuple(
            NumberResult(change.phone, change.action, "ACTIVE", "INACTIVE", None, outcome)
            for change, outcome in zip(changes, outcomes, strict=True)
        )
        outcome = RunOutcome.INTERRUPTED
        return AccountPass(plan, AccountResult(account=account.name, outcome=outcome, counts={}, numbers=numbers))

    passes = _Passes(turn)
    passes.admitted = {Action.ACTIVATE: 2}
    listener = _Listener()
    async with _running(database, passes, listener):
        await _until(lambda: bool(listener.passes))
    assert rows(database, "SELECT activations FROM revisions") == [(counted,)]


async def test_ledger_that_fails_ends_the_worker(database: PostgresDatabase) -> None:
    """Other slices are interrupted, and end before the leases do."""
    publish_accounts(database, document("a"), lane=lambda _: identity.lane("solapi", "NCSKEY"))
    passes = _Passes(lambda account: AccountPass(_plan(account.name)))
    passes.error = LedgerError("gone")
    async with _running(database, passes) as (_, task):
        with pytest.raises(LedgerError, match="gone"):
            await task
        assert passes.interruption is not None


def _draft(name: str) -> tuple[DesiredAccount, Draft]:
    desired = DesiredAccount(name, "a.yaml", {}, ())
    observed = ObservedAccount("1", {PHONE: Observed(PHONE, Status.INACTIVE)})
    draft = build(desired, observed, Terms(), AccountMemory(), datetime.now(UTC))
    return desired, Draft(_plan(name, WRITE), draft.desired)


async def test_second_name_of_an_account_is_refused(database: PostgresDatabase) -> None:
    """The plan has an error that contains both names. An account without writes is not checked."""
    publish_accounts(database, document("a"), document("b"))
    process = FleetProcess(database)
    agenda = AgendaThread(process.agenda)
    log = structlog.wrap_logger(structlog.testing.CapturingLogger())
    admission = Admission(agenda, "solapi", log)
    (one, first), (two, second) = _draft("a"), _draft("b")
    try:
        assert await admission([one], [first], frozenset()) == ([first], frozenset())
        ((draft,), held) = await admission([two], [second], frozenset())
        assert held == {"b"}
        assert (draft.plan.verdict, draft.plan.changes) == (Verdict.ERROR, ())
        assert "2 names describe one account ('a' (), 'b' (a.yaml:1))" in str(draft.error)
        idle = Draft(_plan("b"), {})
        assert await admission([two], [idle], frozenset()) == ([idle], frozenset())
    finally:
        agenda.close()
        with process:
            pass


async def test_held_account_does_not_count_towards_the_limit(database: PostgresDatabase) -> None:
    """A suspended account with changes would otherwise count in each of its passes, and pause the fleet."""
    publish_accounts(database, document("a"))
    process = FleetProcess(database)
    agenda = AgendaThread(process.agenda)
    log = structlog.wrap_logger(structlog.testing.CapturingLogger())
    desired, draft = _draft("a")
    try:
        assert await Admission(agenda, "solapi", log)([desired], [draft], frozenset({"a"})) == ([draft], frozenset())
        assert rows(database, "SELECT activations FROM revisions") == [(0,)]
        await Admission(agenda, "solapi", log)([desired], [draft], frozenset())
        assert rows(database, "SELECT activations FROM revisions") == [(1,)]
    finally:
        agenda.close()
        with process:
            pass
