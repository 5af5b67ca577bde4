"""Kills at any instant: the ledger contains every write that was sent, and the next run settles them and converges."""

import json
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from random import Random
from typing import Any

import pytest

from tests.e2e.conftest import Command, Serve
from tests.support.die_at import POINTS, POSTGRES_POINTS
from tests.support.ledgers import rows
from tests.support.postgres import new_database
from worker.ledger import Database, SqliteFile
from worker.ledger.postgres.database import PostgresDatabase
from worker.ledger.postgres.schema import schema_version
from worker.ledger.records import OPEN
from worker.sandbox import Fault, SandboxAccount

_SECRET = "CANARYSECRETCANARYSECRET12345678"
_CONCURRENCY = 4
_AHEAD = 3 * 4 * _CONCURRENCY
"""Intents that a run may have noted and not sent when it died."""


class Scene:
    """An account with 20 numbers to activate, 36 to deactivate (the limit), and its ledger."""

    def __init__(self, command: Command, serve: Serve, url: str | None) -> None:
        activated = [f"0101000{n:04}" for n in range(20)]
        deactivated = [f"0102000{n:04}" for n in range(36)]
        unchanged = [f"0103000{n:04}" for n in range(84)]
        self.desired = (
            dict.fromkeys(activated, "ACTIVE")
            | dict.fromkeys(deactivated, "INACTIVE")
            | dict.fromkeys(unchanged, "ACTIVE")
        )
        statuses = dict.fromkeys(activated, "INACTIVE") | dict.fromkeys((*deactivated, *unchanged), "ACTIVE")
        self.account = SandboxAccount.of(statuses, api_secret=_SECRET)
        self.served = serve(self.account, rate_limit=None)
        self.command = command.at(self.served.sandbox, self.account)
        command.environment |= {
            "SENDERID_CONCURRENCY": f"{_CONCURRENCY}",
            "SENDERID_RATE_LIMIT__WRITES": "20",
            "SENDERID_RATE_LIMIT__PER_SECONDS": "0.1",
        }
        self.database: Database = SqliteFile(command.folder / "state" / "senderid" / "ledger.db")
        if url is not None:
            self.database = PostgresDatabase(url)
            command.environment["SENDERID_LEDGER__URL"] = url
        lines = "".join(f"  {phone}: {status}\n" for phone, status in self.desired.items())
        command.write("d.yaml", f"version: 1\nnumbers:\n{lines}")

    def start(self, dies_at: tuple[str, int] | None = None) -> subprocess.Popen[str]:
        """Start an apply. It may kill itself at a point."""
        self.end_leases()
        return self.command.popen("apply", "-y", "-f", "d.yaml", "--format", "json", dies_at=dies_at)

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """Return rows of the ledger, or none while there is no ledger."""
        return rows(self.database, query)

    def end_leases(self) -> None:
        """Act as if the leases of killed runs had ended a while ago."""
        if isinstance(self.database, PostgresDatabase):
            with closing(self.database.open()) as connection:
                if schema_version(connection):
                    connection.script("UPDATE workers SET until = '-infinity'")

    def on_the_wire(self) -> Counter[tuple[Any, ...]]:
        """Return the write requests received by the sandbox."""
        return Counter(self.served.writes)

    def intents(self) -> Counter[tuple[Any, ...]]:
        """Return the write requests in the ledger."""
        return Counter(self.rows("SELECT phone, asked FROM attempts"))

    def check_ledger(self) -> None:
        """Check that the ledger contains every request received, and no secret."""
        assert self.on_the_wire() <= self.intents()
        for path in (self.command.folder / "state").rglob("*"):
            assert not path.is_file() or _SECRET.encode() not in path.read_bytes()
        for table in ("runs", "entries", "attempts", "outcomes"):
            assert _SECRET not in repr(self.rows(f"SELECT * FROM {table}"))  # noqa: S608 - constant

    def check_convergence(self, deaths: int) -> None:
        """Check that the next run converges.

        Each number of each run has one outcome, and a further run writes nothing.
        """
        self.end_leases()
        result = self.command("apply", "-y", "-f", "d.yaml", "--format", "json")
        assert result.returncode == 0, result.stdout + result.stderr
        assert self.account.statuses == self.desired
        self.check_ledger()
        assert (self.intents() - self.on_the_wire()).total() <= deaths * _AHEAD
        assert {state for (state,) in self.rows("SELECT state FROM attempts")}.isdisjoint(OPEN)
        assert self.rows("SELECT * FROM entries WHERE NOT settled OR outcome IS NULL OR finished_at IS NULL") == []
        assert self.rows("SELECT * FROM outcomes WHERE outcome IS NULL") == []
        for entry, outcome, counts in self.rows("SELECT id, outcome, counts FROM entries"):
            numbers = self.rows("SELECT entry, outcome FROM outcomes").count
            assert outcome != "crashed" or all(numbers((entry, kind)) == n for kind, n in json.loads(counts).items())
        writes = len(self.served.writes)
        second = self.command("apply", "-y", "-f", "d.yaml", "--format", "json")
        assert (second.returncode, len(self.served.writes)) == (0, writes)


@pytest.fixture
def scene(command: Command, serve: Serve) -> Scene:
    """Serve an account that needs 56 writes to converge."""
    return Scene(command, serve, None)


@pytest.fixture
def shared_scene(command: Command, serve: Serve) -> Iterator[Scene]:
    """Serve such an account to runs with a ledger in PostgreSQL."""
    url = new_database(empty=True)
    scene = Scene(command, serve, url)
    yield scene
    assert isinstance(scene.database, PostgresDatabase)
    scene.database.close()


def _until(process: subprocess.Popen[str], condition: Callable[[], bool]) -> None:
    """Wait for a condition. Fail with the output of the process if it ends before."""
    end = time.monotonic() + 60
    while not condition():
        if process.poll() is not None or time.monotonic() > end:
            process.kill()
            _, stderr = process.communicate(timeout=10)
            raise AssertionError(f"it ended with {process.returncode} before: {stderr[-999:]}")
        time.sleep(0.001)


def _dies(scene: Scene, point: str, times: int) -> None:
    process = scene.start((point, times))
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL, stderr[-999:]
    scene.check_ledger()


@pytest.mark.parametrize("point", POINTS)
def test_death_at_any_point_is_recovered(scene: Scene, point: str) -> None:
    _die_and_recover(scene, point, POINTS)


@pytest.mark.parametrize("point", POSTGRES_POINTS)
def test_death_at_any_point_is_recovered_from_postgres(shared_scene: Scene, point: str) -> None:
    _die_and_recover(shared_scene, point, POSTGRES_POINTS)


def _die_and_recover(scene: Scene, point: str, points: dict[str, tuple[str, str, str]]) -> None:
    _, function, _ = points[point]
    if function in {"settle", "resume"}:
        _dies(scene, "before a request", 30)
        assert scene.rows("SELECT * FROM attempts WHERE state = 'intent'"), "there is nothing to settle"
    if function == "record_responses":
        # a verified result needs no further record
        scene.command.environment["SENDERID_RETRY__BASE_SECONDS"] = "0.01"
        scene.served.sandbox.script(None, "PUT", [Fault.INTERNAL_ERROR])
    for times in (1, 9) if function in {"put", "record_response"} else (1,):
        _dies(scene, point, times)
    scene.check_convergence(deaths=2)


@pytest.mark.parametrize("seed", range(10))
def test_death_at_any_instant_is_recovered(scene: Scene, seed: int) -> None:
    """Five consecutive runs are killed, each some requests after its start. The sixth converges."""
    _die_at_random_and_recover(scene, Random(seed))


@pytest.mark.parametrize("seed", range(4))
def test_death_at_any_instant_is_recovered_from_postgres(shared_scene: Scene, seed: int) -> None:
    """The leases of the killed runs have ended."""
    _die_at_random_and_recover(shared_scene, Random(seed))


def _die_at_random_and_recover(scene: Scene, chance: Random) -> None:
    for _ in range(5):
        requests, further = len(scene.served.sandbox.wire), chance.randint(1, 7)
        process = scene.start()
        _until(process, lambda requests=requests, further=further: len(scene.served.sandbox.wire) >= requests + further)  # type: ignore[misc]
        moment = time.monotonic() + chance.uniform(0, 0.005)
        while time.monotonic() < moment:
            pass
        process.kill()
        _, stderr = process.communicate(timeout=10)
        assert process.returncode == -signal.SIGKILL, stderr[-999:]
        scene.check_ledger()
    scene.check_convergence(deaths=5)


def test_death_while_waiting_leaves_open_intents(scene: Scene) -> None:
    scene.served.sandbox.script(None, "PUT", [None, *[Fault.STALL] * _CONCURRENCY])
    process = scene.start()
    _until(process, lambda: len(scene.served.writes) > _CONCURRENCY)
    process.kill()
    process.communicate(timeout=10)
    assert Counter(scene.rows("SELECT state FROM attempts"))[("intent",)] >= _CONCURRENCY
    scene.check_ledger()
    landed = sorted(str(phone) for phone, _ in scene.served.writes)
    scene.check_convergence(deaths=1)
    assert landed == [
        phone
        for (phone,) in scene.rows("SELECT phone FROM outcomes WHERE entry = 1 AND outcome = 'changed' ORDER BY phone")
    ]


@pytest.mark.parametrize("seed", range(10))
def test_sigterm_leaves_result_ledger_and_api_in_agreement(scene: Scene, seed: int) -> None:
    requests = Random(seed).randint(3, 40)
    process = scene.start()
    _until(process, lambda: len(scene.served.sandbox.wire) >= requests)
    process.terminate()
    out, stderr = process.communicate(timeout=40)
    assert process.returncode == 128 + signal.SIGTERM, stderr[-999:]
    (result,) = json.loads(out)["accounts"]
    assert scene.on_the_wire() == scene.intents()
    recorded = scene.rows("SELECT phone, outcome, before, after, attempts FROM outcomes ORDER BY phone")
    reported = [(n["phone"], n["outcome"], n["before"], n["after"], n["attempts"]) for n in result["numbers"]]
    assert recorded == sorted(reported)
    assert {outcome for _, outcome, *_ in recorded} <= {"changed", "not_attempted"}
    for phone, outcome, previous, current, attempts in recorded:
        assert scene.account.statuses[phone] == current == (scene.desired[phone] if outcome == "changed" else previous)
        assert attempts == scene.on_the_wire()[phone, scene.desired[phone]]
    assert scene.rows("SELECT outcome FROM runs") == [(json.loads(out)["outcome"],)] == [("interrupted",)]
    scene.check_convergence(deaths=0)


def test_second_signal_leaves_intents_open(scene: Scene) -> None:
    scene.served.sandbox.script(None, "PUT", [None, *[Fault.STALL] * _CONCURRENCY])
    process = scene.start()
    assert process.stderr is not None
    _until(process, lambda: len(scene.served.writes) > _CONCURRENCY)
    process.send_signal(signal.SIGINT)
    while "run.stopping" not in (line := process.stderr.readline()):
        assert line, "it ended"
    started_at = time.monotonic()
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=10)
    assert time.monotonic() - started_at < 5
    assert process.returncode == 128 + signal.SIGINT
    states = Counter(state for (state,) in scene.rows("SELECT state FROM attempts"))
    assert states["intent"] >= _CONCURRENCY
    scene.check_ledger()
    scene.check_convergence(deaths=1)
