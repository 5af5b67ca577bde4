"""A ledger in a database of a PostgreSQL server."""

import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Final

from worker import __version__
from worker.ledger.database import Connection
from worker.ledger.postgres.connection import PostgresConnection
from worker.ledger.postgres.leases import PostgresLeases
from worker.ledger.postgres.memories import recall_all
from worker.ledger.postgres.schema import (
    OLDEST_SERVER,
    SCHEMA,
    migrate,
    refuse_newer,
    schema_version,
)
from worker.ledger.records import RunInfo
from worker.model.accounts import AccountMemory
from worker.model.credentials import Secret
from worker.model.errors import LedgerError
from worker.model.messages import Message

__all__ = ["PostgresDatabase"]

_CONNECT_SECONDS: Final = 10.0
"""Time limit in seconds to open a connection."""
_FRESH_SECONDS: Final = 1.0
"""Time in seconds for which an idle connection counts as open without a test."""
_BYTES: Final = {
    "runs": 700,
    "entries": 1200,
    "attempts": 250,
    "outcomes": 250,
    "written": 150,
    "registered": 120,
}
"""Bytes of a row of each table with its indexes, measured with 1,000 accounts of 100 numbers, rounded up."""
_SESSION: Final = f"""
    SET search_path TO {SCHEMA};
    SET default_transaction_isolation TO 'read committed';
    SET idle_in_transaction_session_timeout TO '60s'
"""
"""The settings of each session: leases need to see what others committed, and a vanished host must not block them."""
_MAY_WRITE: Final = f"SELECT has_table_privilege('{SCHEMA}.runs', 'INSERT')"
_MAY_CREATE: Final = f"""
    SELECT CASE WHEN to_regnamespace('{SCHEMA}') IS NULL THEN has_database_privilege(current_database(), 'CREATE')
        ELSE has_schema_privilege('{SCHEMA}', 'CREATE') END
"""
_RECORDS: Final = ", ".join(f"'{table}'" for table in _BYTES)


class PostgresDatabase:
    """A ledger at a `postgresql://` URL without a password. `password` resolves it; None for none.

    The connections of `read` and `write` are kept open for the next time.
    """

    is_remote = True

    def __init__(self, url: str, password: Callable[[], Secret] | None = None) -> None:
        self._url = url
        self._password = password
        self._readers: list[tuple[PostgresConnection, float]] = []
        self._writers: list[tuple[PostgresConnection, float]] = []
        self._finalizer = weakref.finalize(self, _close_all, self._readers, self._writers)

    @property
    def name(self) -> str:
        """The URL without its options."""
        return self._url.partition("?")[0]

    @property
    def title(self) -> str:
        """The URL without its options."""
        return self.name

    @property
    def verifies_server(self) -> bool:
        """Return True if the URL requires a valid certificate."""
        return "sslmode=verify-" in self._url

    def close(self) -> None:
        """Close the idle connections."""
        self._finalizer()

    def connect(self, *, program: str, now: Callable[[], str]) -> PostgresConnection:
        """Open the ledger for writing, see `Database`."""
        connection = self.open()
        try:
            self.refuse_loss(connection)
            migrate(connection, self.name, program=program, now=now)
        except BaseException:
            connection.close()
            raise
        return connection

    def open(self) -> PostgresConnection:
        """Open a connection, without a check of the ledger.

        Raises:
            LedgerError: the server cannot be reached, is too old, or refuses the connection.
        """
        options: dict[str, Any] = {
            "dsn": self._url,
            "timeout": _CONNECT_SECONDS,
            "server_settings": {"application_name": f"senderid {__version__}"},
        }
        if self._password is not None:
            options["password"] = self._password().reveal()
        connection = PostgresConnection(options, self.unusable)
        major = connection.server_version
        if major < OLDEST_SERVER:
            connection.close()
            raise self.unusable(
                Message(
                    "it is PostgreSQL {version}, but at least version {oldest} is required",
                    version=major,
                    oldest=OLDEST_SERVER,
                )
            )
        connection.script(_SESSION)
        return connection

    def refuse_loss(self, connection: PostgresConnection) -> None:
        """Check that a committed transaction survives a crash of the server.

        Raises:
            LedgerError: it may be lost.
        """
        (level,) = connection.execute("SELECT current_setting('synchronous_commit')").fetchone()
        if level == "off":
            raise self.unusable(Message("synchronous_commit is off, so a crash of the server could lose intents"))

    @contextmanager
    def write(self, *, program: str, now: Callable[[], str]) -> Iterator[PostgresConnection]:
        """Open the ledger for writing, see `Database`."""
        connection = _open_one(self._writers) or self.connect(program=program, now=now)
        try:
            yield connection
        except BaseException:
            connection.close()
            raise
        self._writers.append((connection, time.monotonic()))

    @contextmanager
    def read(self, *, skip_check: bool = False, seconds: float | None = None) -> Iterator[PostgresConnection | None]:
        """Open the ledger read-only, see `Database`. `skip_check` has no effect: PostgreSQL checks its files itself."""
        del skip_check
        connection = self._reader()
        connection.expire_in(seconds)
        try:
            version = schema_version(connection)
            refuse_newer(version, self.name)
            yield connection if version else None
        except BaseException:
            connection.close()
            raise
        connection.expire_in(None)
        self._readers.append((connection, time.monotonic()))

    def recall(self, connection: Connection, keys: Sequence[str]) -> dict[str, AccountMemory]:
        """Return the memories of accounts by their keys."""
        return recall_all(connection, keys)

    def probe(self) -> None:
        """Check that the ledger can be used."""
        connection = self.open()
        try:
            version = schema_version(connection)
            refuse_newer(version, self.name)
            (may_write,) = connection.execute(_MAY_WRITE if version else _MAY_CREATE).fetchone()
            if not may_write:
                raise self.unusable(Message("this user has no write permission"))
        finally:
            connection.close()

    def state(self) -> object:
        """Return which transactions are visible. It also changes with those of leases and of other databases.

        The server's statistics, which could distinguish them, lack what an idle connection committed lately.
        """
        try:
            with self.read() as connection:
                if connection is None:
                    return None
                (snapshot,) = connection.execute("SELECT pg_current_snapshot()::text").fetchone()
                return snapshot
        except LedgerError:
            return None

    def unusable(self, reason: str) -> LedgerError:
        """Return the error of a failed transaction. `reason` is a message or the server's own text."""
        return LedgerError(
            Message(
                "the ledger {url} cannot be used ({reason}): fix it, or choose another one with ledger.url in the "
                "settings or SENDERID_LEDGER__URL",
                url=self.name,
                reason=reason,
            )
        )

    def leases(self, run: RunInfo, grace_seconds: float) -> PostgresLeases:
        """Return the leases of a run."""
        return PostgresLeases(run, grace_seconds, self.open)

    def used_bytes(self, connection: Connection) -> int:
        """Return the approximate size of the rows, without the space of deleted ones, which the server reuses."""
        rows = connection.execute(
            "SELECT relname, n_live_tup + current.n_tup_ins - current.n_tup_del FROM pg_stat_user_tables AS committed "
            f"JOIN pg_stat_xact_user_tables AS current USING (relid, relname) WHERE committed.schemaname = '{SCHEMA}' "
            f"AND relname IN ({_RECORDS})"
        )
        return sum(_BYTES[table] * max(count, 0) for table, count in rows)

    def continue_ids(self, connection: Connection) -> None:
        """Give the next entry an id after those that were copied."""
        connection.execute(
            "SELECT setval(pg_get_serial_sequence('entries', 'id'), max(id)) FROM entries HAVING count(*) > 0"
        )

    def shrink(self, connection: Connection) -> None:
        """Do nothing: the server reuses the space of deleted rows."""

    def _reader(self) -> PostgresConnection:
        connection = _open_one(self._readers)
        if connection is None:
            connection = self.open()
            # one snapshot for all queries of a transaction
            connection.script(
                "SET default_transaction_read_only TO on; SET default_transaction_isolation TO 'repeatable read'"
            )
        return connection


def _open_one(idle: list[tuple[PostgresConnection, float]]) -> PostgresConnection | None:
    """Return an idle connection that is still open; None without one."""
    with suppress(IndexError):
        while True:
            connection, used_at = idle.pop()
            if time.monotonic() - used_at < _FRESH_SECONDS:
                return connection
            try:
                connection.execute("SELECT 1")
            except LedgerError:
                connection.close()
            else:
                return connection
    return None


def _close_all(*idle: list[tuple[PostgresConnection, float]]) -> None:
    for connections in idle:
        while connections:
            connections.pop()[0].close()
