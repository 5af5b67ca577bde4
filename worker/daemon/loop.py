"""The daemon: passes at their times, files and settings as they change, and the truth about both to whoever asks.

One pass at a time. What is due is decided by `worker.daemon.scheduler`, what a pass does by `worker.daemon.passes`.
"""

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Final, Protocol

from worker.config.settings import Settings
from worker.daemon import suspension
from worker.daemon.last_good import FileChanges
from worker.daemon.passes import Pass, Passes
from worker.daemon.scheduler import Due, Scheduler
from worker.daemon.systemd import Systemd
from worker.model.accounts import DesiredAccount
from worker.model.errors import DesiredStateError, Interrupted, SettingsError
from worker.model.schedule import next_transition
from worker.model.suspension import Maintenance, Suspend
from worker.model.times import DEFAULT_ZONE, format_utc_ms
from worker.plan.build import Terms
from worker.solapi.runtime import Ambient
from worker.telemetry.logs import Log

__all__ = ["NAP", "FileSource", "PassListener", "WatchLoop"]

NAP: Final = 30.0
"""Seconds after which clock and files are looked at again, at the latest: a clock may jump, and a machine sleep."""
_STALE_NAPS: Final = 3
_SHORTEST: Final = 0.001
"""Seconds: what timers can do."""
_SHOWN: Final = 3
"""Problems of a broken file that a log line names."""


class FileSource(Protocol):
    """The desired-state files, each as it last was when it was right."""

    @property
    def accounts(self) -> Sequence[DesiredAccount]:
        """Their accounts."""
        ...

    @property
    def others(self) -> Sequence[DesiredAccount]:
        """Accounts that they describe and that the daemon is not about."""
        ...

    @property
    def broken(self) -> Mapping[str, DesiredStateError]:
        """The files that do not count as they are now, and why."""
        ...

    def refresh(self, *, everything: bool = False) -> FileChanges:
        """Look again at those that seem to have changed, or at `everything`; what that brings."""
        ...


class PassListener(Protocol):
    """Who wants to know what happens, for metrics or messages. It must neither fail nor wait."""

    def passed(self, done: Pass) -> None:
        """A pass has ended."""
        ...

    def happened(self, event: str, fields: Mapping[str, Any]) -> None:
        """Something other was told in the log: one of the events `watch.…`."""
        ...


class WatchLoop:
    """Watches accounts until `stop`. `reread` gives settings and terms anew, and raises SettingsError.

    `held` never writes. `begin` makes the id of a pass that begins. `nap` is how many seconds it sleeps at most.
    """

    def __init__(
        self,
        files: FileSource,
        passes: Passes,
        agenda: Scheduler,
        log: Log,
        *,
        settings: Settings,
        reread: Callable[[], tuple[Settings, Terms]],
        begin: Callable[[], str],
        held: bool = False,
        listeners: Sequence[PassListener] = (),
        systemd: Systemd | None = None,
        ambient: Ambient | None = None,
        nap: float = NAP,
    ) -> None:
        self._files = files
        self._passes = passes
        self._agenda = agenda
        self._log = log
        self._settings = settings
        self._reread = reread
        self._begin = begin
        self._held = held
        self._listeners = listeners
        self._systemd = systemd or Systemd({})
        self._ambient = ambient or Ambient()
        self._nap = nap
        self._woken = asyncio.Event()
        self._reload = False
        self._stopped: Interrupted | None = None
        self._suspended: dict[str | None, Suspend] = {}
        self._broken_settings: SettingsError | None = None
        self._passing = False
        self._last: Pass | None = None
        self._latest = self._now()
        self._turned = self._ambient.clock()

    @property
    def last(self) -> Pass | None:
        """The last pass; None before the first has ended."""
        return self._last

    @property
    def accounts(self) -> Sequence[DesiredAccount]:
        """The accounts as their files say, each as it last was when it was right."""
        return self._files.accounts

    @property
    def suspended(self) -> Mapping[str | None, Suspend]:
        """What is not written to, by account; None stands for everything."""
        return self._suspended

    @property
    def broken(self) -> Mapping[str, DesiredStateError | SettingsError]:
        """The files that do not count as they are now, and why; the settings under the name `settings`."""
        wrong: dict[str, DesiredStateError | SettingsError] = dict(self._files.broken)
        return wrong if self._broken_settings is None else wrong | {"settings": self._broken_settings}

    def alive(self) -> str | None:
        """Why the daemon is to be restarted; None where it is well."""
        seconds = self._ambient.clock() - self._turned
        if self._passing or seconds <= _STALE_NAPS * self._nap:
            return None
        return f"the daemon has not looked at its clock for {seconds:.0f} seconds"

    def ready(self) -> str | None:
        """Why the daemon does not do all of what its files say now; None where it does."""
        if self._last is None:
            return "the first pass has not ended yet"
        if self.broken:
            return f"these count as they last were when they were right: {', '.join(sorted(self.broken))}"
        return None

    def stop(self, reason: Interrupted) -> None:
        """Start nothing more. `run` returns when what is under way is finished and proven."""
        self._stopped = reason
        self._tell("watch.stopping", error_code=reason.code, error_message=str(reason))
        self._systemd.stopping()
        self._passes.interrupt(reason)
        self._woken.set()

    def reload(self) -> None:
        """Read settings and files again, then begin a pass."""
        self._reload = True
        self._woken.set()

    async def run(self, **described: Any) -> None:
        """Watch until `stop`; `described` are fields of the first line."""
        self._tell("watch.started", accounts=len(self._files.accounts), **described)
        beating = asyncio.ensure_future(self._beat())
        self._expect(self._files.accounts, self._now())
        self._systemd.ready()
        try:
            while self._stopped is None:
                await self._turn()
        finally:
            beating.cancel()

    async def _turn(self) -> None:
        """Look at clock and files, then carry out what is due, or sleep until something may be."""
        self._turned = self._ambient.clock()
        now = self._now()
        if now < self._latest:
            self._agenda.turned_back(now)
            self._expect(self._files.accounts, now)
        self._latest = now
        if self._reload:
            self._reload = False
            self._read_again(now)
        else:
            self._look_at_files(now)
        self._look_at_suspensions(now)
        due = self._agenda.due(now, [account.name for account in self._files.accounts])
        if due.tick or due.accounts:
            await self._pass(due, now)
            return
        await self._sleep((self._agenda.wake() - now).total_seconds())

    async def _pass(self, due: Due, now: datetime) -> None:
        named = [account for account in self._files.accounts if account.name in due.accounts]
        held = frozenset(
            account.name
            for account in named
            if self._held or None in self._suspended or account.name in self._suspended
        )
        self._passing = True
        try:
            done = await self._passes.carry_out(self._begin(), named, held, now, self._files.others)
        finally:
            self._passing = False
        overran = self._agenda.passed(now, self._now()) if due.tick else False
        # what comes due while a pass is under way is due after it
        self._expect(named, now)
        self._last = done
        if self._stopped is None:
            self._rest(done)
        self._tell_pass(done, due, overran=overran)

    def _rest(self, done: Pass) -> None:
        for seen in done.accounts:
            account = seen.plan.account
            if not seen.failed:
                self._agenda.succeeded(account)
                continue
            seconds = self._agenda.failed(account, done.ended)
            self._tell(
                "watch.backoff",
                warning=True,
                account=account,
                attempts=self._agenda.resting[account],
                duration_ms=round(seconds * 1000),
            )

    def _tell_pass(self, done: Pass, due: Due, *, overran: bool) -> None:
        following = self._agenda.next_pass
        for listener in self._listeners:
            listener.passed(done)
        fields: dict[str, object] = {
            "run_id": done.run_id,
            "trigger": "rhythm" if due.tick else "transition",
            "outcome": done.outcome,
            "accounts": len(done.accounts),
            "counts": done.counts,
            "duration_ms": round((done.ended - done.began).total_seconds() * 1000),
            "next": _stamp(following),
            "overran": True if overran else None,
        }
        if done.error is not None:
            fields |= {"error_code": done.error.code, "error_message": str(done.error)}
        (self._log.warning if overran or done.error is not None else self._log.info)("watch.pass", **fields)
        self._systemd.status(f"{done.outcome} at {_stamp(done.ended)}; next pass at {_stamp(following)}")

    def _read_again(self, now: datetime) -> None:
        self._systemd.reloading()
        try:
            settings, terms = self._reread()
        except SettingsError as error:
            self._broken_settings = error
        else:
            self._broken_settings = None
            self._settings = settings
            self._passes.use(settings, terms)
        self._look_at_files(now, everything=True)
        self._expect(self._files.accounts, now)
        self._agenda.hurry(now)
        wrong = self._broken_settings
        self._tell(
            "watch.reloaded",
            warning=wrong is not None,
            accounts=len(self._files.accounts),
            error_code=None if wrong is None else wrong.code,
            error_message=None if wrong is None else f"the settings stay as they were: {_shown(wrong)}",
        )
        self._systemd.ready()

    def _look_at_files(self, now: datetime, *, everything: bool = False) -> None:
        news = self._files.refresh(everything=everything)
        for file, error in news.broken.items():
            self._tell("watch.file_broken", warning=True, file=file, error_code=error.code, error_message=_shown(error))
        for file in news.mended:
            self._tell("watch.file_mended", file=file)
        for file in news.removed:
            self._tell("watch.file_removed", warning=True, file=file)
        for name in news.gone | news.changed:
            self._agenda.forget(name)
            self._passes.forget(name, gone=name in news.gone)
        if news.changed:
            self._expect([account for account in self._files.accounts if account.name in news.changed], now)

    def _look_at_suspensions(self, now: datetime) -> None:
        found: dict[str | None, Suspend] = {}
        whole = _suspended(self._settings.suspend, self._settings.maintenance, DEFAULT_ZONE, now)
        if whole is not None:
            found[None] = whole
        for account in self._files.accounts:
            own = _suspended(account.suspend, account.maintenance, account.timezone, now)
            if own is not None:
                found[account.name] = own
        before, self._suspended = self._suspended, found
        for name, suspend in found.items():
            if before.get(name) != suspend:
                self._tell(
                    "watch.suspended", account=name, reason=suspend.reason, by=suspend.by, until=_stamp(suspend.ends)
                )
        for name in before.keys() - found.keys():
            self._tell("watch.resumed", account=name)

    def _expect(self, accounts: Sequence[DesiredAccount], after: datetime) -> None:
        """Note the own times of accounts: edges of their schedules, and the ends of suspensions."""
        settings = self._settings
        whole = tuple(_edges(settings.suspend, settings.maintenance, DEFAULT_ZONE, after))
        for account in accounts:
            own = _edges(account.suspend, account.maintenance, account.timezone, after)
            change = next_transition(account, after)
            times = (*whole, *own, *([] if change is None else [change]))
            self._agenda.expect(account.name, min(times, default=None))

    async def _sleep(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(min(max(seconds, _SHORTEST), self._nap)):
                await self._woken.wait()
        self._woken.clear()

    async def _beat(self) -> None:
        """Tell a service manager that asks for it that the loop lives."""
        seconds = self._systemd.watchdog
        while seconds is not None:
            if self.alive() is None:
                self._systemd.alive()
            await asyncio.sleep(seconds)

    def _tell(self, event: str, *, warning: bool = False, **fields: Any) -> None:
        (self._log.warning if warning else self._log.info)(event, **fields)
        for listener in self._listeners:
            listener.happened(event, fields)

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._ambient.wall(), UTC)


def _suspended(suspend: Suspend | None, window: Maintenance, timezone: str, now: datetime) -> Suspend | None:
    """What keeps from writing at a moment, if anything does."""
    if suspend is not None and suspend.holds(now):
        return suspend
    return suspension.suspended(window, timezone, now)


def _edges(suspend: Suspend | None, window: Maintenance, timezone: str, after: datetime) -> Iterator[datetime]:
    """When that ends or begins next."""
    for moment in (None if suspend is None else suspend.ends, suspension.edge(window, timezone, after)):
        if moment is not None and moment > after:
            yield moment


def _stamp(moment: datetime | None) -> str | None:
    return None if moment is None else format_utc_ms(moment)


def _shown(error: DesiredStateError | SettingsError) -> str:
    more = len(error.problems) + error.untold - _SHOWN
    told = "; ".join(map(str, error.problems[:_SHOWN]))
    return f"{told}; and {more} more" if more > 0 else told
