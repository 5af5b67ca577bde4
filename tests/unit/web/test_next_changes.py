"""The next scheduled changes of several accounts."""

from array import array
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from worker.model.accounts import DatedWindow, Desired, DesiredAccount, Schedule, Status, WeeklyWindow
from worker.model.schedule import transitions
from worker.model.times import parse_weekly
from worker.web.next_changes import NextChanges, ScheduledChange

NOW = datetime(2026, 11, 24, tzinfo=UTC)
ACTIVE, INACTIVE = Status.ACTIVE, Status.INACTIVE


def dated(hours: float, default_status: Status | None = INACTIVE, duration: float | None = 1) -> Schedule:
    """Return a schedule that is ACTIVE for `duration` hours, starting `hours` from now."""
    start = NOW + timedelta(hours=hours)
    end = None if duration is None else start + timedelta(hours=duration)
    return Schedule(default_status, (DatedWindow(ACTIVE, start, end),), (), "UTC")


def account(name: str, *schedules: Schedule) -> DesiredAccount:
    """Return an account with one number for each schedule."""
    phones = [f"010{index:08}" for index in range(len(schedules))]
    lines = array("I", range(len(phones)))
    default_status = {phone: Desired(INACTIVE) for phone in phones}
    return DesiredAccount(
        name, f"{name}.yaml", default_status, lines, schedules=dict(zip(phones, schedules, strict=True))
    )


def summarize(changes: tuple[ScheduledChange, ...]) -> list[tuple[float, str, int]]:
    """Return each change as hours from now, account and count of numbers."""
    return [((change.when - NOW).total_seconds() / 3600, change.account, change.count) for change in changes]


def test_numbers_that_change_together_are_one_change() -> None:
    """Changes of all accounts are ordered by time, up to the limit, with sample numbers and their count."""
    first, second = account("one", *[dated(4)] * 7), account("two", dated(1), dated(2))
    changes = NextChanges().next([first, second], NOW, days=14, limit=5)
    assert summarize(changes) == [(1, "two", 1), (2, "two", 1), (2, "two", 1), (3, "two", 1), (4, "one", 7)]
    assert (changes[4].before, changes[4].after, len(changes[4].phones)) == (INACTIVE, ACTIVE, 5)
    assert changes[4].phones[0] == "01000000000"


def test_changes_outside_the_range_are_not_shown() -> None:
    """Changes after the last day, past changes and constant schedules are omitted."""
    distant, past = (
        account("far", dated(25, duration=None)),
        account("over", dated(-3), Schedule(ACTIVE, (), (), "UTC")),
    )
    assert summarize(NextChanges().next([distant, past], NOW, days=1, limit=9)) == []
    assert summarize(NextChanges().next([distant, past], NOW, days=2, limit=9)) == [(25, "far", 1)]


def test_next_changes_follow_the_clock_and_the_files() -> None:
    """Past changes are omitted, a changed file is used immediately, and the clock may be set back."""
    initial, next_changes = account("one", dated(1), dated(5, duration=None)), NextChanges()
    assert summarize(next_changes.next([initial], NOW, days=1, limit=9)) == [
        (1, "one", 1),
        (2, "one", 1),
        (5, "one", 1),
    ]
    assert summarize(next_changes.next([initial], NOW + timedelta(hours=1), days=1, limit=9)) == [
        (2, "one", 1),
        (5, "one", 1),
    ]
    assert summarize(next_changes.next([initial], NOW + timedelta(hours=6), days=1, limit=9)) == []
    assert summarize(next_changes.next([initial], NOW, days=1, limit=1)) == [(1, "one", 1)]
    assert summarize(next_changes.next([account("one", dated(4, duration=None))], NOW, days=1, limit=9)) == [
        (4, "one", 1)
    ]
    assert summarize(next_changes.next([], NOW, days=1, limit=9)) == []


@given(
    st.lists(st.lists(st.tuples(st.integers(-50, 400), st.integers(1, 90)), max_size=4), max_size=5), st.integers(1, 9)
)
def test_next_changes_are_the_earliest_transitions(hours: list[list[tuple[int, int]]], limit: int) -> None:
    accounts = [
        account(f"a{i}", *(dated(start, duration=duration) for start, duration in windows))
        for i, windows in enumerate(hours)
    ]
    after = NOW + timedelta(microseconds=1)
    transitions_in_range = sorted(
        {
            (item.when, desired.name, desired.schedules[item.phone])
            for desired in accounts
            for item in transitions(desired, after, NOW + timedelta(14))
        },
        key=lambda item: item[0],
    )
    changes = NextChanges().next(accounts, NOW, days=14, limit=limit)
    assert [change.when for change in changes] == [item[0] for item in transitions_in_range[:limit]]


def test_endless_weekly_windows_are_limited() -> None:
    """A weekly window costs no more than the changes that are shown."""
    text = "Mon-Fri 09:00-18:00"
    weekdays = Schedule(INACTIVE, (), (WeeklyWindow(ACTIVE, text, parse_weekly(text)),), "Asia/Seoul")
    changes = NextChanges().next([account("one", weekdays)], NOW, days=3650, limit=20)
    assert len(changes) == 20
    assert [change.after for change in changes[:3]] == [INACTIVE, ACTIVE, INACTIVE]  # it is 09:00 in Seoul now
