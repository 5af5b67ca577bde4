"""Outcomes of writes: every sequence of responses, compared with the status of the account."""

from itertools import product
from typing import Any, Final

import pytest

from tests.support.execution import activation, execute_changes
from tests.support.model_account import ModelAccount
from worker.model.accounts import Observed, ObservedAccount, Status
from worker.model.errors import (
    AccountRejected,
    Ambiguous,
    ApiError,
    ConnectionFailed,
    DeadlineExceeded,
    Interrupted,
    NotRegistered,
    NotWritable,
    NumberError,
    RateLimited,
    ServerError,
)
from worker.model.plans import Action, Change
from worker.model.results import NumberResult, Outcome
from worker.reconcile.attempt import WriteAttempt

PHONE: Final = "0100001"

RESPONSES: Final[dict[str, tuple[ApiError | None, bool]]] = {
    "accepted": (None, True),
    "timeout": (Ambiguous("no response", timed_out=True), False),
    "timeout, took effect": (Ambiguous("no response", timed_out=True), True),
    "connection refused": (ConnectionFailed("refused; try later"), False),
    "connection refused at last": (ConnectionFailed("refused"), False),
    "rate limited": (RateLimited("try later"), False),
    "number refused": (NotRegistered("no such number"), False),
    "number refused, carried out": (NotRegistered("no such number"), True),
    "credentials refused": (AccountRejected("no permission", http_status=403), False),
    "response of another account": (AccountRejected("the response is of account 2"), True),
}
"""Responses to a request, each with True if the write takes effect."""

RETRIED: Final = ("timeout", "connection refused", "rate limited")
FINAL: Final = tuple(name for name in RESPONSES if name not in {"connection refused", "rate limited", "timeout"})
SEQUENCES: Final = [
    (*before, last) for length in range(3) for before in product(RETRIED, repeat=length) for last in FINAL
]
REFUSED: Final = frozenset({"number refused", "number refused, carried out", "credentials refused"})
NOT_RECEIVED: Final = frozenset({"connection refused", "connection refused at last", "rate limited"})
"""Responses that prove that the request has not taken effect and never will."""


class Account(ModelAccount):
    """An account whose verification read fails, or whose abandoned request takes effect before that read."""

    def __init__(self, *, arrives_late: bool, verification_fails: bool) -> None:
        super().__init__(n0100001="INACTIVE")
        self._arrives_late = arrives_late
        self._verification_fails = verification_fails

    async def observe(self, *, is_verification: bool = False) -> ObservedAccount:
        """Return the account, or raise the configured error."""
        if is_verification and self._arrives_late:
            self.statuses[PHONE] = Status.ACTIVE
        if is_verification and self._verification_fails:
            raise ServerError("down")
        return await super().observe(is_verification=is_verification)


@pytest.mark.parametrize("arrives_late", [False, True])
def test_verified_write_is_changed_only_if_this_run_may_have_caused_it(*, arrives_late: bool) -> None:
    """A number as desired is CHANGED if any request may have taken effect, else UNCHANGED. Otherwise it is FAILED."""
    for sequence in SEQUENCES:
        account = Account(arrives_late=arrives_late, verification_fails=False)
        account.faults[PHONE] = [RESPONSES[name] for name in sequence]
        result = execute_changes(account, activation(PHONE))[0][PHONE]
        if account.statuses[PHONE] != "ACTIVE":
            expected = Outcome.FAILED
        else:
            expected = Outcome.UNCHANGED if NOT_RECEIVED.issuperset(sequence) else Outcome.CHANGED
        assert (result.outcome, result.after) == (expected, account.statuses[PHONE]), sequence
        assert result.attempts == len(sequence), sequence


def test_unverified_write_is_failed_only_if_it_cannot_take_effect() -> None:
    """Without a verification read, a write that was accepted or has no response is UNVERIFIED."""
    for sequence in SEQUENCES:
        account = Account(arrives_late=False, verification_fails=True)
        account.faults[PHONE] = [RESPONSES[name] for name in sequence]
        expected = Outcome.FAILED if (NOT_RECEIVED | REFUSED).issuperset(sequence) else Outcome.UNVERIFIED
        assert execute_changes(account, activation(PHONE))[0][PHONE].outcome is expected, sequence


@pytest.mark.parametrize("status", [Status.INACTIVE, Status.ACTIVE, Status.BLOCKED, None])
@pytest.mark.parametrize("has_varied", [False, True])
def test_external_change_is_not_overwritten_by_a_pending_write(status: Status | None, *, has_varied: bool) -> None:
    """A write is sent only if every read since the plan showed the planned status."""
    attempt = WriteAttempt(activation(PHONE))
    attempt.has_varied = has_varied
    latest = ObservedAccount("1", {} if status is None else {PHONE: Observed(PHONE, status)})
    unchanged = status is Status.INACTIVE and not has_varied
    assert attempt.may_send(latest, 0.0) == unchanged
    assert attempt.is_superseded != unchanged
    if not unchanged:
        expected = Outcome.UNCHANGED if status is Status.ACTIVE else Outcome.CONFLICT
        assert attempt.result(status, None, is_verified=True).outcome is expected


def test_held_write_has_a_reason_and_no_duration() -> None:
    """Once a request was sent, the status of the account counts."""
    attempt = WriteAttempt(Change(PHONE, Action.ACTIVATE, "INACTIVE", "ACTIVE", "listed"))
    attempt.hold_reason = "group support needs 1"
    assert not attempt.may_send(None, 0.0)
    error = NumberError("Held", "group support needs 1")
    held_result = NumberResult(PHONE, Action.ACTIVATE, "ACTIVE", "INACTIVE", "INACTIVE", Outcome.HELD, 0, error, 0)
    assert attempt.result(Status.INACTIVE, None, is_verified=True) == held_result
    attempt.sequence, attempt.start, attempt.end, attempt.is_accepted = 2, 1.0, 3.5, True
    sent_result = NumberResult(PHONE, Action.ACTIVATE, "ACTIVE", "INACTIVE", "ACTIVE", Outcome.CHANGED, 2, None, 2500)
    assert attempt.result(Status.ACTIVE, None, is_verified=True) == sent_result


@pytest.mark.parametrize(("now", "is_sent"), [(99.9, True), (100.0, False)])
def test_write_is_sent_until_its_desired_status_ends(now: float, *, is_sent: bool) -> None:
    until = "1970-01-01T00:01:40Z"
    change = Change(PHONE, Action.ACTIVATE, "INACTIVE", "ACTIVE", "listed", until=until)
    attempt = WriteAttempt(change)
    assert attempt.may_send(None, now) is is_sent
    error = NumberError("Conflict", f"the desired status ACTIVE ended at {until}: plan again")
    expected = (Outcome.NOT_ATTEMPTED, None) if is_sent else (Outcome.CONFLICT, error)
    result = attempt.result(Status.INACTIVE, None, is_verified=True)
    assert (result.outcome, result.error) == expected


_REMOVED = NumberError("Conflict", "the number was removed outside this run")
_BLOCKED = NumberError("Conflict", "the number was changed outside this run: it is now BLOCKED")
_UNREAD = NumberError("Unproven", "the account could not be read after the write; plan again")
_NOT_SHOWN = NumberError("Unproven", "the API accepted the write, but the number is still INACTIVE; plan again")
_STOP = Interrupted("the run was stopped")


@pytest.mark.parametrize(
    ("flags", "after", "outcome", "error"),
    [
        ({"is_superseded": True}, Status.ACTIVE, Outcome.UNCHANGED, None),
        ({"is_superseded": True}, None, Outcome.CONFLICT, _REMOVED),
        ({"is_superseded": True}, Status.BLOCKED, Outcome.CONFLICT, _BLOCKED),
        ({"is_superseded": True, "is_ambiguous": True, "sequence": 1}, Status.ACTIVE, Outcome.CHANGED, None),
        ({}, Status.INACTIVE, Outcome.NOT_ATTEMPTED, _STOP.number_error),
        ({"error": ServerError("down")}, Status.INACTIVE, Outcome.NOT_ATTEMPTED, NumberError("ServerError", "down")),
        ({"sequence": 1, "is_accepted": True}, Status.ACTIVE, Outcome.CHANGED, None),
        ({"sequence": 1, "is_ambiguous": True}, Status.ACTIVE, Outcome.CHANGED, None),
        ({"sequence": 1, "error": RateLimited("later")}, Status.ACTIVE, Outcome.UNCHANGED, None),
        ({"sequence": 1, "is_accepted": True}, Status.INACTIVE, Outcome.UNVERIFIED, _NOT_SHOWN),
        ({"sequence": 1, "is_accepted": True}, Status.BLOCKED, Outcome.CONFLICT, _BLOCKED),
        ({"sequence": 1, "is_ambiguous": True, "has_conflict": True}, None, Outcome.CONFLICT, _REMOVED),
        (
            {"sequence": 1, "error": NotWritable("no", http_status=400)},
            Status.INACTIVE,
            Outcome.BLOCKED,
            NumberError("NotWritable", "no", 400),
        ),
        (
            {"sequence": 1, "error": NotRegistered("no")},
            Status.INACTIVE,
            Outcome.FAILED,
            NumberError("NotRegistered", "no"),
        ),
        (
            {"sequence": 1, "error": ServerError("down")},
            Status.INACTIVE,
            Outcome.FAILED,
            NumberError("ServerError", "down"),
        ),
        (
            {"sequence": 1, "error": _STOP},
            Status.INACTIVE,
            Outcome.FAILED,
            NumberError("Interrupted", "1 attempt failed before the run was stopped: the run was stopped"),
        ),
        (
            {"sequence": 2, "error": DeadlineExceeded("too late")},
            Status.INACTIVE,
            Outcome.FAILED,
            NumberError("DeadlineExceeded", "2 attempts failed before the run was stopped: too late"),
        ),
    ],
)
def test_outcome_follows_from_the_requests_and_the_verification_read(
    flags: dict[str, Any], after: Status | None, outcome: Outcome, error: NumberError | None
) -> None:
    attempt = WriteAttempt(activation(PHONE))
    for name, value in flags.items():
        setattr(attempt, name, value)
    result = attempt.result(after, _STOP, is_verified=True)
    assert (result.outcome, result.error) == (outcome, error)
    assert result.after == after


@pytest.mark.parametrize(
    ("flags", "outcome", "error"),
    [
        ({"is_accepted": True}, Outcome.UNVERIFIED, _UNREAD),
        ({"is_ambiguous": True, "error": Ambiguous("lost")}, Outcome.UNVERIFIED, NumberError("Ambiguous", "lost")),
        ({"is_ambiguous": True, "error": NotRegistered("no")}, Outcome.UNVERIFIED, NumberError("NotRegistered", "no")),
        ({"error": NotWritable("no")}, Outcome.BLOCKED, NumberError("NotWritable", "no")),
        ({"error": ServerError("down")}, Outcome.FAILED, NumberError("ServerError", "down")),
    ],
)
def test_write_without_verification_read_is_never_changed(
    flags: dict[str, Any], outcome: Outcome, error: NumberError
) -> None:
    attempt = WriteAttempt(activation(PHONE))
    for name, value in {"sequence": 1, **flags}.items():
        setattr(attempt, name, value)
    result = attempt.result(None, None, is_verified=False)
    assert (result.outcome, result.error, result.after) == (outcome, error, None)


def test_write_that_only_one_read_showed_is_unverified() -> None:
    """The read after its lost response showed the desired status, the verification read the old one."""
    attempt = WriteAttempt(activation(PHONE))
    attempt.sequence, attempt.is_ambiguous = 1, True
    assert not attempt.resolve(Status.ACTIVE)
    result = attempt.result(Status.INACTIVE, None, is_verified=True)
    assert (result.outcome, result.error) == (Outcome.UNVERIFIED, _NOT_SHOWN)


@pytest.mark.parametrize(
    ("latest", "after", "outcome", "error"),
    [
        (Status.ACTIVE, Status.ACTIVE, Outcome.CHANGED, None),
        (Status.BLOCKED, Status.BLOCKED, Outcome.CONFLICT, _BLOCKED),
        (
            Status.BLOCKED,
            Status.ACTIVE,
            Outcome.CONFLICT,
            NumberError("Conflict", "the number was changed outside this run: it is now ACTIVE"),
        ),
    ],
)
def test_number_that_others_changed_after_an_ambiguous_request_is_a_conflict(
    latest: Status, after: Status, outcome: Outcome, error: NumberError | None
) -> None:
    """The request may have set ACTIVE, but not after a read that showed another status."""
    attempt = WriteAttempt(activation(PHONE))
    attempt.sequence, attempt.is_ambiguous = 1, True
    assert not attempt.may_send(ObservedAccount("1", {PHONE: Observed(PHONE, latest)}), 0.0)
    result = attempt.result(after, None, is_verified=True)
    assert (result.outcome, result.error, result.after) == (outcome, error, after)


def test_superseded_write_without_a_verification_read_has_the_latest_status() -> None:
    attempt = WriteAttempt(activation(PHONE))
    assert not attempt.may_send(ObservedAccount("1", {PHONE: Observed(PHONE, Status.BLOCKED)}), 0.0)
    result = attempt.result(None, None, is_verified=False)
    assert (result.outcome, result.error, result.after) == (Outcome.CONFLICT, _BLOCKED, Status.BLOCKED)


def test_write_that_was_not_sent_has_its_old_status_and_no_duration() -> None:
    attempt = WriteAttempt(activation(PHONE))
    attempt.end = 5.0
    result = attempt.result(None, _STOP, is_verified=False)
    assert (result.outcome, result.after, result.duration_ms) == (Outcome.NOT_ATTEMPTED, "INACTIVE", 0)
