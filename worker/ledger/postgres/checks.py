"""Checks of a PostgreSQL server for `senderid doctor`: durability, replicas, poolers and encryption."""

from collections.abc import Iterator
from contextlib import closing
from typing import Literal

from worker.ledger.database import Database
from worker.ledger.postgres.connection import PostgresConnection
from worker.ledger.postgres.database import PostgresDatabase
from worker.ledger.postgres.leases import refuse_pooler
from worker.model.errors import LedgerError
from worker.model.messages import Message

__all__ = ["Finding", "examine"]

Finding = tuple[str, Literal["ok", "warn", "fail"], str]
"""The name of a check, its status and its detail."""


def examine(database: Database) -> Iterator[Finding]:
    """Yield the result of each check of the server.

    Raises:
        LedgerError: the server cannot be reached.
    """
    assert isinstance(database, PostgresDatabase)  # noqa: S101 - the only database that is remote
    with closing(database.open()) as connection:
        yield _durability(database, connection)
        with closing(database.open()) as other:
            yield _pooler(connection, other)
        yield _encryption(database, connection)


def _durability(database: PostgresDatabase, connection: PostgresConnection) -> Finding:
    name = "ledger durability"
    try:
        database.refuse_loss(connection)
    except LedgerError as error:
        return name, "fail", str(error)
    level, fsync, standbys, replicas = connection.execute(
        "SELECT current_setting('synchronous_commit'), current_setting('fsync'), "
        "current_setting('synchronous_standby_names'), (SELECT count(*) FROM pg_stat_replication)"
    ).fetchone()
    if fsync == "off":
        return name, "fail", Message("fsync is off, so a crash of the machine could lose the ledger: set it to on")
    if replicas and (not standbys or level == "local"):
        detail = Message(
            "replicas are asynchronous: after a failover, the last writes may be missing from the ledger; see "
            "synchronous_standby_names"
        )
        return name, "warn", detail
    return name, "ok", Message("commits are on disk (synchronous_commit = {level})", level=level)


def _pooler(connection: PostgresConnection, other: PostgresConnection) -> Finding:
    name = "ledger pooler"
    try:
        refuse_pooler(connection, other)
    except LedgerError as error:
        return name, "fail", str(error)
    return name, "ok", Message("each connection has its own session")


def _encryption(database: PostgresDatabase, connection: PostgresConnection) -> Finding:
    is_remote, is_encrypted = connection.execute(
        "SELECT coalesce(NOT inet_client_addr() <<= inet '127.0.0.0/8' AND inet_client_addr() <> inet '::1', false), "
        "coalesce((SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()), false)"
    ).fetchone()
    name = "ledger tls"
    if not is_remote:
        return name, "ok", Message("the server is on this machine")
    if is_encrypted and database.verifies_server:
        return name, "ok", Message("the certificate of {host} is valid", host=database.name)
    return name, "warn", Message("the server is not verified: add sslmode=verify-full to ledger.url")
