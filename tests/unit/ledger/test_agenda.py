"""The agenda of a worker: lanes that are shared evenly, and the order and the limits of due accounts."""

import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from typing import Any

import pytest

from tests.support.fleets import FleetProcess, document, end_leases, publish_accounts
from tests.support.ledgers import (
    account_result,
    clock,
    ledger,
    never_wait,
    observed_account,
    plan_writes,
    rows,
    subject,
)
from worker.config.settings import RateLimit
from worker.ledger import writes
from worker.ledger.group_commit import GroupCommits
from worker.ledger.postgres.agenda import CHANGED, CRASHED, ROUTINE, Agenda, DueAccount, Pause, Reconciled, give_up
from worker.ledger.postgres.database import PostgresDatabase
from worker.model.accounts import Status
from worker.model.errors import AccountBusy, LedgerError
from worker.model.fleet import RevisionState
from worker.model.plans import Action
from worker.model.results import Outcome, RunOutcome
from worker.solapi.limiter import Quota


def _publish(
    database: PostgresDatabase, *names: str, text: str = "numbers: {01000000001: ACTIVE}", **more: Any
) -> None:
    assert publish_accounts(database, *(document(name, text) for name in names), **more) is not None


def _execute(database: PostgresDatabase, sql: str) -> None:
    with closing(database.open()) as connection:
        connection.script(sql)


def _done(due: DueAccount, **more: Any) -> Reconciled:
    fields: dict[str, Any] = {"name": due.name, "revision": due.revision, "seconds": 300.0} | more
    return Reconciled(**fields)


def _take(agenda: Agenda, count: int, *, suspects_only: bool = False) -> tuple[DueAccount, ...]:
    taken = agenda.take(count, suspects_only=suspects_only)
    return () if taken is None else taken.accounts


def _names(taken: tuple[DueAccount, ...]) -> list[str]:
    return [due.name for due in taken]


def test_workers_share_the_lanes_evenly(postgres: PostgresDatabase) -> None:
    """A new worker gets its share from the others, and they get it back when it ends."""
    with FleetProcess(postgres, "one") as first:
        assert first.balance().lanes == 1024
        with FleetProcess(postgres, "two") as second:
            assert second.balance().lanes == 0
            assert first.balance().lanes == 512
            assert (second.balance().lanes, second.balance().workers) == (512, 2)
            assert first.balance().lanes == 512
            second.drain()
            assert first.balance().lanes == 1024
            assert first.balance() == first.balance()


def test_lanes_in_use_are_kept(postgres: PostgresDatabase) -> None:
    """A worker takes no further accounts of a lane that it gives away, and releases the lane after the last one."""
    _publish(postgres, "a", "b", lane=lambda _: 7)
    with FleetProcess(postgres) as agenda:
        agenda.balance()
        (first,) = _take(agenda, 1)
        agenda.drain()
        assert rows(postgres, "SELECT name FROM leases") == [("lane 7",)]
        assert _take(agenda, 1) == ()
        agenda.finish([first], [_done(first)])
        agenda.drain()
        assert rows(postgres, "SELECT name FROM leases") == []


def test_dead_worker_is_taken_over(postgres: PostgresDatabase) -> None:
    """The accounts of the dead worker come last. Those in progress at two crashes come later, one at a time."""
    _publish(postgres, "a", "b", "c")
    for crash in (1, 2):
        with FleetProcess(postgres, f"dead {crash}") as agenda:
            agenda.balance()
            dying = _take(agenda, 2) if crash == 1 else [due for due in _take(agenda, 3) if due.name != "c"]
            assert len(dying) == 2
            with closing(postgres.open()) as connection:
                end_leases(connection, f"dead {crash}")
            with FleetProcess(postgres, f"other {crash}") as other:
                assert other.balance().taken_over == 1024
                if crash == 1:
                    taken = _take(other, 3)
                    assert (_names(taken)[0], [due.priority for due in taken]) == ("c", [CHANGED, CRASHED, CRASHED])
                    assert rows(postgres, "SELECT crashes FROM accounts ORDER BY name") == [(1,), (1,), (0,)]
                    other.finish(taken, [_done(due, seconds=0.0) for due in taken if due.name == "c"])
                    _execute(postgres, "UPDATE accounts SET worker = NULL")
                else:
                    assert _take(other, 3, suspects_only=True) == ()
                    _execute(postgres, "UPDATE accounts SET due_at = clock_timestamp()")
                    assert "a" not in _names(_take(other, 3))
                    (suspect,) = _take(other, 1, suspects_only=True)
                    other.finish([suspect], [_done(suspect)])
                    assert rows(postgres, f"SELECT crashes FROM accounts WHERE name = '{suspect.name}'") == [(0,)]  # noqa: S608


def test_changed_accounts_come_first(postgres: PostgresDatabase) -> None:
    """The accounts that are due for the longest time follow. An account that is not due is not taken."""
    _publish(postgres, "a", "b", "c", "d", "e")
    _execute(
        postgres,
        "UPDATE accounts SET due_at = clock_timestamp() - make_interval(secs => ascii(name) / 10.0), priority = 0;"
        "UPDATE accounts SET priority = 10 WHERE name = 'b'; UPDATE accounts SET priority = -10 WHERE name = 'e';"
        "UPDATE accounts SET due_at = clock_timestamp() + interval '1 min' WHERE name = 'c'",
    )
    with FleetProcess(postgres) as agenda:
        assert _take(agenda, 9) == ()
        agenda.balance()
        assert [_names(_take(agenda, 1)) for _ in range(5)] == [["b"], ["d"], ["a"], ["e"], []]


def test_worker_that_gives_up_leaves_its_accounts_due(postgres: PostgresDatabase) -> None:
    """The accounts do not count as crashed. The lanes are free after the window of the quota."""
    _publish(postgres, "a", "b")
    process = FleetProcess(postgres, "one")
    process.agenda.balance()
    assert len(_take(process.agenda, 9)) == 2
    process.leases.stop()
    with closing(postgres.open()) as connection:
        give_up(connection, process.leases, 60.0)
        process.connection.close()
    assert rows(postgres, "SELECT count(*) FROM leases") == rows(postgres, "SELECT count(*) FROM workers") == [(0,)]
    assert rows(postgres, "SELECT count(*) FROM lanes WHERE free_at > clock_timestamp() + interval '50 s'") == [(1024,)]
    with FleetProcess(postgres, "two") as agenda:
        assert agenda.balance().lanes == 0
        _execute(postgres, "UPDATE lanes SET free_at = clock_timestamp()")
        assert agenda.balance().taken_over == 0
        assert sorted(_names(_take(agenda, 9))) == ["a", "b"]
        assert rows(postgres, "SELECT sum(crashes) FROM accounts") == [(0,)]


def test_account_of_a_dead_worker_is_reconciled_in_spite_of_a_backlog(postgres: PostgresDatabase) -> None:
    """After half a minute it has the priority of other due accounts, so that it does not wait for all of them."""
    _publish(postgres, "a", "b", "c")
    with FleetProcess(postgres, every=60.0) as agenda:
        agenda.balance()
        _execute(postgres, "UPDATE accounts SET priority = 0, due_at = clock_timestamp() - interval '1 s'")
        crashed = "UPDATE accounts SET priority = -10, due_at = clock_timestamp() - interval '{} s' WHERE name = 'c'"
        _execute(postgres, crashed.format(29))
        taken = _take(agenda, 2)
        assert sorted(_names(taken)) == ["a", "b"]
        agenda.finish(taken, [_done(due, seconds=0.0) for due in taken])
        _execute(postgres, crashed.format(31))
        assert "c" in _names(_take(agenda, 2))


def test_changed_document_is_a_fresh_start(postgres: PostgresDatabase) -> None:
    """The crashes, failures and moves of its former version do not count."""
    _publish(postgres, "a", "b")
    _execute(postgres, "UPDATE accounts SET crashes = 2, failures = 3, moves = 1, priority = -10")
    publish_accounts(postgres, document("a"), document("b", "numbers: {01000000001: INACTIVE}"))
    states = "SELECT name, crashes, failures, moves, priority FROM accounts ORDER BY name"
    assert rows(postgres, states) == [("a", 2, 3, 1, CRASHED), ("b", 0, 0, 0, CHANGED)]


def test_finished_account_is_due_again(postgres: PostgresDatabase) -> None:
    """Unless a newer revision changed it meanwhile: then it stays due with that change."""
    _publish(postgres, "a", "b")
    with FleetProcess(postgres) as agenda:
        agenda.balance()
        a, b = sorted(_take(agenda, 2), key=lambda due: due.name)
        _execute(postgres, "UPDATE accounts SET settled = revision")
        publish_accounts(postgres, document("a"), document("b", "numbers: {01000000001: INACTIVE}"))
        agenda.finish([a, b], [_done(a, seconds=60.0, failures=3, key="vendor 1"), _done(b)])
        tasks = rows(
            postgres,
            "SELECT name, priority, failures, key, settled, round(extract(epoch FROM due_at - clock_timestamp())) > 50 "
            "FROM accounts ORDER BY name",
        )
        assert tasks == [("a", ROUTINE, 3, "vendor 1", 1, True), ("b", CHANGED, 0, None, 1, False)]
        assert _names(_take(agenda, 2)) == ["b"]


def test_moved_account_is_due_in_its_new_lane(postgres: PostgresDatabase) -> None:
    _publish(postgres, "a", "b")
    with FleetProcess(postgres) as agenda:
        agenda.balance()
        taken = _take(agenda, 2)
        agenda.move({"a": 9}, taken)
        assert rows(postgres, "SELECT name, lane, worker IS NULL FROM accounts ORDER BY name") == [
            ("a", 9, True),
            ("b", 0, False),
        ]
        (again,) = _take(agenda, 2)
        assert (again.name, again.lane, again.moves) == ("a", 9, 1)
        agenda.finish([again], [_done(again)])
        assert rows(postgres, "SELECT moves FROM accounts WHERE name = 'a'") == [(0,)]


def test_stale_worker_takes_nothing(postgres: PostgresDatabase) -> None:
    """After its leases have ended, a worker cannot take an account or end the turn of one."""
    _publish(postgres, "a", "b")
    with FleetProcess(postgres, "stale") as agenda:
        agenda.balance()
        (due,) = _take(agenda, 1)
        with closing(postgres.open()) as connection:
            end_leases(connection, "stale")
        assert _take(agenda, 1) == ()
        with FleetProcess(postgres, "other") as other:
            other.balance()
            taken = _take(other, 2)
            agenda.finish([due], [_done(due)])
            assert rows(postgres, "SELECT count(*) FROM accounts WHERE worker IS NOT NULL") == [(2,)]
            assert len(taken) == 2


async def test_lane_that_another_run_wants_is_yielded(postgres: PostgresDatabase) -> None:
    """The run waits for the worker to finish its current accounts, without --lock-timeout."""
    pauses = 0
    with FleetProcess(postgres) as agenda:
        agenda.balance()

        async def pause(_: float) -> bool:
            nonlocal pauses
            pauses += 1
            agenda.balance()
            return True

        async with ledger(postgres, run_id="apply") as run_ledger:
            async with run_ledger.lease(subject(lane=3), pause, Quota(RateLimit(), clock=time.monotonic)):
                assert pauses == 1
                assert agenda.balance().lanes == 1023
            assert agenda.balance().lanes == 1023
            _execute(postgres, "UPDATE lanes SET wanted_until = '-infinity'")
            assert agenda.balance().lanes == 1024
            with pytest.raises(AccountBusy, match="another run uses the API key"):
                async with run_ledger.lease(subject(lane=4), never_wait):
                    raise AssertionError("entered")


async def test_runs_of_a_worker_share_its_leases(postgres: PostgresDatabase) -> None:
    """Each takes the lease of an account only, in a lane of the worker. They end with the worker, not with the run."""
    worker = FleetProcess(postgres)
    worker.agenda.balance()
    with closing(postgres.open()) as connection, ThreadPoolExecutor(1) as thread:
        worker.leases.attach(connection)
        commits = GroupCommits(connection, worker.leases, submit=thread.submit, now=clock(), unusable=postgres.unusable)
        for name in ("one", "two"):
            async with (
                ledger(postgres, run_id=name, leases=worker.leases, commits=commits) as run_ledger,
                run_ledger.lease(subject(lane=3), never_wait) as account_ledger,
            ):
                assert rows(postgres, "SELECT count(*) FROM leases") == [(1025,)]
                await account_ledger.record_plan(plan_writes("01000000001"), "f")
                await account_ledger.intend([("01000000001", 1, Status.INACTIVE)])
                account_ledger.check_lease()
            assert rows(postgres, "SELECT count(*) FROM leases") == [(1024,)]
    assert worker.leases.failure is None
    assert rows(postgres, "SELECT count(*) FROM workers") == [(1,)]
    with worker:
        pass


def test_canary_accounts_come_before_the_others(postgres: PostgresDatabase) -> None:
    """The others wait until each of the canary was reconciled with this revision, and follow if few writes failed."""
    _publish(postgres, "a", "b", "c", canary=2, max_failed="50%")
    with FleetProcess(postgres) as agenda:
        agenda.balance()
        a, b = sorted(_take(agenda, 9), key=lambda due: due.name)
        assert (a.name, b.name, a.is_canary) == ("a", "b", True)
        assert agenda.finish([a], [_done(a, planned=2, failed=1)]) is None
        assert agenda.finish([b], [_done(b, is_settled=False, seconds=0.0)]) is None
        (b,) = _take(agenda, 9)
        assert agenda.finish([b], [_done(b, planned=2, failed=1)]) is RevisionState.ROLLING
        assert _names(_take(agenda, 9)) == ["c"]


def test_failed_canary_pauses_the_fleet(postgres: PostgresDatabase) -> None:
    _publish(postgres, "a", "b", canary=1, max_failed="0")
    with FleetProcess(postgres) as agenda:
        agenda.balance()
        (a,) = _take(agenda, 9)
        pause = agenda.finish([a], [_done(a, planned=4, failed=1)])
        assert isinstance(pause, Pause)
        assert pause.reason == (
            "1 of 4 numbers of the first account were not changed as planned; at most 0 may fail (canary.max_failed: 0)"
        )
        taken = agenda.take(9)
        assert taken is not None
        assert (taken.revision.number, taken.revision.is_paused) == (pause.revision, True)
        (b,) = taken.accounts
        assert agenda.admit({"b": {Action.ACTIVATE: 1}}, {"b": "vendor 2"}) == (frozenset({"b"}), {}, None)
        # a later turn of the canary decides nothing
        assert agenda.finish([a, b], [_done(b)]) is None


def test_failed_canary_is_tried_again_by_the_next_revision(postgres: PostgresDatabase) -> None:
    """Otherwise a revision that changes another account would release the accounts that followed the canary."""
    failing = [document(name) for name in "abc"]
    publish_accounts(postgres, *failing, canary=1, max_failed="0")
    with FleetProcess(postgres) as agenda:
        agenda.balance()
        for others in ([], ["d"], ["d", "e"]):
            publish_accounts(postgres, *failing, *map(document, others), canary=1, max_failed="0")
            canary = _take(agenda, 9)
            assert sorted(_names(canary)) == ["a", *others[-1:]]
            assert isinstance(
                agenda.finish(canary, [_done(due, planned=1, failed=due.name == "a") for due in canary]), Pause
            )
            # the paused fleet reads it again
            agenda.finish(canary, [_done(due, is_settled=False, is_held=True) for due in canary])
        publish_accounts(postgres, *failing, document("f"), canary=1, max_failed="0")
        canary = _take(agenda, 9)
        assert agenda.finish(canary, [_done(due, planned=1) for due in canary]) is RevisionState.ROLLING
        assert sorted(_names(_take(agenda, 9))) == ["b", "c"]


def test_removed_account_of_a_failed_canary_is_replaced(postgres: PostgresDatabase) -> None:
    publish_accounts(postgres, document("a"), document("b"), document("c"), canary=1, max_failed="0")
    with FleetProcess(postgres) as agenda:
        agenda.balance()
        (a,) = _take(agenda, 9)
        assert isinstance(agenda.finish([a], [_done(a, planned=1, failed=1)]), Pause)
        publish_accounts(postgres, document("b"), document("c"), canary=1, max_failed="0")
        assert _names(_take(agenda, 9)) == ["b"]


def test_revision_of_a_newer_version_is_refused(postgres: PostgresDatabase) -> None:
    with FleetProcess(postgres) as agenda:
        agenda.balance()
        assert agenda.take(1) is None
        _publish(postgres, "a")
        _execute(postgres, "UPDATE revisions SET format = 99")
        with pytest.raises(LedgerError, match="was published by a newer senderid"):
            agenda.take(1)


def _admitted(agenda: Agenda, **activations: int) -> list[str]:
    accounts = {name: {Action.ACTIVATE: count} for name, count in activations.items()}
    held, _, _ = agenda.admit(accounts, {name: f"vendor {name}" for name in accounts})
    return sorted(accounts.keys() - held)


def test_writes_beyond_the_limit_of_an_interval_pause_the_fleet(postgres: PostgresDatabase) -> None:
    """Activations and deactivations have separate limits.

    The counts start again with each interval, and when the fleet is resumed.
    """
    _publish(postgres, "a", "b", "c", numbers=1000, fleet_wide="20%")
    with FleetProcess(postgres, every=60.0) as agenda:
        assert _admitted(agenda, a=150) == ["a"]
        _execute(postgres, "UPDATE revisions SET counted_since = counted_since - interval '61 s'")
        assert _admitted(agenda, a=100, b=100) == ["a", "b"]
        held, _, pause = agenda.admit({"c": {Action.DEACTIVATE: 200}}, {"c": "vendor c"})
        assert (held, pause) == (frozenset(), None)
        held, _, pause = agenda.admit({"a": {Action.ACTIVATE: 1}, "b": {Action.DEACTIVATE: 0}}, {})
        assert held == {"a", "b"}
        assert pause is not None
        assert pause.reason.startswith("201 of the 1000 numbers of all accounts would be activated; the limit is 200")
        assert rows(postgres, "SELECT is_paused, paused_by, reason FROM revisions") == [(True, None, str(pause.reason))]
        assert _admitted(agenda, c=1) == []


def test_account_that_was_published_again_or_removed_is_not_written(postgres: PostgresDatabase) -> None:
    """The turn began with documents that no longer apply. The account is due immediately with the new ones."""
    _publish(postgres, "a", "b", "c")
    with FleetProcess(postgres) as agenda:
        agenda.balance()
        taken = _take(agenda, 9)
        agenda.finish((), [_done(due) for due in taken if due.name == "c"])
        inactive = "numbers: {01000000001: INACTIVE}"
        publish_accounts(postgres, document("a", inactive), document("c"))
        assert _admitted(agenda, a=1, b=1) == []
        agenda.finish(taken, [_done(due, is_settled=False) for due in taken if due.name != "c"])
        (a,) = _take(agenda, 9)
        assert (a.name, a.revision) == ("a", 2)
        assert _admitted(agenda, a=1) == ["a"]


def _activations(database: PostgresDatabase) -> int:
    ((count,),) = rows(database, "SELECT activations FROM revisions ORDER BY revision DESC LIMIT 1")
    return int(count)


def test_unsent_writes_do_not_count(postgres: PostgresDatabase) -> None:
    """The account is planned again, also in a later revision, and its writes count then. Those sent still count."""
    _publish(postgres, "a", "b", fleet_wide="50%")
    with FleetProcess(postgres) as agenda:
        agenda.balance()
        a, b = sorted(_take(agenda, 2), key=lambda due: due.name)
        held, _, _ = agenda.admit({"a": {Action.ACTIVATE: 9, Action.DEACTIVATE: 5}, "b": {Action.ACTIVATE: 4}}, {})
        assert held == frozenset()
        _publish(postgres, "a", "b", "c", fleet_wide="50%")
        ends = [
            _done(a, unsent_activations=6, unsent_deactivations=4, is_settled=False),
            _done(b, unsent_activations=1, is_settled=False),
        ]
        agenda.finish([a, b], ends)
        # its next turn was not admitted, so that nothing is unsent
        agenda.finish([a], [_done(a, unsent_activations=6)])
    assert rows(postgres, "SELECT activations, deactivations FROM revisions ORDER BY revision") == [(13, 5), (6, 1)]


NEW_INTERVAL = "UPDATE revisions SET counted_since = clock_timestamp()"
LOST_TURN = "UPDATE accounts SET worker = NULL"


@pytest.mark.parametrize("sql", [NEW_INTERVAL, LOST_TURN])
def test_unsent_writes_are_those_of_the_interval_and_the_turn(postgres: PostgresDatabase, sql: str) -> None:
    """The writes of an interval that is over do not count in the next one. A stale worker changes no count."""
    _publish(postgres, "a")
    with FleetProcess(postgres) as agenda:
        agenda.balance()
        (a,) = _take(agenda, 1)
        assert _admitted(agenda, a=2) == ["a"]
        _execute(postgres, sql)
        agenda.finish([a], [_done(a, unsent_activations=2)])
    assert _activations(postgres) == 2


def test_unsent_writes_of_a_paused_account_do_not_count(postgres: PostgresDatabase) -> None:
    """Writes that were not admitted were never counted."""
    _publish(postgres, "a", fleet_wide="100")
    with FleetProcess(postgres) as agenda:
        agenda.balance()
        (a,) = _take(agenda, 1)
        assert _admitted(agenda, a=101) == []
        agenda.finish([a], [_done(a, unsent_activations=101)])
    assert _activations(postgres) == 0


def test_publication_continues_the_interval(postgres: PostgresDatabase) -> None:
    """Otherwise frequent publications would add up to more writes than the limit of an interval."""
    _publish(postgres, "a", fleet_wide="20%")
    with FleetProcess(postgres) as agenda:
        assert _admitted(agenda, a=150) == ["a"]
        _publish(postgres, "a", "b", fleet_wide="20%")
        _, _, pause = agenda.admit({"b": {Action.ACTIVATE: 51}}, {"b": "vendor b"})
        assert pause is not None
        assert pause.reason.startswith("201 of the 1000 numbers")


def test_lifted_limit_admits_everything(postgres: PostgresDatabase) -> None:
    _publish(postgres, "a", fleet_wide=None)
    with FleetProcess(postgres) as agenda:
        assert _admitted(agenda, a=100_000) == ["a"]


def test_nothing_is_admitted_without_a_revision(postgres: PostgresDatabase) -> None:
    with FleetProcess(postgres) as agenda:
        assert _admitted(agenda, a=1) == []


def test_two_names_of_one_account_are_not_written(postgres: PostgresDatabase) -> None:
    """Whichever worker reads the second name: the first one recorded which account it is."""
    _publish(postgres, "a", "b", "c")
    with FleetProcess(postgres) as agenda:
        one: Mapping[str, Mapping[Action, int]] = {"a": {Action.ACTIVATE: 1}}
        assert agenda.admit(one, {"a": "vendor 1"}) == (frozenset(), {}, None)
        held, names, _ = agenda.admit({"b": {}, "c": {}}, {"b": "vendor 1", "c": "vendor 2"})
        assert (held, names) == (frozenset({"b"}), {"b": ("a", "b")})


def test_key_of_an_account_that_changed_its_credentials_is_updated(postgres: PostgresDatabase) -> None:
    """The next turn updates the key, so that another account may have the former key."""
    _publish(postgres, "a", "b")
    _execute(postgres, "UPDATE accounts SET key = 'vendor 1' WHERE name = 'a'")
    with FleetProcess(postgres) as agenda:
        agenda.balance()
        a, b = sorted(_take(agenda, 2), key=lambda due: due.name)
        writes_of_b: Mapping[str, Mapping[Action, int]] = {"b": {Action.ACTIVATE: 1}}
        assert agenda.admit(writes_of_b, {"b": "vendor 1"})[0] == {"b"}
        agenda.finish([a], [_done(a, key="vendor 2")])
        assert agenda.admit(writes_of_b, {"b": "vendor 1"})[0] == frozenset()
        agenda.finish([b], [_done(b, key="vendor 1")])
    assert rows(postgres, "SELECT name, key FROM accounts ORDER BY name") == [("a", "vendor 2"), ("b", "vendor 1")]


def test_queue_reports_due_accounts_and_lags(postgres: PostgresDatabase) -> None:
    """The lag of a publication is that of the oldest change. Without due accounts, all are 0."""
    with FleetProcess(postgres) as agenda:
        queue = agenda.queue()
        assert (queue.due, queue.oldest_seconds, queue.publish_lag_seconds) == (0, 0.0, 0.0)
        _publish(postgres, "a", "b")
        _execute(
            postgres,
            "UPDATE accounts SET due_at = clock_timestamp() - interval '50 s';"
            "UPDATE accounts SET priority = 0, due_at = due_at - interval '50 s' WHERE name = 'a'",
        )
        queue = agenda.queue()
        assert (queue.due, round(queue.oldest_seconds), round(queue.publish_lag_seconds)) == (2, 100, 50)


async def test_memories_of_many_accounts_are_those_of_each(postgres: PostgresDatabase) -> None:
    """Whether an account was never written, converged, was written in part, or is in a crashed run."""
    phone = "01000000001"
    plan = plan_writes(phone)
    for key, outcome in (("vendor 1", Outcome.CHANGED), ("vendor 2", Outcome.FAILED)):
        async with ledger(postgres, run_id=key) as run_ledger, run_ledger.lease(subject(key), never_wait) as account:
            await account.resume(observed_account(n01000000001="ACTIVE"))
            await account.record_plan(plan, "f")
            await account.intend([(phone, 1, Status.INACTIVE)])
            account.record_response(phone, 1, None)
            await account.finish(account_result(plan, outcome), {})
            await run_ledger.finish(RunOutcome.CONVERGED)
    async with (
        ledger(postgres, run_id="dead") as run_ledger,
        run_ledger.lease(subject("vendor 3"), never_wait) as account,
    ):
        await account.record_plan(plan, "f")
        await account.intend([(phone, 1, Status.INACTIVE)])
    keys = ["vendor 1", "vendor 2", "vendor 3", "vendor 4"]
    with FleetProcess(postgres) as agenda, closing(postgres.open()) as connection:
        memories = agenda.memories(keys)
        assert memories == {key: writes.recall(connection, key) for key in keys}
    assert memories["vendor 1"].written == {phone: Status.INACTIVE}
    assert memories["vendor 1"].registered == 1
    assert memories["vendor 3"].has_open_attempts


def test_share_of_more_workers_than_lanes(postgres: PostgresDatabase) -> None:
    """Three workers have a third each, and the last one what remains."""
    with ExitStack() as stack:
        agendas = [stack.enter_context(FleetProcess(postgres, f"run {index}")) for index in range(3)]
        for _ in range(2):
            for agenda in agendas:
                agenda.balance()
        assert sorted(agenda.balance().lanes for agenda in agendas) == [340, 342, 342]
