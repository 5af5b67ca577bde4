"""The timeline of a number."""

from datetime import UTC, datetime

from worker.model.history import NumberRecord
from worker.model.plans import Action
from worker.model.status_page import NumberRun
from worker.render.view.timeline import timeline

NOW = datetime(2026, 11, 30, tzinfo=UTC)


def step(day: int, before: str | None, after: str | None, command: str = "apply", month: int = 11) -> NumberRun:
    """Return a run of a day."""
    record = NumberRecord(phone="02", action=Action.ACTIVATE, desired="ACTIVE", before=before, after=after)
    return NumberRun(day, f"r{day}", command, "p 7", "main", f"2026-{month:02}-{day:02}T00:00:00Z", record)


def test_periods_and_events_follow_the_runs() -> None:
    """The first period starts at the edge; a change elsewhere is at the read that found it."""
    steps = [step(20, "INACTIVE", "ACTIVE", "rollback r1"), step(10, "ACTIVE", "INACTIVE")]
    actual = timeline(steps, ("2026-11-25T00:00:00Z", "BLOCKED"), NOW)
    assert [(period.status, period.tone) for period in actual.periods] == [
        ("ACTIVE", "good"),
        ("INACTIVE", "quiet"),
        ("ACTIVE", "good"),
        ("BLOCKED", "warn"),
    ]
    assert actual.periods[0].x == 0
    assert sum(period.width for period in actual.periods) == 1000
    assert [(mark.kind, mark.status, mark.run_id) for mark in actual.marks] == [
        ("run", "INACTIVE", "r10"),
        ("rollback", "ACTIVE", "r20"),
        ("outside", "BLOCKED", None),
    ]
    assert (actual.ticks[0], actual.ticks[-1]) == ("2026-09-01T00:00:00Z", "2026-11-30T00:00:00Z")


def test_run_that_finds_another_status_shows_a_change_elsewhere() -> None:
    """Runs that change nothing have no mark. Events before the ninety days have none either."""
    steps = [step(20, "ACTIVE", "ACTIVE"), step(10, "INACTIVE", None), step(9, "INACTIVE", "ACTIVE", month=6)]
    actual = timeline(steps, None, NOW)
    assert [(mark.kind, mark.at[:10]) for mark in actual.marks] == [
        ("outside", "2026-11-10"),
        ("outside", "2026-11-20"),
    ]
    assert [period.status for period in actual.periods] == ["ACTIVE", "INACTIVE", "ACTIVE"]


def test_number_without_runs_has_the_status_of_its_read() -> None:
    actual = timeline([], ("2026-11-25T00:00:00Z", "ACTIVE"), NOW)
    assert [(period.x, period.width) for period in actual.periods] == [(0, 1000)]
    assert actual.marks == []
    assert timeline([], None, NOW).periods == []
    assert timeline([step(1, None, None)], None, NOW).periods == []
