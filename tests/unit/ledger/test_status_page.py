"""Queries of the status page on the ledger."""

import pytest

from tests.support.pages import AT, FIRST, record_run
from worker.ledger import Database, status_page
from worker.model.history import Ending

SECOND = "20261124T010000Z-000002"
PHONES = [f"0100000000{number}" for number in range(1, 8)]
KEY = "https://api.solapi.com b"
UNREAD = "https://api.solapi.com None"


@pytest.fixture
def ledger(database: Database) -> Database:
    """Return a ledger of two runs over two accounts; the second run failed for one account."""
    record_run(database, "b", "a", phones=PHONES)
    return record_run(database, "b", run=SECOND, phones=PHONES[:2], outcome="partial", bad="failed", message="no")


def test_account_state_is_that_of_its_last_run(ledger: Database) -> None:
    """Each account is listed once by name, with the count of numbers out of sync."""
    with ledger.read() as connection:
        assert connection is not None
        a, b = status_page.account_states(connection)
        assert [entry.run_id for entry in status_page.runs_of(connection, KEY, "b", limit=9)] == [SECOND, FIRST]
        assert [entry.run_id for entry in status_page.runs_of(connection, KEY, "b", before=b.position, limit=9)] == [
            FIRST
        ]
    assert (a.account, a.run_id, a.outcome) == ("a", FIRST, Ending.CONVERGED)
    assert (b.account, b.run_id, b.outcome, b.counts["failed"]) == ("b", SECOND, Ending.PARTIAL, 1)
    assert b.error is not None
    assert b.error.message == "no"


@pytest.mark.parametrize("outcome", [None, "crashed", "failed", "partial", "refused", "locked", "interrupted"])
def test_account_that_has_not_converged_needs_attention(database: Database, outcome: str | None) -> None:
    """A run that has no end yet, or has crashed, needs attention too."""
    record_run(database, "calm")
    with record_run(database, "b", run=SECOND, outcome=outcome).read() as connection:
        assert connection is not None
        for run, names in ((FIRST, []), (SECOND, ["b"])):
            entries = status_page.entries_of(connection, run, limit=9, attention_only=True)
            assert [entry.account for entry in entries] == names


def test_next_page_starts_after_the_last_row(ledger: Database) -> None:
    """Runs, accounts and numbers are listed completely and once for any page size. A prefix selects numbers."""
    with ledger.read() as connection:
        assert connection is not None
        runs = status_page.runs(connection, limit=1)
        assert [runs[0].run_id, *(run.run_id for run in status_page.runs(connection, before=SECOND, limit=9))] == [
            SECOND,
            FIRST,
        ]
        first = status_page.run(connection, FIRST)
        assert first is not None
        assert first.accounts == 2
        assert status_page.run(connection, "x") is None
        first_page = status_page.entries_of(connection, FIRST, limit=1)
        second_page = status_page.entries_of(connection, FIRST, after=first_page[0].position, limit=9)
        assert [item.account for item in (*first_page, *second_page)] == ["b", "a"]
        assert status_page.entries_of(connection, FIRST, limit=9, attention_only=True) == []
        numbers = status_page.numbers(connection, first_page[0].position, after=PHONES[2], limit=2)
        assert [number.phone for number in numbers] == PHONES[3:5]
        latest = status_page.entries_of(connection, SECOND, limit=1)[0].position
        assert [item.phone for item in status_page.numbers(connection, latest, limit=9, attention_only=True)] == PHONES[
            :1
        ]
        assert [item.phone for item in status_page.last_writes(connection, KEY, prefix=PHONES[4], limit=9)] == [
            PHONES[4]
        ]
        assert len(status_page.last_writes(connection, KEY, after=PHONES[0], limit=9)) == 6


def test_number_history_covers_all_accounts(ledger: Database) -> None:
    """Each run that recorded the number is listed, newest first, with its requests."""
    with ledger.read() as connection:
        assert connection is not None
        steps = status_page.number_runs(connection, PHONES[0], limit=9)
        older = status_page.number_runs(connection, PHONES[0], before=steps[0].position, limit=9)
    assert [(step.run_id, step.account) for step in steps] == [(SECOND, "b"), (FIRST, "a"), (FIRST, "b")]
    assert older == steps[1:]
    assert [attempt.asked for attempt in steps[0].number.attempts] == ["ACTIVE"]


def test_writes_are_counted_by_minute_and_hour(ledger: Database) -> None:
    """Writes count at the time of their intent, from a given start."""
    with ledger.read() as connection:
        assert connection is not None
        assert [(count.start, count.writes) for count in status_page.write_counts(connection, AT)] == [
            ("2026-11-24T00:00:00Z", 16)
        ]
        hours = status_page.write_counts(connection, AT, by_hour=True)
        assert [(count.start, count.writes) for count in hours] == [("2026-11-24T00:00:00Z", 16)]
        assert status_page.write_counts(connection, "2026-11-24T00:00:01Z") == []


def test_query_over_its_time_limit_is_aborted(ledger: Database) -> None:
    """The time limit covers all queries of a connection together."""

    def query() -> None:
        with ledger.read(seconds=0.0) as connection:
            assert connection is not None
            connection.execute("WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT sum(i) FROM n")

    with pytest.raises(TimeoutError):
        query()


def test_unreadable_accounts_do_not_hide_each_other(database: Database) -> None:
    """They share a key and are listed by name, besides the account with its id."""
    record_run(database, "a", "b")
    record_run(database, "b", "c", "d", run=SECOND, outcome="failed", key=UNREAD, phones=())
    with database.read() as connection:
        assert connection is not None
        states = [(entry.account, entry.outcome, entry.is_unread) for entry in status_page.account_states(connection)]
        failed = [(name, Ending.FAILED, True) for name in "bcd"]
        assert sorted(states) == [("a", Ending.CONVERGED, False), ("b", Ending.CONVERGED, False), *failed]
        for name, runs in (("b", [SECOND, FIRST]), ("c", [SECOND])):
            entries = status_page.runs_of_account(connection, f"https://api.solapi.com {name}", name, limit=9)
            assert [entry.run_id for entry in entries] == runs
            assert status_page.runs_of_account(connection, UNREAD, name, limit=1)[0].run_id == SECOND
            assert status_page.runs_of(connection, UNREAD, name, before=entries[0].position, limit=5) == []


def test_last_writes_and_runs_are_found_by_what_a_page_lists(ledger: Database) -> None:
    """The last writes are those of the numbers of a page. Runs are found by the start of their id."""
    with ledger.read() as connection:
        assert connection is not None
        writes = status_page.last_writes_of(connection, KEY, [PHONES[0], PHONES[5], "0999"])
        assert {phone: write.run_id for phone, write in writes.items()} == {PHONES[0]: SECOND, PHONES[5]: FIRST}
        found = [run.run_id for run in status_page.runs_by_id(connection, "20261124T0", limit=9)]
        assert found == [SECOND, FIRST]
        assert [run.run_id for run in status_page.runs_by_id(connection, FIRST, limit=9)] == [FIRST]
        assert status_page.runs_by_id(connection, "2027", limit=9) == []
