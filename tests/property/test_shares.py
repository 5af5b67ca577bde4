"""Properties of limits, as a number or a percentage, and of the rule over all accounts."""

from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from tests.support.examples import examples
from worker.config.settings import resolve_limit
from worker.model.plans import AccountPlan, Action, Verdict, tally
from worker.plan.safety import guard_fleet

_many = st.integers(0, 10**6)
_few = st.integers(0, 200)


@examples(200)
@given(st.integers(0, 100), _many, _many, st.integers(0, 100))
def test_percentage_is_compared_in_exact_arithmetic(share: int, total: int, part: int, least: int) -> None:
    """A part exceeds a percentage if its exact share is larger and it is larger than the minimum."""
    beyond = part > resolve_limit("x", f"{share}%", total, minimum=least)
    assert beyond == (part > least and part * 100 > total * share)


@examples(100)
@given(st.integers(0, 999_999_999), _many, st.integers(0, 100))
def test_plain_number_is_its_own_limit(limit: int, total: int, minimum: int) -> None:
    """The total does not matter, and a text of the number is equal to it."""
    assert resolve_limit("x", limit, total, minimum=minimum) == limit
    assert resolve_limit("x", str(limit), total, minimum=minimum) == limit


@examples(300)
@given(st.lists(st.tuples(_few, _few, _few, _few), min_size=2, max_size=6), st.integers(0, 100))
def test_fleet_rule_applies_to_sums_over_accounts(accounts: list[tuple[int, int, int, int]], share: int) -> None:
    """An account is refused for those of its changes whose sum exceeds both a hundred and the share."""
    actions = (Action.ACTIVATE, Action.DEACTIVATE, Action.UNCHANGED, Action.MISSING)
    plans = [
        AccountPlan(account=str(index), counts=tally(Action, dict(zip(actions, numbers, strict=True))))
        for index, numbers in enumerate(accounts)
    ]
    activate, deactivate, same, _ = (sum(numbers) for numbers in zip(*accounts, strict=True))
    total = activate + deactivate + same
    large = [
        number > 100 and total and Fraction(number, total) > Fraction(share, 100) for number in (activate, deactivate)
    ]
    judged = guard_fleet(plans, f"{share}%", frozenset())
    for plan, numbers in zip(judged, accounts, strict=True):
        expected = sum(bool(number and over) for number, over in zip(numbers[:2], large, strict=True))
        assert len(plan.refusals) == expected
        assert plan.verdict is (Verdict.REFUSED if expected else Verdict.OK)
