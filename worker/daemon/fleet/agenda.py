"""The agenda of a worker, on a thread of its own."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Concatenate, ParamSpec, TypeVar

from worker.ledger.postgres.agenda import Agenda

__all__ = ["AgendaThread"]

P = ParamSpec("P")
T = TypeVar("T")


class AgendaThread:
    """Runner of the methods of an agenda, one at a time, outside the event loop."""

    def __init__(self, agenda: Agenda) -> None:
        self._agenda = agenda
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="agenda")

    async def __call__(self, method: Callable[Concatenate[Agenda, P], T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Return the result of a method, such as `Agenda.take`.

        Raises:
            LedgerError: the database cannot be used.
        """
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, partial(method, self._agenda, *args, **kwargs))

    def close(self) -> None:
        """End the thread."""
        self._thread.shutdown()
