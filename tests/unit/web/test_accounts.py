"""The state of every account, joined from reads, runs and files."""

from datetime import UTC, datetime
from typing import Any

import pytest

from tests.support.ledgers import account_read, file_account
from worker.model.accounts import DesiredAccount
from worker.model.errors import ErrorInfo
from worker.model.history import Ending
from worker.model.reads import AccountRead, HealthStatus, Segment, SyncStatus
from worker.model.results import Outcome
from worker.model.status_page import AccountState, AccountStatus, DaemonState
from worker.model.suspension import Suspend
from worker.web.accounts import account_statuses, recorded_statuses

NOW = datetime(2026, 11, 24, 0, 30, tzinfo=UTC)
PLATFORM = "https://api.solapi.com"


def entry(name: str = "main", **fields: Any) -> AccountState:
    """Return the state of an account after a run that ended before the reads of the tests."""
    values: dict[str, Any] = {
        "position": 1,
        "key": f"{PLATFORM} {name}",
        "account": name,
        "run_id": "r1",
        "outcome": Ending.CONVERGED,
        "started_at": "2026-11-24T00:00:00.000Z",
        "finished_at": "2026-11-24T00:00:01.000Z",
        "counts": {"changed": 2, "unchanged": 9},
        "error": None,
        "settled": True,
    }
    return AccountState(**values | fields)


def file(name: str, **fields: Any) -> DesiredAccount:
    """Return an account of a file."""
    return file_account(name, **fields)


def statuses(
    reads: tuple[AccountRead, ...] = (),
    entries: tuple[AccountState, ...] = (),
    files: tuple[DesiredAccount, ...] | None = None,
    live: DaemonState | None = None,
) -> list[AccountStatus]:
    """Return the state of every account."""
    return account_statuses(recorded_statuses(reads, entries), files, live, NOW)


def test_good_pass_after_a_failed_apply_counts() -> None:
    """After a good read, an earlier failed run does not count. A later one does."""
    failed = entry(outcome=Ending.FAILED, error=ErrorInfo("Broken", "no"))
    (status,) = statuses((account_read(),), (failed,))
    assert (status.segment, status.failed_at, status.needs) == (Segment.IN_SYNC, failed.finished_at, ())
    later = entry(outcome=Ending.FAILED, started_at="2026-11-24T00:20:00.000Z", finished_at=None)
    (status,) = statuses((account_read(),), (later,))
    assert (status.segment, status.at) == (Segment.FAILED, later.started_at)


def test_every_account_of_the_files_is_listed() -> None:
    """The state of an account that no run has read is unknown. Accounts that no file describes are not listed."""
    actual = statuses((account_read("b"), account_read("gone")), (entry("c"),), (file("c"), file("a"), file("b")))
    assert [(status.name, status.segment) for status in actual] == [
        ("a", Segment.UNKNOWN),
        ("b", Segment.IN_SYNC),
        ("c", Segment.IN_SYNC),
    ]
    assert [status.name for status in statuses((account_read("b"),), (entry("c"),))] == ["b", "c"]


def test_accounts_of_two_platforms_may_have_the_same_name() -> None:
    """If files list the name, the account with the latest read counts."""
    other = account_read("a", key="vendor 7", at="2026-11-24T00:20:00.000Z", sync=SyncStatus.OUT_OF_SYNC)
    assert [status.key for status in statuses((account_read("a"), other))] == [f"{PLATFORM} a", "vendor 7"]
    assert [status.key for status in statuses((other, account_read("a")), files=(file("a"),))] == ["vendor 7"]


def test_unread_account_keeps_its_id() -> None:
    unread = account_read(
        "a",
        key=f"{PLATFORM} None",
        at="2026-11-24T00:20:00.000Z",
        sync=SyncStatus.UNKNOWN,
        health=HealthStatus.FAILED,
    )
    for live in (None, DaemonState(reads=(unread,))):
        (status,) = statuses((account_read("a"), *(() if live else (unread,))), live=live)
        assert (status.key, status.segment) == (f"{PLATFORM} a", Segment.FAILED)


@pytest.mark.parametrize(
    ("files", "live", "reason"),
    [
        ((file("main", suspend=Suspend("moving")),), None, "moving"),
        ((file("main"),), DaemonState(suspended={None: "audit"}), "audit"),
        ((file("main"),), DaemonState(suspended={"main": "audit", None: "all"}), "audit"),
        (None, DaemonState(suspended={"main": ""}), ""),
    ],
)
def test_suspended_account_is_suspended_unless_it_failed(
    files: tuple[DesiredAccount, ...] | None, live: DaemonState | None, reason: str
) -> None:
    (status,) = statuses((account_read(),), (), files, live)
    assert (status.segment, status.suspension) == (Segment.SUSPENDED, reason)
    (status,) = statuses((account_read(health=HealthStatus.FAILED),), (), files, live)
    assert status.segment is Segment.FAILED


def test_suspension_that_has_ended_does_not_count() -> None:
    ended = file("main", suspend=Suspend("moving", None, "2026-11-24T09:29:00"))
    assert statuses((account_read(),), (), (ended,))[0].segment is Segment.IN_SYNC


@pytest.mark.parametrize(
    ("fields", "sync", "health", "kinds"),
    [
        ({}, "in_sync", "healthy", []),
        ({"outcome": Ending.PARTIAL, "counts": {"held": 2}}, "out_of_sync", "needs_attention", ["held"]),
        ({"counts": {"missing": 1, "blocked": 1}}, "out_of_sync", "needs_attention", ["blocked", "missing"]),
        ({"outcome": Ending.PARTIAL, "counts": {"failed": 1}}, "out_of_sync", "failed", ["failed"]),
        (
            {"outcome": Ending.REFUSED, "error": ErrorInfo("PolicyRefusal", "x")},
            "out_of_sync",
            "needs_attention",
            ["refused"],
        ),
        (
            {
                "outcome": Ending.REFUSED,
                "error": ErrorInfo("Declined", "x"),
                "counts": {"not_attempted": 1, "blocked": 1},
            },
            "out_of_sync",
            "needs_attention",
            ["blocked"],
        ),
        ({"outcome": Ending.LOCKED, "error": ErrorInfo("Busy", "x")}, "out_of_sync", "needs_attention", ["error"]),
        ({"outcome": Ending.UNFINISHED, "finished_at": None}, "out_of_sync", "needs_attention", ["unfinished"]),
        ({"outcome": Ending.CRASHED}, "out_of_sync", "failed", ["unfinished"]),
        ({"settled": False}, "out_of_sync", "needs_attention", ["unfinished"]),
        (
            {"outcome": Ending.FAILED, "key": "vendor None", "error": ErrorInfo("Rejected", "x")},
            "unknown",
            "failed",
            ["error"],
        ),
    ],
)
def test_state_after_a_run_follows_from_its_record(
    fields: dict[str, Any], sync: str, health: str, kinds: list[str]
) -> None:
    (status,) = statuses(entries=(entry(**fields),))
    assert (status.sync, status.health, [item.kind for item in status.needs]) == (sync, health, kinds)


def test_counts_of_all_outcomes_add_up() -> None:
    counts = {outcome.value: 1 for outcome in Outcome}
    (status,) = statuses(entries=(entry(outcome=Ending.PARTIAL, counts=counts),))
    assert status.differing == sum(outcome.needs_attention for outcome in Outcome) == len(status.needs)
