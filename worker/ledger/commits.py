"""Group commits: everything that is to be written at one moment shares one transaction, on a thread of its own."""

import asyncio
import sqlite3
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from worker.errors import LedgerError
from worker.ledger import store

__all__ = ["Commits"]

T = TypeVar("T")

Intent = tuple[int, str, int, str]
"""Entry, phone, the how-manieth request of the phone, the status asked for."""
Answer = tuple[int, str, int, str, int | None, str | None, str | None]
"""Entry, phone, request, and what became of it: state, HTTP status, the error's code and message."""


class _Batch:
    """What goes into one transaction, in this order: intents, answers, other work."""

    __slots__ = ("answers", "done", "intents", "work")

    def __init__(self) -> None:
        self.intents: list[Intent] = []
        self.answers: list[Answer] = []
        self.work: list[Callable[[sqlite3.Connection], None]] = []
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def commit(self, connection: sqlite3.Connection, now: str) -> None:
        """Everything durably, or nothing."""
        connection.execute("BEGIN IMMEDIATE")
        try:
            if self.intents:
                store.intend(connection, self.intents, now)
            if self.answers:
                store.answer(connection, self.answers, now)
            for work in self.work:
                work(connection)
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise


class Commits:
    """Writes to one ledger. While one transaction is on its way to the disk, the next one gathers.

    `submit` has a call made on another thread, one after the other. After the first transaction that fails, none is
    tried: whoever needs the ledger then stops.
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        *,
        submit: Callable[[Callable[[], None]], object],
        now: Callable[[], str],
        told: Callable[[str], LedgerError],
    ) -> None:
        self._connection = connection
        self._submit = submit
        self._now = now
        self._told = told
        self._loop = asyncio.get_running_loop()
        self._gathering: _Batch | None = None
        self._committing = False
        self._broken: LedgerError | None = None

    async def intend(self, row: Intent) -> None:
        """Note durably that a request is about to leave.

        Raises:
            LedgerError: it could not be noted.
        """
        batch = self._batch()
        batch.intents.append(row)
        await asyncio.shield(batch.done)

    def answer(self, row: Answer) -> None:
        """Note what became of a request, with whatever is noted next."""
        if self._broken is None:
            self._batch().answers.append(row)

    async def run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """What `work` makes of the connection, as part of a transaction.

        Raises:
            LedgerError: it could not be committed.
        """
        made: list[T] = []
        batch = self._batch()
        batch.work.append(lambda connection: made.append(work(connection)))
        await asyncio.shield(batch.done)
        return made[-1]

    def _batch(self) -> _Batch:
        if self._broken is not None:
            raise self._broken
        if self._gathering is None:
            self._gathering = _Batch()
            self._gathering.done.add_done_callback(_heard)
            if not self._committing:
                # what else this turn of the loop brings comes along
                self._loop.call_soon(self._start)
        return self._gathering

    def _start(self) -> None:
        batch, self._gathering = self._gathering, None
        if batch is None or self._committing:
            self._gathering = batch
            return
        self._committing = True
        self._submit(partial(self._commit, batch))

    def _commit(self, batch: _Batch) -> None:
        """On the other thread."""
        failed: BaseException | None = None
        try:
            batch.commit(self._connection, self._now())
        except BaseException as error:  # noqa: BLE001 - told to whoever waits
            failed = error
        self._loop.call_soon_threadsafe(self._committed, batch, failed)

    def _committed(self, batch: _Batch, failed: BaseException | None) -> None:
        self._committing = False
        if failed is None:
            batch.done.set_result(None)
        else:
            error = self._told(str(failed)) if isinstance(failed, sqlite3.Error) else failed
            if isinstance(error, LedgerError):
                self._broken = error
            batch.done.set_exception(error)
        if self._gathering is not None:
            if self._broken is None:
                self._start()
            else:
                batch, self._gathering = self._gathering, None
                batch.done.set_exception(self._broken)


def _heard(done: asyncio.Future[None]) -> None:
    """Answers alone have nobody who waits for their commit."""
    if not done.cancelled():
        done.exception()
