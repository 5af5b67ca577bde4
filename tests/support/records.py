"""Runs as the ledger tells them, with what a test gives in place of what is usual."""

from typing import Any

from worker.model.history import AccountRecord, Attempt, AttemptState, Ending, History, NumberRecord, RunRecord
from worker.model.plans import Action
from worker.model.results import Outcome, Requests
from worker.model.safety import Safety

__all__ = ["account_story", "attempt", "history", "number_story", "run_story"]


def attempt(number: int = 1, state: AttemptState = AttemptState.VERIFIED, **more: Any) -> Attempt:
    """One request for ACTIVE."""
    given: dict[str, Any] = {"asked": "ACTIVE", "intended_at": "2026-11-24T09:00:12.120Z"}
    return Attempt(number=number, state=state, **given | more)


def number_story(phone: str = "01012345678", **more: Any) -> NumberRecord:
    """A number that was switched on."""
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


def account_story(*numbers: NumberRecord, **more: Any) -> AccountRecord:
    """An account that converged."""
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


def run_story(*accounts: AccountRecord, **more: Any) -> RunRecord:
    """A run that converged."""
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
    """The document of these runs."""
    return History(total=len(runs) if total is None else total, runs=runs)
