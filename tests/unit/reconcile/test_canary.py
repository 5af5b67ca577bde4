"""The canary of a run: the accounts that go first, the failures that count, and the result for the other accounts."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.examples import examples
from tests.support.loopback import LogRecorder
from worker.config.settings import CanarySettings
from worker.model.errors import CanaryFailed
from worker.model.plans import Action, Change, tally
from worker.model.results import AccountResult, NumberResult, Outcome, RunOutcome
from worker.reconcile.canary import canary_first

Account = tuple[Outcome, ...]
"""The outcomes of the numbers of an account that are to be written."""

_CHANGED, _FAILED = Outcome.CHANGED, Outcome.FAILED


def _phone(index: int) -> str:
    return f"010{index:08}"


class Run:
    """A run over accounts. `batches` has the indexes of the accounts applied together, `held` of those held back."""

    def __init__(self, *accounts: Account, canary: int = 1, max_failed: int | str = "10%") -> None:
        self.accounts = accounts
        self.settings = CanarySettings(canary, max_failed)
        self.log = LogRecorder()
        self.batches: list[list[int]] = []
        self.held: list[int] = []
        self.reason = ""
        self.run_outcomes: dict[int, RunOutcome] = {}

    def apply(self) -> list[str]:
        """Run the accounts and return the names of the results."""
        results = asyncio.run(
            canary_first(
                range(len(self.accounts)),
                self.settings,
                writes=list(map(self._writes, range(len(self.accounts)))),
                apply_batch=self._carry_out,
                hold_back=self._hold_back,
                log=self.log,
            )
        )
        return [result.account for result in results]

    def _writes(self, index: int) -> list[Change]:
        phones = map(_phone, range(len(self.accounts[index])))
        return [Change(phone, Action.ACTIVATE, "INACTIVE", "ACTIVE", "") for phone in phones]

    async def _carry_out(self, indexes: Sequence[int]) -> list[AccountResult]:
        self.batches.append(list(indexes))
        return [self._result(index, self.accounts[index]) for index in indexes]

    async def _hold_back(self, indexes: Sequence[int], reason: CanaryFailed) -> list[AccountResult]:
        self.held, self.reason = list(indexes), str(reason)
        return [self._result(index, ()) for index in indexes]

    def _result(self, index: int, outcomes: Account) -> AccountResult:
        numbers = tuple(
            NumberResult(_phone(number), Action.ACTIVATE, "ACTIVE", "INACTIVE", None, outcome)
            for number, outcome in enumerate(outcomes)
            if outcome is not Outcome.UNCHANGED
        )
        # a number without a planned write does not count for the verdict
        unplanned = (NumberResult("0212345678", Action.BLOCKED, "ACTIVE", "PENDING", "PENDING", Outcome.BLOCKED),)
        return AccountResult(
            account=f"a{index}",
            outcome=self.run_outcomes.get(index, RunOutcome.CONVERGED),
            counts=tally(Outcome, {}),
            numbers=numbers + unplanned,
        )


def test_canary_goes_first() -> None:
    """The first accounts with writes are the canary. Accounts without writes do not wait."""
    run = Run((), (_CHANGED,), (_CHANGED,), (), (_CHANGED,), (_CHANGED,), canary=2)
    assert run.apply() == ["a0", "a1", "a2", "a3", "a4", "a5"]
    assert run.batches == [[0, 1, 2, 3], [4, 5]]
    assert run.held == []
    assert run.log.lines == [("canary.passed", {"accounts": 2, "numbers": 2, "counts": {Outcome.CHANGED: 2}})]


def test_failed_canary_holds_later_accounts() -> None:
    """Later accounts with writes are not started. Their results and the log give the reason."""
    run = Run((_CHANGED, _FAILED), (), (_CHANGED,), (_CHANGED,))
    assert run.apply() == ["a0", "a1", "a2", "a3"]
    assert (run.batches, run.held) == ([[0, 1]], [2, 3])
    assert run.reason == (
        "1 of 2 numbers of the first account were not changed as planned; at most 0 may fail (canary.max_failed: 10%): "
        "check their results, then apply again"
    )
    counts = {Outcome.CHANGED: 1, Outcome.FAILED: 1}
    fields = {"accounts": 1, "numbers": 2, "counts": counts, "error_code": "CanaryFailed", "error_message": run.reason}
    assert run.log.lines == [("canary.failed", fields)]


@pytest.mark.parametrize("outcome", Outcome)
def test_only_changed_and_unchanged_numbers_pass_the_canary(outcome: Outcome) -> None:
    """Any other outcome of a number to be written is a failure."""
    run = Run((outcome,), (_CHANGED,), max_failed=0)
    run.apply()
    assert run.held == ([] if outcome in {Outcome.CHANGED, Outcome.UNCHANGED} else [1])


@pytest.mark.parametrize(("canary", "accounts"), [(0, 3), (3, 3), (4, 3), (2, 0)])
def test_all_accounts_start_together_without_a_canary(canary: int, accounts: int) -> None:
    """Without a canary, or without later accounts, there is one batch and no verdict."""
    run = Run(*[(_FAILED,)] * accounts, (), canary=canary)
    run.apply()
    assert run.batches == [list(range(accounts + 1))]
    assert (run.held, run.log.lines) == ([], [])


def test_interruption_is_not_a_failed_canary() -> None:
    """If a signal stops the canary, the other accounts are interrupted. Neither log nor results report the canary."""
    run = Run((_CHANGED,), (Outcome.NOT_ATTEMPTED,), (_CHANGED,), canary=2)
    run.run_outcomes[1] = RunOutcome.INTERRUPTED
    run.apply()
    assert run.batches == [[0, 1], [2]]
    assert (run.held, run.log.lines) == ([], [])


@pytest.mark.parametrize(("limit", "held"), [(2, []), ("50%", []), (1, [2]), ("49%", [2])])
def test_canary_passes_up_to_the_limit_of_failures(limit: int | str, held: list[int]) -> None:
    """The limit is a number, or a share of all numbers of the canary."""
    run = Run((_CHANGED, _FAILED, _CHANGED), (_FAILED,), (_CHANGED,), canary=2, max_failed=limit)
    run.apply()
    assert run.held == held


@examples(200)
@given(
    st.lists(st.lists(st.sampled_from(Outcome), max_size=4).map(tuple), max_size=8),
    st.integers(0, 5),
    st.integers(0, 100),
)
def test_no_account_starts_after_a_failed_canary(accounts: list[Account], canary: int, share: int) -> None:
    """Each account is applied or held back exactly once. Held are accounts with writes after a failed canary."""
    run = Run(*accounts, canary=canary, max_failed=f"{share}%")
    assert run.apply() == [f"a{index}" for index in range(len(accounts))]
    assert sorted([*(index for batch in run.batches for index in batch), *run.held]) == list(range(len(accounts)))
    writing = [index for index, account in enumerate(accounts) if account]
    ahead = [outcome for index in writing[:canary] for outcome in accounts[index]]
    failed = sum(outcome not in {Outcome.CHANGED, Outcome.UNCHANGED} for outcome in ahead)
    assert run.held == (writing[canary:] if canary and failed * 100 > share * len(ahead) else [])


def test_invalid_limit_is_an_error() -> None:
    run: Any = Run((_CHANGED,), (_CHANGED,), max_failed="few")
    with pytest.raises(ValueError, match=r"^max_failed must be"):
        run.apply()
