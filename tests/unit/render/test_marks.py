"""The one table of symbols, words, tones and order."""

from worker.model.history import Ending
from worker.model.plans import Action, Verdict
from worker.model.results import Outcome
from worker.render.marks import ENDINGS, MARKS, UNFINISHED, VERDICTS, mark_of, rank


def test_every_action_outcome_ending_and_verdict_has_a_mark() -> None:
    """Another one, which the ledger of a later version may have, is shown by its name, after all others."""
    assert set(MARKS) == {*Action, *Outcome}
    assert set(ENDINGS) == set(Ending)
    assert set(VERDICTS) == set(Verdict)
    assert mark_of("half_changed").word == "half changed"
    assert rank("half_changed") > max(map(rank, MARKS))


def test_numbers_are_shown_in_the_order_in_which_they_matter() -> None:
    """What is not finished comes first, then writes, what needs attention, what is done, and what is as desired."""
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
        "unmanaged",
        "unchanged",
    ]


def test_tone_says_whether_to_act() -> None:
    """Nothing that is stuck or went wrong looks good, and nothing that went well looks wrong."""
    tones = {str(name): mark.tone for table in (MARKS, ENDINGS, VERDICTS) for name, mark in table.items()}
    assert {name for name, tone in tones.items() if tone == "good"} == {"activate", "changed", "converged", "ok"}
    assert {name for name, tone in tones.items() if tone == "bad"} == {
        *("deactivate", "failed", "conflict", "crashed", "locked", "refused", "error"),
    }
    assert all(MARKS[outcome].tone in {"bad", "warn"} for outcome in Outcome if outcome.stuck)
