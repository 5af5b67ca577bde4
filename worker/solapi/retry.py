"""Retries of requests, by error type and within a budget. No other layer retries."""

from collections.abc import Awaitable, Callable
from functools import cached_property
from typing import Final, TypeVar

from tenacity import AsyncRetrying, RetryCallState

from worker.config.settings import Retry
from worker.model.errors import Ambiguous, ApiError, ClockSkewed, RateLimited, TransientError

__all__ = ["Budget", "Retrier"]

T = TypeVar("T")

_TRANSIENT: Final = (TransientError, Ambiguous)


class Budget:
    """A budget of retries for one account: 10, plus one for every ten first attempts.

    It limits the load of retries during an outage. Two kinds of retries cost nothing: retries after a rate limit, which
    is not an outage, and retries while the circuit is open, which wait for a probe.
    """

    __slots__ = ("_retries_left",)

    def __init__(self, *, start: float = 10.0) -> None:
        self._retries_left = start

    def earn(self) -> None:
        """Count one first attempt."""
        self._retries_left += 0.1

    def spend(self) -> bool:
        """Take one retry from the budget. Return False if none is left."""
        if self._retries_left < 1:
            return False
        self._retries_left -= 1
        return True


class Retrier:
    """Retrier of an operation after transient and ambiguous errors, with full jitter.

    After ClockSkewed, it retries once if `correct_clock(error)` returns True; the next request is signed with the
    corrected time. `uniform(a, b)` draws the jitter and `sleep(seconds)` waits; tests pass a seeded generator and a
    virtual clock. `on_retry(error, attempts so far, wait in seconds)` is called before each wait. Retries spend no
    budget while `free()` returns True.
    """

    def __init__(
        self,
        policy: Retry,
        budget: Budget,
        *,
        uniform: Callable[[float, float], float],
        sleep: Callable[[float], Awaitable[None]],
        on_retry: Callable[[ApiError, int, float], None],
        free: Callable[[], bool] = lambda: False,
        correct_clock: Callable[[ClockSkewed], bool] = lambda _: False,
    ) -> None:
        self._policy = policy
        self._budget = budget
        self._uniform = uniform
        self._sleep = sleep
        self._on_retry = on_retry
        self._free = free
        self._correct_clock = correct_clock

    async def call(self, operation: Callable[[ApiError | None], Awaitable[T]]) -> T:
        """Return the result of the first attempt that succeeds.

        `operation` receives the error of the previous attempt; None in the first one. After ClockSkewed it receives
        the earlier error again, because the refused request may have been the read that was to resolve that error.

        Raises:
            ApiError: the error of the last attempt. It is final, or the attempts or the budget are used up.
        """
        self._budget.earn()
        failure: ApiError | None = None
        state: RetryCallState | None = None
        is_corrected = False
        while True:
            try:
                return await operation(failure)
            except ClockSkewed as error:
                if is_corrected or not self._correct_clock(error):
                    raise
                is_corrected = True
                continue
            except _TRANSIENT as error:
                failure, is_corrected = error, False
            # tenacity is entered only after a failure: around every call it would halve the throughput
            state = state or self._begin()
            state.set_exception((type(failure), failure, failure.__traceback__))
            await self._retrying.iter(state)  # raises the failure if there is no further attempt
            state.prepare_for_next_attempt()
            await self._sleep(state.upcoming_sleep)

    @cached_property
    def _retrying(self) -> AsyncRetrying:
        # most accounts never need it
        return AsyncRetrying(stop=self._is_exhausted, wait=self._wait, before_sleep=self._announce, reraise=True)

    def _begin(self) -> RetryCallState:
        self._retrying.begin()
        return RetryCallState(self._retrying, None, (), {})

    def _is_exhausted(self, state: RetryCallState) -> bool:
        if state.attempt_number >= self._policy.attempts:
            return True
        return not isinstance(_error(state), RateLimited) and not self._free() and not self._budget.spend()

    def _wait(self, state: RetryCallState) -> float:
        if isinstance(_error(state), RateLimited):
            return 0.0  # the limiter holds the whole key until the server's window is over
        ceiling = min(self._policy.cap_seconds, self._policy.base_seconds * 2.0 ** (state.attempt_number - 1))
        return self._uniform(0.0, ceiling)

    def _announce(self, state: RetryCallState) -> None:
        self._on_retry(_error(state), state.attempt_number, state.upcoming_sleep)


def _error(state: RetryCallState) -> ApiError:
    error = state.outcome.exception() if state.outcome is not None else None
    assert isinstance(error, ApiError)  # noqa: S101 - only ApiErrors reach tenacity
    return error
