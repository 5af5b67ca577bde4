"""Calendars as text and as iCalendar files."""

from datetime import UTC, datetime

from icalendar import Calendar as Read
from msgspec.structs import replace

from worker.model.accounts import DatedWindow, Desired, DesiredAccount, Schedule, Status
from worker.render.ics import icalendar
from worker.render.text.calendar import AccountCalendar, Calendar, CalendarEntry, account_calendar, text


def calendar_of(*accounts: AccountCalendar) -> Calendar:
    """Return a calendar of one day."""
    return Calendar(
        created_at="2026-11-24T09:00:00.123Z",
        start="2026-11-30T15:00:00Z",
        until="2026-12-01T15:00:00Z",
        accounts=accounts,
    )


def entry(index: int = 0, **fields: str) -> CalendarEntry:
    """Return a change of one number at 09:00 in Seoul."""
    return CalendarEntry(
        f"010000000{index:02}", "2026-12-01T00:00:00Z", "INACTIVE", None, "nothing is scheduled", **fields
    )


def test_calendar_without_changes_is_one_sentence() -> None:
    """With several time zones the range is in UTC."""
    zones = [AccountCalendar(zone, zone, ()) for zone in ("Asia/Seoul", "Europe/Berlin")]
    expected = "No changes from {} until {}.\n"
    assert text(calendar_of(*zones), color=False) == expected.format("2026-11-30 15:00 UTC", "2026-12-01 15:00 UTC")
    assert text(calendar_of(zones[0]), color=False) == expected.format("2026-12-01 00:00 KST", "2026-12-02 00:00 KST")


def test_many_entries_are_a_sample_and_a_count() -> None:
    """More than twenty numbers of one change are sampled. The notes of shown numbers are shown."""
    page = text(
        calendar_of(AccountCalendar("main", "Asia/Seoul", tuple(entry(n, note="a\nb", owner="o") for n in range(25)))),
        color=False,
    )
    assert page.count("INACTIVE → not set") == 21
    assert "and 5 more" in page
    assert "a b · o" in page
    assert page.endswith("25 changes from 2026-12-01 00:00 KST until 2026-12-02 00:00 KST.\n")


def test_changes_are_listed_by_the_days_of_the_file() -> None:
    """08:00 on Tuesday in Seoul is Monday in UTC. The calendar shows it, with 10:00, on Tuesday."""
    early, late = (replace(entry(), at=at) for at in ("2026-11-30T23:00:00Z", "2026-12-01T01:00:00Z"))
    lines = text(calendar_of(AccountCalendar("main", "Asia/Seoul", (early, late))), color=False).splitlines()
    assert [line for line in lines if line.startswith("2026-")] == ["2026-12-01 Tue"]
    assert [line.split()[0] for line in lines if "INACTIVE →" in line] == ["08:00", "10:00"]


def test_untrusted_text_does_not_control_a_terminal() -> None:
    """Names, notes and reasons cannot contain escape codes in any format."""
    hostile = CalendarEntry(
        "01000000001", "2026-12-01T00:00:00Z", None, "ACTIVE", "\x1b[2Jreason", "\x1b[2Jnote", "\x1b[2Jowner"
    )
    calendar = calendar_of(AccountCalendar("\x1b[2Jname", "Asia/Seoul", (hostile,)))
    assert "\x1b" not in text(calendar, color=False)
    assert b"\x1b" not in icalendar(calendar)


def test_event_has_id_times_and_text() -> None:
    """The time is in UTC, and only the change determines the id."""
    first, second = (
        Read.from_ical(icalendar(calendar_of(AccountCalendar("main", "Asia/Seoul", (item,))))).walk("VEVENT")[0]
        for item in (entry(1, note="a", owner="x"), entry(1, note="b"))
    )
    assert first["UID"] == second["UID"]
    assert str(first["SUMMARY"]) == "010-0000-0001: INACTIVE → not set (main)"
    assert str(first["DESCRIPTION"]) == "nothing is scheduled\na\nx"
    assert first["DTSTAMP"].to_ical() == b"20261124T090000Z"
    assert first["DTSTART"].to_ical() == b"20261201T000000Z"
    other_accounts = (
        AccountCalendar("main", "Asia/Seoul", (entry(2),)),
        AccountCalendar("main", "Asia/Seoul", (replace(entry(1), at="2026-12-02T00:00:00Z"),)),
        AccountCalendar("main", "Asia/Seoul", (replace(entry(1), after="ACTIVE"),)),
        AccountCalendar("branch", "Asia/Seoul", (entry(1),)),
    )
    events = [
        Read.from_ical(icalendar(calendar_of(other_account))).walk("VEVENT")[0] for other_account in other_accounts
    ]
    assert len({str(event["UID"]) for event in (first, *events)}) == 5


def test_account_calendar_has_the_changes_of_its_schedules() -> None:
    """Each change in the range has the note and owner of its number. Changes outside the range are omitted."""
    start, end = datetime(2026, 12, 1, tzinfo=UTC), datetime(2026, 12, 22, tzinfo=UTC)
    numbers = {"0211": Desired(Status.INACTIVE, "note", "owner"), "0222": Desired(Status.ACTIVE)}
    schedule = Schedule(Status.INACTIVE, (DatedWindow(Status.ACTIVE, start, end, "sale"),), (), "Asia/Seoul")
    account = DesiredAccount("main", "main.yaml", numbers, [1, 2], schedules={"0211": schedule})
    change = CalendarEntry(
        "0211", "2026-12-01T00:00:00Z", "INACTIVE", "ACTIVE", "scheduled ACTIVE: sale", "note", "owner"
    )
    expected = AccountCalendar("main", "Asia/Seoul", (change,), "2026-12-22T00:00:00Z")
    assert account_calendar(account, start, end) == expected
    assert account_calendar(account, end, end).next == "2026-12-22T00:00:00Z"
    assert account_calendar(account, start, end + (end - start)).next is None


def test_earliest_change_after_the_range_is_named() -> None:
    """The time of the change is in the time zone that all accounts share, or in UTC."""
    late, early = (AccountCalendar("a", "Asia/Seoul", (), f"2026-12-{day}T00:00:00Z") for day in (31, 22))
    page = text(calendar_of(late, early), color=False, width=160)
    assert page.endswith(" 00:00 KST. The next change after that is at 2026-12-22 09:00 KST.\n")
    page = text(calendar_of(early, replace(late, timezone="UTC")), color=False, width=160)
    assert page.endswith(" 15:00 UTC. The next change after that is at 2026-12-22 00:00 UTC.\n")
