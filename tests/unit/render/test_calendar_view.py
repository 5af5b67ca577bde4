"""The calendar of two weeks."""

from datetime import UTC, datetime

from tests.support.ledgers import file_account
from worker.config.desired import load
from worker.model.accounts import DesiredAccount
from worker.render.view.calendar import calendar_days, calendar_rows

START = datetime(2026, 11, 29, 15, tzinfo=UTC)
"""Monday, 30 November, 00:00 in Korea."""
NOW = datetime(2026, 11, 30, 3, tzinfo=UTC)


def account(*entries: str, plain: str = "INACTIVE") -> DesiredAccount:
    """Return an account with one number for each schedule."""
    numbers = "".join(
        f"  0100000000{index}: {{status: {plain}, schedule: [{entry}]}}\n" for index, entry in enumerate(entries)
    )
    return load(iter([("main.yaml", f"version: 1\naccount: main\nnumbers:\n{numbers}".encode())])).accounts[0]


OFFICE = "{weekly: 'Mon-Fri 09:00-18:00', status: ACTIVE, reason: office}"


def test_numbers_with_the_same_windows_share_a_row() -> None:
    (row,) = calendar_rows([file_account("other"), account(OFFICE, OFFICE)], START, NOW)
    assert (row.account, row.text, row.numbers) == ("main", "Mon-Fri 09:00-18:00 ACTIVE", 2)
    assert [bar.status for bar in row.bars[:3]] == ["INACTIVE", "ACTIVE", "INACTIVE"]
    assert sum(bar.width for bar in row.bars) == 1000 or abs(sum(bar.width for bar in row.bars) - 1000) < 0.5
    assert (row.bars[0].x, row.bars[1].start) == (0, "2026-11-30T00:00:00Z")
    assert (row.following, row.after) == ("2026-11-30T09:00:00Z", "INACTIVE")


def test_dated_windows_are_shown_in_the_zone_of_the_file() -> None:
    """A number without a status outside its windows has gaps. A schedule that has ended has no next change."""
    past = "{from: '2026-11-01', until: '2026-11-02', status: ACTIVE}"
    coming = "{from: '2026-12-03', until: '2026-12-08', status: ACTIVE}"
    first, second = calendar_rows([account(past, coming)], START, NOW)
    assert (first.text, first.following, first.after) == ("2026-11-01…2026-11-02 ACTIVE", None, None)
    assert [bar.status for bar in first.bars] == ["INACTIVE"]
    assert second.text == "2026-12-03…2026-12-08 ACTIVE"
    assert [bar.status for bar in second.bars] == ["INACTIVE", "ACTIVE", "INACTIVE"]


def test_windows_without_a_plain_status_leave_gaps() -> None:
    windows = ", ".join(
        f"{{from: '2026-12-0{day}', until: '2026-12-0{day}T12:00', status: ACTIVE}}" for day in (1, 2, 3, 4)
    )
    text = f"version: 1\naccount: main\nnumbers:\n  01000000001: {{schedule: [{windows}]}}\n"
    (row,) = calendar_rows(load(iter([("main.yaml", text.encode())])).accounts, START, NOW)
    assert [bar.status for bar in row.bars] == ["ACTIVE"] * 4
    assert row.text.endswith("+1")
    open_end = (
        "version: 1\naccount: main\nnumbers:\n  01000000001: {schedule: [{from: '2026-12-01', status: ACTIVE}]}\n"
    )
    (row,) = calendar_rows(load(iter([("main.yaml", open_end.encode())])).accounts, START, NOW)
    assert row.text == "2026-12-01… ACTIVE"
    assert row.bars[-1].end == "2026-12-13T15:00:00Z"


def test_days_are_those_of_the_zone() -> None:
    days = calendar_days(START, "Asia/Seoul")
    assert [(day.number, day.weekday) for day in days[:3]] == [(30, 0), (1, 1), (2, 2)]
    assert (len(days), days[0].date, days[1].x) == (14, "2026-11-30", 71.43)
