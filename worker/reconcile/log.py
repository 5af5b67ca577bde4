"""Logging of plans and results."""

import asyncio
from collections.abc import Iterable
from typing import Final

from worker.model.errors import ErrorInfo, InternalError, Refusal, WorkerError
from worker.model.plans import Action, Change, Notice
from worker.model.ports import Log
from worker.model.results import NumberResult, RunOutcome
from worker.plan.build import Draft
from worker.reconcile.results import Conclusion

__all__ = ["log_changes", "log_error", "log_notices", "log_obstacles", "log_plan", "log_refusals", "log_result"]

_FAILURES: Final = frozenset({RunOutcome.FAILED, RunOutcome.LOCKED})
_LINES_PER_TURN: Final = 200
"""Lines logged before other tasks get a turn. Logging them takes some milliseconds."""


def log_plan(draft: Draft, log: Log) -> None:
    """Log each change of a plan and the rules that refuse it, or the error of an account without a plan."""
    if draft.error is None:
        log_notices(draft.plan.notices, log)
    log_obstacles(draft, log)
    if draft.error is not None:
        return
    log_changes(draft.plan.changes, log)
    for phone, status in draft.unchanged():
        log.info("number.planned", phone=phone, action=Action.UNCHANGED, desired=status, before=status)


def log_obstacles(draft: Draft, log: Log) -> None:
    """Log the rules that refuse a plan, or the error of an account without a plan."""
    if draft.error is not None:
        log_error(draft.error, log)
    log_refusals(draft.plan.refusals, log)


def log_error(error: WorkerError, log: Log) -> None:
    """Log why an account cannot be planned."""
    reason = error.number_error
    log.warning("account.failed", http_status=reason.http_status, error_code=reason.code, error_message=reason.message)


def log_notices(notices: Iterable[Notice], log: Log) -> None:
    """Log one line per notice."""
    for notice in notices:
        log.warning("notice", kind=notice.kind, phone=notice.phone, message=notice.message)


def log_refusals(refusals: Iterable[Refusal], log: Log) -> None:
    """Log one line per rule that refuses a plan."""
    for refusal in refusals:
        log.warning("account.refused", error_code=refusal.rule, error_message=refusal.message)


def log_changes(changes: Iterable[Change], log: Log) -> None:
    """Log one line per planned change."""
    for change in changes:
        log.info(
            "number.planned", phone=change.phone, action=change.action, desired=change.desired, before=change.observed
        )


async def log_result(conclusion: Conclusion, log: Log) -> None:
    """Log the error and the notices of an account and the outcome of each number. Other tasks get turns in between.

    A number with the error of its account is logged at INFO: the account has a warning.
    """
    result = conclusion.result
    await _log_numbers(conclusion.unchanged_numbers, None, log)
    if result.error is not None and not conclusion.is_planned and result.error.code != InternalError.__name__:
        write = log.warning if result.outcome in _FAILURES else log.info
        write("account.failed", error_code=result.error.code, error_message=result.error.message)
    log_notices(result.notices, log)
    await _log_numbers(result.numbers, result.error, log)


async def _log_numbers(numbers: Iterable[NumberResult], account_error: ErrorInfo | None, log: Log) -> None:
    for lines, number in enumerate(numbers, 1):
        _log_number(number, account_error, log)
        if lines % _LINES_PER_TURN == 0:
            await asyncio.sleep(0)


def _log_number(number: NumberResult, account_error: ErrorInfo | None, log: Log) -> None:
    fields: dict[str, object] = {
        "phone": number.phone,
        "action": number.action,
        "desired": number.desired,
        "before": number.before,
        "after": number.after,
        "outcome": number.outcome,
    }
    if number.attempts:
        fields |= {"attempts": number.attempts, "duration_ms": number.duration_ms}
    if number.error is None:
        log.info("number", **fields)
    else:
        error = number.error
        write = log.info if ErrorInfo(error.code, error.message) == account_error else log.warning
        write("number", **fields, http_status=error.http_status, error_code=error.code, error_message=error.message)
