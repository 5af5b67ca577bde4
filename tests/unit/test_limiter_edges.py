"""A window's corners: who is cancelled in the same moment as someone else, and slots that cool for different times."""

import asyncio
from collections.abc import Callable

import pytest

from tests.virtual_time import run
from worker.solapi.limiter import Window


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
        window.release(longer=20.0)
        waiting = asyncio.create_task(_taken(window))
        await asyncio.sleep(1)
        window.release()
        return await waiting

    assert run(scenario()) == pytest.approx(6, abs=0.01)


def _right_after_the_grant(window: Window, act: Callable[[], None]) -> None:
    """Act when a waiter was given its slot and has not woken yet."""
    assert window._timer is not None
    asyncio.get_running_loop().call_at(window._timer.when(), act)


def test_two_who_are_cancelled_at_once_leave_no_trace() -> None:
    """One was given a slot, the next was still waiting: the slot goes to the third, and to nobody twice."""

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
