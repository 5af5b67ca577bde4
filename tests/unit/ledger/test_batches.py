"""Batches: calls that arrive while one is in progress are executed together."""

import asyncio

from worker.ledger.batches import Batches
from worker.model.errors import LedgerError


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


async def test_failed_read_is_repeated_for_each_item() -> None:
    """An unreadable item fails alone, but a ledger that cannot be used is not read again."""
    executed: list[list[int]] = []

    async def execute(items: list[int]) -> list[int]:
        executed.append(items)
        if 2 in items:
            raise ValueError("no")
        if 5 in items:
            raise LedgerError("gone")
        return items

    batches = Batches(execute, only_reads=True)
    first, second, third = await asyncio.gather(*map(batches, (1, 2, 3)), return_exceptions=True)
    assert (first, str(second), third) == (1, "no", 3)
    gone = await asyncio.gather(*map(batches, (4, 5)), return_exceptions=True)
    assert [str(error) for error in gone] == ["gone", "gone"]
    assert executed == [[1, 2, 3], [1], [2], [3], [4, 5]]


async def test_cancelled_call_does_not_affect_the_others() -> None:
    """Whether their execution succeeds or fails."""
    for failure in (None, ValueError("no")):
        may_end = asyncio.Event()

        async def execute(
            items: list[int], may_end: asyncio.Event = may_end, failure: Exception | None = failure
        ) -> list[int]:
            await may_end.wait()
            if failure is not None:
                raise failure
            return items

        batches = Batches(execute)
        calls = [asyncio.ensure_future(batches(item)) for item in range(3)]
        # the first turn starts the calls, the second one their execution
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        calls[0].cancel()
        await asyncio.sleep(0)
        may_end.set()
        async with asyncio.timeout(10):
            cancelled, *others = await asyncio.gather(*calls, return_exceptions=True)
        assert isinstance(cancelled, asyncio.CancelledError)
        assert others == ([1, 2] if failure is None else [failure, failure])


async def test_end_of_an_execution_ends_its_calls() -> None:
    """An execution that is cancelled leaves no call waiting."""

    async def execute(_items: list[int]) -> list[int]:
        raise asyncio.CancelledError

    batches = Batches(execute)
    async with asyncio.timeout(10):
        results = await asyncio.gather(batches(1), batches(2), return_exceptions=True)
    assert [type(result) for result in results] == [asyncio.CancelledError] * 2
