"""The circuit breaker of an account: when it opens, how it probes, when it closes, and when it ends the account."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from tests.support.model_account import Recorder
from tests.support.virtual_time import run
from worker.model.errors import (
    AccountRejected,
    Ambiguous,
    ApiError,
    CircuitOpen,
    ConnectionFailed,
    NumberRejected,
    RateLimited,
    ServerError,
    SignatureReused,
)
from worker.solapi.breaker import Breaker

_FAILURES = [ConnectionFailed, ServerError, Ambiguous]
_ANSWERS = [None, RateLimited, SignatureReused, NumberRejected, AccountRejected]


class _Circuit:
    """Breaker with scripted probes of a second each. The last result repeats."""

    def __init__(self, *probes: ApiError | None) -> None:
        self.probes = list(probes)
        self.probed: list[float] = []
        self.log = Recorder()
        self.now = asyncio.get_running_loop().time
        self.breaker = Breaker(self._probe, clock=self.now, sleep=asyncio.sleep, log=self.log)

    async def _probe(self) -> None:
        self.probed.append(self.now())
        await asyncio.sleep(1)
        error = self.probes.pop(0) if len(self.probes) > 1 else self.probes[0]
        if error is not None:
            raise error

    def fail(self, times: int, kind: type[ApiError] = ServerError) -> None:
        for _ in range(times):
            self.breaker.record(kind("no response"))


def _scenario_runner(*probes: ApiError | None) -> Callable[[Callable[[_Circuit], Awaitable[None]]], None]:
    def play(scenario: Callable[[_Circuit], Awaitable[None]]) -> None:
        async def whole() -> None:
            await scenario(_Circuit(*probes))

        run(whole())

    return play


@pytest.mark.parametrize("kind", _FAILURES)
def test_ten_consecutive_failures_open_the_circuit(kind: type[ApiError]) -> None:
    """Nine failures of any kind change nothing. The tenth opens the circuit and is logged."""

    async def scenario(circuit: _Circuit) -> None:
        circuit.fail(9, kind)
        assert not circuit.breaker.is_open
        await circuit.breaker.wait_closed()
        assert (circuit.now(), circuit.log.lines) == (0, [])
        circuit.fail(1, kind)
        ((event, fields),) = circuit.log.lines
        assert event == "circuit.opened"
        assert (fields["attempts"], fields["duration_ms"], fields["error_code"]) == (10, 1000, kind.__name__)
        await circuit.breaker.wait_closed()
        assert circuit.probed == [1]

    _scenario_runner(None)(scenario)


@pytest.mark.parametrize("kind", _ANSWERS)
def test_response_resets_the_failure_count(kind: type[ApiError] | None) -> None:
    """Nine failures, a response of any kind, and nine more failures leave the circuit closed."""

    async def scenario(circuit: _Circuit) -> None:
        circuit.fail(9)
        circuit.breaker.record(None if kind is None else kind("said so"))
        circuit.fail(9)
        assert not circuit.breaker.is_open

    _scenario_runner(None)(scenario)


@pytest.mark.parametrize("kind", [RateLimited, SignatureReused, NumberRejected, AccountRejected])
def test_refusals_do_not_open_the_circuit(kind: type[ApiError]) -> None:
    """A refusal is a response."""

    async def scenario(circuit: _Circuit) -> None:
        circuit.fail(1000, kind)
        assert not circuit.breaker.is_open

    _scenario_runner(None)(scenario)


@pytest.mark.parametrize("probe", [None, RateLimited("used up"), AccountRejected("no such key")])
def test_successful_probe_closes_the_circuit(probe: ApiError | None) -> None:
    """One probe is sent after the pause for all waiters. Any response closes the circuit, which is logged."""

    async def scenario(circuit: _Circuit) -> None:
        circuit.fail(10)
        await asyncio.gather(*(circuit.breaker.wait_closed() for _ in range(50)))
        assert circuit.probed == [1]
        assert circuit.now() == 2
        event, fields = circuit.log.lines[-1]
        assert (event, fields["duration_ms"]) == ("circuit.closed", 2000)
        circuit.fail(9)  # the count starts again
        circuit.breaker.record(None)
        assert not circuit.breaker.is_open

    _scenario_runner(probe)(scenario)


def test_pauses_grow_and_reset_on_the_next_opening() -> None:
    """Failed probes are followed by longer pauses. The next opening starts with the short one again."""

    async def scenario(circuit: _Circuit) -> None:
        circuit.fail(10)
        await circuit.breaker.wait_closed()
        assert circuit.probed == [1, 1 + 1 + 4, 6 + 1 + 10]
        circuit.breaker.record(None)
        circuit.fail(10)
        await circuit.breaker.wait_closed()
        assert circuit.probed[3:] == [18 + 1]

    _scenario_runner(ServerError("down"), ConnectionFailed("down"), None)(scenario)


def test_three_failed_probes_end_the_account() -> None:
    """Present and later waiters get the reason, and no further probe is sent."""

    async def scenario(circuit: _Circuit) -> None:
        circuit.fail(10)
        errors = await asyncio.gather(*(circuit.breaker.wait_closed() for _ in range(5)), return_exceptions=True)
        assert {type(error) for error in errors} == {CircuitOpen}
        assert "10 consecutive requests and 3 probes" in str(errors[0])
        assert "gone fishing" in str(errors[0])
        assert len(circuit.probed) == 3
        since = circuit.now()
        with pytest.raises(CircuitOpen):
            await circuit.breaker.wait_closed()
        assert circuit.now() == since
        assert [event for event, _ in circuit.log.lines] == ["circuit.opened"]

    _scenario_runner(ServerError("gone fishing"))(scenario)


@pytest.mark.parametrize("after", [0.5, 1.5])
def test_cancelled_waiter_leaves_the_probe_to_the_next(after: float) -> None:
    """A waiter that is cancelled during its pause or its probe cancels no other waiter."""

    async def scenario(circuit: _Circuit) -> None:
        circuit.fail(10)
        first = asyncio.create_task(circuit.breaker.wait_closed())
        second = asyncio.create_task(circuit.breaker.wait_closed())
        await asyncio.sleep(after)
        first.cancel()
        await second
        assert first.cancelled()
        assert not circuit.breaker.is_open

    _scenario_runner(None)(scenario)


def test_failures_while_open_are_not_reported_again() -> None:
    """Results of requests in flight neither open nor close an open circuit."""

    async def scenario(circuit: _Circuit) -> None:
        circuit.fail(30)
        circuit.breaker.record(None)
        assert circuit.breaker.is_open
        assert [event for event, _ in circuit.log.lines] == ["circuit.opened"]

    _scenario_runner(None)(scenario)


def test_log_of_the_circuit_has_its_reason_and_duration() -> None:
    async def scenario(circuit: _Circuit) -> None:
        await asyncio.sleep(5)
        for _ in range(10):
            circuit.breaker.record(ServerError("down", http_status=503))
        await circuit.breaker.wait_closed()
        opened = {"attempts": 10, "duration_ms": 1000, "http_status": 503, "error_code": "ServerError"}
        assert circuit.log.lines == [
            ("circuit.opened", opened | {"error_message": "down"}),
            ("circuit.closed", {"duration_ms": 2000}),
        ]

    _scenario_runner(None)(scenario)
