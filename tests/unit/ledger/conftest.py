"""Databases of ledgers: tests that take `database` run over an SQLite file and over PostgreSQL."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.postgres import new_database
from worker.ledger import Database, SqliteFile
from worker.ledger.postgres.database import PostgresDatabase


@pytest.fixture
def sqlite(tmp_path: Path) -> SqliteFile:
    """Return a ledger in a file that does not exist yet."""
    return SqliteFile(tmp_path / "ledger.db")


@pytest.fixture
def postgres() -> Iterator[PostgresDatabase]:
    """Return an empty ledger in PostgreSQL."""
    database = PostgresDatabase(new_database())
    yield database
    database.close()


@pytest.fixture(params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest) -> Database:
    """Return an empty ledger of each kind."""
    database: Database = request.getfixturevalue(request.param)
    return database
