"""The current state of numbers as a table and as CSV."""

import csv
from io import StringIO

import msgspec
import pytest

from worker.model.errors import ErrorInfo
from worker.model.number_status import AccountStatus, KnownDifference, NextStatus, NumberStatus, Origin, StatusReport
from worker.render.masking import Mask
from worker.render.status_csv import status_csv
from worker.render.terminal import width
from worker.render.text.status import text

PLAIN = NumberStatus(phone="01012345678", observed="ACTIVE", desired="ACTIVE", differs=False)
FULL = NumberStatus(
    phone="0212345678",
    observed=None,
    desired="ACTIVE",
    differs=True,
    note="front\tdesk",
    owner="영업팀",
    next=NextStatus("2026-12-01T00:00:00Z", None),
    expires_at="2026-12-31T00:00:00Z",
    extended=True,
)
UNLISTED = NumberStatus(phone="15881234", observed="FROZEN", desired=None, differs=False, listed=False)
IDLE = NumberStatus(phone="15881235", observed="ACTIVE", desired=None, differs=False)


def report(*numbers: NumberStatus, total: int | None = None, error: ErrorInfo | None = None) -> StatusReport:
    """Return the report of one account."""
    account = AccountStatus(
        account="main",
        account_id="777",
        error=error,
        total=len(numbers) if total is None else total,
        numbers=numbers,
    )
    return StatusReport(created_at="2026-11-30T12:00:00.000Z", accounts=(account,))


def test_table_has_only_the_columns_that_have_values() -> None:
    assert text(report(PLAIN), color=False) == (
        "main (account 777)\n"
        "  PHONE          OBSERVED  DESIRED  OWNER · NOTE\n"
        "  010-1234-5678  ACTIVE    ACTIVE\n"
        "\n"
        "1 of 1 number.\n"
    )


def test_table_has_a_row_for_every_kind_of_number() -> None:
    lines = text(report(PLAIN, FULL, UNLISTED, IDLE, total=5), color=False, width=120).splitlines()
    titles = ("PHONE", "OBSERVED", "DESIRED", "NEXT CHANGE", "EXPIRES", "OWNER · NOTE")
    starts = [lines[1].index(title) for title in titles]
    rows = [
        [line[start:end].strip() for start, end in zip(starts, [*starts[1:], None], strict=True)] for line in lines[2:6]
    ]
    assert rows == [
        ["010-1234-5678", "ACTIVE", "ACTIVE", "", "", ""],
        [
            "02-1234-5678",
            "missing",
            "ACTIVE *",
            "not set from 2026-12-01 09:00 KST",
            "2026-12-31 (extended)",
            "영업팀 · front desk",
        ],
        ["1588-1234", "FROZEN", "not listed", "", "", ""],
        ["1588-1235", "ACTIVE", "not set", "", "", ""],
    ]
    assert lines[-1] == "4 of 5 numbers, 1 differs (*)."


def test_number_with_origins_has_a_line_for_each_field() -> None:
    origins = (
        Origin(field="status", value="ACTIVE", location="a.yaml:4", by_default=False),
        Origin(field="note", value="x", location="b.yaml:2", by_default=True),
    )
    page = text(report(msgspec.structs.replace(PLAIN, origins=origins)), color=False)
    assert page.splitlines()[3:5] == [
        "    status  ACTIVE  (a.yaml:4)",
        "    note    x  (b.yaml:2, by default)",
    ]


def test_acknowledged_difference_is_shown_with_its_end() -> None:
    """An acknowledged difference is counted, and has no colour."""
    known = KnownDifference(reason="broken line", until="2026-12-31T15:00:00Z", by="Kim")
    number = NumberStatus(
        phone="01012345678", observed="INACTIVE", desired="ACTIVE", differs=True, note="shop", acknowledged=known
    )
    page = text(report(PLAIN, FULL, number), color=True, width=160)
    row = page.splitlines()[4]
    assert "\x1b" not in row
    assert "acknowledged until 2027-01-01 00:00 KST: broken line · shop" in row
    assert "3 of 3 numbers, 2 differ (*), 1 of them acknowledged." in page
    assert status_csv(report(number)).splitlines()[1].endswith(",2026-12-31T15:00:00Z")


def test_account_that_could_not_be_read_has_its_error() -> None:
    page = text(report(error=ErrorInfo("SignatureDoesNotMatch", "wrong secret.")), color=False)
    assert page == (
        "main (account 777)\n  SignatureDoesNotMatch: wrong secret\n\n0 of 0 numbers, could not be read: 1 account.\n"
    )


def test_account_without_selected_numbers_is_not_shown() -> None:
    assert text(report(total=3), color=False) == "0 of 3 numbers.\n"


@pytest.mark.parametrize("columns", [80, 120])
def test_long_remark_is_cut_to_the_page(columns: int) -> None:
    number = NumberStatus(phone="01012345678", observed="ACTIVE", desired="ACTIVE", differs=False, note="가" * 200)
    assert max(map(width, text(report(number), color=False, width=columns).splitlines())) <= columns


def test_differing_numbers_have_a_colour() -> None:
    lines = text(report(PLAIN, FULL), color=True).splitlines()
    assert "\x1b[33m" not in lines[2]
    assert "\x1b[33m" in lines[3]


def test_csv_has_a_row_for_each_number_and_each_error() -> None:
    page = status_csv(report(PLAIN, FULL))
    assert page.startswith("account,phone,observed,desired,differs,owner,note,next_at,next_status,expires_at,")
    rows = list(csv.DictReader(StringIO(page)))
    assert [{key: value for key, value in row.items() if value} for row in rows] == [
        {
            "account": "main",
            "phone": "010-1234-5678",
            "observed": "ACTIVE",
            "desired": "ACTIVE",
            "differs": "false",
            "extended": "false",
            "protected": "false",
            "listed": "true",
        },
        {
            "account": "main",
            "phone": "02-1234-5678",
            "desired": "ACTIVE",
            "differs": "true",
            "owner": "영업팀",
            "note": "front\tdesk",
            "next_at": "2026-12-01T00:00:00Z",
            "expires_at": "2026-12-31T00:00:00Z",
            "extended": "true",
            "protected": "false",
            "listed": "true",
        },
    ]
    (row,) = csv.DictReader(StringIO(status_csv(report(error=ErrorInfo("ServerError", "down")))))
    assert {key: value for key, value in row.items() if value} == {"account": "main", "error": "ServerError"}


@pytest.mark.parametrize("hostile", ["=1+1", "+1", "-1", "@x", "\t=1", "\r=1"])
def test_csv_has_no_formulas(hostile: str) -> None:
    number = NumberStatus(phone="112", observed=hostile, desired=None, differs=False, note=hostile, owner=hostile)
    (row,) = csv.DictReader(StringIO(status_csv(report(number))))
    assert row["observed"] == row["note"] == row["owner"] == f"'{hostile}"


def test_mask_hides_digits() -> None:
    number = NumberStatus(
        phone="01012345678", observed="ACTIVE", desired="ACTIVE", differs=False, note="was 02-123-4567"
    )
    masked = Mask.of("010****5678").document(report(number))
    assert masked.accounts[0].numbers[0].phone == "010****5678"
    assert "123-4567" not in status_csv(masked)
