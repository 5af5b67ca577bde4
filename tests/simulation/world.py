"""Run one seed: the events of its scenario affect the account, then faults end and the worker must converge.

The worker is real. The network, the disk, the clock and randomness are simulated.
"""

import asyncio
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any, Final, Self

from msgspec import structs

from tests.simulation.databases import FileStore, Store
from tests.simulation.history import History, Moment, Request
from tests.simulation.model import API_KEY, API_SECRET, EPOCH, OTHER_KEY, Api
from tests.simulation.process import Happening, Process, task_factory
from tests.simulation.scenario import DRY_KINDS, RunScript, Scenario
from tests.simulation.transport import SimulatedTransport
from tests.support.ledgers import run_info
from tests.support.virtual_time import VirtualLoop
from worker.ledger import Ledger, LedgerProtocol, NullLedger, memory_reader
from worker.ledger.database import Connection
from worker.ledger.history import rows
from worker.model.accounts import PlanFile
from worker.model.credentials import Credentials, CredentialsRef, Secret, SecretRef
from worker.model.errors import Interrupted, LedgerError
from worker.model.plans import AccountPlan
from worker.model.results import AccountResult
from worker.model.times import format_utc_ms
from worker.plan.build import Terms
from worker.plan.comparison import CurrentFiles
from worker.plan.planfile import SavedAccount
from worker.plan.policy import Selection
from worker.plan.safety import ALLOW_ALL, effective_safety
from worker.reconcile.fleet import Fleet
from worker.solapi.runtime import Runtime

__all__ = ["MEMORY", "Record", "World", "simulate"]

_OTHER: Final = CredentialsRef(SecretRef(env="OTHER_KEY"), SecretRef(env="OTHER_SECRET"))
_CREDENTIALS: Final = {
    None: Credentials(API_KEY, Secret(API_SECRET)),
    _OTHER: Credentials(OTHER_KEY, Secret(API_SECRET)),
}
MEMORY: Final = Path("/dev/shm")  # noqa: S108 - where there is such a thing, disks need not be waited for
_INTENTS: Final = """
    SELECT count(*) AS count FROM attempts JOIN entries ON entries.id = entry WHERE run = ? AND phone = ? AND asked = ?
"""
_QUIET_SECONDS: Final = 200.0
"""Longer than any request is on its way."""


class Silence:
    """Log and meter that ignore everything."""

    def bind(self, **fields: Any) -> Self:
        """Return this log."""
        del fields
        return self

    def info(self, event: str, **fields: Any) -> None:
        """Do nothing."""

    def warning(self, event: str, **fields: Any) -> None:
        """Do nothing."""

    def advance(self) -> None:
        """Do nothing."""


@dataclass(slots=True)
class Record:
    """What is known of a run from outside. `stage` is the storm, or the stage of the quiet phase."""

    name: str
    script: RunScript
    stage: str
    started: Moment
    ended: Moment | None = None
    crashed: bool = False
    interrupted: bool = False
    unwritable: bool = False
    plan: AccountPlan | None = None
    saved: SavedAccount | None = None
    plan_file: PlanFile | None = None
    result: AccountResult | None = None
    twin: AccountResult | None = None
    """The result of the second document of the same account."""
    numbers: dict[str, str] = field(default_factory=dict)
    """The account as the run left it."""


class World:
    """One account, one ledger, and the runs that start and end."""

    def __init__(self, scenario: Scenario, store: Store) -> None:
        self.scenario = scenario
        self.history = History()
        self.records: list[Record] = []
        self.violations: list[str] = []
        self.store = store
        self._loop = asyncio.get_running_loop()
        assert isinstance(self._loop, VirtualLoop)
        self._loop.on_each_turn(self._turn)
        self._chance = Random(scenario.seed * 7 + 1)
        self.api = Api(
            dict(scenario.numbers),
            scenario.settings.rate_limit,
            self.history,
            clock=self._loop.time,
            wall=lambda: EPOCH + self._loop.time(),
            chance=Random(scenario.seed * 7 + 2),
        )
        self.saved: SavedAccount | None = None
        self.plan_file: PlanFile | None = None
        self._fleets: dict[str, Fleet] = {}
        self._running: list[Process] = []
        self._reader: Connection | None = None
        self.history.active.append((self.history.mark("begin"), self.api.active, None))

    async def live(self) -> None:
        """Run the storm, then the quiet phase."""
        beside: list[asyncio.Task[Record]] = []
        for script in self.scenario.runs:
            beside.append(asyncio.create_task(self.run(script, "storm")))
            if not script.beside:
                await asyncio.gather(*beside)
                beside.clear()
                await asyncio.sleep(script.pause)
        await asyncio.gather(*beside)
        await asyncio.sleep(_QUIET_SECONDS)
        terms = Terms(self.scenario.settings.safety)
        for stage, allow in (("resume", ()), ("converge", (ALLOW_ALL,)), ("again", ())):
            quiet = RunScript(terms=Terms(terms.safety, Selection(), frozenset(allow)))
            await self.run(quiet, stage)
            await asyncio.sleep(self.scenario.settings.rate_limit.per_seconds * 2)

    def _turn(self) -> bool:
        return sum(process.turn() for process in self._running) > 0

    async def run(self, script: RunScript, stage: str) -> Record:
        """Run one command until its end."""
        name = f"run-{len(self.records) + 1}"
        record = Record(name, script, stage, self.history.mark("start", name, detail=f"{stage} {script.kind}"))
        self.records.append(record)
        process = Process(
            name,
            self.history,
            Random(self._chance.getrandbits(64)),
            profile=script.profile,
            script=script.happenings,
            turns=script.turns,
            disk_error=script.disk_error,
            on_send=self._sent,
            on_happening=lambda happening: self._happen(happening, record),
        )
        self._running.append(process)
        with process.inside():
            main = asyncio.create_task(self._run(script, record, process))
        await asyncio.wait((main, process.died), return_when=asyncio.FIRST_COMPLETED)
        if process.dead:
            await process.vanish()
        else:
            await main
            self.violations += (
                f"0: {name} would print the traceback of {error!r}" for error in process.collect_errors()
            )
        self._running.remove(process)
        record.crashed = process.dead
        record.numbers = dict(self.api.numbers)
        outcome = "crashed" if record.result is None else str(record.result.outcome)
        record.ended = self.history.mark("end", name, detail=outcome)
        return record

    async def _run(self, script: RunScript, record: Record, process: Process) -> None:
        dry = script.kind in DRY_KINDS
        if dry:
            await self._execute(script, record, process, NullLedger(memory_reader(self.store.database)))
            return
        if script.kind in {"saved", "rollback"}:
            record.saved = self.saved
        if script.kind == "saved":
            record.plan_file = self.plan_file
        plan = None if record.plan_file is None else record.plan_file.id
        run = run_info(record.name, command=script.kind, started_at=self._now(), plan=plan)
        ledger = Ledger(
            self.store.of_process(process),
            run,
            now=self._now,
            max_bytes=1 << 30,
            submit=process.submit,
        )
        try:
            async with ledger:
                await self._execute(script, record, process, ledger)
                if record.result is not None:
                    await ledger.finish(record.result.outcome)
        except LedgerError:
            record.unwritable = True

    async def _execute(self, script: RunScript, record: Record, process: Process, keeper: LedgerProtocol) -> None:
        settings = structs.replace(self.scenario.settings, deadline_seconds=script.deadline)
        loop, silence = self._loop, Silence()
        runtime = Runtime(
            clock=loop.time,
            wall=lambda: EPOCH + loop.time() + process.skew,
            sleep=asyncio.sleep,
            uniform=process.uniform,
            salt=process.salt,
        )
        transport = SimulatedTransport(settings.timeout, process, self.api)
        fleet = Fleet(settings, transport, _CREDENTIALS.__getitem__, silence, ledger=keeper, runtime=runtime)
        self._fleets[record.name] = fleet
        desired, terms = self.scenario.files[script.file], script.terms
        if script.kind == "saved" and record.saved is not None:
            files = (lambda _: CurrentFiles(desired)) if script.compared else None
            (record.result,) = await fleet.apply_saved(
                [record.saved], terms.allow, silence, plan=record.plan_file, files=files
            )
            return
        if script.kind == "rollback" and record.saved is not None:
            looked = await fleet.preview([record.saved], terms.allow)
            (record.result,) = await fleet.roll_back([record.saved], looked, terms.allow, silence, None)
            return
        if script.twin:
            other = structs.replace(self.scenario.files[1 - script.file], name="twin", credentials=_OTHER)
            both = [desired, other]
            record.result, record.twin = await fleet.apply(both, await fleet.plan(both, terms), terms, silence)
            return
        if script.kind == "drift":
            terms = structs.replace(terms, drift=True)
        drafts = await fleet.plan([desired], terms)
        record.plan = drafts[0].plan
        if script.kind == "save":
            safety = effective_safety(terms.safety, desired.safety)
            self.saved = SavedAccount.of(desired, record.plan, endpoint=settings.endpoint, safety=safety)
            self.plan_file = PlanFile(record.name, self._now())
        elif script.kind not in DRY_KINDS:
            (record.result,) = await fleet.apply([desired], drafts, terms, silence)

    def _happen(self, happening: Happening, record: Record) -> None:
        if happening.what == "edit":
            self.api.edit(happening.phone, happening.status)
        elif record.name in self._fleets:
            record.interrupted = True
            self.history.mark("interrupt", record.name)
            reason = Interrupted("stopped by SIGTERM; run again to continue")
            # a signal is handled between two turns of the loop, never inside a task
            self._loop.call_soon(self._fleets[record.name].interrupt, reason)

    def _sent(self, request: Request) -> None:
        """Check oracle 2 when a request is sent: its intent is durable."""
        if not request.writes:
            return
        sends = sum(
            other.writes and other.run == request.run and other.phone == request.phone
            for other in self.history.requests
        )
        arguments = (request.run, request.phone, request.requested)
        intents = sum(row["count"] for row in self.rows(_INTENTS, arguments))
        if intents < sends:
            self.violations.append(f"2: {request.run} sends {request.phone} the {sends}. time with {intents} intents")

    def rows(self, sql: str, arguments: tuple[object, ...] = ()) -> list[dict[str, Any]]:
        """Return rows of the ledger on disk."""
        if self._reader is None:
            self._reader = self.store.open_reader()
        return [] if self._reader is None else list(rows(self._reader.execute(sql, arguments)))

    def close(self) -> None:
        """Release the files."""
        if self._reader is not None:
            self._reader.close()

    def _now(self) -> str:
        return format_utc_ms(datetime.fromtimestamp(EPOCH + self._loop.time(), UTC))


def simulate(
    scenario: Scenario,
    judge: Callable[[World], None] = lambda _: None,
    *,
    open_store: Callable[[Path], Store] = FileStore,
) -> World:
    """Run a scenario in its own folder. `judge` checks the world before the folder is removed."""

    async def main(folder: Path) -> World:
        asyncio.get_running_loop().set_task_factory(task_factory)
        world = World(scenario, open_store(folder))
        try:
            await world.live()
            judge(world)
        finally:
            world.close()
        return world

    with (
        tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as folder,
        asyncio.Runner(loop_factory=VirtualLoop) as runner,
    ):
        return runner.run(main(Path(folder)))
