"""Marks: the symbol, word, tone and order of each action, outcome and ending, used by all renderers."""

from collections.abc import Iterable, Mapping
from typing import Final, Literal, TypeVar

from msgspec import Struct

from worker.model.errors import ErrorInfo
from worker.model.history import Ending
from worker.model.messages import Message
from worker.model.plans import Action, NoticeKind, Verdict
from worker.model.reads import HealthStatus, Segment, SyncStatus
from worker.model.results import Outcome
from worker.render.i18n import gettext as _
from worker.render.i18n import ngettext, translate

__all__ = [
    "CANCELLED",
    "ENDINGS",
    "HEALTH",
    "MARKS",
    "NOTICES",
    "SEGMENTS",
    "SYNC",
    "UNFINISHED",
    "VERDICTS",
    "Mark",
    "Tone",
    "brief_counts",
    "count",
    "counts",
    "counts_text",
    "ending_mark",
    "mark_of",
    "rank",
]

K = TypeVar("K", bound=str)

Tone = Literal["good", "bad", "warn", "info", "quiet"]
"""The meaning of a colour. `terminal` maps it to an ANSI code, and the style sheet of a page to a colour."""


class Mark(Struct, frozen=True):
    """The symbol, word and tone of an action or an outcome, such as a green `+ activate`.

    Words are English, and are translated when they are shown. `phrase` replaces the word after a count, as in
    "2 to activate".
    """

    symbol: str
    word: str
    tone: Tone
    phrase: str = ""

    @property
    def counted(self) -> str:
        """The text after a count, such as "to activate" in "2 to activate"."""
        return self.phrase or self.word


UNFINISHED: Final = Mark("…", "unfinished", "warn")
"""The mark of a number whose outcome is not known yet."""

MARKS: Final[dict[str, Mark]] = {
    Action.ACTIVATE: Mark("+", "activate", "good", "to activate"),
    Action.DEACTIVATE: Mark("-", "deactivate", "bad", "to deactivate"),
    Outcome.FAILED: Mark("x", "failed", "bad"),
    Outcome.CONFLICT: Mark("x", "conflict", "bad"),
    Outcome.UNVERIFIED: Mark("?", "unverified", "warn"),
    Outcome.NOT_ATTEMPTED: Mark(".", Message("not attempted"), "warn"),
    Outcome.HELD: Mark("~", "held", "warn"),
    Outcome.BLOCKED: Mark("!", "blocked", "warn"),
    Outcome.MISSING: Mark("?", "missing", "warn"),
    Outcome.CHANGED: Mark("✓", "changed", "good"),
    Outcome.PROTECTED: Mark("=", "protected", "info"),
    Outcome.ACKNOWLEDGED: Mark("&", "acknowledged", "info"),
    Outcome.UNMANAGED: Mark("*", "unmanaged", "info"),
    Outcome.UNCHANGED: Mark(" ", "unchanged", "quiet"),
}
"""Actions and outcomes by value, in the order in which they are shown: writes, what needs attention, the rest."""

ENDINGS: Final[dict[str, Mark]] = {
    Ending.UNFINISHED: UNFINISHED,
    Ending.CRASHED: Mark("x", "crashed", "bad"),
    Ending.INTERRUPTED: Mark("!", "interrupted", "warn"),
    Ending.LOCKED: Mark("x", "locked", "bad"),
    Ending.FAILED: Mark("x", "failed", "bad"),
    Ending.REFUSED: Mark("x", "refused", "bad"),
    Ending.PARTIAL: Mark("!", "partial", "warn"),
    Ending.CONVERGED: Mark("✓", "converged", "good"),
}
"""Outcomes of runs and accounts by value, the most severe first."""

CANCELLED: Final = Mark("x", Message("cancelled"), "warn")
"""The mark of a run that the user declined at the prompt."""

VERDICTS: Final[dict[str, Mark]] = {
    Verdict.OK: Mark("✓", "ok", "good"),
    Verdict.REFUSED: ENDINGS[Ending.REFUSED],
    Verdict.ERROR: Mark("x", Message("not read"), "bad"),
}

SEGMENTS: Final[dict[Segment, Mark]] = {
    Segment.FAILED: ENDINGS[Ending.FAILED],
    Segment.NEEDS_ATTENTION: Mark("!", Message("needs attention"), "warn"),
    Segment.OUT_OF_SYNC: Mark("≠", Message("out of sync"), "info"),
    Segment.UNKNOWN: Mark("?", Message("never read"), "quiet"),
    Segment.SUSPENDED: Mark("‖", "suspended", "quiet"),
    Segment.IN_SYNC: Mark("✓", Message("in sync"), "good"),
}
"""Segments of accounts by value, the most severe first."""

SYNC: Final[dict[SyncStatus, Mark]] = {
    SyncStatus.IN_SYNC: SEGMENTS[Segment.IN_SYNC],
    SyncStatus.OUT_OF_SYNC: SEGMENTS[Segment.OUT_OF_SYNC],
    SyncStatus.UNKNOWN: Mark("?", Message("not known"), "quiet"),
}

HEALTH: Final[dict[HealthStatus, Mark]] = {
    HealthStatus.FAILED: SEGMENTS[Segment.FAILED],
    HealthStatus.NEEDS_ATTENTION: SEGMENTS[Segment.NEEDS_ATTENTION],
    HealthStatus.SUSPENDED: SEGMENTS[Segment.SUSPENDED],
    HealthStatus.HEALTHY: Mark("✓", Message("healthy"), "good"),
}

NOTICES: Final = {kind: Mark("i", kind.value.replace("_", " "), "info") for kind in NoticeKind}

_RANKS: Final = {key: index for index, key in enumerate(MARKS)}


def mark_of(outcome: str | None) -> Mark:
    """Return the mark of an action or an outcome; None is an outcome that is not known yet."""
    if outcome is None:
        return UNFINISHED
    # the ledger of a later version may have other outcomes
    return MARKS.get(outcome) or Mark("", outcome.replace("_", " "), "quiet")


def ending_mark(outcome: str, errors: Iterable[ErrorInfo | None]) -> Mark:
    """Return the mark of the outcome of a run or an account. `errors` are those of its accounts."""
    declined = [error is not None and error.is_declined for error in errors]
    return CANCELLED if outcome == Ending.REFUSED and declined and all(declined) else ENDINGS[outcome]


def rank(outcome: str | None) -> int:
    """Return the position of an action or an outcome in the display order."""
    return -1 if outcome is None else _RANKS.get(outcome, len(_RANKS))


def count(number: int, noun: str) -> str:
    """Return a count with its noun, such as "1 account" or "2 accounts". The plural of the noun must end in s."""
    singular = f"{{count}} {noun}"
    return ngettext(singular, f"{singular}s", number).format(count=f"{number:,}")


def counts(parts: Iterable[tuple[int, str]]) -> str:
    """Return the counts that are not 0, each with its English word, such as "2 to activate, 1 blocked"."""
    template = _("{count} {what}")
    return ", ".join(template.format(count=f"{number:,}", what=translate(noun)) for number, noun in parts if number)


def counts_text(by_key: Mapping[K, int]) -> str:
    """Return the text of counts by action or outcome, in the display order."""
    return counts((by_key[key], mark_of(key).counted) for key in sorted(by_key, key=rank)) or _("no numbers")


def brief_counts(by_key: Mapping[K, int]) -> str:
    """Return the text of counts without unchanged numbers. If all numbers are unchanged, return their count."""
    return counts_text({key: number for key, number in by_key.items() if number and key != Outcome.UNCHANGED} or by_key)
