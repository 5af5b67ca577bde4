"""What comes due next over many accounts."""

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


def dated(hours: float, plain: Status | None = INACTIVE, last: float | None = 1) -> Schedule:
    """Return an entry that is ACTIVE for some hours, from *start* hours from now."""
    start = NOW + timedelta(hours=hours)
    end = None if last is None else start + timedelta(hours=last)
    return Schedule(plain, (DatedWindow(ACTIVE, start, end),), (), "UTC")


def account(name: str, *schedules: Schedule) -> DesiredAccount:
    """An account whose numbers have these schedules, one each."""
    phones = [f"010{place:08}" for place in range(len(schedules))]
    lines = array("I", range(len(phones)))
    plain = {phone: Desired(INACTIVE) for phone in phones}
    return DesiredAccount(name, f"{name}.yaml", plain, lines, schedules=dict(zip(phones, schedules, strict=True)))


def shown(turns: tuple[ScheduledChange, ...]) -> list[tuple[float, str, int]]:
    """Return each change as hours from now, account and count."""
    return [((turn.when - NOW).total_seconds() / 3600, turn.account, turn.count) for turn in turns]


def test_numbers_that_change_alike_are_shown_together() -> None:
    """By time over all accounts, up to the limit, with some of the numbers and a count of them."""
    one, two = account("one", *[dated(4)] * 7), account("two", dated(1), dated(2))
    turns = NextChanges().next([one, two], NOW, days=14, limit=5)
    assert shown(turns) == [(1, "two", 1), (2, "two", 1), (2, "two", 1), (3, "two", 1), (4, "one", 7)]
    assert (turns[4].before, turns[4].after, len(turns[4].phones)) == (INACTIVE, ACTIVE, 5)
    assert turns[4].phones[0] == "01000000000"


def test_distant_changes_are_not_shown() -> None:
    """Neither what starts after the last day, nor what is over, nor a schedule that never changes."""
    far, over = account("far", dated(25, last=None)), account("over", dated(-3), Schedule(ACTIVE, (), (), "UTC"))
    assert shown(NextChanges().next([far, over], NOW, days=1, limit=9)) == []
    assert shown(NextChanges().next([far, over], NOW, days=2, limit=9)) == [(25, "far", 1)]


def test_it_keeps_up_with_clock_and_files() -> None:
    """Past changes are left out, a changed file counts at once, and a clock that is set back is believed."""
    kept, upcoming = account("one", dated(1), dated(5, last=None)), NextChanges()
    assert shown(upcoming.next([kept], NOW, days=1, limit=9)) == [(1, "one", 1), (2, "one", 1), (5, "one", 1)]
    assert shown(upcoming.next([kept], NOW + timedelta(hours=1), days=1, limit=9)) == [(2, "one", 1), (5, "one", 1)]
    assert shown(upcoming.next([kept], NOW + timedelta(hours=6), days=1, limit=9)) == []
    assert shown(upcoming.next([kept], NOW, days=1, limit=1)) == [(1, "one", 1)]
    assert shown(upcoming.next([account("one", dated(4, last=None))], NOW, days=1, limit=9)) == [(4, "one", 1)]
    assert shown(upcoming.next([], NOW, days=1, limit=9)) == []


@given(
    st.lists(st.lists(st.tuples(st.integers(-50, 400), st.integers(1, 90)), max_size=4), max_size=5), st.integers(1, 9)
)
def test_it_is_the_beginning_of_all_transitions(hours: list[list[tuple[int, int]]], most: int) -> None:
    """However many are asked for, their instants are the first of those that the calendar has."""
    accounts = [account(f"a{i}", *(dated(at, last=long) for at, long in some)) for i, some in enumerate(hours)]
    after = NOW + timedelta(microseconds=1)
    every = sorted(
        {
            (each.when, found.name, found.schedules[each.phone])
            for found in accounts
            for each in transitions(found, after, NOW + timedelta(14))
        },
        key=lambda each: each[0],
    )
    turns = NextChanges().next(accounts, NOW, days=14, limit=most)
    assert [turn.when for turn in turns] == [each[0] for each in every[:most]]


def test_endless_weekly_windows_are_shown_up_to_the_limit() -> None:
    """A weekly window recurs, and costs no more than the changes that are shown."""
    text = "Mon-Fri 09:00-18:00"
    days = Schedule(INACTIVE, (), (WeeklyWindow(ACTIVE, text, parse_weekly(text)),), "Asia/Seoul")
    turns = NextChanges().next([account("one", days)], NOW, days=3650, limit=20)
    assert len(turns) == 20
    assert [turn.after for turn in turns[:3]] == [INACTIVE, ACTIVE, INACTIVE]  # it is nine in Seoul now
