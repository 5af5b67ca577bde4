"""What an outage costs: after enough failures in a row an account pauses, and single looks find out when to go on."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final, Protocol

from worker.model.errors import Ambiguous, ApiError, CircuitOpen, ConnectionFailed, ServerError
from worker.model.messages import Message

__all__ = ["Breaker"]

_FAILURES: Final = 10
"""Failures in a row that open the circuit: more than chance brings, fewer than a run's concurrency twice over."""
_PAUSES: Final = (1.0, 4.0, 10.0)
"""Seconds before each probe: a restart is over soon, and what is not over then is for a person."""
_FAILED: Final = (ConnectionFailed, ServerError, Ambiguous)
"""What an outage looks like. Everything else is an answer, whatever it says."""


class Log(Protocol):
    """Where the breaker tells what it does."""

    def info(self, event: str, **fields: Any) -> None:
        """Write one line."""
        ...

    def warning(self, event: str, **fields: Any) -> None:
        """Write one line that a person should see."""
        ...


class Breaker:
    """One account's circuit: closed as long as requests are answered, open while nobody answers, given up in the end.

    Whoever waits first while it is open sends the probes, so that nothing runs on its own behind the account's back.
    `probe` sends one look and raises ApiError where that fails; `clock` and `sleep` are monotonic seconds.
    """

    __slots__ = ("_clock", "_failures", "_given_up", "_log", "_opened", "_probe", "_probing", "_sleep", "_tried")

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
        self._opened: float | None = None
        self._tried = 0
        self._given_up: CircuitOpen | None = None
        self._probing = asyncio.Lock()

    @property
    def open(self) -> bool:
        """Whether nothing but probes may go out."""
        return self._opened is not None

    def heard(self, error: ApiError | None) -> None:
        """Count what became of a request: an answer ends the row of failures, and does not close an open circuit."""
        if not isinstance(error, _FAILED):
            self._failures = 0
            return
        self._failures += 1
        if self._failures >= _FAILURES and not self.open:
            self._opened = self._clock()
            self._tried = 0
            self._log.warning(
                "circuit.opened",
                attempts=self._failures,
                duration_ms=round(_PAUSES[0] * 1000),
                http_status=error.http_status,
                error_code=error.code,
                error_message=str(error),
            )

    async def closed(self) -> None:
        """Wait until requests may go out. Whoever is cancelled leaves the probes to the next one.

        Raises:
            CircuitOpen: no probe was answered; from then on for everyone, at once.
        """
        while self.open:
            async with self._probing:
                if self._given_up is not None:
                    raise self._given_up
                if self.open:
                    await self._try()

    async def _try(self) -> None:
        await self._sleep(_PAUSES[self._tried])
        self._tried += 1
        try:
            await self._probe()
        except _FAILED as error:
            if self._tried == len(_PAUSES):
                self._given_up = CircuitOpen(
                    Message(
                        "{failures} requests in a row and {tried} looks after them failed, the last one with: {error}; "
                        "run again when the API answers",
                        failures=_FAILURES,
                        tried=self._tried,
                        error=str(error),
                    )
                )
            return
        except ApiError:
            pass
        self._log.info("circuit.closed", duration_ms=round((self._clock() - (self._opened or 0.0)) * 1000))
        self._opened = None
        self._failures = 0
