"""The worker of `senderid fleet worker`, wired together."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING, Final

import msgspec

from worker import __version__
from worker.cli.exit_status import ExitStatus, overall
from worker.cli.ledger import LedgerOptions, fleet_database, read_only
from worker.cli.runner import Session, new_run_id, now
from worker.cli.services import Services
from worker.config.settings import Settings
from worker.daemon.fleet import Admission, FleetWorker
from worker.daemon.fleet.agenda import AgendaThread
from worker.daemon.passes import Pass, Passes
from worker.daemon.scheduler import LONGEST_REST
from worker.ledger import Ledger, NullLedger
from worker.ledger.postgres.agenda import Agenda, Balance, QueueLength
from worker.ledger.postgres.leases import PostgresLeases, SharedLeases
from worker.model.accounts import AccountMemory
from worker.plan.build import Terms
from worker.plan.policy import Selection
from worker.telemetry.fleet_metrics import FleetMetrics

if TYPE_CHECKING:
    from worker.daemon.loop import PassListener
    from worker.daemon.passes import PassLedger
    from worker.telemetry.metrics import Metrics

__all__ = ["run_worker"]

_COMMAND: Final = "fleet worker"


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
    async with _leased(settings, run.run_id, every) as (leases, agenda):
        log = run.log.bind(worker=leases.worker)
        recorder = services.recorder(log)
        worker: FleetWorker
        passes = Passes(
            settings,
            Terms.of(settings, Selection(), frozenset()),
            run.transport,
            services.resolver,
            log,
            ledgers=_Ledgers(settings, leases, memories),
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
                settings=settings,
                every=every,
                new_run_id=begin,
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
async def _leased(settings: Settings, run_id: str, every: float) -> AsyncIterator[tuple[PostgresLeases, AgendaThread]]:
    """Hold the leases of the worker inside the `async with` block."""
    database = fleet_database(settings)
    connection = database.connect(program=__version__, now=now)
    run = LedgerOptions(_COMMAND).run_info(settings, run_id, now)
    leases = PostgresLeases(
        run,
        settings.timeout.total_seconds + settings.rate_limit.per_seconds,
        database.open,
        is_fleet=True,
    )
    agenda = AgendaThread(
        Agenda(
            connection,
            leases,
            every=every,
            longest_rest=LONGEST_REST,
            window_seconds=settings.rate_limit.per_seconds,
        )
    )
    try:
        leases.start(connection)
        yield leases, agenda
    finally:
        agenda.close()
        leases.stop()
        connection.close()


class _Ledgers:
    """Source of the ledgers of slices, which share the leases of the worker.

    `memories` has the memories of the accounts in progress. Those that it lacks are read one by one.
    """

    def __init__(self, settings: Settings, leases: PostgresLeases, memories: dict[str, AccountMemory]) -> None:
        self._settings = settings
        self._leases = leases
        reader = read_only(settings)

        async def recall(key: str) -> AccountMemory:
            memory = memories.get(key)
            return await reader.recall(key) if memory is None else memory

        self._memory = NullLedger(recall)

    @property
    def memory(self) -> NullLedger:
        """The memory of earlier runs, read-only."""
        return self._memory

    def open(self, run_id: str) -> "AbstractAsyncContextManager[PassLedger]":
        """Return the ledger of a slice as a context manager, which opens it."""
        leases = SharedLeases(self._leases)
        ledger: Ledger = LedgerOptions(_COMMAND).open(self._settings, run_id, now, leases=leases)
        return ledger


class _Listener:
    """Listener that updates the metrics of the worker, and passes the results of slices on."""

    def __init__(self, metrics: FleetMetrics, listeners: "list[PassListener]") -> None:
        self._metrics = metrics
        self._listeners = listeners

    def on_pass(self, finished_pass: Pass) -> None:
        """Record the result of a slice."""
        self._metrics.record_accounts(len(finished_pass.accounts))
        for listener in self._listeners:
            listener.on_pass(finished_pass)

    def on_balance(self, balance: Balance) -> None:
        """Record the lanes."""
        self._metrics.record_balance(balance.held, balance.workers, balance.taken_over)

    def on_queue(self, queue: QueueLength) -> None:
        """Record the queue."""
        self._metrics.record_queue(queue.due, queue.oldest_seconds, queue.publish_lag_seconds)
