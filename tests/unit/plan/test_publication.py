"""The comparison of two revisions, and the rule that refuses too large a change between them."""

from datetime import UTC, datetime

import pytest

from worker.config import desired
from worker.model.accounts import DesiredAccount
from worker.model.plans import Action
from worker.plan.publication import guard_revision, switches

NOW = datetime(2026, 12, 1, 12, tzinfo=UTC)
A, B, C = "01000000001", "01000000002", "01000000003"


def _account(text: str) -> DesiredAccount:
    (account,) = desired.load([("a.yaml", f"version: 1\n{text}".encode())]).accounts
    return account


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (f"numbers: {{{A}: ACTIVE}}", f"numbers: {{{A}: ACTIVE}}", {}),
        (f"numbers: {{{A}: ACTIVE}}", f"numbers: {{{A}: INACTIVE}}", {Action.DEACTIVATE: 1}),
        (f"numbers: {{{A}: INACTIVE, {B}: ACTIVE}}", f"numbers: {{{A}: ACTIVE}}", {Action.ACTIVATE: 1}),
        (f"numbers: {{{A}: ACTIVE}}", f"numbers: {{{A}: ACTIVE, {B}: INACTIVE}}", {}),
        (
            f"numbers: {{{A}: ACTIVE, {B}: ACTIVE, {C}: INACTIVE}}",
            f"unmanaged: deactivate\nnumbers: {{{A}: ACTIVE}}",
            {Action.DEACTIVATE: 1},
        ),
        (
            f"numbers: {{{A}: INACTIVE}}",
            f"numbers: {{{A}: {{status: INACTIVE, schedule: [{{from: 2026-12-01, status: ACTIVE}}]}}}}",
            {Action.ACTIVATE: 1},
        ),
    ],
    ids=["same", "deactivated", "activated", "new number", "unlisted", "schedule"],
)
def test_switches_of_numbers_that_both_revisions_list(before: str, after: str, expected: dict[Action, int]) -> None:
    """A new number does not count, as its status is unknown. An unlisted one counts if it would be deactivated."""
    assert +switches(_account(before), _account(after), NOW) == expected


def _refusals(counts: dict[Action, int], removed: int = 0, allow: str = "", setting: str = "50%") -> list[str]:
    refusals = guard_revision(
        counts, numbers=1000, removed=removed, accounts_before=400, setting=setting, allow=frozenset({allow})
    )
    assert {refusal.rule for refusal in refusals} <= {"fleet-wide"}
    return [refusal.message.partition(";")[0] for refusal in refusals]


def test_revision_that_switches_too_many_numbers_is_refused() -> None:
    """Activations, deactivations and removed accounts have separate limits."""
    assert _refusals({Action.ACTIVATE: 500, Action.DEACTIVATE: 500}, removed=200) == []
    assert _refusals({Action.ACTIVATE: 501}) == ["501 of the 1000 numbers of all accounts would be activated"]
    assert _refusals({Action.DEACTIVATE: 501}, removed=201) == [
        "501 of the 1000 numbers of all accounts would be deactivated",
        "201 of the 400 accounts would be removed from the fleet",
    ]


@pytest.mark.parametrize("allow", ["fleet-wide", "all"])
def test_rule_can_be_lifted(allow: str) -> None:
    assert _refusals({Action.ACTIVATE: 1000}, removed=400, allow=allow) == []


def test_small_changes_are_always_allowed() -> None:
    """A hundred numbers or accounts can be reviewed one by one."""
    assert _refusals({Action.ACTIVATE: 100}, removed=100, setting="0%") == []
    assert len(_refusals({Action.ACTIVATE: 101}, removed=101, setting="0%")) == 2
