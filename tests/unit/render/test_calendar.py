"""Calendars as people and calendar programs read them."""

from datetime import UTC, datetime

from icalendar import Calendar as Read
from msgspec.structs import replace

from worker.model.accounts import DatedWindow, Desired, DesiredAccount, Schedule, Status
from worker.render.ics import icalendar
from worker.render.text.calendar import AccountCalendar, Calendar, CalendarEntry, account_calendar, text


def made(*accounts: AccountCalendar) -> Calendar:
    """A calendar of one day."""
    return Calendar(
        created_at="2026-11-24T09:00:00.123Z",
        start="2026-11-30T15:00:00Z",
        until="2026-12-01T15:00:00Z",
        accounts=accounts,
    )


def due(place: int = 0, **more: str) -> CalendarEntry:
    """One number that comes due at nine in Seoul."""
    return CalendarEntry(
        f"010000000{place:02}", "2026-12-01T00:00:00Z", "INACTIVE", None, "nothing is scheduled", **more
    )


def test_a_calendar_without_anything_says_so() -> None:
    """Without changes; with several zones the span is in UTC."""
    zones = [AccountCalendar(zone, zone, ()) for zone in ("Asia/Seoul", "Europe/Berlin")]
    expected = "No changes from {} until {}.\n"
    assert text(made(*zones), color=False) == expected.format("2026-11-30 15:00 UTC", "2026-12-01 15:00 UTC")
    assert text(made(zones[0]), color=False) == expected.format("2026-12-01 00:00 KST", "2026-12-02 00:00 KST")


def test_many_alike_are_a_sample_and_a_count() -> None:
    """More than twenty numbers of one change are not all shown, and notes stand beside those that are."""
    page = text(
        made(AccountCalendar("main", "Asia/Seoul", tuple(due(n, note="a\nb", owner="o") for n in range(25)))),
        color=False,
    )
    assert page.count("INACTIVE → not set") == 21
    assert "and 5 more" in page
    assert "a b · o" in page
    assert page.endswith("25 changes from 2026-12-01 00:00 KST until 2026-12-02 00:00 KST.\n")


def test_foreign_text_does_nothing_to_a_terminal() -> None:
    """Neither a name nor a note nor a reason gets an escape code through, in no format."""
    evil = CalendarEntry(
        "01000000001", "2026-12-01T00:00:00Z", None, "ACTIVE", "\x1b[2Jreason", "\x1b[2Jnote", "\x1b[2Jowner"
    )
    calendar = made(AccountCalendar("\x1b[2Jname", "Asia/Seoul", (evil,)))
    assert "\x1b" not in text(calendar, color=False)
    assert b"\x1b" not in icalendar(calendar)


def test_an_event_has_what_a_calendar_program_needs() -> None:
    """Its time in UTC, when it was made, a text, and an id that only the change itself makes another one."""
    first, second = (
        Read.from_ical(icalendar(made(AccountCalendar("main", "Asia/Seoul", (each,))))).walk("VEVENT")[0]
        for each in (due(1, note="a"), due(1, note="b"))
    )
    assert first["UID"] == second["UID"]
    assert str(first["SUMMARY"]) == "010-0000-0001: INACTIVE → not set (main)"
    assert str(first["DESCRIPTION"]) == "nothing is scheduled\na"
    assert first["DTSTAMP"].to_ical() == b"20261124T090000Z"
    assert first["DTSTART"].to_ical() == b"20261201T000000Z"
    others = (
        AccountCalendar("main", "Asia/Seoul", (due(2),)),
        AccountCalendar("main", "Asia/Seoul", (replace(due(1), at="2026-12-02T00:00:00Z"),)),
        AccountCalendar("main", "Asia/Seoul", (replace(due(1), after="ACTIVE"),)),
        AccountCalendar("branch", "Asia/Seoul", (due(1),)),
    )
    events = [Read.from_ical(icalendar(made(other))).walk("VEVENT")[0] for other in others]
    assert len({str(event["UID"]) for event in (first, *events)}) == 5


def test_an_account_s_calendar_is_what_its_schedules_change() -> None:
    """Each change in the span, with what the number's entry says for people; what lies beyond it is left out."""
    start, end = datetime(2026, 12, 1, tzinfo=UTC), datetime(2026, 12, 22, tzinfo=UTC)
    numbers = {"0211": Desired(Status.INACTIVE, "note", "owner"), "0222": Desired(Status.ACTIVE)}
    schedule = Schedule(Status.INACTIVE, (DatedWindow(Status.ACTIVE, start, end, "sale"),), (), "Asia/Seoul")
    account = DesiredAccount("main", "main.yaml", numbers, [1, 2], schedules={"0211": schedule})
    change = CalendarEntry(
        "0211", "2026-12-01T00:00:00Z", "INACTIVE", "ACTIVE", "scheduled ACTIVE: sale", "note", "owner"
    )
    assert account_calendar(account, start, end) == AccountCalendar("main", "Asia/Seoul", (change,))
