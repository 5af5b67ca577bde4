"""The safety rule over all accounts of a run, case by case."""

import pytest

from worker.model.errors import Refusal
from worker.model.plans import AccountPlan, Action, Verdict, tally
from worker.plan.safety import guard_fleet


def account(name: str, activate: int = 0, deactivate: int = 0, unchanged: int = 0, **more: int) -> AccountPlan:
    """Return the plan of an account with *changed* writes and *left* other numbers."""
    found = {Action(action): number for action, number in more.items()}
    found |= {Action.ACTIVATE: activate, Action.DEACTIVATE: deactivate, Action.UNCHANGED: unchanged}
    return AccountPlan(account=name, counts=tally(Action, found))


def refused(*plans: AccountPlan, most: int | str = "50%", allow: frozenset[str] = frozenset()) -> list[str]:
    """The accounts that the rule refuses."""
    judged = guard_fleet(plans, most, allow)
    assert [plan.account for plan in judged] == [plan.account for plan in plans]
    assert all((plan.verdict is Verdict.REFUSED) == bool(plan.refusals) for plan in judged)
    return [plan.account for plan in judged if any(refusal.rule == "fleet-wide" for refusal in plan.refusals)]


@pytest.mark.parametrize("action", ["activate", "deactivate"])
def test_a_change_of_more_than_the_share_is_refused(action: str) -> None:
    """As many as the share may change one way, and one more refuses every account that takes part."""
    quiet = account("quiet", unchanged=200)
    assert refused(account("a", **{action: 100}), account("b", **{action: 100}), quiet) == []
    assert refused(account("a", **{action: 100}), account("b", **{action: 101}), quiet) == ["a", "b"]


def test_each_way_is_judged_by_itself() -> None:
    """Activations and deactivations are not added up, and too many of one leave accounts with the other alone."""
    assert refused(account("a", activate=200), account("b", deactivate=200)) == []
    assert refused(account("a", activate=210), account("b", deactivate=90), account("c", unchanged=100)) == ["a"]


def test_both_ways_may_be_too_many() -> None:
    """An account in two changes that are too large is refused for each, and others for their own."""
    plans = (account("a", activate=200, deactivate=200), account("b", deactivate=200))
    first, second = guard_fleet(plans, "10%", frozenset())
    assert [refusal.message.split(";")[0] for refusal in first.refusals] == [
        "200 of the 600 numbers of all accounts would be activated",
        "400 of the 600 numbers of all accounts would be deactivated",
    ]
    assert second.refusals == first.refusals[1:]


def test_the_message_says_numbers_and_option() -> None:
    """A refusal says how many of how many, what the limit is, and which option lets it through."""
    plan, _ = guard_fleet((account("a", deactivate=110), account("b", unchanged=50)), "50%", frozenset())
    assert plan.refusals == (
        Refusal(
            "fleet-wide",
            "110 of the 160 numbers of all accounts would be deactivated; at most 100 may be (fleet_wide: 50%). "
            "To allow it, add --allow fleet-wide",
        ),
    )


@pytest.mark.parametrize(("few", "most"), [(100, "50%"), (100, "0%"), (3, 3), (0, 0)])
def test_so_few_may_always_change(few: int, most: int | str) -> None:
    """A percentage allows a hundred numbers however small the fleet is; an absolute number is taken literally."""
    assert refused(account("a", activate=few), account("b"), most=most) == []
    assert refused(account("a", activate=few + 1), account("b"), most=most) == ["a"]


def test_one_account_is_no_fleet() -> None:
    """A run over a single account is left to the rules of the account."""
    assert refused(account("a", activate=1000)) == []
    assert refused() == []


@pytest.mark.parametrize(("allow", "left"), [("fleet-wide", []), ("all", []), ("max-deactivations", ["a"])])
def test_allow_lets_the_rule_through(allow: str, left: list[str]) -> None:
    """The rule's own name and `all` let the plans through, another rule's name does not."""
    assert refused(account("a", activate=1000), account("b"), allow=frozenset({allow})) == left


def test_numbers_that_are_missing_are_no_part_of_the_fleet() -> None:
    """Unregistered numbers do not make a change look small; protected and unlisted ones count."""
    assert refused(account("a", activate=200), account("b", missing=10000)) == ["a"]
    assert refused(account("a", activate=200), account("b", unmanaged=100, blocked=50, held=50)) == []


def test_an_account_that_cannot_be_read_has_no_numbers() -> None:
    """It keeps its error and verdict, and the others are judged without it."""
    unreadable = AccountPlan(account="b", verdict=Verdict.ERROR, counts=tally(Action, {}))
    first, second = guard_fleet((account("a", activate=200), unreadable), "50%", frozenset())
    assert (first.verdict, second) == (Verdict.REFUSED, unreadable)


def test_what_another_rule_refuses_counts_too() -> None:
    """A refusal by another rule does not make a large change harmless; each refusal is reported."""
    own = Refusal("min-active", "none would be left")
    large = AccountPlan(
        account="a", verdict=Verdict.REFUSED, refusals=(own,), counts=tally(Action, {Action.DEACTIVATE: 900})
    )
    plans = guard_fleet((large, account("b", deactivate=10)), "50%", frozenset())
    assert [[refusal.rule for refusal in plan.refusals] for plan in plans] == [
        ["min-active", "fleet-wide"],
        ["fleet-wide"],
    ]


@pytest.mark.parametrize("most", ["some", "101%", -1])
def test_a_senseless_share_is_an_error(most: int | str) -> None:
    """A share that is neither a number nor a percentage is an error rather than no limit."""
    with pytest.raises(ValueError, match=r"^fleet_wide must be a whole number"):
        guard_fleet((account("a"), account("b")), most, frozenset())
