"""Availability groups under faults: no write takes a group below its minimum in the model."""

import os
from collections.abc import Iterator, Mapping
from random import Random
from typing import Final

import pytest
from msgspec import structs

from tests.simulation.process import Happening
from tests.simulation.scenario import Scenario, draw_scenario
from tests.simulation.world import World, simulate
from worker.config.settings import SafetySettings
from worker.model.accounts import Desired, DesiredAccount, Group, Status
from worker.plan import build
from worker.reconcile import executor

_PLANS: Final = max(500, int(os.environ.get("SENDERID_SEEDS", "0")) // 10)
_CHUNK: Final = 100
_SAFETY: Final = SafetySettings("100%", 0)


def _scenario(seed: int) -> Scenario:
    """Return a scenario with groups: the seed's faults, crashes, signals and broken disks, without manual edits."""
    chance = Random(f"groups {seed}")
    scenario = draw_scenario(seed)
    phones = [f"010{index:08}" for index in range(chance.randint(3, 9))]
    numbers = {phone: chance.choice(("ACTIVE", "INACTIVE")) for phone in phones}
    groups = []
    for index in range(chance.randint(1, 3)):
        members = tuple(chance.sample(phones, chance.randint(1, min(4, len(phones)))))
        groups.append(Group(f"g{index}", members, chance.randint(1, len(members))))
    files = tuple(_file(chance, numbers, tuple(groups), index) for index in range(2))
    runs = tuple(
        run._replace(
            file=run.file if run.pause else 0,
            terms=structs.replace(run.terms, safety=_SAFETY),
            happenings=_without_edits(run.happenings),
            turns=_without_edits(run.turns),
        )
        for run in scenario.runs
    )
    settings = structs.replace(scenario.settings, safety=_SAFETY)
    return scenario._replace(numbers=numbers, files=files, settings=settings, runs=runs)


def _without_edits(happenings: Mapping[int, tuple[Happening, ...]]) -> dict[int, tuple[Happening, ...]]:
    return {moment: tuple(event for event in some if event.what != "edit") for moment, some in happenings.items()}


def _file(chance: Random, numbers: dict[str, str], groups: tuple[Group, ...], index: int) -> DesiredAccount:
    turned = chance.choice((0.5, 0.9, 1.0))
    expected = {
        phone: Desired(Status("INACTIVE" if (status == "ACTIVE") == (chance.random() < turned) else "ACTIVE"))
        for phone, status in numbers.items()
    }
    return DesiredAccount("main", f"{index}.yaml", expected, range(len(expected)), groups=groups)


def _violations(world: World) -> Iterator[str]:
    """Return each moment at which a write took an ACTIVE number from a group at its minimum."""
    statuses = dict(world.scenario.numbers)
    groups = world.scenario.files[0].groups
    for event in world.history.trace:
        if event.what != "effect":
            continue
        previous, current = event.detail.split()
        if (previous, current) == ("ACTIVE", "INACTIVE"):
            for group in groups:
                active = sum(statuses[member] == "ACTIVE" for member in group.members)
                if event.phone in group.members and active <= group.min_active:
                    yield f"{event.run} took {event.phone} from {group.name} at {event.at}: {active} were ACTIVE"
        statuses[event.phone] = current


def _lived(seed: int) -> list[str]:
    return list(_violations(simulate(_scenario(seed))))


@pytest.mark.parametrize("first", range(0, _PLANS, _CHUNK))
def test_no_group_falls_below_its_minimum(first: int) -> None:
    wrong = [
        f"seed {seed}: {violation}" for seed in range(first, min(first + _CHUNK, _PLANS)) for violation in _lived(seed)
    ]
    assert not wrong, "\n".join(wrong)


def test_seeds_cover_held_and_failed_activations() -> None:
    expected = {"held held", "deactivate held", "deactivate changed", "activate failed"}
    outcomes: set[str] = set()
    for seed in range(200):
        if outcomes >= expected:
            break
        world = simulate(_scenario(seed))
        for record in world.records:
            if record.result is not None:
                outcomes |= {f"{number.action} {number.outcome}" for number in record.result.numbers}
    assert outcomes >= expected, expected - outcomes


@pytest.mark.parametrize("bug", ["no plan holds a deactivation", "nothing is proven"])
def test_planted_bug_is_detected(bug: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if bug == "no plan holds a deactivation":
        monkeypatch.setattr(build, "hold_back", lambda changes, *_, **__: tuple(changes))
    monkeypatch.setattr(executor, "group_holds", lambda *_: {})
    assert any(_lived(seed) for seed in range(200))
