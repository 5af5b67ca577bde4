"""Deactivations that are held because a group needs the number, and their reasons."""

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
    return tuple(
        Group(f"g{index}", tuple(group), draw(st.integers(1, len(group)))) for index, group in enumerate(members)
    )


def _deactivation(phone: str) -> Change:
    return Change(phone, Action.DEACTIVATE, "ACTIVE", "INACTIVE", "listed as INACTIVE")


def _activation(phone: str) -> Change:
    return Change(phone, Action.ACTIVATE, "INACTIVE", "ACTIVE", "listed as ACTIVE")


def _account(*active: str, inactive: tuple[str, ...] = ()) -> ObservedAccount:
    statuses = dict.fromkeys(active, Status.ACTIVE) | dict.fromkeys(inactive, Status.INACTIVE)
    return ObservedAccount("1", {phone: Observed(phone, status) for phone, status in statuses.items()})


def _hold_back(changes: tuple[Change, ...], observed: ObservedAccount, *possibly_inactive: str) -> tuple[Change, ...]:
    return hold_back(changes, observed, groups=(PAIR,), possibly_inactive=possibly_inactive, pair_swaps="warn")


@given(st.lists(_phones, unique=True), st.frozensets(_phones), _groups())
def test_deactivations_leave_every_group_its_minimum(
    requested: list[str], active: frozenset[str], groups: tuple[Group, ...]
) -> None:
    """No group loses a number below its minimum, whichever of the deactivations that are not held take effect."""
    held = group_holds(requested, active, groups)
    remaining = active - {phone for phone in requested if phone not in held}
    for group in groups:
        before, after = (len(statuses.intersection(group.members)) for statuses in (active, remaining))
        assert after == before if before < group.min_active else after >= group.min_active


@given(st.lists(_phones, unique=True), st.frozensets(_phones), _groups())
def test_only_necessary_holds_are_placed(
    requested: list[str], active: frozenset[str], groups: tuple[Group, ...]
) -> None:
    """Each hold is needed by some group, and only ACTIVE numbers are held."""
    held = group_holds(requested, active, groups)
    remaining = active - {phone for phone in requested if phone not in held}
    for phone in held:
        assert phone in active
        assert any(
            phone in group.members and len((remaining - {phone}).intersection(group.members)) < group.min_active
            for group in groups
        )


def test_planned_activation_permits_the_deactivation() -> None:
    """A number may be deactivated with its successor, and not without one."""
    swap = (_activation(B), _deactivation(A))
    assert _hold_back(swap, _account(A, inactive=(B,))) == swap
    (held,) = _hold_back((_deactivation(A),), _account(A, inactive=(B,)))
    assert (held.action, held.observed, held.desired) == (Action.HELD, "ACTIVE", "INACTIVE")
    assert held.reason == (
        "group support would keep 0 ACTIVE numbers, and at least 1 must stay; "
        "activate another member first, or lower its min_active"
    )


def test_number_with_a_pending_deactivation_does_not_count_as_active() -> None:
    """A crashed run may have deactivated it, though it is still observed as ACTIVE."""
    both = _account(A, B)
    assert _hold_back((_deactivation(A),), both) == (_deactivation(A),)
    assert _hold_back((_deactivation(A),), both, B)[0].action is Action.HELD


def test_held_numbers_are_ordered_by_their_action() -> None:
    """Activations, deactivations, then held numbers. Only deactivations are held."""
    changes = hold((_activation(C), _deactivation(A), _deactivation(B)), {A: "why", C: "why"})
    assert [(change.phone, change.action) for change in changes] == [
        (C, Action.ACTIVATE),
        (B, Action.DEACTIVATE),
        (A, Action.HELD),
    ]
