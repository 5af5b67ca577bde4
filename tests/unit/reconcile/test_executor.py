"""Carrying out: every number gets one true outcome, whatever the network and other people do meanwhile."""

import asyncio

import pytest
from msgspec import structs

from tests.support.execution import activation, deactivation, execute_changes
from tests.support.model_account import ModelAccount
from worker.model.accounts import Group, ObservedAccount, Status
from worker.model.errors import (
    AccountRejected,
    Ambiguous,
    ApiError,
    ConnectionFailed,
    DeadlineExceeded,
    Interrupted,
    NotRegistered,
    NotWritable,
    ServerError,
    WorkerError,
)
from worker.model.results import Outcome

A, B, C, D = "0100001", "0100002", "0100003", "0100004"


def test_write_is_changed_once_a_read_has_confirmed_it() -> None:
    """One attempt, one verification read, and the number is as desired."""
    account = ModelAccount(n0100001="INACTIVE")
    results, writes = execute_changes(account, activation(A))
    result = results[A]
    assert (result.outcome, result.before, result.after, result.attempts) == (Outcome.CHANGED, "INACTIVE", "ACTIVE", 1)
    assert (account.reads, writes.stop_reason) == (2, None)


def test_without_writes_there_is_no_verification_read() -> None:
    account = ModelAccount(n0100001="INACTIVE")
    results, _ = execute_changes(account)
    assert (results, account.reads) == ({}, 1)


def test_activations_go_before_deactivations() -> None:
    """No number goes silent before those that shall speak do."""
    account = ModelAccount(n0100001="ACTIVE", n0100002="INACTIVE", n0100003="INACTIVE")
    execute_changes(account, deactivation(A), activation(B), activation(C))
    assert [phone for phone, _ in account.written] == [B, C, A]


def test_an_accepted_write_that_does_not_show_is_unverified() -> None:
    """200 without effect is never called changed."""
    account = ModelAccount(n0100001="INACTIVE")
    account.on_read = lambda read: account.statuses.update({A: Status.INACTIVE}) if read == 2 else None
    results, _ = execute_changes(account, activation(A))
    assert results[A].outcome is Outcome.UNVERIFIED
    assert results[A].error is not None


def test_without_the_verification_read_nothing_is_called_changed() -> None:
    """If the account cannot be read afterwards, accepted writes stay unverified."""
    account = ModelAccount(n0100001="INACTIVE")
    account.failing_reads = {2: ServerError("down")}
    results, _ = execute_changes(account, activation(A))
    assert (results[A].outcome, results[A].after) == (Outcome.UNVERIFIED, None)


def test_a_lost_answer_to_a_write_that_was_carried_out_is_not_sent_again() -> None:
    """A read shows the new status, so one request was enough."""
    account = ModelAccount(n0100001="INACTIVE")
    account.faults = {A: [(Ambiguous("reset"), True)]}
    results, _ = execute_changes(account, activation(A))
    assert (results[A].outcome, len(account.written)) == (Outcome.CHANGED, 1)


def test_a_lost_answer_to_a_write_that_was_not_carried_out_is_sent_again() -> None:
    """A read shows the old status, so the write is sent once more."""
    account = ModelAccount(n0100001="INACTIVE")
    account.faults = {A: [(Ambiguous("timeout"), False)]}
    results, _ = execute_changes(account, activation(A))
    assert (results[A].outcome, results[A].attempts) == (Outcome.CHANGED, 2)


def test_a_number_that_someone_else_changed_meanwhile_is_a_conflict() -> None:
    """An ambiguous write whose number has a third status is reported and not overwritten."""
    account = ModelAccount(n0100001="INACTIVE")
    account.faults = {A: [(Ambiguous("timeout"), False)]}
    account.on_read = lambda read: account.statuses.update({A: Status.BLOCKED}) if read == 2 else None
    results, _ = execute_changes(account, activation(A))
    assert (results[A].outcome, results[A].after, results[A].attempts) == (Outcome.CONFLICT, "BLOCKED", 1)


def test_external_revert_of_an_ambiguous_write_is_conflict() -> None:
    """Another number's read showed it changed while its own answer was lost: the old status is an external change."""
    account = ModelAccount(**{f"n{phone}": "INACTIVE" for phone in (A, B, C, D)})
    account.faults = {B: [(Ambiguous("reset"), False)], D: [(Ambiguous("reset"), False)]}
    people = {2: Status.ACTIVE, 3: Status.INACTIVE}
    account.on_read = lambda read: account.statuses.update({D: people[read]} if read in people else {})
    results, _ = execute_changes(account, activation(A), activation(B), activation(C), activation(D), concurrency=2)
    assert {results[phone].outcome for phone in (A, B, C)} == {Outcome.CHANGED}
    assert (results[D].outcome, results[D].after, results[D].attempts) == (Outcome.CONFLICT, "INACTIVE", 1)


def test_a_number_that_vanished_is_a_conflict() -> None:
    """A number that the verification read does not have was removed externally."""
    account = ModelAccount(n0100001="INACTIVE")

    def vanish(read: int) -> None:
        if read == 2:
            del account.statuses[A]

    account.on_read = vanish
    results, _ = execute_changes(account, activation(A))
    assert results[A].outcome is Outcome.CONFLICT


def test_simultaneous_ambiguous_writes_share_one_read() -> None:
    """Twenty lost answers at once cost one read, not twenty."""
    numbers = {f"01000{index:02}": "INACTIVE" for index in range(21)}
    account = ModelAccount(**{f"n{phone}": status for phone, status in numbers.items()})
    account.faults = {phone: [(Ambiguous("reset"), False)] for phone in list(numbers)[1:]}
    results, _ = execute_changes(account, *map(activation, numbers), concurrency=20)
    assert {result.outcome for result in results.values()} == {Outcome.CHANGED}
    assert account.reads == 3


@pytest.mark.parametrize(("error", "outcome"), [(NotRegistered, Outcome.FAILED), (NotWritable, Outcome.BLOCKED)])
def test_one_bad_number_stops_no_other(error: type[NotRegistered], outcome: Outcome) -> None:
    """A refusal of one number is that number's outcome, and the rest goes on."""
    account = ModelAccount(n0100001="INACTIVE", n0100002="INACTIVE")
    account.faults = {A: [(error("no", http_status=400), False)]}
    results, writes = execute_changes(account, activation(A), activation(B))
    assert (results[A].outcome, results[B].outcome, writes.stop_reason) == (outcome, Outcome.CHANGED, None)
    failure = results[A].error
    assert failure is not None
    assert failure.http_status == 400


def test_credentials_that_may_not_write_cost_one_request() -> None:
    """The first write goes ahead alone, and its refusal stops the account before the second."""
    account = ModelAccount(n0100001="INACTIVE", n0100002="INACTIVE", n0100003="ACTIVE")
    account.faults = {A: [(AccountRejected("forbidden", http_status=403), False)]}
    results, writes = execute_changes(account, activation(A), activation(B), deactivation(C))
    assert len(account.written) == 1
    assert results[A].outcome is Outcome.FAILED
    assert {results[B].outcome, results[C].outcome} == {Outcome.NOT_ATTEMPTED}
    assert isinstance(writes.stop_reason, AccountRejected)


def test_a_failure_without_effect_is_failed() -> None:
    """Attempts that never reached the API leave the number failed, with their error."""
    account = ModelAccount(n0100001="INACTIVE")
    account.faults = {A: [(ConnectionFailed("refused"), False)]}
    results, _ = execute_changes(account, activation(A))
    assert (results[A].outcome, results[A].after) == (Outcome.FAILED, "INACTIVE")


def test_a_failure_is_failed_even_if_the_account_cannot_be_read() -> None:
    """What was never sent needs no proof."""
    account = ModelAccount(n0100001="INACTIVE")
    account.faults = {A: [(ConnectionFailed("refused"), False)]}
    account.failing_reads = {2: ServerError("down")}
    results, _ = execute_changes(account, activation(A))
    assert results[A].outcome is Outcome.FAILED


def test_a_number_that_became_right_without_us_is_unchanged() -> None:
    """If every attempt failed before it was sent and the number is as desired, it was someone else."""
    account = ModelAccount(n0100001="INACTIVE")
    account.faults = {A: [(ConnectionFailed("refused"), False)]}
    account.on_read = lambda read: account.statuses.update({A: Status.ACTIVE}) if read == 2 else None
    results, _ = execute_changes(account, activation(A))
    assert results[A].outcome is Outcome.UNCHANGED


def test_ambiguous_last_attempt_is_decided_by_the_verification_read() -> None:
    """Five lost answers, the last one carried out: the read confirms the change."""
    account = ModelAccount(n0100001="INACTIVE")
    account.faults[A] = [*[(Ambiguous("reset"), False)] * 4, (Ambiguous("reset"), True)]
    results, _ = execute_changes(account, activation(A))
    assert (results[A].outcome, results[A].attempts) == (Outcome.CHANGED, 5)


def test_ambiguous_write_that_no_read_can_settle_is_not_sent_again() -> None:
    """Where the account cannot be read, the write is not repeated, and stays unverified."""
    account = ModelAccount(n0100001="INACTIVE")
    account.faults = {A: [(Ambiguous("reset"), True)]}
    account.failing_reads = {2: ServerError("down"), 3: ServerError("down")}
    results, _ = execute_changes(account, activation(A))
    assert (results[A].outcome, results[A].attempts) == (Outcome.UNVERIFIED, 1)


def test_read_of_another_account_stops_this_one() -> None:
    """If the read after an ambiguous write has another account id, nothing more is written."""
    account = ModelAccount(n0100001="INACTIVE", n0100002="INACTIVE")
    account.faults = {A: [(Ambiguous("reset"), False)]}
    account.failing_reads = {2: AccountRejected("another account")}
    results, writes = execute_changes(account, activation(A), activation(B))
    assert isinstance(writes.stop_reason, AccountRejected)
    assert results[B].outcome is Outcome.NOT_ATTEMPTED


def test_failed_activations_hold_dependent_deactivations() -> None:
    """The last ACTIVE number is not switched off when the number that should replace it did not come up."""
    account = ModelAccount(n0100001="ACTIVE", n0100002="INACTIVE")
    account.faults = {B: [(NotRegistered("no"), False)]}
    results, writes = execute_changes(account, deactivation(A), activation(B), least_active=1)
    assert (results[A].outcome, account.statuses[A]) == (Outcome.NOT_ATTEMPTED, "ACTIVE")
    assert writes.stop_reason is not None
    error = results[A].error
    assert error is not None
    assert error.code == "ActivationsFailed"


def test_activations_of_a_group_are_verified_before_its_deactivations() -> None:
    """An activation that was accepted and does not show holds the deactivation of the last ACTIVE number."""
    account = ModelAccount(n0100001="ACTIVE", n0100002="INACTIVE")
    account.on_read = lambda read: account.statuses.update({B: Status.INACTIVE}) if read >= 2 else None
    results, _ = execute_changes(account, deactivation(A), activation(B), least_active=1)
    assert (results[A].outcome, results[B].outcome) == (Outcome.NOT_ATTEMPTED, Outcome.UNVERIFIED)


def test_swap_proceeds_after_its_activation_is_verified() -> None:
    """With the new number proven ACTIVE the old one may go."""
    account = ModelAccount(n0100001="ACTIVE", n0100002="INACTIVE")
    results, _ = execute_changes(account, deactivation(A), activation(B), least_active=1)
    assert {result.outcome for result in results.values()} == {Outcome.CHANGED}


@pytest.mark.parametrize("error", [ServerError("down"), AccountRejected("revoked")])
def test_unverifiable_activations_hold_the_deactivations(error: ServerError | AccountRejected) -> None:
    """Without a read nothing is confirmed, so the last ACTIVE number stays."""
    account = ModelAccount(n0100001="ACTIVE", n0100002="INACTIVE")
    account.failing_reads = {2: error}
    results, _ = execute_changes(account, deactivation(A), activation(B), least_active=1)
    assert results[A].outcome is Outcome.NOT_ATTEMPTED
    assert account.statuses[A] is Status.ACTIVE


def test_the_deadline_leaves_the_rest_untried_and_proves_what_was_done() -> None:
    """When the account's time is up, what was sent is proven and what was not is not attempted."""
    numbers = [f"01000{index:02}" for index in range(10)]
    account = ModelAccount(**{f"n{phone}": "INACTIVE" for phone in numbers})
    results, writes = execute_changes(account, *map(activation, numbers), deadline=2.5, concurrency=1)
    outcomes = [results[phone].outcome for phone in numbers]
    assert outcomes == [Outcome.CHANGED] * 3 + [Outcome.NOT_ATTEMPTED] * 7
    assert isinstance(writes.stop_reason, DeadlineExceeded)


def test_interrupted_run_reports_what_it_did_and_did_not() -> None:
    """Writes in flight are verified and the others not attempted, each with the reason."""
    account = ModelAccount(n0100001="INACTIVE", n0100002="INACTIVE")
    account.on_write = lambda _: account.halt(Interrupted("SIGINT"))
    results, writes = execute_changes(account, activation(A), activation(B))
    assert (results[A].outcome, results[B].outcome) == (Outcome.CHANGED, Outcome.NOT_ATTEMPTED)
    error = results[B].error
    assert error is not None
    assert error.code == "Interrupted"
    assert isinstance(writes.stop_reason, Interrupted)


def test_verification_of_a_stopped_run_is_bounded() -> None:
    """Service managers kill what does not end: a read that hangs is given up, and its writes are unverified."""

    class Hanging(ModelAccount):
        given_up = 0.0

        async def observe(self, *, closing: bool = False) -> ObservedAccount:
            if closing:
                try:
                    await asyncio.sleep(10_000)
                finally:
                    self.given_up = asyncio.get_running_loop().time()
            return await super().observe(closing=closing)

    account = Hanging(n0100001="INACTIVE", n0100002="INACTIVE")
    account.on_write = lambda _: account.halt(Interrupted("SIGTERM"))
    results, _ = execute_changes(account, activation(A), activation(B))
    assert results[A].outcome is Outcome.UNVERIFIED
    assert 20 < account.given_up < 30


def test_stop_during_activations_is_the_reason_of_the_deactivations_too() -> None:
    """They were not held because activations failed, and no read is asked for that."""
    account = ModelAccount(n0100001="ACTIVE", n0100002="INACTIVE", n0100003="INACTIVE")
    account.on_write = lambda _: account.halt(Interrupted("SIGINT"))
    results, writes = execute_changes(account, activation(B), activation(C), deactivation(A), least_active=1)
    assert isinstance(writes.stop_reason, Interrupted)
    error = results[A].error
    assert error is not None
    assert error.code == "Interrupted"
    assert account.reads == 2, "the plan's read and the verification"


def test_one_number_is_never_written_twice_at_once() -> None:
    """However many are under way, each number has at most one request on the wire."""
    numbers = [f"01000{index:02}" for index in range(30)]
    account = ModelAccount(**{f"n{phone}": "INACTIVE" for phone in numbers})
    account.faults = {phone: [(Ambiguous("reset"), bool(index % 2))] for index, phone in enumerate(numbers)}
    results, _ = execute_changes(account, *map(activation, numbers), concurrency=10)
    assert account.max_concurrent_writes == 1
    assert {result.outcome for result in results.values()} == {Outcome.CHANGED}


@pytest.mark.parametrize("error", [Interrupted("stopped"), AccountRejected("no", http_status=401)])
def test_what_landed_before_a_stop_is_changed(error: WorkerError) -> None:
    """A write whose answer was lost right before the stop is changed if the verification read shows it."""
    account = ModelAccount(n0100001="INACTIVE", n0100002="INACTIVE")
    account.faults = {B: [(Ambiguous("timeout"), True)]}
    account.on_write = lambda phone: account.halt(error) if phone == B else None
    results, writes = execute_changes(account, activation(A), activation(B))
    assert (results[B].outcome, results[B].after) == (Outcome.CHANGED, "ACTIVE")
    assert writes.stop_reason is error


@pytest.mark.parametrize("error", [NotWritable("no", http_status=409), AccountRejected("other account")])
def test_a_refusal_that_took_effect_is_changed(error: ApiError) -> None:
    """The verification read outweighs the answer."""
    account = ModelAccount(n0100001="INACTIVE")
    account.faults = {A: [(error, True)]}
    results, _ = execute_changes(account, activation(A))
    assert (results[A].outcome, results[A].after, results[A].error) == (Outcome.CHANGED, "ACTIVE", None)


def test_stop_between_attempts_counts_them() -> None:
    """A number that was tried in vain before the stop is failed, and its error says how often it was tried."""
    account = ModelAccount(n0100001="INACTIVE", n0100002="INACTIVE")
    account.faults = {B: [(Ambiguous("timeout"), False)]}
    account.on_write = lambda phone: account.halt(Interrupted("stopped by SIGINT")) if phone == B else None
    results, _ = execute_changes(account, activation(A), activation(B))
    error = results[B].error
    assert results[B].outcome is Outcome.FAILED
    assert error is not None
    assert error.message == "1 attempt failed before the run was stopped: stopped by SIGINT"


@pytest.mark.parametrize(
    ("seen", "outcome"), [("INACTIVE", Outcome.UNCHANGED), ("BLOCKED", Outcome.CONFLICT), (None, Outcome.CONFLICT)]
)
def test_number_that_a_read_shows_changed_externally_is_not_written(seen: str | None, outcome: Outcome) -> None:
    """The read was for another number; the pending one is left unchanged and reported."""
    account = ModelAccount(n0100001="INACTIVE", n0100002="ACTIVE")
    account.faults[A] = [(Ambiguous("?"), True)]

    def interfere(read: int) -> None:
        if read == 2 and seen is None:
            del account.statuses[B]
        elif read == 2 and seen is not None:
            account.statuses[B] = Status(seen)

    account.on_read = interfere
    results, _ = execute_changes(account, activation(A), deactivation(B))
    assert [phone for phone, _ in account.written] == [A]
    assert (results[A].outcome, results[B].outcome, results[B].after) == (Outcome.CHANGED, outcome, seen)
    assert results[B].attempts == 0


def test_number_changed_and_set_back_while_its_write_waits_is_conflict() -> None:
    """The first of two reads shows the external change; the later write does not overrule it."""
    account = ModelAccount(n0100001="INACTIVE", n0100002="ACTIVE")
    account.faults[A] = [(Ambiguous("?"), False), (Ambiguous("?"), True)]
    statuses = {2: Status.INACTIVE, 3: Status.ACTIVE}
    account.on_read = lambda read: account.statuses.update({B: statuses[read]}) if read in statuses else None
    results, _ = execute_changes(account, activation(A), deactivation(B))
    assert {phone for phone, _ in account.written} == {A}
    assert (results[B].outcome, results[B].after, results[B].attempts) == (Outcome.CONFLICT, "ACTIVE", 0)


def test_a_refused_write_whose_number_others_then_change_is_not_tried_again() -> None:
    """Before the retry a read shows the desired status: the outcome is unchanged."""
    account = ModelAccount(n0100001="INACTIVE", n0100002="INACTIVE", n0100003="INACTIVE")
    account.faults[B] = [(ServerError("later"), False), (ServerError("later"), False)]
    account.faults[C] = [(Ambiguous("?"), True)]
    account.on_read = lambda read: account.statuses.update({B: Status.ACTIVE}) if read == 2 else None
    results, _ = execute_changes(account, activation(A), activation(B), activation(C))
    assert [phone for phone, _ in account.written].count(B) == 2
    assert (results[B].outcome, results[B].after, results[B].attempts) == (Outcome.UNCHANGED, "ACTIVE", 2)


def test_activation_is_verified_before_the_paired_deactivation() -> None:
    """In a group the deactivation is sent after a read has confirmed the activation."""
    account = ModelAccount(n0100001="ACTIVE", n0100002="INACTIVE")
    results, _ = execute_changes(account, activation(B), deactivation(A), groups=(Group("support", (A, B)),))
    assert account.written == [(B, "ACTIVE"), (A, "INACTIVE")]
    assert account.reads == 3
    assert {result.outcome for result in results.values()} == {Outcome.CHANGED}


def test_deactivations_after_a_failed_activation_are_held() -> None:
    """The group keeps its number, and the hold names the group; independent deactivations are sent."""
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


def test_unverifiable_activation_allows_no_deactivation() -> None:
    """Accepted or not, the deactivation is held unless a read shows the activation."""
    account = ModelAccount(n0100001="ACTIVE", n0100002="INACTIVE")
    account.failing_reads = {2: ServerError("down")}
    results, _ = execute_changes(account, activation(B), deactivation(A), groups=(Group("support", (A, B)),))
    assert (results[B].outcome, results[A].outcome) == (Outcome.CHANGED, Outcome.HELD)
    assert account.statuses[A] is Status.ACTIVE


def test_credentials_that_are_rejected_at_the_proof_stop_the_account() -> None:
    """Nothing more is sent, and the rest is not attempted for that reason."""
    account = ModelAccount(n0100001="ACTIVE", n0100002="INACTIVE")
    account.failing_reads = {2: AccountRejected("no", http_status=401)}
    results, writes = execute_changes(account, activation(B), deactivation(A), groups=(Group("support", (A, B)),))
    assert results[A].outcome is Outcome.NOT_ATTEMPTED
    assert isinstance(writes.stop_reason, AccountRejected)


def test_read_that_shows_a_member_inactive_holds_the_rest_of_its_group() -> None:
    """An operator deactivates one meanwhile; the read after an ambiguous write shows it, and the last one stays."""
    account = ModelAccount(**{f"n{phone}": "ACTIVE" for phone in (A, B, C, D)})
    account.faults = {D: [(Ambiguous("reset"), False)]}
    account.on_read = lambda read: account.statuses.update({A: Status.INACTIVE}) if read == 2 else None
    group = Group("support", (A, B, C), 2)
    results, _ = execute_changes(account, deactivation(D), deactivation(C), groups=(group,), concurrency=1)
    assert (results[D].outcome, results[C].outcome) == (Outcome.CHANGED, Outcome.HELD)
    assert account.statuses[C] is Status.ACTIVE


def test_ambiguous_deactivation_is_not_sent_again_once_its_group_cannot_spare_it() -> None:
    """The read that shows it was not carried out also shows that an operator deactivated the number beside it."""
    account = ModelAccount(n0100001="ACTIVE", n0100002="ACTIVE")
    account.faults = {A: [(Ambiguous("reset"), False)]}
    account.on_read = lambda read: account.statuses.update({B: Status.INACTIVE}) if read == 2 else None
    results, _ = execute_changes(account, deactivation(A), groups=(Group("support", (A, B)),))
    assert (results[A].outcome, results[A].attempts, results[A].after) == (Outcome.HELD, 1, "ACTIVE")
    assert len(account.written) == 1


def test_early_read_holds_nothing_whose_successor_is_confirmed_later() -> None:
    """An ambiguous write causes a read before the successor is sent; the swap is carried out all the same."""
    account = ModelAccount(n0100001="INACTIVE", n0100002="INACTIVE", n0100003="INACTIVE", n0100004="ACTIVE")
    account.faults = {A: [(Ambiguous("reset"), True)]}
    group = Group("pair", (C, D))
    results, _ = execute_changes(
        account, activation(A), activation(B), activation(C), deactivation(D), groups=(group,), concurrency=1
    )
    assert {result.outcome for result in results.values()} == {Outcome.CHANGED}


def test_successor_that_an_early_read_shows_inactive_holds_its_predecessor() -> None:
    """An operator deactivates it while activations are in flight."""
    account = ModelAccount(n0100001="INACTIVE", n0100003="ACTIVE", n0100004="ACTIVE")
    account.faults = {A: [(Ambiguous("reset"), True)]}
    account.on_read = lambda read: account.statuses.update({C: Status.INACTIVE}) if read == 2 else None
    results, _ = execute_changes(account, activation(A), deactivation(D), groups=(Group("pair", (C, D)),))
    assert (results[A].outcome, results[D].outcome) == (Outcome.CHANGED, Outcome.HELD)


def test_what_the_file_has_ceased_to_want_does_not_leave() -> None:
    """A write whose time is over when its turn comes is a conflict that says so; what is still wanted is written."""
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
