"""Bugs that are planted one at a time into the leases of PostgreSQL, and the test that must detect each."""

import inspect
from collections.abc import Callable
from typing import Any

import pytest

from tests.unit.ledger import test_agenda, test_leases
from worker.ledger.postgres import agenda, leases
from worker.ledger.postgres.database import PostgresDatabase
from worker.ledger.postgres.leases import PostgresLeases

Plant = Callable[[pytest.MonkeyPatch], object]

_HELD = "WHERE (SELECT count(*) FROM valid) = cardinality(?2) AND cardinality(?2) > 0"


def _replace(name: str, old: str, new: str, module: Any = leases) -> Plant:
    def plant(patch: pytest.MonkeyPatch) -> None:
        sql = getattr(module, name)
        assert old in sql
        patch.setattr(module, name, sql.replace(old, new))

    return plant


def _fence_nothing(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(PostgresLeases, "fence", lambda *_: None)


def _release_every_lease(patch: pytest.MonkeyPatch) -> None:
    _fence_nothing(patch)
    patch.setattr(leases, "_RELEASE", "DELETE FROM leases WHERE (token = ANY(?1)) IS NOT NULL AND ?2 > 0")


def _start_no_timer(patch: pytest.MonkeyPatch) -> None:
    sleeper = test_leases._SLEEPER.replace("time.sleep(60)", "time.sleep(0)")
    patch.setattr(test_leases, "_SLEEPER", f"import signal\nsignal.setitimer = lambda *_: None\n{sleeper}")


def _occupy_no_slots(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(leases._Lane, "add", lambda lane, quota: lane.quotas.append(quota))


_BUGS: dict[str, tuple[Plant, Callable[..., Any], dict[str, Any]]] = {
    "intents without a token": (
        _replace("_INTEND", _HELD, ""),
        test_leases.test_intents_need_the_token_of_their_lease,
        {},
    ),
    "records without a token": (_fence_nothing, test_leases.test_stale_run_changes_nothing, {"action": "finish"}),
    "no deadline": (
        lambda patch: patch.setattr(PostgresLeases, "check", lambda _: None),
        test_leases.test_check_fails_at_the_deadline_of_this_machine,
        {},
    ),
    "no timer": (_start_no_timer, test_leases.test_kernel_ends_a_process_whose_lease_ended, {"ending": "stopped"}),
    "a fresh window after a takeover": (_occupy_no_slots, test_leases.test_used_slots_are_handed_over, {}),
    "a handover of a fleet's lane without its slots": (
        lambda patch: patch.setattr(leases._Lane, "used_slots", lambda _: None),
        test_leases.test_worker_of_a_fleet_hands_over_the_used_slots,
        {},
    ),
    "a handover by a stale worker": (_fence_nothing, test_leases.test_stale_worker_of_a_fleet_hands_over_nothing, {}),
    "an unconditional release": (
        _release_every_lease,
        test_leases.test_stale_run_does_not_release_the_lease_of_its_successor,
        {},
    ),
    "a release by a stale run": (
        _fence_nothing,
        test_leases.test_stale_run_does_not_release_the_lease_of_its_successor,
        {},
    ),
    "a takeover without the grace": (
        _replace("_REMOVE_ENDED", "until + grace", "until"),
        test_leases.test_lease_of_a_crashed_run_is_taken_over_after_its_grace,
        {},
    ),
    "a turn that a stale worker ends": (
        _replace("_FINISH", "AND accounts.worker = ?1", "AND ?1 > 0", agenda),
        test_agenda.test_stale_worker_takes_nothing,
        {},
    ),
    "unsent writes of a former interval": (
        _replace("_RETURN_UNSENT", "counted_since = ?1", "counted_since > ?1", agenda),
        test_agenda.test_unsent_writes_are_those_of_the_interval_and_the_turn,
        {"sql": test_agenda.NEW_INTERVAL},
    ),
    "unsent writes of a stale worker": (
        _replace("_FINISH", "AND accounts.worker = ?1", "AND ?1 > 0", agenda),
        test_agenda.test_unsent_writes_are_those_of_the_interval_and_the_turn,
        {"sql": test_agenda.LOST_TURN},
    ),
}


async def _run(test: Callable[..., Any], arguments: dict[str, Any]) -> None:
    if (running := test(**arguments)) is not None:
        await running


@pytest.mark.parametrize("name", _BUGS)
async def test_planted_bug_is_detected(postgres: PostgresDatabase, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    plant, test, options = _BUGS[name]
    fixtures = {"postgres": postgres, "monkeypatch": monkeypatch}
    arguments = options | {name: fixtures[name] for name in inspect.signature(test).parameters if name in fixtures}
    with pytest.MonkeyPatch.context() as patch:
        # a renewal would detect that the leases have ended
        patch.setattr(leases, "BEAT_SECONDS", 1000.0)
        patch.setattr(leases, "LEASE_SECONDS", 1000.0)
        plant(patch)
        with pytest.raises((AssertionError, pytest.fail.Exception)):
            await _run(test, arguments)
