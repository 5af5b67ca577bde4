"""The latest read of each account in the ledger, in both databases."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.support.ledgers import NUMBERS, account_read, clock, daemon_record, recorded_read
from worker.ledger import Database, SqliteFile, reads
from worker.ledger.reads import RecordedRead, save
from worker.ledger.schema import MIGRATIONS, connect
from worker.model.errors import LedgerError
from worker.model.messages import Message, to_parts
from worker.model.reads import AccountRead, Attention, HealthStatus, NumberState, SyncStatus

PLATFORM = "https://api.solapi.com"
LATER = "2026-11-24T00:15:00.000Z"


def record(database: Database, *recorded: RecordedRead, **daemon: Any) -> None:
    """Record reads and a heartbeat."""
    save(database, recorded, daemon_record(**daemon), program="0", now=clock())


def recorded_reads(database: Database) -> dict[str, AccountRead]:
    """Return the latest reads by name."""
    with database.read() as connection:
        assert connection is not None
        return {read.account: read for read in reads.account_reads(connection)}


def test_later_read_replaces_an_earlier_one(database: Database) -> None:
    """A read that arrives late changes nothing. A failure stays known after later reads."""
    failed: dict[str, Any] = {"health": HealthStatus.FAILED, "failed_at": account_read().at}
    record(database, recorded_read("a", **failed), recorded_read("b"))
    record(database, recorded_read("a", at=LATER))
    record(database, recorded_read("a", at="2026-11-24T00:01:00.000Z", health=HealthStatus.FAILED))
    actual = recorded_reads(database)
    assert (actual["a"].at, actual["a"].health, actual["a"].failed_at) == (LATER, "healthy", account_read().at)
    assert actual["b"] == account_read("b")
    with database.read() as connection:
        assert connection is not None
        assert reads.account_read(connection, PLATFORM, "b") == account_read("b")
        assert reads.account_read(connection, PLATFORM, "c") is None
        assert reads.account_read(connection, "elsewhere", "b") is None


def test_account_that_can_no_longer_be_read_keeps_its_numbers(database: Database) -> None:
    record(database, recorded_read("a"))
    unread: dict[str, Any] = {"key": f"{PLATFORM} None", "sync": SyncStatus.UNKNOWN, "health": HealthStatus.FAILED}
    record(database, recorded_read("a", (), at=LATER, **unread), recorded_read("b", (), **unread))
    assert {name: read.sync for name, read in recorded_reads(database).items()} == {"a": "unknown", "b": "unknown"}
    with database.read() as connection:
        assert connection is not None
        assert reads.numbers_of(connection, PLATFORM, "a") == list(NUMBERS)
        assert reads.numbers_of(connection, PLATFORM, "b") == []


def test_renamed_account_is_listed_once(database: Database) -> None:
    record(database, recorded_read("old", key=f"{PLATFORM} 7"))
    record(database, recorded_read("new", key=f"{PLATFORM} 7", at=LATER))
    assert list(recorded_reads(database)) == ["new"]


def test_messages_can_be_translated_again(database: Database) -> None:
    message = Message("{count} of {total} accounts", count=1, total=2)
    item = Attention("held", message, count=1, phones=("01000000002",), parts=None)
    stored = msgspec.structs.replace(item, parts=to_parts(message))
    record(database, recorded_read("a\ud800\0", key=f"{PLATFORM} 7", needs=(stored,)))
    (read,) = recorded_reads(database).values()
    assert read.needs == (item,)
    assert isinstance(read.needs[0].message, Message)


@pytest.mark.parametrize(
    ("text", "phones"),
    [
        ("0000000", ["01000000001", "01000000002"]),
        ("0002", ["01000000002"]),
        ("winter 50%", ["01000000001"]),
        ("50%", ["01000000001"]),
        ("%", ["01000000001"]),
        ("_", []),
        ("!", []),
        ("SUPPORT", ["01000000002"]),
        ("inactive", []),
    ],
)
def test_numbers_are_found_by_any_part(database: Database, text: str, phones: list[str]) -> None:
    record(database, recorded_read("a"), recorded_read("b", [NumberState("0212345678", None, "ACTIVE")]))
    with database.read() as connection:
        assert connection is not None
        results = list(reads.search(connection, text, 9))
        assert [number.phone for _, _, number in results] == phones
        assert {(of_platform, name) for of_platform, name, _ in results} <= {(PLATFORM, "a")}
        assert len(list(reads.search(connection, "0", 2))) == 2


def test_last_daemon_is_the_one_with_the_latest_sign_of_life(database: Database) -> None:
    """A daemon is forgotten a week after its last pass."""
    record(database, host="old", last_pass="2026-11-10T00:00:00.000Z")
    record(database, host="one", last_pass="2026-11-23T00:00:00.000Z")
    record(database, host="two")
    record(database, host="two", ended_at=LATER)
    with database.read() as connection:
        assert connection is not None
        assert reads.last_daemon(connection) == daemon_record(host="two", ended_at=LATER)
        hosts = connection.execute("SELECT host FROM daemons ORDER BY host").fetchall()
        assert [host for (host,) in hosts] == ["one", "two"]


def test_ledger_of_an_older_version_has_no_reads(tmp_path: Path) -> None:
    database = SqliteFile(tmp_path / "ledger.db")
    connect(database.path, program="0", now=clock(), migrations=MIGRATIONS[: reads.READS_VERSION - 1]).close()
    with database.read() as connection:
        assert connection is not None
        assert reads.account_reads(connection) == []
        assert reads.account_read(connection, PLATFORM, "a") is None
        assert reads.numbers_of(connection, PLATFORM, "a") == []
        assert list(reads.search(connection, "0", 9)) == []
        assert reads.last_daemon(connection) is None
    record(database, recorded_read("a"))
    assert list(recorded_reads(database)) == ["a"]


def test_ledger_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    database = SqliteFile(tmp_path / "ledger.db")
    record(database)
    with closing(sqlite3.connect(database.path)) as connection:
        connection.execute("DROP TABLE reads")
    with pytest.raises(LedgerError, match="no such table"):
        record(database, recorded_read("a"))


def test_latest_reads_do_not_count_for_the_size_of_the_ledger(database: Database) -> None:
    """No deletion of runs makes them smaller, so that they must not cause one."""
    record(database, recorded_read("a"))
    with closing(database.connect(program="0", now=clock())) as connection:
        before = database.used_bytes(connection)
    record(database, recorded_read("b", [NumberState(f"010{number:08}", "ACTIVE", None) for number in range(5000)]))
    with closing(database.connect(program="0", now=clock())) as connection:
        assert abs(database.used_bytes(connection) - before) < 50_000
