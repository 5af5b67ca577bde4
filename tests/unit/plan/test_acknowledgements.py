"""Acknowledged differences: they are not written and need no attention until they end or change."""

from datetime import UTC, datetime, timedelta

import pytest

from worker.model.accounts import (
    AccountMemory,
    Acknowledgement,
    DatedWindow,
    Desired,
    DesiredAccount,
    Group,
    Observed,
    ObservedAccount,
    Schedule,
    Status,
)
from worker.model.number_status import KnownDifference
from worker.model.plans import Action, Cause, Change, NoticeKind
from worker.model.reads import HealthStatus, SyncStatus
from worker.model.safety import Health, Safety
from worker.plan.build import Draft, Terms, build
from worker.plan.notices import notices
from worker.plan.policy import Selection
from worker.plan.reads import account_read
from worker.plan.status import StatusFilter, account_status

A, B, C = "01000000001", "01000000002", "01000000003"
NOON = datetime(2026, 11, 30, 3, tzinfo=UTC)
END = NOON + timedelta(days=1)
KNOWN = Acknowledgement("broken line", END, "Kim")


def _account(
    known: Acknowledgement = KNOWN, *, groups: tuple[Group, ...] = (), **numbers: Desired | Status
) -> DesiredAccount:
    """Return an account. The number A, which should be ACTIVE unless it is given, has an acknowledgement."""
    listed = {A: Desired(Status.ACTIVE)}
    listed |= {name[1:]: each if isinstance(each, Desired) else Desired(each) for name, each in numbers.items()}
    return DesiredAccount("main", "main.yaml", listed, [1] * len(listed), groups=groups, acknowledgements={A: known})


def _observed(**statuses: str) -> ObservedAccount:
    return ObservedAccount("1", {name[1:]: Observed(name[1:], Status(status)) for name, status in statuses.items()})


def _build(account: DesiredAccount, observed: ObservedAccount, now: datetime = NOON, **terms: object) -> Draft:
    return build(account, observed, Terms(**terms), AccountMemory({A: Status.ACTIVE}), now)  # type: ignore[arg-type]


def _change(account: DesiredAccount, observed: ObservedAccount, now: datetime = NOON) -> Change:
    (change,) = _build(account, observed, now).plan.changes
    return change


def test_acknowledged_drift_is_not_written_and_needs_no_attention() -> None:
    """The change has a reason of its own, and the account is healthy and in sync."""
    observed = _observed(n01000000001="INACTIVE")
    plan = _build(_account(), observed).plan
    (change,) = plan.changes
    assert (change.action, change.cause) == (Action.ACKNOWLEDGED, Cause.EXTERNAL_DRIFT)
    assert change.reason == "acknowledged by Kim until 2026-12-01 12:00 KST: broken line"
    assert (plan.writes, plan.notices, plan.counts[Action.ACKNOWLEDGED]) == ((), (), 1)
    read = account_read(plan, None, key="k", at="2026-11-30T03:00:00Z", command="watch")
    assert (read.sync, read.health, read.needs) == (SyncStatus.IN_SYNC, HealthStatus.HEALTHY, ())


def test_acknowledgement_ends() -> None:
    """An acknowledgement applies only before its `until`. The reason then says that it has ended."""
    observed = _observed(n01000000001="INACTIVE")
    assert _change(_account(), observed, END - timedelta(seconds=1)).action is Action.ACKNOWLEDGED
    late = _change(_account(), observed, END)
    assert (late.action, late.reason) == (
        Action.ACTIVATE,
        "listed as ACTIVE; its acknowledgement ended at 2026-12-01 12:00 KST: broken line",
    )


@pytest.mark.parametrize(
    ("desired", "known", "observed", "action"),
    [
        (Status.ACTIVE, None, "INACTIVE", "acknowledged"),
        (Status.INACTIVE, None, "ACTIVE", "acknowledged"),
        (Status.ACTIVE, None, "BLOCKED", "blocked"),
        (Status.ACTIVE, None, None, "missing"),
        (Status.ACTIVE, "PENDING", "PENDING", "acknowledged"),
        (Status.ACTIVE, "PENDING", "BLOCKED", "blocked"),
        (Status.ACTIVE, "PENDING", "INACTIVE", "activate"),
        (Status.ACTIVE, "MISSING", None, "acknowledged"),
        (Status.ACTIVE, "MISSING", "INACTIVE", "activate"),
        (Status.INACTIVE, "MISSING", "ACTIVE", "deactivate"),
    ],
)
def test_other_difference_is_not_acknowledged(
    desired: Status, known: str | None, observed: str | None, action: str
) -> None:
    """The reason of another difference says which one is acknowledged, and how to acknowledge this one."""
    account = _account(Acknowledgement("x", END, observed=known), n01000000001=desired)
    statuses = {} if observed is None else {f"n{A}": observed}
    change = _change(account, _observed(**statuses))
    assert change.action == action
    if action == "acknowledged":
        assert change.reason == "acknowledged until 2026-12-01 12:00 KST: x"
    else:
        hint = f"only {known or 'INACTIVE'} is acknowledged: if {observed or 'MISSING'} is known too, write `observed:"
        assert hint in change.reason


def test_number_in_sync_is_unchanged() -> None:
    """An acknowledgement of the status that is now desired, by a schedule, does not apply."""
    assert _build(_account(), _observed(n01000000001="ACTIVE")).plan.changes == ()
    known = Acknowledgement("x", END, observed="INACTIVE")
    window = DatedWindow(Status.INACTIVE, NOON, NOON + timedelta(hours=1))
    account = DesiredAccount(
        "main",
        "main.yaml",
        {A: Desired(Status.INACTIVE), B: Desired(Status.INACTIVE)},
        [1, 2],
        schedules={A: Schedule(Status.ACTIVE, (window,), (), "Asia/Seoul"), B: Schedule(None, (), (), "Asia/Seoul")},
        acknowledgements={A: known, B: known},
    )
    observed = _observed(n01000000001="INACTIVE", n01000000002="INACTIVE")
    assert [change.phone for change in _build(account, observed).plan.changes] == [B]
    later = _build(account, observed, NOON + timedelta(hours=2)).plan.changes
    assert [(change.phone, change.action) for change in later] == [(A, "acknowledged"), (B, "unmanaged")]


def test_acknowledgement_takes_precedence_over_protection() -> None:
    account = _account(n01000000001=Desired(Status.ACTIVE, protected=True))
    observed = _observed(n01000000001="INACTIVE")
    assert _change(account, observed).action is Action.ACKNOWLEDGED
    assert _change(account, observed, END).action is Action.PROTECTED


def test_notice_on_an_acknowledged_status_is_left_out() -> None:
    observed = _observed(n01000000001="PENDING", n01000000002="PENDING")
    account = _account(Acknowledgement("x", END, observed="PENDING"), n01000000002=Status.ACTIVE)
    changes = _build(account, observed).plan.changes
    assert [(notice.kind, notice.phone) for notice in notices(observed, (), Health(), changes)] == [
        (NoticeKind.PENDING, B)
    ]


def test_acknowledged_number_does_not_count_as_active() -> None:
    """A group and `pair_swaps: hold` both hold a deactivation while the other number is INACTIVE."""
    observed = _observed(n01000000001="INACTIVE", n01000000002="ACTIVE")
    for account, safety in (
        (_account(groups=(Group("g", (A, B)),), n01000000002=Status.INACTIVE), Safety()),
        (_account(n01000000002=Status.INACTIVE), Safety(pair_swaps="hold")),
    ):
        actions = [change.action for change in _build(account, observed, safety=safety).plan.changes]
        assert actions == [Action.HELD, Action.ACKNOWLEDGED]


def test_drift_lists_acknowledged_drift() -> None:
    observed = _observed(n01000000001="INACTIVE", n01000000002="INACTIVE")
    draft = _build(_account(n01000000002=Status.ACTIVE), observed, drift=True)
    assert [(change.phone, change.action) for change in draft.plan.changes] == [(B, "activate"), (A, "acknowledged")]


def test_status_shows_the_acknowledgement_in_force() -> None:
    """The number still differs."""
    observed = _observed(n01000000001="INACTIVE")
    report = account_status(_account(), observed, Selection(), StatusFilter(differs=True), NOON)
    (number,) = report.numbers
    assert number.acknowledged == KnownDifference(reason="broken line", until="2026-12-01T03:00:00Z", by="Kim")
    (late,) = account_status(_account(), observed, Selection(), StatusFilter(), END).numbers
    assert (late.differs, late.acknowledged) == (True, None)


def test_notice_reports_a_status_that_follows_the_acknowledged_one() -> None:
    """A read after the plan may find another status."""
    changes = _build(_account(), _observed(n01000000001="INACTIVE")).plan.changes
    (notice,) = notices(_observed(n01000000001="BLOCKED"), (), Health(), changes)
    assert (notice.kind, notice.phone) == (NoticeKind.BLOCKED, A)
