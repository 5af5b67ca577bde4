"""Runner of a command on an event loop, with log, connections, ledger, metrics and signal handling."""

import asyncio
import gc
import os
import secrets
import signal
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager, suppress
from datetime import UTC, datetime
from errno import EIO, EPIPE
from typing import Final

import click

from worker.cli import network, signals
from worker.cli.credentials import CredentialsResolver
from worker.cli.exit_status import overall
from worker.cli.ledger import LedgerOptions, read_only
from worker.cli.metrics import RunMetrics
from worker.cli.output import uses_color
from worker.cli.progress import Progress
from worker.cli.tracing import Observers, trace_run
from worker.config.settings import Settings
from worker.ledger import Ledger, NullLedger
from worker.model.accounts import DesiredAccount
from worker.model.errors import Interrupted, LedgerError
from worker.model.messages import Message
from worker.model.plans import AccountPlan
from worker.model.results import AccountResult, Result
from worker.model.times import format_utc_ms
from worker.plan.build import Draft, Terms
from worker.plan.policy import Selection
from worker.reconcile.fleet import Fleet, as_worker_error
from worker.reconcile.reads import recorded_reads
from worker.render.i18n import translate
from worker.solapi.transport import Transport
from worker.telemetry import logs

__all__ = ["Session", "new_run_id", "now", "run", "total_counts"]


_DISCONNECTED: Final = frozenset({EIO, EPIPE})
"""Error numbers of a closed terminal, and of a pipe without a reader."""

_STOPPING: Final = Message("Stopping after in-flight requests; press Ctrl-C again to quit now.")


def now() -> str:
    """Return the current UTC time in the format of documents."""
    return format_utc_ms(datetime.now(UTC))


def new_run_id() -> str:
    """Return a new id for a run that starts now."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"


def total_counts(accounts: Iterable[AccountPlan] | Iterable[AccountResult]) -> dict[str, int]:
    """Return the counts of numbers over all accounts, by action or outcome."""
    counts = Counter[str]()
    for account in accounts:
        counts.update(account.counts)
    return dict(counts)


class Session:
    """The resources of a run: settings, fleet, log, progress bar, connections, ledger and metrics."""

    def __init__(
        self,
        settings: Settings,
        fleet: Fleet,
        log: logs.Logger,
        progress: Progress,
        *,
        run_id: str,
        stopped: asyncio.Event,
        transport: Transport,
        ledger: Ledger | None = None,
        metering: RunMetrics,
    ) -> None:
        self._ledger = ledger
        self.metering = metering
        self.transport = transport
        self.settings = settings
        self.stop_event = stopped
        self.fleet = fleet
        self.log = log
        self.progress = progress
        self.run_id = run_id
        self.started_at = now()
        self.prompt_seconds = 0.0

    def result(self, accounts: Sequence[AccountResult]) -> Result:
        """Return the result of the run, which ends now."""
        return Result(
            run_id=self.run_id,
            started_at=self.started_at,
            finished_at=now(),
            outcome=overall(account.outcome for account in accounts),
            prompt_ms=round(self.prompt_seconds * 1000),
            accounts=tuple(accounts),
        )

    async def record_reads(
        self,
        accounts: Sequence[DesiredAccount],
        drafts: Sequence[Draft],
        results: Sequence[AccountResult | None],
        terms: Terms,
    ) -> None:
        """Record the state of the accounts after the run in the ledger, unless the run is only over some numbers.

        `results` has None for an account whose plan was not applied.
        """
        if self._ledger is None or terms.selection != Selection():
            return
        try:
            recorded = recorded_reads(
                accounts,
                drafts,
                results,
                endpoint=self.settings.endpoint,
                at=now(),
                command="apply",
                run_id=self.run_id,
            )
            await self._ledger.record_reads(recorded)
        except Exception as error:  # noqa: BLE001 - what a page shows must not hide the result of the run
            # if the ledger cannot be written, `finish` reports it
            as_worker_error(error, self.log)

    async def finish(self, result: Result) -> LedgerError | None:
        """Record the end of the run in the ledger. Return the error if that fails."""
        if self._ledger is None:
            return None
        try:
            await self._ledger.finish(result.outcome)
        except LedgerError as error:
            return error
        return None


def run(
    verb: Callable[[Session], Awaitable[int]],
    settings: Settings,
    *,
    resolver: CredentialsResolver | None = None,
    no_color: bool = False,
    show_progress: bool = False,
    ledger_options: LedgerOptions | None = None,
    reads_ledger: bool = False,
    metering: RunMetrics | None = None,
) -> int:
    """Run `verb` in a session. Return its exit status or, if a signal arrived, the exit status of that signal.

    With `ledger_options`, the run is recorded in the ledger. With `reads_ledger`, the ledger is only read. `metering`
    records the metrics of the run, and delivers them at its end.

    Raises:
        LedgerError: the ledger cannot be written; no request was sent.
        UsageError: the settings of the network cannot be used; no request was sent.
    """
    resolver = resolver or CredentialsResolver(settings.secrets)
    metering = metering or RunMetrics()
    route = network.route(settings.network, resolver)
    terminal = sys.stderr.isatty()
    has_color = uses_color(sys.stderr, no_color=no_color)
    bar = Progress(enabled=show_progress and terminal)
    log_format = settings.log.format
    if log_format == "auto":
        log_format = "console" if terminal else "json"
    sink = logs.Sink(bar, is_buffered=log_format == "json")
    log = logs.configure(
        format=log_format,
        level=settings.log.level,
        sink=sink,
        color=has_color,
        secrets=resolver.secrets,
    )
    run_id = new_run_id()

    async def main() -> int:
        async with AsyncExitStack() as stack:
            ledger = None
            if ledger_options is not None:
                ledger = await stack.enter_async_context(ledger_options.open(settings, run_id, now))
            fleet_ledger = ledger or (read_only(settings) if reads_ledger else NullLedger())
            run_log = log.bind(run_id=run_id)
            stack.enter_context(logs.libraries_log_to(run_log))
            fleet_log, traces = stack.enter_context(trace_run(run_log, run_id))
            observer = Observers.of(metering.metrics, traces)
            transport = await stack.enter_async_context(Transport(settings.timeout, observer, route))
            fleet = Fleet(
                settings, transport, resolver, fleet_log, ledger=fleet_ledger, records_numbers=ledger is not None
            )
            stop_event = asyncio.Event()
            with _signals(fleet, run_log, sink, bar, stop_event, is_json=log_format == "json") as received_signals, bar:
                session = Session(
                    settings,
                    fleet,
                    run_log,
                    bar,
                    run_id=run_id,
                    stopped=stop_event,
                    transport=transport,
                    ledger=ledger,
                    metering=metering,
                )
                try:
                    async with metering.during(fleet, run_log):
                        status = await verb(session)
                except (Interrupted, OSError) as error:
                    if not received_signals or (isinstance(error, OSError) and error.errno not in _DISCONNECTED):
                        raise
                    # the signal stopped the run before it had a result, or came with the end of terminal or reader
                    signals.abandon(sys.stdout)
                    return signals.status(received_signals[0])
            return signals.status(received_signals[0]) if received_signals else status

    gc.freeze()  # loaded code is never freed: exclude it from garbage collections
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            return runner.run(main())
    finally:
        sink.flush()


@contextmanager
def _signals(
    fleet: Fleet, log: logs.Logger, sink: logs.Sink, bar: Progress, stop_event: asyncio.Event, *, is_json: bool
) -> Iterator[list[signal.Signals]]:
    """Handle signals inside the `with` block. Yield the list of received signals.

    The first signal drains the run: in-flight requests finish, and no others start. The second one ends the process
    immediately. With `is_json`, only log lines are written to stderr.
    """
    received_signals: list[signal.Signals] = []

    def receive(number: signal.Signals) -> None:
        received_signals.append(number)
        if len(received_signals) > 1:
            bar.finish()
            sink.flush()
            os._exit(signals.status(number))
        stop_event.set()
        reason = Interrupted(Message("stopped by {name}; run again to continue", name=number.name))
        fleet.interrupt(reason)
        if is_json:
            log.warning("run.stopping", error_code=reason.code, error_message=_STOPPING)
            return
        with suppress(OSError):
            click.echo(translate(_STOPPING), err=True)

    with signals.on_loop(asyncio.get_running_loop(), receive):
        yield received_signals


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop
