"""Rollbacks of a run, on an account that others change too."""

from datetime import UTC, datetime

import pytest
from msgspec.structs import replace

from tests.support.model_account import ModelAccount, Recorder
from tests.support.records import account_record, changed_number
from tests.support.virtual_time import run
from worker.ledger import NullLedger
from worker.model.accounts import AccountMemory, Desired, Group, NumberUse, Status
from worker.model.credentials import CredentialsRef, SecretRef
from worker.model.errors import CredentialsMissing
from worker.model.history import AccountRecord, NumberRecord
from worker.model.plans import AccountPlan, Action, NoticeKind, Verdict
from worker.model.results import Outcome, RunOutcome
from worker.model.safety import InUse, Safety
from worker.plan.build import Draft
from worker.plan.planfile import SavedAccount
from worker.reconcile.account import apply_saved
from worker.reconcile.executor import Pace
from worker.reconcile.rollback import failed_preview, inverse_plan, limit_to_preview, preview

A, B, C = "0100001", "0100002", "0100003"
_SUPERSEDED = "changed since that run and therefore not rolled back; run `senderid plan` to see its state"


def _record(*numbers: NumberRecord, safety: Safety | None = None) -> AccountRecord:
    return account_record(*numbers, account_id="1", safety=safety or Safety("100%", 0), sha256="ab", commit="cd")


def _rollback(*numbers: NumberRecord, safety: Safety | None = None) -> SavedAccount:
    return inverse_plan(_record(*numbers, safety=safety), "run-1")


def _preview(saved: SavedAccount, account: ModelAccount, memory: AccountMemory | None = None) -> Draft:
    async def recall(account_id: str | None) -> AccountMemory:
        assert account_id == "1"
        return memory or AccountMemory()

    return run(preview(saved, account, frozenset(), recall, Recorder()))


def test_rollback_uses_the_context_of_its_run() -> None:
    """Endpoint, safety rules, credentials, groups and file are those of the run."""
    saved = _rollback(changed_number(A, "ACTIVE", "INACTIVE"), safety=Safety("20%", 3))
    assert (saved.account, saved.account_id, saved.endpoint, saved.safety) == ("main", "1", "solapi", Safety("20%", 3))
    assert (saved.source, saved.sha256, saved.commit) == ("main.yaml", "ab", "cd")
    assert inverse_plan(replace(_record(), numbers=None), "run-1").changes == ()
    reference = SecretRef(env="KEY")
    record = replace(
        _record(),
        credentials=CredentialsRef(reference, reference),
        in_use=InUse(enabled=True, hours=7),
        groups=(Group("support", (A,), 1),),
    )
    rollback = inverse_plan(record, "run-1")
    assert (rollback.credentials, rollback.in_use, rollback.groups) == (
        record.credentials,
        record.in_use,
        record.groups,
    )


@pytest.mark.parametrize(
    ("allow", "rules"), [((), ["max-deactivations"]), (("max-deactivations",), []), (("all",), [])]
)
def test_rollback_is_refused_by_the_rules_of_its_run_unless_allowed(allow: tuple[str, ...], rules: list[str]) -> None:
    saved = _rollback(*(changed_number(phone, "INACTIVE", "ACTIVE") for phone in (A, B)), safety=Safety(1, 0))
    account = ModelAccount(n0100001="ACTIVE", n0100002="ACTIVE")

    async def recall(_: str | None) -> AccountMemory:
        return AccountMemory()

    draft = run(preview(saved, account, frozenset(allow), recall, Recorder()))
    assert [refusal.rule for refusal in draft.plan.refusals] == rules
    assert (draft.plan.account, draft.plan.account_id, draft.plan.active) == ("main", "1", 2)


def test_only_numbers_as_the_run_left_them_are_due() -> None:
    """A number as before the run is unchanged. A number with any other status is blocked."""
    saved = _rollback(
        changed_number(A, "ACTIVE", "INACTIVE"),
        changed_number(B, "INACTIVE", "ACTIVE"),
        changed_number(C, "ACTIVE", "INACTIVE"),
    )
    draft = _preview(saved, ModelAccount(n0100001="INACTIVE", n0100002="INACTIVE", n0100003="PENDING"))
    assert [(change.phone, change.action, change.observed) for change in draft.plan.changes] == [
        (A, Action.ACTIVATE, "INACTIVE"),
        (C, Action.BLOCKED, "PENDING"),
    ]
    assert draft.plan.changes[1].reason == _SUPERSEDED
    assert {action: n for action, n in draft.plan.counts.items() if n} == {
        Action.ACTIVATE: 1,
        Action.BLOCKED: 1,
        Action.UNCHANGED: 1,
    }
    assert list(draft.unchanged()) == [(B, "INACTIVE")]
    assert draft.desired == {A: Desired(Status.ACTIVE), B: Desired(Status.INACTIVE), C: Desired(Status.ACTIVE)}
    draft_without_numbers = _preview(saved, ModelAccount(n0100002="INACTIVE"))
    assert {change.phone: change.observed for change in draft_without_numbers.plan.changes} == {A: None, C: None}


def test_deactivations_of_a_crashed_rollback_count() -> None:
    """A rollback that crashed does not get a new allowance when it is started again."""
    saved = _rollback(*(changed_number(phone, "INACTIVE", "ACTIVE") for phone in (A, B, C)), safety=Safety(2, 0))
    account = ModelAccount(n0100001="INACTIVE", n0100002="ACTIVE", n0100003="ACTIVE")
    assert _preview(saved, account).plan.verdict is Verdict.OK
    draft = _preview(saved, account, AccountMemory(spent=frozenset({A})))
    assert [refusal.rule for refusal in draft.plan.refusals] == ["max-deactivations"]
    assert draft.plan.verdict is Verdict.REFUSED


def test_unreadable_account_keeps_its_numbers_in_the_preview() -> None:
    error = CredentialsMissing("no key")
    plan = AccountPlan(
        account="main", account_id="1", verdict=Verdict.ERROR, error=error.info, counts=dict.fromkeys(Action, 0)
    )
    draft = failed_preview(_rollback(changed_number(A, "ACTIVE", "INACTIVE")), error)
    assert draft == Draft(plan, {A: Desired(Status.ACTIVE)}, error)


def test_number_not_due_in_the_preview_is_not_written() -> None:
    """A number that returns to the status after the run once the preview was shown is not written."""
    saved = _rollback(
        changed_number(A, "ACTIVE", "INACTIVE"),
        changed_number(B, "ACTIVE", "INACTIVE"),
        changed_number(C, "ACTIVE", "INACTIVE"),
    )
    draft = _preview(saved, ModelAccount(n0100001="INACTIVE", n0100002="PENDING", n0100003="ACTIVE"))
    account = ModelAccount(n0100001="INACTIVE", n0100002="INACTIVE", n0100003="INACTIVE")
    due = limit_to_preview(saved, draft.plan)
    assert [(change.phone, change.reason) for change in due.impossible] == [(B, _SUPERSEDED), (C, _SUPERSEDED)]
    moment = datetime(2026, 11, 24, tzinfo=UTC)
    result = run(
        apply_saved(
            due,
            account,
            frozenset(),
            ledger=NullLedger(),
            pace=Pace(4, 900.0),
            log=Recorder(),
            meter=Recorder(),
            now=moment,
        )
    ).result
    assert account.written == [(A, "ACTIVE")]
    assert {number.phone: number.outcome for number in result.numbers} == {
        A: Outcome.CHANGED,
        B: Outcome.BLOCKED,
        C: Outcome.BLOCKED,
    }
    assert result.outcome is RunOutcome.PARTIAL


def test_preview_has_the_notices_of_the_account() -> None:
    saved = replace(_rollback(changed_number(A, "ACTIVE", "INACTIVE")), groups=(Group("support", (B,), 1),))
    notices = _preview(saved, ModelAccount(n0100001="INACTIVE", n0100002="PENDING")).plan.notices
    assert [(notice.kind, notice.phone) for notice in notices] == [(NoticeKind.GROUP, None), (NoticeKind.PENDING, B)]


@pytest.mark.parametrize(("allow", "action"), [((), Action.HELD), (("in-use",), Action.DEACTIVATE)])
def test_number_in_use_is_not_rolled_back_unless_allowed(allow: tuple[str, ...], action: Action) -> None:
    saved = replace(
        _rollback(changed_number(A, "INACTIVE", "ACTIVE"), safety=Safety("100%", 0)), in_use=InUse(enabled=True)
    )
    account = ModelAccount(n0100001="ACTIVE")
    account.use = NumberUse({A: "it has sent messages"})

    async def recall(_: str | None) -> AccountMemory:
        return AccountMemory()

    draft = run(preview(saved, account, frozenset(allow), recall, Recorder()))
    assert [change.action for change in draft.plan.changes] == [action]
