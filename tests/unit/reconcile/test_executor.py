"""Writes of an account: each number has one correct outcome, whatever the network and other operators do."""

import asyncio
from collections.abc import Sequence

import pytest
from msgspec import structs

from tests.support.execution import activation, deactivation, execute_changes
from tests.support.model_account import ModelAccount
from worker.ledger import NullLedger
from worker.model.accounts import Group, Observed, ObservedAccount, Status
from worker.model.errors import (
    AccountRejected,
    Ambiguous,
    ApiError,
    ConnectionFailed,
    DeadlineExceeded,
    Interrupted,
    LedgerError,
    NotRegistered,
    NotWritable,
    ServerError,
    WorkerError,
)
from worker.model.results import Outcome

A, B, C, D = "0100001", "0100002", "0100003", "0100004"


def test_confirmed_write_is_changed() -> None:
    """The write takes one attempt and one verification read, which shows the desired status."""
    account = ModelAccount(n0100001="INACTIVE")
    results, writes = execute_changes(account, activation(A))
    result = results[A]
    assert (result.outcome, result.before, result.after, result.attempts) == (Outcome.CHANGED, "INACTIVE", "ACTIVE", 1)
    assert (account.reads, writes.stop_reason) == (2, None)


def test_verification_read_is_skipped_without_writes() -> None:
    account = ModelAccount(n0100001="INACTIVE")
    results, _ = execute_changes(account)
    assert (results, account.reads) == ({}, 1)


def test_activations_are_written_before_deactivations() -> None:
    account = ModelAccount(n0100001="ACTIVE", n0100002="INACTIVE", n0100003="INACTIVE")
    execute_changes(account, deactivation(A), activation(B), activation(C))
    assert [phone for phone, _ in account.written] == [B, C, A]


def test_accepted_write_without_effect_is_unverified() -> None:
    account = ModelAccount(n0100001="INACTIVE")
    account.on_read = lambda read: account.statuses.update({A: Status.INACTIVE}) if read == 2 else None
    results, _ = execute_changes(account, activation(A))
    assert results[A].outcome is Outcome.UNVERIFIED
    assert results[A].error is not None


def test_accepted_write_without_a_verification_read_is_unverified() -> None:
    account = ModelAccount(n0100001="INACTIVE")
    account.failing_reads = {2: ServerError("down")}
    results, _ = execute_changes(account, activation(A))
    assert (results[A].outcome, results[A].after) == (Outcome.UNVERIFIED, None)


def test_lost_response_to_an_effective_write_is_not_retried() -> None:
    """A read shows the new status, so one request is enough."""
    account = ModelAccount(n0100001="INACTIVE")
    account.faults = {A: [(Ambiguous("reset"), True)]}
    results, _ = execute_changes(account, activation(A))
    assert (results[A].outcome, len(account.written)) == (Outcome.CHANGED, 1)


def test_lost_response_to_an_ineffective_write_is_retried() -> None:
    """A read shows the old status, so the write is sent once more."""
    account = ModelAccount(n0100001="INACTIVE")
    account.faults = {A: [(Ambiguous("timeout"), False)]}
    results, _ = execute_changes(account, activation(A))
    assert (results[A].outcome, results[A].attempts) == (Outcome.CHANGED, 2)


def test_external_change_during_an_ambiguous_write_is_conflict() -> None:
    """An ambiguous write whose number has a third status is reported and not overwritten."""
    account = ModelAccount(n0100001="INACTIVE")
    account.faults = {A: [(Ambiguous("timeout"), False)]}
    account.on_read = lambda read: account.statuses.update({A: Status.BLOCKED}) if read == 2 else None
    results, _ = execute_changes(account, activation(A))
    assert (results[A].outcome, results[A].after, results[A].attempts) == (Outcome.CONFLICT, "BLOCKED", 1)


def test_external_revert_of_an_ambiguous_write_is_conflict() -> None:
    """A shared read showed the new status before the response was lost. The old status is then an external change."""
    account = ModelAccount(**{f"n{phone}": "INACTIVE" for phone in (A, B, C, D)})
    account.faults = {B: [(Ambiguous("reset"), False)], D: [(Ambiguous("reset"), False)]}
    external_statuses = {2: Status.ACTIVE, 3: Status.INACTIVE}
    account.on_read = lambda read: account.statuses.update(
        {D: external_statuses[read]} if read in external_statuses else {}
    )
    results, _ = execute_changes(account, activation(A), activation(B), activation(C), activation(D), concurrency=2)
    assert {results[phone].outcome for phone in (A, B, C)} == {Outcome.CHANGED}
    assert (results[D].outcome, results[D].after, results[D].attempts) == (Outcome.CONFLICT, "INACTIVE", 1)


@pytest.mark.parametrize(("shown", "outcome"), [("ACTIVE", Outcome.UNCHANGED), ("BLOCKED", Outcome.CONFLICT)])
def test_external_change_in_the_read_that_ended_an_outage_is_not_overwritten(shown: str, outcome: Outcome) -> None:
    """The probe is a read like any other: a number that it shows changed is not written, even if it changes back."""
    account = ModelAccount(**{f"n{phone}": "INACTIVE" for phone in (A, B)})

    def end_outage(phone: str) -> None:
        account.statuses[B] = Status(shown)
        numbers = {phone: Status.INACTIVE, B: account.statuses[B]}
        account.probe = ObservedAccount("1", {phone: Observed(phone, status) for phone, status in numbers.items()})

    account.on_write = end_outage
    results, _ = execute_changes(account, activation(A), activation(B))
    assert [phone for phone, _ in account.written] == [A]
    assert (results[A].outcome, results[B].outcome, results[B].attempts) == (Outcome.CHANGED, outcome, 0)


def test_probe_from_before_the_writes_does_not_affect_them() -> None:
    """The plan was built from a later read."""
    account = ModelAccount(n0100001="INACTIVE")
    account.probe = ObservedAccount("1", {A: Observed(A, Status.ACTIVE)})
    results, _ = execute_changes(account, activation(A))
    assert (results[A].outcome, results[A].attempts) == (Outcome.CHANGED, 1)


def test_removed_number_is_conflict() -> None:
    """A number that is missing in the verification read was removed externally."""
    account = ModelAccount(n0100001="INACTIVE")

    def remove_number(read: int) -> None:
        if read == 2:
            del account.statuses[A]

    account.on_read = remove_number
    results, _ = execute_changes(account, activation(A))
    assert results[A].outcome is Outcome.CONFLICT


def test_simultaneous_ambiguous_writes_share_one_read() -> None:
    """Twenty lost responses cost one read, not twenty."""
    numbers = {f"01000{index:02}": "INACTIVE" for index in range(21)}
    account = ModelAccount(**{f"n{phone}": status for phone, status in numbers.items()})
    account.faults = {phone: [(Ambiguous("reset"), False)] for phone in list(numbers)[1:]}
    results, _ = execute_changes(account, *map(activation, numbers), concurrency=20)
    assert {result.outcome for result in results.values()} == {Outcome.CHANGED}
    assert account.reads == 3


@pytest.mark.parametrize(("error", "outcome"), [(NotRegistered, Outcome.FAILED), (NotWritable, Outcome.BLOCKED)])
def test_rejected_number_does_not_stop_the_others(error: type[NotRegistered], outcome: Outcome) -> None:
    account = ModelAccount(n0100001="INACTIVE", n0100002="INACTIVE")
    account.faults = {A: [(error("no", http_status=400), False)]}
    results, writes = execute_changes(account, activation(A), activation(B))
    assert (results[A].outcome, results[B].outcome, writes.stop_reason) == (outcome, Outcome.CHANGED, None)
    failure = results[A].error
    assert failure is not None
    assert failure.http_status == 400


def test_credentials_without_write_permission_cost_one_request() -> None:
    """The first write is sent alone. Its rejection stops the account before the second write."""
    account = ModelAccount(n0100001="INACTIVE", n0100002="INACTIVE", n0100003="ACTIVE")
    account.faults = {A: [(AccountRejected("forbidden", http_status=403), False)]}
    results, writes = execute_changes(account, activation(A), activation(B), deactivation(C))
    assert len(account.written) == 1
    assert results[A].outcome is Outcome.FAILED
    assert {results[B].outcome, results[C].outcome} == {Outcome.NOT_ATTEMPTED}
    assert isinstance(writes.stop_reason, AccountRejected)


@pytest.mark.parametrize("failure", [Ambiguous("timeout"), ServerError("later", http_status=500)])
def test_refusal_of_another_number_leaves_a_sent_write_unverified(failure: ApiError) -> None:
    """The refusal arrives while the write is in flight, and no read shows whether the write took effect."""
    account = ModelAccount(n0100001="INACTIVE", n0100002="INACTIVE", n0100003="INACTIVE")
    account.faults = {B: [(AccountRejected("moved", http_status=307), False)], C: [(failure, True)]}
    account.failing_reads = {2: ServerError("down")}
    results, _ = execute_changes(account, activation(A), activation(B), activation(C), concurrency=2)
    assert (results[B].outcome, results[C].outcome) == (Outcome.FAILED, Outcome.UNVERIFIED)


def test_unsent_write_is_failed() -> None:
    """Attempts that did not reach the API leave the number failed, with their error."""
    account = ModelAccount(n0100001="INACTIVE")
    account.faults = {A: [(ConnectionFailed("refused"), False)]}
    results, _ = execute_changes(account, activation(A))
    assert (results[A].outcome, results[A].after) == (Outcome.FAILED, "INACTIVE")


def test_unsent_write_is_failed_even_if_the_verification_read_fails() -> None:
    account = ModelAccount(n0100001="INACTIVE")
    account.faults = {A: [(ConnectionFailed("refused"), False)]}
    account.failing_reads = {2: ServerError("down")}
    results, _ = execute_changes(account, activation(A))
    assert results[A].outcome is Outcome.FAILED


def test_number_set_by_others_is_unchanged() -> None:
    """Each attempt failed before it was sent, so someone else set the desired status."""
    account = ModelAccount(n0100001="INACTIVE")
    account.faults = {A: [(ConnectionFailed("refused"), False)]}
    account.on_read = lambda read: account.statuses.update({A: Status.ACTIVE}) if read == 2 else None
    results, _ = execute_changes(account, activation(A))
    assert results[A].outcome is Outcome.UNCHANGED


def test_verification_read_decides_the_last_ambiguous_attempt() -> None:
    """Five responses are lost, and the last write took effect."""
    account = ModelAccount(n0100001="INACTIVE")
    account.faults[A] = [*[(Ambiguous("reset"), False)] * 4, (Ambiguous("reset"), True)]
    results, _ = execute_changes(account, activation(A))
    assert (results[A].outcome, results[A].attempts) == (Outcome.CHANGED, 5)


def test_ambiguous_write_is_not_retried_without_a_read() -> None:
    """The write is not sent again, and stays unverified."""
    account = ModelAccount(n0100001="INACTIVE")
    account.faults = {A: [(Ambiguous("reset"), True)]}
    account.failing_reads = {2: ServerError("down"), 3: ServerError("down")}
    results, _ = execute_changes(account, activation(A))
    assert (results[A].outcome, results[A].attempts) == (Outcome.UNVERIFIED, 1)


def test_read_of_another_account_stops_the_account() -> None:
    """If the read after an ambiguous write has another account id, nothing more is written."""
    account = ModelAccount(n0100001="INACTIVE", n0100002="INACTIVE")
    account.faults = {A: [(Ambiguous("reset"), False)]}
    account.failing_reads = {2: AccountRejected("another account")}
    results, writes = execute_changes(account, activation(A), activation(B))
    assert isinstance(writes.stop_reason, AccountRejected)
    assert results[B].outcome is Outcome.NOT_ATTEMPTED


def test_failed_activations_hold_dependent_deactivations() -> None:
    """The last ACTIVE number is not deactivated if its successor was not activated."""
    account = ModelAccount(n0100001="ACTIVE", n0100002="INACTIVE")
    account.faults = {B: [(NotRegistered("no"), False)]}
    results, writes = execute_changes(account, deactivation(A), activation(B), min_active=1)
    assert (results[A].outcome, account.statuses[A]) == (Outcome.NOT_ATTEMPTED, "ACTIVE")
    assert writes.stop_reason is not None
    error = results[A].error
    assert error is not None
    assert error.code == "ActivationsFailed"


def test_activations_are_verified_before_dependent_deactivations() -> None:
    """An accepted activation that a read does not show holds the deactivation of the last ACTIVE number."""
    account = ModelAccount(n0100001="ACTIVE", n0100002="INACTIVE")
    account.on_read = lambda read: account.statuses.update({B: Status.INACTIVE}) if read >= 2 else None
    results, _ = execute_changes(account, deactivation(A), activation(B), min_active=1)
    assert (results[A].outcome, results[B].outcome) == (Outcome.NOT_ATTEMPTED, Outcome.UNVERIFIED)


def test_swap_proceeds_after_its_activation_is_verified() -> None:
    account = ModelAccount(n0100001="ACTIVE", n0100002="INACTIVE")
    results, _ = execute_changes(account, deactivation(A), activation(B), min_active=1)
    assert {result.outcome for result in results.values()} == {Outcome.CHANGED}


@pytest.mark.parametrize("error", [ServerError("down"), AccountRejected("revoked")])
def test_unverifiable_activations_hold_dependent_deactivations(error: ServerError | AccountRejected) -> None:
    """Without a read nothing is confirmed, so the last ACTIVE number stays."""
    account = ModelAccount(n0100001="ACTIVE", n0100002="INACTIVE")
    account.failing_reads = {2: error}
    results, _ = execute_changes(account, deactivation(A), activation(B), min_active=1)
    assert results[A].outcome is Outcome.NOT_ATTEMPTED
    assert account.statuses[A] is Status.ACTIVE


def test_deadline_leaves_remaining_numbers_not_attempted() -> None:
    """Writes that were sent before the deadline are verified."""
    numbers = [f"01000{index:02}" for index in range(10)]
    account = ModelAccount(**{f"n{phone}": "INACTIVE" for phone in numbers})
    results, writes = execute_changes(account, *map(activation, numbers), deadline=2.5, concurrency=1)
    outcomes = [results[phone].outcome for phone in numbers]
    assert outcomes == [Outcome.CHANGED] * 3 + [Outcome.NOT_ATTEMPTED] * 7
    assert isinstance(writes.stop_reason, DeadlineExceeded)


def test_interrupted_run_reports_an_outcome_for_each_number() -> None:
    """Writes in flight are verified. The other numbers are not attempted, each with the reason."""
    account = ModelAccount(n0100001="INACTIVE", n0100002="INACTIVE")
    account.on_write = lambda _: account.halt(Interrupted("SIGINT"))
    results, writes = execute_changes(account, activation(A), activation(B))
    assert (results[A].outcome, results[B].outcome) == (Outcome.CHANGED, Outcome.NOT_ATTEMPTED)
    error = results[B].error
    assert error is not None
    assert error.code == "Interrupted"
    assert isinstance(writes.stop_reason, Interrupted)


def test_verification_read_of_a_stopped_run_has_a_timeout() -> None:
    """Service managers kill a process that does not exit. A read that hangs is abandoned."""

    class HangingAccount(ModelAccount):
        given_up = 0.0

        async def observe(self, *, is_verification: bool = False) -> ObservedAccount:
            if is_verification:
                try:
                    await asyncio.sleep(10_000)
                finally:
                    self.given_up = asyncio.get_running_loop().time()
            return await super().observe(is_verification=is_verification)

    account = HangingAccount(n0100001="INACTIVE", n0100002="INACTIVE")
    account.on_write = lambda _: account.halt(Interrupted("SIGTERM"))
    results, _ = execute_changes(account, activation(A), activation(B))
    assert results[A].outcome is Outcome.UNVERIFIED
    assert 20 < account.given_up < 30


def test_interruption_during_activations_is_the_reason_for_deactivations() -> None:
    """Deactivations are not attempted because of the stop, not held because of activations."""
    account = ModelAccount(n0100001="ACTIVE", n0100002="INACTIVE", n0100003="INACTIVE")
    account.on_write = lambda _: account.halt(Interrupted("SIGINT"))
    results, writes = execute_changes(account, activation(B), activation(C), deactivation(A), min_active=1)
    assert isinstance(writes.stop_reason, Interrupted)
    error = results[A].error
    assert error is not None
    assert error.code == "Interrupted"
    assert account.reads == 2, "the plan's read and the verification"


def test_one_number_is_never_written_twice_concurrently() -> None:
    """Each number has at most one request in flight."""
    numbers = [f"01000{index:02}" for index in range(30)]
    account = ModelAccount(**{f"n{phone}": "INACTIVE" for phone in numbers})
    account.faults = {phone: [(Ambiguous("reset"), bool(index % 2))] for index, phone in enumerate(numbers)}
    results, _ = execute_changes(account, *map(activation, numbers), concurrency=10)
    assert account.max_concurrent_writes == 1
    assert {result.outcome for result in results.values()} == {Outcome.CHANGED}


@pytest.mark.parametrize("error", [Interrupted("stopped"), AccountRejected("no", http_status=401)])
def test_effective_write_before_a_stop_is_changed(error: WorkerError) -> None:
    """The response is lost right before the stop, and the verification read shows the new status."""
    account = ModelAccount(n0100001="INACTIVE", n0100002="INACTIVE")
    account.faults = {B: [(Ambiguous("timeout"), True)]}
    account.on_write = lambda phone: account.halt(error) if phone == B else None
    results, writes = execute_changes(account, activation(A), activation(B))
    assert (results[B].outcome, results[B].after) == (Outcome.CHANGED, "ACTIVE")
    assert writes.stop_reason is error


@pytest.mark.parametrize("error", [NotWritable("no", http_status=409), AccountRejected("other account")])
def test_rejected_write_that_took_effect_is_changed(error: ApiError) -> None:
    """The verification read overrides the response."""
    account = ModelAccount(n0100001="INACTIVE")
    account.faults = {A: [(error, True)]}
    results, _ = execute_changes(account, activation(A))
    assert (results[A].outcome, results[A].after, results[A].error) == (Outcome.CHANGED, "ACTIVE", None)


def test_error_of_a_stopped_write_has_the_attempts() -> None:
    """A number whose attempts failed before the stop is failed, with the count of attempts."""
    account = ModelAccount(n0100001="INACTIVE", n0100002="INACTIVE")
    account.faults = {B: [(Ambiguous("timeout"), False)]}
    account.on_write = lambda phone: account.halt(Interrupted("stopped by SIGINT")) if phone == B else None
    results, _ = execute_changes(account, activation(A), activation(B))
    error = results[B].error
    assert results[B].outcome is Outcome.FAILED
    assert error is not None
    assert error.message == "1 attempt failed before the run was stopped: stopped by SIGINT"


@pytest.mark.parametrize(
    ("status", "outcome"), [("INACTIVE", Outcome.UNCHANGED), ("BLOCKED", Outcome.CONFLICT), (None, Outcome.CONFLICT)]
)
def test_externally_changed_number_is_not_written(status: str | None, outcome: Outcome) -> None:
    """A read for another number shows the change. The pending number is not written."""
    account = ModelAccount(n0100001="INACTIVE", n0100002="ACTIVE")
    account.faults[A] = [(Ambiguous("?"), True)]

    def change_externally(read: int) -> None:
        if read == 2 and status is None:
            del account.statuses[B]
        elif read == 2 and status is not None:
            account.statuses[B] = Status(status)

    account.on_read = change_externally
    results, _ = execute_changes(account, activation(A), deactivation(B))
    assert [phone for phone, _ in account.written] == [A]
    assert (results[A].outcome, results[B].outcome, results[B].after) == (Outcome.CHANGED, outcome, status)
    assert results[B].attempts == 0


def test_number_changed_and_reverted_before_its_write_is_conflict() -> None:
    """A read shows the external change; the pending write does not overwrite it."""
    account = ModelAccount(n0100001="INACTIVE", n0100002="ACTIVE")
    account.faults[A] = [(Ambiguous("?"), False), (Ambiguous("?"), True)]
    statuses = {2: Status.INACTIVE, 3: Status.ACTIVE}
    account.on_read = lambda read: account.statuses.update({B: statuses[read]}) if read in statuses else None
    results, _ = execute_changes(account, activation(A), deactivation(B))
    assert {phone for phone, _ in account.written} == {A}
    assert (results[B].outcome, results[B].after, results[B].attempts) == (Outcome.CONFLICT, "ACTIVE", 0)


def test_rejected_write_is_not_retried_after_an_external_change() -> None:
    """A read before the retry shows the desired status: the outcome is unchanged."""
    account = ModelAccount(n0100001="INACTIVE", n0100002="INACTIVE", n0100003="INACTIVE")
    account.faults[B] = [(ServerError("later"), False), (ServerError("later"), False)]
    account.faults[C] = [(Ambiguous("?"), True)]
    account.on_read = lambda read: account.statuses.update({B: Status.ACTIVE}) if read == 2 else None
    results, _ = execute_changes(account, activation(A), activation(B), activation(C))
    assert [phone for phone, _ in account.written].count(B) == 2
    assert (results[B].outcome, results[B].after, results[B].attempts) == (Outcome.UNCHANGED, "ACTIVE", 2)


def test_activation_is_verified_before_the_paired_deactivation() -> None:
    account = ModelAccount(n0100001="ACTIVE", n0100002="INACTIVE")
    results, _ = execute_changes(account, activation(B), deactivation(A), groups=(Group("support", (A, B)),))
    assert account.written == [(B, "ACTIVE"), (A, "INACTIVE")]
    assert account.reads == 3
    assert {result.outcome for result in results.values()} == {Outcome.CHANGED}


def test_failed_activation_holds_the_deactivations_of_its_group() -> None:
    """The reason names the group. Deactivations of other numbers are sent."""
    account = ModelAccount(n0100001="ACTIVE", n0100002="INACTIVE", n0100003="ACTIVE")
    account.faults = {B: [(NotWritable("no", http_status=409), False)]}
    results, writes = execute_changes(
        account, activation(B), deactivation(A), deactivation(C), groups=(Group("support", (A, B)),)
    )
    assert (results[B].outcome, results[C].outcome) == (Outcome.BLOCKED, Outcome.CHANGED)
    assert (results[A].outcome, results[A].attempts, results[A].after) == (Outcome.HELD, 0, "ACTIVE")
    error = results[A].error
    assert error is not None
    assert error.message.startswith("group support would keep 0 ACTIVE numbers")
    assert writes.stop_reason is None


def test_unverified_activation_holds_the_deactivation() -> None:
    """The deactivation is held unless a read shows the activation, even if the activation was accepted."""
    account = ModelAccount(n0100001="ACTIVE", n0100002="INACTIVE")
    account.failing_reads = {2: ServerError("down")}
    results, _ = execute_changes(account, activation(B), deactivation(A), groups=(Group("support", (A, B)),))
    assert (results[B].outcome, results[A].outcome) == (Outcome.CHANGED, Outcome.HELD)
    assert account.statuses[A] is Status.ACTIVE


def test_credentials_rejected_by_the_verification_read_stop_the_account() -> None:
    """Nothing more is sent, and the remaining numbers are not attempted."""
    account = ModelAccount(n0100001="ACTIVE", n0100002="INACTIVE")
    account.failing_reads = {2: AccountRejected("no", http_status=401)}
    results, writes = execute_changes(account, activation(B), deactivation(A), groups=(Group("support", (A, B)),))
    assert results[A].outcome is Outcome.NOT_ATTEMPTED
    assert isinstance(writes.stop_reason, AccountRejected)


def test_inactive_member_in_a_read_holds_its_group() -> None:
    """An operator deactivates one member. The read after an ambiguous write shows it, and the last member is held."""
    account = ModelAccount(**{f"n{phone}": "ACTIVE" for phone in (A, B, C, D)})
    account.faults = {D: [(Ambiguous("reset"), False)]}
    account.on_read = lambda read: account.statuses.update({A: Status.INACTIVE}) if read == 2 else None
    group = Group("support", (A, B, C), 2)
    results, _ = execute_changes(account, deactivation(D), deactivation(C), groups=(group,), concurrency=1)
    assert (results[D].outcome, results[C].outcome) == (Outcome.CHANGED, Outcome.HELD)
    assert account.statuses[C] is Status.ACTIVE


def test_ambiguous_deactivation_is_not_retried_if_its_group_needs_the_number() -> None:
    """The read shows that the write had no effect, and that an operator deactivated the other member."""
    account = ModelAccount(n0100001="ACTIVE", n0100002="ACTIVE")
    account.faults = {A: [(Ambiguous("reset"), False)]}
    account.on_read = lambda read: account.statuses.update({B: Status.INACTIVE}) if read == 2 else None
    results, _ = execute_changes(account, deactivation(A), groups=(Group("support", (A, B)),))
    assert (results[A].outcome, results[A].attempts, results[A].after) == (Outcome.HELD, 1, "ACTIVE")
    assert len(account.written) == 1


def test_early_read_does_not_hold_a_pending_swap() -> None:
    """A read for an ambiguous write happens before the successor is activated. The swap still completes."""
    account = ModelAccount(n0100001="INACTIVE", n0100002="INACTIVE", n0100003="INACTIVE", n0100004="ACTIVE")
    account.faults = {A: [(Ambiguous("reset"), True)]}
    group = Group("pair", (C, D))
    results, _ = execute_changes(
        account, activation(A), activation(B), activation(C), deactivation(D), groups=(group,), concurrency=1
    )
    assert {result.outcome for result in results.values()} == {Outcome.CHANGED}


def test_inactive_successor_in_a_read_holds_its_predecessor() -> None:
    """An operator deactivates the successor while activations are in flight."""
    account = ModelAccount(n0100001="INACTIVE", n0100003="ACTIVE", n0100004="ACTIVE")
    account.faults = {A: [(Ambiguous("reset"), True)]}
    account.on_read = lambda read: account.statuses.update({C: Status.INACTIVE}) if read == 2 else None
    results, _ = execute_changes(account, activation(A), deactivation(D), groups=(Group("pair", (C, D)),))
    assert (results[A].outcome, results[D].outcome) == (Outcome.CHANGED, Outcome.HELD)


def test_expired_change_is_conflict() -> None:
    """A change whose desired status has ended before its write is a conflict. Other changes are written."""
    account = ModelAccount(n0100001="ACTIVE", n0100002="ACTIVE", n0100003="ACTIVE")
    until = "1970-01-01T00:00:10Z"
    changes = (
        deactivation(A),
        structs.replace(deactivation(B), until="1970-01-01T00:01:00Z"),
        structs.replace(deactivation(C), until=until),
    )
    clock = iter([0.0, 9.9, 10.0])
    results, _ = execute_changes(account, *changes, concurrency=1, wall=lambda: next(clock))
    assert (results[A].outcome, results[B].outcome) == (Outcome.CHANGED, Outcome.CHANGED)
    assert (results[C].outcome, results[C].attempts, results[C].after) == (Outcome.CONFLICT, 0, "ACTIVE")
    error = results[C].error
    assert error is not None
    assert error.message == f"the desired status INACTIVE ended at {until}: plan again"
    assert account.statuses[C] is Status.ACTIVE


@pytest.mark.parametrize(
    ("deadline", "code", "last"),
    [(900.0, "AccountRejected", Outcome.UNVERIFIED), (1.5, "DeadlineExceeded", Outcome.NOT_ATTEMPTED)],
)
def test_rejected_verification_read_is_the_reason_of_the_account_unless_it_was_stopped_before(
    deadline: float, code: str, last: Outcome
) -> None:
    account = ModelAccount(n0100001="INACTIVE", n0100002="INACTIVE", n0100003="INACTIVE")
    account.failing_reads = {2: AccountRejected("no", http_status=401)}
    results, writes = execute_changes(account, *map(activation, (A, B, C)), deadline=deadline, concurrency=1)
    assert [results[phone].outcome for phone in (A, B, C)] == [Outcome.UNVERIFIED, Outcome.UNVERIFIED, last]
    assert writes.stop_reason is not None
    assert writes.stop_reason.code == code


class _JournalOfIntents(NullLedger):
    """A journal that keeps the intents of one account, up to a limit."""

    def __init__(self, limit: int = 100) -> None:
        super().__init__()
        self.intents: list[tuple[str, int, Status]] = []
        self.limit = limit

    async def intend(self, requests: Sequence[tuple[str, int, Status]]) -> None:
        await asyncio.sleep(0)
        if len(self.intents) + len(requests) > self.limit:
            raise LedgerError("disk full")
        self.intents += requests


def test_intent_of_each_request_is_recorded_before_it_is_sent() -> None:
    """Intents of first requests are recorded together, those of retries one by one."""
    phones = [f"01000{index:02}" for index in range(20)]
    account, journal = ModelAccount(**{f"n{phone}": "INACTIVE" for phone in phones}), _JournalOfIntents()
    account.faults = {phone: [(ServerError("later"), False), (Ambiguous("reset"), False)] for phone in phones[::3]}
    unrecorded = []

    def check_intents(phone: str) -> None:
        count = [sent for sent, _ in account.written].count(phone)
        if journal.intents.count((phone, count, Status.ACTIVE)) != 1:
            unrecorded.append((phone, count))

    account.on_write = check_intents
    results, _ = execute_changes(account, *map(activation, phones), journal=journal, concurrency=2)
    assert unrecorded == []
    assert [results[phone].attempts for phone in phones] == [1 if index % 3 else 3 for index in range(20)]
    assert len(journal.intents) == len(account.written)


def test_failed_ledger_stops_the_account_before_the_next_request() -> None:
    """The intents of the first write and of one block are recorded; no other write is sent."""
    phones = [f"01000{index:02}" for index in range(40)]
    account, journal = ModelAccount(**{f"n{phone}": "INACTIVE" for phone in phones}), _JournalOfIntents(9)
    results, writes = execute_changes(account, *map(activation, phones), journal=journal, concurrency=1)
    assert isinstance(writes.stop_reason, LedgerError)
    changed = [phone for phone, _ in account.written]
    assert changed == phones[: len(changed)]
    assert 1 <= len(changed) <= 9
    expected = [Outcome.CHANGED if phone in changed else Outcome.NOT_ATTEMPTED for phone in phones]
    assert [results[phone].outcome for phone in phones] == expected


def test_request_that_is_not_sent_gives_its_slot_back() -> None:
    """Whether its number was changed externally, its time has passed, its group needs it, or the ledger failed."""
    account = ModelAccount(**{f"n{phone}": "ACTIVE" for phone in (A, B, C, D)})
    account.faults = {A: [(Ambiguous("reset"), False)]}
    account.on_read = lambda read: account.statuses.update({B: Status.BLOCKED}) if read == 2 else None
    expired = structs.replace(deactivation(C), until="1969-12-31T00:00:00Z")
    groups = (Group("support", (B, D)),)
    results, _ = execute_changes(account, deactivation(A), deactivation(B), expired, deactivation(D), groups=groups)
    assert [results[phone].outcome for phone in (A, B, C, D)] == [
        Outcome.CHANGED,
        *(Outcome.CONFLICT, Outcome.CONFLICT),
        Outcome.HELD,
    ]
    assert account.slots == len(account.written) == 2
    account = ModelAccount(n0100001="INACTIVE")
    execute_changes(account, activation(A), journal=_JournalOfIntents(0))
    assert (account.slots, account.written) == (0, [])


@pytest.mark.parametrize("inactive", [A, None])
def test_number_that_a_crashed_run_may_deactivate_does_not_count_for_its_group(inactive: str | None) -> None:
    """The activation fails, so the deactivation depends on the other member."""
    account = ModelAccount(n0100001="ACTIVE", n0100002="ACTIVE", n0100003="INACTIVE")
    account.faults = {C: [(NotWritable("no"), False)]}
    groups, possibly_inactive = (Group("support", (A, B, C)),), frozenset({inactive} if inactive else ())
    results, _ = execute_changes(
        account, activation(C), deactivation(B), groups=groups, possibly_inactive=possibly_inactive
    )
    assert results[B].outcome is (Outcome.HELD if inactive else Outcome.CHANGED)


def test_sent_deactivation_counts_for_its_group_before_a_read_shows_it() -> None:
    """The read after an ambiguous write is older than the first write, and shows that an operator changed C."""
    account = ModelAccount(n0100001="ACTIVE", n0100002="ACTIVE", n0100003="ACTIVE")
    account.faults = {B: [(Ambiguous("reset"), False)]}
    account.on_read = lambda read: (
        account.statuses.update({A: Status.ACTIVE, C: Status.INACTIVE}) if read == 2 else None
    )
    results, _ = execute_changes(account, deactivation(A), deactivation(B), groups=(Group("support", (A, B, C)),))
    assert account.written == [(A, "INACTIVE"), (B, "INACTIVE")]
    assert results[B].outcome is Outcome.HELD


def test_request_in_flight_takes_precedence_over_one_that_waits() -> None:
    """A group can spare one of two members. One was sent and may take effect, so the other one is held."""

    class _SlowSecondSlot(ModelAccount):
        async def acquire(self) -> None:
            await super().acquire()
            if self.slots == 2:
                await asyncio.sleep(5)

    account = _SlowSecondSlot(n0100001="ACTIVE", n0100002="ACTIVE", n0100003="ACTIVE", n0100004="ACTIVE")
    account.faults = {C: [(Ambiguous("reset"), False)]}
    account.on_read = lambda read: account.statuses.update({D: Status.INACTIVE}) if read == 2 else None
    results, _ = execute_changes(account, *map(deactivation, (A, B, C)), groups=(Group("support", (B, C, D)),))
    assert [results[phone].outcome for phone in (A, B, C)] == [Outcome.CHANGED, Outcome.HELD, Outcome.CHANGED]


def test_held_deactivation_stays_held_if_a_later_read_would_allow_it() -> None:
    account = ModelAccount(**{f"n{phone}": "ACTIVE" for phone in (A, B, C, D)})
    account.faults = {A: [(Ambiguous("reset"), False), (Ambiguous("reset"), False)]}
    statuses = {2: Status.INACTIVE, 3: Status.ACTIVE}
    account.on_read = lambda read: account.statuses.update({D: statuses[read]}) if read in statuses else None
    results, _ = execute_changes(account, deactivation(A), deactivation(C), groups=(Group("support", (C, D)),))
    assert (results[A].outcome, results[A].attempts, results[C].outcome) == (Outcome.CHANGED, 3, Outcome.HELD)


def test_account_with_too_few_active_numbers_is_not_held_to_its_minimum() -> None:
    """The safety rules allow this plan, because it does not go below the minimum: the account is below already."""
    account = ModelAccount(n0100001="ACTIVE", n0100002="ACTIVE")
    results, writes = execute_changes(account, deactivation(A), min_active=3)
    assert (results[A].outcome, account.reads, writes.stop_reason) == (Outcome.CHANGED, 2, None)


@pytest.mark.parametrize(
    ("failing", "message"),
    [
        ((B,), "1 activation failed, and without it fewer than 2 numbers would stay ACTIVE: "),
        ((B, C), "2 activations failed, and without them fewer than 2 numbers would stay ACTIVE: "),
    ],
)
def test_failed_activations_are_counted_in_the_reason(failing: tuple[str, ...], message: str) -> None:
    account = ModelAccount(n0100001="ACTIVE", n0100002="INACTIVE", n0100003="INACTIVE", n0100004="ACTIVE")
    account.faults = {phone: [(NotRegistered("no"), False)] for phone in failing}
    changes = deactivation(A), deactivation(D), activation(B), activation(C)
    results, writes = execute_changes(account, *changes, min_active=2)
    assert str(writes.stop_reason) == f"{message}no deactivation was attempted"
    assert {results[phone].outcome for phone in (A, D)} == {Outcome.NOT_ATTEMPTED}


def test_verification_read_of_a_complete_run_may_take_long() -> None:
    """Retries of the read may take minutes, and only its result confirms the writes."""

    class _Slow(ModelAccount):
        async def observe(self, *, is_verification: bool = False) -> ObservedAccount:
            await asyncio.sleep(200 if is_verification else 0)
            return await super().observe(is_verification=is_verification)

    results, _ = execute_changes(_Slow(n0100001="INACTIVE"), activation(A))
    assert results[A].outcome is Outcome.CHANGED


def test_duration_of_a_number_covers_all_its_requests() -> None:
    """Three requests of a second, and a read of a tenth of a second between them."""
    account = ModelAccount(n0100001="INACTIVE")
    account.faults = {A: [(ServerError("later"), False), (Ambiguous("reset"), False)]}
    results, _ = execute_changes(account, activation(A))
    assert results[A].duration_ms == 3100
