"""Batches: calls that arrive while the database is busy are executed together."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from worker.model.errors import LedgerError

__all__ = ["Batches"]

Item = TypeVar("Item")
Result = TypeVar("Result")


class Batches(Generic[Item, Result]):
    """A function of one item, which collects its calls and executes them with one call of `execute`.

    `execute` takes many items and returns a result for each, in order. Items that arrive while it runs wait for its
    next call. Each call waits `delay` seconds for further items. If `execute` only reads, a call that fails is repeated
    for each item alone, so that an unreadable item does not fail the others; an unusable ledger fails all of them.
    """

    def __init__(
        self,
        execute: Callable[[list[Item]], Awaitable[Sequence[Result]]],
        *,
        delay: float = 0.0,
        only_reads: bool = False,
    ) -> None:
        self._execute = execute
        self._delay = delay
        self._only_reads = only_reads
        self._waiting: list[tuple[Item, asyncio.Future[Result]]] = []
        self._running: asyncio.Task[None] | None = None

    async def __call__(self, item: Item) -> Result:
        """Return the result of an item. An error of `execute` is raised for each of its items."""
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future))
        if self._running is None or self._running.done():
            self._running = asyncio.ensure_future(self._run())
        return await future

    async def _run(self) -> None:
        while self._waiting:
            await asyncio.sleep(self._delay)
            batch, self._waiting = self._waiting, []
            try:
                results = await self._results([item for item, _ in batch])
                for (_, future), result in zip(batch, results, strict=True):
                    # a cancelled call has no use for its result
                    if future.done():
                        continue
                    if isinstance(result, Exception):
                        future.set_exception(result)
                    else:
                        future.set_result(result)
            except BaseException as error:
                for _, future in batch:
                    if not future.done():
                        future.set_exception(error)
                if not isinstance(error, Exception):
                    raise

    async def _results(self, items: list[Item]) -> Sequence[Result | Exception]:
        """Return the result or the error of each item."""
        try:
            return await self._execute(items)
        except Exception as error:  # noqa: BLE001 - raised by the calls
            if self._only_reads and len(items) > 1 and not isinstance(error, LedgerError):
                return [(await self._results([item]))[0] for item in items]
            return [error] * len(items)
