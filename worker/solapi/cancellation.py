"""Cancellation between requests: tasks that wait to send a request stop, while requests in flight finish."""

import asyncio
from types import TracebackType

from worker.model.errors import WorkerError

__all__ = ["Cancellation"]


class Cancellation:
    """A context manager around a wait, which `close` ends with an error. Entering a closed one raises that error."""

    __slots__ = ("_reason", "_waiting_tasks")

    def __init__(self) -> None:
        self._reason: WorkerError | None = None
        self._waiting_tasks: set[asyncio.Task[object]] = set()

    def close(self, reason: WorkerError) -> None:
        """Raise `reason` in all current and later waits. Later calls have no effect."""
        if self._reason is None:
            self._reason = reason
            for task in self._waiting_tasks:
                task.cancel()

    def check(self) -> None:
        """Raise the reason passed to `close`, if it was called."""
        if self._reason is not None:
            raise self._reason

    def __enter__(self) -> None:
        self.check()
        self._waiting_tasks.add(_this_task())

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        task = _this_task()
        self._waiting_tasks.discard(task)
        # uncancel() distinguishes a cancellation by close() from any other one
        if self._reason is not None and kind is asyncio.CancelledError and task.uncancel() == 0:
            raise self._reason from None


def _this_task() -> asyncio.Task[object]:
    task = asyncio.current_task()
    assert task is not None  # noqa: S101 - only a task can wait
    return task
