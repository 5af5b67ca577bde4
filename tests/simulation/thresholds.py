"""The safety rules, computed from the model: over a run and the killed runs before it."""

from collections.abc import Iterator

from tests.simulation.runs import Life
from tests.simulation.world import World
from worker.config.settings import threshold
from worker.model.safety import Safety
from worker.plan.safety import ALLOW_ALL, MAX_DEACTIVATIONS, MIN_ACTIVE, effective_safety

__all__ = ["enough_stay_active", "thresholds_hold"]


def _safety(life: Life) -> Safety:
    if life.record.saved is not None:
        return life.record.saved.safety
    return effective_safety(life.record.script.terms.safety, life.file.safety)


def thresholds_hold(world: World, runs: list[Life]) -> Iterator[str]:
    """A plan that crashes split into pieces deactivates no more than an uninterrupted one."""
    outcomes = {row["run"]: row["outcome"] for row in world.rows("SELECT run, outcome FROM entries")}
    spent: set[str] = set()
    for life in runs:
        ended = outcomes.get(life.name) not in {None, "crashed"}
        if not life.puts:
            # a run without remaining changes has finished that plan
            spent = set() if outcomes.get(life.name) == "converged" else spent
            continue
        read = life.planning
        output = {} if read is None else read.visible
        previous = {
            phone for phone in spent if output.get(phone) == "INACTIVE" and life.desired_status(phone) == "INACTIVE"
        }
        now = {put.phone for put in life.puts if put.requested == "INACTIVE"}
        if life.record.script.terms.allow.isdisjoint({ALLOW_ALL, MAX_DEACTIVATIONS}):
            active = sum(status == "ACTIVE" for status in output.values()) + len(previous)
            limit = threshold(_safety(life).max_deactivations, active)
            if now and len(now | previous) > limit:
                yield f"{life.name} deactivates {sorted(now)} after {sorted(previous)}, but the limit is {limit}"
        if not ended:
            spent |= {put.phone for put in life.puts if put.effect and put.requested == "INACTIVE"}
        else:
            spent = set()


def enough_stay_active(world: World, runs: list[Life]) -> Iterator[str]:
    """No write deactivates one of the last ACTIVE numbers, unless unobserved external changes did so."""
    by_name = {life.name: life for life in runs}
    for index, (moment, active, request) in enumerate(world.history.active):
        if request is None or request.requested != "INACTIVE":
            continue
        life = by_name[request.run]
        minimum = _safety(life).min_active
        if active >= minimum or not life.record.script.terms.allow.isdisjoint({ALLOW_ALL, MIN_ACTIVE}):
            continue
        read = life.planning
        if read is None or read.account_at_response is None or read.arrived is None:
            continue
        if sum(status == "ACTIVE" for status in read.visible.values()) < minimum:
            continue
        foreign = any(
            read.arrived.order < when.order <= moment.order and (by is None or by.run != request.run)
            for when, _, by in world.history.active[: index + 1]
        )
        if not foreign:
            yield f"{request.run} leaves {active} numbers ACTIVE, but the minimum is {minimum}"
