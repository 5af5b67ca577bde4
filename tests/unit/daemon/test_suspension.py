"""Maintenance windows that suspend an account."""

from datetime import UTC, datetime, timedelta

import pytest

from worker.daemon.suspension import active_window, next_edge
from worker.model.suspension import Maintenance, Suspend

WINDOW = Maintenance("Sun 02:00-04:00")
START = datetime(2026, 11, 28, 17, tzinfo=UTC)
"""Sunday, 02:00 in Seoul."""
END = START + timedelta(hours=2)
SECOND = timedelta(seconds=1)


@pytest.mark.parametrize(
    ("now", "ends"),
    [(START - SECOND, None), (START, "2026-11-28T19:00:00Z"), (END - SECOND, "2026-11-28T19:00:00Z"), (END, None)],
)
def test_account_is_suspended_within_its_window(now: datetime, ends: str | None) -> None:
    """The window excludes its end."""
    suspend = active_window(WINDOW, "Asia/Seoul", now)
    assert suspend == (None if ends is None else Suspend("maintenance: Sun 02:00-04:00", None, ends))


def test_window_with_a_reason_suspends_with_that_reason() -> None:
    suspend = active_window(Maintenance("Sun 02:00-04:00", "backup"), "Asia/Seoul", START)
    assert suspend == Suspend("backup", None, "2026-11-28T19:00:00Z")


@pytest.mark.parametrize(
    ("after", "edge"),
    [
        (START - SECOND, START),
        (START, END),
        (END - SECOND, END),
        (END, START + timedelta(days=7)),
    ],
)
def test_next_edge_is_the_start_or_end_of_the_window(after: datetime, edge: datetime) -> None:
    assert next_edge(WINDOW, "Asia/Seoul", after) == edge
    assert next_edge(WINDOW, "UTC", after + timedelta(hours=9)) == edge + timedelta(hours=9)


def test_account_without_a_window_is_not_suspended() -> None:
    assert active_window(Maintenance(None), "Asia/Seoul", START) is None
    assert next_edge(Maintenance(None), "Asia/Seoul", START) is None
