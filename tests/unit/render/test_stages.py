"""The stages of a run."""

import pytest

from worker.model.status_page import RunTimes
from worker.render.view.stages import run_stages


def at(seconds: int | None) -> str | None:
    """Return a time of the run."""
    return None if seconds is None else f"2026-11-24T00:00:{seconds:02}Z"


@pytest.mark.parametrize(
    ("seconds", "stages"),
    [
        ((None, None, None, None, None), [("Plan", None)]),
        ((None, None, None, None, 3), [("Plan", 3.0)]),
        ((1, 2, None, 5, 6), [("Plan", 1.0), ("Write", 3.0), ("Verify", 1.0)]),
        ((1, 2, 4, 5, 6), [("Plan", 1.0), ("Canary", 2.0), ("Write", 1.0), ("Verify", 1.0)]),
        ((1, 2, None, 5, None), [("Plan", 1.0), ("Write", 3.0), ("Verify", None)]),
        ((1, 2, None, None, None), [("Plan", 1.0), ("Write", None)]),
        ((1, 2, None, 1, 6), [("Plan", 1.0), ("Write", 0.0), ("Verify", 5.0)]),
    ],
)
def test_stages_are_those_that_the_run_reached(
    seconds: tuple[int | None, ...], stages: list[tuple[str, float | None]]
) -> None:
    """The times are those of the plan, the first write, the canary, the last answer and the end."""
    planned, first, canary, last, finished = seconds
    times = RunTimes(
        started_at="2026-11-24T00:00:00Z",
        planned_at=at(planned),
        first_write=at(first),
        canary_ended_at=at(canary),
        last_answer=at(last),
        finished_at=at(finished),
    )
    assert [(stage.name, stage.seconds) for stage in run_stages(times)] == stages
