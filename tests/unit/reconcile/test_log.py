"""The log lines of a plan and of a result, field by field."""

import pytest

from tests.support.model_account import Recorder
from tests.support.virtual_time import run
from worker.model.accounts import Desired, Status
from worker.model.errors import ErrorInfo, NumberError, Refusal, ServerError
from worker.model.plans import AccountPlan, Action, Change, Notice, NoticeKind
from worker.model.results import AccountResult, NumberResult, Outcome, RunOutcome
from worker.plan.build import Draft
from worker.reconcile.log import log_plan, log_result
from worker.reconcile.results import Conclusion

A, B = "0211", "0222"
SOON = Notice(NoticeKind.EXPIRING, "ends soon", B)
SOON_LINE = ("notice", {"kind": "expiring", "phone": B, "message": "ends soon"})


def test_plan_is_logged_with_notices_refusals_and_every_number() -> None:
    plan = AccountPlan(
        account="main",
        counts={},
        changes=(Change(A, Action.ACTIVATE, "INACTIVE", "ACTIVE", "listed"),),
        refusals=(Refusal("min-active", "few"),),
        notices=(SOON,),
    )
    log = Recorder()
    log_plan(Draft(plan, {A: Desired(Status.ACTIVE), B: Desired(Status.INACTIVE)}), log)
    assert log.lines == [
        SOON_LINE,
        ("account.refused", {"error_code": "min-active", "error_message": "few"}),
        ("number.planned", {"phone": A, "action": "activate", "desired": "ACTIVE", "before": "INACTIVE"}),
        ("number.planned", {"phone": B, "action": "unchanged", "desired": "INACTIVE", "before": "INACTIVE"}),
    ]


def test_account_without_a_plan_is_logged_with_its_error() -> None:
    error = ServerError("no", http_status=503)
    log = Recorder()
    log_plan(Draft(AccountPlan(account="main", counts={}, notices=(SOON,)), {}, error), log)
    fields = {"http_status": 503, "error_code": "ServerError", "error_message": "no"}
    assert log.lines == [("account.failed", fields)]


@pytest.mark.parametrize(
    ("outcome", "level"),
    [(RunOutcome.FAILED, "warning"), (RunOutcome.LOCKED, "warning"), (RunOutcome.INTERRUPTED, "info")],
)
def test_error_of_an_account_is_one_warning(outcome: RunOutcome, level: str) -> None:
    """The numbers of the account are logged at INFO, except those with an error of their own."""
    error = ErrorInfo("AccountRejected", "wrong key")
    numbers = (
        _not_attempted(A, NumberError("AccountRejected", "wrong key", 403)),
        _not_attempted(B, NumberError("X", "x")),
    )
    result = AccountResult(account="main", outcome=outcome, error=error, counts={}, numbers=numbers)
    log = _Levels()
    run(log_result(Conclusion(result), log))
    assert log.lines == [
        (level, "account.failed", "AccountRejected"),
        ("info", "number", "AccountRejected"),
        ("warning", "number", "X"),
    ]


@pytest.mark.parametrize(("code", "is_planned"), [("AccountRejected", True), ("InternalError", False)])
def test_error_that_was_logged_before_is_not_repeated(code: str, *, is_planned: bool) -> None:
    result = AccountResult(account="main", outcome=RunOutcome.FAILED, error=ErrorInfo(code, "no"), counts={})
    log = Recorder()
    run(log_result(Conclusion(result, is_planned=is_planned), log))
    assert log.lines == []


class _Levels:
    """Log that keeps the level, the event and the error code of each line."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str, object]] = []

    def info(self, event: str, **fields: object) -> None:
        self.lines.append(("info", event, fields["error_code"]))

    def warning(self, event: str, **fields: object) -> None:
        self.lines.append(("warning", event, fields["error_code"]))


def _not_attempted(phone: str, error: NumberError) -> NumberResult:
    return NumberResult(phone, None, "ACTIVE", None, None, Outcome.NOT_ATTEMPTED, 0, error)


def test_result_is_logged_with_attempts_and_errors() -> None:
    """Unchanged numbers come first. Without attempts there is no duration."""
    error = NumberError("ServerError", "the server failed", 502)
    failed = NumberResult(A, Action.ACTIVATE, "ACTIVE", "INACTIVE", None, Outcome.FAILED, 2, error, 70)
    unchanged = NumberResult(B, Action.UNCHANGED, "ACTIVE", "ACTIVE", "ACTIVE", Outcome.UNCHANGED)
    result = AccountResult(account="main", outcome=RunOutcome.PARTIAL, counts={}, numbers=(failed,), notices=(SOON,))
    log = Recorder()
    run(log_result(Conclusion(result, [unchanged]), log))
    fields = {"phone": B, "action": "unchanged", "desired": "ACTIVE", "before": "ACTIVE", "after": "ACTIVE"}
    failed_fields = {"phone": A, "action": "activate", "desired": "ACTIVE", "before": "INACTIVE", "after": None}
    attempt_fields = {"attempts": 2, "duration_ms": 70, "http_status": 502, "error_code": "ServerError"}
    assert log.lines == [
        ("number", fields | {"outcome": "unchanged"}),
        SOON_LINE,
        ("number", failed_fields | {"outcome": "failed", "error_message": "the server failed"} | attempt_fields),
    ]
