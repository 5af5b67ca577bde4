"""The oracles notice: every bug that is planted into the real worker is found within a few hundred seeds."""

from typing import Final

import pytest

from tests.simulation.canaries import CANARIES, Canary
from tests.simulation.oracles import ORACLES, judge
from tests.simulation.scenario import scenario
from tests.simulation.world import simulate

_MOST_SEEDS: Final = 400


def _found(oracle: str, seed: int) -> bool:
    told = simulate(scenario(seed), judge).violations
    return any(violation.startswith(f"{oracle}: ") for violation in told)


@pytest.mark.parametrize("canary", CANARIES, ids=lambda canary: canary.bug)
def test_a_planted_bug_is_found(canary: Canary, monkeypatch: pytest.MonkeyPatch) -> None:
    """The oracle that a canary names contradicts the broken worker on one of the first seeds."""
    canary.plant(monkeypatch)
    assert any(_found(canary.oracle, seed) for seed in range(_MOST_SEEDS)), f"{canary.bug} was not noticed"


def test_the_unbroken_worker_passes_the_same_seeds() -> None:
    assert [seed for seed in range(_MOST_SEEDS) if simulate(scenario(seed), judge).violations] == []


def test_every_oracle_has_its_canary() -> None:
    """Each promise is known to be able to fail."""
    assert {canary.oracle for canary in CANARIES} == {"2", *(name for name, _ in ORACLES)}
