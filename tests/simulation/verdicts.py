"""Compare the report of a run with the effects of its writes, and with the numbers that its options select."""

from collections.abc import Iterator

from tests.simulation.history import Request
from tests.simulation.runs import Life
from tests.simulation.world import World
from worker.plan.policy import Selection

__all__ = ["options_narrow_every_run", "own_writes_are_not_reported_as_external"]

_EXTERNAL = frozenset({"unchanged", "failed", "not_attempted", "blocked", "conflict"})


def own_writes_are_not_reported_as_external(world: World, runs: list[Life]) -> Iterator[str]:
    """A number that a run wrote, and observed as written or never again, is changed or unverified."""
    edited = {edit.phone for edit in world.history.edits}
    for life in runs:
        outcomes = {number.phone: number.outcome for number in life.results}
        for phone, puts in life.by_phone.items():
            written = next((put for put in puts if put.effect), None)
            if written is None or phone in edited or life.record.result is None:
                continue
            outcome = outcomes.get(phone, "unchanged")
            last = _last_read(life, phone, written)
            if last is None and outcome in _EXTERNAL:
                yield f"{life.name} reports {phone} as {outcome}, but wrote it and did not read it again"
            elif last is not None and last.visible.get(phone) == written.requested and outcome in _EXTERNAL:
                yield f"{life.name} reports {phone} as {outcome}, but a read showed the write"


def _last_read(life: Life, phone: str, put: Request) -> Request | None:
    """Return the last read after a write was abandoned or got a response."""
    for read in reversed(life.reads):
        if put.ended is not None and read.sent.order > put.ended.order and phone not in read.omitted:
            return read
    return None


def options_narrow_every_run(world: World, runs: list[Life]) -> Iterator[str]:
    """A run with --only or --exclude plans, writes, reports and records selected numbers only."""
    rows = world.rows("SELECT run, phone FROM outcomes JOIN entries ON entries.id = entry")
    selections = {life.name: life.record.script.terms.selection for life in runs}
    for life in runs:
        selection = selections[life.name]
        if life.record.saved is not None:  # the selection when the plan was saved
            instance = life.record.plan_file
            selection = Selection() if instance is None else selections[instance.id]
        if selection == Selection():
            continue
        plan = life.record.plan
        actual = {
            "plans": {change.phone for change in plan.changes} if plan is not None else set(),
            "writes": set(life.by_phone),
            "reports": {number.phone for number in life.results},
            "records": {row["phone"] for row in rows if row["run"] == life.name},
        }
        for verb, phones in actual.items():
            for phone in sorted(phones):
                if phone in selection.exclude or (selection.only and phone not in selection.only):
                    yield f"{life.name}, a {life.record.script.kind}, {verb} {phone}, which is not selected"
