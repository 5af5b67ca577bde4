"""A saved plan is carried out once, and of its writes those alone that its files still ask for."""

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
from worker.model.accounts import DatedWindow, Desired, DesiredAccount, PlanFile, PlanFileUse, Schedule, Status
from worker.model.errors import PolicyRefusal
from worker.model.plans import Action, Change, NoticeKind
from worker.model.results import AccountResult, Outcome, RunOutcome
from worker.model.safety import InUse, Safety
from worker.plan.comparison import CurrentFiles
from worker.plan.planfile import SavedAccount
from worker.plan.safety import RULES, replay
from worker.reconcile.account import apply_saved
from worker.reconcile.executor import Pace

A, B = "0100001", "0100002"
NOW = datetime(2026, 11, 24, tzinfo=UTC)
PLAN = PlanFile("p1", "2026-11-24T00:00:00.000Z")
EARLIER = PlanFileUse("r1", "2026-11-24T01:00:00.000Z", carried_out=True)

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


class _Remembering(NullLedger):
    """A ledger that knows of an earlier run."""

    def __init__(self, earlier: PlanFileUse | None) -> None:
        super().__init__()
        self.earlier = earlier
        self.asked: list[tuple[PlanFile, Collection[str]]] = []

    async def earlier_run(self, plan: PlanFile, phones: Collection[str]) -> PlanFileUse | None:
        """The run, whatever is asked."""
        self.asked.append((plan, phones))
        return self.earlier


def _account() -> ModelAccount:
    return ModelAccount(n0100001="ACTIVE", n0100002="ACTIVE", n0100003="ACTIVE")


def _files(**numbers: str) -> CurrentFiles:
    listed = {phone.lstrip("n"): Desired(Status(status)) for phone, status in numbers.items()}
    return CurrentFiles(DesiredAccount("main", "main.yaml", listed, array("I", range(3, 3 + len(listed)))))


def _applied(
    account: ModelAccount,
    saved: SavedAccount = SAVED,
    *,
    ledger: NullLedger | None = None,
    plan: PlanFile | None = None,
    files: CurrentFiles | None = None,
    wall: datetime = NOW,
) -> AccountResult:
    heard = Recorder()
    return run(
        apply_saved(
            saved,
            account,
            frozenset(),
            ledger=ledger or NullLedger(),
            pace=Pace(4, 900.0, wall.timestamp),
            log=heard,
            meter=heard,
            now=NOW,
            plan=plan,
            files=files,
        )
    ).result


def test_a_used_up_plan_is_refused_before_the_account_is_asked_anything() -> None:
    """Neither its numbers nor their use are read; the ledger is asked about the plan's numbers."""
    account, ledger = _account(), _Remembering(EARLIER)
    with pytest.raises(PolicyRefusal) as refused:
        _applied(account, replace(SAVED, in_use=InUse(enabled=True)), ledger=ledger, plan=PLAN)
    assert [refusal.rule for refusal in refused.value.refusals] == ["replay"]
    assert ledger.asked == [(PLAN, [A, B])]
    assert (account.reads, account.written) == (0, [])


def test_a_plan_that_no_run_used_up_is_carried_out() -> None:
    """The ledger is asked and knows of none."""
    account, ledger = _account(), _Remembering(None)
    result = _applied(account, replace(SAVED, changes=SAVED.changes[:1]), ledger=ledger, plan=PLAN)
    assert (result.outcome, account.written) == (RunOutcome.CONVERGED, [(A, "INACTIVE")])
    assert len(ledger.asked) == 1


def test_what_is_of_no_plan_file_is_no_replay() -> None:
    """A rollback, or an apply with --allow replay, does not ask the ledger."""
    account, ledger = _account(), _Remembering(EARLIER)
    _applied(account, replace(SAVED, changes=SAVED.changes[:1]), ledger=ledger)
    assert (ledger.asked, account.written) == ([], [(A, "INACTIVE")])


def test_a_refusal_names_the_run_its_time_and_the_option() -> None:
    """For a plan that was carried out, and for one whose numbers another run wrote since."""
    assert "replay" in RULES
    assert replay(EARLIER).message == (
        "run r1 carried out this plan already, at 2026-11-24T01:00:00.000Z: plan again, or add --allow replay to carry "
        "it out anyway"
    )
    assert replay(replace(EARLIER, carried_out=False)).message == (
        "run r1 wrote to numbers of this plan at 2026-11-24T01:00:00.000Z, after the plan was created: plan again, or "
        "add --allow replay to carry it out anyway"
    )


def test_a_number_that_its_file_wants_otherwise_is_a_conflict_and_the_rest_is_written() -> None:
    """The safety rules count what is left: two deactivations would be one too many."""
    account = _account()
    with pytest.raises(PolicyRefusal, match="2 of 3 ACTIVE numbers would be deactivated"):
        _applied(account, files=_files(n0100001="INACTIVE", n0100002="INACTIVE"))
    assert account.written == []
    result = _applied(account, files=_files(n0100001="INACTIVE", n0100002="ACTIVE"))
    assert account.written == [(A, "INACTIVE")]
    conflict = next(number for number in result.numbers if number.phone == B)
    assert (conflict.outcome, conflict.before, conflict.after) == (Outcome.CONFLICT, "ACTIVE", "ACTIVE")
    assert conflict.error is not None
    assert (conflict.error.code, conflict.error.message) == ("Conflict", "main.yaml:4 now desires ACTIVE: plan again")
    assert (result.outcome, result.counts[Outcome.CHANGED]) == (RunOutcome.PARTIAL, 1)


def test_a_number_that_is_already_as_planned_is_a_conflict_where_its_file_wants_otherwise() -> None:
    """It is no success that the number is as the plan wanted it."""
    account = ModelAccount(n0100001="INACTIVE", n0100002="INACTIVE")
    result = _applied(account, files=_files(n0100001="INACTIVE", n0100002="ACTIVE"))
    assert {number.phone: number.outcome for number in result.numbers} == {B: Outcome.CONFLICT}
    assert account.written == []


def test_numbers_that_no_file_asks_for_are_not_asked_about() -> None:
    """The in-use guard hears of those alone that may be written."""
    account = _account()
    saved = replace(SAVED, in_use=InUse(enabled=True))
    _applied(account, saved, files=_files(n0100001="INACTIVE", n0100002="ACTIVE"))
    assert [phones for phones, _ in account.asked] == [(A,)]


@pytest.mark.parametrize(("second", "written"), [(-1, [(A, "INACTIVE")]), (0, [])])
def test_what_the_file_ceases_to_ask_for_on_the_way_is_not_written(second: int, written: list[tuple[str, str]]) -> None:
    """The file gained an end since it was planned, and reads took until then."""
    end = datetime(2026, 11, 24, 9, tzinfo=UTC)
    schedule = Schedule(None, (DatedWindow(Status.INACTIVE, None, end),), (), "UTC")
    account = _account()
    files = _files(n0100001="INACTIVE")
    assert files.desired is not None
    scheduled = CurrentFiles(replace(files.desired, schedules={A: schedule}))
    saved = replace(SAVED, changes=SAVED.changes[:1])
    result = _applied(account, saved, files=scheduled, wall=end + timedelta(seconds=second))
    assert account.written == written
    assert result.counts[Outcome.CONFLICT] == (not written)


def test_files_that_are_not_found_are_a_notice_of_the_result() -> None:
    """The writes go on."""
    account = _account()
    result = _applied(account, replace(SAVED, changes=SAVED.changes[:1]), files=CurrentFiles(None, ("main.yaml",)))
    assert [notice.kind for notice in result.notices] == [NoticeKind.FILES]
    assert (result.outcome, account.written) == (RunOutcome.CONVERGED, [(A, "INACTIVE")])


def test_a_file_is_found_at_its_path_or_by_the_longest_end_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the working directory without a folder; within the folder, and never outside of it, with one."""
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


def test_a_link_that_leads_nowhere_is_found(tmp_path: Path) -> None:
    """It was meant to be read: that it cannot be is an error rather than a file less."""
    (tmp_path / "main.yaml").symlink_to("nowhere")
    assert locate("config/main.yaml", str(tmp_path)) == str(tmp_path / "main.yaml")
