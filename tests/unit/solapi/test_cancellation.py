"""Stopping a run: waits end immediately with the reason, requests in flight finish, other cancellations stay."""

import asyncio

import pytest

from tests.support.virtual_time import run
from worker.model.errors import Interrupted
from worker.solapi.cancellation import Cancellation


def test_closed_gate_refuses_entry() -> None:
    """Entering a closed gate raises the first reason. Later reasons are ignored."""

    async def scenario() -> None:
        gate = Cancellation()
        gate.close(Interrupted("first"))
        gate.close(Interrupted("second"))
        with pytest.raises(Interrupted, match="first"), gate:
            raise AssertionError("entered")

    run(scenario())


def test_closing_wakes_only_tasks_inside() -> None:
    """A task inside the gate is woken with the reason. A task that left the gate finishes."""

    async def scenario() -> tuple[str, str, float]:
        gate = Cancellation()

        async def waits() -> str:
            try:
                with gate:
                    await asyncio.sleep(100)
            except Interrupted as reason:
                await asyncio.sleep(1)
                return str(reason)
            return "not woken"

        async def passes() -> str:
            with gate:
                pass
            await asyncio.sleep(5)
            return "finished"

        first, second = asyncio.create_task(waits()), asyncio.create_task(passes())
        await asyncio.sleep(0)
        gate.close(Interrupted("stop"))
        return await first, await second, asyncio.get_running_loop().time()

    assert run(scenario()) == ("stop", "finished", 5.0)


def test_external_cancellation_is_not_swallowed() -> None:
    """A task that its owner also cancels stays cancelled."""

    async def scenario() -> bool:
        gate = Cancellation()

        async def waits() -> None:
            with gate:
                await asyncio.sleep(100)

        task = asyncio.create_task(waits())
        await asyncio.sleep(0)
        gate.close(Interrupted("stop"))
        task.cancel()
        await asyncio.wait([task])
        return task.cancelled()

    assert run(scenario())


def test_open_gate_passes_errors_and_cancellations() -> None:
    """Errors and cancellations pass an open gate as they are."""

    async def scenario() -> bool:
        gate = Cancellation()
        with pytest.raises(ValueError, match="mine"), gate:
            raise ValueError("mine")

        async def waits() -> None:
            with gate:
                await asyncio.sleep(100)

        task = asyncio.create_task(waits())
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        return task.cancelled()

    assert run(scenario())
