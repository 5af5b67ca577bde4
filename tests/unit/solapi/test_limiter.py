"""The quota limiter: never exceeded at the server, used in full, and unaffected by cancelled waiters."""

import asyncio
from contextlib import suppress
from random import Random

import pytest

from tests.support.virtual_time import run
from worker.config.settings import RateLimit
from worker.solapi.limiter import _TIMER_SLACK, Quota, Window


def _window(capacity: int, seconds: float) -> Window:
    return Window(capacity, seconds, clock=asyncio.get_running_loop().time)


async def _requests(window: Window, count: int, latency: Random | None, concurrency: int = 50) -> list[float]:
    """Return the arrival times of requests at the server, each between its send and its completion."""
    loop = asyncio.get_running_loop()
    arrivals: list[float] = []
    queue = iter(range(count))

    async def work() -> None:
        for _ in queue:
            await window.acquire()
            there, back = (latency.uniform(0.001, 0.3), latency.uniform(0.001, 0.3)) if latency else (0.0, 0.0)
            await asyncio.sleep(there)
            arrivals.append(loop.time())
            await asyncio.sleep(back)
            window.release()

    async with asyncio.TaskGroup() as group:
        for _ in range(concurrency):
            group.create_task(work())
    return sorted(arrivals)


@pytest.mark.parametrize("seed", range(20))
def test_no_sliding_window_exceeds_the_capacity(seed: int) -> None:
    """For any latencies, no window at the server contains more requests than the capacity."""
    random = Random(seed)
    capacity, seconds = random.randint(1, 40), random.choice([0.5, 1.0, 5.0])

    async def scenario() -> list[float]:
        return await _requests(_window(capacity, seconds), capacity * 5, random)

    arrivals = run(scenario())
    assert len(arrivals) == capacity * 5
    assert all(later - first > seconds for first, later in zip(arrivals, arrivals[capacity:], strict=False))


def test_quota_is_used_in_full() -> None:
    """Without latency, 1,000 requests at 100 in 5 seconds take nine windows, within 1 per mille."""

    async def scenario() -> float:
        await _requests(_window(100, 5.0), 1000, None)
        return asyncio.get_running_loop().time()

    assert run(scenario()) == pytest.approx(45.0, rel=0.001)


async def _in_turn(windows: list[Window], chance: Random, counts: list[int], latency: Random | None) -> list[float]:
    """Return the arrival times of requests of processes that use a quota in turn, each with a window of its own."""
    arrivals: list[float] = []
    handed_over: tuple[float, ...] = ()
    at = 0.0
    for count in counts:
        window = chance.choice(windows)
        window.occupy(rest - (asyncio.get_running_loop().time() - at) for rest in handed_over)
        arrivals += await _requests(window, count, latency)
        handed_over, at = window.rests(), asyncio.get_running_loop().time()
        if latency is not None:
            await asyncio.sleep(latency.uniform(0, 1))
    return arrivals


@pytest.mark.parametrize("seed", range(20))
def test_no_sliding_window_exceeds_the_capacity_over_handovers(seed: int) -> None:
    random = Random(seed)
    capacity, seconds = random.randint(1, 40), random.choice([0.5, 1.0, 5.0])

    async def scenario() -> list[float]:
        windows = [_window(capacity, seconds) for _ in range(3)]
        return await _in_turn(windows, random, random.choices(range(2 * capacity), k=12), random)

    arrivals = run(scenario())
    assert all(later - first > seconds for first, later in zip(arrivals, arrivals[capacity:], strict=False))


def test_quota_is_used_in_full_over_handovers() -> None:
    """Without latency, 1,200 requests of three processes take eleven windows, within 1 per mille."""

    async def scenario() -> float:
        await _in_turn([_window(100, 5.0) for _ in range(3)], Random(0), [30, 70, 110, 90, 250, 50] * 2, None)
        return asyncio.get_running_loop().time()

    assert run(scenario()) == pytest.approx(55.0, rel=0.001)


def test_timed_out_request_holds_its_slot_longer() -> None:
    """A request without a response may still arrive, so its slot stays taken that long."""

    async def scenario() -> float:
        window = _window(1, 5.0)
        await window.acquire()
        window.release(extra_pause=20.0)
        await window.acquire()
        return asyncio.get_running_loop().time()

    assert run(scenario()) == pytest.approx(25.0, abs=0.01)


def test_pause_stops_reads_and_writes_of_the_key() -> None:
    """A 429 pauses all requests of its API key until the time that the server gave."""

    async def scenario() -> list[float]:
        loop = asyncio.get_running_loop()
        quota = Quota(RateLimit(writes=10, reads=10), clock=loop.time)
        quota.pause(7.0)
        quota.pause(3.0)
        passed = []
        for window in (quota.reads, quota.writes):
            await window.acquire()
            passed.append(loop.time())
        return passed

    assert run(scenario()) == pytest.approx([7.0, 7.0], abs=0.01)


def test_pause_applies_to_requests_that_already_wait() -> None:
    async def scenario() -> float:
        window = _window(1, 5.0)
        await window.acquire()
        window.release()
        waiting = asyncio.create_task(window.acquire())
        await asyncio.sleep(1)
        window.pause(30.0)
        await waiting
        return asyncio.get_running_loop().time()

    assert run(scenario()) == pytest.approx(30.0, abs=0.01)


def test_waiters_are_served_in_order() -> None:
    """First in, first out, so no number of a large account starves."""

    async def scenario() -> list[int]:
        window = _window(1, 1.0)
        served: list[int] = []

        async def ask(name: int) -> None:
            await window.acquire()
            served.append(name)
            window.release()

        async with asyncio.TaskGroup() as group:
            for name in range(5):
                group.create_task(ask(name))
        return served

    assert run(scenario()) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("seed", range(20))
def test_cancelled_waits_return_their_slots(seed: int) -> None:
    """All slots are free again for any number of cancelled waits at any moments."""
    random = Random(seed)

    async def scenario() -> int:
        window = _window(3, 1.0)

        async def ask() -> None:
            await window.acquire()
            try:
                await asyncio.sleep(random.uniform(0, 0.5))
            finally:
                window.release()

        tasks = [asyncio.create_task(ask()) for _ in range(40)]
        for task in random.sample(tasks, 25):
            await asyncio.sleep(random.choice([0.0, 0.1, 1.0]))
            task.cancel()
        for task in tasks:
            with suppress(asyncio.CancelledError):
                await task
        await asyncio.sleep(2)
        return window.used

    assert run(scenario()) == 0


def test_slot_of_a_cancelled_waiter_goes_to_the_next() -> None:
    """A wait that is cancelled at the moment of its grant passes the slot on."""

    async def scenario() -> tuple[bool, float]:
        loop = asyncio.get_running_loop()
        window = _window(1, 1.0)
        await window.acquire()
        first, second = (asyncio.create_task(window.acquire()) for _ in range(2))
        await asyncio.sleep(0)
        window.release()
        # due with the limiter's timer: after the slot is granted and before the task can take it
        loop.call_at(1.0 + _TIMER_SLACK, first.cancel)
        await second
        return first.cancelled(), loop.time()

    cancelled, served = run(scenario())
    assert cancelled
    assert served == pytest.approx(1.0 + _TIMER_SLACK)
