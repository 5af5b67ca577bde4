"""Circuit breaker: after consecutive failures, requests of an account pause until a probe gets a response."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from worker.model.errors import Ambiguous, ApiError, CircuitOpen, ConnectionFailed, ServerError
from worker.model.messages import Message
from worker.model.ports import Log

__all__ = ["Breaker"]

_FAILURES: Final = 10
"""Count of consecutive failures that opens the circuit: more than chance produces, fewer than twice `concurrency`."""
_PAUSES: Final = (1.0, 4.0, 10.0)
"""Pause in seconds before each probe. A restart of the server ends within them; a longer outage needs an operator."""
_FAILED: Final = (ConnectionFailed, ServerError, Ambiguous)
"""The errors that indicate an outage. Any other error means that the API responded."""


class Breaker:
    """The circuit breaker of one account: closed while requests get responses, open during an outage.

    If no probe gets a response, the circuit stays open for the rest of the run. The first waiting request sends the
    probes, so that there is no background task. `probe` sends one read and raises ApiError if it fails. `clock` and
    `sleep` are in monotonic seconds.
    """

    __slots__ = ("_clock", "_failures", "_log", "_open_error", "_opened_at", "_probe", "_probes", "_probing", "_sleep")

    def __init__(
        self,
        probe: Callable[[], Awaitable[object]],
        *,
        clock: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]],
        log: Log,
    ) -> None:
        self._probe = probe
        self._clock = clock
        self._sleep = sleep
        self._log = log
        self._failures = 0
        self._opened_at: float | None = None
        self._probes = 0
        self._open_error: CircuitOpen | None = None
        self._probing = asyncio.Lock()

    @property
    def is_open(self) -> bool:
        """Return True if only probes may be sent."""
        return self._opened_at is not None

    def record(self, error: ApiError | None) -> None:
        """Record the result of a request: its error, or None if it succeeded.

        A response resets the count of failures. It does not close an open circuit; only a probe does.
        """
        if not isinstance(error, _FAILED):
            self._failures = 0
            return
        self._failures += 1
        if self._failures >= _FAILURES and not self.is_open:
            self._opened_at = self._clock()
            self._probes = 0
            self._log.warning(
                "circuit.opened",
                attempts=self._failures,
                duration_ms=round(_PAUSES[0] * 1000),
                http_status=error.http_status,
                error_code=error.code,
                error_message=str(error),
            )

    async def wait_closed(self) -> None:
        """Wait until requests may be sent. If the request that sends the probes is cancelled, another one continues.

        Raises:
            CircuitOpen: no probe got a response. Every later call raises the same error immediately.
        """
        while self.is_open:
            async with self._probing:
                if self._open_error is not None:
                    raise self._open_error
                if self.is_open:
                    await self._try()

    async def _try(self) -> None:
        await self._sleep(_PAUSES[self._probes])
        self._probes += 1
        try:
            await self._probe()
        except _FAILED as error:
            if self._probes == len(_PAUSES):
                self._open_error = CircuitOpen(
                    Message(
                        "{failures} consecutive requests and {probes} probes failed, the last one with: {error}; "
                        "run again when the API responds",
                        failures=_FAILURES,
                        probes=self._probes,
                        error=str(error),
                    )
                )
            return
        except ApiError:
            pass
        self._log.info("circuit.closed", duration_ms=round((self._clock() - (self._opened_at or 0.0)) * 1000))
        self._opened_at = None
        self._failures = 0
