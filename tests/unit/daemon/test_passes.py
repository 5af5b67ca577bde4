"""Outcome and backoff of an account, counts of a pass, and demoted log lines."""

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any, Self
from unittest.mock import Mock, call

import pytest
from msgspec.structs import replace

from tests.support.virtual_time import run
from worker.config.settings import Settings
from worker.daemon.passes import AccountPass, Pass, Passes, _QuietLog
from worker.ledger import NullLedger
from worker.model.accounts import DesiredAccount, Status
from worker.model.errors import CredentialsMissing, ErrorInfo, Interrupted, LedgerError
from worker.model.plans import AccountPlan, Action, Change, Verdict
from worker.model.results import AccountResult, Outcome, RunOutcome
from worker.plan.build import Draft, Terms

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
    ("account_pass", "outcome", "failed"),
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
def test_account_backs_off_if_a_read_or_write_failed(
    account_pass: AccountPass, outcome: RunOutcome, *, failed: bool
) -> None:
    assert (account_pass.outcome, account_pass.has_failed) == (outcome, failed)


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


class _RunLedger(NullLedger):
    """The ledger of one pass, which may fail when it is opened or finished."""

    def __init__(self, failing: str = "") -> None:
        super().__init__()
        self.failing = failing
        self.outcomes: list[RunOutcome] = []

    async def __aenter__(self) -> Self:
        if self.failing == "open":
            raise LedgerError("disk full")
        return self

    async def __aexit__(self, *_: object) -> None:
        pass

    async def finish(self, outcome: RunOutcome) -> None:  # type: ignore[override]
        self.outcomes.append(outcome)
        if self.failing == "finish":
            raise LedgerError("disk full")


class _Setup:
    """Passes over a fleet that returns the given drafts, and applies each of them with one outcome."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, drafts: dict[str, Draft], failing: str = "") -> None:
        self.drafts = drafts
        self.accounts = [DesiredAccount(name, "a.yaml", {}, ()) for name in drafts]
        self.fleets: list[dict[str, Any]] = []
        self.applied: list[tuple[Any, ...]] = []
        self.after_plan: Callable[[], object] = lambda: None
        self.memory = NullLedger()
        self.ledger = _RunLedger(failing)
        monkeypatch.setattr("worker.daemon.passes.Fleet", self._create_fleet)
        self.terms = Terms(allow=frozenset({"all"}))
        ledgers = Mock(memory=self.memory, open=lambda _: self.ledger)
        self.passes = Passes(
            Settings(),
            self.terms,
            Mock(),
            Mock(),
            Mock(),
            ledgers=ledgers,
            conclude=lambda outcomes: max(outcomes, default=RunOutcome.CONVERGED),
        )

    def _create_fleet(self, *_: Any, **shared: Any) -> Any:
        self.fleets.append(shared)

        async def plan(accounts: Any, *_: Any, **__: Any) -> list[Draft]:
            self.after_plan()
            return [self.drafts[account.name] for account in accounts]

        async def apply(accounts: Any, drafts: Any, terms: Terms, _: Any, *, now: datetime) -> list[AccountResult]:
            self.applied.append(([account.name for account in accounts], drafts, terms, now))
            return [replace(result_with(RunOutcome.PARTIAL), account=account.name) for account in accounts]

        return Mock(plan=plan, apply=apply)

    def run(self, held: frozenset[str] = frozenset()) -> Pass:
        return run(self.passes.run("r1", self.accounts, held, NOW))

    @property
    def written(self) -> list[list[str]]:
        """The names of the accounts of each apply."""
        return [names for names, *_ in self.applied]


def _drafts() -> dict[str, Draft]:
    plans = {
        "writes": plan_with(Verdict.OK, Action.ACTIVATE),
        "in sync": plan_with(),
        "reported only": plan_with(Verdict.OK, Action.UNMANAGED),
        "crashed before": plan_with(),
        "confirmed": plan_with(),
        "refused": plan_with(Verdict.REFUSED, Action.DEACTIVATE),
    }
    drafts = {name: Draft(replace(plan, account=name), {}, statuses={}) for name, plan in plans.items()}
    drafts["crashed before"] = replace(drafts["crashed before"], has_open_attempts=True)
    drafts["confirmed"] = replace(drafts["confirmed"], confirmed_statuses={"021": Status.ACTIVE})
    return drafts


def test_pass_writes_or_records_the_accounts_that_need_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each account has the time and the terms of the pass. A refusal is recorded once.

    Fleets share quotas and reads.
    """
    setup = _Setup(monkeypatch, drafts := _drafts())
    first, second = setup.run(), setup.run()
    due = ["writes", "crashed before", "confirmed"]
    assert setup.written == [[*due, "refused"], due]
    assert setup.applied[0] == ([*due, "refused"], [drafts[name] for name in (*due, "refused")], setup.terms, NOW)
    assert [account_pass.result and account_pass.result.account for account_pass in first.accounts] == [
        *("writes", None, None, "crashed before", "confirmed", "refused")
    ]
    assert [account_pass.plan.account for account_pass in second.accounts] == list(drafts)
    assert (first.outcome, second.outcome, first.error) == (RunOutcome.PARTIAL, RunOutcome.REFUSED, None)
    assert setup.ledger.outcomes == [RunOutcome.PARTIAL] * 2
    assert [fleet["ledger"] for fleet in setup.fleets] == [setup.memory, setup.ledger] * 2
    for shared in ("quotas", "identities", "baselines", "runtime"):
        assert len({id(fleet[shared]) for fleet in setup.fleets}) == 1, shared


def test_pass_does_not_write_held_accounts(monkeypatch: pytest.MonkeyPatch) -> None:
    """The refusals of these accounts are recorded by the first pass afterwards."""
    setup = _Setup(monkeypatch, drafts := _drafts())
    held = frozenset(drafts)
    setup.run(held)
    setup.run(held - {"writes"})
    assert setup.written == [["writes"]]
    setup.run()
    assert setup.written == [["writes"], ["writes", "crashed before", "confirmed", "refused"]]


@pytest.mark.parametrize(("failing", "results"), [("open", [None] * 6), ("finish", _drafts())])
def test_pass_whose_ledger_fails_has_failed_and_is_reported_again(
    monkeypatch: pytest.MonkeyPatch, failing: str, results: Iterable[str | None]
) -> None:
    """If it cannot be opened, nothing is written. Results that could not be recorded are still returned."""
    setup = _Setup(monkeypatch, _drafts(), failing)
    due = ["writes", "crashed before", "confirmed", "refused"]
    first = setup.run()
    assert (first.outcome, str(first.error)) == (RunOutcome.FAILED, "disk full")
    assert setup.written == ([] if failing == "open" else [due])
    expected = [name if name in due else None for name in results] if failing == "finish" else list(results)
    assert [account_pass.result and account_pass.result.account for account_pass in first.accounts] == expected
    setup.ledger.failing = ""
    assert setup.run().error is None
    assert setup.written[-1] == due


def test_account_that_must_not_be_read_is_recorded_with_its_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """The account is recorded once, like an error of a read."""
    setup = _Setup(monkeypatch, {"main": Draft(plan_with(), {})})
    error = CredentialsMissing("two keys")
    first, second = (run(setup.passes.fail("r1", setup.accounts[0], error, NOW)) for _ in range(2))
    assert setup.written == [["main"]]
    (account_pass,) = second.accounts
    assert (account_pass.plan.verdict, account_pass.has_failed, second.outcome) == (
        Verdict.ERROR,
        True,
        RunOutcome.FAILED,
    )
    assert first.accounts[0].plan.error is not None
    assert first.accounts[0].plan.error.message == "two keys"


def test_pass_that_is_stopped_while_it_reads_writes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    setup = _Setup(monkeypatch, _drafts())
    setup.after_plan = lambda: setup.passes.interrupt(Interrupted("SIGTERM"))
    assert setup.run().outcome is RunOutcome.INTERRUPTED
    assert setup.applied == []


@pytest.mark.parametrize("is_removed", [False, True])
def test_forgotten_account_is_reported_again(monkeypatch: pytest.MonkeyPatch, *, is_removed: bool) -> None:
    """The identity of a removed account is forgotten too."""
    setup = _Setup(monkeypatch, _drafts())
    setup.run()
    setup.passes.forget("refused", is_removed=is_removed)
    setup.run()
    assert [("refused" in names) for names in setup.written] == [True, True]
