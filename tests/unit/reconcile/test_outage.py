"""An account during an outage of its API: it pauses, then resumes or fails. Other accounts are unaffected."""

import asyncio
from array import array
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from contextlib import AsyncExitStack
from random import Random
from typing import Any

import pytest

from tests.support.loopback import EPOCH, LogRecorder, Loopback, credentials, now, run, runtime
from worker.config.settings import RateLimit, Retry, Settings, Timeout
from worker.model.accounts import Desired, DesiredAccount, Status
from worker.model.credentials import Credentials, CredentialsRef, SecretRef
from worker.model.errors import CircuitOpen, Interrupted
from worker.model.results import AccountResult, Outcome, RunOutcome
from worker.model.safety import Safety
from worker.plan.build import Draft, Terms
from worker.reconcile.fleet import Fleet
from worker.sandbox import Fault, Sandbox, SandboxAccount
from worker.sandbox.faults import Faults
from worker.solapi.limiter import Quota

_TERMS = Terms(Safety(max_deactivations="100%", min_active=0), allow=frozenset({"fleet-wide"}))
_CONCURRENCY = 16
_MAX_REQUESTS = 9 + _CONCURRENCY + 1
"""Requests during an outage without probes: nine failures, those in flight at the tenth, and a shared read."""
_PROBES = 3


class _Outage(Faults):
    """Return a fault for each request during the outage, or only for requests with `method`."""

    def __init__(self, fault: Fault, start: float, end: float, method: str | None) -> None:
        super().__init__("calm", 0)
        self._fault, self._start, self._end, self._method = fault, start, end, method

    def next(self, method: str, phone: str | None) -> Fault | None:
        is_affected = self._start <= now() < self._end and self._method in {None, method}
        return self._fault if is_affected else super().next(method, phone)


class _Fleet:
    """A fleet of accounts, each with its own sandbox. The sandbox of the first account has an outage."""

    def __init__(self, loopback: Loopback, *other_sandboxes: Sandbox, **settings: Any) -> None:
        self.loopback = loopback
        self.wire = loopback.sandbox.wire
        self.accounts = [
            loopback.account,
            *(account for other in other_sandboxes for account in other.accounts.values()),
        ]
        self.log = LogRecorder()
        defaults: dict[str, Any] = {
            "rate_limit": RateLimit(writes=50, reads=50, per_seconds=1.0),
            "retry": Retry(base_seconds=0.1),
            "concurrency": _CONCURRENCY,
        }
        self.settings = Settings(**defaults | settings)
        keys = {account.account_id: credentials(account) for account in self.accounts}

        def resolve(reference: CredentialsRef | None) -> Credentials:
            assert reference is not None
            return keys[str(reference.api_key.env)]

        environment = runtime(uniform=Random(1).uniform)
        self.fleet = Fleet(self.settings, loopback.transport, resolve, self.log, runtime=environment)
        urls = [loopback.sandbox.url, *(other.url for other in other_sandboxes)]
        self.desired = [self._all_active(account, url) for account, url in zip(self.accounts, urls, strict=True)]

    @staticmethod
    def _all_active(account: SandboxAccount, url: str) -> DesiredAccount:
        name = account.account_id
        secret_ref = SecretRef(env=name)
        desired_numbers = dict.fromkeys(account.numbers, Desired(Status.ACTIVE))
        lines = array("I", range(len(desired_numbers)))
        return DesiredAccount(
            name,
            "x.yaml",
            desired_numbers,
            lines,
            account_id=name,
            credentials=CredentialsRef(secret_ref, secret_ref),
            endpoint=url,
        )

    def start_outage(
        self, start: float, end: float, fault: Fault = Fault.UNAVAILABLE, method: str | None = None
    ) -> None:
        """Make requests of the first account fail between two times, in seconds."""
        self.start, self.end = start, end
        self.loopback.sandbox._faults = _Outage(fault, start, end, method)

    async def plan(self) -> list[Draft]:
        return await self.fleet.plan(self.desired, _TERMS)

    async def apply(self) -> list[AccountResult]:
        return await self.fleet.apply(self.desired, await self.plan(), _TERMS, self.log)

    def requests_during_outage(self) -> list[str]:
        """Return the methods of requests of the first account during the outage."""
        return [request.method for request in self.wire if self.start <= request.when < self.end]

    def circuit_lines(self) -> list[str]:
        """Return the log events of circuits."""
        return [event for event, _ in self.log.lines if event.startswith("circuit")]


def _run_scenario(
    scenario: Callable[[_Fleet], Coroutine[Any, Any, None]],
    sizes: Sequence[int] = (200,),
    timeout: Timeout = Timeout(1.0, 2.0),  # noqa: B008 - immutable
    **settings: Any,
) -> None:
    accounts = [
        SandboxAccount.of(
            {f"010{number:04}{index:04}": "INACTIVE" for index in range(size)},
            account_id=f"{number}",
            api_key=f"NCS{number:013}",
            api_secret=f"secret-of-{number}",
        )
        for number, size in enumerate(sizes)
    ]

    async def scenario_with_sandboxes() -> None:
        async with AsyncExitStack() as stack:
            first = await stack.enter_async_context(Loopback(accounts[0], timeout=timeout))
            other_sandboxes = [
                await stack.enter_async_context(
                    Sandbox([account], rate_limit=None, clock=lambda: EPOCH + now(), monotonic=now)
                )
                for account in accounts[1:]
            ]
            await scenario(_Fleet(first, *other_sandboxes, **settings))

    run(scenario_with_sandboxes())


@pytest.mark.parametrize("fault", [Fault.UNAVAILABLE, Fault.RESET_BEFORE, Fault.RESET_AFTER, Fault.GATEWAY_TIMEOUT])
def test_run_survives_an_outage(fault: Fault) -> None:
    """A run of 200 numbers converges despite an outage of four seconds.

    During the outage it sends at most 26 requests and the probes, for any count of waiting numbers.
    """

    async def scenario(fleet: _Fleet) -> None:
        fleet.start_outage(1.5, 5.5, fault)
        (result,) = await fleet.apply()
        assert result.outcome is RunOutcome.CONVERGED
        assert set(fleet.accounts[0].statuses.values()) == {"ACTIVE"}
        assert fleet.circuit_lines() == ["circuit.opened", "circuit.closed"]
        assert 10 <= len(fleet.requests_during_outage()) <= _MAX_REQUESTS + _PROBES
        assert result.requests.reads == sum(request.method == "GET" for request in fleet.wire)
        assert len({request.signature for request in fleet.wire}) == len(fleet.wire)

    _run_scenario(scenario)


def test_permanent_outage_fails_the_account() -> None:
    """Numbers that were not attempted have the reason, changed ones stay recorded, and the other account converges.

    The rest of the run sends at most 26 requests, three probes and five attempts of the verification read.
    """

    async def scenario(fleet: _Fleet) -> None:
        fleet.start_outage(1.5, 1e9)
        first, second = await fleet.apply()
        assert (first.outcome, second.outcome) == (RunOutcome.FAILED, RunOutcome.CONVERGED)
        assert first.error is not None
        assert (first.error.code, second.error) == ("CircuitOpen", None)
        assert "run again" in first.error.message
        for number in first.numbers:
            match number.outcome:
                case Outcome.NOT_ATTEMPTED:
                    assert number.error is not None
                    assert (number.error.code, number.attempts) == ("CircuitOpen", 0)
                case Outcome.CHANGED:
                    assert fleet.accounts[0].statuses[number.phone] == "ACTIVE"
                case other:
                    assert other in {Outcome.UNVERIFIED, Outcome.FAILED}
                    assert number.attempts
        active = sum(status == "ACTIVE" for status in fleet.accounts[0].statuses.values())
        assert first.counts[Outcome.NOT_ATTEMPTED] > 50
        assert first.counts[Outcome.CHANGED] + first.counts[Outcome.UNVERIFIED] >= active > 10
        assert fleet.circuit_lines() == ["circuit.opened"]
        assert (
            10 + _PROBES + 1
            <= len(fleet.requests_during_outage())
            <= _MAX_REQUESTS + _PROBES + fleet.settings.retry.attempts
        )
        assert now() < 1.5 + 15 + 5
        assert set(fleet.accounts[1].statuses.values()) == {"ACTIVE"}
        final_lines = Counter(fields["phone"] for event, fields in fleet.log.lines if event == "number")
        assert final_lines == {phone: 1 for account in fleet.accounts for phone in account.numbers}

    _run_scenario(scenario, (200, 100))


@pytest.mark.parametrize(("end", "converges"), [(1e9, False), (3.0, True)])
def test_unreadable_account_opens_the_circuit(*, end: float, converges: bool) -> None:
    """More than ten failed attempts of a read open the circuit. Probes close it, or the account fails."""

    async def scenario(fleet: _Fleet) -> None:
        fleet.start_outage(0.0, end)
        (draft,) = await fleet.plan()
        if converges:
            assert draft.error is None
            assert fleet.circuit_lines() == ["circuit.opened", "circuit.closed"]
            return
        assert isinstance(draft.error, CircuitOpen)
        assert fleet.requests_during_outage() == ["GET"] * (10 + _PROBES)
        (result,) = await fleet.fleet.apply(fleet.desired, [draft], _TERMS, fleet.log)
        assert result.outcome is RunOutcome.FAILED
        assert result.counts[Outcome.NOT_ATTEMPTED] == 3

    _run_scenario(scenario, (3,), retry=Retry(attempts=20, base_seconds=0.01, cap_seconds=0.1))


@pytest.mark.parametrize("delay", [0.3, 1.0005, 3.0])
def test_interruption_ends_the_pause(delay: float) -> None:
    """A task that waits for a probe, or probes, stops immediately.

    Writes are verified; other numbers are not attempted.
    """

    async def scenario(fleet: _Fleet) -> None:
        fleet.start_outage(1.5, 1e9)
        loop = asyncio.get_running_loop()

        def interrupt_after_opening(event: str) -> None:
            if event == "circuit.opened":
                loop.call_later(delay, interrupt)

        def interrupt() -> None:
            interrupted.append(now())
            fleet.loopback.sandbox._faults = Faults("calm", 0)
            fleet.fleet.interrupt(Interrupted("stopped by SIGINT"))

        interrupted: list[float] = []
        fleet.log.on_line = interrupt_after_opening
        (result,) = await fleet.apply()
        assert result.outcome is RunOutcome.INTERRUPTED
        assert now() < interrupted[0] + 0.5
        changed = {number.phone for number in result.numbers if number.outcome is Outcome.CHANGED}
        assert changed == {phone for phone, status in fleet.accounts[0].statuses.items() if status == "ACTIVE"}
        assert result.counts[Outcome.UNVERIFIED] == 0
        assert result.counts[Outcome.NOT_ATTEMPTED] > 50

    _run_scenario(scenario)


def test_rate_limiting_is_not_an_outage() -> None:
    """A hundred consecutive 429 responses are waited for and do not open the circuit."""

    async def scenario(fleet: _Fleet) -> None:
        fleet.start_outage(1.0, 8.0, Fault.RATE_LIMITED, "PUT")
        (result,) = await fleet.apply()
        assert result.outcome is RunOutcome.CONVERGED
        assert fleet.circuit_lines() == []
        limited = sum(request.status == 429 for request in fleet.wire)
        assert limited > 50

    _run_scenario(scenario, (100,), retry=Retry(attempts=20, base_seconds=0.1))


@pytest.mark.parametrize("failures", [9, 10, _CONCURRENCY])
def test_nine_consecutive_failures_do_not_open_the_circuit(failures: int) -> None:
    """Nine consecutive failures are retried immediately; one more opens the circuit. No number is lost.

    This holds even if all requests in flight fail, which exceeds the initial retry budget.
    """

    async def scenario(fleet: _Fleet) -> None:
        fleet.loopback.sandbox.script(None, "PUT", [None, *[Fault.UNAVAILABLE] * failures])
        (result,) = await fleet.apply()
        assert result.outcome is RunOutcome.CONVERGED
        assert fleet.circuit_lines() == ([] if failures < 10 else ["circuit.opened", "circuit.closed"])

    _run_scenario(scenario, (60,))


def test_open_circuit_stops_writes_that_wait_for_quota() -> None:
    """Writes that waited for quota before the circuit opened are not sent while it is open."""

    async def scenario(fleet: _Fleet) -> None:
        fleet.start_outage(2.5, 1e9)
        (result,) = await fleet.apply()
        assert result.outcome is RunOutcome.FAILED
        assert result.counts[Outcome.CHANGED] + result.counts[Outcome.UNVERIFIED] == 22
        assert fleet.requests_during_outage()[:14] == ["PUT"] * 11 + ["GET"] * _PROBES
        assert "PUT" not in fleet.requests_during_outage()[11:]

    _run_scenario(scenario, (60,), rate_limit=RateLimit(writes=11, reads=50, per_seconds=5.0))


def test_stop_waits_25_seconds_for_writes_in_flight() -> None:
    """With a timeout of ten minutes, a stopped run ends after 25 s, and a read settles its writes."""

    async def scenario(fleet: _Fleet) -> None:
        phones = list(fleet.accounts[0].numbers)
        for phone in phones[1:4]:
            fleet.loopback.sandbox.script(phone, "PUT", [Fault.STALL])
        fleet.loopback.sandbox.script(phones[4], "PUT", [Fault.SLOW])
        asyncio.get_running_loop().call_later(0.5, fleet.fleet.interrupt, Interrupted("stopped by SIGTERM"))
        (result,) = await fleet.apply()
        assert now() == pytest.approx(25.5, abs=0.2)
        assert result.outcome is RunOutcome.INTERRUPTED
        assert {number.phone: (number.outcome, number.attempts) for number in result.numbers} == dict.fromkeys(
            phones[:10], (Outcome.CHANGED, 1)
        ) | dict.fromkeys(phones[10:], (Outcome.NOT_ATTEMPTED, 0))
        assert fleet.circuit_lines() == []

    _run_scenario(scenario, (12,), Timeout(5.0, 600.0), rate_limit=RateLimit(writes=10, reads=10, per_seconds=5.0))


def test_abandoned_write_keeps_its_quota_slot_until_its_timeout() -> None:
    """Another account with the same key waits until the write can no longer arrive."""

    async def scenario(fleet: _Fleet) -> None:
        phone = next(iter(fleet.accounts[0].numbers))
        fleet.loopback.sandbox.script(phone, "PUT", [Fault.STALL])
        quota = Quota(RateLimit(writes=1, reads=9, per_seconds=5.0), clock=now)
        first, second = fleet.loopback.writer(quota=quota), fleet.loopback.writer(quota=quota)
        write_task = asyncio.create_task(fleet.loopback.write(first, phone, Status.ACTIVE))
        await asyncio.sleep(1)
        first.halt(Interrupted("stopped"))
        with pytest.raises(Interrupted):
            await write_task
        assert now() == pytest.approx(26, abs=0.1)
        await fleet.loopback.write(second, phone, Status.ACTIVE)
        assert now() == pytest.approx(26 + 600 + 5, abs=0.1)

    _run_scenario(scenario, (1,), Timeout(5.0, 600.0))
