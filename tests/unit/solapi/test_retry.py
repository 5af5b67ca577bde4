"""Retries: by error type, with jitter, within the attempts and the budget, and never for permanent errors."""

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
    """Operation that fails as scripted, then succeeds, and records its arguments."""

    def __init__(self, *failures: ApiError) -> None:
        self.errors = list(failures)
        self.failures: list[ApiError | None] = []

    async def __call__(self, failure: ApiError | None) -> str:
        self.failures.append(failure)
        if self.errors:
            raise self.errors.pop(0)
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
def test_transient_and_ambiguous_errors_are_retried(kind: type[ApiError]) -> None:
    """Each attempt gets the error of the previous one."""
    first, second = kind("one"), kind("two")
    operation = _Scripted(first, second)
    result, waits = _call(operation)
    assert result == "done"
    assert operation.failures == [None, first, second]
    assert len(waits) == 2


@pytest.mark.parametrize("kind", [NumberRejected, NotRegistered, NotWritable, AccountRejected])
def test_rejected_number_or_account_is_not_retried(kind: type[ApiError]) -> None:
    operation = _Scripted(kind("no"))
    with pytest.raises(kind):
        _call(operation)
    assert operation.failures == [None]


def test_permanent_error_ends_the_retries() -> None:
    """A refusal after a transient error is raised unchanged."""
    operation = _Scripted(ServerError("later"), NotWritable("no"))
    with pytest.raises(NotWritable):
        _call(operation)
    assert len(operation.failures) == 2


def test_attempts_are_limited() -> None:
    """The configured number of attempts includes the first one. The last error is raised."""
    operation = _Scripted(*(ServerError(str(number)) for number in range(9)))
    with pytest.raises(ServerError, match="2"):
        _call(operation, Retry(attempts=3))
    assert len(operation.failures) == 3


def test_each_retry_is_reported_before_its_wait() -> None:
    """The report gives the error, the attempts so far and the wait. The ceilings of the waits double."""
    retries: list[tuple[ApiError, int, float]] = []
    values: list[float] = []
    slept: list[float] = []

    def highest(least: float, most: float) -> float:
        values.append(least)
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
    assert set(values) == {0.0}


def test_waits_have_full_jitter_under_a_doubling_ceiling() -> None:
    """Each wait is between zero and a ceiling that doubles up to the cap."""
    policy = Retry(attempts=20, base_seconds=0.5, cap_seconds=4.0)
    _, waits = _call(_Scripted(*(ServerError("busy") for _ in range(9))), policy, Budget(start=100))
    ceilings = [0.5, 1.0, 2.0, 4.0, 4.0, 4.0, 4.0, 4.0, 4.0]
    assert all(0 <= wait <= ceiling for wait, ceiling in zip(waits, ceilings, strict=True))
    assert len(set(waits)) == len(waits)


def test_outage_does_not_cause_a_retry_storm() -> None:
    """A hundred requests during an outage send at most ten retries plus one for every ten requests."""
    budget = Budget()
    operations = [_Scripted(*(ServerError("down") for _ in range(9))) for _ in range(100)]
    for operation in operations:
        with pytest.raises(ServerError):
            _call(operation, budget=budget)
    assert 100 < sum(len(operation.failures) for operation in operations) <= 120


def test_ten_first_attempts_earn_one_retry() -> None:
    """The budget starts with ten retries. Ten more first attempts add one."""
    budget = Budget()
    assert [budget.spend() for _ in range(11)] == [True] * 10 + [False]
    for _ in range(9):
        budget.earn()
    assert not budget.spend()
    for _ in range(2):
        budget.earn()
    assert [budget.spend() for _ in range(2)] == [True, False]


def test_last_retry_of_a_budget_can_be_spent() -> None:
    budget = Budget(start=1)
    assert [budget.spend() for _ in range(2)] == [True, False]


def test_rate_limited_retry_does_not_spend_the_budget() -> None:
    """The limiter pauses the key, so the retry has no wait of its own."""
    operation = _Scripted(RateLimited("slow down"), RateLimited("slow down"))
    result, waits = _call(operation, budget=Budget(start=0))
    assert result == "done"
    assert waits == [0.0, 0.0]
