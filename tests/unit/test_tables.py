"""Tables of numbers: what spreadsheets write, and where it is wrong."""

import pytest

from worker.errors import DesiredStateError
from worker.model import Desired, Status
from worker.tables import table

ACTIVE = Desired(Status.ACTIVE)
INACTIVE = Desired(Status.INACTIVE)


def _problems(text: str | bytes) -> list[str]:
    with pytest.raises(DesiredStateError) as raised:
        table("t.csv", text.encode() if isinstance(text, str) else text)
    return [str(problem) for problem in raised.value.problems]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp949", "utf-16"])
def test_every_encoding_of_a_korean_spreadsheet_is_read(encoding: str) -> None:
    """Names and words in Korean mean the same in each encoding, whatever separates the cells."""
    text = "전화번호\t상태\t메모\t담당자\t보호\n010-1234-5678\t활성\t본점\t영업\t예\n02-312-4567\t미사용\t\t\t\n"
    found = table("t.csv", text.encode(encoding))
    assert found == {
        "01012345678": Desired(Status.ACTIVE, "본점", "영업", protected=True),
        "023124567": INACTIVE,
    }


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_first_row_tells_what_separates(delimiter: str) -> None:
    """Whatever a spreadsheet puts between cells is understood; blank rows and blank cells at the end are nothing."""
    rows = [["Phone", " STATUS "], ["01012345678", "active"], ["", ""], ["15881234", "Inactive", "", ""]]
    text = "\r\n".join(delimiter.join(row) for row in rows)
    assert table("t.csv", text.encode()) == {"01012345678": ACTIVE, "15881234": INACTIVE}


def test_texts_of_a_spreadsheet_that_were_kept_from_being_numbers_are_read() -> None:
    """A formula around a number, or an apostrophe before it, is not a part of it; notes keep what looks like one."""
    found = table(
        "t.csv", b'phone,status,note\n"=""01012345678""",ACTIVE,=SUM(A1)\n\'0212345678,ACTIVE,"two\r\nlines"\n'
    )
    assert [desired.note for desired in found.values()] == ["=SUM(A1)", "two\nlines"]
    assert list(found) == ["01012345678", "0212345678"]


def test_columns_that_mean_nothing_are_left_out_only_by_name() -> None:
    """A misspelt column loses nothing in silence; one that is to be skipped is, and one without a name is none."""
    data = b"phone,status,protectd,\n01012345678,ACTIVE,yes,\n"
    assert table("t.csv", data, ["Protectd"]) == {"01012345678": ACTIVE}
    (told,) = _problems(data)
    assert told == "t.csv:1:14: there is no column 'protectd' here: name it otherwise, or --skip-column it"


def test_a_needed_column_cannot_be_skipped() -> None:
    """Without its numbers a table is none."""
    with pytest.raises(DesiredStateError, match="there is none for phone"):
        table("t.csv", b"phone,status\n01012345678,ACTIVE\n", ["phone"])


@pytest.mark.parametrize(
    ("cell", "told"),
    [
        ("1012345678", "its leading 0 is missing"),
        ("1.0E+10", "has made a decimal"),
        ("8.21012E11", "has made a decimal"),
        ("021234567.0", "has made a decimal"),
        ("-112", "no minus"),
        ("", "there is no number"),
    ],
)
def test_what_a_spreadsheet_did_to_a_number_is_refused(cell: str, told: str) -> None:
    """A number that lost a digit, or gained one, is told and never guessed."""
    (problem,) = _problems(f"phone,status\n{cell},ACTIVE\n")
    assert problem.startswith("t.csv:2:1: ")
    assert told in problem


def test_every_problem_has_its_line_and_column() -> None:
    """All that is wrong is told at once, each at its cell; one in a row of several lines at the row's first."""
    assert _problems(
        'status,phone,note,protected\n"ACTIVE",02,x,\nmaybe,01012345678,"a ""b"", c",perhaps\n,01012345679,,\n'
        'ACTIVE,01012345670,,,more\nACTIVE,01012345671,"\u0007\n",\nACTIVE,01012345672,,\nACTIVE,010-1234-5672,,\n'
    ) == [
        "t.csv:2:10: '02': 02 numbers have 9 or 10 digits, this one has 2: check it digit by digit",
        "t.csv:3:1: 'maybe' is no status: write ACTIVE or INACTIVE, or leave the row out",
        "t.csv:3:32: protected is true or false, not 'perhaps'",
        "t.csv:4:1: the status is missing: write ACTIVE or INACTIVE, or leave the row out",
        "t.csv:5:22: the row has 5 cells, the first one 4: quote a text that has a comma",
        "t.csv:6:1: note has the invisible character U+0007: type it anew instead of pasting it",
        "t.csv:9:8: 01012345672 stands here and on line 8: keep one of the two",
    ]


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", "t.csv:1:1: the file is empty"),
        (b" \n\n", "t.csv:1:1: the file is empty"),
        (b"phone,status\n\xff\xff\xff", "neither UTF-8 nor CP949"),
        (b"phone\0,status\n", "neither UTF-8 nor CP949"),
        (b'phone,status\n"01012345678,ACTIVE\n', "t.csv:2:1: this is no CSV: unexpected end of data"),
        (b"number,phone,status\n", "t.csv:1:8: there are two columns for phone"),
        (b"phone,status\n,\n", "t.csv:1:1: the table has no numbers"),
        (b"phone,note\n", "t.csv:1:1: the first row should name the columns"),
    ],
)
def test_what_is_no_table_is_told_once(data: bytes, problem: str) -> None:
    """A file that cannot be read as a table has one problem that says what to do."""
    (told,) = _problems(data)
    assert problem in told


def test_only_line_ends_end_a_line() -> None:
    """A character that some programs take for a line's end stays in its cell, and is told there."""
    (told,) = _problems("phone,status,note\n01012345678,ACTIVE,a\u2028b\n")
    assert told.startswith("t.csv:2:20: note has the invisible character U+2028")


def test_a_file_that_is_too_long_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is a bound, as for desired-state files."""
    monkeypatch.setattr("worker.tables.FILE_CAP", 1 << 20)
    (told,) = _problems(b"x" * ((1 << 20) + 1))
    assert "longer than 1 MiB" in told


def test_problems_beyond_what_anybody_reads_are_counted() -> None:
    """A thousand problems are shown, the others counted."""
    with pytest.raises(DesiredStateError) as raised:
        table("t.csv", b"phone,status\n" + b"x,ACTIVE\n" * 1200)
    assert len(raised.value.problems) == 1000
    assert raised.value.untold == 200
