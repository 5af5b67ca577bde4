"""The promises hold in the model and the ledger for thousands of simulated scenarios.

`SENDERID_SEEDS` is the number of seeds. `make simulate` runs many more than `make test`.
"""

import os
import re
from pathlib import Path
from typing import Final

import pytest

from tests.simulation.databases import PostgresStore
from tests.simulation.faults import PROFILES
from tests.simulation.oracles import judge
from tests.simulation.regressions import REGRESSIONS
from tests.simulation.scenario import RunScript, draw_scenario
from tests.simulation.world import World, simulate
from tests.support.postgres import new_database
from worker.ledger.postgres.database import PostgresDatabase
from worker.model.accounts import Desired, DesiredAccount, Status

_SEEDS: Final = int(os.environ.get("SENDERID_SEEDS", "1000"))
_CHUNK: Final = 100 if _SEEDS <= 10_000 else 1000
_VARIED: Final = (107, 30, 177, 141, 18, 663, 130, 13, 64, 89, 157, 161, 23, 25, 76, 84, 155)
"""Seeds that together have every fault and event. They are tried first."""
_POSTGRES_SEEDS: Final = _SEEDS // 50
"""A scenario takes 50 times as long with a server."""
_POSTGRES_CHUNK: Final = 10
_CHUNKS: Final = range(0, _SEEDS, _CHUNK)
_PAGE: Final = Path(__file__).parents[2] / "docs/explanation/simulation.md"


def _judged(seed: int) -> World:
    return simulate(draw_scenario(seed), judge)


@pytest.mark.parametrize("first", _CHUNKS)
def test_oracles_hold_on_every_seed(first: int) -> None:
    """Scenarios include faults, edits, crashes, full disks and clock jumps."""
    seeds = range(first, min(first + _CHUNK, _SEEDS))
    wrong = [f"seed {seed}: {violation}" for seed in seeds for violation in _judged(seed).violations]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("first", range(0, _POSTGRES_SEEDS, _POSTGRES_CHUNK))
def test_oracles_hold_in_postgres(first: int) -> None:
    """The same oracles, for runs with a ledger in PostgreSQL."""
    wrong = []
    for seed in range(first, first + _POSTGRES_CHUNK):
        database = PostgresDatabase(new_database())
        world = simulate(draw_scenario(seed), judge, open_store=lambda _, database=database: PostgresStore(database))  # type: ignore[misc]
        wrong += [f"seed {seed}: {violation}" for violation in world.violations]
        database.close()
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("seed", REGRESSIONS)
def test_regression_seeds_pass(seed: int) -> None:
    assert _judged(seed).violations == []


@pytest.mark.parametrize("seed", [3, 34, 101, 650, 1871])
def test_seed_is_deterministic(seed: int) -> None:
    first, second = _judged(seed).history.trace, _judged(seed).history.trace
    assert len(first) > 10
    assert first == second


def test_seeds_cover_every_fault_and_event() -> None:
    """No oracle passes only because nothing happens."""
    met: set[str] = set()

    def read(world: World) -> None:
        met.update(event.what for event in world.history.trace)
        met.update(f"{request.method} {request.fault}" for request in world.history.requests)
        met.update(f"run {record.script.kind}" for record in world.records)
        met.update(f"outcome {record.result.outcome}" for record in world.records if record.result is not None)
        met.update("unwritable" for record in world.records if record.unwritable)

    faults = {name for _, weights in PROFILES.values() for name in weights}
    expected = {f"PUT {name}" for name in faults} | {f"GET {name}" for name in faults}
    expected |= {"crash", "edit", "jump", "interrupt", "commit", "unwritable"}
    expected |= {f"run {kind}" for kind in ("apply", "plan", "drift", "save", "saved")}
    expected |= {
        f"outcome {outcome}" for outcome in ("converged", "partial", "refused", "failed", "locked", "interrupted")
    }
    for seed in (*_VARIED, *range(1000)):
        simulate(draw_scenario(seed), read)
        if met >= expected:
            break
    assert met >= expected, expected - met


@pytest.mark.parametrize("sample", re.findall(r"<<'EOF'\n(.*?)\nEOF\n", _PAGE.read_text(), re.DOTALL))
def test_documented_replay_prints_the_trace(sample: str, capsys: pytest.CaptureFixture[str]) -> None:
    exec(sample, {})  # noqa: S102 - the page is part of the project
    assert len(capsys.readouterr().out.splitlines()) > 10


def test_concurrent_runs_write_once() -> None:
    numbers = {f"0100000{index:04}": "INACTIVE" for index in range(8)}
    expected = dict.fromkeys(numbers, Desired(Status.ACTIVE))
    file = DesiredAccount("main", "0.yaml", expected, range(8))
    scenario = draw_scenario(1)._replace(numbers=numbers, files=(file,), runs=(RunScript(beside=True), RunScript()))
    world = simulate(scenario, judge)
    assert world.violations == []
    results = [record.result for record in world.records[:2] if record.result is not None]
    assert sorted(str(result.outcome) for result in results) == ["converged", "locked"]
    (error,) = (result.error for result in results if result.error is not None)
    assert error.code == "AccountBusy"
    assert "run run-" in error.message
    assert len({request.run for request in world.history.requests if request.writes}) == 1
