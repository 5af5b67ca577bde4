"""A saved write is still desired exactly if a plan of the current files makes the same write."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from worker.config.desired import load
from worker.model import schedule
from worker.model.accounts import DesiredAccount, Observed, ObservedAccount, Status
from worker.model.safety import Safety
from worker.plan.comparison import CurrentFiles, stale_writes
from worker.plan.diff import diff
from worker.plan.planfile import SavedAccount
from worker.plan.policy import adopt

_PHONES = tuple(f"0100000000{index}" for index in range(4))
_START = datetime(2026, 11, 20, tzinfo=UTC)

entries = st.sampled_from(
    (
        "ACTIVE",
        "INACTIVE",
        "{status: ACTIVE, protected: true}",
        "{status: INACTIVE, protected: true}",
        "{status: ACTIVE, acknowledge: {reason: known, until: 2026-11-24}}",
        "{status: INACTIVE, acknowledge: {reason: known, until: 2026-11-26, observed: PENDING}}",
        "{status: INACTIVE, until: 2026-11-24, then: ACTIVE, acknowledge: {reason: known, until: 2026-11-26}}",
        "{status: ACTIVE, until: 2026-11-24}",
        "{status: INACTIVE, until: 2026-11-24, then: ACTIVE}",
        "{status: ACTIVE, schedule: [{from: 2026-11-22, until: 2026-11-26, status: INACTIVE}]}",
    )
)
files = st.builds(
    lambda policy, numbers: (
        f"version: 1\naccount: main\nunmanaged: {policy}\nnumbers: "
        f"{{{', '.join(f'{phone}: {entry}' for phone, entry in numbers.items())}}}\n"
    ),
    st.sampled_from(("report", "ignore", "deactivate")),
    st.dictionaries(st.sampled_from(_PHONES), entries),
)
accounts = st.dictionaries(st.sampled_from(_PHONES), st.sampled_from(("ACTIVE", "INACTIVE")))
moments = st.integers(0, 8 * 24).map(lambda hours: _START + timedelta(hours=hours))


def _loaded(text: str) -> DesiredAccount:
    (account,) = load([("main.yaml", text.encode())]).accounts
    return account


def _saved(text: str, statuses: dict[str, str], moment: datetime) -> SavedAccount:
    """Return the writes that a plan of a file makes on an account at a given time."""
    observed = ObservedAccount("1", {phone: Observed(phone, Status(status)) for phone, status in statuses.items()})
    changes = diff(adopt(schedule.settle_schedules(_loaded(text), moment), observed), observed.numbers)
    return SavedAccount(
        account="main",
        account_id="1",
        source="main.yaml",
        endpoint="solapi",
        credentials=None,
        safety=Safety(),
        changes=tuple(change for change in changes if change.action.writes),
    )


@given(before=files, after=files, statuses=accounts, planned_at=moments, applied_at=moments)
def test_applied_writes_equal_those_of_a_new_plan(
    before: str, after: str, statuses: dict[str, str], planned_at: datetime, applied_at: datetime
) -> None:
    """For any two versions of a file and any two times, no more and no less is written."""
    saved = _saved(before, statuses, planned_at)
    dropped = stale_writes(saved, CurrentFiles(_loaded(after)), applied_at)
    now = {(change.phone, change.desired) for change in _saved(after, statuses, applied_at).changes}
    for change in saved.changes:
        assert (change.phone not in dropped) == ((change.phone, change.desired) in now)


@given(file=files, statuses=accounts, moment=moments)
def test_unchanged_file_does_not_drop_writes(file: str, statuses: dict[str, str], moment: datetime) -> None:
    """A plan that is applied immediately is complete."""
    assert stale_writes(_saved(file, statuses, moment), CurrentFiles(_loaded(file)), moment) == {}
