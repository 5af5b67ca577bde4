"""The interface between a ledger and the database that keeps it: an SQLite file, or PostgreSQL."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager, contextmanager
from typing import Any, Protocol, TypeVar

from worker.ledger.records import RunInfo, Subject
from worker.model.accounts import AccountMemory
from worker.model.errors import LedgerError
from worker.model.ports import SharedQuota

__all__ = ["Connection", "Cursor", "Database", "Intent", "Leases", "Transactions", "Wait", "transaction"]

T = TypeVar("T")

Intent = tuple[int, str, int, str]
"""The intent of a request: entry, phone, attempt number, requested status."""


class Cursor(Protocol):
    """The rows of a statement."""

    @property
    def description(self) -> Any:
        """One sequence for each column; its first item is the name."""
        ...

    @property
    def rowcount(self) -> int:
        """The count of rows that the statement changed."""
        ...

    def fetchone(self) -> Any:
        """Return the next row; None after the last one."""
        ...

    def fetchall(self) -> list[Any]:
        """Return the remaining rows."""
        ...

    def __iter__(self) -> Iterator[Any]: ...


class Connection(Protocol):
    """A connection to the database of a ledger, such as `sqlite3.Connection`. One thread at a time may use it.

    Statements use SQLite's placeholders and JSON functions. `worker.ledger.postgres.connection` translates them.
    """

    @property
    def in_transaction(self) -> bool:
        """Return True inside a transaction."""
        ...

    def execute(self, sql: str, parameters: Sequence[Any] | Mapping[str, Any] = ..., /) -> Cursor:
        """Execute a statement. Outside a transaction, it is committed immediately."""
        ...

    def executemany(self, sql: str, parameters: Any, /) -> Cursor:
        """Execute a statement once for each sequence of parameters."""
        ...

    def close(self) -> None:
        """Close the connection."""
        ...


@contextmanager
def transaction(connection: Connection) -> Iterator[None]:
    """Commit the statements of the context as one transaction, or roll all of them back."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        # on a full disk SQLite rolls back by itself
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


class Transactions(Protocol):
    """Transactions of one run, such as `worker.ledger.group_commit.GroupCommits`."""

    async def run(self, work: Callable[[Connection], T]) -> T:
        """Run `work(connection)` as part of a transaction. Return its result once the transaction is committed.

        Raises:
            LedgerError: the transaction failed.
        """
        ...


class Wait(Protocol):
    """Waits for the lease of another run."""

    async def __call__(self, seconds: float, patience: float = 0.0, /) -> bool:
        """Pause for `seconds`. Return True to try again.

        It waits for the time limit of its run in total, but at least for `patience` seconds.
        """
        ...


class Leases(Protocol):
    """The leases of one run. Each has a token, an integer that no other lease has.

    `failure` is the error after which the run must not send any request; None while it may. `intend(connection,
    intents, now, tokens)` records requests before they are sent, in one statement that raises LeaseLost if one of the
    leases has ended; it is None if that takes a transaction.
    """

    @property
    def failure(self) -> LedgerError | None: ...  # noqa: D102 - see the class

    @property
    def intend(self) -> Callable[[Connection, Sequence[Intent], str, Sequence[int]], None] | None: ...  # noqa: D102

    def start(self, connection: Connection) -> None:
        """Start renewing leases. `connection` is the one that the run writes with.

        Raises:
            LedgerError: the leases cannot be kept.
        """
        ...

    def stop(self) -> None:
        """Stop renewing leases. Unreleased leases end by themselves."""
        ...

    def lease(
        self,
        subject: Subject,
        wait: Wait,
        transactions: Transactions,
        quota: SharedQuota | None = None,
    ) -> AbstractAsyncContextManager[int]:
        """Take the lease of an account for the duration of the context. Yield its token.

        If another run has the lease, `wait` decides whether to try again. `quota` is that of the
        account's API key. Leases that several hosts share hand its used slots over to the next run.

        Raises:
            AccountBusy: another run has the lease.
            LedgerError: the lease cannot be taken.
        """
        ...

    def check(self) -> None:
        """Check that the leases of the run have not ended. It is called before each request that writes.

        Raises:
            LeaseLost: the leases have ended, or may have.
        """
        ...

    def fence(self, connection: Connection, tokens: Sequence[int]) -> None:
        """Keep the leases of `tokens` from ending before the current transaction.

        Raises:
            LeaseLost: one of them has ended.
        """
        ...


class Database(Protocol):
    """Where a ledger is kept. Each method may raise LedgerError, whose message says what to do."""

    @property
    def name(self) -> str:
        """The path or URL, without secrets."""
        ...

    @property
    def title(self) -> str:
        """The name of the ledger on the status page."""
        ...

    @property
    def is_remote(self) -> bool:
        """Return True if reading waits for a network."""
        ...

    def connect(self, *, program: str, now: Callable[[], str]) -> Connection:
        """Open the ledger for writing. Create or migrate it if needed.

        `program`, the version of the worker, and `now`, the current time, are for the record of a migration.
        """
        ...

    def write(self, *, program: str, now: Callable[[], str]) -> AbstractContextManager[Connection]:
        """Open the ledger for writing as `connect` does, for the duration of the context."""
        ...

    def read(
        self, *, skip_check: bool = False, seconds: float | None = None
    ) -> AbstractContextManager[Connection | None]:
        """Open the ledger read-only for the duration of the context. Yield None if there is no ledger yet.

        `skip_check` skips the integrity check, for a ledger that was checked recently. `seconds` is the time limit for
        all queries of the context together; None is no limit.

        Raises:
            LedgerError: the ledger cannot be read, or it changed during the read.
            TimeoutError: the queries exceeded the time limit.
        """
        ...

    def recall(self, connection: Connection, keys: Sequence[str]) -> Mapping[str, AccountMemory]:
        """Return the memories of accounts by their keys."""
        ...

    def probe(self) -> None:
        """Check that the ledger can be used, without creating one."""
        ...

    def state(self) -> object:
        """Return a value that changes with every write to the records of runs."""
        ...

    def unusable(self, reason: str) -> LedgerError:
        """Return the error of a failed transaction."""
        ...

    def leases(self, run: RunInfo, grace_seconds: float) -> Leases:
        """Return the leases of a run.

        `grace_seconds` is the time after the end of a lease in which a request may still arrive or use the quota.
        """
        ...

    def used_bytes(self, connection: Connection) -> int:
        """Return the size of the records in bytes, exactly or approximately."""
        ...

    def continue_ids(self, connection: Connection) -> None:
        """Give the next entry an id after those that were copied."""
        ...

    def shrink(self, connection: Connection) -> None:
        """Return the space of deleted records to the file system, if the database can."""
        ...
