"""`senderid watch`: run passes until a signal ends it."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import click

from worker.cli import complete, load, options
from worker.cli.options import address
from worker.model.errors import UsageError
from worker.model.messages import Message
from worker.render.i18n import gettext as _
from worker.render.i18n import translate

if TYPE_CHECKING:
    from worker.cli.runner import Session
    from worker.cli.services import Services
    from worker.config.settings import Settings
    from worker.daemon.files import WatchedFiles
    from worker.daemon.loop import WatchLoop
    from worker.daemon.passes import PassLedger
    from worker.daemon.scheduler import Trigger
    from worker.ledger import NullLedger
    from worker.plan.build import Terms

__all__ = ["command"]

_EVERY: Final = 300.0
_KOREA: Final = "Asia/Seoul"


@click.command("watch")
@options.more_files
@options.watch_options
@click.option("--every", type=options.DURATION, metavar="TIME", help="Time between passes: 30s, 5m, 1h. [5m]")
@click.option(
    "--cron",
    metavar="EXPRESSION",
    help='Start passes on a cron schedule instead of --every, such as "*/5 9-18 * * 1-5".',
)
@click.option("--timezone", metavar="ZONE", shell_complete=complete.zones, help=f"Time zone of --cron. [{_KOREA}]")
@click.option(
    "--jitter",
    type=options.DURATION,
    default=0.0,
    metavar="TIME",
    help="Maximum random delay of each pass. [no delay]",
)
@click.option("--dry-run", is_flag=True, help="Report differences without writing.")
@click.option(
    "--listen",
    metavar="ADDRESS",
    help="Serve /metrics, /healthz, /readyz and the status page: 127.0.0.1:9464, :9464. [not served]",
)
@options.token
def command(
    *,
    every: float | None,
    cron: str | None,
    timezone: str | None,
    jitter: float,
    dry_run: bool,
    listen: str | None,
    **common: Any,
) -> int:
    """Reconcile accounts with their files continuously, without prompts.

    Safety rules apply as in `apply`. Changed files are read again. If a file is invalid, its last valid version stays
    in force. SIGHUP reloads settings and files, and starts a pass. SIGTERM and SIGINT end the process after in-flight
    requests, with exit status 143 and 130.
    """
    # during the start, nothing can be reloaded yet, but SIGHUP must not end the process
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    common_options = options.Common.of(output_format="text", output=None, **common)
    if "-" in common_options.paths:
        raise UsageError(Message("standard input cannot be read again: give files or folders with -f"))
    trigger, description = _trigger(every, cron, timezone)
    if cron is None and jitter >= (every or _EVERY):
        raise UsageError(Message("--jitter must be shorter than the time between passes"))
    settings = load.load_settings(common_options.settings_path, common_options.overrides)

    from worker.cli import ledger, runner
    from worker.cli import services as monitoring
    from worker.cli.metrics import RunMetrics
    from worker.telemetry.metrics import Metrics

    listen_address = None if listen is None else address(listen)
    files = _files(common_options, settings)
    terms = _terms(common_options, settings, files)
    if not dry_run:
        ledger.ledger_database(settings).probe()
    metrics = Metrics(accounts=settings.metrics.accounts)
    metrics.set_interval(_interval(trigger))
    services = monitoring.Services(settings, metrics, listen_address)
    daemon = _Daemon(common_options, settings, terms, files, services)

    async def verb(run: "Session") -> int:
        return await daemon.run(run, trigger, description, jitter=jitter, dry_run=dry_run)

    return runner.run(
        verb, settings, resolver=services.resolver, no_color=common_options.no_color, metering=RunMetrics(metrics)
    )


class _Daemon:
    """The daemon: its files, settings and services."""

    def __init__(
        self,
        common: options.Common,
        settings: "Settings",
        terms: "Terms",
        files: "WatchedFiles",
        services: "Services",
    ) -> None:
        self._common = common
        self._settings = settings
        self._terms = terms
        self._files = files
        self._services = services

    async def run(self, run: "Session", trigger: "Trigger", description: str, *, jitter: float, dry_run: bool) -> int:
        """Run passes until a signal arrives. Return the exit status."""
        from worker.cli.exit_status import ExitStatus, overall
        from worker.daemon.loop import WatchLoop
        from worker.daemon.passes import Passes
        from worker.daemon.scheduler import Scheduler
        from worker.daemon.systemd import Systemd
        from worker.solapi.runtime import Runtime

        settings, resolver = self._settings, self._services.resolver
        runtime = Runtime()
        recorder = None if dry_run else self._services.recorder(run.log)
        passes = Passes(
            settings,
            self._terms,
            run.transport,
            resolver,
            run.log,
            ledgers=_Ledgers(settings),
            conclude=overall,
            recorder=recorder,
        )
        async with self._services.run(self._names, lambda: passes.quotas, run.log, recorder) as (monitor, listeners):
            watch = WatchLoop(
                self._files,
                passes,
                Scheduler(trigger, datetime.now(UTC), uniform=runtime.uniform, jitter=jitter),
                run.log,
                settings=settings,
                reload_settings=self._reread,
                new_run_id=self._begin,
                read_only=dry_run,
                listeners=listeners,
                systemd=Systemd(os.environ),
            )
            monitor.follow(watch)
            async with _signals(watch, run):
                await watch.run(rhythm=description, mode="dry-run" if dry_run else "apply")
        return ExitStatus.OK

    def _names(self) -> list[str]:
        return [account.name for account in self._files.accounts]

    def _reread(self) -> "tuple[Settings, Terms]":
        from worker.plan.build import Terms

        settings = load.load_settings(self._common.settings_path, self._common.overrides)
        self._files.check = load.document_checks(settings.endpoint)
        return settings, Terms.of(settings, self._terms.selection, self._terms.allow)

    def _begin(self) -> str:
        from worker.cli import runner

        self._services.resolver.forget()
        return runner.new_run_id()


@asynccontextmanager
async def _signals(watch: "WatchLoop", run: "Session") -> AsyncIterator[None]:
    """Reload on SIGHUP, and stop the loop when the session is stopped, inside the `async with` block."""

    async def end() -> None:
        await run.stop_event.wait()
        if run.fleet.interrupted is not None:
            watch.stop(run.fleet.interrupted)

    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGHUP, watch.reload)
    ending = asyncio.ensure_future(end())
    try:
        yield
    finally:
        ending.cancel()
        loop.remove_signal_handler(signal.SIGHUP)
        # during the shutdown, nothing is reloaded, but SIGHUP must not interrupt it
        signal.signal(signal.SIGHUP, signal.SIG_IGN)


class _Ledgers:
    """Ledgers of passes, at the path that the settings had at the start of the daemon."""

    def __init__(self, settings: "Settings") -> None:
        from worker.cli.ledger import read_only

        self._settings = settings
        self._memory = read_only(settings)

    @property
    def memory(self) -> "NullLedger":
        """The memory of earlier runs, read-only."""
        return self._memory

    def open(self, run_id: str) -> "AbstractAsyncContextManager[PassLedger]":
        """Return the ledger of a pass as a context manager, which opens it."""
        from worker.cli.ledger import LedgerOptions
        from worker.cli.runner import now

        return LedgerOptions("watch").open(self._settings, run_id, now)


def _trigger(every: float | None, cron: str | None, timezone: str | None) -> "tuple[Trigger, str]":
    from worker.daemon.scheduler import Interval
    from worker.daemon.scheduler import cron as of_expression
    from worker.model.times import load_zone as of_name
    from worker.model.zones import zone_warning

    if cron is None:
        if timezone is not None:
            raise UsageError(Message("--timezone requires --cron"))
        seconds = _EVERY if every is None else every
        if seconds < 1:
            raise UsageError(Message("--every must be at least 1s"))
        return Interval(seconds), f"every {seconds:g} s"
    if every is not None:
        raise UsageError(Message("--every and --cron cannot be combined"))
    try:
        zone = of_name(timezone or _KOREA)
    except ValueError as error:
        raise UsageError(
            Message("--timezone {timezone!r}: {error}", timezone=timezone or "", error=str(error))
        ) from None
    if warning := zone_warning(zone.key):
        click.echo(_("warning: --timezone {warning}").format(warning=translate(warning)), err=True)
    try:
        return of_expression(cron, zone, datetime.now(UTC)), f"cron {cron} {zone.key}"
    except ValueError as error:
        raise UsageError(Message("--cron {cron!r}: {error}", cron=cron, error=str(error))) from None


def _interval(trigger: "Trigger") -> float:
    """Return the seconds between the next two passes. Later passes of a cron expression may be further apart."""
    first = trigger.next_start(datetime.now(UTC))
    return (trigger.next_start(first) - first).total_seconds()


def _files(common: options.Common, settings: "Settings") -> "WatchedFiles":
    from worker.daemon.files import WatchedFiles

    files = WatchedFiles(load.desired_paths(common.paths), load.document_checks(settings.endpoint))
    load.print_warnings(files.load())
    files.narrow(load.match_accounts(common.accounts, files.accounts))
    return files


def _terms(common: options.Common, settings: "Settings", files: "WatchedFiles") -> "Terms":
    selection = load.parse_selection(common, files.accounts, files.others)
    rules = load.parse_rules(common.allow)

    from worker.plan.build import Terms

    return Terms.of(settings, selection, rules)
