"""One run as an operating system sees it: its tasks, disk and clock, and how each can end at any moment."""

import asyncio
import sqlite3
import tempfile
from collections.abc import Callable, Coroutine, Generator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from pathlib import Path
from random import Random
from typing import Any, Final, NamedTuple, cast

from tests.simulation.faults import Fault, draw
from tests.simulation.history import History, Request, ResponseKind
from worker.ledger.database import Connection, Cursor
from worker.ledger.postgres import leases
from worker.ledger.schema import connect

__all__ = ["Disk", "DiskError", "Happening", "Process", "task_factory"]


class Happening(NamedTuple):
    """An event at a moment of a run: a crash, an operator's edit, a clock jump, a signal."""

    what: str
    phone: str = ""
    status: str | None = None
    seconds: float = 0.0


DiskError = tuple[int, str, bool]
"""The commit from which the disk fails, the error of SQLite, and whether that commit is on the disk nevertheless."""

_CURRENT: Final[ContextVar["Process | None"]] = ContextVar("process", default=None)


def task_factory(
    loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, Any] | Generator[Any, None, Any], **more: Any
) -> "asyncio.Task[Any]":
    """Create tasks that belong to the process in which they are created."""
    task = asyncio.Task(cast("Coroutine[Any, Any, Any]", coroutine), loop=loop, **more)
    process = _CURRENT.get()
    if process is not None:
        process.tasks.append(task)
    return task


@cache
def _empty_ledger() -> bytes:
    """Return an empty ledger. Copying it is cheaper than creating one."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ledger.db"
        connect(path, program="0", now=lambda: "2027-01-15T08:00:00.000Z").close()
        return path.read_bytes()


class Disk:
    """A connection to the real SQLite, on a disk that fails from one commit on."""

    def __init__(self, connection: Connection, error: DiskError | None) -> None:
        self._connection = connection
        self._error = error
        self._commits = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    def execute(self, sql: str, *parameters: Any) -> Cursor:
        """Execute a statement, or fail."""
        is_commit = sql in {"COMMIT", leases._INTEND}
        if is_commit and self._error is not None:
            at, message, durable = self._error
            self._commits += 1
            if self._commits >= at:
                if durable and self._commits == at:
                    self._connection.execute(sql, *parameters)
                raise sqlite3.OperationalError(message)
        return self._connection.execute(sql, *parameters)


class Process:
    """One run. `chance` is its own random generator.

    `script` contains the events at its externally visible moments, and `turns` those between the turns of the loop,
    when every task is at an await. Both count from 1.
    """

    def __init__(
        self,
        name: str,
        history: History,
        chance: Random,
        *,
        profile: str = "calm",
        script: Mapping[int, Sequence[Happening]] | None = None,
        turns: Mapping[int, Sequence[Happening]] | None = None,
        disk_error: DiskError | None = None,
        on_send: Callable[[Request], None],
        on_happening: Callable[[Happening], None],
    ) -> None:
        self.name = name
        self.dead = False
        self.tasks: list[asyncio.Task[Any]] = []
        self.died: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.skew = 0.0
        self._history = history
        self._chance = chance
        self._profile = profile
        self._script = script or {}
        self._turns = turns or {}
        self.disk_error = disk_error
        self._on_send = on_send
        self._on_happening = on_happening
        self._moments = 0
        self._turn = 0
        self._disks: list[Disk] = []
        self.on_death: Callable[[], None] = lambda: None

    @contextmanager
    def inside(self) -> Generator[None, None, None]:
        """Run in the context of this process: tasks created inside belong to it."""
        token = _CURRENT.set(self)
        try:
            yield
        finally:
            _CURRENT.reset(token)

    async def moment(self) -> None:
        """Mark an externally visible moment, at which events may happen. Does not return in a killed process."""
        self._pass()
        if self.dead:
            await asyncio.get_running_loop().create_future()

    def _pass(self) -> None:
        if self.dead:
            return
        self._moments += 1
        self._run_events(self._script.get(self._moments, ()))

    def turn(self) -> bool:
        """Run the events of this turn, when all tasks are at an await. Return True if there was one."""
        if self.dead:
            return False
        self._turn += 1
        happenings = self._turns.get(self._turn, ())
        self._run_events(happenings)
        return bool(happenings)

    def _run_events(self, happenings: Sequence[Happening]) -> None:
        for happening in happenings:
            if happening.what == "crash":
                self.kill()
            elif happening.what == "jump":
                self.skew += happening.seconds
                self._history.mark("jump", self.name, detail=f"{happening.seconds:g}")
            else:
                self._on_happening(happening)

    def kill(self) -> None:
        """End immediately: nothing more reaches the model or the disk. Sent requests still arrive."""
        if self.dead:
            return
        self._history.mark("crash", self.name)
        self.dead = True
        self.died.set_result(None)

    async def vanish(self) -> None:
        """Discard the tasks of a killed process, which wait forever."""
        while waiting := [task for task in self.tasks if not task.done()]:
            for task in waiting:
                task.cancel()
            await asyncio.sleep(0)
        self.collect_errors()
        for disk in self._disks:
            disk.close()  # an open transaction would lock out the next run
        self.on_death()

    def collect_errors(self) -> list[BaseException]:
        """Collect the errors of tasks that are never awaited. Otherwise asyncio prints their tracebacks."""
        left = [task for task in self.tasks if task.done() and getattr(task, "_log_traceback", False)]
        return [error for task in left if (error := task.exception()) is not None]

    def draw(self) -> Fault:
        """Return the fault of the next request."""
        return draw(self._profile, self._chance)

    def latency(self) -> float:
        """Return the seconds that one direction takes."""
        return self._chance.choice((0.002, 0.01, 0.03, 0.2)) * (0.5 + self._chance.random())

    def share(self) -> float:
        """Return a number from 0 to 1."""
        return self._chance.random()

    def uniform(self, low: float, high: float) -> float:
        """Return a number between two bounds."""
        return self._chance.uniform(low, high)

    def salt(self) -> str:
        """Return a salt."""
        return f"{self._chance.getrandbits(128):032x}"

    def sent(self, method: str, phone: str, requested: str, header: str, fault: Fault) -> Request:
        """Record a request that is sent."""
        moment = self._history.mark("send", self.name, phone, f"{method} {requested} {fault.name}")
        request = Request(self.name, method, phone, requested, header, moment, fault.name)
        self._history.requests.append(request)
        self._on_send(request)
        return request

    def ended(self, request: Request, kind: ResponseKind, status: int | None) -> None:
        """Record what the client received."""
        request.response_kind = kind
        request.status = status
        request.ended = self._history.mark("received", self.name, request.phone, f"{request.method} {kind.name}")

    def submit(self, call: Callable[[], None]) -> None:
        """Run a call on the ledger's thread, in virtual time."""
        asyncio.get_running_loop().call_later(self._chance.choice((0.0, 0.001, 0.02)), self._commit, call)

    def _commit(self, call: Callable[[], None]) -> None:
        self._pass()
        if self.dead:
            return
        call()
        self._history.mark("commit", self.name)
        self._pass()

    def opened(self, path: Path, **more: Any) -> sqlite3.Connection:
        """Open the disk."""
        if not path.exists():
            path.write_bytes(_empty_ledger())
        return cast("sqlite3.Connection", self.attach(connect(path, **more)))

    def attach(self, connection: Connection) -> Disk:
        """Return a connection on the disk of this process."""
        disk = Disk(connection, self.disk_error)
        self._disks.append(disk)
        return disk
