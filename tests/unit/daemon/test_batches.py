"""Batches: calls that arrive while one is in progress are executed together."""

import asyncio

from worker.daemon.fleet.batches import Batches


async def test_calls_during_an_execution_are_executed_together() -> None:
    """Each gets the result of its own item."""
    executed: list[list[int]] = []
    started, may_end = asyncio.Event(), asyncio.Event()

    async def execute(items: list[int]) -> list[int]:
        executed.append(items)
        started.set()
        await may_end.wait()
        return [10 * item for item in items]

    batches = Batches(execute)
    first = asyncio.ensure_future(batches(1))
    await started.wait()
    others = [asyncio.ensure_future(batches(item)) for item in (2, 3)]
    await asyncio.sleep(0)
    may_end.set()
    assert await asyncio.gather(first, *others) == [10, 20, 30]
    assert executed == [[1], [2, 3]]


async def test_error_is_raised_for_each_item_of_its_execution() -> None:
    """The next execution is not affected."""
    failures = [ValueError("no")]

    async def execute(items: list[int]) -> list[int]:
        if failures:
            raise failures.pop()
        return items

    batches = Batches(execute)
    results = await asyncio.gather(batches(1), batches(2), return_exceptions=True)
    assert [str(result) for result in results] == ["no", "no"]
    assert await batches(3) == 3
