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
    "before the ledger is created": ("worker.ledger.schema", "_migrate", "before"),
    "after the ledger is created": ("worker.ledger.schema", "_migrate", "after"),
    "before the run's row": ("worker.ledger.writes", "add_run", "before"),
    "after the run's row": ("worker.ledger.ledger:Ledger", "__aenter__", "after"),
    "before the entry": ("worker.ledger.writes", "add_entry", "before"),
    "after the entry": ("worker.ledger.ledger:LeasedAccountLedger", "record_plan", "after"),
    "before an intent": ("worker.ledger.writes", "intend", "before"),
    "before an intent's commit": ("worker.ledger.writes", "intend", "after"),
    "after an intent's commit": ("worker.ledger.ledger:LeasedAccountLedger", "intend", "after"),
    "before a request": ("worker.solapi.client:AccountWriter", "put", "before"),
    "after a response": ("worker.solapi.client:AccountWriter", "put", "after"),
    "before a response is recorded": ("worker.ledger.ledger:LeasedAccountLedger", "record_response", "before"),
    "after a response is recorded": ("worker.ledger.ledger:LeasedAccountLedger", "record_response", "after"),
    "before responses are stored": ("worker.ledger.writes", "record_responses", "before"),
    "before the commit of responses": ("worker.ledger.writes", "record_responses", "after"),
    "before the verification read": ("worker.reconcile.executor:Executor", "_verify", "before"),
    "after the verification read": ("worker.reconcile.executor:Executor", "_verify", "after"),
    "before the entry's end": ("worker.ledger.writes", "finish_entry", "before"),
    "before the commit of the entry's end": ("worker.ledger.writes", "finish_entry", "after"),
    "after the entry's end": ("worker.ledger.ledger:LeasedAccountLedger", "finish", "after"),
    "before the run's end": ("worker.ledger.writes", "finish_run", "before"),
    "after the run's end": ("worker.ledger.ledger:Ledger", "finish", "after"),
    "before open attempts are settled": ("worker.ledger.writes", "settle", "before"),
    "before the commit of settled attempts": ("worker.ledger.writes", "settle", "after"),
    "after open attempts are settled": ("worker.ledger.ledger:LeasedAccountLedger", "resume", "after"),
}
"""Module and class, function, and whether to die before it starts or after it ends."""

_LEASES = "worker.ledger.postgres.leases:PostgresLeases"
POSTGRES_POINTS = POINTS | {
    "before the ledger is created": ("worker.ledger.postgres.database", "migrate", "before"),
    "after the ledger is created": ("worker.ledger.postgres.database", "migrate", "after"),
    "after the worker's row": (_LEASES, "start", "after"),
    "before the lease's commit": (_LEASES, "_take", "after"),
    "before an intent": (_LEASES, "intend", "before"),
    "before an intent's commit": (_LEASES, "intend", "before"),
    "before the lease is released": (_LEASES, "_release", "before"),
    "before the release's commit": (_LEASES, "_release", "after"),
    "after all leases are released": (_LEASES, "stop", "after"),
}
"""The points of a run with a ledger in PostgreSQL, where an intent is committed by the statement that records it."""


def _dying(function: Callable[..., Any], when: str, times: int) -> Callable[..., Any]:
    left = times

    def reach(moment: str) -> None:
        nonlocal left
        left -= moment == when
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def called(*args: Any, **kwargs: Any) -> Any:
        reach("before")
        result = function(*args, **kwargs)
        reach("after")
        return result

    async def awaited(*args: Any, **kwargs: Any) -> Any:
        reach("before")
        result = await function(*args, **kwargs)
        reach("after")
        return result

    return awaited if asyncio.iscoroutinefunction(function) else called


def main() -> None:
    """Patch the function of the point, and run the command."""
    point, times, *arguments = sys.argv[1:]
    owner_path, name, when = (POSTGRES_POINTS if "SENDERID_LEDGER__URL" in os.environ else POINTS)[point]
    module, _, owner = owner_path.partition(":")
    target = import_module(module)
    target = getattr(target, owner) if owner else target
    setattr(target, name, _dying(getattr(target, name), when, int(times)))
    sys.argv[1:] = arguments
    import_module("worker.__main__").main()


if __name__ == "__main__":
    main()
