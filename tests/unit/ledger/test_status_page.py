"""Queries of the status page on the ledger."""

from contextlib import closing

import pytest

from tests.support.pages import AT, FIRST, record_run
from worker.ledger import Database, status_page
from worker.ledger.database import transaction
from worker.model.history import Ending
from worker.model.status_page import RequestBucket

CANARY = "2026-11-24T00:00:04.000Z"
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
    """A run that has not ended, or has crashed, also needs attention."""
    record_run(database, "calm")
    with record_run(database, "b", run=SECOND, outcome=outcome).read() as connection:
        assert connection is not None
        for run, names in ((FIRST, []), (SECOND, ["b"])):
            entries = status_page.entries_of(connection, run, limit=9, attention_only=True)
            assert [entry.account for entry in entries] == names


def test_declined_run_is_one_that_the_user_declined_for_all_accounts(database: Database) -> None:
    record_run(database, "a", "b", outcome="refused", message="Cancelled.", code="Declined")
    record_run(database, "a", run=SECOND, outcome="refused", message="Cancelled.", code="Declined")
    record_run(database, "c", run="20261124T020000Z-000003", outcome="refused", message="few", code="PolicyRefusal")
    record_run(database, "d", run="20261124T030000Z-000004", outcome="failed", message="Cancelled.", code="Declined")
    with closing(database.connect(program="0", now=lambda: AT)) as connection, transaction(connection):
        connection.execute("UPDATE entries SET error_code = 'PolicyRefusal' WHERE run = ? AND account = 'b'", (FIRST,))
    with database.read() as reader:
        assert reader is not None
        assert [run.declined for run in status_page.runs(reader, limit=9)] == [False, False, True, False]


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
        assert status_page.request_counts(connection, AT) == [RequestBucket("2026-11-24T00:00:00Z", 0, 16, 0)]
        hours = status_page.request_counts(connection, AT, by_hour=True)
        assert hours == [RequestBucket("2026-11-24T00:00:00Z", 0, 16, 0)]
        assert status_page.request_counts(connection, AT, key=KEY) == [RequestBucket("2026-11-24T00:00:00Z", 0, 9, 0)]
        assert status_page.request_counts(connection, "2026-11-24T00:00:01Z") == []


def test_reads_and_rejected_writes_are_counted(ledger: Database) -> None:
    """Reads count at the start of their account."""
    with closing(ledger.connect(program="0", now=lambda: AT)) as writer, transaction(writer):
        writer.execute("UPDATE attempts SET http_status = 429 WHERE phone = ?", (PHONES[0],))
        writer.execute("UPDATE entries SET reads = 2, started_at = '2026-11-24T00:01:00.000Z'")
    with ledger.read() as connection:
        assert connection is not None
        assert status_page.request_counts(connection, AT) == [
            RequestBucket("2026-11-24T00:00:00Z", 0, 16, 3),
            RequestBucket("2026-11-24T00:01:00Z", 6, 0, 0),
        ]


def test_stages_of_a_run_have_their_times(ledger: Database) -> None:
    """The canary ends before the first write of the other accounts. It is known only if the settings have one."""
    with closing(ledger.connect(program="0", now=lambda: AT)) as writer, transaction(writer):
        writer.execute("UPDATE runs SET settings = ? WHERE id = ?", ('{"canary": 1}', FIRST))
        writer.execute("UPDATE entries SET finished_at = ?, writes = 7 WHERE key = ?", (CANARY, KEY))
        writer.execute(
            "UPDATE attempts SET intended_at = '2026-11-24T00:00:05.000Z', answered_at = '2026-11-24T00:00:06.000Z' "
            "WHERE entry IN (SELECT id FROM entries WHERE account = 'a')"
        )
        writer.execute("UPDATE runs SET command = ? WHERE id = ?", (f"rollback {FIRST}", SECOND))
    with ledger.read() as connection:
        assert connection is not None
        run, other = status_page.run(connection, FIRST), status_page.run(connection, SECOND)
        assert run is not None
        assert other is not None
        times = status_page.run_times(connection, run)
        assert (times.planned_at, times.first_write, times.canary_ended_at) == (AT, AT, CANARY)
        assert times.last_answer == "2026-11-24T00:00:06.000Z"
        assert [(bucket.start, bucket.writes) for bucket in times.buckets] == [
            ("2026-11-24T00:00:00Z", 7),
            ("2026-11-24T00:00:05Z", 7),
        ]
        assert (times.writes, times.reads, times.retries) == (7, 0, 0)
        assert status_page.run_times(connection, other).canary_ended_at is None
        assert [run.run_id for run in status_page.rollbacks_of(connection, FIRST)] == [SECOND]
        assert status_page.rollbacks_of(connection, SECOND) == []


@pytest.mark.parametrize("finished_at", [None, "2026-11-24T00:00:09.000Z"])
def test_accounts_that_were_written_together_are_no_canary(ledger: Database, finished_at: str | None) -> None:
    with closing(ledger.connect(program="0", now=lambda: AT)) as writer, transaction(writer):
        writer.execute("UPDATE runs SET settings = ?", ('{"canary": 1}',))
        writer.execute("UPDATE entries SET finished_at = ?", (finished_at,))
    with ledger.read() as connection:
        assert connection is not None
        run = status_page.run(connection, FIRST)
        assert run is not None
        assert status_page.run_times(connection, run).canary_ended_at is None


def test_query_over_its_time_limit_is_aborted(ledger: Database) -> None:
    """The time limit covers all queries of a connection together."""

    def query() -> None:
        with ledger.read(seconds=0.0) as connection:
            assert connection is not None
            connection.execute("WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT sum(i) FROM n")

    with pytest.raises(TimeoutError):
        query()


def test_unreadable_accounts_do_not_hide_each_other(database: Database) -> None:
    """Accounts that could not be read share a key, and are listed by name beside the account whose id is known."""
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
        ids = [run.run_id for run in status_page.runs_by_id(connection, "20261124T0", limit=9)]
        assert ids == [SECOND, FIRST]
        assert [run.run_id for run in status_page.runs_by_id(connection, FIRST, limit=9)] == [FIRST]
        assert status_page.runs_by_id(connection, "2027", limit=9) == []
