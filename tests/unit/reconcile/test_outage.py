"""An account whose API is down: it pauses, sends little, and goes on or gives up; other accounts do not notice."""

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
_MOST = 9 + _CONCURRENCY + 1
"""Requests of an outage besides its probes: nine failures, those under way when the tenth shows, and a shared look."""
_PROBES = 3


class _Outage(Faults):
    """Every request, or every one of a `method`, meets a fault as long as it lasts."""

    def __init__(self, fault: Fault, start: float, end: float, method: str | None) -> None:
        super().__init__("calm", 0)
        self._fault, self._start, self._end, self._method = fault, start, end, method

    def next(self, method: str, phone: str | None) -> Fault | None:
        hit = self._start <= now() < self._end and self._method in {None, method}
        return self._fault if hit else super().next(method, phone)


class _Down:
    """A fleet of accounts, each at a sandbox of its own; the first one's is down for a while."""

    def __init__(self, loopback: Loopback, *others: Sandbox, **settings: Any) -> None:
        self.loopback = loopback
        self.wire = loopback.sandbox.wire
        self.accounts = [loopback.account, *(account for other in others for account in other.accounts.values())]
        self.log = LogRecorder()
        given: dict[str, Any] = {
            "rate_limit": RateLimit(writes=50, reads=50, per_seconds=1.0),
            "retry": Retry(base_seconds=0.1),
            "concurrency": _CONCURRENCY,
        }
        self.settings = Settings(**given | settings)
        keys = {account.account_id: credentials(account) for account in self.accounts}

        def resolve(reference: CredentialsRef | None) -> Credentials:
            assert reference is not None
            return keys[str(reference.api_key.env)]

        around = runtime(uniform=Random(1).uniform)
        self.fleet = Fleet(self.settings, loopback.transport, resolve, self.log, runtime=around)
        urls = [loopback.sandbox.url, *(other.url for other in others)]
        self.desired = [self._all_active(account, url) for account, url in zip(self.accounts, urls, strict=True)]

    @staticmethod
    def _all_active(account: SandboxAccount, url: str) -> DesiredAccount:
        name = account.account_id
        where = SecretRef(env=name)
        wanted = dict.fromkeys(account.numbers, Desired(Status.ACTIVE))
        lines = array("I", range(len(wanted)))
        return DesiredAccount(
            name, "x.yaml", wanted, lines, account_id=name, credentials=CredentialsRef(where, where), endpoint=url
        )

    def outage(self, start: float, end: float, fault: Fault = Fault.UNAVAILABLE, method: str | None = None) -> None:
        """Let the first account's requests fail between two moments."""
        self.start, self.end = start, end
        self.loopback.sandbox._faults = _Outage(fault, start, end, method)

    async def plan(self) -> list[Draft]:
        return await self.fleet.plan(self.desired, _TERMS)

    async def apply(self) -> list[AccountResult]:
        return await self.fleet.apply(self.desired, await self.plan(), _TERMS, self.log)

    def sent(self) -> list[str]:
        """The methods of the first account's requests that the outage met."""
        return [request.method for request in self.wire if self.start <= request.when < self.end]

    def circuit_lines(self) -> list[str]:
        """Return the log lines about circuits."""
        return [event for event, _ in self.log.lines if event.startswith("circuit")]


def _play(
    scenario: Callable[[_Down], Coroutine[Any, Any, None]],
    sizes: Sequence[int] = (200,),
    timeout: Timeout = Timeout(1.0, 2.0),  # noqa: B008 - a value
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

    async def whole() -> None:
        async with AsyncExitStack() as stack:
            first = await stack.enter_async_context(Loopback(accounts[0], timeout=timeout))
            others = [
                await stack.enter_async_context(
                    Sandbox([account], rate_limit=None, clock=lambda: EPOCH + now(), monotonic=now)
                )
                for account in accounts[1:]
            ]
            await scenario(_Down(first, *others, **settings))

    run(whole())


@pytest.mark.parametrize("fault", [Fault.UNAVAILABLE, Fault.RESET_BEFORE, Fault.RESET_AFTER, Fault.GATEWAY_TIMEOUT])
def test_a_run_outlives_an_outage(fault: Fault) -> None:
    """Down in the middle for four seconds, a run of 200 numbers converges, and while it is down sends next to nothing.

    The outage meets at most 26 requests and its probes, however many numbers wait.
    """

    async def scenario(down: _Down) -> None:
        down.outage(1.5, 5.5, fault)
        (result,) = await down.apply()
        assert result.outcome is RunOutcome.CONVERGED
        assert set(down.accounts[0].statuses.values()) == {"ACTIVE"}
        assert down.circuit_lines() == ["circuit.opened", "circuit.closed"]
        assert 10 <= len(down.sent()) <= _MOST + _PROBES
        assert result.requests.reads == sum(request.method == "GET" for request in down.wire)
        assert len({request.signature for request in down.wire}) == len(down.wire)

    _play(scenario)


def test_an_outage_for_good_is_given_up() -> None:
    """Numbers not tried say why, changed ones stay recorded, and the other account converges.

    The rest of the run costs at most 26 requests, three probes and the five tries of the verification read.
    """

    async def scenario(down: _Down) -> None:
        down.outage(1.5, 1e9)
        first, second = await down.apply()
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
                    assert down.accounts[0].statuses[number.phone] == "ACTIVE"
                case other:
                    assert other in {Outcome.UNVERIFIED, Outcome.FAILED}
                    assert number.attempts
        written = sum(status == "ACTIVE" for status in down.accounts[0].statuses.values())
        assert first.counts[Outcome.NOT_ATTEMPTED] > 50
        assert first.counts[Outcome.CHANGED] + first.counts[Outcome.UNVERIFIED] >= written > 10
        assert down.circuit_lines() == ["circuit.opened"]
        assert 10 + _PROBES + 1 <= len(down.sent()) <= _MOST + _PROBES + down.settings.retry.attempts
        assert now() < 1.5 + 15 + 5
        assert set(down.accounts[1].statuses.values()) == {"ACTIVE"}
        closed = Counter(fields["phone"] for event, fields in down.log.lines if event == "number")
        assert closed == {phone: 1 for account in down.accounts for phone in account.numbers}

    _play(scenario, (200, 100))


@pytest.mark.parametrize(("end", "converges"), [(1e9, False), (3.0, True)])
def test_an_account_that_cannot_be_read_pauses_too(*, end: float, converges: bool) -> None:
    """More than ten failed tries of a read open the circuit; its own probes close it or give up."""

    async def scenario(down: _Down) -> None:
        down.outage(0.0, end)
        (drawn,) = await down.plan()
        if converges:
            assert drawn.error is None
            assert down.circuit_lines() == ["circuit.opened", "circuit.closed"]
            return
        assert isinstance(drawn.error, CircuitOpen)
        assert down.sent() == ["GET"] * (10 + _PROBES)
        (result,) = await down.fleet.apply(down.desired, [drawn], _TERMS, down.log)
        assert result.outcome is RunOutcome.FAILED
        assert result.counts[Outcome.NOT_ATTEMPTED] == 3

    _play(scenario, (3,), retry=Retry(attempts=20, base_seconds=0.01, cap_seconds=0.1))


@pytest.mark.parametrize("after", [0.3, 1.0005, 3.0])
def test_an_interruption_ends_the_pause(after: float) -> None:
    """A task that waits for a probe, or probes, stops at once; writes are verified, the rest is not attempted."""

    async def scenario(down: _Down) -> None:
        down.outage(1.5, 1e9)
        loop = asyncio.get_running_loop()

        def opened(event: str) -> None:
            if event == "circuit.opened":
                loop.call_later(after, interrupt)

        def interrupt() -> None:
            interrupted.append(now())
            down.loopback.sandbox._faults = Faults("calm", 0)
            down.fleet.interrupt(Interrupted("stopped by SIGINT"))

        interrupted: list[float] = []
        down.log.on_line = opened
        (result,) = await down.apply()
        assert result.outcome is RunOutcome.INTERRUPTED
        assert now() < interrupted[0] + 0.5
        changed = {number.phone for number in result.numbers if number.outcome is Outcome.CHANGED}
        assert changed == {phone for phone, status in down.accounts[0].statuses.items() if status == "ACTIVE"}
        assert result.counts[Outcome.UNVERIFIED] == 0
        assert result.counts[Outcome.NOT_ATTEMPTED] > 50

    _play(scenario)


def test_being_limited_is_no_outage() -> None:
    """A hundred 429s in a row are waited for, as each asks, and open nothing."""

    async def scenario(down: _Down) -> None:
        down.outage(1.0, 8.0, Fault.RATE_LIMITED, "PUT")
        (result,) = await down.apply()
        assert result.outcome is RunOutcome.CONVERGED
        assert down.circuit_lines() == []
        limited = sum(request.status == 429 for request in down.wire)
        assert limited > 50

    _play(scenario, (100,), retry=Retry(attempts=20, base_seconds=0.1))


@pytest.mark.parametrize("failures", [9, 10, _CONCURRENCY])
def test_nine_failures_and_an_answer_open_nothing(failures: int) -> None:
    """Nine failures in a row are tried again at once, one more makes the account pause; neither loses a number.

    Not even where all that is under way fails, which is more than the budget for retries has at the beginning.
    """

    async def scenario(down: _Down) -> None:
        down.loopback.sandbox.script(None, "PUT", [None, *[Fault.UNAVAILABLE] * failures])
        (result,) = await down.apply()
        assert result.outcome is RunOutcome.CONVERGED
        assert down.circuit_lines() == ([] if failures < 10 else ["circuit.opened", "circuit.closed"])

    _play(scenario, (60,))


def test_who_waits_for_the_quota_is_held_back_too() -> None:
    """Writes that queued for a slot before the circuit opened do not go out when they get one while it is open."""

    async def scenario(down: _Down) -> None:
        down.outage(2.5, 1e9)
        (result,) = await down.apply()
        assert result.outcome is RunOutcome.FAILED
        assert result.counts[Outcome.CHANGED] + result.counts[Outcome.UNVERIFIED] == 22
        assert down.sent()[:14] == ["PUT"] * 11 + ["GET"] * _PROBES
        assert "PUT" not in down.sent()[11:]

    _play(scenario, (60,), rate_limit=RateLimit(writes=11, reads=50, per_seconds=5.0))


def test_stop_waits_25_seconds_for_writes_in_flight() -> None:
    """With ten minutes for answers that never come, a stopped run ends after 25 s, and a read settles the writes."""

    async def scenario(down: _Down) -> None:
        phones = list(down.accounts[0].numbers)
        for phone in phones[1:4]:
            down.loopback.sandbox.script(phone, "PUT", [Fault.STALL])
        down.loopback.sandbox.script(phones[4], "PUT", [Fault.SLOW])
        asyncio.get_running_loop().call_later(0.5, down.fleet.interrupt, Interrupted("stopped by SIGTERM"))
        (result,) = await down.apply()
        assert now() == pytest.approx(25.5, abs=0.2)
        assert result.outcome is RunOutcome.INTERRUPTED
        assert {number.phone: (number.outcome, number.attempts) for number in result.numbers} == dict.fromkeys(
            phones[:10], (Outcome.CHANGED, 1)
        ) | dict.fromkeys(phones[10:], (Outcome.NOT_ATTEMPTED, 0))
        assert down.circuit_lines() == []

    _play(scenario, (12,), Timeout(5.0, 600.0), rate_limit=RateLimit(writes=10, reads=10, per_seconds=5.0))


def test_what_a_stop_gave_up_holds_its_slot_for_as_long_as_it_may_still_arrive() -> None:
    """Another account of the same key waits for the quota as if the write had only now run into its timeout."""

    async def scenario(down: _Down) -> None:
        phone = next(iter(down.accounts[0].numbers))
        down.loopback.sandbox.script(phone, "PUT", [Fault.STALL])
        quota = Quota(RateLimit(writes=1, reads=9, per_seconds=5.0), clock=now)
        first, second = down.loopback.writer(quota=quota), down.loopback.writer(quota=quota)
        writing = asyncio.create_task(down.loopback.write(first, phone, Status.ACTIVE))
        await asyncio.sleep(1)
        first.halt(Interrupted("stopped"))
        with pytest.raises(Interrupted):
            await writing
        assert now() == pytest.approx(26, abs=0.1)
        await down.loopback.write(second, phone, Status.ACTIVE)
        assert now() == pytest.approx(26 + 600 + 5, abs=0.1)

    _play(scenario, (1,), Timeout(5.0, 600.0))
