"""Every bug that is planted into the real worker is detected within a few hundred seeds.

`test_simulation.py` shows that the worker without a planted bug passes the same seeds.
"""

from typing import Final

import pytest

from tests.simulation.oracles import ORACLES, judge
from tests.simulation.planted_bugs import PLANTED_BUGS, PlantedBug
from tests.simulation.scenario import draw_scenario
from tests.simulation.world import simulate

_MAX_SEEDS: Final = 400


def _found(oracle: str, seed: int) -> bool:
    violations = simulate(draw_scenario(seed), judge).violations
    return any(violation.startswith(f"{oracle}: ") for violation in violations)


@pytest.mark.parametrize("bug", PLANTED_BUGS, ids=lambda bug: bug.name)
def test_planted_bug_is_detected(bug: PlantedBug, monkeypatch: pytest.MonkeyPatch) -> None:
    """The oracle of the bug reports a violation on one of the first seeds."""
    bug.plant(monkeypatch)
    assert any(_found(bug.oracle, seed) for seed in bug.seeds(_MAX_SEEDS)), f"{bug.name} was not detected"


def test_every_oracle_has_a_planted_bug() -> None:
    """Each promise can fail."""
    assert {bug.oracle for bug in PLANTED_BUGS} == {"2", *(name for name, _ in ORACLES)}
