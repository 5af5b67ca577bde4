"""The timeline of one number: its status over the last ninety days, with runs, rollbacks and changes elsewhere."""

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Final, Literal

from msgspec import Struct

from worker.model.accounts import Status
from worker.model.status_page import NumberRun
from worker.model.times import format_utc
from worker.render.marks import Tone

__all__ = ["DAYS", "Period", "Timeline", "TimelineMark", "timeline"]

DAYS: Final = 90
_WIDTH: Final = 1000
"""Width of the whole timeline."""
_TICKS: Final = 6
"""Count of intervals between the labels of the time axis."""
_TONES: Final[dict[str, Tone]] = {Status.ACTIVE: "good", Status.INACTIVE: "quiet"}


class Period(Struct, frozen=True):
    """A time in which the number had one status, with its place and width in thousandths of the timeline."""

    start: str
    end: str
    status: str
    tone: Tone
    x: float
    width: float


class TimelineMark(Struct, frozen=True):
    """An event: a run that changed the number, a rollback, or a change that was made elsewhere.

    A change elsewhere is known only from the next read, so its time is that of the read.
    """

    kind: Literal["run", "rollback", "outside"]
    at: str
    status: str
    run_id: str | None
    x: float


class Timeline(Struct, frozen=True):
    """The periods and events of a number. `ticks` are times in equal distances, from the start to now."""

    periods: Sequence[Period]
    marks: Sequence[TimelineMark]
    ticks: Sequence[str]


def timeline(steps: Sequence[NumberRun], current: tuple[str, str] | None, now: datetime) -> Timeline:
    """Return the timeline of a number on one account, until `now`, an aware time.

    `steps` are its runs, newest first. `current` is the time and the status of the latest read; None if unknown.
    """
    start = now - timedelta(DAYS)

    def place(stamp: str) -> float:
        passed = (datetime.fromisoformat(stamp) - start) / timedelta(DAYS)
        return round(_WIDTH * min(max(passed, 0.0), 1.0), 2)

    marks = [mark for mark in _marks(steps, current, place) if datetime.fromisoformat(mark.at) >= start]
    periods = []
    changes = list(_changes(steps, current))
    ends = [*(at for at, _status in changes[1:]), format_utc(now)]
    for (at, status), end in zip(changes, ends, strict=False):
        x, right = place(at), place(end)
        if right > x:
            periods.append(Period(at, end, status, _TONES.get(status, "warn"), x, round(right - x, 2)))
    ticks = [format_utc(start + timedelta(DAYS) * tick / _TICKS) for tick in range(_TICKS + 1)]
    return Timeline(periods, marks, ticks)


def _changes(steps: Sequence[NumberRun], current: tuple[str, str] | None) -> Iterator[tuple[str, str]]:
    """Yield the time and the new status of each change, the oldest first. The first one has the first known status."""
    status: str | None = None
    for step in reversed(steps):
        for at, reached in ((step.started_at, step.number.before), (step.started_at, step.number.after)):
            if reached is not None and reached != status:
                # before its first run, the number had the status that the run found
                yield ("1970-01-01T00:00:00Z" if status is None else at), reached
                status = reached
    if current is not None and current[1] != status:
        yield ("1970-01-01T00:00:00Z" if status is None else current[0]), current[1]


def _marks(
    steps: Sequence[NumberRun], current: tuple[str, str] | None, place: Callable[[str], float]
) -> Iterator[TimelineMark]:
    status: str | None = None
    for step in reversed(steps):
        number = step.number
        if status is not None and number.before not in {None, status}:
            yield TimelineMark("outside", step.started_at, number.before or "", None, place(step.started_at))
        if number.after is not None and number.after != number.before:
            kind: Literal["run", "rollback"] = "rollback" if step.command.startswith("rollback") else "run"
            yield TimelineMark(kind, step.started_at, number.after, step.run_id, place(step.started_at))
        status = number.after or number.before or status
    if current is not None and status is not None and current[1] != status:
        yield TimelineMark("outside", current[0], current[1], None, place(current[0]))
