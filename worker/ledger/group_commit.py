"""Group commit: concurrent writes to the ledger share a transaction, which runs on a separate thread."""

import asyncio
import sqlite3
from collections.abc import Callable, Iterable
from functools import partial
from typing import Final, TypeVar

from worker.ledger import writes
from worker.ledger.database import Connection, Intent, Leases, transaction
from worker.ledger.records import AttemptState
from worker.model.errors import LedgerError

__all__ = ["GroupCommits"]

T = TypeVar("T")

_RESPONSE_DELAY: Final = 2.0
"""Maximum delay in seconds before a response is recorded: one transaction for many responses is cheap."""

ResponseRow = tuple[int, str, int, AttemptState, int | None, str | None, str | None]
"""The response to a request: entry, phone, attempt number, state, HTTP status, error code, error message."""


class _Batch:
    """The content of one transaction: intents, then responses, then other work. It needs the leases of `tokens`."""

    __slots__ = ("intents", "responses", "tokens", "waiting", "work")

    def __init__(self) -> None:
        self.tokens: set[int] = set()
        self.intents: list[Intent] = []
        self.responses: list[ResponseRow] = []
        self.work: list[Callable[[Connection], None]] = []
        self.waiting: list[asyncio.Future[None]] = []

    def end(self, error: BaseException | None) -> None:
        """Resume the waiting tasks. If the transaction failed, raise its error in each of them."""
        for future in self.waiting:
            if future.done():
                continue
            if error is None:
                future.set_result(None)
            else:
                future.set_exception(error)

    def commit(self, connection: Connection, leases: Leases, now: str) -> None:
        """Commit the batch as one transaction, or roll all of it back."""
        tokens = sorted(self.tokens)
        if leases.intend is not None and not (self.responses or self.work):
            leases.intend(connection, self.intents, now, tokens)
            return
        with transaction(connection):
            leases.fence(connection, tokens)
            if self.intents:
                writes.intend(connection, self.intents, now)
            if self.responses:
                writes.record_responses(connection, self.responses, now)
            for work in self.work:
                work(connection)


class GroupCommits:
    """A queue of writes to one ledger, which groups them into transactions.

    While one transaction is written to disk, the next one is collected. `submit` runs calls on another thread, one at a
    time. `now` returns the current time for the records. `unusable` returns the error of a failed transaction, unless
    the failure is a LedgerError. After the first failure no transaction is started, and every later call raises that
    error.

    `token` is the token of the lease that a call needs; None if it needs no lease.
    """

    def __init__(
        self,
        connection: Connection,
        leases: Leases,
        *,
        submit: Callable[[Callable[[], None]], object],
        now: Callable[[], str],
        unusable: Callable[[str], LedgerError],
    ) -> None:
        self._connection = connection
        self._leases = leases
        self._submit = submit
        self._now = now
        self._unusable = unusable
        self._loop = asyncio.get_running_loop()
        self._open_batch: _Batch | None = None
        self._is_scheduled = False
        self._responses: list[ResponseRow] = []
        self._response_tokens: set[int] = set()
        self._responses_timer: asyncio.TimerHandle | None = None
        self._failure: LedgerError | None = None

    async def intend(self, rows: Iterable[Intent], token: int | None = None) -> None:
        """Record requests durably before they are sent.

        Raises:
            LedgerError: the requests could not be recorded, so they must not be sent.
        """
        batch = self._batch(token)
        batch.intents += rows
        await self._join(batch)

    def record_response(self, row: ResponseRow, token: int | None = None) -> None:
        """Record the response to a request within 2 seconds.

        If the process crashes first, a read of the account shows it.
        """
        self._responses.append(row)
        if token is not None:
            self._response_tokens.add(token)
        if self._responses_timer is None:
            self._responses_timer = self._loop.call_later(_RESPONSE_DELAY, self._add_responses)

    async def run(self, work: Callable[[Connection], T], token: int | None = None) -> T:
        """Run `work(connection)` as part of a transaction. Return its result once the transaction is committed.

        Raises:
            LedgerError: the transaction failed.
        """
        results: list[T] = []
        batch = self._batch(token)
        batch.work.append(lambda connection: results.append(work(connection)))
        await self._join(batch)
        return results[-1]

    async def close(
        self, entry: int, changed_phones: frozenset[str], work: Callable[[Connection], None], token: int | None = None
    ) -> None:
        """Record the pending responses and then run `work`, in one transaction.

        Responses of the entry that accept a write of one of `changed_phones` are skipped, because `work` records the
        outcome.

        Raises:
            LedgerError: the transaction failed.
        """
        batch = self._batch(token)
        batch.responses += (
            row
            for row in self._take_responses(batch)
            if not (row[0] == entry and row[1] in changed_phones and row[3] is AttemptState.OK)
        )
        batch.work.append(work)
        await self._join(batch)

    async def drain(self) -> None:
        """Record the pending responses.

        Raises:
            LedgerError: the responses could not be recorded.
        """
        if self._responses_timer is not None:
            self._responses_timer.cancel()
        if self._responses:
            batch = self._batch()
            batch.responses += self._take_responses(batch)
            await self._join(batch)

    def _add_responses(self) -> None:
        self._responses_timer = None
        if self._responses and self._failure is None:
            batch = self._batch()
            batch.responses += self._take_responses(batch)
            self._schedule()

    def _take_responses(self, batch: _Batch) -> list[ResponseRow]:
        """Return the pending responses, which become part of the batch."""
        batch.tokens |= self._response_tokens
        responses, self._responses, self._response_tokens = self._responses, [], set()
        return responses

    def _batch(self, token: int | None = None) -> _Batch:
        if self._failure is not None:
            raise self._failure
        if self._open_batch is None:
            self._open_batch = _Batch()
        if token is not None:
            self._open_batch.tokens.add(token)
        return self._open_batch

    async def _join(self, batch: _Batch) -> None:
        future = self._loop.create_future()
        batch.waiting.append(future)
        self._schedule()
        await future

    def _schedule(self) -> None:
        if not self._is_scheduled:
            # writes that are added in the same iteration of the event loop join the batch
            self._is_scheduled = True
            self._loop.call_soon(self._start)

    def _start(self) -> None:
        batch, self._open_batch = self._open_batch, None
        if batch is None:
            self._is_scheduled = False
        elif self._failure is not None:
            batch.end(self._failure)
            self._is_scheduled = False
        else:
            self._submit(partial(self._commit, batch))

    def _commit(self, batch: _Batch) -> None:
        """Commit a batch. This method runs on the thread that writes."""
        failure: BaseException | None = None
        try:
            batch.commit(self._connection, self._leases, self._now())
        except sqlite3.Error as error:
            failure = self._unusable(str(error))
        except LedgerError as error:
            failure = self._leases.failure or error
        except BaseException as error:  # noqa: BLE001 - raised in the waiting callers
            failure = error
        self._loop.call_soon_threadsafe(self._finish, batch, failure)

    def _finish(self, batch: _Batch, failure: BaseException | None) -> None:
        if isinstance(failure, LedgerError):
            self._failure = failure
        batch.end(failure)
        self._loop.call_soon(self._start)
