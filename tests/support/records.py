"""Records of runs, accounts and numbers, with default values."""

from typing import Any

from worker.model.history import AccountRecord, Attempt, AttemptState, Ending, History, NumberRecord, RunRecord
from worker.model.plans import Action
from worker.model.results import Outcome, Requests
from worker.model.safety import Safety

__all__ = ["account_record", "attempt", "changed_number", "history", "number_record", "run_record"]


def attempt(number: int = 1, state: AttemptState = AttemptState.VERIFIED, **more: Any) -> Attempt:
    """Return the record of a request for ACTIVE."""
    fields: dict[str, Any] = {"asked": "ACTIVE", "intended_at": "2026-11-24T09:00:12.120Z"}
    return Attempt(number=number, state=state, **fields | more)


def number_record(phone: str = "01012345678", **more: Any) -> NumberRecord:
    """Return the record of a number that was activated."""
    fields: dict[str, Any] = {
        "phone": phone,
        "action": Action.ACTIVATE,
        "desired": "ACTIVE",
        "before": "INACTIVE",
        "after": "ACTIVE",
        "outcome": Outcome.CHANGED,
        "attempts": (attempt(),),
        "duration_ms": 1234,
    }
    return NumberRecord(**fields | more)


def changed_number(phone: str, before: str, after: str) -> NumberRecord:
    """Return the record of a number whose status a run changed."""
    return NumberRecord(
        phone=phone, action=None, desired=after, before=before, after=after, outcome=Outcome.CHANGED, duration_ms=1
    )


def account_record(*numbers: NumberRecord, **more: Any) -> AccountRecord:
    """Return the record of an account that converged."""
    fields: dict[str, Any] = {
        "account": "main",
        "account_id": "12925149",
        "outcome": Ending.CONVERGED,
        "started_at": "2026-11-24T09:00:12.000Z",
        "finished_at": "2026-11-24T09:00:13.000Z",
        "endpoint": "solapi",
        "safety": Safety(),
        "source": "main.yaml",
        "fingerprint": "0123456789abcdef" * 4,
        "counts": {"changed": 1, "unchanged": 3},
        "requests": Requests(2, 1),
        "settled": True,
        "numbers": numbers,
    }
    return AccountRecord(**fields | more)


def run_record(*accounts: AccountRecord, **more: Any) -> RunRecord:
    """Return the record of a run that converged."""
    fields: dict[str, Any] = {
        "run_id": "20261124T090012Z-a1b2c3",
        "command": "apply",
        "outcome": Ending.CONVERGED,
        "started_at": "2026-11-24T09:00:12.000Z",
        "finished_at": "2026-11-24T09:00:13.900Z",
        "started_by": "ann",
        "host": "box",
        "pid": 7,
        "version": "1.2.3",
        "counts": {"changed": 1, "unchanged": 3},
        "accounts": accounts,
    }
    return RunRecord(**fields | more)


def history(*runs: RunRecord, total: int | None = None) -> History:
    """Return the history of these runs."""
    return History(total=len(runs) if total is None else total, runs=runs)
