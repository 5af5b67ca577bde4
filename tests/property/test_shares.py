"""What holds for every limit that is a number or a percentage, and for the rule over all accounts."""

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
def test_a_percentage_is_exceeded_by_more_than_the_share(share: int, whole: int, part: int, least: int) -> None:
    """A part goes beyond a percentage if it is a larger share in exact arithmetic, and more than the least there is."""
    beyond = part > resolve_limit("x", f"{share}%", whole, least=least)
    assert beyond == (part > least and part * 100 > whole * share)


@examples(100)
@given(st.integers(0, 999_999_999), _many, st.integers(0, 100))
def test_a_plain_number_is_itself(limit: int, whole: int, least: int) -> None:
    """A number is the limit, as a number or a text, whatever it is of and whatever a percentage would come to."""
    assert resolve_limit("x", limit, whole, least=least) == resolve_limit("x", str(limit), whole, least=least) == limit


@examples(300)
@given(st.lists(st.tuples(_few, _few, _few, _few), min_size=2, max_size=6), st.integers(0, 100))
def test_the_fleet_is_refused_by_its_sums(accounts: list[tuple[int, int, int, int]], share: int) -> None:
    """An account is refused for just those of its changes whose sum exceeds a hundred and the share."""
    actions = (Action.ACTIVATE, Action.DEACTIVATE, Action.UNCHANGED, Action.MISSING)
    plans = [
        AccountPlan(account=str(place), counts=tally(Action, dict(zip(actions, numbers, strict=True))))
        for place, numbers in enumerate(accounts)
    ]
    activate, deactivate, same, _ = (sum(numbers) for numbers in zip(*accounts, strict=True))
    whole = activate + deactivate + same
    large = [
        number > 100 and whole and Fraction(number, whole) > Fraction(share, 100) for number in (activate, deactivate)
    ]
    judged = guard_fleet(plans, f"{share}%", frozenset())
    for plan, numbers in zip(judged, accounts, strict=True):
        expected = sum(bool(number and over) for number, over in zip(numbers[:2], large, strict=True))
        assert len(plan.refusals) == expected
        assert plan.verdict is (Verdict.REFUSED if expected else Verdict.OK)
