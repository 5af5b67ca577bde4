"""Swaps: impossible activations, the deactivations that they hold, and the notices."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.model.accounts import Desired, Observed, ObservedAccount, PairSwaps, Status
from worker.model.plans import AccountPlan, Action, Change, NoticeKind, tally
from worker.model.results import NumberResult, Outcome
from worker.plan.diff import diff
from worker.plan.holds import activation_obstacles, dropped_change, hold_swaps, swap_reason
from worker.plan.notices import result_notices, with_swap_notice

OLD, NEW, OTHER = "0223124567", "01012345678", "15881234"
OFF = Change(OLD, Action.DEACTIVATE, "ACTIVE", "INACTIVE", "listed as INACTIVE")
ON = Change(OTHER, Action.ACTIVATE, "INACTIVE", "ACTIVE", "listed as ACTIVE")
PENDING = Change(NEW, Action.BLOCKED, "PENDING", "ACTIVE", "PENDING: …")
MISSING = Change(NEW, Action.MISSING, None, "ACTIVE", "not registered")
PROTECTED = Change(NEW, Action.PROTECTED, "INACTIVE", "ACTIVE", "protected")
NO_SWAP = [
    pytest.param(Change(NEW, Action.BLOCKED, "PENDING", "INACTIVE", ""), id="blocked number that should be INACTIVE"),
    pytest.param(Change(NEW, Action.MISSING, None, "INACTIVE", ""), id="missing number that should be INACTIVE"),
    pytest.param(Change(NEW, Action.PROTECTED, "ACTIVE", "INACTIVE", ""), id="protected number that is ACTIVE"),
    pytest.param(Change(NEW, Action.UNMANAGED, "ACTIVE", "ACTIVE", ""), id="unmanaged number"),
    pytest.param(Change(NEW, Action.HELD, "ACTIVE", "INACTIVE", ""), id="held number"),
    pytest.param(ON, id="activation that can be done"),
]
KNOWN = Change(NEW, Action.ACKNOWLEDGED, "PENDING", "ACTIVE", "acknowledged until …")

_phones = st.integers(0, 9).map("01012345{:03}".format)
_desired = st.builds(
    Desired, st.sampled_from([Status.ACTIVE, Status.INACTIVE]), protected=st.booleans(), managed=st.booleans()
)
_statuses = st.sampled_from([*Status, Status("ON_HOLD")])


def _plan(*changes: Change) -> AccountPlan:
    return AccountPlan(account="main", counts=tally(Action, {}), changes=changes)


def _result(phone: str, action: Action, desired: str, after: str | None, outcome: Outcome) -> NumberResult:
    return NumberResult(phone, action, desired, None, after, outcome)


@pytest.mark.parametrize(("change", "obstacle"), [(PENDING, "PENDING"), (MISSING, "missing"), (PROTECTED, "protected")])
def test_impossible_activation_holds_every_deactivation(change: Change, obstacle: str) -> None:
    """Blocked, missing and protected numbers hold all deactivations. The reason names the number and the obstacle."""
    held = hold_swaps((ON, OFF, change), "hold")
    assert {item.phone: item.action for item in held} == {
        OTHER: Action.ACTIVATE,
        OLD: Action.HELD,
        NEW: change.action,
    }
    (reason,) = (item.reason for item in held if item.phone == OLD)
    assert reason == (
        f"held by safety.pair_swaps: cannot activate {NEW} ({obstacle}); "
        "fix that first, leave it out with --exclude, or set pair_swaps to warn"
    )


@pytest.mark.parametrize("change", NO_SWAP)
def test_possible_activation_holds_nothing(change: Change) -> None:
    """A number that should not become ACTIVE, or can, does not affect deactivations."""
    assert hold_swaps((OFF, change), "hold") == (OFF, change)
    assert with_swap_notice(_plan(OFF, change)).notices == ()


@pytest.mark.parametrize("change", [PENDING, MISSING, PROTECTED])
def test_warn_adds_a_notice_without_holding(change: Change) -> None:
    """By default the plan is unchanged, and a notice names both sides and the remedy."""
    assert hold_swaps((OFF, change), "warn") == (OFF, change)
    (notice,) = with_swap_notice(_plan(OFF, change)).notices
    assert (notice.kind, notice.phone) == (NoticeKind.SWAP, None)
    assert notice.message == (
        f"the plan cannot activate {NEW} ({activation_obstacles([change])[NEW]}), but would deactivate {OLD}; "
        "fix the activation first, or set safety.pair_swaps to hold"
    )


def test_plan_without_deactivations_has_no_swap_notice() -> None:
    """An impossible activation alone does not lose coverage."""
    assert with_swap_notice(_plan(ON, PENDING)).notices == ()
    assert hold_swaps((ON, PENDING), "hold") == (ON, PENDING)


def test_held_deactivation_has_no_swap_notice() -> None:
    """The reason of the held number already says it."""
    assert with_swap_notice(_plan(*hold_swaps((OFF, PENDING), "hold"))).notices == ()


def test_change_outside_the_plan_counts_by_its_current_status() -> None:
    """An activation that became a conflict is impossible, unless the number is ACTIVE now."""
    for status, held in ((Status.PENDING, True), (Status.INACTIVE, True), (None, True), (Status.ACTIVE, False)):
        numbers = {} if status is None else {OTHER: Observed(OTHER, status)}
        conflict = dropped_change(ON, ObservedAccount("1", numbers))
        (change,) = hold_swaps([OFF], "hold", [conflict])
        assert (change.action is Action.HELD) is held


def test_message_names_five_numbers_and_counts_the_rest() -> None:
    """A message names the first five numbers of each side and counts the others."""
    phones = [f"010{index:08}" for index in range(5000)]
    five = swap_reason(dict.fromkeys(phones[:5], "PENDING"))
    assert all(phone in five for phone in phones[:5])
    assert "…" not in five
    assert "00000004 (PENDING), … (+1); " in swap_reason(dict.fromkeys(phones[:6], "PENDING"))
    changes = [
        *(Change(phone, Action.DEACTIVATE, "ACTIVE", "INACTIVE", "") for phone in phones),
        *(Change(phone.replace("010", "070", 1), Action.MISSING, None, "ACTIVE", "") for phone in phones),
    ]
    (notice,) = with_swap_notice(_plan(*changes)).notices
    assert notice.message.count("(+4,995)") == 2
    assert len(notice.message) < 400


@pytest.mark.parametrize(
    ("outcome", "after"),
    [
        (Outcome.FAILED, "INACTIVE"),
        (Outcome.BLOCKED, "PENDING"),
        (Outcome.MISSING, None),
        (Outcome.CONFLICT, "BLOCKED"),
        (Outcome.UNVERIFIED, None),
        (Outcome.PROTECTED, "INACTIVE"),
    ],
)
@pytest.mark.parametrize("deactivation_outcome", [Outcome.CHANGED, Outcome.UNVERIFIED])
def test_result_of_a_broken_swap_has_a_notice(
    outcome: Outcome, after: str | None, deactivation_outcome: Outcome
) -> None:
    """With `warn`, the result names deactivated numbers and numbers that are not confirmed ACTIVE."""
    numbers = (
        _result(NEW, Action.ACTIVATE, "ACTIVE", after, outcome),
        _result(OLD, Action.DEACTIVATE, "INACTIVE", "INACTIVE", deactivation_outcome),
    )
    (notice,) = result_notices(numbers, "warn")
    assert notice.kind is NoticeKind.SWAP
    assert notice.message.startswith(f"the run deactivated {OLD}, but did not confirm {NEW} ({outcome}) as ACTIVE; ")
    assert result_notices(numbers, "hold") == ()


@pytest.mark.parametrize(
    ("activation_outcome", "deactivation_outcome"),
    [
        (Outcome.CHANGED, Outcome.CHANGED),
        (Outcome.UNCHANGED, Outcome.CHANGED),
        (Outcome.FAILED, Outcome.FAILED),
        (Outcome.FAILED, Outcome.HELD),
        (Outcome.NOT_ATTEMPTED, Outcome.NOT_ATTEMPTED),
    ],
)
def test_result_without_a_broken_swap_has_no_notice(activation_outcome: Outcome, deactivation_outcome: Outcome) -> None:
    """A complete swap, and a run that deactivated nothing, have no notice."""
    after = "ACTIVE" if activation_outcome in {Outcome.CHANGED, Outcome.UNCHANGED} else "INACTIVE"
    numbers = (
        _result(NEW, Action.ACTIVATE, "ACTIVE", after, activation_outcome),
        _result(OLD, Action.DEACTIVATE, "INACTIVE", "ACTIVE", deactivation_outcome),
    )
    assert result_notices(numbers, "warn") == ()


@given(st.dictionaries(_phones, _desired), st.dictionaries(_phones, _statuses), st.sampled_from(["warn", "hold"]))
def test_no_deactivation_remains_with_an_impossible_activation(
    desired: dict[str, Desired], statuses: dict[str, Status], mode: PairSwaps
) -> None:
    """With `hold`, no deactivation remains with an impossible activation. Only deactivations are held."""
    changes = diff(desired, {phone: Observed(phone, status) for phone, status in statuses.items()})
    impossible = any(
        number.status is Status.ACTIVE
        and statuses.get(phone) is not Status.ACTIVE
        and (number.protected or statuses.get(phone) is not Status.INACTIVE)
        for phone, number in desired.items()
    )
    held_changes = hold_swaps(changes, mode)
    held = {change.phone for change in held_changes if change.action is Action.HELD}
    deactivated = {change.phone for change in changes if change.action is Action.DEACTIVATE}
    assert held == (deactivated if impossible and mode == "hold" else set())
    assert {change.phone for change in held_changes if change.action.writes} == {
        change.phone for change in changes if change.action.writes
    } - held
    assert bool(with_swap_notice(_plan(*held_changes)).notices) == (impossible and bool(deactivated - held))


def test_acknowledged_number_has_no_swap_notice_but_holds_with_pair_swaps() -> None:
    """Nothing needs to be fixed in `warn` mode. In `hold` mode, the number still counts as not activated."""
    assert with_swap_notice(_plan(OFF, KNOWN)).notices == ()
    numbers = [
        _result(NEW, Action.ACKNOWLEDGED, "ACTIVE", "PENDING", Outcome.ACKNOWLEDGED),
        _result(OLD, Action.DEACTIVATE, "INACTIVE", "INACTIVE", Outcome.CHANGED),
    ]
    assert result_notices(numbers, "warn") == ()
    assert [change.action for change in hold_swaps((OFF, KNOWN), "hold")] == [Action.HELD, Action.ACKNOWLEDGED]
