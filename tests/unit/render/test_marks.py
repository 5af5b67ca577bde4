"""The table of symbols, words, tones and order."""

from worker.model.history import Ending
from worker.model.plans import Action, Verdict
from worker.model.results import Outcome
from worker.render.marks import ENDINGS, MARKS, UNFINISHED, VERDICTS, mark_of, rank


def test_every_action_outcome_ending_and_verdict_has_a_mark() -> None:
    """An unknown value, which a later version may have recorded, is shown by its name and last."""
    assert set(MARKS) == {*Action, *Outcome}
    assert set(ENDINGS) == set(Ending)
    assert set(VERDICTS) == set(Verdict)
    assert mark_of("half_changed").word == "half changed"
    assert rank("half_changed") > max(map(rank, MARKS))


def test_numbers_are_ordered_by_urgency() -> None:
    """Unfinished numbers come first, then writes, attention, changed, and numbers as desired."""
    assert min([*Action, *Outcome, None], key=rank) is None
    assert mark_of(None) is UNFINISHED
    unique = list(dict.fromkeys(str(key) for key in sorted([*Action, *Outcome], key=rank)))
    assert unique == [
        "activate",
        "deactivate",
        "failed",
        "conflict",
        "unverified",
        "not_attempted",
        "held",
        "blocked",
        "missing",
        "changed",
        "protected",
        "acknowledged",
        "unmanaged",
        "unchanged",
    ]


def test_tone_reflects_the_need_to_act() -> None:
    """Failed and stuck states are not good, and successful states are not bad."""
    tones = {str(name): mark.tone for table in (MARKS, ENDINGS, VERDICTS) for name, mark in table.items()}
    assert {name for name, tone in tones.items() if tone == "good"} == {"activate", "changed", "converged", "ok"}
    assert {name for name, tone in tones.items() if tone == "bad"} == {
        *("deactivate", "failed", "conflict", "crashed", "locked", "refused", "error"),
    }
    assert all(MARKS[outcome].tone in {"bad", "warn"} for outcome in Outcome if outcome.needs_attention)
