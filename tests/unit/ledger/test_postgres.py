"""A ledger in PostgreSQL: its schema and migrations, its connections, and the checks of its server."""

import time
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from threading import Thread

import pytest

from tests.support.ledgers import clock, ledger, rows, run_info
from tests.support.postgres import PASSWORD, PostgresServer, new_database, server
from worker.ledger import SqliteFile, writes
from worker.ledger.postgres import database as postgres_database
from worker.ledger.postgres import schema
from worker.ledger.postgres.checks import examine
from worker.ledger.postgres.connection import translated
from worker.ledger.postgres.database import PostgresDatabase
from worker.ledger.postgres.schema import MIGRATIONS
from worker.ledger.schema import MIGRATIONS as SQLITE_MIGRATIONS
from worker.model.credentials import Secret
from worker.model.errors import LedgerError

_TABLES = ("migrations", "runs", "entries", "attempts", "outcomes", "written", "registered")


@pytest.fixture
def empty() -> Iterator[PostgresDatabase]:
    """Return a database without a ledger."""
    database = PostgresDatabase(new_database(empty=True))
    yield database
    database.close()


def _execute(database: PostgresDatabase, *statements: str) -> None:
    with closing(database.open()) as connection:
        for statement in statements:
            connection.script(statement)


def test_tables_have_the_columns_of_sqlite(postgres: PostgresDatabase, sqlite: SqliteFile) -> None:
    """Both databases have the same tables and columns, so that a ledger can be copied. Version 8 is for fleets only."""
    assert len(MIGRATIONS) == len(SQLITE_MIGRATIONS) + 1
    sqlite.connect(program="0", now=clock()).close()
    for table in _TABLES:
        names = []
        for database in (postgres, sqlite):
            with database.read() as connection:
                assert connection is not None
                columns = connection.execute(f"SELECT * FROM {table} LIMIT 0").description  # noqa: S608 - constant
                names.append({column[0] for column in columns})
        assert names[0] == names[1], table


@pytest.mark.parametrize(
    ("sql", "value", "reason"),
    [
        ("SELECT CAST(? AS TEXT)", 1012345678, r"invalid input for query argument \$1"),
        ("SELECT CAST(? AS TEXT)", "01012345678\udcff", r"invalid input for query argument \$1"),
        ("SELECT CAST(CAST(? AS TEXT) AS INTEGER)", "1012345678x", "invalid input syntax for type integer"),
        ("SELECT CAST(CAST(? AS TEXT) AS INTEGER)", "1012345678999", "value … is out of range for type integer"),
    ],
)
def test_error_does_not_show_the_value_of_an_argument(
    postgres: PostgresDatabase, sql: str, value: object, reason: str
) -> None:
    """This covers errors of the library, which checks arguments before it sends them, and errors of the server."""
    with closing(postgres.open()) as connection, pytest.raises(LedgerError, match=rf"\({reason}\)") as caught:
        connection.execute(sql, (value,))
    assert "1012345678" not in str(caught.value)


def test_text_is_ordered_by_code_point(postgres: PostgresDatabase) -> None:
    """The order is that of SQLite, whatever the collation of the database."""
    sql = "SELECT DISTINCT collation_name FROM information_schema.columns WHERE table_schema = ? AND data_type = 'text'"
    assert rows(postgres, sql, schema.SCHEMA) == [("C",)]


def test_missing_ledger_is_not_created_by_readers(empty: PostgresDatabase) -> None:
    """Reading yields nothing, and a check of the ledger creates nothing. The first run creates it."""
    with empty.read() as connection:
        assert connection is None
    empty.probe()
    assert empty.state() is None
    with closing(empty.open()) as connection:
        assert schema.schema_version(connection) == 0
    empty.connect(program="0.1", now=clock()).close()
    assert rows(empty, "SELECT version, program FROM migrations") == [(len(MIGRATIONS), "0.1")]


def test_concurrent_migrations_wait_for_each_other(empty: PostgresDatabase) -> None:
    threads = [Thread(target=lambda: empty.connect(program="0", now=clock()).close()) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert rows(empty, "SELECT version FROM migrations") == [(len(MIGRATIONS),)]


def test_older_ledger_is_migrated_by_writers_only(postgres: PostgresDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    """Missing migrations are applied in one transaction; readers do not migrate."""
    newer = (*MIGRATIONS, "ALTER TABLE runs ADD COLUMN a TEXT", "ALTER TABLE runs ADD COLUMN b TEXT")
    monkeypatch.setattr(schema.migrate, "__kwdefaults__", {"migrations": newer})
    monkeypatch.setattr(schema.refuse_newer, "__defaults__", (len(newer),))
    assert rows(postgres, "SELECT max(version) FROM migrations") == [(len(MIGRATIONS),)]
    postgres.connect(program="9", now=clock()).close()
    assert rows(postgres, "SELECT max(version) FROM migrations") == [(len(newer),)]
    assert rows(postgres, "SELECT a, b FROM runs") == []


def test_failed_migration_changes_nothing(postgres: PostgresDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    newer = (*MIGRATIONS, "ALTER TABLE runs ADD COLUMN a TEXT", "ALTER TABLE nothing ADD COLUMN b TEXT")
    monkeypatch.setattr(schema.migrate, "__kwdefaults__", {"migrations": newer})
    with pytest.raises(LedgerError, match='"nothing" does not exist'):
        postgres.connect(program="9", now=clock())
    assert rows(postgres, "SELECT max(version) FROM migrations") == [(len(MIGRATIONS),)]
    with postgres.read() as connection:
        assert connection is not None
        assert ("a",) not in connection.execute("SELECT * FROM runs").description


def test_newer_ledger_is_refused(postgres: PostgresDatabase) -> None:
    """Readers, writers and checks refuse it. The message names both versions, and the ledger is not changed."""
    _execute(postgres, "INSERT INTO migrations VALUES (99, '', '')")
    message = (
        f"created by a newer senderid: its schema is 99, this version supports up to {len(MIGRATIONS)}. "
        "Upgrade senderid on this host"
    )
    with pytest.raises(LedgerError, match=message):
        postgres.connect(program="0", now=clock())
    with pytest.raises(LedgerError, match=message):
        postgres.probe()
    with pytest.raises(LedgerError, match=message), postgres.read():
        raise AssertionError("read")


def test_old_server_is_refused(postgres: PostgresDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres_database, "OLDEST_SERVER", 99)
    with pytest.raises(LedgerError, match=r"it is PostgreSQL \d+, but at least version 99 is required"):
        postgres.open()


def test_unreachable_server_is_an_error_with_its_url() -> None:
    """Options of the URL are not repeated."""
    database = PostgresDatabase("postgresql://ann@127.0.0.1:1/senderid?sslmode=prefer")
    with pytest.raises(LedgerError, match=r"the ledger postgresql://ann@127\.0\.0\.1:1/senderid cannot be used \("):
        database.open()


def test_password_is_resolved_for_each_connection() -> None:
    """A wrong password is an error that does not contain it."""
    name = new_database().partition("?")[0].rpartition("/")[2]
    passwords = iter(["wrong-password", PASSWORD])
    database = PostgresDatabase(server().tcp_url(name), lambda: Secret(next(passwords)))
    with pytest.raises(LedgerError, match="password authentication failed") as failure:
        database.open()
    assert "wrong-password" not in str(failure.value)
    database.open().close()


def test_user_without_privileges_is_refused(postgres: PostgresDatabase, empty: PostgresDatabase) -> None:
    """A user who may only read the ledger can read it."""
    server().execute("DROP ROLE IF EXISTS reader", "CREATE ROLE reader LOGIN")
    _execute(
        postgres,
        f"GRANT USAGE ON SCHEMA {schema.SCHEMA} TO reader",
        f"GRANT SELECT ON ALL TABLES IN SCHEMA {schema.SCHEMA} TO reader",
    )
    for database in (postgres, empty):
        reader = PostgresDatabase(database._url.replace("postgres@", "reader@"))
        with pytest.raises(LedgerError, match="this user has no write permission"):
            reader.probe()
        with reader.read() as connection:
            assert (connection is None) == (database is empty)
        reader.close()
        _execute(database, "DROP OWNED BY reader")


def test_schema_that_an_administrator_created_is_used(empty: PostgresDatabase) -> None:
    """The user of the ledger does not need the privilege to create schemas."""
    server().execute("DROP ROLE IF EXISTS writer", "CREATE ROLE writer LOGIN")
    _execute(empty, f"CREATE SCHEMA {schema.SCHEMA} AUTHORIZATION writer")
    writer = PostgresDatabase(empty._url.replace("postgres@", "writer@"))
    writer.probe()
    with closing(writer.connect(program="0", now=clock())) as connection:
        writes.add_run(connection, run_info())
    writer.probe()
    _execute(empty, "DROP OWNED BY writer")


def test_readers_cannot_write(postgres: PostgresDatabase) -> None:
    def write() -> None:
        with postgres.read() as connection:
            assert connection is not None
            writes.add_run(connection, run_info())

    with pytest.raises(LedgerError, match="read-only transaction"):
        write()


def test_reader_reconnects_after_a_restart(monkeypatch: pytest.MonkeyPatch) -> None:
    """An idle connection that broke is replaced. While the server is stopped, reading is an error."""
    monkeypatch.setattr(postgres_database, "_FRESH_SECONDS", 0.0)
    restarted = PostgresServer()
    database = PostgresDatabase(restarted.url("postgres"))
    database.connect(program="0", now=clock()).close()
    assert rows(database, "SELECT id FROM runs") == []
    restarted.stop()
    with pytest.raises(LedgerError, match="cannot be used"):
        rows(database, "SELECT id FROM runs")
    restarted.start()
    assert rows(database, "SELECT id FROM runs") == []
    database.close()
    restarted.remove()


def test_query_over_its_time_limit_is_aborted(postgres: PostgresDatabase) -> None:
    def query() -> None:
        with postgres.read(seconds=0.2) as connection:
            assert connection is not None
            connection.execute("SELECT pg_sleep(30)")

    start = time.monotonic()
    with pytest.raises(TimeoutError):
        query()
    assert time.monotonic() - start < 10
    assert rows(postgres, "SELECT id FROM runs") == []


def test_state_changes_with_each_commit(postgres: PostgresDatabase) -> None:
    """The state changes even if the connection stays open, or if transactions commit in another order."""
    sql = "INSERT INTO registered VALUES (?, 1, 'run', 'now')"
    with closing(postgres.open()) as first, closing(postgres.open()) as second:
        states = [postgres.state()]
        first.execute("BEGIN")
        first.execute(sql, ("vendor 1",))
        for commit in (partial(second.execute, sql, ("vendor 2",)), partial(first.execute, "COMMIT")):
            commit()
            states.append(postgres.state())
        assert len(set(states)) == 3
        # the server itself may commit between two reads
        assert any(postgres.state() == postgres.state() for _ in range(3)), "a read changes nothing"


@pytest.mark.parametrize(
    ("sql", "text", "names"),
    [
        ("SELECT ? , ?", "SELECT $1 , $2", ()),
        ("SELECT ?2, ?1", "SELECT $2, $1", ()),
        ("SELECT :b, :a, :b", "SELECT $1, $2, $1", ("b", "a")),
        ("SELECT json_extract(value, '$[7]')", "SELECT (value ->> 7)", ()),
        ("SELECT 1 FROM json_each(?1)", "SELECT 1 FROM json_array_elements(CAST($1 AS json))", ()),
        ("SELECT 1 FROM json_each(:rows)", "SELECT 1 FROM json_array_elements(CAST($1 AS json))", ("rows",)),
        ("SELECT '[]'::json", "SELECT '[]'::json", ()),
    ],
)
def test_statements_are_translated(sql: str, text: str, names: tuple[str, ...]) -> None:
    assert translated(sql) == (text, names)


def test_lost_durability_is_refused_by_runs_and_reported(empty: PostgresDatabase) -> None:
    """`synchronous_commit = off` confirms commits that a crash loses, so a run does not start."""
    name = empty._url.partition("?")[0].rpartition("/")[2]
    server().execute(f"ALTER DATABASE {name} SET synchronous_commit = off")
    with pytest.raises(LedgerError, match="synchronous_commit is off"):
        empty.connect(program="0", now=clock())
    findings = {check: (status, detail) for check, status, detail in examine(empty)}
    status, detail = findings["ledger durability"]
    assert (status, "synchronous_commit is off" in detail) == ("fail", True)


def test_server_of_the_tests_is_examined(postgres: PostgresDatabase) -> None:
    """The server runs without fsync, on this machine, and without a pooler."""
    assert list(examine(postgres)) == [
        ("ledger durability", "fail", "fsync is off, so a crash of the machine could lose the ledger: set it to on"),
        ("ledger pooler", "ok", "each connection has its own session"),
        ("ledger tls", "ok", "the server is on this machine"),
    ]


def test_durable_server_passes_the_checks() -> None:
    """Commits are on disk. A replica without synchronous standbys is a warning."""
    durable = PostgresServer(fsync="on")
    database = PostgresDatabase(durable.url("postgres"))
    assert next(examine(database)) == ("ledger durability", "ok", "commits are on disk (synchronous_commit = on)")
    durable.remove()


async def test_shared_session_is_refused(postgres: PostgresDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    """Behind a pooler in transaction mode, two open connections use one process of the server."""
    connection = postgres.open()
    monkeypatch.setattr(postgres, "open", lambda: connection)
    monkeypatch.setattr(connection, "close", lambda: None)
    assert [status for name, status, _ in examine(postgres) if name == "ledger pooler"] == ["fail"]
    with pytest.raises(LedgerError, match="a pooler in transaction mode shares sessions"):
        await ledger(postgres).__aenter__()
    monkeypatch.undo()
    connection.close()
