"""Execute changes on an account in memory, in virtual time."""

from collections.abc import Callable
from typing import Any

from tests.support.model_account import ModelAccount, Recorder
from tests.support.virtual_time import run
from worker.ledger import NullLedger
from worker.model.plans import Action, Change
from worker.model.ports import AttemptJournal
from worker.model.results import NumberResult
from worker.reconcile.executor import ActiveMinimums, Executor, Pace

__all__ = ["activation", "deactivation", "execute_changes"]


def activation(phone: str) -> Change:
    """Return a change of a number to ACTIVE."""
    return Change(phone, Action.ACTIVATE, "INACTIVE", "ACTIVE", "")


def deactivation(phone: str) -> Change:
    """Return a change of a number to INACTIVE."""
    return Change(phone, Action.DEACTIVATE, "ACTIVE", "INACTIVE", "")


def execute_changes(
    account: ModelAccount,
    *changes: Change,
    deadline: float = 900.0,
    concurrency: int = 4,
    wall: Callable[[], float] = lambda: 0.0,
    journal: AttemptJournal | None = None,
    **minimums: Any,
) -> tuple[dict[str, NumberResult], Executor]:
    """Execute changes. Return the results by number, and the executor. `journal` is by default null."""
    attempt_journal = journal or NullLedger()

    async def scenario() -> Executor:
        observed = await account.observe()
        writes = Executor(
            changes, account, observed, ActiveMinimums(**minimums), journal=attempt_journal, meter=Recorder()
        )
        await writes.run(Pace(concurrency, deadline, wall))
        return writes

    writes = run(scenario())
    return {result.phone: result for result in writes.results()}, writes
