"""The stages of a run: plan, canary, write, verify, each with its duration."""

from collections.abc import Iterator
from datetime import datetime
from typing import Final

from msgspec import Struct

from worker.model.messages import Message
from worker.model.status_page import RunTimes

__all__ = ["Stage", "run_stages"]

_NAMES: Final = {
    "plan": Message("Plan"),
    "canary": Message("Canary"),
    "write": Message("Write"),
    "verify": Message("Verify"),
}


class Stage(Struct, frozen=True):
    """One stage. `seconds` is None while it is in progress, or if the run ended in it."""

    name: str
    start: str
    seconds: float | None


def run_stages(times: RunTimes) -> list[Stage]:
    """Return the stages that a run has reached, in order. Plans of the accounts end when the first one is recorded."""
    return list(_stages(times))


def _stages(times: RunTimes) -> Iterator[Stage]:
    planned = times.planned_at or times.first_write or times.finished_at
    yield Stage(_NAMES["plan"], times.started_at, _seconds(times.started_at, planned))
    if times.first_write is None:
        return
    start = times.first_write
    if times.canary_ended_at is not None:
        yield Stage(_NAMES["canary"], start, _seconds(start, times.canary_ended_at))
        start = times.canary_ended_at
    yield Stage(_NAMES["write"], start, _seconds(start, times.last_answer))
    if times.last_answer is not None:
        yield Stage(_NAMES["verify"], times.last_answer, _seconds(times.last_answer, times.finished_at))


def _seconds(start: str, end: str | None) -> float | None:
    if end is None:
        return None
    return max(0.0, (datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds())
