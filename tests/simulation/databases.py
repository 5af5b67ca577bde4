"""Databases of simulated ledgers: an SQLite file, and a real PostgreSQL whose leases end with their process."""

import sqlite3
from collections.abc import Callable
from math import inf
from pathlib import Path
from typing import Protocol, cast

from tests.simulation.process import Process
from worker.ledger import Database, RunInfo, SqliteFile
from worker.ledger.database import Connection
from worker.ledger.postgres import leases
from worker.ledger.postgres.connection import PostgresConnection
from worker.ledger.postgres.database import PostgresDatabase

__all__ = ["FileStore", "PostgresStore", "Store"]


class Store(Protocol):
    """The ledger of a world."""

    @property
    def database(self) -> Database:
        """The ledger for readers outside the processes."""
        ...

    def of_process(self, process: Process) -> Database:
        """Return the ledger as a process opens it, on a disk that may fail."""
        ...

    def open_reader(self) -> Connection | None:
        """Open the ledger for many queries; None if there is no ledger yet."""
        ...


class FileStore:
    """A ledger in an SQLite file in a folder."""

    def __init__(self, folder: Path) -> None:
        self.database = SqliteFile(folder / "ledger.db")

    def of_process(self, process: Process) -> Database:
        """Return the file."""
        return SqliteFile(self.database.path, open_file=process.opened)

    def open_reader(self) -> Connection | None:
        """Open the file."""
        if not self.database.path.exists():
            return None
        return sqlite3.connect(f"{self.database.path.as_uri()}?mode=ro", uri=True)


class PostgresStore:
    """A ledger in a database with an empty ledger."""

    def __init__(self, database: PostgresDatabase) -> None:
        self.database = database
        # the loop is a virtual one, so a thread would never finish
        database.is_remote = False

    def of_process(self, process: Process) -> Database:
        """Return the database. The leases of the process end with it."""
        return _ProcessDatabase(self.database, process)

    def open_reader(self) -> Connection | None:
        """Open a connection."""
        return self.database.open()


class _ProcessDatabase(PostgresDatabase):
    is_remote = False

    def __init__(self, database: PostgresDatabase, process: Process) -> None:
        super().__init__(database._url)
        self._process = process

    def connect(self, *, program: str, now: Callable[[], str]) -> PostgresConnection:
        """Open the ledger on a disk that may fail."""
        return cast("PostgresConnection", self._process.attach(super().connect(program=program, now=now)))

    def leases(self, run: RunInfo, grace_seconds: float) -> leases.PostgresLeases:
        """Return leases that are valid until the process dies."""
        self._process.on_death = lambda: self._end_leases(run.id)
        return _ProcessLeases(run, grace_seconds, self.open)

    def _end_leases(self, run: str) -> None:
        connection = self.open()
        connection.execute("UPDATE workers SET until = '-infinity' WHERE run = ?", (run,))
        connection.close()


class _ProcessLeases(leases.PostgresLeases):
    """Leases without a thread and a timer."""

    def start(self, connection: Connection) -> None:
        """Record the run as a worker that lives for ever."""
        self._used = connection
        run = self._run
        fields = (run.id, run.host, run.pid, run.started_at, leases.LEASE_SECONDS, 0.0, False)
        (self._worker,) = connection.execute(leases._START, fields).fetchone()
        connection.execute("UPDATE workers SET until = 'infinity' WHERE worker = ?", (self._worker,))
        self._deadline = inf

    def stop(self) -> None:
        """Release all leases. Those whose release failed end by time, which is not simulated for the server."""
        self._used.execute(leases._STOP, (self._worker,))
        self._used.execute("UPDATE workers SET until = '-infinity' WHERE worker = ?", (self._worker,))
