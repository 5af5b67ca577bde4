"""Death at any instant: every write that left is in the ledger; the next run settles it and converges."""

import json
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from random import Random
from typing import Any

import pytest

from tests.e2e.conftest import Command, Serve
from tests.support import die_at
from tests.support.die_at import POINTS
from worker.ledger.records import OPEN
from worker.sandbox import Fault, SandboxAccount

_SECRET = "CANARYSECRETCANARYSECRET12345678"
_CONCURRENCY = 4
_AHEAD = 3 * 4 * _CONCURRENCY
"""Intents that a run may have noted and not sent when it died."""
_DIE_AT = die_at.__file__


class Scene:
    """An account with 20 numbers to activate and 36 to deactivate, as many as are allowed, and its ledger."""

    def __init__(self, command: Command, serve: Serve) -> None:
        on = [f"0101000{n:04}" for n in range(20)]
        off = [f"0102000{n:04}" for n in range(36)]
        rest = [f"0103000{n:04}" for n in range(84)]
        self.wanted = dict.fromkeys(on, "ACTIVE") | dict.fromkeys(off, "INACTIVE") | dict.fromkeys(rest, "ACTIVE")
        before = dict.fromkeys(on, "INACTIVE") | dict.fromkeys((*off, *rest), "ACTIVE")
        self.account = SandboxAccount.of(before, api_secret=_SECRET)
        self.served = serve(self.account, rate_limit=None)
        self.command = command.at(self.served.sandbox, self.account)
        command.environment |= {
            "SENDERID_CONCURRENCY": f"{_CONCURRENCY}",
            "SENDERID_RATE_LIMIT__WRITES": "20",
            "SENDERID_RATE_LIMIT__PER_SECONDS": "0.1",
        }
        lines = "".join(f"  {phone}: {status}\n" for phone, status in self.wanted.items())
        command.write("d.yaml", f"version: 1\nnumbers:\n{lines}")

    def start(self, *program: str) -> subprocess.Popen[str]:
        """Begin to apply."""
        return self.command.popen("apply", "-y", "-f", "d.yaml", "--format", "json", program=program)

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """What the ledger holds, nothing while there is none."""
        path = self.command.folder / "state" / "senderid" / "ledger.db"
        if not path.exists():
            return []
        with closing(sqlite3.connect(path)) as connection:
            if not connection.execute("SELECT 1 FROM sqlite_master").fetchone():
                return []
            return connection.execute(query).fetchall()

    def on_the_wire(self) -> Counter[tuple[Any, ...]]:
        """The requests that write."""
        return Counter(self.served.writes)

    def noted(self) -> Counter[tuple[Any, ...]]:
        """The requests that write, as the ledger has them."""
        return Counter(self.rows("SELECT phone, asked FROM attempts"))

    def nothing_is_missing(self) -> None:
        """Whatever arrived was noted, and no secret with it."""
        assert self.on_the_wire() <= self.noted()
        for path in (self.command.folder / "state").rglob("*"):
            assert not path.is_file() or _SECRET.encode() not in path.read_bytes()

    def converges(self, deaths: int) -> None:
        """The next run does the rest, each number of each run has one outcome, and then there is nothing to do."""
        done = self.command("apply", "-y", "-f", "d.yaml", "--format", "json")
        assert done.returncode == 0, done.stdout + done.stderr
        assert self.account.statuses == self.wanted
        self.nothing_is_missing()
        assert (self.noted() - self.on_the_wire()).total() <= deaths * _AHEAD
        assert {state for (state,) in self.rows("SELECT state FROM attempts")}.isdisjoint(OPEN)
        assert self.rows("SELECT * FROM entries WHERE NOT settled OR outcome IS NULL OR finished_at IS NULL") == []
        assert self.rows("SELECT * FROM outcomes WHERE outcome IS NULL") == []
        for entry, outcome, counts in self.rows("SELECT id, outcome, counts FROM entries"):
            numbers = self.rows("SELECT entry, outcome FROM outcomes").count
            assert outcome != "crashed" or all(numbers((entry, each)) == n for each, n in json.loads(counts).items())
        sent = len(self.served.writes)
        again = self.command("apply", "-y", "-f", "d.yaml", "--format", "json")
        assert (again.returncode, len(self.served.writes)) == (0, sent)


@pytest.fixture
def scene(command: Command, serve: Serve) -> Scene:
    """Serve an account that takes 56 writes to converge."""
    return Scene(command, serve)


def _until(process: subprocess.Popen[str], condition: Callable[[], bool]) -> None:
    """Wait for a condition; fail with the output of a process that ended before."""
    end = time.monotonic() + 60
    while not condition():
        if process.poll() is not None or time.monotonic() > end:
            process.kill()
            _, stderr = process.communicate(timeout=10)
            raise AssertionError(f"it ended with {process.returncode} before: {stderr[-999:]}")
        time.sleep(0.001)


def _dies(scene: Scene, point: str, times: int) -> None:
    process = scene.start(sys.executable, _DIE_AT, point, f"{times}")
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL, stderr[-999:]
    scene.nothing_is_missing()


@pytest.mark.parametrize("point", POINTS)
def test_death_at_any_point_is_recovered(scene: Scene, point: str) -> None:
    closing_up = "open entries" in point or "closed entries" in point
    if closing_up:
        _dies(scene, "before a request", 30)
    if "responses" in point:
        # what is proven is not worth a note of its own
        scene.command.environment["SENDERID_RETRY__BASE_SECONDS"] = "0.01"
        scene.served.sandbox.script(None, "PUT", [Fault.INTERNAL_ERROR])
    often = ("before a request", "after a response", "before a response is recorded", "after a response is recorded")
    for times in (1, 9) if point in often else (1,):
        _dies(scene, point, times)
    scene.converges(deaths=2)


@pytest.mark.parametrize("seed", range(10))
def test_death_at_any_instant_is_recovered(scene: Scene, seed: int) -> None:
    """Five runs in a row are killed, each some requests after its start; the sixth converges."""
    chance = Random(seed)
    for _ in range(5):
        begun, more = len(scene.served.sandbox.wire), chance.randint(1, 7)
        process = scene.start()
        _until(process, lambda begun=begun, more=more: len(scene.served.sandbox.wire) >= begun + more)  # type: ignore[misc]
        moment = time.monotonic() + chance.uniform(0, 0.005)
        while time.monotonic() < moment:
            pass
        process.kill()
        _, stderr = process.communicate(timeout=10)
        assert process.returncode == -signal.SIGKILL, stderr[-999:]
        scene.nothing_is_missing()
    scene.converges(deaths=5)


def test_death_while_waiting_leaves_open_intents(scene: Scene) -> None:
    scene.served.sandbox.script(None, "PUT", [None, *[Fault.STALL] * _CONCURRENCY])
    process = scene.start()
    _until(process, lambda: len(scene.served.writes) > _CONCURRENCY)
    process.kill()
    process.communicate(timeout=10)
    assert Counter(scene.rows("SELECT state FROM attempts"))[("intent",)] >= _CONCURRENCY
    scene.nothing_is_missing()
    landed = sorted(str(phone) for phone, _ in scene.served.writes)
    scene.converges(deaths=1)
    assert landed == [
        phone
        for (phone,) in scene.rows("SELECT phone FROM outcomes WHERE entry = 1 AND outcome = 'changed' ORDER BY phone")
    ]


@pytest.mark.parametrize("seed", range(10))
def test_sigterm_leaves_result_ledger_and_api_in_agreement(scene: Scene, seed: int) -> None:
    more = Random(seed).randint(3, 40)
    process = scene.start()
    _until(process, lambda: len(scene.served.sandbox.wire) >= more)
    process.terminate()
    out, stderr = process.communicate(timeout=40)
    assert process.returncode == 128 + signal.SIGTERM, stderr[-999:]
    (result,) = json.loads(out)["accounts"]
    assert scene.on_the_wire() == scene.noted()
    kept = scene.rows("SELECT phone, outcome, before, after, attempts FROM outcomes ORDER BY phone")
    ours = [(n["phone"], n["outcome"], n["before"], n["after"], n["attempts"]) for n in result["numbers"]]
    assert kept == sorted(ours)
    assert {outcome for _, outcome, *_ in kept} <= {"changed", "not_attempted"}
    for phone, outcome, before, after, attempts in kept:
        assert scene.account.statuses[phone] == after == (scene.wanted[phone] if outcome == "changed" else before)
        assert attempts == scene.on_the_wire()[phone, scene.wanted[phone]]
    assert scene.rows("SELECT outcome FROM runs") == [(json.loads(out)["outcome"],)] == [("interrupted",)]
    scene.converges(deaths=0)


def test_second_signal_leaves_intents_open(scene: Scene) -> None:
    scene.served.sandbox.script(None, "PUT", [None, *[Fault.STALL] * _CONCURRENCY])
    process = scene.start()
    assert process.stderr is not None
    _until(process, lambda: len(scene.served.writes) > _CONCURRENCY)
    process.send_signal(signal.SIGINT)
    while "run.stopping" not in (line := process.stderr.readline()):
        assert line, "it ended"
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=10)
    assert time.monotonic() - began < 5
    assert process.returncode == 128 + signal.SIGINT
    states = Counter(state for (state,) in scene.rows("SELECT state FROM attempts"))
    assert states["intent"] >= _CONCURRENCY
    scene.nothing_is_missing()
    scene.converges(deaths=1)
