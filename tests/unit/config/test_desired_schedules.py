"""Schedules in desired-state files, and the problems of invalid ones."""

from datetime import UTC, datetime

import pytest

from worker.config.desired import load
from worker.model.accounts import DatedWindow, DesiredAccount, Schedule, Status, WeeklyWindow
from worker.model.errors import DesiredStateError

ON, OFF = Status.ACTIVE, Status.INACTIVE
PHONE = "01012345678"


def account(text: str) -> DesiredAccount:
    """Return the only account of a file."""
    (only,) = load([("a.yaml", text.encode())]).accounts
    return only


def schedule(entry: str, head: str = "") -> Schedule:
    """Return the schedule of the only number of a file."""
    return account(f"version: 1\n{head}numbers:\n  010-1234-5678: {entry}\n").schedules[PHONE]


def problems_of(*entries: str, head: str = "") -> list[str]:
    """Return the problems of a file whose numbers have these entries. The first entry is on line 3."""
    numbers = "".join(f"  010-1234-567{index}: {entry}\n" for index, entry in enumerate(entries))
    with pytest.raises(DesiredStateError) as error:
        load([("a.yaml", f"version: 1\nnumbers:\n{numbers}{head}".encode())])
    return [str(problem).removeprefix("a.yaml:") for problem in error.value.problems]


def test_dated_and_weekly_windows_are_read() -> None:
    """Dated windows are converted to UTC, weekly windows to minutes of the week."""
    result = schedule(
        "{status: INACTIVE, schedule: [{from: 2026-12-01T09:00, until: 2026-12-22, status: ACTIVE, reason: sale}, "
        '{weekly: "Mon 09:00-18:00", status: active}]}'
    )
    dated = DatedWindow(ON, datetime(2026, 12, 1, tzinfo=UTC), datetime(2026, 12, 21, 15, tzinfo=UTC), "sale")
    assert result == Schedule(OFF, (dated,), (WeeklyWindow(ON, "Mon 09:00-18:00", ((540, 1080),)),), "Asia/Seoul")


def test_status_with_until_becomes_a_schedule() -> None:
    """The status applies until then. Afterwards `then` applies, or no status."""
    end = datetime(2026, 11, 30, 15, tzinfo=UTC)
    result = schedule("{status: INACTIVE, until: 2026-12-01T00:00, reason: moving, then: ACTIVE}")
    assert result == Schedule(ON, (DatedWindow(OFF, None, end, "moving"),), (), "Asia/Seoul")
    assert schedule("{status: INACTIVE, until: '2026-12-01'}").base_status is None


@pytest.mark.parametrize("position", ["before", "after"])
def test_timezone_may_precede_or_follow_the_numbers(position: str) -> None:
    """Times with an offset ignore it."""
    zone = "timezone: Europe/Berlin\n"
    numbers = "numbers:\n  - {phone: 010-1234-5678, schedule: [{from: 2026-12-01, status: ACTIVE}, "
    numbers += "{until: 2026-11-01T00:00Z, status: ACTIVE}]}\n"
    result = account("version: 1\n" + (zone + numbers if position == "before" else numbers + zone))
    assert result.timezone == "Europe/Berlin"
    assert [(window.start, window.end) for window in result.schedules[PHONE].dated] == [
        (datetime(2026, 11, 30, 23, tzinfo=UTC), None),
        (None, datetime(2026, 11, 1, tzinfo=UTC)),
    ]


def test_equal_schedules_share_one_object() -> None:
    entry = '{schedule: [{weekly: "daily 09:00-18:00", status: ACTIVE}]}'
    result = account(f"version: 1\nnumbers: {{01000000001: {entry}, 01000000002: {entry}, 01000000003: ACTIVE}}")
    first, second = result.schedules.values()
    assert first is second
    assert list(result.numbers) == ["01000000001", "01000000002", "01000000003"]


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        ("{schedule: []}", "29: schedule must be a list of windows"),
        ("{schedule: x}", "29: unknown schedule 'x'; define it under schedules"),
        ("{schedule: [x]}", "30: a window must be {from: 2026-12-01T09:00"),
        ("{schedule: [{status: ACTIVE}]}", "30: the window has no time: write "),
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
def test_invalid_schedule_is_reported_at_its_location(entry: str, problem: str) -> None:
    (message,) = problems_of(entry)
    assert message.startswith(f"3:{problem}")


def test_conflicting_windows_are_reported_with_both_lines() -> None:
    """The problem is at the later window. A dated window does not conflict with a weekly one."""
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


def test_same_invalid_schedule_is_reported_for_each_number() -> None:
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
def test_unknown_timezone_is_reported_with_a_suggestion(zone: str, problem: str) -> None:
    """The times are not checked against another zone."""
    (message,) = problems_of("{schedule: [{from: 2026-12-02, status: ACTIVE}]}", head=f"timezone: {zone}\n")
    assert message.startswith(problem)


def test_etc_gmt_timezone_is_a_warning() -> None:
    """The sign of `Etc/GMT+9` is the opposite of the usual meaning."""
    state = load([("a.yaml", b"version: 1\ntimezone: Etc/GMT+9\nnumbers: {}\n")])
    assert state.accounts[0].timezone == "Etc/GMT+9"
    assert list(map(str, state.warnings)) == [
        "a.yaml:2:11: timezone Etc/GMT+9 is UTC-9, as IANA inverts the sign: use Asia/Seoul for UTC+9"
    ]


@pytest.mark.parametrize(("other", "conflicts"), [("ACTIVE", True), ("INACTIVE", False)])
def test_number_active_by_schedule_conflicts_with_another_account(other: str, *, conflicts: bool) -> None:
    first = "version: 1\naccount: a\nnumbers: {01000000001: {schedule: [{from: 2026-12-01, status: ACTIVE}]}}\n"
    text = f"{first}---\nversion: 1\naccount: b\nnumbers: {{01000000001: {other}}}\n"
    try:
        load([("a.yaml", text.encode())])
    except DesiredStateError as error:
        message = str(error)
    else:
        message = ""
    assert ("it can be ACTIVE in one account only" in message) is conflicts
