"""A simulated daemon: its loop, passes, files, ledger and channels, over one clock, API, disk and random generator."""

import asyncio
import sqlite3
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from random import Random
from typing import Any, Final, Self

from msgspec import structs
from yarl import URL

from tests.simulation.faults import Fault, draw
from tests.simulation.history import History, Moment, Request
from tests.simulation.model import API_SECRET, EPOCH, Api
from tests.simulation.process import Process, task_factory
from tests.simulation.transport import SimulatedTransport
from tests.simulation.watch_scenario import INTERVAL, Event, FileVersion, WatchScenario
from tests.simulation.world import MEMORY
from tests.support.ledgers import run_info
from tests.support.loopback import signing_key
from tests.support.virtual_time import VirtualLoop
from worker.cli.exit_status import overall
from worker.config.channels import Channel
from worker.config.settings import RateLimit, Retry, SafetySettings, Settings, Timeout
from worker.daemon.files import WatchedFiles
from worker.daemon.last_good import FileChanges
from worker.daemon.loop import WatchLoop
from worker.daemon.notify.changes import Notification, NotifyState, decode
from worker.daemon.notify.dispatcher import Notifier
from worker.daemon.notify.message import ChannelMessage
from worker.daemon.notify.tracker import Tracker
from worker.daemon.passes import Pass, Passes
from worker.daemon.scheduler import Interval, Scheduler
from worker.ledger import Ledger, NullLedger, memory_reader
from worker.ledger.sqlite import SqliteFile
from worker.model.credentials import Credentials, CredentialsRef, Secret, SecretRef
from worker.model.errors import Interrupted, Problem, SettingsError
from worker.model.suspension import Suspend
from worker.model.times import format_utc_ms
from worker.plan.build import Terms
from worker.solapi.runtime import Runtime
from worker.solapi.transport import Response, Transport

__all__ = ["CHANNELS", "GRACE", "Life", "PassRecord", "WatchWorld", "watch"]

GRACE: Final = 0.1
"""Seconds in which a write may leave whose intent is already on its way to the disk."""
_SAFETY: Final = SafetySettings(max_deactivations="100%", min_active=0, fleet_wide="100%")
_PLAIN: Final = Settings(
    rate_limit=RateLimit(writes=3, reads=3, per_seconds=4.0),
    concurrency=2,
    retry=Retry(attempts=3, base_seconds=0.1, cap_seconds=1.0),
    timeout=Timeout(connect_seconds=5.0, total_seconds=20.0),
    safety=_SAFETY,
)
_CHANGED: Final = {
    "plain": _PLAIN,
    "suspend": structs.replace(_PLAIN, suspend=Suspend("audit")),
    "fewer": structs.replace(_PLAIN, rate_limit=RateLimit(writes=2, reads=2, per_seconds=4.0)),
}
_URL: Final = SecretRef(env="CHANNEL")
CHANNELS: Final = (
    Channel("at once", _URL, title="$count", body="$body"),
    Channel("digest", _URL, digest_seconds=20.0, title="$count", body="$body"),
)
_QUIET_SECONDS: Final = 3 * INTERVAL + 60.0
"""Longer than a backoff that starts in the storm."""


@dataclass(slots=True)
class Life:
    """One daemon from its start to its stop. `news` were sent to the channels, which accepted `delivered`."""

    started: Moment
    news: list[tuple[Moment, Notification]] = field(default_factory=list)
    delivered: dict[str, list[ChannelMessage]] = field(default_factory=dict)
    undelivered: dict[str, int] = field(default_factory=dict)
    stopped: Moment | None = None
    ended: Moment | None = None


@dataclass(slots=True)
class PassRecord:
    """One pass. `good` is the last valid version of each file at its start, and `suspended` the suspended accounts."""

    name: str
    life: Life
    began: Moment
    good: Mapping[str, FileVersion]
    suspended: frozenset[str]
    disk_failed: bool
    ended: Moment | None = None
    result: Pass | None = None


class _UndeliveredLog:
    """Log that records undelivered notifications."""

    def __init__(self, undelivered: dict[str, int]) -> None:
        self._undelivered = undelivered

    def bind(self, **fields: Any) -> Self:
        del fields
        return self

    def debug(self, event: str, **fields: Any) -> None:
        if event == "notify.undelivered":
            self._undelivered[fields["channel"]] = self._undelivered.get(fields["channel"], 0) + fields["news"]

    info = warning = error = debug


class _Connection(Process):
    """The daemon's connection to one account, with faults and latency of its own."""

    profile = "calm"
    slow = 1.0

    def draw(self) -> Fault:
        return draw(self.profile, self._chance)

    def latency(self) -> float:
        return super().latency() * self.slow


class _Network(Transport):
    """Send each request on the connection of its API key."""

    def __init__(self, ways: Mapping[str, SimulatedTransport]) -> None:
        super().__init__(_PLAIN.timeout)
        self._ways = ways

    async def exchange(
        self,
        method: str,
        url: URL,
        headers: Mapping[str, str],
        body: bytes | None = None,
        *,
        sink: Callable[[bytes], None] | None = None,
    ) -> Response:
        key = signing_key(headers["Authorization"])
        return await self._ways[key].exchange(method, url, headers, body, sink=sink)


class _Files(WatchedFiles):
    """The files. The world records their last valid versions at each read."""

    def __init__(self, world: "WatchWorld", folder: Path) -> None:
        super().__init__([str(folder)], wall=world.wall)
        self._world = world

    def refresh(self, *, read_all: bool = False) -> FileChanges:
        self._world.files_are_read()
        return super().refresh(read_all=read_all)


class _Ledgers:
    """The ledgers of passes, on a disk that may fail."""

    def __init__(self, world: "WatchWorld") -> None:
        self._world = world
        self.memory = NullLedger(memory_reader(SqliteFile(world.ledger)))

    @asynccontextmanager
    async def open(self, run_id: str) -> AsyncIterator[Ledger]:
        world = self._world
        run = run_info(run_id, command="watch", started_at=world.stamp())
        process = world.process
        ledger = Ledger(
            SqliteFile(world.ledger, open_file=process.opened),
            run,
            now=world.stamp,
            max_bytes=1 << 30,
            submit=process.submit,
        )
        async with ledger:
            yield ledger


class WatchWorld:
    """Some accounts, their files, one ledger, two channels, and the daemons that start and stop."""

    def __init__(self, scenario: WatchScenario, folder: Path) -> None:
        self.scenario = scenario
        self.history = History()
        self.violations: list[str] = []
        self.lives: list[Life] = []
        self.passes: list[PassRecord] = []
        self.versions: dict[str, list[tuple[float, FileVersion]]] = {}
        """The valid versions of each file in the order in which the daemon read them, and since when."""
        self.file_reads: list[float] = []
        self.quotas: list[tuple[float, RateLimit]] = [(0.0, _PLAIN.rate_limit)]
        self.ledger = folder / "ledger.db"
        self._state = folder / "news.json"
        self._folder = folder / "files"
        self._loop = asyncio.get_running_loop()
        self._chance = Random(f"world {scenario.seed}")
        self._on_disk: dict[str, FileVersion] = {}
        self._settings = "plain"
        self._in_force = _PLAIN
        self._channel = "accept"
        self._stop: Callable[[], None] = lambda: None
        self._reload: Callable[[], None] = lambda: None
        self._pending: list[Event] = []
        self._turns: dict[int, list[Event]] = {}
        self._turn = 0
        self._is_calm = False
        self.process = self._new_process(Process)
        names = [account.name for account in scenario.accounts]
        self.apis = {
            account.name: Api(
                dict(account.numbers),
                RateLimit(writes=100, reads=100, per_seconds=1.0),
                self.history,
                clock=self._loop.time,
                wall=self.wall,
                chance=Random(f"api {scenario.seed} {account.name}"),
                account_id=account.name[-1],
                keys=(account.name,),
            )
            for account in scenario.accounts
        }
        self._connections = {name: self._new_process(_Connection) for name in names}

    def wall(self) -> float:
        """Return Unix time."""
        return EPOCH + self._loop.time()

    def stamp(self) -> str:
        """Return the time as the ledger stores it."""
        return format_utc_ms(self._now())

    @cached_property
    def requests(self) -> dict[tuple[str, str], list[Request]]:
        """Return the requests of each pass and account. Use it after the world has ended."""
        actual: dict[tuple[str, str], list[Request]] = {}
        for request in self.history.requests:
            actual.setdefault((request.run, request.key), []).append(request)
        return actual

    def rows(self, sql: str) -> list[dict[str, Any]]:
        """Return rows of the ledger on disk."""
        if not self.ledger.exists():
            return []
        with closing(sqlite3.connect(f"{self.ledger.as_uri()}?mode=ro", uri=True)) as connection:
            connection.row_factory = sqlite3.Row
            return [dict(row) for row in connection.execute(sql)]

    async def live(self) -> None:
        """Run daemons through the disturbed and the quiet phase."""
        self._folder.mkdir()
        for account in self.scenario.accounts:
            self._write(account.name, 0)
        for event in self.scenario.events:
            self._loop.call_at(event.at, self._arm, event)
        self._loop.call_at(self.scenario.storm, self._calm)
        assert isinstance(self._loop, VirtualLoop)
        self._loop.on_each_turn(self._on_turn)
        end = self.scenario.storm + _QUIET_SECONDS
        while self._loop.time() < end:
            self._loop.call_at(end, self._end)
            await self._daemon()
            await asyncio.sleep(1.0)

    def files_are_read(self) -> None:
        """Record which valid versions of files are in force from now on."""
        self.file_reads.append(self._loop.time())
        for name, version in self._on_disk.items():
            known = self.versions.setdefault(name, [])
            if version.valid and (not known or known[-1][1] != version):
                known.append((self._loop.time(), version))

    def good(self) -> dict[str, FileVersion]:
        """Return the last valid version of each file."""
        return {name: versions[-1][1] for name, versions in self.versions.items()}

    async def _daemon(self) -> None:
        life = Life(self.history.mark("daemon"))
        self.lives.append(life)
        runtime = Runtime(clock=self._loop.time, wall=self.wall, uniform=self.process.uniform, salt=self.process.salt)
        tape = _UndeliveredLog(life.undelivered)
        files = _Files(self, self._folder)
        self._settings, self._in_force = "plain", _PLAIN
        self.quotas.append((self._loop.time(), _PLAIN.rate_limit))
        for account in self.scenario.accounts:
            if not self._on_disk[account.name].valid:
                self._write(account.name, 0)  # a daemon starts with valid files only
        self.files_are_read()
        files.load()
        ways = {
            name: SimulatedTransport(_PLAIN.timeout, process, self.apis[name])
            for name, process in self._connections.items()
        }
        terms = Terms(_SAFETY, self.scenario.selection)
        passes = Passes(
            _PLAIN, terms, _Network(ways), _credentials, tape, ledgers=_Ledgers(self), conclude=overall, runtime=runtime
        )

        def reread() -> tuple[Settings, Terms]:
            if self._settings == "broken":
                raise SettingsError([Problem("settings.yaml", 1, 1, "broken")])
            self._in_force = _CHANGED[self._settings]
            self.quotas.append((self._loop.time(), self._in_force.rate_limit))
            return self._in_force, terms

        channels = [(channel, self._sender(life, channel)) for channel in CHANNELS]
        async with Notifier(channels, tape, host="box", timeout_seconds=10.0) as notifier:

            def send(news: Sequence[Notification]) -> None:
                moment = self.history.mark(
                    "news", detail="; ".join(f"{notification.account}: {notification.title}" for notification in news)
                )
                life.news += ((moment, notification) for notification in news)
                notifier.notify(news)

            tracker = Tracker(
                self._known(),
                send=send,
                keep=self._keep,
                names=lambda: [account.name for account in files.accounts],
                version="0",
            )
            loop = WatchLoop(
                files,
                passes,
                Scheduler(Interval(INTERVAL), self._now(), uniform=runtime.uniform),
                tape,
                settings=_PLAIN,
                reload_settings=reread,
                new_run_id=lambda: self._begin(life),
                listeners=[tracker, self],
                runtime=runtime,
            )

            def stop() -> None:
                if life.stopped is None:
                    life.stopped = self.history.mark("stop")
                    loop.stop(Interrupted("stopped by SIGTERM"))

            self._stop, self._reload = stop, loop.reload
            await loop.run()
            life.ended = self.history.mark("stopped")
            self._stop = self._reload = lambda: None

    def on_pass(self, result: Pass) -> None:
        """Record the end of a pass."""
        self.passes[-1].ended = self.history.mark("passed", result.run_id, detail=str(result.outcome))
        self.passes[-1].result = result

    def on_event(self, event: str, fields: Mapping[str, Any]) -> None:
        """Record an event of the daemon."""
        self.history.mark(event, detail=str(fields.get("account") or fields.get("file") or ""))

    def _begin(self, life: Life) -> str:
        name, now = f"pass-{len(self.passes) + 1}", self._loop.time()
        for process in (self.process, *self._connections.values()):
            process.name = name
        good = self.good()
        everything = self._in_force.suspend.reason is not None
        suspended = frozenset(name for name, version in good.items() if everything or version.is_suspended(now + 0.001))
        disk_failed = self.process.disk_error is not None
        self.passes.append(PassRecord(name, life, self.history.mark("begin", name), good, suspended, disk_failed))
        return name

    def _sender(self, life: Life, channel: Channel) -> Callable[[ChannelMessage], Any]:
        async def send(message: ChannelMessage) -> str | None:
            response = self._channel
            if response == "hang":
                await self._loop.create_future()
            await asyncio.sleep(self._chance.choice((0.05, 1.0, 8.0)))
            if response == "refuse":
                return "no"
            self.history.mark("delivered", detail=f"{channel.name}: {message.title} {message.body!r}")
            life.delivered.setdefault(channel.name, []).append(message)
            return None

        return send

    def _arm(self, event: Event) -> None:
        self._turns.setdefault(self._turn + event.turn + 1, []).append(event)

    def _on_turn(self) -> bool:
        self._turn += 1
        events = self._turns.pop(self._turn, ())
        for event in events:
            self._happen(event)
        return bool(events)

    def _happen(self, event: Event) -> None:
        if self._is_calm:
            return
        self.history.mark(event.what, event.account, event.phone, str(event.value))
        connection = self._connections[event.account]
        match event.what, event.value:
            case "edit", str() as status:
                self.apis[event.account].edit(event.phone, status)
            case "file", int() as version:
                self._write(event.account, version)
            case "slow", float() as factor:
                connection.slow = factor
            case "faults", str() as profile:
                connection.profile = profile
            case "channel", str() as mode:
                self._channel = mode
            case "disk", int() as commit:
                self.passes[-1].disk_failed = True
                self.process.disk_error = (commit, "disk I/O error", False) if commit else None
            case "settings", str() as settings:
                self._settings = settings
                self._loop.call_soon(self._reload)
            case _:
                self._loop.call_soon(self._stop)

    def _calm(self) -> None:
        """End every disturbance. Edited or blocked numbers stay so."""
        self.history.mark("calm")
        self._is_calm = True
        for connection in self._connections.values():
            connection.slow, connection.profile = 1.0, "calm"
        for name, version in self._on_disk.items():
            if not version.valid:
                self._write(name, 0)
        self._channel, self.process.disk_error, self._settings = "accept", None, "plain"
        self._reload()

    def _end(self) -> None:
        self._stop()

    def _write(self, name: str, version: int) -> None:
        (script,) = (account for account in self.scenario.accounts if account.name == name)
        self._on_disk[name] = script.versions[version]
        # always a new file, because real timestamps are too coarse for virtual time
        fresh = self._folder.with_name("fresh")
        fresh.write_text(script.versions[version].text(name), encoding="utf-8")
        fresh.replace(self._folder / f"{name}.yaml")

    def _keep(self, state: bytes) -> None:
        self._state.write_bytes(state)

    def _known(self) -> NotifyState:
        return (decode(self._state.read_bytes()) if self._state.exists() else None) or NotifyState()

    def _new_process(self, kind: type[Process]) -> Any:
        return kind(
            "none",
            self.history,
            Random(self._chance.getrandbits(64)),
            on_send=lambda _: None,
            on_happening=lambda _: None,
        )

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self.wall(), UTC)


def _credentials(reference: CredentialsRef | None) -> Credentials:
    assert reference is not None
    return Credentials(reference.api_key.env or "", Secret(API_SECRET))


def watch(scenario: WatchScenario, judge: Callable[[WatchWorld], None] = lambda _: None) -> WatchWorld:
    """Run a scenario in its own folder; `judge` checks the world before the folder is removed."""

    async def main(folder: Path) -> WatchWorld:
        asyncio.get_running_loop().set_task_factory(task_factory)
        world = WatchWorld(scenario, folder)
        await world.live()
        judge(world)
        return world

    with (
        tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as folder,
        asyncio.Runner(loop_factory=VirtualLoop) as runner,
    ):
        return runner.run(main(Path(folder)))
