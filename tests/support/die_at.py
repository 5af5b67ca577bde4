"""`senderid` in a process that kills itself with SIGKILL at a named point.

`python die_at.py POINT TIMES ARGUMENTS…` dies when the point is reached for the TIMES-th time.
"""

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any

POINTS = {
    "before the ledger is made": ("worker.ledger.schema", "_migrate", "before"),
    "after the ledger is made": ("worker.ledger.schema", "_migrate", "after"),
    "before the run's row": ("worker.ledger.writes", "add_run", "before"),
    "after the run's row": ("worker.ledger.ledger:Ledger", "__aenter__", "after"),
    "before the entry": ("worker.ledger.writes", "add_entry", "before"),
    "after the entry": ("worker.ledger.ledger:SqliteAccountLedger", "begin", "after"),
    "before an intent": ("worker.ledger.writes", "intend", "before"),
    "before an intent's commit": ("worker.ledger.writes", "intend", "after"),
    "after an intent's commit": ("worker.ledger.ledger:SqliteAccountLedger", "intend", "after"),
    "before a request": ("worker.solapi.client:AccountWriter", "put", "before"),
    "after an answer": ("worker.solapi.client:AccountWriter", "put", "after"),
    "before an answer is remembered": ("worker.ledger.ledger:SqliteAccountLedger", "record_answer", "before"),
    "after an answer is remembered": ("worker.ledger.ledger:SqliteAccountLedger", "record_answer", "after"),
    "before answers are noted": ("worker.ledger.writes", "answer", "before"),
    "before the commit of answers": ("worker.ledger.writes", "answer", "after"),
    "before the closing look": ("worker.reconcile.executor:Executor", "_verify", "before"),
    "after the closing look": ("worker.reconcile.executor:Executor", "_verify", "after"),
    "before the entry's end": ("worker.ledger.writes", "finish_entry", "before"),
    "before the commit of the entry's end": ("worker.ledger.writes", "finish_entry", "after"),
    "after the entry's end": ("worker.ledger.ledger:SqliteAccountLedger", "finish", "after"),
    "before the run's end": ("worker.ledger.writes", "finish_run", "before"),
    "after the run's end": ("worker.ledger.ledger:Ledger", "finish", "after"),
    "before what was left open is closed": ("worker.ledger.writes", "settle", "before"),
    "before the commit of what was closed": ("worker.ledger.writes", "settle", "after"),
    "after what was left open is closed": ("worker.ledger.ledger:SqliteAccountLedger", "resume", "after"),
}
"""Module and class, function, and whether to die before it begins or after it has ended."""


def _dying(function: Callable[..., Any], when: str, times: int) -> Callable[..., Any]:
    left = times

    def reach(moment: str) -> None:
        nonlocal left
        left -= moment == when
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def called(*given: Any, **more: Any) -> Any:
        reach("before")
        made = function(*given, **more)
        reach("after")
        return made

    async def awaited(*given: Any, **more: Any) -> Any:
        reach("before")
        made = await function(*given, **more)
        reach("after")
        return made

    return awaited if asyncio.iscoroutinefunction(function) else called


def main() -> None:
    """Patch, and run the command."""
    point, times, *arguments = sys.argv[1:]
    where, name, when = POINTS[point]
    module, _, owner = where.partition(":")
    home = import_module(module)
    home = getattr(home, owner) if owner else home
    setattr(home, name, _dying(getattr(home, name), when, int(times)))
    sys.argv[1:] = arguments
    import_module("worker.__main__").main()


if __name__ == "__main__":
    main()
