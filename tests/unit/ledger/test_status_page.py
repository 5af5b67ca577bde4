"""What the status page asks of the ledger."""

from pathlib import Path

import pytest

from tests.support.pages import AT, FIRST, record_run
from worker.ledger import status_page
from worker.ledger.readonly import open_read_only
from worker.model.history import Ending

SECOND = "20261124T010000Z-000002"
PHONES = [f"0100000000{number}" for number in range(1, 8)]
KEY = "https://api.solapi.com b"


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    """One of two runs over two accounts, the second run of which went wrong for one."""
    record_run(tmp_path, "b", "a", phones=PHONES)
    return record_run(tmp_path, "b", run=SECOND, phones=PHONES[:2], outcome="partial", bad="failed", message="no")


def test_an_account_stands_as_its_last_run_left_it(ledger: Path) -> None:
    """By name, each once, with what differs; the one whose run went well is calm."""
    with open_read_only(ledger) as connection:
        assert connection is not None
        a, b = status_page.account_states(connection)
        assert status_page.account(connection, KEY, "b") == b
        assert status_page.account(connection, "elsewhere", "b") is None
        assert [each.run_id for each in status_page.runs_of(connection, KEY, "b", limit=9)] == [SECOND, FIRST]
        assert [each.run_id for each in status_page.runs_of(connection, KEY, "b", before=b.position, limit=9)] == [
            FIRST
        ]
    assert (a.account, a.run_id, a.calm, a.differing) == ("a", FIRST, True, 0)
    assert (b.account, b.run_id, b.calm, b.differing, b.outcome) == ("b", SECOND, False, 1, Ending.PARTIAL)
    assert b.error is not None
    assert b.error.message == "no"


@pytest.mark.parametrize("outcome", [None, "crashed", "failed", "partial", "refused", "locked", "interrupted"])
def test_account_that_has_not_converged_needs_attention(tmp_path: Path, outcome: str | None) -> None:
    """Also one whose run has no end yet, or died."""
    record_run(tmp_path, "calm")
    with open_read_only(record_run(tmp_path, "b", run=SECOND, outcome=outcome)) as connection:
        assert connection is not None
        for run, names in ((FIRST, []), (SECOND, ["b"])):
            entries = status_page.entries_of(connection, run, limit=9, attention_only=True)
            assert [entry.account for entry in entries] == names


def test_lists_go_on_where_the_page_before_ended(ledger: Path) -> None:
    """Runs, accounts and numbers come whole and once, however small the pages are; a prefix narrows numbers."""
    with open_read_only(ledger) as connection:
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
        one = status_page.entries_of(connection, FIRST, limit=1)
        two = status_page.entries_of(connection, FIRST, after=one[0].position, limit=9)
        assert [each.account for each in (*one, *two)] == ["b", "a"]
        assert status_page.entries_of(connection, FIRST, limit=9, attention_only=True) == []
        numbers = status_page.numbers(connection, one[0].position, after=PHONES[2], limit=2)
        assert [number.phone for number in numbers] == PHONES[3:5]
        latest = status_page.entries_of(connection, SECOND, limit=1)[0].position
        assert [each.phone for each in status_page.numbers(connection, latest, limit=9, attention_only=True)] == PHONES[
            :1
        ]
        assert [each.phone for each in status_page.last_writes(connection, KEY, prefix=PHONES[4], limit=9)] == [
            PHONES[4]
        ]
        assert len(status_page.last_writes(connection, KEY, after=PHONES[0], limit=9)) == 6


def test_history_of_a_number_is_of_all_accounts(ledger: Path) -> None:
    """It has every run that recorded the number, newest first, with its requests."""
    with open_read_only(ledger) as connection:
        assert connection is not None
        steps = status_page.number_runs(connection, PHONES[0], limit=9)
        rest = status_page.number_runs(connection, PHONES[0], before=steps[0].position, limit=9)
    assert [(step.run_id, step.account) for step in steps] == [(SECOND, "b"), (FIRST, "a"), (FIRST, "b")]
    assert rest == steps[1:]
    assert [attempt.asked for attempt in steps[0].number.attempts] == ["ACTIVE"]


def test_writes_are_counted_by_the_time_of_their_note(ledger: Path) -> None:
    """By minute and by hour, from a moment on."""
    with open_read_only(ledger) as connection:
        assert connection is not None
        assert [(each.start, each.writes) for each in status_page.write_counts(connection, AT)] == [
            ("2026-11-24T00:00:00Z", 16)
        ]
        hours = status_page.write_counts(connection, AT, by_hour=True)
        assert [(each.start, each.writes) for each in hours] == [("2026-11-24T00:00:00Z", 16)]
        assert status_page.write_counts(connection, "2026-11-24T00:00:01Z") == []


def test_a_question_that_takes_too_long_is_given_up(ledger: Path) -> None:
    """The time is for all questions of a connection together."""

    def ask() -> None:
        with open_read_only(ledger, seconds=0.0) as connection:
            assert connection is not None
            connection.execute("WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT sum(i) FROM n")

    with pytest.raises(TimeoutError):
        ask()


def test_accounts_that_could_not_be_read_do_not_hide_each_other(tmp_path: Path) -> None:
    """They share a key, and stand by their names; one that was read since, or before, stands as the later run says."""
    path = record_run(tmp_path, "a", "b")
    record_run(tmp_path, "b", "c", "d", run=SECOND, outcome="failed", key="https://api.solapi.com None", phones=())
    with open_read_only(path) as connection:
        assert connection is not None
        found = [(each.account, each.outcome, each.unread) for each in status_page.account_states(connection)]
        failed = [(name, Ending.FAILED, True) for name in "bcd"]
        assert found == [("a", Ending.CONVERGED, False), *failed]
        for name in "bcd":
            standing = status_page.account(connection, "https://api.solapi.com None", name)
            assert standing is not None
            assert (standing.account, standing.run_id) == (name, SECOND)
            before = status_page.runs_of(connection, standing.key, name, before=standing.position, limit=5)
            assert before == []
        assert status_page.account(connection, "https://api.solapi.com None", "a") is None
        assert status_page.keys_of_name(connection, ("https://api.solapi.com", "b")) == [KEY]
        assert status_page.keys_of_name(connection, ("vendor", "b")) == []
    record_run(tmp_path, "b", run="20261124T020000Z-000003")
    with open_read_only(path) as connection:
        assert connection is not None
        assert [each.account for each in status_page.account_states(connection) if each.unread] == ["c", "d"]
