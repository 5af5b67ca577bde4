"""Ledgers of runs, with a clock that advances on each call. A folder stands for the SQLite file in it."""

import asyncio
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any
from zlib import crc32

from msgspec.structs import replace

from worker.ledger import Database, Ledger, RunInfo, SqliteFile, Subject
from worker.ledger.reads import RecordedRead
from worker.model.accounts import Desired, DesiredAccount, Observed, ObservedAccount, Status
from worker.model.plans import AccountPlan, Action, Change
from worker.model.reads import AccountRead, DaemonRecord, HealthStatus, NumberState, SyncStatus, encode_numbers
from worker.model.results import AccountResult, NumberResult, Outcome, RunOutcome
from worker.model.safety import Safety

__all__ = [
    "NUMBERS",
    "account_read",
    "account_result",
    "clock",
    "daemon_record",
    "database_at",
    "file_account",
    "immediate_ledger",
    "ledger",
    "never_wait",
    "observed_account",
    "plan_writes",
    "recorded_read",
    "rows",
    "run_info",
    "subject",
]

_EPOCH = datetime(2026, 11, 24, tzinfo=UTC)


def clock(start: int = 0) -> Callable[[], str]:
    """Return a clock that advances by a second with each call. It returns timestamps as documents have them."""
    seconds = count(start)
    return lambda: (_EPOCH + timedelta(seconds=next(seconds))).strftime("%Y-%m-%dT%H:%M:%S.000Z")


def run_info(run_id: str = "run-1", **more: Any) -> RunInfo:
    """Return the record of a run that starts."""
    fields: dict[str, Any] = {
        "id": run_id,
        "command": "apply",
        "started_by": "ann",
        "host": "box",
        "pid": 7,
        "version": "0",
        "settings": "{}",
        "started_at": "2026-11-24T00:00:00.000Z",
    }
    return RunInfo(**fields | more)


def database_at(place: Path | Database) -> Database:
    """Return the database itself, or the SQLite file in a folder."""
    return SqliteFile(place / "ledger.db") if isinstance(place, Path) else place


def ledger(
    place: Path | Database, *, run_id: str = "run-1", now: Callable[[], str] | None = None, **more: Any
) -> Ledger:
    """Return the ledger of a run."""
    options: dict[str, Any] = {"now": now or clock(), "max_bytes": 1 << 30} | more
    return Ledger(database_at(place), run_info(run_id), **options)


def immediate_ledger(place: Path | Database, *, run_id: str = "run-1", **more: Any) -> Ledger:
    """Return a ledger that commits immediately and on the loop, for loops in virtual time."""
    clock = asyncio.get_running_loop().time
    return ledger(place, run_id=run_id, clock=clock, submit=lambda work: work(), **more)


async def never_wait(_: float) -> bool:
    """Return False: do not wait for the lease of an account."""
    return False


def subject(key: str = "vendor 1", **more: Any) -> Subject:
    """Return an account as the ledger identifies it."""
    fields: dict[str, Any] = {
        "account": "main",
        "account_id": key.rsplit(maxsplit=1)[-1],
        "endpoint": "solapi",
        "credentials": None,
        "safety": Safety(),
        "source": "main.yaml",
        "lane": crc32(key.encode()) % 1024,
    }
    return Subject(key=key, **fields | more)


def plan_writes(*phones: str, desired: str = "INACTIVE") -> AccountPlan:
    """Return a plan that writes these numbers, each from the other status."""
    action, before = (Action.DEACTIVATE, "ACTIVE") if desired == "INACTIVE" else (Action.ACTIVATE, "INACTIVE")
    changes = tuple(Change(phone, action, before, desired, "") for phone in phones)
    return AccountPlan(account="main", account_id="1", counts={action: len(phones)}, changes=changes)


def account_result(plan: AccountPlan, outcome: Outcome, **more: Any) -> AccountResult:
    """Return the result of a plan in which all numbers have this outcome. `more` overrides fields of each number."""
    numbers = []
    for change in plan.writes:
        after = change.desired if outcome is Outcome.CHANGED else change.observed
        number = NumberResult(change.phone, change.action, change.desired, change.observed, after, outcome, 1)
        numbers.append(replace(number, **more))
    return AccountResult(
        account=plan.account,
        account_id=plan.account_id,
        outcome=RunOutcome.CONVERGED if outcome is Outcome.CHANGED else RunOutcome.PARTIAL,
        counts={outcome: len(numbers)},
        numbers=tuple(numbers),
    )


def observed_account(**statuses: str) -> ObservedAccount:
    """Return an observed account. Its numbers are given as keywords, such as `n01012345678="ACTIVE"`."""
    numbers = {name[1:]: Observed(name[1:], Status(status)) for name, status in statuses.items()}
    return ObservedAccount("1", numbers)


def rows(place: Path | Database, query: str, *values: object) -> list[tuple[Any, ...]]:
    """Return the rows of a query on a ledger; no rows if there is no ledger yet."""
    with database_at(place).read(skip_check=True) as connection:
        return [] if connection is None else connection.execute(query, values).fetchall()


def account_read(name: str = "main", **fields: Any) -> AccountRead:
    """Return the latest read of an account that is in sync."""
    values: dict[str, Any] = {
        "account": name,
        "key": f"https://api.solapi.com {name}",
        "at": "2026-11-24T00:10:00.000Z",
        "command": "watch",
        "sync": SyncStatus.IN_SYNC,
        "health": HealthStatus.HEALTHY,
        "counts": {"unchanged": 2},
        "numbers": 2,
        "active": 1,
    }
    return AccountRead(**values | fields)


NUMBERS = (
    NumberState("01000000001", "ACTIVE", "ACTIVE", note="Winter 50%", owner="marketing", source="a.yaml", line=3),
    NumberState("01000000002", "INACTIVE", "ACTIVE", "held", owner="support", source="a.yaml", line=4),
)


def recorded_read(name: str = "main", numbers: Sequence[NumberState] = NUMBERS, **fields: Any) -> RecordedRead:
    """Return a read to record, with two numbers. Without `numbers`, the account could not be read."""
    return RecordedRead(account_read(name, **fields), encode_numbers(numbers) if numbers else b"")


def daemon_record(**fields: Any) -> DaemonRecord:
    """Return the heartbeat of a daemon with an interval of five minutes."""
    values: dict[str, Any] = {
        "host": "box",
        "pid": 7,
        "started_at": "2026-11-24T00:00:00.000Z",
        "last_pass": "2026-11-24T00:10:00.000Z",
        "next_pass": "2026-11-24T00:15:00.000Z",
        "outcome": "converged",
    }
    return DaemonRecord(**values | fields)


def file_account(name: str = "main", *phones: str, **fields: Any) -> DesiredAccount:
    """Return an account of a file, with numbers that should be ACTIVE. `fields` are other fields of the account."""
    numbers = {phone: Desired(Status.ACTIVE) for phone in phones}
    return DesiredAccount(name, f"{name}.yaml", numbers, lines=range(3, 3 + len(phones)), **fields)
