"""Ledgers of runs in a folder, on a clock that counts."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

from worker.ledger import Ledger, Run

__all__ = ["clock", "ledger", "never", "started"]

_EPOCH = datetime(2026, 11, 24, tzinfo=UTC)


def clock(start: int = 0) -> Callable[[], str]:
    """A second later each time it is asked, as documents carry time."""
    seconds = count(start)
    return lambda: (_EPOCH + timedelta(seconds=next(seconds))).strftime("%Y-%m-%dT%H:%M:%S.000Z")


def started(run_id: str = "run-1", **more: Any) -> Run:
    """A run that somebody started."""
    given: dict[str, Any] = {
        "id": run_id,
        "command": "apply",
        "started_by": "ann",
        "host": "box",
        "pid": 7,
        "version": "0",
        "settings": "{}",
        "started_at": "2026-11-24T00:00:00.000Z",
    }
    return Run(**given | more)


def ledger(folder: Path, *, run_id: str = "run-1", now: Callable[[], str] | None = None, **more: Any) -> Ledger:
    """The ledger of a run in a folder."""
    given: dict[str, Any] = {"now": now or clock(), "most_bytes": 1 << 30} | more
    return Ledger(folder / "ledger.db", started(run_id), **given)


async def never(_: float) -> bool:
    """Whoever holds an account is not waited for."""
    return False
