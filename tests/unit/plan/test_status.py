"""The current state of numbers: desired against observed, schedules, expiry and filters."""

from datetime import UTC, datetime, timedelta

import pytest

from worker.model.accounts import (
    DatedWindow,
    Desired,
    DesiredAccount,
    Observed,
    ObservedAccount,
    Schedule,
    Status,
    Unmanaged,
)
from worker.model.number_status import NextStatus, NumberStatus
from worker.plan.policy import Selection
from worker.plan.status import StatusFilter, account_status

NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)
ON = Desired(Status.ACTIVE)


def observe(*numbers: tuple[str, str], expires: str | None = None, extended: str = "") -> ObservedAccount:
    """Return an observed account."""
    rows = {phone: Observed(phone, Status(status), expires) for phone, status in numbers}
    return ObservedAccount("777", rows, extended=frozenset({extended}))


def states(
    observed: ObservedAccount,
    numbers: dict[str, Desired],
    *,
    unmanaged: Unmanaged = Unmanaged.REPORT,
    schedules: dict[str, Schedule] | None = None,
    selection: Selection = Selection(),  # noqa: B008 - a value
    kept: StatusFilter = StatusFilter(),  # noqa: B008 - a value
) -> dict[str, NumberStatus]:
    """Return the states of the numbers of an account, by phone."""
    account = DesiredAccount(
        "main", "main.yaml", numbers, range(len(numbers)), unmanaged=unmanaged, schedules=schedules or {}
    )
    status = account_status(account, observed, selection, kept, NOW)
    assert (status.account, status.account_id, status.error) == ("main", "777", None)
    return {number.phone: number for number in status.numbers}


def test_listed_numbers_come_first_in_file_order() -> None:
    numbers = {"0233": ON, "0211": Desired(Status.INACTIVE, "front desk", "sales", protected=True), "0299": ON}
    result = states(observe(("0200", "ACTIVE"), ("0211", "ACTIVE"), ("0233", "ACTIVE")), numbers)
    assert list(result.values()) == [
        NumberStatus(phone="0233", observed="ACTIVE", desired="ACTIVE", differs=False),
        NumberStatus(
            phone="0211",
            observed="ACTIVE",
            desired="INACTIVE",
            differs=True,
            protected=True,
            note="front desk",
            owner="sales",
        ),
        NumberStatus(phone="0299", observed=None, desired="ACTIVE", differs=True),
        NumberStatus(phone="0200", observed="ACTIVE", desired=None, differs=False, listed=False),
    ]


@pytest.mark.parametrize(
    ("unmanaged", "expected"),
    [
        (Unmanaged.REPORT, {"0200": None, "0201": None, "0202": None}),
        (Unmanaged.DEACTIVATE, {"0200": "INACTIVE", "0201": "INACTIVE", "0202": None}),
        (Unmanaged.IGNORE, {}),
    ],
)
def test_unlisted_number_has_the_status_of_the_policy(unmanaged: Unmanaged, expected: dict[str, str | None]) -> None:
    observed = observe(("0200", "ACTIVE"), ("0201", "INACTIVE"), ("0202", "PENDING"))
    result = states(observed, {}, unmanaged=unmanaged)
    assert {phone: number.desired for phone, number in result.items()} == expected
    assert {phone for phone, number in result.items() if number.differs} == (
        {"0200"} if expected.get("0200") else set()
    )


@pytest.mark.parametrize("unmanaged", list(Unmanaged))
def test_schedule_gives_the_current_and_the_next_status(unmanaged: Unmanaged) -> None:
    """A number between windows has no desired status, and is shown whatever the policy for unlisted numbers is."""
    later, end = NOW + timedelta(hours=1), NOW + timedelta(days=21)
    campaign = Schedule(Status.INACTIVE, (DatedWindow(Status.ACTIVE, later, end),), (), "Asia/Seoul")
    idle = Schedule(None, (DatedWindow(Status.ACTIVE, NOW, end),), (), "Asia/Seoul")
    over = Schedule(None, (DatedWindow(Status.ACTIVE, None, NOW),), (), "Asia/Seoul")
    numbers = {"0211": ON, "0212": ON, "0213": Desired(Status.ACTIVE, owner="sales"), "0214": ON}
    schedules = {"0211": campaign, "0212": idle, "0213": over, "0214": campaign}
    result = states(observe(("0213", "ACTIVE")), numbers, unmanaged=unmanaged, schedules=schedules)
    assert {
        phone: (number.desired, number.next, number.differs, number.listed) for phone, number in result.items()
    } == {
        "0211": ("INACTIVE", NextStatus("2026-11-30T13:00:00Z", "ACTIVE"), True, True),
        "0212": ("ACTIVE", NextStatus("2026-12-21T12:00:00Z", None), True, True),
        "0213": (None, None, False, True),
        "0214": ("INACTIVE", NextStatus("2026-11-30T13:00:00Z", "ACTIVE"), True, True),
    }
    assert result["0213"].owner == "sales"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-12-31T00:00:00.000+09:00", "2026-12-30T15:00:00Z"),
        ("0009-01-01T00:00:00Z", "0009-01-01T00:00:00Z"),
        ("soon", None),
        ("0001-01-01T00:00:00+09:00", None),
    ],
)
def test_expiry_is_in_utc(text: str, expected: str | None) -> None:
    """A text of the API that is not a time is unknown."""
    (number,) = states(observe(("0211", "ACTIVE"), expires=text), {"0211": ON}).values()
    assert number.expires_at == expected
    within = StatusFilter(expires_before=NOW + timedelta(days=31))
    assert bool(states(observe(("0211", "ACTIVE"), expires=text), {"0211": ON}, kept=within)) == (expected is not None)


@pytest.mark.parametrize(
    ("kept", "expected"),
    [
        (StatusFilter(), {"0211", "0212", "0213", "0214"}),
        (StatusFilter(differs=True), {"0212", "0213", "0214"}),
        (StatusFilter(observed=frozenset({"PENDING"})), {"0213"}),
        (StatusFilter(observed=frozenset({"MISSING", "INACTIVE"})), {"0212", "0214"}),
        (StatusFilter(differs=True, observed=frozenset({"ACTIVE"})), set()),
        (StatusFilter(expires_before=NOW + timedelta(days=1)), {"0211", "0213"}),
        (StatusFilter(expires_before=NOW), set()),
    ],
)
def test_every_field_of_a_filter_narrows_it(kept: StatusFilter, expected: set[str]) -> None:
    """A registration that the vendor extends does not expire."""
    observed = observe(
        ("0211", "ACTIVE"),
        ("0212", "INACTIVE"),
        ("0213", "PENDING"),
        expires="2026-11-30T21:00:00+09:00",
        extended="0212",
    )
    numbers = dict.fromkeys(("0211", "0212", "0213", "0214"), ON)
    assert set(states(observed, numbers, kept=kept)) == expected


def test_selection_and_filter_apply_together() -> None:
    """The total counts what the selection selects."""
    account = DesiredAccount("main", "main.yaml", {"0211": Desired(Status.ACTIVE, owner="sales"), "0212": ON}, [1, 2])
    observed = observe(("0211", "ACTIVE"), ("0299", "ACTIVE"))
    selection = Selection(owners=frozenset({"sales"}))
    status = account_status(account, observed, selection, StatusFilter(differs=True), NOW)
    assert (status.total, status.numbers) == (1, ())
