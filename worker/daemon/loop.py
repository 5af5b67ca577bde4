"""The watch loop, which runs passes when they are due, reloads files and settings, and reports its health.

One pass runs at a time. `worker.daemon.scheduler` decides which accounts are due, and `worker.daemon.passes` reads and
writes them.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Final, Protocol

from msgspec import structs

from worker.config.settings import Settings
from worker.daemon import suspension
from worker.daemon.files import WatchedFiles
from worker.daemon.passes import Pass, Passes
from worker.daemon.scheduler import DueWork, Scheduler
from worker.daemon.systemd import Systemd
from worker.model.accounts import DesiredAccount
from worker.model.errors import DesiredStateError, Interrupted, SettingsError
from worker.model.messages import Message, join
from worker.model.results import RunOutcome
from worker.model.schedule import next_change
from worker.model.suspension import Suspend
from worker.model.times import DEFAULT_ZONE, format_utc_ms
from worker.plan.build import Terms
from worker.solapi.runtime import Runtime
from worker.telemetry.logs import Logger

__all__ = ["NAP", "PassListener", "WatchLoop"]

NAP: Final = 30.0
"""Longest sleep in seconds between two checks of clock and files.

It is short because the clock can be set, and the machine can be suspended, during a sleep.
"""
_STALE_NAPS: Final = 3
_SHORTEST: Final = 0.001
"""Shortest sleep in seconds: the resolution of timers."""
_SHOWN: Final = 3
"""Maximum count of problems of a broken file in a log line."""


class PassListener(Protocol):
    """Listener for passes and events, such as metrics or notifications. It must neither raise nor block."""

    def on_pass(self, finished_pass: Pass) -> None:
        """Receive the result of a pass."""
        ...

    def on_event(self, event: str, fields: Mapping[str, Any]) -> None:
        """Receive a log event whose name starts with `watch.`, except `watch.pass`, with its fields."""
        ...


class WatchLoop:
    """The loop that reconciles accounts until `stop` is called.

    `reload_settings` loads settings and terms again, and raises SettingsError if they are invalid. `new_run_id` returns
    the run id of the next pass. With `read_only`, no account is written. `longest_sleep` is the maximum time in
    seconds between two checks of the clock and the files.
    """

    def __init__(
        self,
        files: WatchedFiles,
        passes: Passes,
        scheduler: Scheduler,
        log: Logger,
        *,
        settings: Settings,
        reload_settings: Callable[[], tuple[Settings, Terms]],
        new_run_id: Callable[[], str],
        read_only: bool = False,
        listeners: Sequence[PassListener] = (),
        systemd: Systemd | None = None,
        runtime: Runtime | None = None,
        longest_sleep: float = NAP,
    ) -> None:
        self._files = files
        self._passes = passes
        self._scheduler = scheduler
        self._log = log
        self._settings = settings
        self._reload_settings = reload_settings
        self._new_run_id = new_run_id
        self._read_only = read_only
        self._listeners = listeners
        self._systemd = systemd or Systemd({})
        self._runtime = runtime or Runtime()
        self._longest_sleep = longest_sleep
        self._wake = asyncio.Event()
        self._reload = False
        self._stop_reason: Interrupted | None = None
        self._suspensions: dict[str | None, Suspend] = {}
        self._broken_settings: SettingsError | None = None
        self._in_pass = False
        self._last: Pass | None = None
        self._latest = self._now()
        self._last_step = self._runtime.clock()

    @property
    def last(self) -> Pass | None:
        """The last finished pass; None before the end of the first pass."""
        return self._last

    @property
    def next_pass(self) -> datetime:
        """The time of the next pass over all accounts."""
        return self._scheduler.next_pass

    @property
    def accounts(self) -> Sequence[DesiredAccount]:
        """The managed accounts, each from the last valid version of its files."""
        return self._files.accounts

    @property
    def suspended(self) -> Mapping[str | None, Suspend]:
        """The suspensions in force by account; the key None is a suspension of all accounts."""
        return self._suspensions

    @property
    def broken(self) -> Mapping[str, DesiredStateError | SettingsError]:
        """The files whose current version is invalid, with their problems. The key `settings` is the settings file."""
        invalid_files: dict[str, DesiredStateError | SettingsError] = dict(self._files.broken)
        return invalid_files if self._broken_settings is None else invalid_files | {"settings": self._broken_settings}

    def why_not_alive(self) -> str | None:
        """Return why the daemon should be restarted, or None if it is alive."""
        seconds = self._runtime.clock() - self._last_step
        if self._in_pass or seconds <= _STALE_NAPS * self._longest_sleep:
            return None
        return Message("the watch loop has not run for {seconds:.0f} seconds", seconds=seconds)

    def why_not_ready(self) -> str | None:
        """Return why the current files are not in force, or None if they are."""
        if self._last is None:
            return Message("the first pass has not ended yet")
        if self.broken:
            return Message("using the last valid version of {files}", files=tuple(sorted(self.broken)))
        return None

    def stop(self, reason: Interrupted) -> None:
        """Start no further pass. `run` returns when in-flight writes have finished and are verified."""
        self._stop_reason = reason
        self._report("watch.stopping", error_code=reason.code, error_message=str(reason))
        self._systemd.notify_stopping()
        self._passes.interrupt(reason)
        self._wake.set()

    def reload(self) -> None:
        """Request that the loop reads settings and files again, then starts a pass."""
        self._reload = True
        self._wake.set()

    async def run(self, **fields: Any) -> None:
        """Run passes until `stop` is called. `fields` are added to the first log event, `watch.started`."""
        self._report("watch.started", accounts=len(self._files.accounts), **fields)
        watchdog = asyncio.ensure_future(self._beat())
        self._expect(self._files.accounts, self._now())
        self._systemd.notify_ready()
        try:
            while self._stop_reason is None:
                await self._step()
        finally:
            watchdog.cancel()

    async def _step(self) -> None:
        """Check clock and files, then run a pass over the due accounts, or sleep until an account may be due."""
        self._last_step = self._runtime.clock()
        now = self._now()
        since = min(self._latest, now)
        if now < self._latest:
            self._scheduler.limit_waits(now)
            self._expect(self._files.accounts, now)
        self._latest = now
        if self._reload:
            self._reload = False
            self._reload_all(now)
        else:
            self._refresh_files(since)
        self._update_suspensions(now)
        due = self._scheduler.due_work(now, [account.name for account in self._files.accounts])
        if due.is_tick or due.accounts:
            await self._pass(due, now)
            return
        await self._sleep((self._scheduler.next_wake() - now).total_seconds())

    async def _pass(self, due: DueWork, now: datetime) -> None:
        accounts = [account for account in self._files.accounts if account.name in due.accounts]
        read_only_accounts = frozenset(
            account.name
            for account in accounts
            if self._read_only or None in self._suspensions or account.name in self._suspensions
        )
        self._in_pass = True
        try:
            result = await self._passes.run(self._new_run_id(), accounts, read_only_accounts, now, self._files.others)
        finally:
            self._in_pass = False
        if not accounts and self._files.accounts and result.outcome is RunOutcome.CONVERGED:
            # every account backs off after a failure
            result = structs.replace(result, outcome=RunOutcome.FAILED)
        has_overrun = self._scheduler.finish_pass(now, self._now()) if due.is_tick else False
        # a transition during the pass is due right after it
        self._expect(accounts, now)
        self._last = result
        if self._stop_reason is None:
            self._back_off(result)
        self._report_pass(result, due, has_overrun=has_overrun)

    def _back_off(self, result: Pass) -> None:
        for account_pass in result.accounts:
            account = account_pass.plan.account
            if not account_pass.has_failed:
                self._scheduler.end_backoff(account)
                continue
            seconds = self._scheduler.back_off(account, result.ended_at)
            self._report(
                "watch.backoff",
                is_warning=True,
                account=account,
                attempts=self._scheduler.backoffs[account],
                duration_ms=round(seconds * 1000),
            )

    def _report_pass(self, result: Pass, due: DueWork, *, has_overrun: bool) -> None:
        next_pass = self._scheduler.next_pass
        for listener in self._listeners:
            listener.on_pass(result)
        fields: dict[str, object] = {
            "run_id": result.run_id,
            "trigger": "rhythm" if due.is_tick else "transition",
            "outcome": result.outcome,
            "accounts": len(result.accounts),
            "counts": result.counts,
            "duration_ms": round((result.ended_at - result.started_at).total_seconds() * 1000),
            "next": _stamp(next_pass),
            "overran": True if has_overrun else None,
        }
        if result.error is not None:
            fields |= {"error_code": result.error.code, "error_message": str(result.error)}
        (self._log.warning if has_overrun or result.error is not None else self._log.info)("watch.pass", **fields)
        self._systemd.notify_status(f"{result.outcome} at {_stamp(result.ended_at)}; next pass at {_stamp(next_pass)}")

    def _reload_all(self, now: datetime) -> None:
        self._systemd.notify_reloading()
        try:
            settings, terms = self._reload_settings()
        except SettingsError as error:
            self._broken_settings = error
        else:
            self._broken_settings = None
            self._settings = settings
            self._passes.use(settings, terms)
        self._refresh_files(now, read_all=True)
        self._expect(self._files.accounts, now)
        self._scheduler.start_pass_now(now)
        error_now = self._broken_settings
        self._report(
            "watch.reloaded",
            is_warning=error_now is not None,
            accounts=len(self._files.accounts),
            error_code=None if error_now is None else error_now.code,
            error_message=None
            if error_now is None
            else Message("the previous settings stay in force: {problems}", problems=_problem_list(error_now)),
        )
        self._systemd.notify_ready()

    def _refresh_files(self, transitions_after: datetime, *, read_all: bool = False) -> None:
        """Read files that may have changed, and schedule the transitions of changed accounts after `transitions_after`.

        A transition whose time has passed is due immediately.
        """
        changes = self._files.refresh(read_all=read_all)
        for file, error in changes.problems.items():
            self._report(
                "watch.file_broken",
                is_warning=True,
                file=file,
                error_code=error.code,
                error_message=_problem_list(error),
            )
        for file in changes.fixed_files:
            self._report("watch.file_mended", file=file)
        for file in changes.removed_files:
            self._report("watch.file_removed", is_warning=True, file=file)
        for name in changes.removed_accounts | changes.changed_accounts:
            self._scheduler.forget(name)
            self._passes.forget(name, is_removed=name in changes.removed_accounts)
        if changes.changed_accounts:
            self._expect(
                [account for account in self._files.accounts if account.name in changes.changed_accounts],
                transitions_after,
            )

    def _update_suspensions(self, now: datetime) -> None:
        current: dict[str | None, Suspend] = {}
        fleet_suspension = suspension.in_force(self._settings.suspend, self._settings.maintenance, DEFAULT_ZONE, now)
        if fleet_suspension is not None:
            current[None] = fleet_suspension
        for account in self._files.accounts:
            account_suspension = suspension.in_force(account.suspend, account.maintenance, account.timezone, now)
            if account_suspension is not None:
                current[account.name] = account_suspension
        suspensions_before, self._suspensions = self._suspensions, current
        for name, suspend in current.items():
            if suspensions_before.get(name) != suspend:
                self._report(
                    "watch.suspended", account=name, reason=suspend.reason, by=suspend.by, until=_stamp(suspend.ends)
                )
        for name in suspensions_before.keys() - current.keys():
            self._report("watch.resumed", account=name)

    def _expect(self, accounts: Sequence[DesiredAccount], after: datetime) -> None:
        """Schedule the next transition of each account, which is a change of its desired state or of a suspension."""
        settings = self._settings
        fleet_edges = tuple(suspension.edges(settings.suspend, settings.maintenance, DEFAULT_ZONE, after))
        for account in accounts:
            account_edges = suspension.edges(account.suspend, account.maintenance, account.timezone, after)
            change = next_change(account, after)
            times = (*fleet_edges, *account_edges, *([] if change is None else [change]))
            self._scheduler.expect(account.name, min(times, default=None))

    async def _sleep(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(min(max(seconds, _SHORTEST), self._longest_sleep)):
                await self._wake.wait()
        self._wake.clear()

    async def _beat(self) -> None:
        """Send keep-alive notifications to a service manager with a watchdog, while the loop is alive."""
        seconds = self._systemd.watchdog
        while seconds is not None:
            if self.why_not_alive() is None:
                self._systemd.notify_alive()
            await asyncio.sleep(seconds)

    def _report(self, event: str, *, is_warning: bool = False, **fields: Any) -> None:
        (self._log.warning if is_warning else self._log.info)(event, **fields)
        for listener in self._listeners:
            listener.on_event(event, fields)

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._runtime.wall(), UTC)


def _stamp(moment: datetime | None) -> str | None:
    return None if moment is None else format_utc_ms(moment)


def _problem_list(error: DesiredStateError | SettingsError) -> str:
    more_count = len(error.problems) + error.omitted_count - _SHOWN
    problems = join(map(str, error.problems[:_SHOWN]), "; ")
    return Message("{problems}; and {count} more", problems=problems, count=more_count) if more_count > 0 else problems
