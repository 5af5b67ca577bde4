"""The safety rule over all accounts of a run, case by case."""

import pytest

from worker.model.errors import Refusal
from worker.model.plans import AccountPlan, Action, Verdict, tally
from worker.plan.safety import guard_fleet


def account(name: str, activate: int = 0, deactivate: int = 0, unchanged: int = 0, **other_counts: int) -> AccountPlan:
    """Return the plan of an account with these numbers of activations, deactivations and other actions."""
    counts = {Action(action): number for action, number in other_counts.items()}
    counts |= {Action.ACTIVATE: activate, Action.DEACTIVATE: deactivate, Action.UNCHANGED: unchanged}
    return AccountPlan(account=name, counts=tally(Action, counts))


def refused_accounts(*plans: AccountPlan, limit: int | str = "50%", allow: frozenset[str] = frozenset()) -> list[str]:
    """Return the accounts that the rule refuses."""
    judged = guard_fleet(plans, limit, allow)
    assert [plan.account for plan in judged] == [plan.account for plan in plans]
    assert all((plan.verdict is Verdict.REFUSED) == bool(plan.refusals) for plan in judged)
    return [plan.account for plan in judged if any(refusal.rule == "fleet-wide" for refusal in plan.refusals)]


@pytest.mark.parametrize("action", ["activate", "deactivate"])
def test_change_above_the_share_is_refused(action: str) -> None:
    """The share itself may change in one direction. One more number refuses every account that takes part."""
    unchanged = account("quiet", unchanged=200)
    assert refused_accounts(account("a", **{action: 100}), account("b", **{action: 100}), unchanged) == []
    assert refused_accounts(account("a", **{action: 100}), account("b", **{action: 101}), unchanged) == ["a", "b"]


def test_activations_and_deactivations_are_limited_separately() -> None:
    """The counts are not added up. Too many in one direction do not refuse accounts with the other direction only."""
    assert refused_accounts(account("a", activate=200), account("b", deactivate=200)) == []
    assert refused_accounts(account("a", activate=210), account("b", deactivate=90), account("c", unchanged=100)) == [
        "a"
    ]


def test_both_directions_may_be_refused() -> None:
    """An account is refused for each direction in which it takes part."""
    plans = (account("a", activate=200, deactivate=200), account("b", deactivate=200))
    first, second = guard_fleet(plans, "10%", frozenset())
    assert [refusal.message.split(";")[0] for refusal in first.refusals] == [
        "200 of the 600 numbers of all accounts would be activated",
        "400 of the 600 numbers of all accounts would be deactivated",
    ]
    assert second.refusals == first.refusals[1:]


def test_refusal_has_counts_limit_and_option() -> None:
    plan, _ = guard_fleet((account("a", deactivate=110), account("b", unchanged=50)), "50%", frozenset())
    assert plan.refusals == (
        Refusal(
            "fleet-wide",
            "110 of the 160 numbers of all accounts would be deactivated; the limit is 100 (fleet_wide: 50%). "
            "To allow it, add --allow fleet-wide",
        ),
    )


@pytest.mark.parametrize(("count", "limit"), [(100, "50%"), (100, "0%"), (3, 3), (0, 0)])
def test_small_changes_are_always_allowed(count: int, limit: int | str) -> None:
    """A percentage allows a hundred numbers however small the fleet is. An absolute number is taken literally."""
    assert refused_accounts(account("a", activate=count), account("b"), limit=limit) == []
    assert refused_accounts(account("a", activate=count + 1), account("b"), limit=limit) == ["a"]


def test_single_account_is_not_checked() -> None:
    """A run over a single account is checked by the rules of the account only."""
    assert refused_accounts(account("a", activate=1000)) == []
    assert refused_accounts() == []


@pytest.mark.parametrize(("allow", "expected"), [("fleet-wide", []), ("all", []), ("max-deactivations", ["a"])])
def test_allow_suppresses_only_the_named_rule(allow: str, expected: list[str]) -> None:
    """The name of the rule and `all` allow the plans; the name of another rule does not."""
    assert refused_accounts(account("a", activate=1000), account("b"), allow=frozenset({allow})) == expected


def test_missing_numbers_do_not_count_in_the_fleet() -> None:
    """Unregistered numbers do not make a change look smaller. Protected and unlisted numbers count."""
    assert refused_accounts(account("a", activate=200), account("b", missing=10000)) == ["a"]
    assert refused_accounts(account("a", activate=200), account("b", unmanaged=100, blocked=50, held=50)) == []


def test_unreadable_account_has_no_numbers() -> None:
    """An unreadable account keeps its error and verdict. The other accounts are checked without it."""
    unreadable = AccountPlan(account="b", verdict=Verdict.ERROR, counts=tally(Action, {}))
    first, second = guard_fleet((account("a", activate=200), unreadable), "50%", frozenset())
    assert (first.verdict, second) == (Verdict.REFUSED, unreadable)


def test_accounts_refused_by_other_rules_count() -> None:
    """A refusal by another rule does not reduce the change. Each refusal is reported."""
    own_refusal = Refusal("min-active", "none would be left")
    large = AccountPlan(
        account="a", verdict=Verdict.REFUSED, refusals=(own_refusal,), counts=tally(Action, {Action.DEACTIVATE: 900})
    )
    plans = guard_fleet((large, account("b", deactivate=10)), "50%", frozenset())
    assert [[refusal.rule for refusal in plan.refusals] for plan in plans] == [
        ["min-active", "fleet-wide"],
        ["fleet-wide"],
    ]


@pytest.mark.parametrize("limit", ["some", "101%", -1])
def test_invalid_share_is_an_error(limit: int | str) -> None:
    """A share that is neither a number nor a percentage is an error, not an absent limit."""
    with pytest.raises(ValueError, match=r"^fleet_wide must be a whole number"):
        guard_fleet((account("a"), account("b")), limit, frozenset())
