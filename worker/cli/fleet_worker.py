"""The worker of `senderid fleet worker`, wired together."""

import asyncio
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, closing, suppress
from typing import TYPE_CHECKING, Final

import msgspec

from worker import __version__
from worker.cli.exit_status import ExitStatus, overall
from worker.cli.ledger import LedgerOptions, fleet_database
from worker.cli.runner import Session, new_run_id, now
from worker.cli.services import Services
from worker.config.settings import Settings
from worker.daemon.fleet import Admission, FleetWorker
from worker.daemon.fleet.agenda import AgendaThread
from worker.daemon.passes import Pass, Passes
from worker.daemon.scheduler import LONGEST_REST
from worker.ledger import Ledger, NullLedger
from worker.ledger.batches import Batches
from worker.ledger.group_commit import GroupCommits
from worker.ledger.postgres.agenda import Agenda, Balance, QueueLength, give_up
from worker.ledger.postgres.database import PostgresDatabase
from worker.ledger.postgres.leases import PostgresLeases
from worker.model.accounts import AccountMemory
from worker.model.errors import LeaseLost, LedgerError
from worker.model.results import RunOutcome
from worker.plan.build import Terms
from worker.plan.policy import Selection
from worker.telemetry.fleet_metrics import FleetMetrics

if TYPE_CHECKING:
    from worker.daemon.loop import PassListener
    from worker.daemon.passes import PassLedger
    from worker.telemetry.metrics import Metrics

__all__ = ["run_worker"]

_COMMAND: Final = "fleet worker"
_RETRY_SECONDS: Final = 0.5
"""Time in seconds between two attempts to reach the database."""


async def run_worker(run: Session, settings: Settings, services: Services, metrics: "Metrics", every: float) -> int:
    """Run a worker until a signal arrives. Return the exit status.

    Raises:
        LedgerError: the database cannot be used, or the leases of the worker have ended.
    """
    # the fleet has a limit for all accounts together, and a canary for each revision
    safety = msgspec.structs.replace(settings.safety, fleet_wide="100%")
    canary = msgspec.structs.replace(settings.canary, accounts=0)
    settings = msgspec.structs.replace(settings, safety=safety, canary=canary)
    memories: dict[str, AccountMemory] = {}
    async with _leased(settings, run, every) as (leases, agenda, commits):
        log = run.log.bind(worker=leases.worker)
        recorder = services.recorder(log)
        worker: FleetWorker
        ledgers = _Ledgers(settings, leases, commits, agenda, memories)
        passes = Passes(
            settings,
            Terms.of(settings, Selection(), frozenset()),
            run.transport,
            services.resolver,
            log,
            ledgers=ledgers,
            conclude=overall,
            admit=Admission(agenda, settings.endpoint, log),
            recorder=recorder,
        )

        forgotten_at = time.monotonic()

        def begin() -> str:
            nonlocal forgotten_at
            if time.monotonic() - forgotten_at >= every:
                services.resolver.forget()
                forgotten_at = time.monotonic()
            return new_run_id()

        async with services.run(lambda: worker.names, lambda: passes.quotas, log, recorder) as (monitor, listeners):
            worker = FleetWorker(
                agenda,
                passes,
                services.resolver,
                memories,
                log,
                leases=leases,
                settings=settings,
                every=every,
                new_run_id=begin,
                conclude=overall,
                end_run=ledgers.end,
                listeners=[_Listener(FleetMetrics(metrics.registry), listeners)],
            )
            monitor.follow(worker)
            stopping = asyncio.ensure_future(_stop(run, worker))
            try:
                await worker.run()
            finally:
                stopping.cancel()
    return ExitStatus.OK


async def _stop(run: Session, worker: FleetWorker) -> None:
    await run.stop_event.wait()
    if run.fleet.interrupted is not None:
        worker.stop(run.fleet.interrupted)


@asynccontextmanager
async def _leased(
    settings: Settings, run: Session, every: float
) -> AsyncIterator[tuple[PostgresLeases, AgendaThread, GroupCommits]]:
    """Yield the leases of the worker, the thread of its agenda and the group commits of its runs.

    Release the leases at the end.
    """
    database = fleet_database(settings)
    window_seconds = settings.rate_limit.per_seconds
    leases = PostgresLeases(
        LedgerOptions(_COMMAND).run_info(settings, run.run_id, now),
        settings.timeout.total_seconds + window_seconds,
        database.open,
        is_fleet=True,
    )
    with (
        closing(database.connect(program=__version__, now=now)) as agenda_connection,
        closing(database.open()) as connection,
        ThreadPoolExecutor(1, thread_name_prefix="ledger") as thread,
    ):
        agenda = AgendaThread(Agenda(agenda_connection, leases, every=every, longest_rest=LONGEST_REST))
        try:
            leases.start(agenda_connection)
            leases.attach(connection)
            yield (
                leases,
                agenda,
                GroupCommits(connection, leases, submit=thread.submit, now=now, unusable=database.unusable),
            )
        except LedgerError as error:
            leases.stop()
            await _give_up(database, leases, window_seconds, run, error)
            raise
        finally:
            agenda.close()
            leases.stop()


async def _give_up(
    database: PostgresDatabase, leases: PostgresLeases, window_seconds: float, run: Session, error: LedgerError
) -> None:
    """Release what the worker has as soon as the database can be used again, unless its leases end before.

    No request is in flight any more. A signal ends the wait.
    """
    is_waiting = False
    while not isinstance(error, LeaseLost) and leases.rest_seconds > 0 and not run.stop_event.is_set():
        try:
            with closing(await asyncio.to_thread(database.open)) as connection:
                give_up(connection, leases, window_seconds)
        except LedgerError:
            if not is_waiting:
                is_waiting = True
                run.log.warning("fleet.waiting", worker=leases.worker, error_code=error.code, error_message=str(error))
            with suppress(TimeoutError):
                await asyncio.wait_for(run.stop_event.wait(), _RETRY_SECONDS)
        else:
            return


class _Ledgers:
    """Ledgers of slices. All of them share the connection and the leases of the worker.

    `memories` are those of the accounts in progress. A missing one is read from the database.
    """

    def __init__(
        self,
        settings: Settings,
        leases: PostgresLeases,
        commits: GroupCommits,
        agenda: AgendaThread,
        memories: dict[str, AccountMemory],
    ) -> None:
        self._settings = settings
        self._leases = leases
        self._commits = commits
        self._runs: dict[str, asyncio.Task[Ledger]] = {}

        async def read(keys: list[str]) -> list[AccountMemory]:
            memories = await agenda(Agenda.memories, keys)
            return [memories[key] for key in keys]

        reads = Batches(read, only_reads=True)

        async def recall(key: str) -> AccountMemory:
            memory = memories.get(key)
            return await reads(key) if memory is None else memory

        self._memory = NullLedger(recall)

    @property
    def memory(self) -> NullLedger:
        """The memory of earlier runs, read-only."""
        return self._memory

    @asynccontextmanager
    async def open(self, run_id: str) -> "AsyncIterator[PassLedger]":
        """Yield the ledger of a slice, for one of its accounts. The first one records the start of the run."""
        if run_id not in self._runs:
            self._runs[run_id] = asyncio.ensure_future(self._start(run_id))
        # an account that is cancelled must not cancel the start for the others
        yield _SliceLedger(await asyncio.shield(self._runs[run_id]))

    async def end(self, run_id: str, outcome: RunOutcome) -> None:
        """Record the end of a slice, if one of its accounts opened its ledger.

        Raises:
            LedgerError: the end could not be recorded.
        """
        run = self._runs.pop(run_id, None)
        if run is not None:
            await (await run).finish(outcome)

    async def _start(self, run_id: str) -> Ledger:
        ledger = LedgerOptions(_COMMAND).open(self._settings, run_id, now, leases=self._leases, commits=self._commits)
        return await ledger.__aenter__()


class _SliceLedger:
    """The ledger of a slice, as one of its accounts uses it."""

    def __init__(self, ledger: Ledger) -> None:
        self.lease = ledger.lease
        self.recall = ledger.recall
        self.record = ledger.record

    async def finish(self, outcome: RunOutcome) -> None:
        """Do nothing: the slice ends after its other accounts."""


class _Listener:
    """Listener that updates the metrics of the worker, and passes the results of slices on."""

    def __init__(self, metrics: FleetMetrics, listeners: "list[PassListener]") -> None:
        self._metrics = metrics
        self._listeners = listeners

    def on_pass(self, finished_pass: Pass) -> None:
        """Record the result of a pass over the accounts of one slice."""
        self._metrics.record_accounts(len(finished_pass.accounts))
        for listener in self._listeners:
            listener.on_pass(finished_pass)

    def on_balance(self, balance: Balance) -> None:
        """Record the counts of lanes and workers."""
        self._metrics.record_balance(balance.lanes, balance.workers, balance.taken_over)

    def on_queue(self, queue: QueueLength) -> None:
        """Record the length of the queue of the fleet."""
        self._metrics.record_queue(queue.due, queue.oldest_seconds, queue.publish_lag_seconds)
