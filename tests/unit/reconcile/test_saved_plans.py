"""A saved plan is applied once, and only the writes that its files still desire."""

from array import array
from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from msgspec.structs import replace

from tests.support.model_account import ModelAccount, Recorder
from tests.support.virtual_time import run
from worker.config.files import locate
from worker.ledger import NullLedger
from worker.model.accounts import (
    AccountMemory,
    Acknowledgement,
    DatedWindow,
    Desired,
    DesiredAccount,
    PlanFile,
    PlanFileUse,
    Schedule,
    Status,
)
from worker.model.errors import PolicyRefusal
from worker.model.plans import AccountPlan, Action, Change, NoticeKind, Verdict
from worker.model.results import AccountResult, Outcome, RunOutcome
from worker.model.safety import InUse, Safety
from worker.plan.comparison import CurrentFiles
from worker.plan.planfile import SavedAccount
from worker.plan.safety import RULES, replay
from worker.reconcile.account import apply_saved, preview_saved
from worker.reconcile.executor import Pace

A, B = "0100001", "0100002"
NOW = datetime(2026, 11, 24, tzinfo=UTC)
PLAN = PlanFile("p1", "2026-11-24T00:00:00.000Z")
EARLIER = PlanFileUse("r1", "2026-11-24T01:00:00.000Z", was_applied=True)

SAVED = SavedAccount(
    account="main",
    account_id="1",
    source="main.yaml",
    endpoint="solapi",
    credentials=None,
    safety=Safety(max_deactivations=1, min_active=0),
    changes=(
        Change(A, Action.DEACTIVATE, "ACTIVE", "INACTIVE", "listed as INACTIVE"),
        Change(B, Action.DEACTIVATE, "ACTIVE", "INACTIVE", "listed as INACTIVE"),
    ),
)


class _LedgerWithEarlierRun(NullLedger):
    """A null ledger that reports an earlier run."""

    def __init__(self, earlier: PlanFileUse | None) -> None:
        super().__init__()
        self.earlier = earlier
        self.plan_queries: list[tuple[PlanFile, Collection[str]]] = []
        self.planned: list[AccountPlan] = []

    async def record_plan(self, plan: AccountPlan, fingerprint: str) -> None:
        """Keep the plan."""
        del fingerprint
        self.planned.append(plan)

    async def earlier_run(self, plan: PlanFile, phones: Collection[str]) -> PlanFileUse | None:
        """Return the earlier run for any plan."""
        self.plan_queries.append((plan, phones))
        return self.earlier


def _account() -> ModelAccount:
    return ModelAccount(n0100001="ACTIVE", n0100002="ACTIVE", n0100003="ACTIVE")


def _files(**numbers: str) -> CurrentFiles:
    listed = {phone.lstrip("n"): Desired(Status(status)) for phone, status in numbers.items()}
    return CurrentFiles(DesiredAccount("main", "main.yaml", listed, array("I", range(3, 3 + len(listed)))))


def _apply_saved(
    account: ModelAccount,
    saved: SavedAccount = SAVED,
    *,
    ledger: NullLedger | None = None,
    plan: PlanFile | None = None,
    files: CurrentFiles | None = None,
    wall: datetime = NOW,
    now: datetime = NOW,
) -> AccountResult:
    log = Recorder()
    return run(
        apply_saved(
            saved,
            account,
            frozenset(),
            ledger=ledger or NullLedger(),
            pace=Pace(4, 900.0, wall.timestamp),
            log=log,
            meter=log,
            now=now,
            plan=plan,
            files=files,
        )
    ).result


def test_used_up_plan_is_refused_before_any_request() -> None:
    """Neither the numbers nor their usage are read. The ledger is asked about the numbers of the plan."""
    account, ledger = _account(), _LedgerWithEarlierRun(EARLIER)
    with pytest.raises(PolicyRefusal) as caught:
        _apply_saved(account, replace(SAVED, in_use=InUse(enabled=True)), ledger=ledger, plan=PLAN)
    assert [refusal.rule for refusal in caught.value.refusals] == ["replay"]
    assert ledger.plan_queries == [(PLAN, [A, B])]
    assert (account.reads, account.written) == (0, [])


def test_unused_plan_is_applied() -> None:
    account, ledger = _account(), _LedgerWithEarlierRun(None)
    result = _apply_saved(account, replace(SAVED, changes=SAVED.changes[:1]), ledger=ledger, plan=PLAN)
    assert (result.outcome, account.written) == (RunOutcome.CONVERGED, [(A, "INACTIVE")])
    assert len(ledger.plan_queries) == 1


def test_only_plan_files_are_checked_for_replay() -> None:
    """A rollback, and an apply with `--allow replay`, do not ask the ledger."""
    account, ledger = _account(), _LedgerWithEarlierRun(EARLIER)
    _apply_saved(account, replace(SAVED, changes=SAVED.changes[:1]), ledger=ledger)
    assert (ledger.plan_queries, account.written) == ([], [(A, "INACTIVE")])


def test_replay_refusal_names_run_time_and_option() -> None:
    """The plan was applied before, or another run wrote to its numbers since."""
    assert "replay" in RULES
    assert replay(EARLIER).message == (
        "run r1 already applied this plan at 2026-11-24T01:00:00.000Z: plan again, or add --allow replay to apply it "
        "again"
    )
    assert replay(replace(EARLIER, was_applied=False)).message == (
        "run r1 wrote to numbers of this plan at 2026-11-24T01:00:00.000Z, after the plan was created: plan again, or "
        "add --allow replay to apply it anyway"
    )


def test_stale_write_is_conflict_and_the_others_are_written() -> None:
    """The safety rules count the remaining writes: two deactivations would exceed the limit."""
    account = _account()
    with pytest.raises(PolicyRefusal, match="2 of 3 ACTIVE numbers would be deactivated"):
        _apply_saved(account, files=_files(n0100001="INACTIVE", n0100002="INACTIVE"))
    assert account.written == []
    result = _apply_saved(account, files=_files(n0100001="INACTIVE", n0100002="ACTIVE"))
    assert account.written == [(A, "INACTIVE")]
    conflict = next(number for number in result.numbers if number.phone == B)
    assert (conflict.outcome, conflict.before, conflict.after) == (Outcome.CONFLICT, "ACTIVE", "ACTIVE")
    assert conflict.error is not None
    assert (conflict.error.code, conflict.error.message) == ("Conflict", "main.yaml:4 now desires ACTIVE: plan again")
    assert (result.outcome, result.counts[Outcome.CHANGED]) == (RunOutcome.PARTIAL, 1)


def test_stale_write_is_conflict_even_if_the_number_has_the_planned_status() -> None:
    account = ModelAccount(n0100001="INACTIVE", n0100002="INACTIVE")
    result = _apply_saved(account, files=_files(n0100001="INACTIVE", n0100002="ACTIVE"))
    assert {number.phone: number.outcome for number in result.numbers} == {B: Outcome.CONFLICT}
    assert account.written == []


def test_usage_of_stale_writes_is_not_queried() -> None:
    """The in-use guard queries only numbers that may be written."""
    account = _account()
    saved = replace(SAVED, in_use=InUse(enabled=True))
    _apply_saved(account, saved, files=_files(n0100001="INACTIVE", n0100002="ACTIVE"))
    assert [phones for phones, _ in account.usage_queries] == [(A,)]


@pytest.mark.parametrize(("second", "written"), [(-1, [(A, "INACTIVE")]), (0, [])])
def test_write_that_expires_during_the_apply_is_conflict(second: int, written: list[tuple[str, str]]) -> None:
    """The file got an end after the plan was made, which passes during the reads."""
    end = datetime(2026, 11, 24, 9, tzinfo=UTC)
    schedule = Schedule(None, (DatedWindow(Status.INACTIVE, None, end),), (), "UTC")
    account = _account()
    files = _files(n0100001="INACTIVE")
    assert files.desired is not None
    scheduled = CurrentFiles(replace(files.desired, schedules={A: schedule}))
    saved = replace(SAVED, changes=SAVED.changes[:1])
    result = _apply_saved(account, saved, files=scheduled, wall=end + timedelta(seconds=second))
    assert account.written == written
    assert result.counts[Outcome.CONFLICT] == (not written)


_SWAP = replace(
    SAVED,
    safety=Safety("100%", 0, "hold"),
    changes=(
        Change(A, Action.DEACTIVATE, "ACTIVE", "INACTIVE", "listed as INACTIVE"),
        Change(B, Action.ACTIVATE, "INACTIVE", "ACTIVE", "listed as ACTIVE", until="2026-11-24T00:00:00Z"),
    ),
)


@pytest.mark.parametrize(
    ("now", "files"),
    [
        (NOW, None),
        (NOW - timedelta(seconds=1), _files(n0100001="INACTIVE", n0100002="INACTIVE")),
    ],
)
def test_activation_that_is_no_longer_due_holds_the_deactivation(now: datetime, files: CurrentFiles | None) -> None:
    """The schedule has ended, or the file desires another status. The deactivation is not even planned."""
    account = ModelAccount(n0100001="ACTIVE", n0100002="INACTIVE", n0100003="ACTIVE")
    ledger = _LedgerWithEarlierRun(None)
    result = _apply_saved(account, _SWAP, ledger=ledger, files=files, now=now)
    assert {number.phone: number.outcome for number in result.numbers} == {A: Outcome.HELD, B: Outcome.CONFLICT}
    assert (ledger.planned, account.written, account.reads) == ([], [], 1)


def test_missing_files_are_a_notice_of_the_result() -> None:
    """The writes are sent."""
    account = _account()
    result = _apply_saved(account, replace(SAVED, changes=SAVED.changes[:1]), files=CurrentFiles(None, ("main.yaml",)))
    assert [notice.kind for notice in result.notices] == [NoticeKind.FILES]
    assert (result.outcome, account.written) == (RunOutcome.CONVERGED, [(A, "INACTIVE")])


def test_file_is_located_by_its_path_or_its_longest_suffix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a folder, paths are relative to the working directory. With a folder, only files in it are located."""
    monkeypatch.chdir(tmp_path)
    for name in ("here/a.yaml", "moved/a.yaml", "moved/config/a.yaml", "moved/b.yaml", "c.yaml", "stdin"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    assert locate("here/a.yaml", None) == "here/a.yaml"
    assert locate(str(tmp_path / "here/a.yaml"), None) == str(tmp_path / "here/a.yaml")
    assert locate("config/a.yaml", None) is None
    assert locate("config/a.yaml", "moved") == "moved/config/a.yaml"
    assert locate("here/a.yaml", "moved") == "moved/a.yaml"
    assert locate(str(tmp_path / "config/b.yaml"), "moved") == "moved/b.yaml"
    assert locate("../c.yaml", "moved") is None
    assert locate("./here/../config/./a.yaml", "moved") == "moved/config/a.yaml"
    assert locate("nowhere.yaml", "moved") is None
    assert locate("stdin", None) is None
    assert locate("a\0b", None) is None
    assert locate("x" * 5000, "moved") is None


def test_broken_symlink_is_located(tmp_path: Path) -> None:
    """Reading the link is an error. It does not count as a missing file."""
    (tmp_path / "main.yaml").symlink_to("nowhere")
    assert locate("config/main.yaml", str(tmp_path)) == str(tmp_path / "main.yaml")


def _preview(
    account: ModelAccount,
    saved: SavedAccount = SAVED,
    *,
    earlier: PlanFileUse | None = None,
    files: CurrentFiles | None = None,
) -> AccountPlan:
    async def recall(_: str | None) -> AccountMemory:
        return AccountMemory()

    return run(
        preview_saved(saved, account, frozenset(), recall, Recorder(), now=NOW, earlier=earlier, files=files)
    ).plan


def test_preview_of_a_used_up_plan_is_refused_before_any_request() -> None:
    account = _account()
    plan = _preview(account, earlier=EARLIER)
    assert (plan.verdict, [refusal.rule for refusal in plan.refusals]) == (Verdict.REFUSED, ["replay"])
    assert account.reads == 0


def test_preview_shows_what_an_apply_would_write() -> None:
    """The rules count only the remaining writes."""
    account = _account()
    refused = _preview(account)
    assert (refused.verdict, [refusal.rule for refusal in refused.refusals]) == (Verdict.REFUSED, ["max-deactivations"])
    plan = _preview(account, files=_files(n0100001="INACTIVE", n0100002="ACTIVE"))
    assert plan.verdict is Verdict.OK
    assert [(change.phone, change.action) for change in plan.changes] == [
        (A, Action.DEACTIVATE),
        (B, Action.BLOCKED),
    ]
    assert "plan again" in plan.changes[1].reason
    assert (account.reads, account.written) == (2, [])


def test_preview_blocks_conflicts_and_counts_what_is_done() -> None:
    """A number that the plan could not change stays in it, with its current status."""
    stuck = Change("0100003", Action.MISSING, None, "ACTIVE", "not registered")
    account = ModelAccount(n0100001="PENDING", n0100002="INACTIVE", n0100003="ACTIVE")
    plan = _preview(account, replace(SAVED, impossible=(stuck,)))
    assert [(change.phone, change.action, change.observed) for change in plan.changes] == [
        (A, Action.BLOCKED, "PENDING"),
        ("0100003", Action.MISSING, "ACTIVE"),
    ]
    assert plan.changes[0].reason == "the number was ACTIVE when planned, and is PENDING now: plan again"
    assert plan.counts[Action.UNCHANGED] == 1


_KNOWN = Change("0100003", Action.ACKNOWLEDGED, "PENDING", "ACTIVE", "acknowledged until …")
_WITH_KNOWN = replace(SAVED, changes=SAVED.changes[:1], impossible=(_KNOWN,))


def _with_acknowledgement(until: datetime) -> CurrentFiles:
    files = _files(n0100001="INACTIVE", n0100002="ACTIVE", n0100003="ACTIVE")
    assert files.desired is not None
    known = {"0100003": Acknowledgement("documents sent", until, observed="PENDING")}
    return replace(files, desired=replace(files.desired, acknowledgements=known))


@pytest.mark.parametrize("files", [None, _with_acknowledgement(NOW + timedelta(seconds=1))])
def test_saved_plan_reports_no_notice_on_an_acknowledged_status(files: CurrentFiles | None) -> None:
    account = ModelAccount(n0100001="ACTIVE", n0100002="ACTIVE", n0100003="PENDING")
    assert _preview(account, _WITH_KNOWN, files=files).notices == ()
    result = _apply_saved(account, _WITH_KNOWN, files=files)
    assert (result.outcome, result.notices, account.written) == (RunOutcome.CONVERGED, (), [(A, "INACTIVE")])


def test_acknowledgement_that_has_ended_is_a_conflict_of_a_saved_plan() -> None:
    """The preview blocks it. The number has no conflict if it has reached its desired status."""
    files = _with_acknowledgement(NOW)
    reason = "main.yaml:5 no longer acknowledges the status of this number: plan again"
    for status, actions, outcomes in (
        ("PENDING", [Action.DEACTIVATE, Action.BLOCKED], [Outcome.CHANGED, Outcome.CONFLICT]),
        ("ACTIVE", [Action.DEACTIVATE, Action.ACKNOWLEDGED], [Outcome.CHANGED]),
    ):
        account = ModelAccount(n0100001="ACTIVE", n0100002="ACTIVE", n0100003=status)
        plan = _preview(account, _WITH_KNOWN, files=files)
        assert [change.action for change in plan.changes] == actions
        result = _apply_saved(account, _WITH_KNOWN, files=files)
        assert [number.outcome for number in result.numbers] == outcomes
        if status == "PENDING":
            assert plan.changes[1].reason == reason
            assert [number.error.message for number in result.numbers if number.error] == [reason]
