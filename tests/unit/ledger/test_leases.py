"""Leases in PostgreSQL: one writer among all hosts, tokens that fence stale runs, and the kernel's timer."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from threading import Thread
from typing import cast

import pytest

from tests.support.fleets import FleetProcess
from tests.support.ledgers import account_result, ledger, never_wait, observed_account, plan_writes, rows, subject
from worker.ledger import Ledger
from worker.ledger.ledger import LeasedAccountLedger
from worker.ledger.postgres import alarm, leases
from worker.ledger.postgres.connection import PostgresConnection
from worker.ledger.postgres.database import PostgresDatabase
from worker.model.accounts import Status
from worker.model.errors import AccountBusy, LeaseLost, LedgerError
from worker.model.ports import UsedSlots
from worker.model.results import Outcome, RunOutcome

A, B = "01000000001", "01000000002"
OFF = Status.INACTIVE
_TERMINATE = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() "
    "AND pid <> pg_backend_pid()"
)


def _execute(database: PostgresDatabase, sql: str) -> None:
    connection = database.open()
    connection.script(sql)
    connection.close()


def _end_leases(database: PostgresDatabase, run: str, seconds: float) -> None:
    """Act as if the leases of a run had ended `seconds` ago."""
    connection = database.open()
    connection.execute(
        "UPDATE workers SET until = clock_timestamp() - make_interval(secs => ?) WHERE run = ?", (seconds, run)
    )
    connection.close()


def _wait_until(condition: Callable[[], bool]) -> None:
    """Wait for something that another thread does."""
    while not condition():
        time.sleep(0.01)


@pytest.fixture(autouse=True)
def _no_timer_stays() -> Iterator[None]:
    """Check that no test leaves a timer that would end this process."""
    yield
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


@asynccontextmanager
async def _writing(run_ledger: Ledger, *phones: str) -> AsyncIterator[LeasedAccountLedger]:
    """Yield the ledger of an account with an entry for these phones."""
    async with run_ledger.lease(subject(), never_wait) as account_ledger:
        await account_ledger.record_plan(plan_writes(*phones), "f")
        yield account_ledger


async def test_busy_account_names_host_process_run_and_start(postgres: PostgresDatabase) -> None:
    async with (
        ledger(postgres, run_id="one") as first,
        ledger(postgres, run_id="two") as second,
        first.lease(subject(), never_wait),
    ):
        holder = r"\(host box, process 7, run one, since 2026-11-24T00:00:00\.000Z\)"
        with pytest.raises(AccountBusy, match=f"another run has the lease of this account {holder}"):
            async with second.lease(subject(), never_wait):
                raise AssertionError("entered")


async def test_accounts_of_one_api_key_are_written_by_one_run(postgres: PostgresDatabase) -> None:
    """A run shares the lane of a key among its own accounts, and releases it with the last of them."""
    one, two, three = (subject(f"vendor {number}", lane=5) for number in range(3))
    async with ledger(postgres, run_id="one") as first, ledger(postgres, run_id="two") as second:
        async with first.lease(one, never_wait):
            async with first.lease(two, never_wait):
                pass
            with pytest.raises(AccountBusy, match=r"another run uses the API key of this account \(host box"):
                async with second.lease(three, never_wait):
                    raise AssertionError("entered")
            assert rows(postgres, "SELECT name FROM leases ORDER BY name") == [("lane 5",), ("vendor 0",)]
        assert rows(postgres, "SELECT name FROM leases") == []
        async with second.lease(three, never_wait):
            pass


async def test_run_waits_for_a_released_account(postgres: PostgresDatabase) -> None:
    held, released = asyncio.Event(), asyncio.Event()

    async def pause(seconds: float) -> bool:
        assert seconds == 0.5
        released.set()
        await asyncio.sleep(0.01)
        return True

    async with ledger(postgres) as first, ledger(postgres, run_id="two", lock_timeout=60) as second:

        async def hold() -> None:
            async with first.lease(subject(), never_wait):
                held.set()
                await released.wait()

        task = asyncio.create_task(hold())
        await held.wait()
        async with second.lease(subject(), pause):
            assert task.done()
    assert rows(postgres, "SELECT * FROM workers") == []


async def test_leases_that_are_being_taken_or_released_do_not_block(postgres: PostgresDatabase) -> None:
    """Two runs that take and release the same leases in one transaction each, in opposite order, cannot deadlock."""
    async with ledger(postgres) as run_ledger:
        ((worker,),) = rows(postgres, "SELECT worker FROM workers")
        other = postgres.open()
        other.script("BEGIN")
        assert len(other.execute(leases._TAKE, (worker, ["vendor 1"])).fetchall()) == 1
        task = asyncio.create_task(_take_once(run_ledger, "vendor 1"))
        await asyncio.sleep(0.2)
        assert not task.done()
        other.script("ROLLBACK")
        other.close()
        await task
        async with run_ledger.lease(subject("vendor 2"), never_wait):
            other = postgres.open()
            other.script("BEGIN")
            other.script("DELETE FROM leases")
            with pytest.raises(AccountBusy):
                await _take_once(run_ledger, "vendor 2")
            other.script("ROLLBACK")
            other.close()


async def _take_once(run_ledger: Ledger, key: str) -> None:
    async with run_ledger.lease(subject(key), never_wait):
        pass


class _Quota:
    """A quota with used slots. It records those that it must occupy."""

    def __init__(self, *writes: float) -> None:
        self._writes = writes
        self.occupied: list[tuple[tuple[float, ...], float]] = []

    def used_slots(self) -> UsedSlots:
        return UsedSlots(writes=self._writes)

    def occupy(self, slots: UsedSlots, elapsed: float) -> None:
        self.occupied.append((slots.writes, elapsed))


async def test_used_slots_are_handed_over(postgres: PostgresDatabase) -> None:
    """Each quota of the lane occupies those of the key that used most. A run without a quota does not remove them."""
    one, two = (subject(f"vendor {number}", lane=5) for number in range(2))
    async with ledger(postgres, run_id="one") as first, ledger(postgres, run_id="two") as second:
        async with first.lease(one, never_wait, _Quota(3.0, 2.0)), first.lease(two, never_wait, _Quota(2.5, 2.5)):
            pass
        async with second.lease(one, never_wait):
            pass
        quota, other = _Quota(), _Quota()
        async with second.lease(one, never_wait, quota):
            async with second.lease(two, never_wait, quota):
                pass
            async with second.lease(two, never_wait, other):
                pass
        for occupied in (quota.occupied, other.occupied):
            assert [writes for writes, _ in occupied] == [(3.0, 2.5)]
            assert 0 < occupied[0][1] < 60
        async with first.lease(one, never_wait, later := _Quota()):
            pass
        assert [writes for writes, _ in later.occupied] == [()]


def test_slow_response_with_used_slots_frees_none_early(monkeypatch: pytest.MonkeyPatch) -> None:
    """The time that a query takes does not count as time since the handover."""
    now = 100.0

    class SlowConnection:
        """A connection that takes 0.3 seconds, after the database calculated the response."""

        def execute(self, *_: object) -> "SlowConnection":
            nonlocal now
            now += 0.3
            return self

        def fetchall(self) -> list[tuple[str, str, float]]:
            return [("lane 5", '{"writes":[3.0]}', 0.1)]

        def __iter__(self) -> Iterator[tuple[str, str, float]]:
            return iter(self.fetchall())

    monkeypatch.setattr(alarm, "seconds_since_boot", lambda: now)
    quota = _Quota()
    leases._lanes(cast("PostgresConnection", SlowConnection()), {"lane 5": 7})["lane 5"].add(quota)
    [(writes, elapsed)] = quota.occupied
    assert writes == (3.0,)
    assert elapsed == pytest.approx(0.1)


async def test_worker_of_a_fleet_occupies_the_used_slots(postgres: PostgresDatabase) -> None:
    async with ledger(postgres) as run_ledger, run_ledger.lease(subject(lane=5), never_wait, _Quota(3.0)):
        pass
    process, quota = FleetProcess(postgres), _Quota()
    with process:
        process.leases.take_lanes(process.connection, ["lane 5", "lane 6"])
        process.leases.add_quota("lane 5", quota)
        assert [writes for writes, _ in quota.occupied] == [(3.0,)]


async def test_worker_of_a_fleet_hands_over_the_used_slots(postgres: PostgresDatabase) -> None:
    """The next worker occupies them at once. Those of a lane that the worker did not use stay as it received them."""
    async with ledger(postgres) as run_ledger, run_ledger.lease(subject(lane=6), never_wait, _Quota(4.0)):
        pass
    lanes = ["lane 5", "lane 6"]
    first, second, third, unused = _Quota(3.0), _Quota(1.0, 1.0), _Quota(), _Quota()
    for quota in (first, second, third):
        with FleetProcess(postgres) as agenda:
            process_leases = agenda._leases
            process_leases.take_lanes(agenda._connection, lanes)
            process_leases.add_quota("lane 5", quota)
            if quota is third:
                process_leases.add_quota("lane 6", unused)
            agenda.release(process_leases.used_slots(lanes))
    assert [writes for quota in (first, second, third) for writes, _ in quota.occupied] == [(), (3.0,), (1.0, 1.0)]
    ((writes, elapsed),) = unused.occupied
    assert writes == (4.0,)
    assert third.occupied[0][1] < elapsed < 60


async def test_stale_worker_of_a_fleet_hands_over_nothing(postgres: PostgresDatabase) -> None:
    """Its lanes are free after its grace."""
    with FleetProcess(postgres) as agenda:
        process_leases = agenda._leases
        process_leases.take_lanes(agenda._connection, ["lane 5"])
        process_leases.add_quota("lane 5", _Quota(3.0))
        _end_leases(postgres, "run-1", 0.001)
        with pytest.raises(LeaseLost):
            agenda.release(process_leases.used_slots(["lane 5"]))
    assert rows(postgres, "SELECT name FROM leases") == [("lane 5",)]
    assert rows(postgres, "SELECT * FROM lanes") == []


async def test_release_after_the_lease_ended_changes_nothing(postgres: PostgresDatabase) -> None:
    """The used slots may have changed since the lease ended, so the lane is free only after the window."""
    async with ledger(postgres, run_id="late") as run_ledger:
        async with run_ledger.lease(subject(), never_wait, _Quota(3.0)):
            _end_leases(postgres, "late", 0.001)
        assert len(rows(postgres, "SELECT name FROM leases")) == 2
    assert len(rows(postgres, "SELECT name FROM leases")) == 2
    assert rows(postgres, "SELECT * FROM lanes") == []


async def test_stale_run_does_not_release_the_lease_of_its_successor(postgres: PostgresDatabase) -> None:
    async with (
        ledger(postgres, run_id="stale") as stale,
        ledger(postgres, run_id="next") as following,
        AsyncExitStack() as stale_lease,
    ):
        await stale_lease.enter_async_context(stale.lease(subject(), never_wait, _Quota(3.0)))
        _end_leases(postgres, "stale", 60)
        async with following.lease(subject(), never_wait, _Quota()):
            before = rows(postgres, "SELECT * FROM leases ORDER BY token")
            await stale_lease.aclose()
            assert rows(postgres, "SELECT * FROM leases ORDER BY token") == before
            assert rows(postgres, "SELECT * FROM lanes") == []
        assert rows(postgres, "SELECT * FROM leases") == []


async def test_lease_of_a_crashed_run_is_taken_over_after_its_grace(postgres: PostgresDatabase) -> None:
    """A request of the crashed run may take as long as its time limit. The lease is taken with a new token."""
    async with ledger(postgres, run_id="dead", grace_seconds=20) as dead, _writing(dead, A) as stale:
        await stale.intend([(A, 1, OFF)])
        ((token,),) = rows(postgres, "SELECT token FROM leases WHERE name = 'vendor 1'")
        async with ledger(postgres, run_id="next") as following:
            _end_leases(postgres, "dead", 19)
            with pytest.raises(AccountBusy, match="run dead"):
                async with following.lease(subject(), never_wait):
                    raise AssertionError("entered")
            _end_leases(postgres, "dead", 21)
            async with following.lease(subject(), never_wait) as account_ledger:
                ((new_token,),) = rows(postgres, "SELECT token FROM leases WHERE name = 'vendor 1'")
                assert new_token > token
                memory = await account_ledger.resume(observed_account(**{f"n{A}": "INACTIVE"}))
                assert memory.spent == {A}
        assert rows(postgres, "SELECT state FROM attempts") == [("verified",)]


@pytest.mark.parametrize("action", ["intend", "respond", "finish", "begin", "resume"])
async def test_stale_run_changes_nothing(postgres: PostgresDatabase, action: str) -> None:
    """A run whose lease was taken over cannot record intents, responses, results or plans."""
    async with ledger(postgres, run_id="stale") as run_ledger:
        with pytest.raises(LeaseLost):  # noqa: PT012 - the last statement depends on the action
            async with _writing(run_ledger, A, B) as account_ledger:
                await account_ledger.intend([(A, 1, OFF)])
                _execute(postgres, "DELETE FROM workers")
                before = rows(postgres, "SELECT * FROM attempts"), rows(postgres, "SELECT * FROM entries")
                match action:
                    case "intend":
                        await account_ledger.intend([(B, 1, OFF)])
                    case "respond":
                        account_ledger.record_response(A, 1, None)
                        await run_ledger._commits.drain()
                    case "finish":
                        await account_ledger.finish(account_result(plan_writes(A, B), Outcome.CHANGED), {})
                    case "begin":
                        await account_ledger.record_plan(plan_writes(A), "f")
                    case _:
                        await account_ledger.resume(observed_account(**{f"n{A}": "ACTIVE"}))
        assert before == (rows(postgres, "SELECT * FROM attempts"), rows(postgres, "SELECT * FROM entries"))
        with pytest.raises(LeaseLost):
            await run_ledger.finish(RunOutcome.FAILED)


async def test_intents_need_the_token_of_their_lease(postgres: PostgresDatabase) -> None:
    """A run that released an account, and still lives, cannot record intents for it."""
    async with ledger(postgres) as run_ledger:
        async with _writing(run_ledger, A) as account_ledger:
            pass
        async with run_ledger.lease(subject(), never_wait):
            with pytest.raises(LeaseLost):
                await account_ledger.intend([(A, 1, OFF)])
    assert rows(postgres, "SELECT * FROM attempts") == []


async def test_intents_need_a_lease(postgres: PostgresDatabase) -> None:
    async with ledger(postgres) as run_ledger, _writing(run_ledger, A) as account_ledger:
        with pytest.raises(LeaseLost):
            await run_ledger._commits.intend([(account_ledger._open_entry, A, 1, OFF)])
    assert rows(postgres, "SELECT * FROM attempts") == []


async def test_intents_need_a_lease_that_has_not_ended(postgres: PostgresDatabase) -> None:
    """A lease that was not renewed in time does not count, even if no other run has taken it."""
    async with ledger(postgres) as run_ledger, _writing(run_ledger, A) as account_ledger:
        _end_leases(postgres, "run-1", 0.001)
        with pytest.raises(LeaseLost):
            await account_ledger.intend([(A, 1, OFF)])
    assert rows(postgres, "SELECT * FROM attempts") == []


async def test_take_over_waits_for_a_transaction_of_intents(postgres: PostgresDatabase) -> None:
    """Intents that were checked are committed before another run takes the lease, so it finds them."""
    async with ledger(postgres) as run_ledger, _writing(run_ledger, A) as account_ledger:
        ((worker, token),) = rows(postgres, "SELECT worker, token FROM leases WHERE name = 'vendor 1'")
        connection = postgres.open()
        connection.script("BEGIN")
        connection.execute(leases._INTEND, (worker, [token], "now", [account_ledger._open_entry], [A], [1], ["x"]))
        removal = Thread(target=_execute, args=(postgres, "DELETE FROM workers"))
        removal.start()
        blocked = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE 'DELETE%'"
        _wait_until(lambda: rows(postgres, blocked) == [(1,)])
        connection.script("COMMIT")
        connection.close()
        removal.join()
    assert rows(postgres, "SELECT state FROM attempts") == [("intent",)]


async def test_check_fails_at_the_deadline_of_this_machine(
    postgres: PostgresDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The deadline counts from before the renewal was sent, and the time of a suspended machine counts too."""
    async with ledger(postgres) as run_ledger, _writing(run_ledger, A) as account_ledger:
        account_ledger.check_lease()
        deadline = run_ledger._leases._deadline  # type: ignore[attr-defined]
        assert 0 < deadline - alarm.seconds_since_boot() < leases.LEASE_SECONDS
        monkeypatch.setattr(alarm, "seconds_since_boot", lambda: deadline)
        with pytest.raises(LeaseLost, match="nothing more was sent"):
            account_ledger.check_lease()
        monkeypatch.undo()


async def test_leases_are_renewed(postgres: PostgresDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each renewal extends the lease at the server, the deadline of this machine and the kernel's timer."""
    monkeypatch.setattr(leases, "BEAT_SECONDS", 0.01)
    async with ledger(postgres) as run_ledger, run_ledger.lease(subject(), never_wait):
        until = rows(postgres, "SELECT until FROM workers")
        deadline = run_ledger._leases._deadline  # type: ignore[attr-defined]
        _wait_until(lambda: rows(postgres, "SELECT until FROM workers") != until)
        _wait_until(lambda: run_ledger._leases._deadline != deadline)  # type: ignore[attr-defined]
        assert leases.LEASE_SECONDS - 2 < signal.getitimer(signal.ITIMER_REAL)[0] <= leases.LEASE_SECONDS


@pytest.mark.parametrize(
    ("sql", "error"),
    [
        ("DELETE FROM workers", LeaseLost),
        (f"{_TERMINATE} AND query LIKE '%UPDATE workers%'", LedgerError),
    ],
)
async def test_failed_renewal_stops_the_run(
    postgres: PostgresDatabase, monkeypatch: pytest.MonkeyPatch, sql: str, error: type[LedgerError]
) -> None:
    """Nothing more is sent or recorded once a renewal has failed."""
    monkeypatch.setattr(leases, "BEAT_SECONDS", 0.01)
    async with ledger(postgres) as run_ledger, _writing(run_ledger, A) as account_ledger:
        _execute(postgres, sql)
        _wait_until(lambda: run_ledger._leases.failure is not None)
        with pytest.raises(error):
            account_ledger.check_lease()
        with pytest.raises(error):
            await account_ledger.intend([(A, 1, OFF)])
    assert rows(postgres, "SELECT * FROM attempts") == []


async def test_database_that_does_not_respond_stops_the_run(
    postgres: PostgresDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A renewal and a start have a time limit, so that the run ends before the kernel ends it."""
    monkeypatch.setattr(leases, "BEAT_SECONDS", 0.01)
    monkeypatch.setattr(leases, "_BEAT_TIMEOUT", 0.2)
    async with ledger(postgres) as run_ledger, _writing(run_ledger, A) as account_ledger:
        other = postgres.open()
        other.script("BEGIN; LOCK TABLE workers")
        _wait_until(lambda: run_ledger._leases.failure is not None)
        with pytest.raises(LedgerError, match=r"cannot be used \(no response within 0\.2 s\)"):
            account_ledger.check_lease()
        with pytest.raises(LedgerError, match="no response"):
            await ledger(postgres, run_id="two").__aenter__()
        other.close()


async def test_database_that_goes_away_stops_the_run(postgres: PostgresDatabase) -> None:
    """Intents cannot be recorded, so no request is sent. The error names the database."""
    async with ledger(postgres) as run_ledger, _writing(run_ledger, A) as account_ledger:
        _execute(postgres, f"{_TERMINATE} AND query = 'COMMIT'")
        with pytest.raises(LedgerError, match=r"the ledger postgresql://.* cannot be used"):
            await account_ledger.intend([(A, 1, OFF)])
        with pytest.raises(LedgerError):
            await account_ledger.finish(account_result(plan_writes(A), Outcome.FAILED), {})
    assert rows(postgres, "SELECT * FROM attempts") == []


_SLEEPER = """
import sys, time
from worker.ledger.postgres import alarm
alarm.arm(1, alarm.seconds_since_boot() + float(sys.argv[1]))
alarm.arm(2, alarm.seconds_since_boot() + 60)
print("armed", flush=True)
sys.stdin.read(1)
if sys.argv[2] == "disarm":
    alarm.disarm(1)
    alarm.disarm(2)
    print("disarmed", flush=True)
    time.sleep(float(sys.argv[1]) + 0.2)
else:
    time.sleep(60)
"""


@pytest.mark.parametrize("ending", ["earliest", "stopped", "disarm"])
def test_kernel_ends_a_process_whose_lease_ended(ending: str) -> None:
    """The earliest deadline counts. A stopped process is ended when it continues, before it can send anything."""
    with subprocess.Popen(  # noqa: S603 - constant command
        [sys.executable, "-c", _SLEEPER, "0.3", ending], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "armed\n"
        if ending == "stopped":
            os.kill(process.pid, signal.SIGSTOP)
            time.sleep(0.4)
        process.stdin.write("x")
        process.stdin.flush()
        os.kill(process.pid, signal.SIGCONT)
        rest = process.stdout.read()
        assert (rest, process.wait()) == (("disarmed\n", 0) if ending == "disarm" else ("", -signal.SIGALRM))
