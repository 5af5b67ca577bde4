"""Retries: by error type, with jitter, within attempts and budget, and never for what cannot succeed."""

import asyncio
from random import Random

import pytest

from tests.support.virtual_time import run
from worker.config.settings import Retry
from worker.model.errors import (
    AccountRejected,
    Ambiguous,
    ApiError,
    ConnectionFailed,
    NotRegistered,
    NotWritable,
    NumberRejected,
    RateLimited,
    ServerError,
    SignatureReused,
)
from worker.solapi.retry import Budget, Retrier


class _Scripted:
    """Operation that fails as scripted, then succeeds, and remembers its arguments."""

    def __init__(self, *failures: ApiError) -> None:
        self.failures = list(failures)
        self.given: list[ApiError | None] = []

    async def __call__(self, failure: ApiError | None) -> str:
        self.given.append(failure)
        if self.failures:
            raise self.failures.pop(0)
        return "done"


def _retrier(policy: Retry, budget: Budget, waits: list[float]) -> Retrier:
    return Retrier(
        policy,
        budget,
        uniform=Random(1).uniform,
        sleep=asyncio.sleep,
        on_retry=lambda _error, _tries, wait: waits.append(wait),
    )


def _call(operation: _Scripted, policy: Retry | None = None, budget: Budget | None = None) -> tuple[str, list[float]]:
    waits: list[float] = []
    return run(_retrier(policy or Retry(), budget or Budget(), waits).call(operation)), waits


@pytest.mark.parametrize("kind", [ServerError, ConnectionFailed, SignatureReused, Ambiguous])
def test_what_may_pass_is_tried_again(kind: type[ApiError]) -> None:
    """Transient and ambiguous failures are retried, and each try gets the failure before it."""
    first, second = kind("one"), kind("two")
    operation = _Scripted(first, second)
    result, waits = _call(operation)
    assert result == "done"
    assert operation.given == [None, first, second]
    assert len(waits) == 2


@pytest.mark.parametrize("kind", [NumberRejected, NotRegistered, NotWritable, AccountRejected])
def test_what_cannot_pass_is_not_tried_again(kind: type[ApiError]) -> None:
    """A refusal of the number or of the account is final at once."""
    operation = _Scripted(kind("no"))
    with pytest.raises(kind):
        _call(operation)
    assert operation.given == [None]


def test_a_final_refusal_ends_the_retries() -> None:
    """A refusal that follows a transient failure is raised unchanged."""
    operation = _Scripted(ServerError("later"), NotWritable("no"))
    with pytest.raises(NotWritable):
        _call(operation)
    assert len(operation.given) == 2


def test_tries_are_bounded() -> None:
    """The settings' number of attempts counts the first one, and the last error is raised."""
    operation = _Scripted(*(ServerError(str(number)) for number in range(9)))
    with pytest.raises(ServerError, match="2"):
        _call(operation, Retry(attempts=3))
    assert len(operation.given) == 3


def test_each_retry_is_reported_and_waited_for() -> None:
    """Each is reported with its error, the tries so far and its wait, which is then slept; ceilings double."""
    retries: list[tuple[ApiError, int, float]] = []
    drawn: list[float] = []
    slept: list[float] = []

    def highest(least: float, most: float) -> float:
        drawn.append(least)
        return most

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    failures = [ServerError(str(number)) for number in range(6)]
    retrier = Retrier(
        Retry(attempts=20, base_seconds=0.5, cap_seconds=4.0),
        Budget(),
        uniform=highest,
        sleep=sleep,
        on_retry=lambda error, tries, wait: retries.append((error, tries, wait)),
    )
    run(retrier.call(_Scripted(*failures)))
    ceilings = [0.5, 1.0, 2.0, 4.0, 4.0, 4.0]
    assert retries == list(zip(failures, range(1, 7), ceilings, strict=True))
    assert slept == ceilings
    assert set(drawn) == {0.0}


def test_waits_have_full_jitter_under_a_doubling_ceiling() -> None:
    """Each wait lies anywhere between nothing and a ceiling that doubles up to the cap."""
    policy = Retry(attempts=20, base_seconds=0.5, cap_seconds=4.0)
    _, waits = _call(_Scripted(*(ServerError("busy") for _ in range(9))), policy, Budget(start=100))
    ceilings = [0.5, 1.0, 2.0, 4.0, 4.0, 4.0, 4.0, 4.0, 4.0]
    assert all(0 <= wait <= ceiling for wait, ceiling in zip(waits, ceilings, strict=True))
    assert len(set(waits)) == len(waits)


def test_an_outage_is_not_answered_with_a_storm() -> None:
    """A hundred requests into an outage send at most ten retries and one for every ten of them."""
    budget = Budget()
    operations = [_Scripted(*(ServerError("down") for _ in range(9))) for _ in range(100)]
    for operation in operations:
        with pytest.raises(ServerError):
            _call(operation, budget=budget)
    assert 100 < sum(len(operation.given) for operation in operations) <= 120


def test_a_budget_is_spent_to_its_end_and_earned_slowly() -> None:
    """It starts at ten retries; ten further first tries earn another one, and no fewer."""
    budget = Budget()
    assert [budget.spend() for _ in range(11)] == [True] * 10 + [False]
    for _ in range(9):
        budget.earn()
    assert not budget.spend()
    for _ in range(2):
        budget.earn()
    assert [budget.spend() for _ in range(2)] == [True, False]


def test_a_budget_of_one_is_one_retry() -> None:
    """The last retry of a budget can be spent."""
    budget = Budget(start=1)
    assert [budget.spend() for _ in range(2)] == [True, False]


def test_waiting_for_a_quota_spends_no_budget() -> None:
    """Being rate-limited is retried without a wait of our own, as the limiter holds the key, and without budget."""
    operation = _Scripted(RateLimited("slow down"), RateLimited("slow down"))
    result, waits = _call(operation, budget=Budget(start=0))
    assert result == "done"
    assert waits == [0.0, 0.0]
