"""Group commits: the writes of one moment share one transaction, on a thread of their own."""

import asyncio
import sqlite3
from collections.abc import Callable, Iterable
from functools import partial
from typing import Final, TypeVar

from worker.ledger import writes
from worker.ledger.records import AttemptState
from worker.model.errors import LedgerError

__all__ = ["GroupCommits"]

T = TypeVar("T")

_PATIENCE: Final = 2.0
"""Seconds that an answer waits to be noted, at most: many answers cost little more than one."""

Intent = tuple[int, str, int, str]
"""Entry, phone, the how-manieth request of the phone, the status asked for."""
Answer = tuple[int, str, int, AttemptState, int | None, str | None, str | None]
"""Entry, phone, request, and what became of it: state, HTTP status, the error's code and message."""


class _Batch:
    """What goes into one transaction, in this order: intents, answers, other work."""

    __slots__ = ("answers", "intents", "waiting", "work")

    def __init__(self) -> None:
        self.intents: list[Intent] = []
        self.answers: list[Answer] = []
        self.work: list[Callable[[sqlite3.Connection], None]] = []
        self.waiting: list[asyncio.Future[None]] = []

    def end(self, error: BaseException | None) -> None:
        """Wake the waiting tasks, with the error of the transaction if there is one."""
        for turn in self.waiting:
            if turn.done():
                continue
            if error is None:
                turn.set_result(None)
            else:
                turn.set_exception(error)

    def commit(self, connection: sqlite3.Connection, now: str) -> None:
        """Everything durably, or nothing."""
        connection.execute("BEGIN IMMEDIATE")
        try:
            if self.intents:
                writes.intend(connection, self.intents, now)
            if self.answers:
                writes.answer(connection, self.answers, now)
            for work in self.work:
                work(connection)
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise


class GroupCommits:
    """Writes to one ledger, several to a transaction. While one transaction is written to disk, the next one gathers.

    `submit` runs calls on another thread, one at a time. `unusable` makes the error of a failed transaction. After the
    first failure no transaction is tried, and every later call raises that error.
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        *,
        submit: Callable[[Callable[[], None]], object],
        now: Callable[[], str],
        unusable: Callable[[str], LedgerError],
    ) -> None:
        self._connection = connection
        self._submit = submit
        self._now = now
        self._unusable = unusable
        self._loop = asyncio.get_running_loop()
        self._gathering: _Batch | None = None
        self._scheduled = False
        self._answers: list[Answer] = []
        self._due: asyncio.TimerHandle | None = None
        self._broken: LedgerError | None = None

    async def intend(self, rows: Iterable[Intent]) -> None:
        """Note durably that requests are about to leave.

        Raises:
            LedgerError: it could not be noted.
        """
        batch = self._batch()
        batch.intents += rows
        await self._committed_with(batch)

    def answer(self, row: Answer) -> None:
        """Record the result of a request within seconds. If the run crashes before, a read shows the result as well."""
        self._answers.append(row)
        if self._due is None:
            self._due = self._loop.call_later(_PATIENCE, self._note_answers)

    async def run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Return the result of `work(connection)`, run as part of a transaction.

        Raises:
            LedgerError: it could not be committed.
        """
        made: list[T] = []
        batch = self._batch()
        batch.work.append(lambda connection: made.append(work(connection)))
        await self._committed_with(batch)
        return made[-1]

    async def close(self, entry: int, proven: frozenset[str], work: Callable[[sqlite3.Connection], None]) -> None:
        """Note the answers of an entry that are not yet, then do `work`.

        That a write was accepted is not noted of `proven` phones, as `work` notes more.

        Raises:
            LedgerError: it could not be committed.
        """
        batch = self._batch()
        answers, self._answers = self._answers, []
        batch.answers += (
            row for row in answers if not (row[0] == entry and row[1] in proven and row[3] is AttemptState.OK)
        )
        batch.work.append(work)
        await self._committed_with(batch)

    async def drain(self) -> None:
        """Note the answers that are not yet.

        Raises:
            LedgerError: they could not be.
        """
        if self._due is not None:
            self._due.cancel()
        if self._answers:
            batch = self._batch()
            batch.answers += self._answers
            self._answers = []
            await self._committed_with(batch)

    def _note_answers(self) -> None:
        self._due = None
        if self._answers and self._broken is None:
            self._batch().answers += self._answers
            self._answers = []
            self._schedule()

    def _batch(self) -> _Batch:
        if self._broken is not None:
            raise self._broken
        if self._gathering is None:
            self._gathering = _Batch()
        return self._gathering

    async def _committed_with(self, batch: _Batch) -> None:
        turn = self._loop.create_future()
        batch.waiting.append(turn)
        self._schedule()
        await turn

    def _schedule(self) -> None:
        if not self._scheduled:
            # what else this turn of the loop brings comes along
            self._scheduled = True
            self._loop.call_soon(self._start)

    def _start(self) -> None:
        batch, self._gathering = self._gathering, None
        if batch is None:
            self._scheduled = False
        elif self._broken is not None:
            batch.end(self._broken)
            self._scheduled = False
        else:
            self._submit(partial(self._commit, batch))

    def _commit(self, batch: _Batch) -> None:
        """On the other thread."""
        failed: BaseException | None = None
        try:
            batch.commit(self._connection, self._now())
        except BaseException as error:  # noqa: BLE001 - raised in the callers that wait
            failed = error
        self._loop.call_soon_threadsafe(self._committed, batch, failed)

    def _committed(self, batch: _Batch, failed: BaseException | None) -> None:
        if isinstance(failed, sqlite3.Error):
            failed = self._broken = self._unusable(str(failed))
        batch.end(failed)
        self._loop.call_soon(self._start)
