"""Metrics of accounts: counts with fixed labels, and names only for accounts that need attention."""

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
    """Return a planned change."""
    return Change(phone, action, "INACTIVE", "ACTIVE", "", cause=cause)


def plan(*changes: Change, **more: object) -> AccountPlan:
    """Return the plan of an account with two unchanged numbers."""
    counts = tally(Action, {Action.UNCHANGED: 2})
    for change in changes:
        counts[change.action] += 1
    return AccountPlan(**{"account": "main", "counts": counts, "changes": changes} | more)  # type: ignore[arg-type] # a mapping of anything


def result(*numbers: NumberResult, outcome: RunOutcome = RunOutcome.CONVERGED) -> AccountResult:
    """Return a result with these numbers."""
    return AccountResult(account="main", outcome=outcome, counts=tally(Outcome, {}), numbers=numbers)


def test_plan_is_counted_by_fixed_labels() -> None:
    """Statuses, actions, causes and notices are counted. An unlisted or acknowledged number does not differ."""
    counts = count_plan(
        plan(
            change(A, Action.ACTIVATE, Cause.EXTERNAL_DRIFT),
            change(B, Action.HELD),
            change(C, Action.UNMANAGED),
            change("01000000004", Action.ACKNOWLEDGED, Cause.EXTERNAL_DRIFT),
            notices=(Notice(NoticeKind.EXPIRING, "soon", A),),
        ),
        {**STATUSES_OF, Status("SLEEPY"): 1, Status("DREAMY"): 2},
        AccountCounts(),
    )
    assert counts.statuses == {"ACTIVE": 4, "INACTIVE": 3, "other": 3}
    assert {word: count for word, count in counts.actions.items() if count} == {
        "activate": 1,
        "held": 1,
        "unmanaged": 1,
        "acknowledged": 1,
        "unchanged": 2,
    }
    assert counts.causes == {"external_drift": 1, "unknown": 1}
    assert counts.notices == {"expiring": 1}
    assert (counts.failing, counts.refused) == (0, 0)


def test_refused_plan_counts_as_refused() -> None:
    """The account counts as refused until a read gives a plan that the safety rules accept."""
    refused = count_plan(plan(verdict=Verdict.REFUSED, refusals=(Refusal("min-active", "no"),)), {}, AccountCounts())
    assert refused.refused == 1
    assert count_plan(plan(), {}, refused).refused == 0


def test_unreadable_account_keeps_its_counts() -> None:
    """A failed read removes no count. The next successful read clears the failure."""
    counts = count_plan(plan(change(A, Action.ACTIVATE)), STATUSES_OF, AccountCounts())
    broken = plan(verdict=Verdict.ERROR, error=ErrorInfo("ServerError", "down"))
    failed = count_plan(broken, {}, counts)
    assert failed == structs.replace(counts, failing=1)
    assert count_plan(plan(), STATUSES_OF, failed).failing == 0


def test_account_skipped_by_a_stopped_run_is_not_failing() -> None:
    stopped = plan(verdict=Verdict.ERROR, error=ErrorInfo("Interrupted", "stopped by SIGTERM"))
    assert count_plan(stopped, {}, AccountCounts()) == AccountCounts()
    assert count_plan(stopped, {}, AccountCounts(failing=1)).failing == 1


def test_changed_number_moves_to_its_new_status() -> None:
    """A changed number has no pending action. A failed number keeps its counts."""
    changes = (change(A, Action.ACTIVATE, Cause.CONFIG_CHANGE), change(B, Action.ACTIVATE, Cause.BOTH))
    previous = count_plan(plan(*changes), STATUSES_OF, AccountCounts())
    applied = result(
        NumberResult(A, Action.ACTIVATE, "ACTIVE", "INACTIVE", "ACTIVE", Outcome.CHANGED, 1),
        NumberResult(B, Action.ACTIVATE, "ACTIVE", "INACTIVE", "INACTIVE", Outcome.FAILED, 1),
        outcome=RunOutcome.PARTIAL,
    )
    current = count_result(plan(*changes), applied, previous)
    assert current.statuses == {"ACTIVE": 5, "INACTIVE": 2}
    assert (current.actions["activate"], current.actions["unchanged"]) == (1, 3)
    assert current.causes == {"both": 1}
    assert (current.failing, current.refused) == (0, 0)


def test_saved_plan_counts_nothing_without_a_read() -> None:
    """Changed numbers do not make counts, in particular no negative ones."""
    applied = result(NumberResult(A, Action.ACTIVATE, "ACTIVE", "INACTIVE", "ACTIVE", Outcome.CHANGED, 1))
    assert count_result(None, applied, AccountCounts()) == AccountCounts()


@pytest.mark.parametrize(
    ("outcome", "failing"), [(outcome, int(outcome is RunOutcome.FAILED)) for outcome in RunOutcome]
)
def test_only_a_failed_run_makes_an_account_failing(outcome: RunOutcome, failing: int) -> None:
    """A run that finds the account locked, a signal and an unconverged number do not."""
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
    """Return the sum of all counts."""
    summed = sum(figures.values(), AccountCounts())
    return structs.replace(summed, causes=nonzero(summed.causes), notices=nonzero(summed.notices))


def nonzero(counts: object) -> dict[str, int]:
    """Return the labels with counts."""
    assert hasattr(counts, "items")
    return {word: count for word, count in counts.items() if count}


@given(FLEET, st.integers(0, 12))
def test_no_account_is_lost_or_counted_twice(figures: dict[str, AccountCounts], most: int) -> None:
    """For any limit, the series add up to the whole fleet, with at most that many names plus one."""
    published = limit_accounts(figures, most)
    assert total(published) == total(figures)
    names = set(published) - {REST}
    assert len(names) <= max(most, 0)
    assert names <= set(figures)
    assert all(published[name] == figures[name] for name in names)


@given(FLEET, st.integers(0, 12), st.randoms(use_true_random=False))
def test_named_accounts_do_not_depend_on_order(figures: dict[str, AccountCounts], most: int, random: object) -> None:
    """Names go to the most severe accounts. An account without findings takes no name."""
    order = list(figures)
    random.shuffle(order)  # type: ignore[attr-defined] # hypothesis gives a random.Random
    published = limit_accounts(figures, most)
    shuffled = limit_accounts({name: figures[name] for name in order}, most)
    assert published == shuffled
    if len(set(figures) - {REST}) > most:
        named, unnamed = set(published) - {REST}, set(figures) - set(published) - {REST}
        assert all(figures[name].severity for name in named)
        assert all(figures[one].severity >= figures[other].severity for one in named for other in unnamed)
