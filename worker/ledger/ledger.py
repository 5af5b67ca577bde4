"""The ledger of a run: the leases of its accounts, and the records of their plans, attempts and outcomes."""

import sqlite3
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, closing, suppress
from types import TracebackType
from typing import Self

from worker.ledger import reads, retention, writes
from worker.ledger.database import Connection, Database, Leases, transaction
from worker.ledger.group_commit import GroupCommits
from worker.ledger.records import AttemptState, RunInfo, Subject
from worker.model.accounts import AccountMemory, ObservedAccount, PlanFile, PlanFileUse, Status
from worker.model.errors import AccountRejected, Ambiguous, ApiError, LedgerError
from worker.model.plans import AccountPlan
from worker.model.ports import SharedQuota
from worker.model.results import AccountResult, Outcome, RunOutcome

__all__ = ["LeasedAccountLedger", "Ledger", "forget"]


class LeasedAccountLedger:
    """The ledger of one account in one run. Only the run that has the lease of the account writes to it.

    `token` is the token of that lease; None for a record that needs no lease.
    """

    def __init__(
        self,
        commits: GroupCommits,
        leases: Leases,
        run: str,
        subject: Subject,
        *,
        now: Callable[[], str],
        token: int | None = None,
    ) -> None:
        self._commits = commits
        self._leases = leases
        self._token = token
        self._run = run
        self._subject = subject
        self._now = now
        self._entry: int | None = None
        self._closes_crash = False
        self._registered_count = subject.registered

    async def registered(self) -> int | None:
        """Return the count of registered numbers in the last run; None if unknown.

        Raises:
            LedgerError: the ledger cannot be read.
        """
        return await self._commits.run(lambda connection: writes.registered(connection, self._subject.key))

    async def earlier_run(self, plan: PlanFile, phones: Collection[str]) -> PlanFileUse | None:
        """Return the earlier run that used up the plan file with writes of `phones`; None without such a run.

        Raises:
            LedgerError: the ledger cannot be read.
        """
        key = self._subject.key
        return await self._commits.run(
            lambda connection: writes.earlier_run(connection, self._run, key, plan, phones=phones)
        )

    async def resume(self, observed: ObservedAccount) -> AccountMemory:
        """Close the open entries of earlier runs, using the observed statuses. Return the memory of the account.

        Raises:
            LedgerError: the ledger cannot be written.
        """
        key, now = self._subject.key, self._now()

        def work(connection: Connection) -> AccountMemory:
            writes.settle(connection, key, observed.numbers, now)
            memory = writes.recall(connection, key)
            writes.note_registered(connection, key, len(observed.numbers), self._run, now)
            return memory

        memory = await self._commits.run(work, self._token)
        self._registered_count = None
        self._closes_crash = bool(memory.spent)
        return memory

    async def record_plan(self, plan: AccountPlan, fingerprint: str) -> None:
        """Record the plan of the account before its first write.

        Raises:
            LedgerError: the plan could not be recorded.
        """
        now = self._now()
        self._entry = await self._commits.run(
            lambda connection: writes.add_entry(
                connection, self._run, self._subject, plan, fingerprint=fingerprint, now=now
            ),
            self._token,
        )

    async def intend(self, requests: Sequence[tuple[str, int, Status]]) -> None:
        """Record requests durably before they are sent, each as (phone, attempt number, requested status).

        Raises:
            LedgerError: the requests could not be recorded, so they must not be sent.
        """
        await self._commits.intend(((self._open_entry, *request) for request in requests), self._token)

    def check_lease(self) -> None:
        """Check that the lease of the account has not ended. It is called before each request that writes.

        Raises:
            LeaseLost: the lease has ended, so the request must not be sent.
        """
        self._leases.check()

    def record_response(self, phone: str, number: int, error: ApiError | None) -> None:
        """Record the result of a request; `error` is None if the API accepted it. It is committed within seconds."""
        if error is None:
            self._commits.record_response(
                (self._open_entry, phone, number, AttemptState.OK, None, None, None), self._token
            )
            return
        # a rejection of the account without an HTTP status may come from the response to a write that took effect
        is_ambiguous = isinstance(error, Ambiguous) or (isinstance(error, AccountRejected) and not error.http_status)
        state = AttemptState.AMBIGUOUS if is_ambiguous else AttemptState.REJECTED
        row = (self._open_entry, phone, number, state, error.http_status, error.code, str(error))
        self._commits.record_response(row, self._token)

    async def finish(self, result: AccountResult, confirmed: Mapping[str, Status]) -> None:
        """Record the result of the account, if there is anything to record.

        `confirmed` maps each number that has its desired status, although a run last wrote the other, to that status.

        Raises:
            LedgerError: the result could not be recorded.
        """
        now = self._now()
        if self._entry is None:
            await self._record_registered(now)
            # the end of a plan that a crashed run started needs an entry
            if confirmed or self._closes_crash or not _is_unremarkable(result):
                await self._commits.run(
                    lambda connection: self._record_at_once(connection, result, confirmed, now), self._token
                )
            return
        entry = self._entry
        changed_phones = frozenset(number.phone for number in result.numbers if number.outcome is Outcome.CHANGED)
        await self._commits.close(
            entry,
            changed_phones,
            lambda connection: writes.finish_entry(connection, entry, result, confirmed, now),
            self._token,
        )

    async def _record_registered(self, now: str) -> None:
        numbers = self._registered_count
        if numbers is not None:
            key, run = self._subject.key, self._run
            await self._commits.run(
                lambda connection: writes.note_registered(connection, key, numbers, run, now), self._token
            )

    def _record_at_once(
        self, connection: Connection, result: AccountResult, confirmed: Mapping[str, Status], now: str
    ) -> None:
        """Record the plan and the result in one transaction, so that a crash leaves nothing open."""
        plan = AccountPlan(account=result.account, account_id=result.account_id, counts={})
        entry = writes.add_entry(connection, self._run, self._subject, plan, fingerprint="", now=now)
        writes.finish_entry(connection, entry, result, confirmed, now)

    @property
    def _open_entry(self) -> int:
        assert self._entry is not None, "an entry is added before its writes"  # noqa: S101 - a bug of the worker
        return self._entry


class Ledger:
    """The ledger of one run, as an async context manager. Leaving it without `finish` records the run as failed.

    `max_bytes` is the size of the records beyond which the oldest runs are deleted. `lock_timeout` is the maximum time
    in seconds, by `clock`, to wait for a lease that another run has. `grace_seconds` is the time for which a request
    may count at the server after it was sent. `submit` runs calls one at a time outside the event loop; a simulation
    replaces it. `commits` are the transactions of a process whose runs share a connection and `leases`; None for a
    connection and leases of this run alone.
    """

    def __init__(
        self,
        database: Database,
        run: RunInfo,
        *,
        now: Callable[[], str],
        max_bytes: int,
        lock_timeout: float = 0.0,
        grace_seconds: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
        submit: Callable[[Callable[[], None]], object] | None = None,
        leases: Leases | None = None,
        commits: GroupCommits | None = None,
    ) -> None:
        self._database = database
        self._run = run
        self._now = now
        self._max_bytes = max_bytes
        self._lock_timeout = lock_timeout
        self._clock = clock
        self._leases = leases or database.leases(run, grace_seconds)
        self._finished = False
        self._shared_commits = commits
        self._connection: Connection | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="ledger")
        self._submit = submit or self._thread.submit

    async def __aenter__(self) -> Self:
        """Open the database and record the start of the run.

        Raises:
            LedgerError: the ledger cannot be written, so no request must be sent.
        """
        try:
            self._commits = self._shared_commits or self._open()
            await self._commits.run(lambda connection: writes.add_run(connection, self._run))
        except BaseException:
            self._close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with suppress(LedgerError):
            await self._commits.drain()
            if not self._finished:
                await self.finish(RunOutcome.FAILED)
        self._close()

    def _open(self) -> GroupCommits:
        self._connection = self._database.connect(program=self._run.version, now=self._now)
        self._leases.start(self._connection)
        return GroupCommits(
            self._connection, self._leases, submit=self._submit, now=self._now, unusable=self._database.unusable
        )

    def _close(self) -> None:
        self._thread.shutdown()
        if self._connection is not None:
            self._leases.stop()
            self._connection.close()

    @asynccontextmanager
    async def lease(
        self, subject: Subject, pause: Callable[[float], Awaitable[bool]], quota: SharedQuota | None = None
    ) -> AsyncIterator[LeasedAccountLedger]:
        """Take the lease of an account. While the context lasts, no other run with this ledger writes to the account.

        `pause(seconds)` waits and returns True to keep waiting for the run that has the lease. `quota` is that of the
        account's API key, which other runs may have used before.

        Raises:
            AccountBusy: another run has the lease; the message has its process, id and start.
            LedgerError: the lease cannot be taken.
        """
        start = self._clock()

        async def wait(seconds: float, patience: float = 0.0, /) -> bool:
            return self._clock() < start + max(self._lock_timeout, patience) and await pause(seconds)

        async with self._leases.lease(subject, wait, self._commits, quota) as token:
            try:
                yield self._account_ledger(subject, token)
            finally:
                # responses are recorded under the lease
                with suppress(LedgerError):
                    await self._commits.drain()

    async def recall(self, key: str) -> AccountMemory:
        """Return the memory of an account.

        Raises:
            LedgerError: the ledger cannot be read.
        """
        return await self._commits.run(lambda connection: writes.recall(connection, key))

    async def record(self, subject: Subject, result: AccountResult, confirmed: Mapping[str, Status]) -> None:
        """Record the result of an account whose plan was not applied, if there is anything to record.

        Raises:
            LedgerError: the result could not be recorded.
        """
        await self._account_ledger(subject).finish(result, confirmed)

    async def record_reads(self, recorded: Sequence[reads.RecordedRead]) -> None:
        """Record the state of accounts after the run, for the status page.

        Raises:
            LedgerError: the state could not be recorded.
        """
        await self._commits.run(lambda connection: reads.record_reads(connection, recorded))

    async def finish(self, outcome: RunOutcome) -> None:
        """Record the end of the run. Delete the oldest other runs if the ledger is too large.

        Raises:
            LedgerError: the end could not be recorded.
        """
        self._finished = True
        await self._commits.run(lambda connection: writes.finish_run(connection, self._run.id, outcome, self._now()))
        # the run stays recorded even if old runs cannot be deleted, as on a full disk
        with suppress(LedgerError):
            await self._commits.run(self._trim)

    def _trim(self, connection: Connection) -> None:
        if retention.trim(connection, self._database.used_bytes, self._max_bytes, current_run=self._run.id):
            self._database.shrink(connection)

    def _account_ledger(self, subject: Subject, token: int | None = None) -> LeasedAccountLedger:
        return LeasedAccountLedger(self._commits, self._leases, self._run.id, subject, now=self._now, token=token)


def forget(database: Database, time_limit: str, *, program: str, now: Callable[[], str]) -> int:
    """Delete the runs that ended before a time (UTC, ISO 8601, Z) and left nothing open. Return the count of runs.

    `program` and `now` are for the record of a migration of the ledger.

    Raises:
        LedgerError: the ledger cannot be written.
    """
    database.probe()
    with database.read(skip_check=True) as connection:
        if connection is None:
            return 0
    try:
        with closing(database.connect(program=program, now=now)) as connection, transaction(connection):
            deleted_count = retention.prune(connection, time_limit)
            database.shrink(connection)
            return deleted_count
    except sqlite3.Error as error:
        raise database.unusable(str(error)) from None


def _is_unremarkable(result: AccountResult) -> bool:
    return result.outcome is RunOutcome.CONVERGED and not result.requests.writes
