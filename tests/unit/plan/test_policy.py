"""What a run may touch, rule by rule."""

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


def wanting(unmanaged: Unmanaged = Unmanaged.REPORT, **numbers: Desired) -> DesiredAccount:
    """A desired account; numbers are named `n` and digits."""
    digits = {name[1:]: desired for name, desired in numbers.items()}
    return DesiredAccount("main", "main.yaml", digits, list(range(len(digits))), unmanaged=unmanaged)


def seeing(**statuses: str) -> ObservedAccount:
    """An observed account; numbers are named `n` and digits."""
    numbers = {name[1:]: Observed(name[1:], Status(status)) for name, status in statuses.items()}
    return ObservedAccount("12925149", numbers)


def moves(deactivate: int, activate: int = 0) -> list[Change]:
    """Return a plan with this number of deactivations and activations."""
    off = [Change(f"02{n:03}", Action.DEACTIVATE, "ACTIVE", "INACTIVE", "") for n in range(deactivate)]
    on = [Change(f"03{n:03}", Action.ACTIVATE, "INACTIVE", "ACTIVE", "") for n in range(activate)]
    return on + off


def rules(changes: list[Change], active: int, safety: Safety, *allow: str) -> list[str]:
    """The names of the rules that refuse."""
    return [refusal.rule for refusal in guard(changes, active, safety, frozenset(allow))]


def test_report_leaves_unlisted_numbers_unchanged() -> None:
    """Under `report` an unlisted number of any status is not managed."""
    wanted = adopt(wanting(n0211=ON), seeing(n0211="INACTIVE", n0222="ACTIVE", n0233="FROZEN"))
    assert wanted == {
        "0211": ON,
        "0222": Desired(Status.ACTIVE, managed=False),
        "0233": Desired(Status("FROZEN"), managed=False),
    }


@pytest.mark.parametrize("phone", ["821012345678", "008212345", "1012345678", "00123"])
@pytest.mark.parametrize("unmanaged", [Unmanaged.REPORT, Unmanaged.DEACTIVATE])
def test_number_that_no_file_can_list_is_unchanged(unmanaged: Unmanaged, phone: str) -> None:
    """It is not deactivated for being unlisted, as a file could only have named another one."""
    wanted = adopt(wanting(unmanaged), seeing(**{f"n{phone}": "ACTIVE"}))
    because = "registered, but no file can list it as the vendor writes it; change it in the vendor's console"
    assert wanted == {phone: Desired(Status.ACTIVE, managed=False, because=because)}


@pytest.mark.parametrize("phone", ["050712345678", "0101234567", "12345", "999999999999"])
def test_an_implausible_number_is_accepted_as_far_as_it_is_registered(phone: str) -> None:
    """A registered number is right; any other is refused with its place, with or without a desired status."""
    desired = replace(wanting(n01012345678=ON), lines=[7], line=3)
    listed = replace(desired, numbers={**desired.numbers, phone: OFF}, lines=[7, 8])
    idle = replace(desired, idle={phone: IdleNumber("nothing now")})
    registered = seeing(**{f"n{phone}": "ACTIVE"})
    check_registered(desired, seeing())
    for account, line in ((listed, 8), (idle, 3)):
        check_registered(account, registered)
        with pytest.raises(ImplausibleNumber) as raised:
            check_registered(account, seeing(n01012345678="ACTIVE"))
        message = str(raised.value)
        assert message.startswith(f"main.yaml:{line}:1: {phone} is not registered on this account, and ")
        assert message.endswith(", or remove it from the file")


@pytest.mark.parametrize(("count", "named", "rest"), [(1, 0, ""), (2, 1, ")"), (21, 20, ")"), (22, 20, "), …")])
def test_an_error_names_further_implausible_numbers(count: int, named: int, rest: str) -> None:
    """The first number of the file is described, and 20 further ones are named with their lines."""
    phones = {f"050{index:08}": ON for index in reversed(range(count))}
    desired = DesiredAccount("main", "main.yaml", phones, list(range(1, count + 1)))
    with pytest.raises(ImplausibleNumber, match=f"^main.yaml:1:1: 050{count - 1:08} is not registered") as raised:
        check_registered(desired, seeing())
    _, _, others = str(raised.value).partition("; likewise ")
    assert others.count("050") == named
    assert others.endswith(rest)
    if named:
        assert others.startswith(f"050{count - 2:08} (:2)")


def test_an_error_about_an_implausible_number_is_korean_throughout() -> None:
    """The advice within it is translated too."""
    desired = DesiredAccount("main", "main.yaml", {"050712345678": ON, "0101234567": ON}, [1, 2])
    with pytest.raises(ImplausibleNumber) as raised:
        check_registered(desired, seeing())
    with use_language("ko"):
        korean = translate(str(raised.value))
    assert re.findall("[a-z]{2,}", korean) == ["main", "yaml"]


@pytest.mark.parametrize("unmanaged", Unmanaged)
def test_listed_number_without_desired_status_is_unchanged(unmanaged: Unmanaged) -> None:
    """The policy for unlisted numbers does not apply; a notice says why, except under `ignore`."""
    desired = replace(
        wanting(unmanaged, n0211=ON), idle={"0222": IdleNumber("nothing now", "2026-12-01T00:00:00Z", "n", "o")}
    )
    rest = Desired(Status.ACTIVE, "n", "o", managed=False, because="nothing now", until="2026-12-01T00:00:00Z")
    wanted = adopt(desired, seeing(n0211="ACTIVE", n0222="ACTIVE"))
    assert wanted == ({"0211": ON} if unmanaged is Unmanaged.IGNORE else {"0211": ON, "0222": rest})
    assert adopt(desired, seeing(n0211="ACTIVE")) == {"0211": ON}


def test_ignore_leaves_unlisted_out() -> None:
    """Under `ignore` an unlisted number does not exist for the plan."""
    desired = wanting(Unmanaged.IGNORE, n0211=ON)
    assert adopt(desired, seeing(n0211="ACTIVE", n0222="ACTIVE")) is desired.numbers


def test_deactivate_wants_writable_unlisted_inactive() -> None:
    """Under `deactivate` an unlisted number is desired INACTIVE if that can be written, and unchanged otherwise."""
    wanted = adopt(wanting(Unmanaged.DEACTIVATE), seeing(n0211="ACTIVE", n0222="INACTIVE", n0233="EXPIRED"))
    assert wanted == {
        "0211": Desired(Status.INACTIVE, managed=False),
        "0222": Desired(Status.INACTIVE),
        "0233": Desired(Status.EXPIRED, managed=False),
    }


@pytest.mark.parametrize("unmanaged", Unmanaged)
def test_nothing_unlisted_copies_nothing(unmanaged: Unmanaged) -> None:
    """Where every registered number is listed, the file's own mapping is used and not a copy."""
    desired = wanting(unmanaged, n0211=ON, n0222=OFF)
    assert adopt(desired, seeing(n0211="ACTIVE")) is desired.numbers


def test_adopting_leaves_the_file_alone() -> None:
    """Adopting does not add to what the file desires."""
    desired = wanting(n0211=ON)
    adopt(desired, seeing(n0222="ACTIVE"))
    assert desired.numbers == {"0211": ON}


def test_adopted_numbers_share_values() -> None:
    """Unlisted numbers of one status share one value, so that a million of them cost little."""
    wanted = adopt(wanting(), seeing(n0211="ACTIVE", n0222="ACTIVE"))
    assert wanted["0211"] is wanted["0222"]


def test_empty_selection_is_everything() -> None:
    """A selection of nothing selects everything and copies nothing."""
    wanted = {"0211": ON, "0222": OFF}
    assert select(wanted, Selection()) is wanted


@pytest.mark.parametrize(
    ("only", "exclude", "left"),
    [
        ({"0222", "0999"}, set(), ["0222"]),
        (set(), {"0222"}, ["0211", "0233"]),
        ({"0233", "0222"}, {"0222"}, ["0233"]),
        ({"0999"}, set(), []),
    ],
)
def test_selection(only: set[str], exclude: set[str], left: list[str]) -> None:
    """`only` keeps what it names, `exclude` drops what it names and wins; a number that is not there adds nothing."""
    wanted = {"0211": ON, "0222": OFF, "0233": ON}
    assert list(select(wanted, Selection(frozenset(only), frozenset(exclude)))) == left


def test_safety_of_the_settings_holds() -> None:
    """A file without thresholds of its own gets those of the settings."""
    assert effective_safety(Safety("50%", 3), SafetyOverride()) == Safety("50%", 3)


def test_safety_of_the_file_wins() -> None:
    """A file's thresholds win one by one, 0 included."""
    assert effective_safety(Safety("50%", 3), SafetyOverride(max_deactivations=0)) == Safety(0, 3)
    assert effective_safety(Safety("50%", 3), SafetyOverride(min_active=0)) == Safety("50%", 0)
    assert effective_safety(Safety("50%", 3), SafetyOverride(pair_swaps="hold")) == Safety("50%", 3, "hold")
    assert effective_safety(Safety(pair_swaps="hold"), SafetyOverride(pair_swaps="warn")) == Safety()
    assert effective_safety(Safety(pair_swaps="hold"), SafetyOverride(0)) == Safety(0, pair_swaps="hold")


def test_what_is_kept_of_an_account_holds_its_own_thresholds_alone() -> None:
    """The fleet's share is in no plan file and no ledger, as it belongs to no single account."""
    kept = effective_safety(SafetySettings("50%", 3, fleet_wide="10%"), SafetyOverride())
    assert msgspec.to_builtins(kept) == {"max_deactivations": "50%", "min_active": 3, "pair_swaps": "warn"}


@pytest.mark.parametrize(
    ("limit", "active", "allowed"), [("30%", 100, 30), ("30%", 19, 5), ("30%", 3, 2), (4, 100, 4), ("7", 100, 7)]
)
def test_max_deactivations_is_the_most_allowed(limit: int | str, active: int, allowed: int) -> None:
    """A plan may deactivate exactly as many numbers as the threshold says, and not one more."""
    safety = Safety(limit, 0)
    assert rules(moves(allowed), active, safety) == []
    assert rules(moves(allowed + 1), active, safety) == ["max-deactivations"]


def test_max_deactivations_counts_active_numbers() -> None:
    """The percentage is of the ACTIVE numbers, not of all, and activations do not count against it."""
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
def test_min_active_counts_what_is_left(active: int, deactivate: int, activate: int, *, refused: bool) -> None:
    """A plan may not leave an account under `min_active`, activations counted in."""
    broken = rules(moves(deactivate, activate), active, Safety("100%", 1))
    assert broken == (["min-active"] if refused else [])


def test_min_active_spares_accounts_below_it() -> None:
    """An account that has fewer than `min_active` numbers already is not held to it."""
    assert rules(moves(1), 4, Safety("100%", 5)) == []
    assert rules(moves(1), 5, Safety("100%", 5)) == ["min-active"]


@pytest.mark.parametrize(
    ("want", "status", "counts"),
    [
        (OFF, "INACTIVE", True),
        (ON, "INACTIVE", False),
        (OFF, "ACTIVE", False),
        (ON, "ACTIVE", False),
        (OFF, None, False),
        (None, "INACTIVE", False),
    ],
)
def test_spent_counts_what_a_died_run_has_switched_off(
    want: Desired | None, status: str | None, *, counts: bool
) -> None:
    """A number that a killed run deactivated counts while it is still desired INACTIVE and still is."""
    wanted = {} if want is None else {"0211": want}
    observed = ObservedAccount("1", {} if status is None else {"0211": Observed("0211", Status(status))})
    assert _crashed_deactivations(AccountMemory(spent=frozenset({"0211"})), wanted, observed) == int(counts)
    assert _crashed_deactivations(AccountMemory(), wanted, observed) == 0


def test_a_plan_gains_nothing_by_being_cut_in_pieces() -> None:
    """What a run that died has switched off counts as if it still were to be: 3 of 10, however they are spread."""
    safety = Safety("30%", 0)
    for done in range(4):
        assert guard(moves(3 - done), 10 - done, safety, frozenset(), already_deactivated=done) == ()
        (refusal,) = guard(moves(4 - done), 10 - done, safety, frozenset(), already_deactivated=done)
        assert refusal.message.startswith("4 of 10 ACTIVE numbers would be deactivated; at most 3 may be")


def test_min_active_holds_over_a_crash() -> None:
    """An account that a run which died has brought under `min_active` is still held to it."""
    left = guard(moves(1), 4, Safety("100%", 5), frozenset(), already_deactivated=1)
    assert [refusal.rule for refusal in left] == ["min-active"]
    assert left[0].message.startswith("3 of 5 ACTIVE numbers would stay ACTIVE")


def test_every_broken_rule_is_reported() -> None:
    """A plan that breaks both rules of an account is refused by both, in the order of the rules' list."""
    assert rules(moves(10), 10, Safety()) == list(RULES[:2])


@pytest.mark.parametrize(
    ("allow", "left"),
    [
        (["max-deactivations"], ["min-active"]),
        (["min-active"], ["max-deactivations"]),
        (["max-deactivations", "min-active"], []),
        ([ALLOW_ALL], []),
        (["something-else"], ["max-deactivations", "min-active"]),
    ],
)
def test_allow_lets_through_what_it_names(allow: list[str], left: list[str]) -> None:
    """An allowed rule lets the plan through and no other rule; `all` allows every one."""
    assert rules(moves(10), 10, Safety(), *allow) == left


def test_refusals_say_numbers_and_option() -> None:
    """A refusal says how many of how many, what the limit is, and which option lets it through."""
    many, few = guard(moves(10, activate=3), 10, Safety("30%", 5), frozenset())
    assert many.message == (
        "10 of 10 ACTIVE numbers would be deactivated; at most 3 may be (max_deactivations: 30%). "
        "To allow it, add --allow max-deactivations"
    )
    assert few.message == (
        "3 of 10 ACTIVE numbers would stay ACTIVE; at least 5 must (min_active). To allow it, add --allow min-active"
    )


def test_changes_without_writes_break_nothing() -> None:
    """Numbers that are only reported do not count as deactivated."""
    changes = [Change(f"02{n:03}", Action.BLOCKED, "PENDING", "INACTIVE", "") for n in range(9)]
    assert rules(changes, 9, Safety(0, 9)) == []


def test_senseless_threshold_is_an_error() -> None:
    """A threshold that is neither a number nor a percentage is an error rather than no limit."""
    with pytest.raises(ValueError, match="max_deactivations"):
        guard([], 1, Safety("some"), frozenset())


def test_what_a_dead_run_took_does_not_refuse_a_plan_that_takes_nothing() -> None:
    """Numbers that a run which died switched off count beside further deactivations only."""
    activation = Change("0100001", Action.ACTIVATE, "INACTIVE", "ACTIVE", "")
    safety = Safety(max_deactivations=0, min_active=1)
    assert guard([], 0, safety, frozenset(), already_deactivated=1) == ()
    assert guard([activation], 0, safety, frozenset(), already_deactivated=1) == ()
    deactivation = Change("0100001", Action.DEACTIVATE, "ACTIVE", "INACTIVE", "")
    assert guard([deactivation], 0, safety, frozenset(), already_deactivated=1)


@pytest.mark.parametrize("action", Action)
@pytest.mark.parametrize("cause", [None, *Cause])
def test_whatever_the_file_did_not_change_drifted(action: Action, cause: Cause | None) -> None:
    """A number that differs has drifted unless its file is known to be why; one that no file lists has not."""
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
def test_a_files_guard_wins_over_the_settings(override: InUseOverride | None, expected: InUse) -> None:
    """What a file says of the in-use guard holds for its account, and what it leaves out is the settings'."""
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
def test_plan_is_within_an_approved_plan_that_has_all_its_writes(
    account_id: str, writes: list[tuple[str, str, str]], *, within: bool
) -> None:
    """What is not written does not count."""

    def plan(account_id: str, writes: list[tuple[str, str, str]]) -> AccountPlan:
        changes = [
            Change(phone, Action.ACTIVATE if desired == "ACTIVE" else Action.DEACTIVATE, observed, desired, "")
            for phone, observed, desired in writes
        ]
        blocked = Change(f"02{len(writes)}", Action.BLOCKED, "BLOCKED", "ACTIVE", "")
        return AccountPlan(account="main", account_id=account_id, counts={}, changes=(*changes, blocked))

    approved = plan("1", [("0211", "ACTIVE", "INACTIVE"), ("0222", "INACTIVE", "ACTIVE")])
    assert is_within(plan(account_id, writes), approved) is within
