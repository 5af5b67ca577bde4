"""Metrics of accounts: counts with fixed labels, names for accounts that need attention."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from worker.model.accounts import Status
from worker.model.errors import ErrorInfo, Refusal
from worker.model.plans import AccountPlan, Action, Cause, Change, Notice, NoticeKind, Verdict, tally
from worker.model.results import AccountResult, NumberResult, Outcome, RunOutcome
from worker.telemetry.account_metrics import (
    ACTIONS,
    REST,
    STATUSES,
    AccountCounts,
    count_plan,
    count_result,
    limit_accounts,
)

A, B, C = "01000000001", "01000000002", "0223456789"
STATUSES_OF = {Status.ACTIVE: 4, Status.INACTIVE: 3}


def change(phone: str, action: Action, cause: Cause | None = None) -> Change:
    """A change that was planned."""
    return Change(phone, action, "INACTIVE", "ACTIVE", "", cause=cause)


def plan(*changes: Change, **more: object) -> AccountPlan:
    """The plan of an account with two numbers as desired."""
    counts = tally(Action, {Action.UNCHANGED: 2})
    for each in changes:
        counts[each.action] += 1
    return AccountPlan(**{"account": "main", "counts": counts, "changes": changes} | more)  # type: ignore[arg-type] # a mapping of anything


def result(*numbers: NumberResult, outcome: RunOutcome = RunOutcome.CONVERGED) -> AccountResult:
    """What became of it."""
    return AccountResult(account="main", outcome=outcome, counts=tally(Outcome, {}), numbers=numbers)


def test_a_plan_is_counted_by_words() -> None:
    """Statuses, actions, causes and notices are counted; what no file lists does not differ from any file."""
    found = count_plan(
        plan(
            change(A, Action.ACTIVATE, Cause.EXTERNAL_DRIFT),
            change(B, Action.HELD),
            change(C, Action.UNMANAGED),
            notices=(Notice(NoticeKind.EXPIRING, "soon", A),),
        ),
        {**STATUSES_OF, Status("SLEEPY"): 1, Status("DREAMY"): 2},
        AccountCounts(),
    )
    assert found.statuses == {"ACTIVE": 4, "INACTIVE": 3, "other": 3}
    assert {word: count for word, count in found.actions.items() if count} == {
        "activate": 1,
        "held": 1,
        "unmanaged": 1,
        "unchanged": 2,
    }
    assert found.causes == {"external_drift": 1, "unknown": 1}
    assert found.notices == {"expiring": 1}
    assert (found.failing, found.refused) == (0, 0)


def test_a_refused_plan_counts_as_refused() -> None:
    """It does until a read finds a plan that the safety rules accept."""
    refused = count_plan(plan(verdict=Verdict.REFUSED, refusals=(Refusal("min-active", "no"),)), {}, AccountCounts())
    assert refused.refused == 1
    assert count_plan(plan(), {}, refused).refused == 0


def test_an_account_that_cannot_be_read_keeps_what_was_known() -> None:
    """A failed read removes no count, and the next successful read clears the failure."""
    before = count_plan(plan(change(A, Action.ACTIVATE)), STATUSES_OF, AccountCounts())
    broken = plan(verdict=Verdict.ERROR, error=ErrorInfo("ServerError", "down"))
    failed = count_plan(broken, {}, before)
    assert failed == structs.replace(before, failing=1)
    assert count_plan(plan(), STATUSES_OF, failed).failing == 0


def test_an_account_that_a_stopped_run_did_not_come_to_is_not_failing() -> None:
    """A signal is no fault of the account."""
    stopped = plan(verdict=Verdict.ERROR, error=ErrorInfo("Interrupted", "stopped by SIGTERM"))
    assert count_plan(stopped, {}, AccountCounts()) == AccountCounts()


def test_what_was_carried_out_moves() -> None:
    """A number that was changed has its new status and nothing more to be done; one that failed is as before."""
    changes = (change(A, Action.ACTIVATE, Cause.CONFIG_CHANGE), change(B, Action.ACTIVATE, Cause.BOTH))
    before = count_plan(plan(*changes), STATUSES_OF, AccountCounts())
    done = result(
        NumberResult(A, Action.ACTIVATE, "ACTIVE", "INACTIVE", "ACTIVE", Outcome.CHANGED, 1),
        NumberResult(B, Action.ACTIVATE, "ACTIVE", "INACTIVE", "INACTIVE", Outcome.FAILED, 1),
        outcome=RunOutcome.PARTIAL,
    )
    after = count_result(plan(*changes), done, before)
    assert after.statuses == {"ACTIVE": 5, "INACTIVE": 2}
    assert (after.actions["activate"], after.actions["unchanged"]) == (1, 3)
    assert after.causes == {"both": 1}
    assert (after.failing, after.refused) == (0, 0)


def test_saved_plan_counts_nothing_without_a_read() -> None:
    """Changed numbers make no counts either, least of all negative ones."""
    done = result(NumberResult(A, Action.ACTIVATE, "ACTIVE", "INACTIVE", "ACTIVE", Outcome.CHANGED, 1))
    assert count_result(None, done, AccountCounts()) == AccountCounts()


@pytest.mark.parametrize(
    ("outcome", "failing"), [(outcome, int(outcome is RunOutcome.FAILED)) for outcome in RunOutcome]
)
def test_only_a_failed_run_makes_an_account_failing(outcome: RunOutcome, failing: int) -> None:
    """Neither another run that has the account, nor a signal, nor a number that did not converge does."""
    assert count_result(None, result(outcome=outcome), AccountCounts()).failing == failing


FIGURES = st.builds(
    AccountCounts,
    statuses=st.dictionaries(st.sampled_from(STATUSES), st.integers(0, 9)),
    actions=st.dictionaries(st.sampled_from(ACTIONS), st.integers(0, 9)),
    causes=st.dictionaries(st.sampled_from(["both", "unknown"]), st.integers(0, 2)),
    notices=st.dictionaries(st.sampled_from(["expiring"]), st.integers(0, 2)),
    failing=st.integers(0, 1),
    refused=st.integers(0, 1),
)
FLEET = st.dictionaries(st.text("abc", min_size=1, max_size=3) | st.just(REST), FIGURES, max_size=12)


def total(figures: dict[str, AccountCounts]) -> AccountCounts:
    """The sum of all."""
    summed = sum(figures.values(), AccountCounts())
    return structs.replace(summed, causes=nonzero(summed.causes), notices=nonzero(summed.notices))


def nonzero(counts: object) -> dict[str, int]:
    """The words that were found."""
    assert hasattr(counts, "items")
    return {word: count for word, count in counts.items() if count}


@given(FLEET, st.integers(0, 12))
def test_no_account_is_lost_or_counted_twice(figures: dict[str, AccountCounts], most: int) -> None:
    """Whatever the bound, the series add up to the whole fleet, with at most that many names and one more."""
    published = limit_accounts(figures, most)
    assert total(published) == total(figures)
    names = set(published) - {REST}
    assert len(names) <= max(most, 0)
    assert names <= set(figures)
    assert all(published[name] == figures[name] for name in names)


@given(FLEET, st.integers(0, 12), st.randoms(use_true_random=False))
def test_named_accounts_depend_on_the_accounts_alone(
    figures: dict[str, AccountCounts], most: int, random: object
) -> None:
    """Names go to the gravest, in any order of accounts; an account without findings takes no place."""
    order = list(figures)
    random.shuffle(order)  # type: ignore[attr-defined] # hypothesis gives a random.Random
    published = limit_accounts(figures, most)
    again = limit_accounts({name: figures[name] for name in order}, most)
    assert published == again
    if len(set(figures) - {REST}) > most:
        named, unnamed = set(published) - {REST}, set(figures) - set(published) - {REST}
        assert all(figures[name].severity for name in named)
        assert all(figures[one].severity >= figures[other].severity for one in named for other in unnamed)
