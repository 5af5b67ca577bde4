"""Compare the ledger and the result with the requests that the API received."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

from tests.simulation.history import ResponseKind
from tests.simulation.runs import Life
from tests.simulation.world import World
from worker.model.accounts import Unmanaged

__all__ = ["attempts_are_requests", "every_number_has_one_outcome", "nothing_is_left_open"]


def attempts_are_requests(world: World, runs: list[Life]) -> Iterator[str]:
    """Each write request is one row with its response. A killed run may have one more intent."""
    rows = _grouped(
        world, "SELECT run, phone, number, http_status FROM attempts JOIN entries ON entries.id = entry ORDER BY number"
    )
    for life in runs:
        written = rows.get(life.name, {})
        cut = life.record.crashed or life.record.unwritable or _recording_failed(life)
        for phone in {*written, *life.by_phone}:
            actual, puts = written.get(phone, []), life.by_phone.get(phone, [])
            more = len(actual) - len(puts)
            if more < 0 or more > cut or [row["number"] for row in actual] != list(range(1, len(actual) + 1)):
                yield f"{life.name} sends {len(puts)} writes of {phone}, but the ledger has {len(actual)}"
            if cut:
                continue
            for row, put in zip(actual, puts, strict=False):
                if (
                    put.response_kind in {ResponseKind.REFUSED, ResponseKind.RETRYABLE}
                    and row["http_status"] != put.status
                ):
                    yield f"{life.name} received {put.status} for {phone}, but the ledger has {row['http_status']}"


def every_number_has_one_outcome(world: World, runs: list[Life]) -> Iterator[str]:
    """The result contains every number once, and the ledger contains the same outcomes."""
    rows = _grouped(
        world,
        "SELECT run, phone, outcomes.outcome FROM outcomes JOIN entries ON entries.id = entry "
        "WHERE entries.finished_at IS NOT NULL",
    )
    for life in runs:
        results, result = life.results, life.record.result
        stored = {phone: actual[0]["outcome"] for phone, actual in rows.get(life.name, {}).items()}
        if result is not None:
            if len({number.phone for number in results}) != len(results):
                yield f"{life.name} reports a number twice"
            if life.record.saved is None and sum(result.counts.values()) not in _expected(life):
                yield f"{life.name} counts {sum(result.counts.values())} numbers, but there are {_expected(life)}"
            outcomes = {number.phone: number.outcome for number in results}
            is_recorded = not life.record.crashed and not _recording_failed(life)
            if is_recorded and any(stored[phone] != outcomes.get(phone, "unchanged") for phone in stored):
                yield f"{life.name} reports {outcomes}, but the ledger has {stored}"
        if missing := [phone for phone, outcome in stored.items() if outcome is None]:
            yield f"{life.name} has no outcome of {missing} in the ledger"
        if missing := [phone for phone in life.by_phone if phone not in stored]:
            yield f"{life.name} wrote {missing}, but the ledger has no outcome of them"


def nothing_is_left_open(world: World, runs: list[Life]) -> Iterator[str]:
    """In the end, every run has its end in the ledger, and every request its outcome."""
    del runs
    for row in world.rows("SELECT run, finished_at, settled FROM entries WHERE finished_at IS NULL OR NOT settled"):
        yield f"{row['run']} is open: {row}"


def _expected(life: Life) -> set[int]:
    """Return the number of phone numbers that any read of a run covers."""
    listed, selection = set(life.file.numbers), life.record.script.terms.selection
    actual = set()
    for read in ({}, *(request.visible for request in life.requests)):
        phones = listed if life.file.unmanaged is Unmanaged.IGNORE else listed | set(read)
        if selection.only:
            phones &= selection.only
        actual.add(len(phones - selection.exclude))
    return actual


def _recording_failed(life: Life) -> bool:
    return life.record.script.disk_error is not None


def _grouped(world: World, sql: str) -> Mapping[str, Mapping[str, list[dict[str, Any]]]]:
    """Return rows by run and phone."""
    actual: dict[str, dict[str, list[dict[str, Any]]]] = defaultdict(lambda: defaultdict(list))
    for row in world.rows(sql):
        actual[row["run"]][row["phone"]].append(row)
    return actual
