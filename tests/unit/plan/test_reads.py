"""The state of an account after a read, from its plan and its result."""

from typing import Any

import pytest

from tests.support.ledgers import file_account
from worker.model.accounts import Desired, Observed, ObservedAccount, Status
from worker.model.errors import ErrorInfo, NumberError, Refusal
from worker.model.messages import Message
from worker.model.plans import AccountPlan, Action, Change, Notice, NoticeKind, Verdict
from worker.model.reads import AccountRead, NumberState
from worker.model.results import AccountResult, NumberResult, Outcome, RunOutcome
from worker.plan.reads import account_read, number_states, with_results

A, B, C = "01000000001", "01000000002", "01000000003"


def plan(*changes: Change, **fields: Any) -> AccountPlan:
    """Return a plan with changes and one unchanged number."""
    return AccountPlan(account="main", account_id="7", counts={Action.UNCHANGED: 1}, changes=changes, **fields)


def change(action: Action, phone: str = A, reason: str = "why") -> Change:
    """Return a planned change."""
    return Change(phone, action, "INACTIVE", "ACTIVE", reason)


def result(outcome: RunOutcome, *numbers: NumberResult, **fields: Any) -> AccountResult:
    """Return a result with numbers."""
    counts = {number.outcome: 1 for number in numbers} | {Outcome.UNCHANGED: 1}
    return AccountResult(account="main", outcome=outcome, counts=counts, numbers=numbers, **fields)


def number(outcome: Outcome, phone: str = A, error: str | None = None, after: str | None = None) -> NumberResult:
    """Return the result of one number."""
    why = None if error is None else NumberError("Broken", error)
    return NumberResult(phone, Action.ACTIVATE, "ACTIVE", "INACTIVE", after, outcome, 1, why)


def read(of: AccountPlan, done: AccountResult | None = None, *, is_suspended: bool = False) -> AccountRead:
    """Return the state after a plan and its result."""
    return account_read(of, done, key="p 7", at="2026-11-24T00:00:00Z", command="watch", is_suspended=is_suspended)


ERROR = ErrorInfo("AccountRejected", "the key is wrong")


@pytest.mark.parametrize(
    ("plan_", "done", "sync", "health", "kinds"),
    [
        (plan(), None, "in_sync", "healthy", []),
        (plan(change(Action.ACTIVATE)), None, "out_of_sync", "healthy", []),
        (plan(change(Action.UNMANAGED), change(Action.PROTECTED, B)), None, "in_sync", "healthy", []),
        (plan(change(Action.HELD)), None, "out_of_sync", "needs_attention", ["held"]),
        (
            plan(change(Action.MISSING), change(Action.BLOCKED, B)),
            None,
            "out_of_sync",
            "needs_attention",
            ["missing", "blocked"],
        ),
        (
            plan(verdict=Verdict.REFUSED, refusals=(Refusal("min-active", "few"),)),
            None,
            "in_sync",
            "needs_attention",
            ["refused"],
        ),
        (plan(verdict=Verdict.ERROR, error=ERROR), None, "unknown", "failed", ["error"]),
        (
            plan(verdict=Verdict.ERROR, error=ERROR),
            result(RunOutcome.FAILED, number(Outcome.NOT_ATTEMPTED, error=ERROR.message), error=ERROR),
            "unknown",
            "failed",
            ["error"],
        ),
        (plan(notices=(Notice(NoticeKind.LIMIT, "full"),)), None, "in_sync", "needs_attention", ["limit"]),
        (
            plan(change(Action.BLOCKED), notices=tuple(Notice(NoticeKind.PENDING, "x", phone) for phone in (A, B))),
            None,
            "out_of_sync",
            "needs_attention",
            ["blocked", "pending"],
        ),
        (
            plan(change(Action.ACTIVATE)),
            result(RunOutcome.CONVERGED, number(Outcome.CHANGED)),
            "in_sync",
            "healthy",
            [],
        ),
        (
            plan(change(Action.ACTIVATE)),
            result(RunOutcome.PARTIAL, number(Outcome.FAILED, error="no")),
            "out_of_sync",
            "failed",
            ["failed"],
        ),
        (
            plan(change(Action.ACTIVATE)),
            result(RunOutcome.FAILED, number(Outcome.NOT_ATTEMPTED, error=ERROR.message), error=ERROR),
            "out_of_sync",
            "failed",
            ["error"],
        ),
        (
            plan(change(Action.ACTIVATE)),
            result(RunOutcome.LOCKED, number(Outcome.NOT_ATTEMPTED, error="busy"), error=ErrorInfo("Busy", "busy")),
            "out_of_sync",
            "needs_attention",
            ["error"],
        ),
        (
            plan(change(Action.ACTIVATE)),
            result(RunOutcome.REFUSED, number(Outcome.NOT_ATTEMPTED, error="no"), error=ErrorInfo("Declined", "no")),
            "out_of_sync",
            "healthy",
            [],
        ),
        (
            plan(change(Action.HELD, reason="in use")),
            result(RunOutcome.PARTIAL, number(Outcome.HELD)),
            "out_of_sync",
            "needs_attention",
            ["held"],
        ),
    ],
)
def test_state_follows_from_plan_and_result(
    plan_: AccountPlan, done: AccountResult | None, sync: str, health: str, kinds: list[str]
) -> None:
    state = read(plan_, done)
    assert (state.sync, state.health, [item.kind for item in state.needs]) == (sync, health, kinds)
    assert (state.failed_at is not None) is (health == "failed")
    assert (state.differing > 0) is (sync == "out_of_sync")
    held = read(plan_, done, is_suspended=True)
    assert held.health == ("failed" if health == "failed" else "suspended")


def test_numbers_with_the_same_reason_share_an_item() -> None:
    """Twenty of them are listed. The message can be translated again."""
    reason = Message("held by {rule}", rule="in-use")
    phones = [f"0100000{index:04}" for index in range(30)]
    state = read(plan(*(change(Action.HELD, phone, reason) for phone in phones), change(Action.HELD, C, "other")))
    first, second = state.needs
    assert (first.count, first.phones, first.message) == (30, tuple(phones[:20]), reason)
    assert first.parts == {"template": "held by {rule}", "parameters": {"rule": "in-use"}}
    assert (second.count, second.phones, second.parts) == (1, (C,), "other")
    assert state.differing == 31


def test_numbers_are_those_of_files_and_account() -> None:
    """Idle and unlisted numbers have no desired status."""
    account = file_account("main", A, B)
    desired = {
        A: Desired(Status.ACTIVE, "sale", "marketing", until="2026-12-01T00:00:00Z"),
        B: Desired(Status.INACTIVE),
        C: Desired(Status.ACTIVE, managed=False),
    }
    observed = ObservedAccount("7", {A: Observed(A, Status.ACTIVE, "2027-01-01"), C: Observed(C, Status.ACTIVE)})
    changes = plan(change(Action.MISSING, B), change(Action.UNMANAGED, C), change(Action.UNCHANGED, A))
    assert number_states(account, observed, desired, changes) == [
        NumberState(
            A, "ACTIVE", "ACTIVE", None, "2027-01-01", "sale", "marketing", "2026-12-01T00:00:00Z", "main.yaml", 3
        ),
        NumberState(B, "INACTIVE", None, "missing", source="main.yaml", line=4),
        NumberState(C, None, "ACTIVE", "unmanaged"),
    ]


def test_numbers_after_a_result_have_their_new_status() -> None:
    """A number whose status is not known after a failed write keeps the last observed one."""
    before = [NumberState(phone, "ACTIVE", "INACTIVE", "activate") for phone in (A, B, C)]
    applied = result(
        RunOutcome.PARTIAL, number(Outcome.CHANGED, A, after="ACTIVE"), number(Outcome.UNVERIFIED, B, after=None)
    )
    assert with_results(before, applied) == [
        NumberState(A, "ACTIVE", "ACTIVE", None),
        NumberState(B, "ACTIVE", "INACTIVE", "unverified"),
        NumberState(C, "ACTIVE", "INACTIVE", "activate"),
    ]
    unchanged = result(RunOutcome.CONVERGED, number(Outcome.UNCHANGED, A, after="ACTIVE"))
    assert with_results(before[:1], unchanged) == [NumberState(A, "ACTIVE", "ACTIVE", None)]
