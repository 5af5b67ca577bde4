"""Records of runs, accounts and numbers with defaults."""

from typing import Any

from worker.model.history import AccountRecord, Attempt, AttemptState, Ending, History, NumberRecord, RunRecord
from worker.model.plans import Action
from worker.model.results import Outcome, Requests
from worker.model.safety import Safety

__all__ = ["account_record", "attempt", "history", "number_record", "run_record"]


def attempt(number: int = 1, state: AttemptState = AttemptState.VERIFIED, **more: Any) -> Attempt:
    """Return one request for ACTIVE."""
    given: dict[str, Any] = {"asked": "ACTIVE", "intended_at": "2026-11-24T09:00:12.120Z"}
    return Attempt(number=number, state=state, **given | more)


def number_record(phone: str = "01012345678", **more: Any) -> NumberRecord:
    """Return a number that was activated."""
    given: dict[str, Any] = {
        "phone": phone,
        "action": Action.ACTIVATE,
        "desired": "ACTIVE",
        "before": "INACTIVE",
        "after": "ACTIVE",
        "outcome": Outcome.CHANGED,
        "attempts": (attempt(),),
        "duration_ms": 1234,
    }
    return NumberRecord(**given | more)


def account_record(*numbers: NumberRecord, **more: Any) -> AccountRecord:
    """Return an account that converged."""
    given: dict[str, Any] = {
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
    return AccountRecord(**given | more)


def run_record(*accounts: AccountRecord, **more: Any) -> RunRecord:
    """Return a run that converged."""
    given: dict[str, Any] = {
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
    return RunRecord(**given | more)


def history(*runs: RunRecord, total: int | None = None) -> History:
    """Return the document of these runs."""
    return History(total=len(runs) if total is None else total, runs=runs)
