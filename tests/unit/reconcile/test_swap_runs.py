"""`safety.pair_swaps` in runs: applies, saved plans and rollbacks, on an account in memory."""

from array import array
from datetime import UTC, datetime

import pytest
from msgspec import structs

from tests.support.execution import activation, deactivation, execute_changes
from tests.support.model_account import ModelAccount, Recorder
from tests.support.virtual_time import run
from worker.ledger import NullLedger
from worker.model.accounts import (
    AccountMemory,
    Desired,
    DesiredAccount,
    Group,
    NumberUse,
    PairSwaps,
    SafetyOverride,
    Status,
    Unmanaged,
)
from worker.model.errors import (
    Ambiguous,
    ApiError,
    ConnectionFailed,
    DeadlineExceeded,
    NotRegistered,
    NotWritable,
    ServerError,
)
from worker.model.history import AccountRecord, Ending, NumberRecord
from worker.model.plans import Action, NoticeKind, Verdict
from worker.model.results import AccountResult, NumberResult, Outcome
from worker.model.safety import InUse, Safety
from worker.plan.build import Draft, Terms
from worker.plan.planfile import SavedAccount
from worker.plan.policy import Selection
from worker.reconcile.account import apply, apply_saved, make_draft
from worker.reconcile.executor import Executor, Pace
from worker.reconcile.rollback import inverse_plan, limit_to_preview, preview

A, B, C, D = "01000000001", "01000000002", "01000000003", "01000000004"
_ON, _OFF = Desired(Status.ACTIVE), Desired(Status.INACTIVE)
_PROTECTED = Desired(Status.ACTIVE, protected=True)
_NOW = datetime(2026, 11, 24, tzinfo=UTC)


def _swap(
    account: ModelAccount, pair_swaps: PairSwaps, deadline: float = 900.0
) -> tuple[dict[str, NumberResult], Executor]:
    """A is the old number, B its successor, and C and D are another pair."""
    return execute_changes(
        account,
        activation(B),
        activation(D),
        deactivation(A),
        deactivation(C),
        pair_swaps=pair_swaps,
        deadline=deadline,
    )


def _pairs() -> ModelAccount:
    return ModelAccount(n01000000001="ACTIVE", n01000000002="INACTIVE", n01000000003="ACTIVE", n01000000004="INACTIVE")


def test_hold_deactivates_once_a_read_shows_every_activation() -> None:
    """A complete swap costs one read more, between its activations and its deactivations."""
    account = _pairs()
    results, _ = _swap(account, "hold")
    assert {result.outcome for result in results.values()} == {Outcome.CHANGED}
    assert account.reads == 3
    plain = _pairs()
    _swap(plain, "warn")
    assert plain.reads == 2


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (NotWritable("no", http_status=409), Outcome.BLOCKED),
        (NotRegistered("no", http_status=400), Outcome.FAILED),
        (ConnectionFailed("refused"), Outcome.FAILED),
    ],
)
def test_hold_keeps_every_deactivation_when_one_activation_fails(error: ApiError, outcome: Outcome) -> None:
    """Nothing says which number the failed one replaces, so both old numbers stay ACTIVE."""
    account = _pairs()
    account.faults = {B: [(error, False)]}
    results, writes = _swap(account, "hold")
    assert (results[B].outcome, results[D].outcome, writes.stop_reason) == (outcome, Outcome.CHANGED, None)
    for phone in (A, C):
        assert (results[phone].outcome, results[phone].attempts, results[phone].after) == (Outcome.HELD, 0, "ACTIVE")
        reason = results[phone].error
        assert reason is not None
        assert reason.message.startswith(f"held by safety.pair_swaps: cannot activate {B} (INACTIVE); ")
    assert {phone for phone, _ in account.written} == {B, D}


def test_warn_deactivates_although_an_activation_failed() -> None:
    """By default a failed activation stops no deactivation."""
    account = _pairs()
    account.faults = {B: [(NotWritable("no", http_status=409), False)]}
    results, _ = _swap(account, "warn")
    assert (results[A].outcome, results[C].outcome) == (Outcome.CHANGED, Outcome.CHANGED)


def test_hold_believes_no_acknowledgement_without_a_read() -> None:
    """An activation that was accepted and does not show holds the deactivations."""
    account = _pairs()
    account.on_read = lambda read: account.statuses.update({B: Status.PENDING}) if read >= 2 else None
    results, _ = _swap(account, "hold")
    assert (results[A].outcome, results[C].outcome) == (Outcome.HELD, Outcome.HELD)
    reason = results[A].error
    assert reason is not None
    assert f"{B} (PENDING)" in reason.message


def test_hold_keeps_deactivations_when_the_read_fails() -> None:
    """Without a read no activation is confirmed."""
    account = _pairs()
    account.failing_reads = {2: ServerError("down")}
    results, _ = _swap(account, "hold")
    assert (results[B].outcome, results[A].outcome, results[C].outcome) == (Outcome.CHANGED, Outcome.HELD, Outcome.HELD)


def test_hold_deactivates_when_a_lost_answer_turns_out_done() -> None:
    """An ambiguous activation that a read shows ACTIVE holds nothing."""
    account = _pairs()
    account.faults = {B: [(Ambiguous("reset"), True)]}
    results, _ = _swap(account, "hold")
    assert {result.outcome for result in results.values()} == {Outcome.CHANGED}


def test_hold_deactivates_nothing_after_the_deadline() -> None:
    """When the time is up during the activations, the deactivations are not attempted."""
    account = _pairs()
    results, writes = _swap(account, "hold", deadline=0.5)
    assert isinstance(writes.stop_reason, DeadlineExceeded)
    assert (results[A].outcome, results[C].outcome) == (Outcome.NOT_ATTEMPTED, Outcome.NOT_ATTEMPTED)
    assert (account.statuses[A], account.statuses[C]) == (Status.ACTIVE, Status.ACTIVE)


def test_hold_stops_once_a_later_read_shows_the_successor_gone() -> None:
    """A read between two deactivations shows the successor BLOCKED: what has not left yet is held."""
    account = _pairs()
    account.faults = {A: [(Ambiguous("reset"), True)]}
    account.on_read = lambda read: account.statuses.update({B: Status.BLOCKED}) if read == 3 else None
    results, _ = execute_changes(
        account, activation(B), deactivation(A), deactivation(C), pair_swaps="hold", concurrency=1
    )
    assert (results[A].outcome, results[C].outcome) == (Outcome.CHANGED, Outcome.HELD)
    assert account.statuses[C] is Status.ACTIVE


def test_hold_costs_no_read_without_activations() -> None:
    """Deactivations alone are no swap."""
    account = ModelAccount(n01000000001="ACTIVE", n01000000002="ACTIVE")
    results, _ = execute_changes(account, deactivation(A), pair_swaps="hold")
    assert (results[A].outcome, account.reads) == (Outcome.CHANGED, 2)


def test_swap_and_group_holds_show_one_reason() -> None:
    """Where both rules hold a number, the result names the swap; the group stays whole."""
    account = _pairs()
    account.faults = {B: [(NotWritable("no", http_status=409), False)]}
    group = Group("support", (A, B))
    results, _ = execute_changes(
        account, activation(B), deactivation(A), deactivation(C), groups=(group,), pair_swaps="hold"
    )
    assert (results[A].outcome, results[C].outcome) == (Outcome.HELD, Outcome.HELD)
    reason = results[A].error
    assert reason is not None
    assert reason.message.startswith("held by safety.pair_swaps")


def _desired(unmanaged: Unmanaged = Unmanaged.REPORT, **numbers: Desired) -> DesiredAccount:
    phones = {phone.lstrip("n"): desired for phone, desired in numbers.items()}
    return DesiredAccount("main", "main.yaml", phones, array("I", range(1, len(phones) + 1)), unmanaged=unmanaged)


def _terms(pair_swaps: PairSwaps = "warn") -> Terms:
    return Terms(Safety("100%", 0, pair_swaps))


async def _forgetful(_: str | None) -> AccountMemory:
    return AccountMemory()


def _draft(desired: DesiredAccount, account: ModelAccount, terms: Terms) -> Draft:
    return run(make_draft(desired, account, terms, _forgetful, Recorder(), now=_NOW))


def _apply(desired: DesiredAccount, account: ModelAccount, terms: Terms) -> AccountResult:
    drawn = _draft(desired, account, terms)
    pace, heard = Pace(4, 900.0), Recorder()
    return run(
        apply(desired, drawn.plan, account, terms, now=_NOW, ledger=NullLedger(), pace=pace, log=heard, meter=heard)
    ).result


def _apply_saved(saved: SavedAccount, account: ModelAccount, moment: datetime = _NOW) -> AccountResult:
    heard = Recorder()
    pace = Pace(4, 900.0, moment.timestamp)
    carried = apply_saved(
        saved, account, frozenset(), ledger=NullLedger(), pace=pace, log=heard, meter=heard, now=moment
    )
    return run(carried).result


def _saved(desired: DesiredAccount, account: ModelAccount, pair_swaps: PairSwaps) -> SavedAccount:
    terms = _terms(pair_swaps)
    return SavedAccount.of(desired, _draft(desired, account, terms).plan, endpoint="solapi", safety=terms.safety)


def _outcomes(result: AccountResult) -> dict[str, Outcome]:
    return {number.phone: number.outcome for number in result.numbers}


def _actions(drawn: Draft) -> dict[str, Action]:
    return {change.phone: change.action for change in drawn.plan.changes}


def test_hold_keeps_unlisted_numbers_too() -> None:
    """What `unmanaged: deactivate` switches off counts like any other deactivation."""
    account = ModelAccount(n01000000001="ACTIVE", n01000000002="PENDING")
    desired = _desired(Unmanaged.DEACTIVATE, n01000000002=_ON)
    drawn = _draft(desired, account, _terms("hold"))
    assert _actions(drawn) == {A: Action.HELD, B: Action.BLOCKED}
    assert drawn.plan.counts[Action.HELD] == 1


@pytest.mark.parametrize(("settings", "own", "action"), [("warn", "hold", "held"), ("hold", "warn", "deactivate")])
def test_the_file_decides_for_its_account(settings: PairSwaps, own: PairSwaps, action: str) -> None:
    """A file's pair_swaps wins over the settings, both ways."""
    account = ModelAccount(n01000000001="ACTIVE", n01000000002="PENDING")
    desired = structs.replace(_desired(n01000000001=_OFF, n01000000002=_ON), safety=SafetyOverride(pair_swaps=own))
    assert _actions(_draft(desired, account, _terms(settings)))[A] == action


def test_held_swaps_count_for_no_other_rule() -> None:
    """A plan that would break max-deactivations is not refused if pair_swaps holds all of it."""
    account = ModelAccount(n01000000001="ACTIVE", n01000000003="ACTIVE")
    desired = _desired(n01000000001=_OFF, n01000000003=_OFF, n01000000002=_ON)
    refused = _draft(desired, account, Terms(Safety(0, 0)))
    assert refused.plan.verdict is Verdict.REFUSED
    assert [notice.kind for notice in refused.plan.notices] == [NoticeKind.SWAP]
    held = _draft(desired, account, Terms(Safety(0, 0, "hold")))
    assert (held.plan.verdict, held.plan.writes) == (Verdict.OK, ())


def test_selection_leaves_the_successor_out_of_the_plan() -> None:
    """An excluded successor is no part of the plan, so nothing is held for it."""
    account = ModelAccount(n01000000001="ACTIVE", n01000000002="PENDING")
    desired = _desired(n01000000001=_OFF, n01000000002=_ON)
    for selection in (Selection(only=frozenset({A})), Selection(exclude=frozenset({B}))):
        drawn = _draft(desired, account, structs.replace(_terms("hold"), selection=selection))
        assert _actions(drawn) == {A: Action.DEACTIVATE}


def test_notice_leaves_out_what_the_in_use_guard_holds() -> None:
    """The notice names only the deactivations that remain."""
    account = ModelAccount(n01000000001="ACTIVE", n01000000003="ACTIVE", n01000000002="PENDING")
    account.use = NumberUse({A: "busy"})
    desired = _desired(n01000000001=_OFF, n01000000003=_OFF, n01000000002=_ON)
    terms = structs.replace(_terms(), in_use=InUse(enabled=True))
    (notice,) = (each for each in _draft(desired, account, terms).plan.notices if each.kind is NoticeKind.SWAP)
    assert f"would deactivate {C};" in notice.message
    held = _draft(desired, account, structs.replace(terms, safety=Safety("100%", 0, "hold")))
    assert _actions(held) == {A: Action.HELD, C: Action.HELD, B: Action.BLOCKED}
    assert account.asked == [((A, C), 24)]


def test_drift_shows_held_swaps() -> None:
    """The read-only check shows the same holds as a plan."""
    account = ModelAccount(n01000000001="ACTIVE", n01000000002="PENDING")
    desired = _desired(n01000000001=_OFF, n01000000002=_ON)
    held = _draft(desired, account, structs.replace(_terms("hold"), drift=True))
    assert _actions(held) == {A: Action.HELD, B: Action.BLOCKED}
    warned = _draft(desired, account, structs.replace(_terms(), drift=True))
    assert NoticeKind.SWAP in {notice.kind for notice in warned.plan.notices}


def test_result_carries_the_notice_of_a_run_that_warns() -> None:
    """An apply that deactivates beside an impossible or failed activation says so in its result."""
    for desired in (
        _desired(n01000000001=_OFF, n01000000002=_ON),
        _desired(n01000000001=_OFF, n01000000002=_PROTECTED),
    ):
        for status in ("PENDING", "INACTIVE"):
            account = ModelAccount(n01000000001="ACTIVE", n01000000002=status)
            account.faults = {B: [(NotWritable("no", http_status=409), False)]}
            result = _apply(desired, account, _terms())
            assert _outcomes(result)[A] is Outcome.CHANGED
            assert [notice.kind for notice in result.notices if notice.kind is NoticeKind.SWAP] == [NoticeKind.SWAP]


def test_complete_swap_has_no_notice() -> None:
    """When every activation is confirmed there is nothing to report."""
    account = ModelAccount(n01000000001="ACTIVE", n01000000002="INACTIVE")
    result = _apply(_desired(n01000000001=_OFF, n01000000002=_ON), account, _terms())
    assert (_outcomes(result), result.notices) == ({A: Outcome.CHANGED, B: Outcome.CHANGED}, ())


@pytest.mark.parametrize("now", [Status.PENDING, None])
@pytest.mark.parametrize(("mode", "outcome"), [("hold", "held"), ("warn", "changed")])
def test_saved_plan_holds_when_an_activation_became_a_conflict(
    mode: PairSwaps, outcome: str, now: Status | None
) -> None:
    """Between plan and apply the successor became PENDING or was removed: the old number stays ACTIVE."""
    account = ModelAccount(n01000000001="ACTIVE", n01000000002="INACTIVE")
    saved = _saved(_desired(n01000000001=_OFF, n01000000002=_ON), account, mode)
    if now is None:
        del account.statuses[B]
    else:
        account.statuses[B] = now
    result = _apply_saved(saved, account)
    assert _outcomes(result) == {A: outcome, B: "conflict"}
    assert bool(account.written) == (mode == "warn")
    assert (NoticeKind.SWAP in {notice.kind for notice in result.notices}) == (mode == "warn")


def test_saved_plan_holds_when_an_activation_has_lapsed() -> None:
    """A successor that the file no longer wants ACTIVE is not activated, so the old number is held."""
    account = ModelAccount(n01000000001="ACTIVE", n01000000002="INACTIVE")
    until = Desired(Status.ACTIVE, until="2026-11-24T09:00:00Z", because="scheduled ACTIVE: sale")
    saved = _saved(_desired(n01000000001=_OFF, n01000000002=until), account, "hold")
    result = _apply_saved(saved, account, datetime(2026, 11, 24, 9, tzinfo=UTC))
    assert (_outcomes(result), account.written) == ({A: Outcome.HELD, B: Outcome.CONFLICT}, [])


def test_saved_plan_deactivates_when_its_successor_is_active_by_now() -> None:
    """An operator activated the successor: the deactivation completes the swap."""
    account = ModelAccount(n01000000001="ACTIVE", n01000000002="INACTIVE")
    saved = _saved(_desired(n01000000001=_OFF, n01000000002=_ON), account, "hold")
    account.statuses[B] = Status.ACTIVE
    result = _apply_saved(saved, account)
    assert (_outcomes(result), account.statuses[A]) == ({A: Outcome.CHANGED}, Status.INACTIVE)


def test_saved_plan_keeps_the_numbers_that_cannot_be_activated() -> None:
    """A plan that warns keeps protected successors beside its deactivations, and none without them."""
    account = ModelAccount(n01000000001="ACTIVE", n01000000002="INACTIVE", n01000000003="PENDING")
    saved = _saved(_desired(n01000000001=_OFF, n01000000002=_PROTECTED, n01000000003=_ON), account, "warn")
    assert {change.phone for change in saved.impossible} == {B, C}
    result = _apply_saved(saved, account)
    assert _outcomes(result) == {A: Outcome.CHANGED, B: Outcome.PROTECTED, C: Outcome.BLOCKED}
    (notice,) = (each for each in result.notices if each.kind is NoticeKind.SWAP)
    assert f"{C} (blocked)" in notice.message
    assert f"{B} (protected)" in notice.message
    without = _saved(_desired(n01000000002=_PROTECTED, n01000000003=_ON), account, "warn")
    assert {change.phone for change in without.impossible} == {C}


def test_saved_plan_that_is_held_entirely_writes_nothing() -> None:
    """The plan of an impossible swap has no writes; an apply reports the held number as held."""
    account = ModelAccount(n01000000001="ACTIVE", n01000000002="PENDING")
    saved = _saved(_desired(n01000000001=_OFF, n01000000002=_ON), account, "hold")
    assert saved.changes == ()
    assert (_outcomes(_apply_saved(saved, account)), account.written) == ({A: Outcome.HELD, B: Outcome.BLOCKED}, [])


def _undoing(pair_swaps: PairSwaps) -> SavedAccount:
    """A run that swapped A for B, to be undone."""
    swapped = [
        NumberRecord(
            phone=phone, action=None, desired=after, before=before, after=after, outcome=Outcome.CHANGED, duration_ms=1
        )
        for phone, before, after in ((A, "ACTIVE", "INACTIVE"), (B, "INACTIVE", "ACTIVE"))
    ]
    record = AccountRecord(
        account="main",
        account_id="1",
        outcome=Ending.CONVERGED,
        started_at="2026-11-24T00:00:00.000Z",
        endpoint="solapi",
        safety=Safety("100%", 0, pair_swaps),
        source="main.yaml",
        sha256=None,
        commit=None,
        fingerprint="f",
        counts={},
        settled=True,
        numbers=tuple(swapped),
    )
    return inverse_plan(record, "run-1")


def test_rollback_holds_when_the_old_number_cannot_come_back() -> None:
    """Undoing a swap whose old number is BLOCKED by now leaves the successor ACTIVE, in preview and run."""
    account = ModelAccount(n01000000001="BLOCKED", n01000000002="ACTIVE")
    saved = _undoing("hold")
    shown = run(preview(saved, account, frozenset(), _forgetful, Recorder()))
    assert _actions(shown) == {A: Action.BLOCKED, B: Action.HELD}
    assert shown.plan.counts[Action.HELD] == 1
    result = _apply_saved(limit_to_preview(saved, shown.plan), account)
    assert (_outcomes(result), account.written) == ({A: Outcome.CONFLICT, B: Outcome.HELD}, [])


def test_rollback_holds_when_the_old_number_is_lost_after_the_preview() -> None:
    """The run reads again: a number that became BLOCKED since the preview holds the deactivation."""
    account = ModelAccount(n01000000001="INACTIVE", n01000000002="ACTIVE")
    saved = _undoing("hold")
    shown = run(preview(saved, account, frozenset(), _forgetful, Recorder()))
    assert _actions(shown) == {A: Action.ACTIVATE, B: Action.DEACTIVATE}
    account.statuses[A] = Status.BLOCKED
    result = _apply_saved(limit_to_preview(saved, shown.plan), account)
    assert (_outcomes(result), account.written) == ({A: Outcome.CONFLICT, B: Outcome.HELD}, [])


def test_rollback_that_warns_shows_the_notice() -> None:
    """By default the successor is deactivated, and preview and result say what that means."""
    account = ModelAccount(n01000000001="BLOCKED", n01000000002="ACTIVE")
    saved = _undoing("warn")
    shown = run(preview(saved, account, frozenset(), _forgetful, Recorder()))
    assert NoticeKind.SWAP in {notice.kind for notice in shown.plan.notices}
    result = _apply_saved(limit_to_preview(saved, shown.plan), account)
    assert _outcomes(result)[B] is Outcome.CHANGED
    assert NoticeKind.SWAP in {notice.kind for notice in result.notices}
