"""A window's corners: who is cancelled in the same moment as someone else, and slots that cool for different times."""

import asyncio
from collections.abc import Callable

import pytest

from tests.support.virtual_time import run
from worker.config.settings import RateLimit
from worker.solapi.limiter import Quota, Window


def _now() -> float:
    return asyncio.get_running_loop().time()


async def _taken(window: Window) -> float:
    await window.acquire()
    return _now()


def test_a_slot_that_is_free_earlier_is_given_earlier() -> None:
    """Who waits for a slot that cools long gets another one as soon as that has cooled."""

    async def scenario() -> float:
        window = Window(2, 5.0, clock=_now)
        await window.acquire()
        await window.acquire()
        window.release(extra_hold=20.0)
        waiting = asyncio.create_task(_taken(window))
        await asyncio.sleep(1)
        window.release()
        return await waiting

    assert run(scenario()) == pytest.approx(6, abs=0.01)


def _right_after_the_grant(window: Window, act: Callable[[], object]) -> None:
    """Act when a waiter was given its slot and has not woken yet."""
    assert window._timer is not None
    asyncio.get_running_loop().call_at(window._timer.when(), act)


def test_two_who_are_cancelled_at_once_leave_no_trace() -> None:
    """One had been given a slot, the next was still waiting: the third gets the slot, once."""

    async def scenario() -> tuple[float, int]:
        window = Window(1, 5.0, clock=_now)
        await window.acquire()
        tasks = [asyncio.create_task(_taken(window)) for _ in range(3)]
        await asyncio.sleep(0)
        window.release()

        def cancel() -> None:
            for task in tasks[:2]:
                task.cancel()

        _right_after_the_grant(window, cancel)
        await asyncio.wait(tasks)
        assert [task.cancelled() for task in tasks] == [True, True, False]
        return tasks[2].result(), window.used

    moment, used = run(scenario())
    assert moment == pytest.approx(5, abs=0.01)
    assert used == 1


def test_a_slot_that_comes_back_at_the_end_of_a_hold_is_given_at_once() -> None:
    """A hold ends at its moment, also for the waiter behind a cancelled one."""

    async def scenario() -> tuple[float, float]:
        window = Window(1, 5.0, clock=_now)
        await window.acquire()
        first, second = (asyncio.create_task(_taken(window)) for _ in range(2))
        await asyncio.sleep(0)
        window.release()
        granted: list[float] = []

        def meanwhile() -> None:
            granted.append(_now())
            window.hold(_now())
            first.cancel()

        _right_after_the_grant(window, meanwhile)
        await asyncio.wait([first, second])
        return granted[0], second.result()

    granted, served = run(scenario())
    assert served == granted


def test_a_cancelled_grant_gives_back_one_slot() -> None:
    """Where more slots are free than waiters ask for, a waiter that is cancelled in its turn gives its own one back."""

    async def scenario() -> int:
        window = Window(3, 5.0, clock=_now)
        window.hold(1.0)
        waiting = asyncio.create_task(_taken(window))
        await asyncio.sleep(0)
        _right_after_the_grant(window, waiting.cancel)
        await asyncio.wait([waiting])
        return window.used

    assert run(scenario()) == 0


def test_a_hold_is_over_at_the_moment_that_it_names() -> None:
    """A request that comes at that very moment does not wait."""

    async def scenario() -> float:
        window = Window(1, 5.0, clock=_now)
        window.hold(7.0)
        await asyncio.sleep(7)
        await window.acquire()
        return _now()

    assert run(scenario()) == 7


def test_a_slot_cools_for_more_than_a_window() -> None:
    """At the very end of its window a slot is still taken: the server may count both ends in."""
    now = [0.0]
    window = Window(1, 5.0, clock=lambda: now[0])
    run(window.acquire())
    window.release()
    used = []
    for now[0] in (4.9, 5.0, 5.001):
        used.append(window.used)
    assert used == [1, 1, 0]


def test_a_short_window_is_waited_for_no_longer_than_it_is() -> None:
    """A slot of a window of half a second is there again after half a second."""

    async def scenario() -> float:
        window = Window(1, 0.5, clock=_now)
        await window.acquire()
        window.release()
        return await _taken(window)

    assert run(scenario()) == pytest.approx(0.5, abs=0.01)


def test_a_key_has_the_quotas_of_its_settings() -> None:
    """Reads and writes each have as many slots, for as long, as the settings say."""
    quota = Quota(RateLimit(writes=7, reads=3, per_seconds=2.5), clock=lambda: 0.0)
    assert (quota.writes.capacity, quota.writes.seconds) == (7, 2.5)
    assert (quota.reads.capacity, quota.reads.seconds) == (3, 2.5)


def test_a_slot_that_comes_back_during_a_hold_waits_for_its_end() -> None:
    """A waiter that was given a slot and cancelled does not let the next one slip through a hold."""

    async def scenario() -> float:
        window = Window(1, 5.0, clock=_now)
        await window.acquire()
        first, second = (asyncio.create_task(_taken(window)) for _ in range(2))
        await asyncio.sleep(0)
        window.release()

        def meanwhile() -> None:
            window.hold(_now() + 7)
            first.cancel()

        _right_after_the_grant(window, meanwhile)
        await asyncio.wait([first, second])
        assert first.cancelled()
        return second.result()

    assert run(scenario()) == pytest.approx(12, abs=0.01)
