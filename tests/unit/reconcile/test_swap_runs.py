"""`safety.pair_swaps` in applies, saved plans and rollbacks, with an account in memory."""

from array import array
from datetime import UTC, datetime

import pytest
from msgspec import structs

from tests.support.execution import activation, deactivation, execute_changes
from tests.support.model_account import ModelAccount, Recorder
from tests.support.records import account_record, changed_number
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
    """Replace A by B, and C by D."""
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


def test_hold_deactivates_after_a_read_confirms_every_activation() -> None:
    """A complete swap costs one more read, between its activations and its deactivations."""
    account = _pairs()
    results, _ = _swap(account, "hold")
    assert {result.outcome for result in results.values()} == {Outcome.CHANGED}
    assert account.reads == 3
    warned_account = _pairs()
    _swap(warned_account, "warn")
    assert warned_account.reads == 2


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (NotWritable("no", http_status=409), Outcome.BLOCKED),
        (NotRegistered("no", http_status=400), Outcome.FAILED),
        (ConnectionFailed("refused"), Outcome.FAILED),
    ],
)
def test_hold_keeps_every_deactivation_if_one_activation_fails(error: ApiError, outcome: Outcome) -> None:
    """It is unknown which old number the failed activation replaces, so both old numbers stay ACTIVE."""
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


def test_warn_deactivates_despite_a_failed_activation() -> None:
    account = _pairs()
    account.faults = {B: [(NotWritable("no", http_status=409), False)]}
    results, _ = _swap(account, "warn")
    assert (results[A].outcome, results[C].outcome) == (Outcome.CHANGED, Outcome.CHANGED)


def test_hold_requires_a_read_that_confirms_the_activation() -> None:
    """An accepted activation that a read does not show holds the deactivations."""
    account = _pairs()
    account.on_read = lambda read: account.statuses.update({B: Status.PENDING}) if read >= 2 else None
    results, _ = _swap(account, "hold")
    assert (results[A].outcome, results[C].outcome) == (Outcome.HELD, Outcome.HELD)
    reason = results[A].error
    assert reason is not None
    assert f"{B} (PENDING)" in reason.message


def test_hold_keeps_deactivations_if_the_read_fails() -> None:
    """Without a read no activation is confirmed."""
    account = _pairs()
    account.failing_reads = {2: ServerError("down")}
    results, _ = _swap(account, "hold")
    assert (results[B].outcome, results[A].outcome, results[C].outcome) == (Outcome.CHANGED, Outcome.HELD, Outcome.HELD)


def test_hold_deactivates_after_a_read_confirms_an_ambiguous_activation() -> None:
    account = _pairs()
    account.faults = {B: [(Ambiguous("reset"), True)]}
    results, _ = _swap(account, "hold")
    assert {result.outcome for result in results.values()} == {Outcome.CHANGED}


def test_hold_deactivates_nothing_after_the_deadline() -> None:
    """If the deadline passes during the activations, the deactivations are not attempted."""
    account = _pairs()
    results, writes = _swap(account, "hold", deadline=0.5)
    assert isinstance(writes.stop_reason, DeadlineExceeded)
    assert (results[A].outcome, results[C].outcome) == (Outcome.NOT_ATTEMPTED, Outcome.NOT_ATTEMPTED)
    assert (account.statuses[A], account.statuses[C]) == (Status.ACTIVE, Status.ACTIVE)


def test_hold_stops_if_a_later_read_shows_the_successor_inactive() -> None:
    """A read between two deactivations shows the successor BLOCKED, so the second one is held."""
    account = _pairs()
    account.faults = {A: [(Ambiguous("reset"), True)]}
    account.on_read = lambda read: account.statuses.update({B: Status.BLOCKED}) if read == 3 else None
    results, _ = execute_changes(
        account, activation(B), deactivation(A), deactivation(C), pair_swaps="hold", concurrency=1
    )
    assert (results[A].outcome, results[C].outcome) == (Outcome.CHANGED, Outcome.HELD)
    assert account.statuses[C] is Status.ACTIVE


def test_hold_does_not_cost_a_read_without_activations() -> None:
    """Deactivations alone are not a swap."""
    account = ModelAccount(n01000000001="ACTIVE", n01000000002="ACTIVE")
    results, _ = execute_changes(account, deactivation(A), pair_swaps="hold")
    assert (results[A].outcome, account.reads) == (Outcome.CHANGED, 2)


def test_swap_hold_takes_precedence_over_group_hold() -> None:
    """If both rules hold a number, the result names the swap."""
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


async def _recall_nothing(_: str | None) -> AccountMemory:
    return AccountMemory()


def _draft(desired: DesiredAccount, account: ModelAccount, terms: Terms) -> Draft:
    return run(make_draft(desired, account, terms, _recall_nothing, Recorder(), now=_NOW))


def _apply(desired: DesiredAccount, account: ModelAccount, terms: Terms) -> AccountResult:
    draft = _draft(desired, account, terms)
    pace, log = Pace(4, 900.0), Recorder()
    return run(
        apply(desired, draft.plan, account, terms, now=_NOW, ledger=NullLedger(), pace=pace, log=log, meter=log)
    ).result


def _apply_saved(saved: SavedAccount, account: ModelAccount, moment: datetime = _NOW) -> AccountResult:
    log = Recorder()
    pace = Pace(4, 900.0, moment.timestamp)
    applying = apply_saved(saved, account, frozenset(), ledger=NullLedger(), pace=pace, log=log, meter=log, now=moment)
    return run(applying).result


def _saved(desired: DesiredAccount, account: ModelAccount, pair_swaps: PairSwaps) -> SavedAccount:
    terms = _terms(pair_swaps)
    return SavedAccount.of(desired, _draft(desired, account, terms).plan, endpoint="solapi", safety=terms.safety)


def _outcomes(result: AccountResult) -> dict[str, Outcome]:
    return {number.phone: number.outcome for number in result.numbers}


def _actions(draft: Draft) -> dict[str, Action]:
    return {change.phone: change.action for change in draft.plan.changes}


def test_hold_keeps_unlisted_numbers_too() -> None:
    """Deactivations by `unmanaged: deactivate` are held like others."""
    account = ModelAccount(n01000000001="ACTIVE", n01000000002="PENDING")
    desired = _desired(Unmanaged.DEACTIVATE, n01000000002=_ON)
    draft = _draft(desired, account, _terms("hold"))
    assert _actions(draft) == {A: Action.HELD, B: Action.BLOCKED}
    assert draft.plan.counts[Action.HELD] == 1


@pytest.mark.parametrize(
    ("global_setting", "file_setting", "action"), [("warn", "hold", "held"), ("hold", "warn", "deactivate")]
)
def test_pair_swaps_of_the_file_overrides_the_settings(
    global_setting: PairSwaps, file_setting: PairSwaps, action: str
) -> None:
    account = ModelAccount(n01000000001="ACTIVE", n01000000002="PENDING")
    desired = structs.replace(
        _desired(n01000000001=_OFF, n01000000002=_ON), safety=SafetyOverride(pair_swaps=file_setting)
    )
    assert _actions(_draft(desired, account, _terms(global_setting)))[A] == action


def test_held_swaps_do_not_count_for_other_rules() -> None:
    """A plan that would break max-deactivations is not refused if pair_swaps holds all deactivations."""
    account = ModelAccount(n01000000001="ACTIVE", n01000000003="ACTIVE")
    desired = _desired(n01000000001=_OFF, n01000000003=_OFF, n01000000002=_ON)
    refused_draft = _draft(desired, account, Terms(Safety(0, 0)))
    assert refused_draft.plan.verdict is Verdict.REFUSED
    assert [notice.kind for notice in refused_draft.plan.notices] == [NoticeKind.SWAP]
    held_draft = _draft(desired, account, Terms(Safety(0, 0, "hold")))
    assert (held_draft.plan.verdict, held_draft.plan.writes) == (Verdict.OK, ())


def test_excluded_successor_does_not_hold_a_deactivation() -> None:
    """An excluded successor is not part of the plan."""
    account = ModelAccount(n01000000001="ACTIVE", n01000000002="PENDING")
    desired = _desired(n01000000001=_OFF, n01000000002=_ON)
    for selection in (Selection(only=frozenset({A})), Selection(exclude=frozenset({B}))):
        draft = _draft(desired, account, structs.replace(_terms("hold"), selection=selection))
        assert _actions(draft) == {A: Action.DEACTIVATE}


def test_swap_notice_omits_numbers_held_by_the_in_use_guard() -> None:
    """The notice names only the remaining deactivations."""
    account = ModelAccount(n01000000001="ACTIVE", n01000000003="ACTIVE", n01000000002="PENDING")
    account.use = NumberUse({A: "busy"})
    desired = _desired(n01000000001=_OFF, n01000000003=_OFF, n01000000002=_ON)
    terms = structs.replace(_terms(), in_use=InUse(enabled=True))
    (notice,) = (item for item in _draft(desired, account, terms).plan.notices if item.kind is NoticeKind.SWAP)
    assert f"would deactivate {C};" in notice.message
    held_draft = _draft(desired, account, structs.replace(terms, safety=Safety("100%", 0, "hold")))
    assert _actions(held_draft) == {A: Action.HELD, C: Action.HELD, B: Action.BLOCKED}
    assert account.usage_queries == [((A, C), 24)]


def test_drift_shows_held_swaps() -> None:
    """Drift has the same holds as a plan."""
    account = ModelAccount(n01000000001="ACTIVE", n01000000002="PENDING")
    desired = _desired(n01000000001=_OFF, n01000000002=_ON)
    held_draft = _draft(desired, account, structs.replace(_terms("hold"), drift=True))
    assert _actions(held_draft) == {A: Action.HELD, B: Action.BLOCKED}
    warned_draft = _draft(desired, account, structs.replace(_terms(), drift=True))
    assert NoticeKind.SWAP in {notice.kind for notice in warned_draft.plan.notices}


def test_incomplete_swap_with_pair_swaps_warn_has_a_notice() -> None:
    """The run deactivates a number although an activation is impossible or failed."""
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
    account = ModelAccount(n01000000001="ACTIVE", n01000000002="INACTIVE")
    result = _apply(_desired(n01000000001=_OFF, n01000000002=_ON), account, _terms())
    assert (_outcomes(result), result.notices) == ({A: Outcome.CHANGED, B: Outcome.CHANGED}, ())


@pytest.mark.parametrize("current_status", [Status.PENDING, None])
@pytest.mark.parametrize(("mode", "outcome"), [("hold", "held"), ("warn", "changed")])
def test_saved_plan_holds_if_an_activation_became_a_conflict(
    mode: PairSwaps, outcome: str, current_status: Status | None
) -> None:
    """The successor became PENDING or was removed after the plan was made: the old number stays ACTIVE."""
    account = ModelAccount(n01000000001="ACTIVE", n01000000002="INACTIVE")
    saved = _saved(_desired(n01000000001=_OFF, n01000000002=_ON), account, mode)
    if current_status is None:
        del account.statuses[B]
    else:
        account.statuses[B] = current_status
    result = _apply_saved(saved, account)
    assert _outcomes(result) == {A: outcome, B: "conflict"}
    assert bool(account.written) == (mode == "warn")
    assert (NoticeKind.SWAP in {notice.kind for notice in result.notices}) == (mode == "warn")


def test_saved_plan_holds_if_an_activation_has_expired() -> None:
    """A successor that the file no longer desires ACTIVE is not activated, so the old number is held."""
    account = ModelAccount(n01000000001="ACTIVE", n01000000002="INACTIVE")
    until = Desired(Status.ACTIVE, until="2026-11-24T09:00:00Z", because="scheduled ACTIVE: sale")
    saved = _saved(_desired(n01000000001=_OFF, n01000000002=until), account, "hold")
    result = _apply_saved(saved, account, datetime(2026, 11, 24, 9, tzinfo=UTC))
    assert (_outcomes(result), account.written) == ({A: Outcome.HELD, B: Outcome.CONFLICT}, [])


def test_saved_plan_deactivates_if_its_successor_is_already_active() -> None:
    """An operator activated the successor: the deactivation completes the swap."""
    account = ModelAccount(n01000000001="ACTIVE", n01000000002="INACTIVE")
    saved = _saved(_desired(n01000000001=_OFF, n01000000002=_ON), account, "hold")
    account.statuses[B] = Status.ACTIVE
    result = _apply_saved(saved, account)
    assert (_outcomes(result), account.statuses[A]) == ({A: Outcome.CHANGED}, Status.INACTIVE)


def test_saved_plan_has_the_impossible_activations() -> None:
    """With `warn`, a plan with deactivations has its protected successors too."""
    account = ModelAccount(n01000000001="ACTIVE", n01000000002="INACTIVE", n01000000003="PENDING")
    saved = _saved(_desired(n01000000001=_OFF, n01000000002=_PROTECTED, n01000000003=_ON), account, "warn")
    assert {change.phone for change in saved.impossible} == {B, C}
    result = _apply_saved(saved, account)
    assert _outcomes(result) == {A: Outcome.CHANGED, B: Outcome.PROTECTED, C: Outcome.BLOCKED}
    (notice,) = (item for item in result.notices if item.kind is NoticeKind.SWAP)
    assert f"{C} (blocked)" in notice.message
    assert f"{B} (protected)" in notice.message
    saved_without_deactivations = _saved(_desired(n01000000002=_PROTECTED, n01000000003=_ON), account, "warn")
    assert {change.phone for change in saved_without_deactivations.impossible} == {C}


def test_saved_plan_with_held_changes_only_writes_nothing() -> None:
    """The plan of an impossible swap has no writes. An apply reports the held number."""
    account = ModelAccount(n01000000001="ACTIVE", n01000000002="PENDING")
    saved = _saved(_desired(n01000000001=_OFF, n01000000002=_ON), account, "hold")
    assert saved.changes == ()
    assert (_outcomes(_apply_saved(saved, account)), account.written) == ({A: Outcome.HELD, B: Outcome.BLOCKED}, [])


def _rollback(pair_swaps: PairSwaps) -> SavedAccount:
    """Return the rollback of a run that replaced A by B."""
    numbers = changed_number(A, "ACTIVE", "INACTIVE"), changed_number(B, "INACTIVE", "ACTIVE")
    record = account_record(*numbers, account_id="1", safety=Safety("100%", 0, pair_swaps))
    return inverse_plan(record, "run-1")


def test_rollback_holds_if_the_old_number_is_blocked() -> None:
    """The successor stays ACTIVE, in preview and run."""
    account = ModelAccount(n01000000001="BLOCKED", n01000000002="ACTIVE")
    saved = _rollback("hold")
    shown_draft = run(preview(saved, account, frozenset(), _recall_nothing, Recorder()))
    assert _actions(shown_draft) == {A: Action.BLOCKED, B: Action.HELD}
    assert shown_draft.plan.counts[Action.HELD] == 1
    result = _apply_saved(limit_to_preview(saved, shown_draft.plan), account)
    assert (_outcomes(result), account.written) == ({A: Outcome.CONFLICT, B: Outcome.HELD}, [])


def test_rollback_holds_if_the_old_number_is_blocked_after_the_preview() -> None:
    """The run reads again and finds the number BLOCKED."""
    account = ModelAccount(n01000000001="INACTIVE", n01000000002="ACTIVE")
    saved = _rollback("hold")
    shown_draft = run(preview(saved, account, frozenset(), _recall_nothing, Recorder()))
    assert _actions(shown_draft) == {A: Action.ACTIVATE, B: Action.DEACTIVATE}
    account.statuses[A] = Status.BLOCKED
    result = _apply_saved(limit_to_preview(saved, shown_draft.plan), account)
    assert (_outcomes(result), account.written) == ({A: Outcome.CONFLICT, B: Outcome.HELD}, [])


def test_rollback_with_warn_has_a_swap_notice() -> None:
    """By default the successor is deactivated. Preview and result have the notice."""
    account = ModelAccount(n01000000001="BLOCKED", n01000000002="ACTIVE")
    saved = _rollback("warn")
    shown_draft = run(preview(saved, account, frozenset(), _recall_nothing, Recorder()))
    assert NoticeKind.SWAP in {notice.kind for notice in shown_draft.plan.notices}
    result = _apply_saved(limit_to_preview(saved, shown_draft.plan), account)
    assert _outcomes(result)[B] is Outcome.CHANGED
    assert NoticeKind.SWAP in {notice.kind for notice in result.notices}
