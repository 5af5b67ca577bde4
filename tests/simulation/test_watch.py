"""The promises of the daemon hold for many simulated scenarios with events at any await.

It runs a fifth of the `SENDERID_SEEDS` of the other simulation.
"""

import os
from typing import Final

import pytest

from tests.simulation.planted_bugs import PlantedBug
from tests.simulation.planted_watch_bugs import PLANTED_WATCH_BUGS
from tests.simulation.watch_oracles import WATCH_ORACLES, judge_watch
from tests.simulation.watch_scenario import draw_watch
from tests.simulation.watch_world import WatchWorld, watch

_SEEDS: Final = int(os.environ.get("SENDERID_SEEDS", "1000")) // 5
_CHUNK: Final = 40 if _SEEDS <= 2000 else 200
_MAX_SEEDS: Final = 150


def _judged(seed: int) -> WatchWorld:
    return watch(draw_watch(seed), judge_watch)


@pytest.mark.parametrize("first", range(0, _SEEDS, _CHUNK))
def test_watch_oracles_hold_on_every_seed(first: int) -> None:
    """Scenarios include edits, file changes, reloads, signals, faults, failing disks and channels."""
    seeds = range(first, min(first + _CHUNK, _SEEDS))
    wrong = [f"seed {seed}: {violation}" for seed in seeds for violation in _judged(seed).violations]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("seed", [0, 17, 59])
def test_watch_seed_is_deterministic(seed: int) -> None:
    first, second = ([event._replace(detail="") for event in _judged(seed).history.trace] for _ in range(2))
    assert len(first) > 50
    assert first == second


def test_watch_seeds_cover_every_event() -> None:
    """No oracle passes only because nothing happens."""
    met: set[str] = set()
    for seed in range(30):
        world = _judged(seed)
        met |= {event.what for event in world.history.trace}
        met |= {f"pass {record.result.outcome}" for record in world.passes if record.result is not None}
        met |= {f"news {news.event}" for life in world.lives for _, news in life.news}
        met |= {"undelivered" for life in world.lives if life.undelivered}
    expected = {"edit", "file", "slow", "faults", "channel", "disk", "settings", "stop", "delivered", "undelivered"}
    expected |= {
        f"watch.{event}" for event in ("file_broken", "file_mended", "suspended", "resumed", "reloaded", "backoff")
    }
    expected |= {f"pass {outcome}" for outcome in ("converged", "partial", "refused", "failed", "interrupted")}
    expected |= {f"news {event}" for event in ("failing", "refused", "drift", "changed", "file", "suspended", "daemon")}
    assert met >= expected, expected - met


@pytest.mark.parametrize("bug", PLANTED_WATCH_BUGS, ids=lambda bug: bug.name)
def test_planted_watch_bug_is_detected(bug: PlantedBug, monkeypatch: pytest.MonkeyPatch) -> None:
    bug.plant(monkeypatch)
    actual = (
        violation.startswith(f"{bug.oracle}: ")
        for seed in bug.seeds(_MAX_SEEDS)
        for violation in _judged(seed).violations
    )
    assert any(actual), f"{bug.name} was not detected"


def test_every_watch_oracle_has_a_planted_bug() -> None:
    assert {bug.oracle for bug in PLANTED_WATCH_BUGS} == {name for name, _ in WATCH_ORACLES}
