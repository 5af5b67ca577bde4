"""Charts of requests: stacked bars, the limit, and round numbers at the axis."""

import pytest

from worker.model.status_page import RequestBucket
from worker.render.view.chart import CHART_HEIGHT, request_chart


def buckets(*values: tuple[int, int, int]) -> list[RequestBucket]:
    """Return a bucket for each count of reads, writes and rejected writes."""
    return [RequestBucket(f"2026-11-24T00:{index:02}:00Z", *value) for index, value in enumerate(values)]


def test_bars_are_stacked_to_the_sum_of_requests() -> None:
    chart = request_chart(buckets((2, 5, 1), (0, 0, 0), (1, 0, 0)))
    assert (chart.peak, chart.top, chart.limit_y) == (7, 10, None)
    reads, writes, rejected, single = chart.parts
    assert [part.kind for part in chart.parts] == ["reads", "writes", "rejected", "reads"]
    assert reads.y + reads.height == CHART_HEIGHT
    assert writes.y + writes.height == pytest.approx(reads.y)
    assert rejected.y == pytest.approx(CHART_HEIGHT * 3 / 10)
    assert single.x > rejected.x
    assert chart.ticks == [f"2026-11-24T00:{minute:02}:00Z" for minute in (0, 1, 2)]


def test_labels_are_at_the_quarters_of_the_axis() -> None:
    """A label is where its time is on the axis."""
    chart = request_chart(buckets(*[(1, 0, 0)] * 60))
    assert chart.ticks == [f"2026-11-24T00:{minute:02}:00Z" for minute in (0, 15, 30, 45)]


@pytest.mark.parametrize(("peak", "top"), [(1, 2), (2, 2), (3, 4), (4, 4), (5, 10), (11, 20), (41, 100), (399, 400)])
def test_axis_ends_at_a_round_number(peak: int, top: int) -> None:
    assert request_chart(buckets((0, peak, 0))).top == top


def test_limit_is_drawn_unless_it_is_far_above_all_bars() -> None:
    near, far = request_chart(buckets((0, 30, 0)), 80), request_chart(buckets((0, 3, 0)), 800)
    assert (near.top, near.limit_y) == (100, CHART_HEIGHT * 0.2)
    assert (far.top, far.limit_y, far.limit) == (4, None, 800)
