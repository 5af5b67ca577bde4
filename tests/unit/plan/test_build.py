"""The plan of an account is built by one pure function: schedules, comparison and safety rules."""

from datetime import UTC, datetime, timedelta

import pytest
from msgspec.structs import replace

from worker.config.settings import SafetySettings, Settings
from worker.model.accounts import (
    AccountMemory,
    DatedWindow,
    Desired,
    DesiredAccount,
    Observed,
    ObservedAccount,
    SafetyOverride,
    Schedule,
    Status,
)
from worker.model.errors import LedgerError
from worker.model.plans import Action, Verdict
from worker.model.safety import Health, InUse
from worker.plan.build import Draft, Terms, build, failed_draft
from worker.plan.policy import Selection

A, B, C = "01000000001", "01000000002", "01000000003"
NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
ON, OFF = Desired(Status.ACTIVE), Desired(Status.INACTIVE)


def _desired(default_status: Status | None = Status.INACTIVE, **overrides: Desired) -> DesiredAccount:
    """Return an account whose number A is ACTIVE from 12:00 to 13:00, and has the status `plain` otherwise."""
    schedule = Schedule(default_status, (DatedWindow(Status.ACTIVE, NOON, NOON + HOUR),), (), "Asia/Seoul")
    numbers = {A: Desired(Status.ACTIVE)} | {name[1:]: desired for name, desired in overrides.items()}
    return DesiredAccount("main", "main.yaml", numbers, [1] * len(numbers), schedules={A: schedule})


def _observed(**statuses: str) -> ObservedAccount:
    return ObservedAccount("1", {name[1:]: Observed(name[1:], Status(status)) for name, status in statuses.items()})


def _build(desired: DesiredAccount, observed: ObservedAccount, now: datetime = NOON, **terms: object) -> Draft:
    return build(desired, observed, Terms(**terms), AccountMemory(), now)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("now", "action"), [(NOON - HOUR, "unchanged"), (NOON, "activate"), (NOON + HOUR, "unchanged")]
)
def test_schedules_are_evaluated_at_the_given_time(now: datetime, action: str) -> None:
    """The plan compares the status that the schedule desires at `now`."""
    draft = _build(_desired(), _observed(n01000000001="INACTIVE"), now)
    assert draft.plan.counts[Action(action)] == 1


@pytest.mark.parametrize("default_status", [Status.INACTIVE, None])
def test_draft_is_outdated_once_a_window_has_ended(default_status: Status | None) -> None:
    """A plan made in a window is outdated once the schedule desires another status or none."""
    desired = _desired(default_status)
    draft = _build(desired, _observed(n01000000001="INACTIVE"))
    assert not draft.is_outdated(desired, NOON + HOUR / 2)
    assert draft.is_outdated(desired, NOON + HOUR)


def test_failed_draft_has_the_statuses_scheduled_at_its_time() -> None:
    error = LedgerError("gone")
    for now, status in ((NOON, Status.ACTIVE), (NOON + HOUR, Status.INACTIVE)):
        draft = failed_draft(_desired(), Terms(), error, now)
        assert (draft.plan.verdict, draft.error, draft.desired[A].status) == (Verdict.ERROR, error, status)


def test_drift_leaves_out_changes_of_the_file() -> None:
    """With `drift`, a plan has the numbers that differ although their file did not change."""
    desired = DesiredAccount("main", "main.yaml", {A: ON, B: ON, C: ON}, [1, 2, 3])
    observed = _observed(n01000000001="INACTIVE", n01000000002="INACTIVE", n01000000003="ACTIVE")
    memory = AccountMemory({A: Status.INACTIVE, B: Status.ACTIVE})
    draft = build(desired, observed, Terms(drift=True), memory, NOON)
    assert [change.phone for change in draft.plan.changes] == [B]
    assert (draft.plan.counts[Action.UNCHANGED], set(draft.desired)) == (1, {B, C})


@pytest.mark.parametrize("drift", [False, True])
@pytest.mark.parametrize(
    ("selection", "expected"),
    [
        (Selection(), {A, B, C}),
        (Selection(only=frozenset({A, B})), {A, B}),
        (Selection(exclude=frozenset({B})), {A, C}),
        (Selection(only=frozenset({A, B}), exclude=frozenset({B})), {A}),
    ],
)
def test_selection_narrows_every_plan(selection: Selection, expected: set[str], *, drift: bool) -> None:
    """The selection applies to plans of drift and to drafts of failed accounts too."""
    changed_by_file = "01000000004"
    numbers = {A: ON, B: ON, C: ON, changed_by_file: ON}
    desired = DesiredAccount("main", "main.yaml", numbers, [1, 2, 3, 4])
    observed = ObservedAccount("1", {phone: Observed(phone, Status.INACTIVE) for phone in numbers})
    memory = AccountMemory(dict.fromkeys((A, B, C), Status.ACTIVE) | {changed_by_file: Status.INACTIVE})
    terms = Terms(selection=selection, drift=drift)
    draft = build(desired, observed, terms, memory, NOON)
    assert {change.phone for change in draft.plan.changes} - {changed_by_file} == expected
    assert (changed_by_file in draft.desired) == (not drift and not selection.only)
    assert set(failed_draft(desired, terms, LedgerError("gone"), NOON).desired) - {changed_by_file} == expected


def test_safety_of_the_file_overrides_the_terms() -> None:
    """The thresholds of the file override those of the terms. A selection narrows the plan."""
    desired = DesiredAccount("main", "main.yaml", {A: OFF, B: OFF}, [1, 2], safety=SafetyOverride(min_active=2))
    observed = _observed(n01000000001="ACTIVE", n01000000002="ACTIVE")
    draft = _build(desired, observed)
    assert (draft.plan.verdict, draft.plan.active) == (Verdict.REFUSED, 2)
    assert [refusal.rule for refusal in draft.plan.refusals] == ["min-active"]
    selected = _build(desired, observed, selection=Selection(only=frozenset({B})), allow=frozenset({"all"}))
    assert (selected.plan.verdict, [change.phone for change in selected.plan.changes]) == (Verdict.OK, [B])


def test_draft_has_the_data_that_the_ledger_records() -> None:
    """The count of registered numbers is set if it changed."""
    desired = DesiredAccount("main", "main.yaml", {A: ON}, [1])
    observed = _observed(n01000000001="PENDING")
    known, unknown = (build(desired, observed, Terms(), AccountMemory(registered=count), NOON) for count in (1, 2))
    assert (known.registered_count, unknown.registered_count, known.has_open_attempts) == (None, 1, False)
    assert build(desired, observed, Terms(), AccountMemory(spent=frozenset({A})), NOON).has_open_attempts


@pytest.mark.parametrize("drift", [False, True])
def test_terms_take_safety_in_use_and_health_from_the_settings(*, drift: bool) -> None:
    settings = Settings(
        safety=SafetySettings(max_deactivations=7), in_use=InUse(enabled=True), health=Health(limit_percent=50)
    )
    selection, allow = Selection(frozenset({A}), frozenset({B})), frozenset({"min-active"})
    terms = Terms.of(settings, selection, allow, drift=drift)
    expected = Terms(settings.safety, selection, allow, drift, settings.in_use, settings.health)
    assert (terms, Terms.of(settings, selection, allow).drift) == (expected, False)
    narrowed = replace(expected, selection=Selection(frozenset({A}), frozenset({B, C})), drift=False)
    assert terms.without([C]) == narrowed
