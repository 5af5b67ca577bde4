"""Revisions of a fleet: publishing them whole or not at all, canaries, pauses and the status."""

from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime

import pytest

from tests.support.fleets import FleetProcess, document, publish_accounts
from tests.support.ledgers import clock, rows
from worker.config.desired.canonical import decode_documents
from worker.ledger.database import Connection
from worker.ledger.postgres import publications
from worker.ledger.postgres.agenda import Reconciled
from worker.ledger.postgres.database import PostgresDatabase
from worker.ledger.postgres.publications import Comparison
from worker.model.errors import LedgerError, PolicyRefusal, Refusal, UsageError
from worker.model.fleet import Canary, FleetStatus, RevisionState

_INACTIVE = "numbers: {01000000001: INACTIVE}"


def _documents(count: int, text: str = "numbers: {01000000001: ACTIVE}") -> list[str]:
    return [document(f"a{index}", text) for index in range(count)]


def _status(database: PostgresDatabase) -> FleetStatus:
    with database.read() as connection:
        assert connection is not None
        return publications.status(connection, datetime(2026, 12, 1, tzinfo=UTC))


def _settle(database: PostgresDatabase) -> None:
    with closing(database.open()) as connection:
        connection.execute("UPDATE accounts SET settled = revision")


def test_publication_writes_changed_accounts_only(postgres: PostgresDatabase) -> None:
    """Publishing the same files creates no revision.

    A removed account is deleted. An unchanged account keeps its revision and priority.
    """
    first = publish_accounts(postgres, *_documents(3))
    assert first is not None
    assert (first.revision, first.accounts, first.changed, first.removed) == (1, 3, 3, 0)
    assert publish_accounts(postgres, *_documents(3)) is None
    _settle(postgres)
    second = publish_accounts(postgres, document("a1", _INACTIVE), document("a2"))
    assert second is not None
    assert (second.accounts, second.changed, second.removed) == (2, 1, 1)
    assert rows(postgres, "SELECT name, revision, priority FROM accounts ORDER BY name") == [
        ("a1", second.revision, 10),
        ("a2", first.revision, 10),
    ]
    ((data,),) = rows(postgres, "SELECT document FROM accounts WHERE name = 'a1'")
    assert decode_documents(data)[0].account.numbers["01000000001"].status == "INACTIVE"


def test_published_files_are_recognised(postgres: PostgresDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    """Differences without effect do not count. Another version or format reads the files again."""
    with closing(postgres.open()) as connection:
        assert not publications.is_published(connection, "one")
        publish_accounts(postgres, *_documents(2), files="one")
        assert publications.is_published(connection, "one")
        assert not publications.is_published(connection, "two")
        publish_accounts(postgres, *_documents(2), files="two")
        assert [publications.is_published(connection, name) for name in ("one", "two")] == [False, True]
        publish_accounts(postgres, *_documents(3), files=None)
        assert not publications.is_published(connection, None)
        publish_accounts(postgres, *_documents(2), files="two")
        for name, value in (("__version__", "0"), ("FORMAT", 99)):
            with monkeypatch.context() as other:
                other.setattr(publications, name, value)
                assert not publications.is_published(connection, "two"), name
        assert publications.is_published(connection, "two")


def test_review_gets_the_former_documents_of_changed_accounts(postgres: PostgresDatabase) -> None:
    publish_accounts(postgres, *_documents(3))
    comparisons: list[Comparison] = []
    publish_accounts(postgres, document("a0", _INACTIVE), document("a1"), document("new"), review=comparisons.append)
    (comparison,) = comparisons
    assert (list(comparison.documents_before), comparison.removed, comparison.accounts_before) == (["a0"], 1, 3)


def test_refused_revision_changes_nothing(postgres: PostgresDatabase) -> None:
    publish_accounts(postgres, *_documents(3))
    before = rows(postgres, "SELECT * FROM accounts ORDER BY name")

    def refuse(_: Comparison) -> None:
        raise PolicyRefusal([Refusal("fleet-wide", "no")])

    with pytest.raises(PolicyRefusal):
        publish_accounts(postgres, *_documents(3, _INACTIVE), review=refuse)
    assert rows(postgres, "SELECT * FROM accounts ORDER BY name") == before
    assert rows(postgres, "SELECT max(revision) FROM revisions") == [(1,)]


def test_killed_publication_leaves_the_old_revision(postgres: PostgresDatabase) -> None:
    """The server rolls the transaction back when the connection breaks."""
    publish_accounts(postgres, *_documents(3))
    before = rows(postgres, "SELECT * FROM accounts ORDER BY name")

    def die(_: Comparison) -> None:
        victim = postgres.open()
        victim.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() "
            "AND pid <> pg_backend_pid()"
        )
        victim.close()

    with pytest.raises(LedgerError, match="cannot be used"):
        publish_accounts(postgres, *_documents(3, _INACTIVE), review=die)
    again = PostgresDatabase(postgres._url)
    assert rows(again, "SELECT * FROM accounts ORDER BY name") == before
    again.close()


def test_canary_is_the_first_changed_accounts(postgres: PostgresDatabase) -> None:
    """There is none if no account would follow it."""
    revision = publish_accounts(postgres, *_documents(5), canary=2)
    assert revision is not None
    assert (revision.state, revision.canary) == (RevisionState.CANARY, 2)
    assert rows(postgres, "SELECT name FROM accounts WHERE is_canary ORDER BY name") == [("a0",), ("a1",)]
    _settle(postgres)
    changed = [document("a0"), document("a1"), *_documents(5, _INACTIVE)[2:]]
    revision = publish_accounts(postgres, *changed, canary=3)
    assert revision is not None
    assert (revision.state, revision.canary) == (RevisionState.ROLLING, 0)
    assert rows(postgres, "SELECT name FROM accounts WHERE is_canary AND revision = 2") == []


def test_suspended_accounts_are_the_last_choice_for_a_canary(postgres: PostgresDatabase) -> None:
    """The status names the accounts that the canary waits for, because the other accounts of the revision also wait."""
    publish_accounts(postgres, *_documents(3), canary=2, suspended=frozenset({"a0", "a1"}))
    assert rows(postgres, "SELECT name FROM accounts WHERE is_canary ORDER BY name") == [("a0",), ("a2",)]
    with FleetProcess(postgres) as agenda:
        agenda.balance()
        taken = agenda.take(9)
        assert taken is not None
        assert _status(postgres).canary == Canary(2, ())
        for due in taken.accounts:
            turn = Reconciled(
                name=due.name, revision=1, seconds=60.0, is_held=due.name == "a0", is_settled=due.name != "a0"
            )
            assert agenda.finish([due], [turn]) is None
        assert _status(postgres).canary == Canary(1, ("a0",))
        publish_accounts(postgres, *_documents(3, _INACTIVE))
        assert _status(postgres).canary is None


def test_unsettled_accounts_follow_the_canary_of_the_next_revision(postgres: PostgresDatabase) -> None:
    """A change that no canary has tried yet is not released by a revision that changes another account."""
    publish_accounts(postgres, *_documents(4), canary=1)
    revision = publish_accounts(postgres, *_documents(3), document("a3", _INACTIVE), canary=2)
    assert revision is not None
    assert (revision.changed, revision.state) == (1, RevisionState.CANARY)
    assert rows(postgres, "SELECT DISTINCT revision FROM accounts") == [(revision.revision,)]
    assert rows(postgres, "SELECT name FROM accounts WHERE is_canary ORDER BY name") == [("a0",), ("a3",)]


def test_pause_of_an_operator_outlasts_a_revision(postgres: PostgresDatabase) -> None:
    publish_accounts(postgres, *_documents(1))
    with closing(postgres.open()) as connection:
        publications.pause(connection, "ann", "incident")
        with pytest.raises(UsageError, match="the fleet is already paused by ann"):
            publications.pause(connection, "bob", None)
    revision = publish_accounts(postgres, *_documents(2))
    assert revision is not None
    assert (revision.paused, revision.paused_by, revision.reason) == (True, "ann", "incident")
    with closing(postgres.open()) as connection:
        connection.execute("UPDATE accounts SET is_held = (name = 'a0'), due_at = 'infinity', priority = 0")
        publications.resume(connection, allow_fleet_wide=False)
        with pytest.raises(UsageError, match="the fleet is not paused"):
            publications.resume(connection, allow_fleet_wide=False)
    current = _status(postgres).revision
    assert current is not None
    assert (current.paused, current.paused_by, current.budget.limit) == (False, None, 500)
    # delayed changes are due immediately
    assert rows(postgres, "SELECT name, priority, is_held FROM accounts WHERE due_at < 'infinity'") == [
        ("a0", 10, False)
    ]


def test_reason_of_a_pause_is_any_text(postgres: PostgresDatabase) -> None:
    """An argument can have bytes that are not UTF-8, which Python reads as lone surrogates."""
    publish_accounts(postgres, *_documents(1))
    with closing(postgres.open()) as connection:
        publications.pause(connection, "ann", "a\udcffb")
    current = _status(postgres).revision
    assert current is not None
    assert current.reason == "a\ufffdb"


def test_pause_of_a_rule_ends_with_its_revision(postgres: PostgresDatabase) -> None:
    """`--allow fleet-wide` lifts the limit of the current revision."""
    publish_accounts(postgres, *_documents(1))
    pause = "UPDATE revisions SET is_paused = true, reason = 'too many', activations = 9"
    with closing(postgres.open()) as connection:
        connection.execute(pause)
        publications.pause(connection, "ann", None)
        publications.resume(connection, allow_fleet_wide=True)
        connection.execute(pause)
    current = _status(postgres).revision
    assert current is not None
    assert (current.paused, current.reason, current.budget.limit) == (True, "too many", None)
    revision = publish_accounts(postgres, *_documents(2))
    assert revision is not None
    assert (revision.paused, revision.reason, revision.budget.activations) == (False, None, 0)


@pytest.mark.parametrize(
    "change",
    [
        lambda connection: publications.pause(connection, "ann", None),
        lambda connection: publications.resume(connection, allow_fleet_wide=False),
    ],
    ids=["pause", "resume"],
)
def test_nothing_can_be_paused_before_the_first_revision(
    postgres: PostgresDatabase, change: Callable[[Connection], None]
) -> None:
    with closing(postgres.open()) as connection, pytest.raises(UsageError, match="no revision is published yet"):
        change(connection)


def test_empty_fleet_has_no_revision_workers_or_lanes(postgres: PostgresDatabase) -> None:
    status = _status(postgres)
    assert (status.revision, status.workers, status.queue.due, status.lanes.held) == (None, (), 0, 0)


def test_status_counts_accounts_lanes_and_workers(postgres: PostgresDatabase) -> None:
    publish_accounts(postgres, *_documents(5))
    with FleetProcess(postgres, every=60.0) as agenda:
        agenda.balance()
        taken = agenda.take(4)
        assert taken is not None
        one, two, three, _ = taken.accounts
        agenda.finish(
            [one, two, three],
            [
                Reconciled(name=one.name, revision=1, seconds=60.0),
                Reconciled(name=two.name, revision=1, seconds=60.0, failures=2),
                Reconciled(name=three.name, revision=1, seconds=60.0, is_held=True, is_settled=False),
            ],
        )
        with closing(postgres.open()) as connection:
            connection.execute(
                "INSERT INTO lanes (name, slots, released_at, wanted_until) VALUES ('lane 0', '{}', 'now', 'infinity')"
            )
            connection.execute(
                "UPDATE accounts SET crashes = 1, due_at = due_at - interval '100 s' WHERE worker IS NULL "
                "AND settled IS NULL AND NOT is_held"
            )
        status = _status(postgres)
    queue = status.queue
    assert (queue.due, queue.in_progress, queue.unsettled) == (1, 1, 3)
    assert (queue.failing, queue.crashed, queue.held) == (1, 1, 1)
    assert 100 <= queue.oldest_due_seconds < 200
    assert (status.lanes.total, status.lanes.held, status.lanes.wanted) == (1024, 1024, 1)
    (worker,) = status.workers
    assert (worker.host, worker.pid, worker.run_id, worker.lanes, worker.accounts) == ("box", 7, "run-1", 1024, 3)
    assert (worker.alive, worker.draining) == (True, False)
    assert _status(postgres).workers == ()


def test_fleet_tables_are_added_to_an_older_ledger(postgres: PostgresDatabase) -> None:
    with closing(postgres.open()) as connection:
        connection.script(
            "DROP TABLE accounts, revisions; ALTER TABLE lanes DROP COLUMN free_at, DROP COLUMN wanted_until;"
            "ALTER TABLE workers DROP COLUMN is_fleet, DROP COLUMN is_draining, DROP COLUMN accounts;"
            "UPDATE migrations SET version = 7"
        )
    postgres.connect(program="0", now=clock()).close()
    assert publish_accounts(postgres, *_documents(1)) is not None
