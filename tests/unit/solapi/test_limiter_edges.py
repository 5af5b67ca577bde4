"""Edge cases of the limiter: simultaneous cancellations, and slots with different cooldowns."""

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


def test_earliest_free_slot_is_granted_first() -> None:
    """A waiter behind a slot with a long cooldown gets another slot as soon as that is free."""

    async def scenario() -> float:
        window = Window(2, 5.0, clock=_now)
        await window.acquire()
        await window.acquire()
        window.release(extra_pause=20.0)
        waiting = asyncio.create_task(_taken(window))
        await asyncio.sleep(1)
        window.release()
        return await waiting

    assert run(scenario()) == pytest.approx(6, abs=0.01)


def _right_after_the_grant(window: Window, act: Callable[[], object]) -> None:
    """Call `act` after a waiter was granted its slot and before it wakes."""
    assert window._timer is not None
    asyncio.get_running_loop().call_at(window._timer.when(), act)


def test_two_simultaneous_cancellations_return_one_slot() -> None:
    """One waiter had a slot and the next was waiting. The third waiter gets the slot once."""

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


def test_slot_returned_at_the_end_of_a_pause_is_granted_immediately() -> None:
    """A waiter behind a cancelled waiter does not wait longer than the pause."""

    async def scenario() -> tuple[float, float]:
        window = Window(1, 5.0, clock=_now)
        await window.acquire()
        first, second = (asyncio.create_task(_taken(window)) for _ in range(2))
        await asyncio.sleep(0)
        window.release()
        granted: list[float] = []

        def meanwhile() -> None:
            granted.append(_now())
            window.pause(_now())
            first.cancel()

        _right_after_the_grant(window, meanwhile)
        await asyncio.wait([first, second])
        return granted[0], second.result()

    granted, served = run(scenario())
    assert served == granted


def test_cancelled_grant_returns_one_slot() -> None:
    """The waiter is cancelled while more slots are free than waiters need."""

    async def scenario() -> int:
        window = Window(3, 5.0, clock=_now)
        window.pause(1.0)
        waiting = asyncio.create_task(_taken(window))
        await asyncio.sleep(0)
        _right_after_the_grant(window, waiting.cancel)
        await asyncio.wait([waiting])
        return window.used

    assert run(scenario()) == 0


def test_pause_ends_at_the_given_time() -> None:
    """A request at exactly that time does not wait."""

    async def scenario() -> float:
        window = Window(1, 5.0, clock=_now)
        window.pause(7.0)
        await asyncio.sleep(7)
        await window.acquire()
        return _now()

    assert run(scenario()) == 7


def test_slot_is_taken_at_the_exact_end_of_its_window() -> None:
    """The server may count both ends of the window."""
    now = [0.0]
    window = Window(1, 5.0, clock=lambda: now[0])
    run(window.acquire())
    window.release()
    used = []
    for now[0] in (4.9, 5.0, 5.001):
        used.append(window.used)
    assert used == [1, 1, 0]


def test_slot_of_a_half_second_window_is_free_after_half_a_second() -> None:
    async def scenario() -> float:
        window = Window(1, 0.5, clock=_now)
        await window.acquire()
        window.release()
        return await _taken(window)

    assert run(scenario()) == pytest.approx(0.5, abs=0.01)


def test_quotas_of_a_key_come_from_the_settings() -> None:
    """Reads and writes each have the slots and the window of the settings."""
    quota = Quota(RateLimit(writes=7, reads=3, per_seconds=2.5), clock=lambda: 0.0)
    assert (quota.writes.capacity, quota.writes.seconds) == (7, 2.5)
    assert (quota.reads.capacity, quota.reads.seconds) == (3, 2.5)


def test_slot_returned_during_a_pause_waits_for_its_end() -> None:
    """A waiter that was cancelled after its grant does not let the next one through the pause."""

    async def scenario() -> float:
        window = Window(1, 5.0, clock=_now)
        await window.acquire()
        first, second = (asyncio.create_task(_taken(window)) for _ in range(2))
        await asyncio.sleep(0)
        window.release()

        def meanwhile() -> None:
            window.pause(_now() + 7)
            first.cancel()

        _right_after_the_grant(window, meanwhile)
        await asyncio.wait([first, second])
        assert first.cancelled()
        return second.result()

    assert run(scenario()) == pytest.approx(12, abs=0.01)


def test_slots_of_another_process_are_respected() -> None:
    """The writes of the other process leave the window when they would have there."""

    async def scenario() -> list[float]:
        other = Quota(RateLimit(writes=2, reads=1), clock=_now)
        await other.writes.acquire()
        other.writes.release()
        await asyncio.sleep(1)
        await other.writes.acquire()
        slots = other.used_slots()
        quota = Quota(RateLimit(writes=2, reads=1), clock=_now)
        await asyncio.sleep(0.5)
        quota.occupy(slots, 0.5)
        assert (quota.writes.used, quota.reads.used) == (2, 0)
        return [await _taken(quota.writes), await _taken(quota.writes), await _taken(quota.reads)]

    assert run(scenario()) == pytest.approx([5, 6, 6], abs=0.01)


def test_own_slots_that_come_back_count_once() -> None:
    """This process handed its slots over, and gets them back with one that the other process used."""

    async def scenario() -> tuple[int, float]:
        window = Window(3, 5.0, clock=_now)
        await window.acquire()
        window.release()
        await asyncio.sleep(2)
        window.occupy([4.0, 3.0 - 1e-6, 0.0])
        used = window.used
        await window.acquire()
        window.release()
        return used, await _taken(window)

    used, moment = run(scenario())
    assert used == 2
    assert moment == pytest.approx(5, abs=0.01)


def test_more_slots_than_the_capacity_are_respected() -> None:
    """The other process had a higher limit. A waiter waits until enough of its slots are free."""

    async def scenario() -> float:
        window = Window(2, 5.0, clock=_now)
        window.pause(0.5)
        waiting = asyncio.create_task(_taken(window))
        await asyncio.sleep(0)
        window.occupy([4.0, 3.0, 2.0, 1.0])
        return await waiting

    assert run(scenario()) == pytest.approx(3, abs=0.01)


def test_pause_is_handed_over() -> None:
    """No slot is free before the time that the server gave."""

    async def scenario() -> tuple[tuple[float, ...], ...]:
        window = Window(2, 5.0, clock=_now)
        unheld = window.rests()
        window.pause(7.0)
        await asyncio.sleep(1)
        return unheld, window.rests()

    assert run(scenario()) == ((), (6.0, 6.0))
