"""Holds: the deactivations that a group cannot spare, and their notices."""

from hypothesis import given
from hypothesis import strategies as st

from worker.model.accounts import Group, Observed, ObservedAccount, Status
from worker.model.plans import Action, Change
from worker.plan.holds import group_holds, hold, hold_back

A, B, C = "0100001", "0100002", "0100003"
PAIR = Group("support", (A, B))

_phones = st.sampled_from([f"01000{index:02}" for index in range(8)])
_members = st.lists(_phones, min_size=1, max_size=5, unique=True)


@st.composite
def _groups(draw: st.DrawFn) -> tuple[Group, ...]:
    members = draw(st.lists(_members, max_size=4))
    return tuple(Group(f"g{index}", tuple(some), draw(st.integers(1, len(some)))) for index, some in enumerate(members))


def _off(phone: str) -> Change:
    return Change(phone, Action.DEACTIVATE, "ACTIVE", "INACTIVE", "listed as INACTIVE")


def _on(phone: str) -> Change:
    return Change(phone, Action.ACTIVATE, "INACTIVE", "ACTIVE", "listed as ACTIVE")


def _account(*active: str, inactive: tuple[str, ...] = ()) -> ObservedAccount:
    statuses = dict.fromkeys(active, Status.ACTIVE) | dict.fromkeys(inactive, Status.INACTIVE)
    return ObservedAccount("1", {phone: Observed(phone, status) for phone, status in statuses.items()})


def _spared(changes: tuple[Change, ...], observed: ObservedAccount, *gone: str) -> tuple[Change, ...]:
    return hold_back(changes, observed, groups=(PAIR,), may_be_inactive=gone, pair_swaps="warn")


@given(st.lists(_phones, unique=True), st.frozensets(_phones), _groups())
def test_what_is_let_go_leaves_every_group_its_minimum(
    asked: list[str], active: frozenset[str], groups: tuple[Group, ...]
) -> None:
    """Whichever of the deactivations that are not held have happened, no group has too few that had enough."""
    held = group_holds(asked, active, groups)
    left = active - {phone for phone in asked if phone not in held}
    for group in groups:
        before, after = (len(some.intersection(group.members)) for some in (active, left))
        assert after == before if before < group.min_active else after >= group.min_active


@given(st.lists(_phones, unique=True), st.frozensets(_phones), _groups())
def test_nothing_is_held_without_need(asked: list[str], active: frozenset[str], groups: tuple[Group, ...]) -> None:
    """Letting one more go would leave some group too few, and what is not ACTIVE anyway is not held."""
    held = group_holds(asked, active, groups)
    left = active - {phone for phone in asked if phone not in held}
    for phone in held:
        assert phone in active
        assert any(
            phone in group.members and len((left - {phone}).intersection(group.members)) < group.min_active
            for group in groups
        )


def test_activations_that_are_planned_let_deactivations_go() -> None:
    """A number may give way to its successor, and only to a successor."""
    swap = (_on(B), _off(A))
    assert _spared(swap, _account(A, inactive=(B,))) == swap
    (alone,) = _spared((_off(A),), _account(A, inactive=(B,)))
    assert (alone.action, alone.observed, alone.desired) == (Action.HELD, "ACTIVE", "INACTIVE")
    assert alone.reason == (
        "group support would keep 0 ACTIVE numbers, and at least 1 must stay; "
        "activate another member first, or lower its min_active"
    )


def test_a_number_that_may_yet_go_is_not_counted_on() -> None:
    """What a run that died has asked to be switched off is no stand-in, though it shows ACTIVE still."""
    both = _account(A, B)
    assert _spared((_off(A),), both) == (_off(A),)
    assert _spared((_off(A),), both, B)[0].action is Action.HELD


def test_held_numbers_stand_in_their_actions_place() -> None:
    """Activations, deactivations, then what is held; only deactivations are ever held."""
    changes = hold((_on(C), _off(A), _off(B)), {A: "why", C: "why"})
    assert [(change.phone, change.action) for change in changes] == [
        (C, Action.ACTIVATE),
        (B, Action.DEACTIVATE),
        (A, Action.HELD),
    ]
