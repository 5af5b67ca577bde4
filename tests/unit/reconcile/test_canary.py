"""The canary of a run: who goes first, what counts as failed, and what becomes of the others."""

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
"""What becomes of each number of an account that is to be written."""

_DONE, _NOT = Outcome.CHANGED, Outcome.FAILED


def _phone(place: int) -> str:
    return f"010{place:08}"


class Run:
    """A run over accounts: `batches` were carried out together, each by its places, and `held` were held back."""

    def __init__(self, *accounts: Account, canary: int = 1, max_failed: int | str = "10%") -> None:
        self.accounts = accounts
        self.settings = CanarySettings(canary, max_failed)
        self.log = LogRecorder()
        self.batches: list[list[int]] = []
        self.held: list[int] = []
        self.why = ""
        self.ended: dict[int, RunOutcome] = {}

    def play(self) -> list[str]:
        """The names of the results."""
        results = asyncio.run(
            canary_first(
                range(len(self.accounts)),
                self.settings,
                writes=self._writes,
                carry_out=self._carry_out,
                hold_back=self._hold_back,
                log=self.log,
            )
        )
        return [result.account for result in results]

    def _writes(self, place: int) -> list[Change]:
        phones = map(_phone, range(len(self.accounts[place])))
        return [Change(phone, Action.ACTIVATE, "INACTIVE", "ACTIVE", "") for phone in phones]

    async def _carry_out(self, places: Sequence[int]) -> list[AccountResult]:
        self.batches.append(list(places))
        return [self._result(place, self.accounts[place]) for place in places]

    async def _hold_back(self, places: Sequence[int], why: CanaryFailed) -> list[AccountResult]:
        self.held, self.why = list(places), str(why)
        return [self._result(place, ()) for place in places]

    def _result(self, place: int, outcomes: Account) -> AccountResult:
        numbers = tuple(
            NumberResult(_phone(number), Action.ACTIVATE, "ACTIVE", "INACTIVE", None, outcome)
            for number, outcome in enumerate(outcomes)
            if outcome is not Outcome.UNCHANGED
        )
        # a number that was not to be written has a part in no verdict
        others = (NumberResult("0212345678", Action.BLOCKED, "ACTIVE", "PENDING", "PENDING", Outcome.BLOCKED),)
        return AccountResult(
            account=f"a{place}",
            outcome=self.ended.get(place, RunOutcome.CONVERGED),
            counts=tally(Outcome, {}),
            numbers=numbers + others,
        )


def test_the_canary_goes_first_and_the_others_follow() -> None:
    """The first accounts with writes are the canary; those without are not held up; all results are in their order."""
    run = Run((), (_DONE,), (_DONE,), (), (_DONE,), (_DONE,), canary=2)
    assert run.play() == ["a0", "a1", "a2", "a3", "a4", "a5"]
    assert run.batches == [[0, 1, 2, 3], [4, 5]]
    assert run.held == []
    assert run.log.lines == [("canary.passed", {"accounts": 2, "numbers": 2, "counts": {Outcome.CHANGED: 2}})]


def test_a_canary_that_fails_holds_the_others_back() -> None:
    """Accounts behind it with writes are not started, and both their results and the log say why."""
    run = Run((_DONE, _NOT), (), (_DONE,), (_DONE,))
    assert run.play() == ["a0", "a1", "a2", "a3"]
    assert (run.batches, run.held) == ([[0, 1]], [2, 3])
    assert run.why == (
        "1 of 2 numbers of the first account were not changed as planned; at most 0 may fail (canary.max_failed: 10%): "
        "check their results, then apply again"
    )
    counts = {Outcome.CHANGED: 1, Outcome.FAILED: 1}
    fields = {"accounts": 1, "numbers": 2, "counts": counts, "error_code": "CanaryFailed", "error_message": run.why}
    assert run.log.lines == [("canary.failed", fields)]


@pytest.mark.parametrize("outcome", Outcome)
def test_only_changed_and_unchanged_are_no_failure(outcome: Outcome) -> None:
    """Any other outcome of a number that was to be written is a failure: held, conflict, unverified, not attempted."""
    run = Run((outcome,), (_DONE,), max_failed=0)
    run.play()
    assert run.held == ([] if outcome in {Outcome.CHANGED, Outcome.UNCHANGED} else [1])


@pytest.mark.parametrize(("canary", "accounts"), [(0, 3), (3, 3), (4, 3), (2, 0)])
def test_without_a_canary_or_others_all_go_at_once(canary: int, accounts: int) -> None:
    """Without a canary, or without accounts behind it, there is one batch and no verdict."""
    run = Run(*[(_NOT,)] * accounts, (), canary=canary)
    run.play()
    assert run.batches == [list(range(accounts + 1))]
    assert (run.held, run.log.lines) == ([], [])


def test_an_interruption_is_no_failure_of_the_canary() -> None:
    """After a signal during the canary the others are interrupted, without a mention of the canary."""
    run = Run((_DONE,), (Outcome.NOT_ATTEMPTED,), (_DONE,), canary=2)
    run.ended[1] = RunOutcome.INTERRUPTED
    run.play()
    assert run.batches == [[0, 1], [2]]
    assert (run.held, run.log.lines) == ([], [])


@pytest.mark.parametrize(("limit", "held"), [(2, []), ("50%", []), (1, [2]), ("49%", [2])])
def test_as_many_may_fail(limit: int | str, held: list[int]) -> None:
    """As many of the canary's numbers may fail as the limit says, a number or a share of all of them together."""
    run = Run((_DONE, _NOT, _DONE), (_NOT,), (_DONE,), canary=2, max_failed=limit)
    run.play()
    assert run.held == held


@examples(200)
@given(
    st.lists(st.lists(st.sampled_from(Outcome), max_size=4).map(tuple), max_size=8),
    st.integers(0, 5),
    st.integers(0, 100),
)
def test_every_account_has_one_result_and_no_other_begins_after_a_failure(
    accounts: list[Account], canary: int, share: int
) -> None:
    """Each account is carried out or held back, once; held are those with writes behind a canary that failed."""
    run = Run(*accounts, canary=canary, max_failed=f"{share}%")
    assert run.play() == [f"a{place}" for place in range(len(accounts))]
    assert sorted([*(place for batch in run.batches for place in batch), *run.held]) == list(range(len(accounts)))
    writing = [place for place, account in enumerate(accounts) if account]
    ahead = [outcome for place in writing[:canary] for outcome in accounts[place]]
    failed = sum(outcome not in {Outcome.CHANGED, Outcome.UNCHANGED} for outcome in ahead)
    assert run.held == (writing[canary:] if canary and failed * 100 > share * len(ahead) else [])


def test_a_senseless_limit_is_an_error() -> None:
    run: Any = Run((_DONE,), (_DONE,), max_failed="few")
    with pytest.raises(ValueError, match=r"^max_failed must be"):
        run.play()
