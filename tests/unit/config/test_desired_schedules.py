"""Schedules in desired-state files: what they say, and every way in which they go wrong."""

from datetime import UTC, datetime

import pytest

from worker.config.desired import load
from worker.model.accounts import DatedWindow, DesiredAccount, Schedule, Status, WeeklyWindow
from worker.model.errors import DesiredStateError

ON, OFF = Status.ACTIVE, Status.INACTIVE
PHONE = "01012345678"


def account(text: str) -> DesiredAccount:
    """The one account of a file."""
    (found,) = load([("a.yaml", text.encode())]).accounts
    return found


def schedule(entry: str, head: str = "") -> Schedule:
    """The schedule of a file's one number."""
    return account(f"version: 1\n{head}numbers:\n  010-1234-5678: {entry}\n").schedules[PHONE]


def problems_of(*entries: str, head: str = "") -> list[str]:
    """The problems of a file whose numbers, from line 3 on, have these entries."""
    numbers = "".join(f"  010-1234-567{place}: {entry}\n" for place, entry in enumerate(entries))
    with pytest.raises(DesiredStateError) as refused:
        load([("a.yaml", f"version: 1\nnumbers:\n{numbers}{head}".encode())])
    return [str(problem).removeprefix("a.yaml:") for problem in refused.value.problems]


def test_windows_are_read_as_they_are_written() -> None:
    """Dated windows come out in UTC by the file's zone, weekly ones in minutes, and the plain status beside them."""
    found = schedule(
        "{status: INACTIVE, schedule: [{from: 2026-12-01T09:00, until: 2026-12-22, status: ACTIVE, reason: sale}, "
        '{weekly: "Mon 09:00-18:00", status: active}]}'
    )
    dated = DatedWindow(ON, datetime(2026, 12, 1, tzinfo=UTC), datetime(2026, 12, 21, 15, tzinfo=UTC), "sale")
    assert found == Schedule(OFF, (dated,), (WeeklyWindow(ON, "Mon 09:00-18:00", ((540, 1080),)),), "Asia/Seoul")


def test_a_status_that_ends_is_a_schedule() -> None:
    """Until its moment the status holds, and then `then`, or nothing."""
    end = datetime(2026, 11, 30, 15, tzinfo=UTC)
    found = schedule("{status: INACTIVE, until: 2026-12-01T00:00, reason: moving, then: ACTIVE}")
    assert found == Schedule(ON, (DatedWindow(OFF, None, end, "moving"),), (), "Asia/Seoul")
    assert schedule("{status: INACTIVE, until: '2026-12-01'}").plain is None


@pytest.mark.parametrize("place", ["before", "after"])
def test_the_zone_may_stand_before_and_after_the_numbers(place: str) -> None:
    """Wherever it stands, times are by its clock; those with an offset are not."""
    zone = "timezone: Europe/Berlin\n"
    numbers = "numbers:\n  - {phone: 010-1234-5678, schedule: [{from: 2026-12-01, status: ACTIVE}, "
    numbers += "{until: 2026-11-01T00:00Z, status: ACTIVE}]}\n"
    found = account("version: 1\n" + (zone + numbers if place == "before" else numbers + zone))
    assert found.timezone == "Europe/Berlin"
    assert [(window.start, window.end) for window in found.schedules[PHONE].dated] == [
        (datetime(2026, 11, 30, 23, tzinfo=UTC), None),
        (None, datetime(2026, 11, 1, tzinfo=UTC)),
    ]


def test_equal_schedules_are_one_value() -> None:
    """Numbers of one schedule share it, and plain numbers have none."""
    entry = '{schedule: [{weekly: "daily 09:00-18:00", status: ACTIVE}]}'
    found = account(f"version: 1\nnumbers: {{01000000001: {entry}, 01000000002: {entry}, 01000000003: ACTIVE}}")
    first, second = found.schedules.values()
    assert first is second
    assert list(found.numbers) == ["01000000001", "01000000002", "01000000003"]


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        ("{schedule: []}", "29: schedule must be a list of windows"),
        ("{schedule: x}", "29: schedule must be a list of windows"),
        ("{schedule: [x]}", "30: a window must be {from: 2026-12-01T09:00"),
        ("{schedule: [{status: ACTIVE}]}", "30: the window has no time"),
        ("{schedule: [{from: 2026-12-01}]}", "30: missing status of the window"),
        ("{schedule: [{from: 2026-12-01, state: ACTIVE, status: ACTIVE}]}", "49: unknown key 'state'"),
        ("{schedule: [{from: 2026-12-01, status: on}]}", "57: status must be ACTIVE or INACTIVE, not 'on'"),
        ("{schedule: [{from: soon, status: ACTIVE}]}", "37: invalid from 'soon': not a time"),
        ("{schedule: [{until: [], status: ACTIVE}]}", "38: invalid until a list"),
        (
            "{schedule: [{until: 2026-12-01, weekly: Mon 09:00-10:00, status: ACTIVE}]}",
            "30: the window has both weekly",
        ),
        ("{schedule: [{weekly: Mon, status: ACTIVE}]}", "39: not a weekly window"),
        ("{schedule: [{weekly: [], status: ACTIVE}]}", "39: weekly must be text"),
        ('{schedule: [{weekly: "Mon 09:00-10:00", status: on}]}', "66: status must be ACTIVE or INACTIVE"),
        ("{schedule: [{from: 2026-12-02, until: 2026-12-01, status: ACTIVE}]}", "30: the window ends before it starts"),
        ("{schedule: [{from: 2026-12-02, until: 2026-12-02, status: ACTIVE}]}", "30: the window ends before it starts"),
        ("{status: ACTIVE, until: later}", "42: invalid until 'later'"),
        ("{status: ACTIVE, until: 2026-12-01, then: on}", "60: status must be ACTIVE or INACTIVE"),
        ("{status: ACTIVE, until: 2026-12-01, reason: ''}", "62: reason is empty"),
        ("{until: 2026-12-01}", "18: missing status"),
        ("{status: ACTIVE, then: INACTIVE}", "41: then needs until, the end of the status"),
        ("{status: ACTIVE, reason: moving}", "43: reason needs until, the end of the status; use note"),
        (
            "{status: ACTIVE, until: 2026-12-01, schedule: [{from: 2026-12-01, status: ACTIVE}]}",
            "42: until conflicts with schedule",
        ),
    ],
)
def test_mistake_is_reported_at_its_place(entry: str, problem: str) -> None:
    """Each mistake is one problem, at its line and column."""
    (found,) = problems_of(entry)
    assert found.startswith(f"3:{problem}")


def test_contradicting_windows_are_reported_with_both_lines() -> None:
    """The error is at the later one, for dated and for weekly windows; a dated window may contradict a weekly one."""
    entry = """
      schedule:
        - {from: 2026-12-01, until: 2026-12-10, status: ACTIVE}
        - {weekly: "daily 00:00-24:00", status: INACTIVE}
        - {from: 2026-12-09, status: INACTIVE}
        - {weekly: "Sun 23:00-23:30", status: ACTIVE}"""
    assert problems_of(entry) == [
        "7:11: the window overlaps the one on line 5, which has another status: shorten one of them",
        "8:11: the window overlaps the one on line 6, which has another status: shorten one of them",
    ]


def test_wrong_schedule_is_reported_wherever_it_stands() -> None:
    """Two numbers with the same mistake are two problems."""
    entry = "{schedule: [{from: 2026-12-02, until: 2026-12-01, status: ACTIVE}]}"
    assert [problem[:5] for problem in problems_of(entry, entry)] == ["3:30:", "4:30:"]


@pytest.mark.parametrize(
    ("zone", "problem"),
    [
        ("asia/soul", "4:11: timezone 'asia/soul': unknown time zone; did you mean 'Asia/Seoul'?"),
        ("KST", "4:11: timezone 'KST': unknown time zone: use Asia/Seoul"),
        ("GMT+9", "4:11: timezone 'GMT+9': unknown time zone: use Asia/Seoul"),
        ("[]", "4:11: timezone must be text"),
        ("../Asia/Seoul", "4:11: timezone '../Asia/Seoul': unknown time zone"),
    ],
)
def test_wrong_zone_is_reported(zone: str, problem: str) -> None:
    """The message suggests the closest zone; the times are then not judged by another one."""
    (found,) = problems_of("{schedule: [{from: 2026-12-02, status: ACTIVE}]}", head=f"timezone: {zone}\n")
    assert found.startswith(problem)


def test_a_zone_that_misleads_is_a_warning_at_its_place() -> None:
    """The sign of `Etc/GMT+9` means the opposite of what most people take it for."""
    found = load([("a.yaml", b"version: 1\ntimezone: Etc/GMT+9\nnumbers: {}\n")])
    assert found.accounts[0].timezone == "Etc/GMT+9"
    assert list(map(str, found.warnings)) == [
        "a.yaml:2:11: timezone Etc/GMT+9 is UTC-9, as IANA inverts the sign: use Asia/Seoul for UTC+9"
    ]


@pytest.mark.parametrize(("other", "clash"), [("ACTIVE", True), ("INACTIVE", False)])
def test_a_number_that_is_ever_active_can_be_in_one_account_only(other: str, *, clash: bool) -> None:
    """A window that activates counts as a plain ACTIVE does."""
    first = "version: 1\naccount: a\nnumbers: {01000000001: {schedule: [{from: 2026-12-01, status: ACTIVE}]}}\n"
    text = f"{first}---\nversion: 1\naccount: b\nnumbers: {{01000000001: {other}}}\n"
    try:
        load([("a.yaml", text.encode())])
    except DesiredStateError as refused:
        found = str(refused)
    else:
        found = ""
    assert ("it can be ACTIVE in one account only" in found) is clash
