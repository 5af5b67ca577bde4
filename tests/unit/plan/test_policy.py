"""The policy for unlisted numbers, selections and safety rules, rule by rule."""

import re

import msgspec
import pytest
from msgspec.structs import replace

from worker.config.settings import SafetySettings
from worker.model.accounts import (
    AccountMemory,
    Desired,
    DesiredAccount,
    IdleNumber,
    InUseOverride,
    Observed,
    ObservedAccount,
    SafetyOverride,
    Status,
    Unmanaged,
)
from worker.model.errors import ImplausibleNumber
from worker.model.plans import AccountPlan, Action, Cause, Change
from worker.model.safety import InUse, Safety
from worker.plan.build import _crashed_deactivations
from worker.plan.policy import Selection, adopt, check_registered, is_drift, select
from worker.plan.safety import ALLOW_ALL, RULES, effective_safety, effective_use, guard, is_within
from worker.render.i18n import translate, use_language

ON = Desired(Status.ACTIVE)
OFF = Desired(Status.INACTIVE)


def desire(unmanaged: Unmanaged = Unmanaged.REPORT, **numbers: Desired) -> DesiredAccount:
    """Return a desired account; each key is `n` and the number."""
    digits = {name[1:]: desired for name, desired in numbers.items()}
    return DesiredAccount("main", "main.yaml", digits, list(range(len(digits))), unmanaged=unmanaged)


def observe(**statuses: str) -> ObservedAccount:
    """Return an observed account; each key is `n` and the number."""
    numbers = {name[1:]: Observed(name[1:], Status(status)) for name, status in statuses.items()}
    return ObservedAccount("12925149", numbers)


def moves(deactivate: int, activate: int = 0) -> list[Change]:
    """Return a plan with this number of deactivations and activations."""
    deactivations = [Change(f"02{n:03}", Action.DEACTIVATE, "ACTIVE", "INACTIVE", "") for n in range(deactivate)]
    activations = [Change(f"03{n:03}", Action.ACTIVATE, "INACTIVE", "ACTIVE", "") for n in range(activate)]
    return activations + deactivations


def rules(changes: list[Change], active: int, safety: Safety, *allow: str) -> list[str]:
    """Return the names of the rules that refuse."""
    return [refusal.rule for refusal in guard(changes, active, safety, frozenset(allow))]


def test_report_leaves_unlisted_numbers_unchanged() -> None:
    """With `report`, an unlisted number of any status is not managed."""
    desired_numbers = adopt(desire(n0211=ON), observe(n0211="INACTIVE", n0222="ACTIVE", n0233="FROZEN"))
    assert desired_numbers == {
        "0211": ON,
        "0222": Desired(Status.ACTIVE, managed=False),
        "0233": Desired(Status("FROZEN"), managed=False),
    }


@pytest.mark.parametrize(
    ("selection", "expected"),
    [
        (Selection(), {"1", "2", "3"}),
        (Selection(owners=frozenset({"sales"})), {"1", "2"}),
        (Selection(owners=frozenset({"sales", "support"})), {"1", "2"}),
        (Selection(notes=frozenset({"desk"})), {"1"}),
        (Selection(owners=frozenset({"sales"}), notes=frozenset({"shop"})), {"2"}),
        (Selection(frozenset({"1", "3"}), owners=frozenset({"sales"})), {"1"}),
        (Selection(exclude=frozenset({"1"}), owners=frozenset({"sales"})), {"2"}),
        (Selection(owners=frozenset({"support"})), set()),
    ],
)
def test_every_field_of_a_selection_narrows_it(selection: Selection, expected: set[str]) -> None:
    """A number without an owner or a note is not selected by them."""
    numbers = {
        "1": Desired(Status.ACTIVE, note="Front  Desk", owner="SALES "),
        "2": Desired(Status.ACTIVE, note="shop", owner="Sales"),
        "3": ON,
    }
    assert set(select(numbers, selection)) == expected


@pytest.mark.parametrize("phone", ["821012345678", "008212345", "1012345678", "00123"])
@pytest.mark.parametrize("unmanaged", [Unmanaged.REPORT, Unmanaged.DEACTIVATE])
def test_number_that_no_file_can_list_is_unchanged(unmanaged: Unmanaged, phone: str) -> None:
    """The number is not deactivated as unlisted, because a file could only have named another number."""
    desired_numbers = adopt(desire(unmanaged), observe(**{f"n{phone}": "ACTIVE"}))
    because = "registered, but no file can list it as the vendor writes it; change it in the vendor's console"
    assert desired_numbers == {phone: Desired(Status.ACTIVE, managed=False, because=because)}


@pytest.mark.parametrize("phone", ["050712345678", "0101234567", "12345", "999999999999"])
def test_implausible_number_is_accepted_only_if_registered(phone: str) -> None:
    """An unregistered one is refused with its position, with or without a desired status."""
    desired = replace(desire(n01012345678=ON), lines=[7], line=3)
    listed = replace(desired, numbers={**desired.numbers, phone: OFF}, lines=[7, 8])
    idle_account = replace(desired, idle={phone: IdleNumber("nothing now")})
    registered = observe(**{f"n{phone}": "ACTIVE"})
    check_registered(desired, observe())
    for account, line in ((listed, 8), (idle_account, 3)):
        check_registered(account, registered)
        with pytest.raises(ImplausibleNumber) as raised:
            check_registered(account, observe(n01012345678="ACTIVE"))
        message = str(raised.value)
        assert message.startswith(f"main.yaml:{line}:1: {phone} is not registered on this account, and ")
        assert message.endswith(", or remove it from the file")


@pytest.mark.parametrize(("count", "named_count", "suffix"), [(1, 0, ""), (2, 1, ")"), (21, 20, ")"), (22, 20, "), …")])
def test_error_names_further_implausible_numbers(count: int, named_count: int, suffix: str) -> None:
    """The first number of the file is described; up to 20 more are named with their lines."""
    phones = {f"050{index:08}": ON for index in reversed(range(count))}
    desired = DesiredAccount("main", "main.yaml", phones, list(range(1, count + 1)))
    with pytest.raises(ImplausibleNumber, match=f"^main.yaml:1:1: 050{count - 1:08} is not registered") as raised:
        check_registered(desired, observe())
    _, _, further = str(raised.value).partition("; likewise ")
    assert further.count("050") == named_count
    assert further.endswith(suffix)
    if named_count:
        assert further.startswith(f"050{count - 2:08} (:2)")


def test_error_about_implausible_numbers_is_fully_translated() -> None:
    """The advice is translated too."""
    desired = DesiredAccount("main", "main.yaml", {"050712345678": ON, "0101234567": ON}, [1, 2])
    with pytest.raises(ImplausibleNumber) as raised:
        check_registered(desired, observe())
    with use_language("ko"):
        korean = translate(str(raised.value))
    assert re.findall("[a-z]{2,}", korean) == ["main", "yaml"]


@pytest.mark.parametrize("unmanaged", Unmanaged)
def test_listed_number_without_desired_status_is_unchanged(unmanaged: Unmanaged) -> None:
    """The policy for unlisted numbers does not apply. A notice gives the reason, except with `ignore`."""
    desired = replace(
        desire(unmanaged, n0211=ON), idle={"0222": IdleNumber("nothing now", "2026-12-01T00:00:00Z", "n", "o")}
    )
    unmanaged_number = Desired(
        Status.ACTIVE, "n", "o", managed=False, because="nothing now", until="2026-12-01T00:00:00Z"
    )
    desired_numbers = adopt(desired, observe(n0211="ACTIVE", n0222="ACTIVE"))
    assert desired_numbers == (
        {"0211": ON} if unmanaged is Unmanaged.IGNORE else {"0211": ON, "0222": unmanaged_number}
    )
    assert adopt(desired, observe(n0211="ACTIVE")) == {"0211": ON}


def test_ignore_omits_unlisted_numbers() -> None:
    """With `ignore`, an unlisted number is not part of the plan."""
    desired = desire(Unmanaged.IGNORE, n0211=ON)
    assert adopt(desired, observe(n0211="ACTIVE", n0222="ACTIVE")) is desired.numbers


def test_deactivate_desires_writable_unlisted_numbers_inactive() -> None:
    """An unlisted number whose status cannot be written stays unchanged."""
    desired_numbers = adopt(desire(Unmanaged.DEACTIVATE), observe(n0211="ACTIVE", n0222="INACTIVE", n0233="EXPIRED"))
    assert desired_numbers == {
        "0211": Desired(Status.INACTIVE, managed=False),
        "0222": Desired(Status.INACTIVE),
        "0233": Desired(Status.EXPIRED, managed=False),
    }


@pytest.mark.parametrize("unmanaged", Unmanaged)
def test_mapping_of_the_file_is_not_copied_without_unlisted_numbers(unmanaged: Unmanaged) -> None:
    desired = desire(unmanaged, n0211=ON, n0222=OFF)
    assert adopt(desired, observe(n0211="ACTIVE")) is desired.numbers


def test_adopt_does_not_change_the_desired_numbers() -> None:
    desired = desire(n0211=ON)
    adopt(desired, observe(n0222="ACTIVE"))
    assert desired.numbers == {"0211": ON}


def test_adopted_numbers_share_values() -> None:
    """Unlisted numbers of one status share one value, so that a million of them use little memory."""
    desired_numbers = adopt(desire(), observe(n0211="ACTIVE", n0222="ACTIVE"))
    assert desired_numbers["0211"] is desired_numbers["0222"]


def test_empty_selection_selects_everything() -> None:
    """The mapping is not copied."""
    desired_numbers = {"0211": ON, "0222": OFF}
    assert select(desired_numbers, Selection()) is desired_numbers


@pytest.mark.parametrize(
    ("only", "exclude", "expected"),
    [
        ({"0222", "0999"}, set(), ["0222"]),
        (set(), {"0222"}, ["0211", "0233"]),
        ({"0233", "0222"}, {"0222"}, ["0233"]),
        ({"0999"}, set(), []),
    ],
)
def test_selection_applies_only_and_exclude(only: set[str], exclude: set[str], expected: list[str]) -> None:
    """`exclude` wins over `only`. An unknown number adds nothing."""
    desired_numbers = {"0211": ON, "0222": OFF, "0233": ON}
    assert list(select(desired_numbers, Selection(frozenset(only), frozenset(exclude)))) == expected


def test_settings_apply_to_a_file_without_thresholds() -> None:
    assert effective_safety(Safety("50%", 3), SafetyOverride()) == Safety("50%", 3)


def test_thresholds_of_the_file_override_the_settings() -> None:
    """Each threshold is overridden separately, even by 0."""
    assert effective_safety(Safety("50%", 3), SafetyOverride(max_deactivations=0)) == Safety(0, 3)
    assert effective_safety(Safety("50%", 3), SafetyOverride(min_active=0)) == Safety("50%", 0)
    assert effective_safety(Safety("50%", 3), SafetyOverride(pair_swaps="hold")) == Safety("50%", 3, "hold")
    assert effective_safety(Safety(pair_swaps="hold"), SafetyOverride(pair_swaps="warn")) == Safety()
    assert effective_safety(Safety(pair_swaps="hold"), SafetyOverride(0)) == Safety(0, pair_swaps="hold")


def test_effective_safety_has_no_fleet_wide_threshold() -> None:
    """The share of the fleet is not stored in plan files or the ledger, because it belongs to no account."""
    safety = effective_safety(SafetySettings("50%", 3, fleet_wide="10%"), SafetyOverride())
    assert msgspec.to_builtins(safety) == {"max_deactivations": "50%", "min_active": 3, "pair_swaps": "warn"}


@pytest.mark.parametrize(
    ("limit", "active", "allowed"), [("30%", 100, 30), ("30%", 19, 5), ("30%", 3, 2), (4, 100, 4), ("7", 100, 7)]
)
def test_max_deactivations_is_the_largest_allowed_number(limit: int | str, active: int, allowed: int) -> None:
    safety = Safety(limit, 0)
    assert rules(moves(allowed), active, safety) == []
    assert rules(moves(allowed + 1), active, safety) == ["max-deactivations"]


def test_max_deactivations_counts_active_numbers() -> None:
    """The percentage applies to ACTIVE numbers, not to all. Activations do not count."""
    assert rules(moves(4, activate=50), 10, Safety("30%", 0)) == ["max-deactivations"]
    assert rules(moves(3, activate=50), 10, Safety("30%", 0)) == []


@pytest.mark.parametrize(
    ("active", "deactivate", "activate", "refused"),
    [
        (2, 2, 0, True),
        (2, 1, 0, False),
        (2, 2, 1, False),
        (3, 3, 0, True),
        (0, 0, 0, False),
    ],
)
def test_min_active_counts_the_numbers_after_the_plan(
    active: int, deactivate: int, activate: int, *, refused: bool
) -> None:
    """Planned activations count."""
    broken_rules = rules(moves(deactivate, activate), active, Safety("100%", 1))
    assert broken_rules == (["min-active"] if refused else [])


def test_min_active_does_not_apply_to_accounts_below_it() -> None:
    """An account that already has fewer numbers than `min_active` is not refused."""
    assert rules(moves(1), 4, Safety("100%", 5)) == []
    assert rules(moves(1), 5, Safety("100%", 5)) == ["min-active"]


@pytest.mark.parametrize(
    ("desired", "status", "counts"),
    [
        (OFF, "INACTIVE", True),
        (ON, "INACTIVE", False),
        (OFF, "ACTIVE", False),
        (ON, "ACTIVE", False),
        (OFF, None, False),
        (None, "INACTIVE", False),
    ],
)
def test_deactivations_of_a_crashed_run_count(desired: Desired | None, status: str | None, *, counts: bool) -> None:
    """A number that a crashed run deactivated counts while it is desired and observed INACTIVE."""
    desired_numbers = {} if desired is None else {"0211": desired}
    observed = ObservedAccount("1", {} if status is None else {"0211": Observed("0211", Status(status))})
    assert _crashed_deactivations(AccountMemory(spent=frozenset({"0211"})), desired_numbers, observed) == int(counts)
    assert _crashed_deactivations(AccountMemory(), desired_numbers, observed) == 0


def test_splitting_a_plan_over_crashed_runs_gains_nothing() -> None:
    """Deactivations of crashed runs count like planned ones: 3 of 10, however they are split."""
    safety = Safety("30%", 0)
    for deactivated in range(4):
        assert (
            guard(moves(3 - deactivated), 10 - deactivated, safety, frozenset(), already_deactivated=deactivated) == ()
        )
        (refusal,) = guard(
            moves(4 - deactivated), 10 - deactivated, safety, frozenset(), already_deactivated=deactivated
        )
        assert refusal.message.startswith("4 of 10 ACTIVE numbers would be deactivated; the limit is 3")


def test_min_active_counts_deactivations_of_a_crashed_run() -> None:
    """An account that a crashed run brought below `min_active` is still checked."""
    refusals = guard(moves(1), 4, Safety("100%", 5), frozenset(), already_deactivated=1)
    assert [refusal.rule for refusal in refusals] == ["min-active"]
    assert refusals[0].message.startswith("3 of 5 ACTIVE numbers would stay ACTIVE")


def test_every_broken_rule_is_reported() -> None:
    """A plan that breaks both rules of an account is refused by both, in the order of `RULES`."""
    assert rules(moves(10), 10, Safety()) == list(RULES[:2])


@pytest.mark.parametrize(
    ("allow", "expected"),
    [
        (["max-deactivations"], ["min-active"]),
        (["min-active"], ["max-deactivations"]),
        (["max-deactivations", "min-active"], []),
        ([ALLOW_ALL], []),
        (["something-else"], ["max-deactivations", "min-active"]),
    ],
)
def test_allow_suppresses_only_named_rules(allow: list[str], expected: list[str]) -> None:
    """`all` allows every rule."""
    assert rules(moves(10), 10, Safety(), *allow) == expected


def test_refusals_have_counts_limit_and_option() -> None:
    too_many, too_few = guard(moves(10, activate=3), 10, Safety("30%", 5), frozenset())
    assert too_many.message == (
        "10 of 10 ACTIVE numbers would be deactivated; the limit is 3 (max_deactivations: 30%). "
        "To allow it, add --allow max-deactivations"
    )
    assert too_few.message == (
        "3 of 10 ACTIVE numbers would stay ACTIVE; the minimum is 5 (min_active). To allow it, add --allow min-active"
    )


def test_changes_without_writes_do_not_break_rules() -> None:
    """Numbers that are only reported do not count as deactivated."""
    changes = [Change(f"02{n:03}", Action.BLOCKED, "PENDING", "INACTIVE", "") for n in range(9)]
    assert rules(changes, 9, Safety(0, 9)) == []


def test_invalid_threshold_is_an_error() -> None:
    """A threshold that is neither a number nor a percentage is an error, not an absent limit."""
    with pytest.raises(ValueError, match="max_deactivations"):
        guard([], 1, Safety("some"), frozenset())


def test_crashed_run_does_not_refuse_a_plan_without_deactivations() -> None:
    """Deactivations of crashed runs count only together with new ones."""
    activation = Change("0100001", Action.ACTIVATE, "INACTIVE", "ACTIVE", "")
    safety = Safety(max_deactivations=0, min_active=1)
    assert guard([], 0, safety, frozenset(), already_deactivated=1) == ()
    assert guard([activation], 0, safety, frozenset(), already_deactivated=1) == ()
    deactivation = Change("0100001", Action.DEACTIVATE, "ACTIVE", "INACTIVE", "")
    assert guard([deactivation], 0, safety, frozenset(), already_deactivated=1)


@pytest.mark.parametrize("action", Action)
@pytest.mark.parametrize("cause", [None, *Cause])
def test_difference_is_drift_unless_the_file_changed(action: Action, cause: Cause | None) -> None:
    """An unlisted number has not drifted."""
    expected = action is not Action.UNMANAGED and cause is not Cause.CONFIG_CHANGE
    assert is_drift(Change("0211", action, "ACTIVE", "INACTIVE", "", cause=cause)) is expected


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        (None, InUse(enabled=False, hours=5, on_unknown="allow")),
        (InUseOverride(), InUse(enabled=True, hours=5, on_unknown="allow")),
        (InUseOverride(hours=72), InUse(enabled=True, hours=72, on_unknown="allow")),
        (InUseOverride(enabled=False, on_unknown="hold"), InUse(enabled=False, hours=5, on_unknown="hold")),
    ],
)
def test_in_use_guard_of_the_file_overrides_the_settings(override: InUseOverride | None, expected: InUse) -> None:
    """Keys that the file omits are taken from the settings."""
    assert effective_use(InUse(enabled=False, hours=5, on_unknown="allow"), override) == expected


@pytest.mark.parametrize(
    ("account_id", "writes", "within"),
    [
        ("1", [("0211", "ACTIVE", "INACTIVE"), ("0222", "INACTIVE", "ACTIVE")], True),
        ("1", [("0222", "INACTIVE", "ACTIVE")], True),
        ("1", [], True),
        ("2", [("0222", "INACTIVE", "ACTIVE")], False),
        ("1", [("0211", "ACTIVE", "INACTIVE"), ("0233", "INACTIVE", "ACTIVE")], False),
        ("1", [("0222", "PENDING", "ACTIVE")], False),
        ("1", [("0211", "ACTIVE", "ACTIVE")], False),
    ],
)
def test_plan_is_within_an_approved_plan_with_all_its_writes(
    account_id: str, writes: list[tuple[str, str, str]], *, within: bool
) -> None:
    """Changes that are not written do not count."""

    def plan(account_id: str, writes: list[tuple[str, str, str]]) -> AccountPlan:
        changes = [
            Change(phone, Action.ACTIVATE if desired == "ACTIVE" else Action.DEACTIVATE, observed, desired, "")
            for phone, observed, desired in writes
        ]
        blocked = Change(f"02{len(writes)}", Action.BLOCKED, "BLOCKED", "ACTIVE", "")
        return AccountPlan(account="main", account_id=account_id, counts={}, changes=(*changes, blocked))

    approved = plan("1", [("0211", "ACTIVE", "INACTIVE"), ("0222", "INACTIVE", "ACTIVE")])
    assert is_within(plan(account_id, writes), approved) is within


@pytest.mark.parametrize("policy", Unmanaged)
def test_ignored_number_is_in_no_plan(policy: Unmanaged) -> None:
    """The policy for unlisted numbers has no effect on it. Listed numbers are not affected."""
    desired = replace(desire(policy, n01=ON), ignored=("070*", "0212345678", "821012345678"))
    observed = observe(
        n01="INACTIVE", n07012345678="ACTIVE", n0212345678="PENDING", n821012345678="ACTIVE", n0311234567="ACTIVE"
    )
    assert adopt(desired, observed).keys() == {"01", *(("0311234567",) if policy is not Unmanaged.IGNORE else ())}
