"""The headline of the fleet, its segments, and what needs attention in it."""

import pytest

from worker.model.plans import NoticeKind
from worker.model.reads import Attention, HealthStatus, Segment, SyncStatus
from worker.model.results import Outcome
from worker.model.status_page import AccountStatus
from worker.render.view.fleet import attention_kinds, headline, next_step, segments

STATES = {
    Segment.FAILED: (SyncStatus.UNKNOWN, HealthStatus.FAILED),
    Segment.NEEDS_ATTENTION: (SyncStatus.OUT_OF_SYNC, HealthStatus.NEEDS_ATTENTION),
    Segment.OUT_OF_SYNC: (SyncStatus.OUT_OF_SYNC, HealthStatus.HEALTHY),
    Segment.UNKNOWN: (SyncStatus.UNKNOWN, HealthStatus.HEALTHY),
    Segment.SUSPENDED: (SyncStatus.IN_SYNC, HealthStatus.SUSPENDED),
    Segment.IN_SYNC: (SyncStatus.IN_SYNC, HealthStatus.HEALTHY),
}


def fleet(*of: Segment) -> list[AccountStatus]:
    """Return an account of each segment."""
    return [
        AccountStatus(name=f"{index}", sync=STATES[segment][0], health=STATES[segment][1])
        for index, segment in enumerate(of)
    ]


@pytest.mark.parametrize(
    ("of", "text", "tone"),
    [
        ([Segment.IN_SYNC], "The account is in sync", "good"),
        ([Segment.IN_SYNC] * 3, "All 3 accounts are in sync", "good"),
        ([Segment.IN_SYNC, Segment.SUSPENDED], "1 of 2 accounts is suspended", "quiet"),
        ([Segment.SUSPENDED, Segment.UNKNOWN, Segment.UNKNOWN], "2 of 3 accounts have not been read", "quiet"),
        ([Segment.UNKNOWN, Segment.OUT_OF_SYNC], "1 of 2 accounts is out of sync", "info"),
        ([Segment.OUT_OF_SYNC, Segment.NEEDS_ATTENTION], "1 of 2 accounts needs attention", "warn"),
        ([Segment.FAILED, Segment.NEEDS_ATTENTION], "2 of 2 accounts need attention", "bad"),
    ],
)
def test_headline_is_about_the_most_severe_segment(of: list[Segment], text: str, tone: str) -> None:
    assert headline(fleet(*of)) == (text, tone)


def test_segments_fill_the_bar_and_small_ones_can_be_seen() -> None:
    views = segments(fleet(*[Segment.IN_SYNC] * 5000, Segment.FAILED))
    assert [(view.segment, view.count) for view in views] == [("failed", 1), ("in_sync", 5000)]
    assert views[0].width >= 8
    assert (views[0].start, views[1].start, views[1].start + views[1].width) == (0, views[0].width, 1000)
    assert segments([]) == []


def test_attention_is_grouped_by_kind_with_its_next_step() -> None:
    """The most severe kind comes first; one of a later version comes last. Ten rows are shown."""
    held = Attention("held", "in use", count=3, phones=("01000000001",))
    accounts = [AccountStatus(name=f"{index:02}", needs=(held, Attention("novel_kind", "x"))) for index in range(12)]
    accounts.append(AccountStatus(name="z", needs=(Attention("error", "no", "Broken"), Attention("limit", "full"))))
    kinds = attention_kinds(accounts)
    assert [kind.kind for kind in kinds] == ["error", "held", "limit", "novel_kind"]
    error, of_held, limit, novel = kinds
    assert (of_held.accounts, of_held.numbers, len(of_held.rows), of_held.more) == (12, 36, 10, 2)
    assert (error.rows[0].code, error.mark.tone, error.numbers) == ("Broken", "bad", 0)
    assert (limit.mark.tone, limit.mark.word) == ("warn", "limit")
    assert (novel.mark.word, novel.next_step) == ("novel kind", "")


def test_every_kind_has_a_next_step() -> None:
    kinds = [
        *NoticeKind,
        *(outcome for outcome in Outcome if outcome.needs_attention),
        "error",
        "refused",
        "unfinished",
    ]
    assert [kind for kind in kinds if not next_step(kind)] == []
