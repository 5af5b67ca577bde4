"""Outcome and backoff of an account, counts of a pass, and demoted log lines."""

from datetime import UTC, datetime
from typing import Any
from unittest.mock import Mock, call

import pytest

from tests.support.virtual_time import run
from worker.config.settings import Settings
from worker.daemon.passes import AccountPass, Pass, Passes, _QuietLog
from worker.model.accounts import DesiredAccount
from worker.model.errors import ErrorInfo
from worker.model.plans import AccountPlan, Action, Change, Verdict
from worker.model.results import AccountResult, Outcome, RunOutcome
from worker.plan.build import Terms

NOW = datetime(2026, 11, 24, tzinfo=UTC)


def plan_with(verdict: Verdict = Verdict.OK, *actions: Action, error: ErrorInfo | None = None) -> AccountPlan:
    """Return a plan with one change for each action."""
    changes = tuple(Change(f"02{index}", action, "", "", "") for index, action in enumerate(actions))
    counts = {action: actions.count(action) for action in Action}
    return AccountPlan(account="main", verdict=verdict, counts=counts, changes=changes, error=error)


def result_with(outcome: RunOutcome, **counts: int) -> AccountResult:
    """Return a result with these counts."""
    return AccountResult(
        account="main", outcome=outcome, counts={Outcome(name): count for name, count in counts.items()}
    )


@pytest.mark.parametrize(
    ("each", "outcome", "failed"),
    [
        (AccountPass(plan_with()), RunOutcome.CONVERGED, False),
        (AccountPass(plan_with(Verdict.OK, Action.ACTIVATE)), RunOutcome.PARTIAL, False),
        (AccountPass(plan_with(Verdict.OK, Action.UNMANAGED)), RunOutcome.CONVERGED, False),
        (AccountPass(plan_with(Verdict.REFUSED, Action.ACTIVATE)), RunOutcome.REFUSED, False),
        (AccountPass(plan_with(Verdict.ERROR, error=ErrorInfo("X", "x"))), RunOutcome.FAILED, True),
        (AccountPass(plan_with(), result_with(RunOutcome.FAILED)), RunOutcome.FAILED, True),
        (AccountPass(plan_with(), result_with(RunOutcome.PARTIAL, held=1)), RunOutcome.PARTIAL, False),
        (AccountPass(plan_with(), result_with(RunOutcome.PARTIAL, failed=1)), RunOutcome.PARTIAL, True),
        (AccountPass(plan_with(), result_with(RunOutcome.PARTIAL, unverified=1)), RunOutcome.PARTIAL, True),
        (
            AccountPass(plan_with(Verdict.ERROR, error=ErrorInfo("X", "x")), result_with(RunOutcome.LOCKED)),
            RunOutcome.LOCKED,
            False,
        ),
    ],
)
def test_account_backs_off_if_a_read_or_write_failed(each: AccountPass, outcome: RunOutcome, *, failed: bool) -> None:
    assert (each.outcome, each.failed) == (outcome, failed)


def test_counts_of_a_pass_are_outcomes_or_actions() -> None:
    accounts = (
        AccountPass(plan_with(Verdict.OK, Action.HELD, Action.BLOCKED)),
        AccountPass(
            plan_with(Verdict.OK, Action.ACTIVATE), result_with(RunOutcome.PARTIAL, changed=2, held=3, failed=0)
        ),
    )
    assert Pass("1", NOW, NOW, RunOutcome.PARTIAL, accounts).counts == {"held": 4, "blocked": 1, "changed": 2}


@pytest.mark.parametrize(
    ("level", "event", "fields", "is_demoted"),
    [
        ("info", "account.observed", {}, True),
        ("info", "account.reread", {}, False),
        ("info", "number", {"outcome": "unchanged"}, True),
        ("info", "number", {"outcome": "unchanged", "attempts": 0}, True),
        ("info", "number", {"outcome": "unchanged", "attempts": 1}, False),
        ("info", "number", {"outcome": "changed"}, False),
        ("info", "other", {"outcome": "unchanged"}, False),
        ("warning", "notice", {}, True),
        ("warning", "number", {"action": None}, True),
        ("warning", "number", {"action": "activate"}, False),
        ("warning", "other", {"action": None}, False),
    ],
)
def test_pass_demotes_lines_of_unchanged_state(
    level: str, event: str, fields: dict[str, Any], *, is_demoted: bool
) -> None:
    log = Mock()
    log.bind.return_value = log
    getattr(_QuietLog(log).bind(account="main"), level)(event, **fields)
    expected = call.debug if is_demoted else getattr(call, level)
    assert log.mock_calls == [call.bind(account="main"), expected(event, **fields)]


def test_pass_plans_at_its_time_with_all_accounts(monkeypatch: pytest.MonkeyPatch) -> None:
    """An account outside of the pass may be a duplicate of one in it."""
    calls: list[Any] = []

    class _Fleet:
        def __init__(self, *_: Any, **__: Any) -> None:
            pass

        async def plan(self, *arguments: Any, **options: Any) -> list[Any]:
            calls.append((arguments, options))
            return []

    monkeypatch.setattr("worker.daemon.passes.Fleet", _Fleet)
    other_account = DesiredAccount("b", "b.yaml", {}, ())
    terms = Terms(allow=frozenset({"all"}))
    passes = Passes(Settings(), terms, Mock(), Mock(), Mock(), ledgers=Mock(), conclude=lambda _: RunOutcome.CONVERGED)
    result = run(passes.run("r1", [], frozenset(), NOW, [other_account]))
    assert calls == [(([], terms, [other_account]), {"now": NOW})]
    assert (result.run_id, result.outcome, result.accounts) == ("r1", RunOutcome.CONVERGED, ())
