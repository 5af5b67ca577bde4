"""When and how often a request is tried again: one layer, by error type, and never as a storm.

The first try runs plainly, as tenacity around every call costs up to half of the throughput; tenacity takes over from
the first failure on, which counts as its first try.
"""

from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type

from worker.config.settings import Retry
from worker.model.errors import Ambiguous, ApiError, RateLimited, TransientError

__all__ = ["Budget", "Retrier"]

T = TypeVar("T")

_RETRIED: Final = (TransientError, Ambiguous)


class Budget:
    """How many retries an account may spend: 10, and one for every ten requests that were not retries.

    An outage then costs the API little more than the requests themselves. Waiting for a quota is no outage: being
    rate-limited spends nothing. Nor does what fails while the circuit is open, as that waits for a probe.
    """

    __slots__ = ("_left",)

    def __init__(self, *, start: float = 10.0) -> None:
        self._left = start

    def earn(self) -> None:
        """Count one first try."""
        self._left += 0.1

    def spend(self) -> bool:
        """Take one retry out of the budget; False where none is left."""
        if self._left < 1:
            return False
        self._left -= 1
        return True


class Retrier:
    """Tries an operation again after transient and ambiguous errors, with full jitter.

    `uniform(a, b)` draws the jitter and `sleep(seconds)` waits; both are passed in so that tests run on a seed and a
    clock of their own. `on_retry(error, tries so far, wait in seconds)` is told of each retry before its wait. `free()`
    tells whether retries spend nothing now, as something else bounds them.
    """

    __slots__ = ("_budget", "_free", "_on_retry", "_policy", "_sleep", "_uniform")

    def __init__(
        self,
        policy: Retry,
        budget: Budget,
        *,
        uniform: Callable[[float, float], float],
        sleep: Callable[[float], Awaitable[None]],
        on_retry: Callable[[ApiError, int, float], None],
        free: Callable[[], bool] = lambda: False,
    ) -> None:
        self._policy = policy
        self._budget = budget
        self._uniform = uniform
        self._sleep = sleep
        self._on_retry = on_retry
        self._free = free

    async def call(self, operation: Callable[[ApiError | None], Awaitable[T]]) -> T:
        """The result of the first try that works.

        `operation` is given the error of the try before, None at first.

        Raises:
            ApiError: what the last try raised, when its kind is not retried, tries are used up or the budget is.
        """
        self._budget.earn()
        try:
            return await operation(None)
        except _RETRIED as error:
            failure: ApiError = error
        replayed = False

        async def again() -> T:
            nonlocal failure, replayed
            if not replayed:
                replayed = True
                raise failure
            try:
                return await operation(failure)
            except _RETRIED as error:
                failure = error
                raise

        retrying = AsyncRetrying(
            retry=retry_if_exception_type(_RETRIED),
            stop=self._exhausted,
            wait=self._wait,
            sleep=self._sleep,
            before_sleep=self._announce,
            reraise=True,
        )
        return await retrying(again)

    def _exhausted(self, state: RetryCallState) -> bool:
        if state.attempt_number >= self._policy.attempts:
            return True
        return not isinstance(_error(state), RateLimited) and not self._free() and not self._budget.spend()

    def _wait(self, state: RetryCallState) -> float:
        error = _error(state)
        if isinstance(error, RateLimited):
            return 0.0  # the limiter holds the whole key until the server's window is over
        ceiling = min(self._policy.cap_seconds, self._policy.base_seconds * 2.0 ** (state.attempt_number - 1))
        return self._uniform(0.0, ceiling)

    def _announce(self, state: RetryCallState) -> None:
        self._on_retry(_error(state), state.attempt_number, state.upcoming_sleep)


def _error(state: RetryCallState) -> ApiError:
    error = state.outcome.exception() if state.outcome is not None else None
    assert isinstance(error, ApiError)  # noqa: S101 - tenacity's types do not carry what retry_if_exception_type holds
    return error
