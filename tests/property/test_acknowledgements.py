"""Acknowledgements change the plan of the numbers that they cover, and of no other number."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from worker.model.accounts import (
    AccountMemory,
    Acknowledgement,
    DatedWindow,
    Desired,
    DesiredAccount,
    Observed,
    ObservedAccount,
    Schedule,
    Status,
    Unmanaged,
)
from worker.model.plans import Action, Change
from worker.model.schedule import settle_schedules
from worker.plan.build import Terms, build

_PHONES = tuple(f"0100000000{index}" for index in range(5))
_START = datetime(2026, 11, 20, tzinfo=UTC)
_WINDOW = DatedWindow(Status.INACTIVE, _START, _START + timedelta(hours=3))

moments = st.integers(0, 6).map(lambda hours: _START + timedelta(hours=hours))
numbers = st.dictionaries(
    st.sampled_from(_PHONES),
    st.builds(Desired, st.sampled_from([Status.ACTIVE, Status.INACTIVE]), protected=st.booleans()),
)
known = st.builds(
    Acknowledgement,
    st.just("known"),
    moments,
    observed=st.sampled_from([None, "ACTIVE", "INACTIVE", "PENDING", "MISSING"]),
)
statuses = st.dictionaries(st.sampled_from(_PHONES), st.sampled_from(["ACTIVE", "INACTIVE", "PENDING", "BLOCKED"]))


def _changes(account: DesiredAccount, observed: ObservedAccount, now: datetime) -> dict[str, Change]:
    draft = build(account, observed, Terms(allow=frozenset({"all"})), AccountMemory(), now)
    return {change.phone: change for change in draft.plan.changes}


def _account(
    listed: dict[str, Desired], known: dict[str, Acknowledgement], scheduled: frozenset[str], unmanaged: Unmanaged
) -> DesiredAccount:
    return DesiredAccount(
        "main",
        "main.yaml",
        listed,
        range(len(listed)),
        unmanaged=unmanaged,
        schedules={phone: Schedule(Status.ACTIVE, (_WINDOW,), (), "UTC") for phone in scheduled & listed.keys()},
        acknowledgements={phone: each for phone, each in known.items() if phone in listed},
    )


accounts = st.builds(
    _account,
    numbers,
    st.dictionaries(st.sampled_from(_PHONES), known),
    st.frozensets(st.sampled_from(_PHONES)),
    st.sampled_from(Unmanaged),
)


@given(account=accounts, observed_statuses=statuses, now=moments)
def test_only_covered_numbers_are_left(
    account: DesiredAccount, observed_statuses: dict[str, str], now: datetime
) -> None:
    """A number is acknowledged exactly if its difference is the known one and the end is later."""
    observed = ObservedAccount(
        "1", {phone: Observed(phone, Status(status)) for phone, status in observed_statuses.items()}
    )
    desired = settle_schedules(account, now).numbers
    without = _changes(replace(account, acknowledgements={}), observed, now)
    changes = _changes(account, observed, now)
    assert changes.keys() == without.keys()
    for phone, change in changes.items():
        each = account.acknowledgements.get(phone)
        other = {"ACTIVE": "INACTIVE", "INACTIVE": "ACTIVE"}
        covers = (
            each is not None
            and now < each.until
            and observed_statuses.get(phone, "MISSING") == (each.observed or other[desired[phone].status])
        )
        assert (change.action is Action.ACKNOWLEDGED) is covers
        if not covers:
            assert replace(change, reason="") == replace(without[phone], reason="")
