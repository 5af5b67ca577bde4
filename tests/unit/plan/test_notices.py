"""Notices of an account: registrations that expire, numbers that need attention, and limits."""

from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.model.accounts import Group, Observed, ObservedAccount, Status
from worker.model.plans import Notice, NoticeKind
from worker.model.safety import Health
from worker.plan.notices import notices

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
PHONE = "01012345678"
A, B = "0100001", "0100002"


def _account(*numbers: Observed, **overrides: object) -> ObservedAccount:
    fields = {"seen_at": NOW.timestamp(), **overrides}
    return ObservedAccount("1", {number.phone: number for number in numbers}, **fields)  # type: ignore[arg-type]


def _expiring(expires_at: str | None, status: str = "ACTIVE", **overrides: object) -> tuple[Notice, ...]:
    return notices(_account(Observed(PHONE, Status(status), expires_at), **overrides), (), Health())


@pytest.mark.parametrize(
    ("expires_at", "status", "text"),
    [
        ("2026-12-24T12:00:00Z", "ACTIVE", "ends on 2026-12-24"),
        ("2026-12-24T21:00:00+09:00", "ACTIVE", "ends on 2026-12-24"),
        ("2026-12-24T12:00:00", "INACTIVE", "ends on 2026-12-24"),
        ("2026-12-24T12:00:01Z", "ACTIVE", None),
        ("2026-12-24T12:00:01", "ACTIVE", None),
        ("2026-12-24T00:30:00", "ACTIVE", "ends on 2026-12-24"),
        ("2026-12-25T00:30:00+13:00", "ACTIVE", "ends on 2026-12-24"),
        ("2026-11-24T11:59:59Z", "ACTIVE", "ended on 2026-11-24"),
        ("2020-01-01T00:00:00.123Z", "ACTIVE", "ended on 2020-01-01"),
        ("2020-01-01T00:00:00.123Z", "INACTIVE", None),
        ("2026-12-01T00:00:00Z", "PENDING", "PENDING"),
        ("soon", "ACTIVE", None),
        ("0001-01-01T00:00:00+23:00", "ACTIVE", None),
        ("", "ACTIVE", None),
        (None, "ACTIVE", None),
    ],
)
def test_expiring_registration_has_a_notice(expires_at: str | None, status: str, text: str | None) -> None:
    """The last day counts, to the second and in any time zone. Of the expired ones only ACTIVE ones have one."""
    expiring = _expiring(expires_at, status)
    assert len(expiring) == (text is not None)
    for notice in expiring:
        assert notice.phone == PHONE
        assert text is not None
        assert text in notice.message


def test_automatic_extension_has_no_notice() -> None:
    """The vendor extends such a registration. A read without a time has no notices either."""
    end = "2026-12-01T00:00:00Z"
    assert [notice.kind for notice in _expiring(end)] == [NoticeKind.EXPIRING]
    assert not _expiring(end, extended=frozenset({PHONE}))
    assert not _expiring(end, seen_at=0.0)


@pytest.mark.parametrize("status", [Status.PENDING, Status.DUPLICATED, Status.BLOCKED])
def test_number_that_needs_attention_has_a_notice(status: Status) -> None:
    """The kind is the status, and the message has the request of the vendor."""
    number = Observed(PHONE, status)
    (notice,) = notices(_account(number), (), Health())
    assert (notice.kind.upper(), notice.phone) == (status, PHONE)
    (with_request,) = notices(_account(number, measures={PHONE: ("BUSINESS_DOCUMENTS", "ID")}), (), Health())
    assert with_request.message == f"{notice.message} (the vendor asks for BUSINESS_DOCUMENTS, ID)"


@pytest.mark.parametrize(("limit", "count"), [(None, 0), (0, 0), (2, 1), (3, 1), (4, 0)])
def test_nearly_full_account_has_a_notice(limit: int | None, count: int) -> None:
    """The notice appears from 75 percent of the limit, if there is a limit."""
    three = [Observed(f"010000{n}", Status.ACTIVE) for n in range(3)]
    limit_notices = notices(_account(*three, limit=limit), (), Health(limit_percent=76))
    assert [notice.kind for notice in limit_notices] == [NoticeKind.LIMIT] * count
    if limit == 4:
        (notice,) = notices(_account(*three, limit=4), (), Health(limit_percent=75))
        assert notice.message.startswith("3 of 4 registration slots used")


_NUMBERS = st.dictionaries(
    st.from_regex("0[0-9]{6}", fullmatch=True),
    st.tuples(st.sampled_from(list(Status)), st.none() | st.integers(-400, 400)),
    max_size=20,
)


@given(numbers=_NUMBERS, days=st.integers(0, 365))
def test_each_number_has_one_notice_of_a_kind(numbers: dict[str, tuple[Status, int | None]], days: int) -> None:
    """Notices are ordered. Expiring registrations are within the configured days."""
    ends = {
        phone: None if days_left is None else NOW + timedelta(days=days_left)
        for phone, (_, days_left) in numbers.items()
    }
    rows = [
        Observed(phone, status, None if (end := ends[phone]) is None else end.isoformat())
        for phone, (status, _) in numbers.items()
    ]
    all_notices = notices(_account(*rows), (), Health(expires_within_days=days))
    assert max(Counter((notice.kind, notice.phone) for notice in all_notices).values(), default=1) == 1
    order = [(list(NoticeKind).index(notice.kind), notice.phone or "") for notice in all_notices]
    assert order == sorted(order)
    phones = {notice.phone for notice in all_notices if notice.kind is NoticeKind.EXPIRING}
    due = {
        phone
        for phone, (status, days_left) in numbers.items()
        if days_left is not None
        and days_left <= days
        and (status is Status.ACTIVE or (status is Status.INACTIVE and days_left >= 0))
    }
    assert phones == due


def test_simultaneous_expirations_share_one_message() -> None:
    """The text exists once, so that a million notices use little memory."""
    first, second = notices(
        _account(*(Observed(f"010000{n}", Status.ACTIVE, "2026-12-01T00:00:00Z") for n in range(2))), (), Health()
    )
    assert first.message is second.message


@pytest.mark.parametrize(("active", "missing"), [((A,), 0), ((A, B), 0), ((), 1)])
def test_group_with_too_few_active_numbers_has_a_notice(active: tuple[str, ...], missing: int) -> None:
    """The notice names the group, its ACTIVE numbers and its minimum."""
    observed = _account(*(Observed(phone, Status.ACTIVE) for phone in active))
    group_notices = notices(observed, (Group("support", (A, B)),), Health())
    assert len(group_notices) == missing
    for notice in group_notices:
        assert (notice.kind, notice.phone) == (NoticeKind.GROUP, None)
        assert notice.message.startswith("group support has 0 of 2 numbers ACTIVE; the minimum is 1")
