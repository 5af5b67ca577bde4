"""The view of the fleet: its headline, its segments, and what needs attention in it, grouped by kind."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final

from msgspec import Struct

from worker.model.history import Ending
from worker.model.messages import Message
from worker.model.plans import NoticeKind
from worker.model.reads import Segment
from worker.model.results import Outcome
from worker.model.status_page import AccountStatus
from worker.render.i18n import ngettext, translate
from worker.render.marks import ENDINGS, MARKS, NOTICES, UNFINISHED, Mark, Tone

__all__ = ["AttentionKind", "AttentionRow", "SegmentView", "attention_kinds", "headline", "next_step", "segments"]

_ROWS: Final = 10
"""Maximum count of rows of one kind. The others are counted."""
_FULL: Final = 1000
"""Width of the whole segment bar."""
_LEAST: Final = 8
"""Minimum width of a segment that has accounts, so that it can be seen and clicked."""

_KINDS: Final[dict[str, tuple[Mark, Message]]] = {
    "error": (
        Mark("x", Message("error"), "bad"),
        Message("Fix the cause. The next pass or apply reads the account again."),
    ),
    Outcome.FAILED: (MARKS[Outcome.FAILED], Message("Fix the cause, then apply again.")),
    "refused": (
        ENDINGS[Ending.REFUSED],
        Message("Review the plan. If the changes are intended, run `senderid apply --allow RULE`."),
    ),
    Outcome.CONFLICT: (MARKS[Outcome.CONFLICT], Message("The number was changed elsewhere. Plan again.")),
    Outcome.UNVERIFIED: (MARKS[Outcome.UNVERIFIED], Message("Plan again to read the current status.")),
    Ending.UNFINISHED: (UNFINISHED, Message("The run is in progress or it crashed. The next apply settles it.")),
    Outcome.NOT_ATTEMPTED: (MARKS[Outcome.NOT_ATTEMPTED], Message("Fix the cause, then apply again.")),
    Outcome.HELD: (
        MARKS[Outcome.HELD],
        Message("A guard keeps the number ACTIVE. Check the reason, then change the file or allow the deactivation."),
    ),
    Outcome.BLOCKED: (MARKS[Outcome.BLOCKED], Message("Only the vendor can change the status. Check the console.")),
    Outcome.MISSING: (
        MARKS[Outcome.MISSING],
        Message("Register the number with the vendor, or remove it from the file."),
    ),
    NoticeKind.GROUP: (NOTICES[NoticeKind.GROUP], Message("Activate more members of the group.")),
    NoticeKind.SWAP: (NOTICES[NoticeKind.SWAP], Message("Fix the activation first.")),
    NoticeKind.EXPIRING: (
        NOTICES[NoticeKind.EXPIRING],
        Message("Verify the number again in the console before its registration ends."),
    ),
    NoticeKind.PENDING: (NOTICES[NoticeKind.PENDING], Message("Complete the vendor's review in the console.")),
    NoticeKind.DUPLICATED: (
        NOTICES[NoticeKind.DUPLICATED],
        Message("Report the duplicate registration in the console."),
    ),
    NoticeKind.LIMIT: (NOTICES[NoticeKind.LIMIT], Message("Request a higher limit, or remove numbers.")),
    NoticeKind.IN_USE: (NOTICES[NoticeKind.IN_USE], Message("Check which messages the numbers send.")),
    NoticeKind.FILES: (NOTICES[NoticeKind.FILES], Message("Check the files of the account.")),
}
"""The mark and the next step of each kind of attention, the most severe first."""
_RANKS: Final = {kind: rank for rank, kind in enumerate(_KINDS)}
_WITH_ATTENTION: Final = (Segment.FAILED, Segment.NEEDS_ATTENTION)


class SegmentView(Struct, frozen=True):
    """One segment of the bar: its count of accounts, and its start and width in thousandths of the bar."""

    segment: Segment
    count: int
    start: int
    width: int


class AttentionRow(Struct, frozen=True):
    """An account that needs attention for one reason, with the first of its numbers."""

    account: AccountStatus
    message: str
    code: str
    count: int
    phones: tuple[str, ...]


class AttentionKind(Struct, frozen=True):
    """All that needs attention for reasons of one kind. `numbers` is 0 if the reasons concern whole accounts."""

    kind: str
    mark: Mark
    next_step: str
    accounts: int
    numbers: int
    rows: Sequence[AttentionRow]
    more: int


def segments(accounts: Iterable[AccountStatus]) -> list[SegmentView]:
    """Return the segments that have accounts, the most severe first. Their counts and widths add up."""
    counts = Counter(account.segment for account in accounts)
    total = counts.total()
    present_segments = [segment for segment in Segment if counts[segment]]
    free = _FULL - _LEAST * len(present_segments)
    views, start, shown_count = [], 0, 0
    for index, segment in enumerate(present_segments):
        shown_count += counts[segment]
        end = _LEAST * (index + 1) + free * shown_count // total
        views.append(SegmentView(segment, counts[segment], start, end - start))
        start = end
    return views


def headline(accounts: Sequence[AccountStatus]) -> tuple[str, Tone]:
    """Return the sentence that sums up the fleet, and its tone."""
    counts = Counter(account.segment for account in accounts)
    total = len(accounts)
    attention = sum(counts[segment] for segment in _WITH_ATTENTION)
    if attention:
        text = ngettext(
            "{count} of {total} accounts needs attention", "{count} of {total} accounts need attention", attention
        )
        tone: Tone = "bad" if counts[Segment.FAILED] else "warn"
    elif attention := counts[Segment.OUT_OF_SYNC]:
        text = ngettext(
            "{count} of {total} accounts is out of sync", "{count} of {total} accounts are out of sync", attention
        )
        tone = "info"
    elif attention := counts[Segment.UNKNOWN]:
        text = ngettext(
            "{count} of {total} accounts has not been read", "{count} of {total} accounts have not been read", attention
        )
        tone = "quiet"
    elif attention := counts[Segment.SUSPENDED]:
        text = ngettext(
            "{count} of {total} accounts is suspended", "{count} of {total} accounts are suspended", attention
        )
        tone = "quiet"
    else:
        text = ngettext("The account is in sync", "All {total} accounts are in sync", total)
        tone = "good"
    return text.format(count=f"{attention:,}", total=f"{total:,}"), tone


def attention_kinds(accounts: Iterable[AccountStatus]) -> list[AttentionKind]:
    """Return what needs attention, grouped by kind, the most severe first."""
    rows: dict[str, list[AttentionRow]] = {}
    for account in accounts:
        for item in account.needs:
            row = AttentionRow(account, item.message, item.code, item.count, item.phones)
            rows.setdefault(item.kind, []).append(row)
    return [
        AttentionKind(
            kind,
            _mark(kind),
            next_step(kind),
            len({(row.account.platform, row.account.name) for row in kind_rows}),
            sum(row.count for row in kind_rows),
            kind_rows[:_ROWS],
            len(kind_rows) - len(kind_rows[:_ROWS]),
        )
        for kind, kind_rows in sorted(rows.items(), key=lambda item: _RANKS.get(item[0], len(_RANKS)))
    ]


def next_step(kind: str) -> str:
    """Return what to do about a kind of attention, translated; empty for a kind of a later version."""
    return translate(_KINDS[kind][1]) if kind in _KINDS else ""


def _mark(kind: str) -> Mark:
    mark = _KINDS[kind][0] if kind in _KINDS else Mark("!", kind.replace("_", " "), "warn")
    # a notice on its own page says what to know, here it needs an operator
    return Mark("!", mark.word, "warn") if mark.tone == "info" else mark
