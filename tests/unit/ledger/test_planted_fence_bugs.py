"""Bugs planted in the fence of the leases, each of which a test of `test_leases` finds."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.unit.ledger import test_leases as fence_tests
from worker.ledger.postgres import alarm, leases
from worker.ledger.postgres.database import PostgresDatabase
from worker.ledger.postgres.leases import PostgresLeases
from worker.model.ports import UsedSlots

Patch = pytest.MonkeyPatch


def _replace(patch: Patch, statement: str, old: str, new: str) -> None:
    """Replace a part of an SQL statement of the leases."""
    sql = getattr(leases, statement)
    assert old in sql
    patch.setattr(leases, statement, sql.replace(old, new))


def check_no_token(patch: Patch) -> None:
    """Intents need a living run, but not the token of their lease."""
    _replace(patch, "_INTEND", "(SELECT count(*) FROM valid) = cardinality(?2)", "EXISTS (SELECT 1 FROM valid)")
    _replace(patch, "_INTEND", "cardinality(?2) > 0", "cardinality(CAST(?2 AS BIGINT[])) > 0")
    _replace(patch, "_INTEND", "AND token = ANY(?2)", "")


def ignore_the_end_of_a_lease(patch: Patch) -> None:
    """Intents of a run whose lease has ended are recorded until another run takes it."""
    _replace(patch, "_INTEND", "AND until > clock_timestamp()", "")


def ignore_the_deadline(patch: Patch) -> None:
    """Requests are sent after the deadline of this machine."""
    patch.setattr(PostgresLeases, "check", lambda _: None)


def arm_no_timer(patch: Patch) -> None:
    """The kernel does not end the process."""
    patch.setattr(alarm, "arm", lambda *_: None)


def start_with_a_fresh_window(patch: Patch) -> None:
    """The slots that the former holder used do not count."""
    patch.setattr(leases._Lane, "add", lambda lane, quota: lane.quotas.append(quota))


def lose_the_used_slots(patch: Patch) -> None:
    """A release does not hand over the slots that the run used."""
    patch.setattr(leases._Lane, "used_slots", lambda _: UsedSlots())


def release_any_lease(patch: Patch) -> None:
    """A release deletes the leases of the account and the lane, also those of another run, and is not fenced."""

    def release(self: PostgresLeases, lane: str, token: int, slots: Any, connection: Any) -> None:
        del self, token, slots
        connection.execute("DELETE FROM leases WHERE name IN (?, 'vendor 1')", (lane,))

    patch.setattr(PostgresLeases, "_release", release)
    patch.setattr(PostgresLeases, "fence", lambda *_: None)


def release_as_a_stale_run(patch: Patch) -> None:
    """A run whose lease has ended still releases it."""
    patch.setattr(PostgresLeases, "fence", lambda *_: None)


def stop_with_leases(patch: Patch) -> None:
    """A run that ends deletes leases whose used slots it did not hand over."""
    patch.setattr(leases, "_STOP", leases._STOP.partition(" AND ")[0])


def take_over_without_grace(patch: Patch) -> None:
    """A lease is taken over while the last request of its holder may still arrive."""
    _replace(patch, "_REMOVE_ENDED", "until + grace", "until")


@pytest.mark.parametrize(
    ("plant", "test"),
    [
        (check_no_token, fence_tests.test_intents_need_the_token_of_their_lease),
        (ignore_the_end_of_a_lease, fence_tests.test_intents_need_a_lease_that_has_not_ended),
        (ignore_the_deadline, fence_tests.test_check_fails_at_the_deadline_of_this_machine),
        (arm_no_timer, fence_tests.test_leases_are_renewed),
        (start_with_a_fresh_window, fence_tests.test_used_slots_are_handed_over),
        (lose_the_used_slots, fence_tests.test_used_slots_are_handed_over),
        (release_any_lease, fence_tests.test_stale_run_does_not_release_the_lease_of_its_successor),
        (release_as_a_stale_run, fence_tests.test_release_after_the_lease_ended_changes_nothing),
        (stop_with_leases, fence_tests.test_release_after_the_lease_ended_changes_nothing),
        (take_over_without_grace, fence_tests.test_lease_of_a_crashed_run_is_taken_over_after_its_grace),
    ],
)
async def test_planted_bug_is_found(
    postgres: PostgresDatabase,
    monkeypatch: Patch,
    plant: Callable[[Patch], None],
    test: Callable[..., Awaitable[None]],
) -> None:
    plant(monkeypatch)
    arguments = {"monkeypatch": Patch()} if "monkeypatch" in test.__code__.co_varnames else {}
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        await test(postgres, **arguments)
    for patch in arguments.values():
        patch.undo()
