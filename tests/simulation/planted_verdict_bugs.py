"""Bugs planted where a run determines outcomes, compares reads, and selects numbers."""

from collections.abc import Callable, Iterable
from typing import Any

import pytest
from msgspec import structs

from worker.model.accounts import ObservedAccount
from worker.model.errors import ConnectionFailed, NumberRejected
from worker.model.results import Outcome
from worker.plan import build
from worker.plan.build import Terms
from worker.plan.policy import Selection
from worker.reconcile.attempt import WriteAttempt
from worker.reconcile.executor import Executor
from worker.reconcile.shared_reads import SharedReads

__all__ = [
    "compare_with_the_first_read",
    "forget_a_timeout_after_a_refused_connection",
    "forget_a_timeout_without_verification",
    "forget_external_changes_during_a_wait",
    "report_drift_of_excluded_numbers",
    "report_unselected_numbers",
    "trust_a_rejection_of_a_second_request",
]

Patch = pytest.MonkeyPatch


def _forget_timeouts(patch: Patch, condition: Callable[[WriteAttempt, bool], bool]) -> None:
    real = WriteAttempt._judge

    def judge(attempt: WriteAttempt, *given: Any, is_verified: bool) -> Any:
        if condition(attempt, is_verified):
            attempt.is_ambiguous = False
        return real(attempt, *given, is_verified=is_verified)

    patch.setattr(WriteAttempt, "_judge", judge)


def forget_a_timeout_after_a_refused_connection(patch: Patch) -> None:
    """A timed-out write that arrived late is reported as unchanged, because the second connection was refused."""
    _forget_timeouts(patch, lambda attempt, _: isinstance(attempt.error, ConnectionFailed))


def forget_a_timeout_without_verification(patch: Patch) -> None:
    """A timed-out write is reported as failed, because the verification read failed."""
    _forget_timeouts(patch, lambda _, is_verified: not is_verified)


def trust_a_rejection_of_a_second_request(patch: Patch) -> None:
    """A timed-out write that arrived late is reported as failed, because its second request was rejected."""
    real = WriteAttempt._judge

    def judge(attempt: WriteAttempt, *given: Any, **more: Any) -> Any:
        outcome, error = real(attempt, *given, **more)
        if isinstance(attempt.error, NumberRejected) and attempt.is_ambiguous:
            return Outcome.FAILED, attempt.error.number_error
        return outcome, error

    patch.setattr(WriteAttempt, "_judge", judge)


def compare_with_the_first_read(patch: Patch) -> None:
    """A waiting write is compared with a stale read, and overrides what later reads showed."""
    real = SharedReads._after
    firsts: dict[SharedReads, ObservedAccount] = {}

    async def after(self: SharedReads, *given: Any) -> ObservedAccount:
        account = await real(self, *given)
        self.latest = firsts.setdefault(self, account)
        return account

    patch.setattr(SharedReads, "_after", after)
    patch.setattr(Executor, "_on_read", lambda *_: None)


def forget_external_changes_during_a_wait(patch: Patch) -> None:
    """A number that others changed and reverted while its write waited is written."""
    real = Executor._on_read

    def on_read(self: Executor, account: ObservedAccount) -> None:
        varied = {attempt for attempt in self._attempts if attempt.has_varied}
        real(self, account)
        for attempt in self._attempts:
            attempt.has_varied &= attempt in varied or attempt.sequence > 0

    patch.setattr(Executor, "_on_read", on_read)


def report_drift_of_excluded_numbers(patch: Patch) -> None:
    """`drift` ignores --exclude when it removes changes of the file."""

    def without(self: Terms, phones: Iterable[str]) -> Terms:
        return structs.replace(self, selection=Selection(self.selection.only, frozenset(phones)), drift=False)

    patch.setattr(Terms, "without", without)


def report_unselected_numbers(patch: Patch) -> None:
    """An unreadable account reports every number of its file."""
    patch.setattr(build, "select", lambda numbers, _: numbers)
