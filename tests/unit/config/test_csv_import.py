"""Import of CSV tables: encodings, cells that spreadsheets changed, and problems with their locations."""

from collections.abc import Mapping
from unicodedata import normalize

import pytest

from worker.config.csv_import import ENCODINGS, ImportedNumbers, read_csv
from worker.model.accounts import Desired, Status
from worker.model.errors import DesiredStateError, Problem

ACTIVE = Desired(Status.ACTIVE)
INACTIVE = Desired(Status.INACTIVE)


def _numbers(data: bytes) -> Mapping[str, Desired]:
    return read_csv("t.csv", data).numbers


def _problems(text: str | bytes) -> list[str]:
    with pytest.raises(DesiredStateError) as raised:
        read_csv("t.csv", text.encode() if isinstance(text, str) else text)
    return [str(problem) for problem in raised.value.problems]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp949", "utf-16"])
def test_every_encoding_of_a_korean_spreadsheet_is_read(encoding: str) -> None:
    text = "전화번호\t상태\t메모\t담당자\t보호\n010-1234-5678\t활성\t본점\t영업\t예\n02-312-4567\t미사용\t\t\t\n"
    table = read_csv("t.csv", text.encode(encoding))
    assert table.warnings == []
    assert table.numbers == {
        "01012345678": Desired(Status.ACTIVE, "본점", "영업", protected=True),
        "023124567": INACTIVE,
    }


@pytest.mark.parametrize("status", ["ACTIVE", "INACTIVE"])
def test_number_in_two_rows_is_a_duplicate(status: str) -> None:
    """Rows with equal status are duplicates too."""
    text = f"phone,status\n01012345678,ACTIVE\n010-1234-5678,{status}\n"
    assert _problems(text) == ["t.csv:3:1: 01012345678 is a duplicate of line 2: keep one"]


@pytest.mark.parametrize("flag", ["true", "YES", "y", "1", "예", "O"])
def test_protected_is_true(flag: str) -> None:
    assert _numbers(f"phone,status,protected\n01012345678,ACTIVE,{flag}\n".encode())["01012345678"].protected


@pytest.mark.parametrize("flag", ["false", "No", "n", "0", "아니오", "아니요", "X", ""])
def test_protected_is_false(flag: str) -> None:
    assert not _numbers(f"phone,status,protected\n01012345678,ACTIVE,{flag}\n".encode())["01012345678"].protected


def test_decomposed_hangul_is_composed() -> None:
    """Files from macOS contain decomposed Hangul (NFD)."""
    text = "발신번호,상태,메모,담당자,보호,색상\n010-1234-5678,사용 중,본점,김영업,예,빨강\n"
    for form in ("NFC", "NFD"):
        table = read_csv("t.csv", normalize("NFD", text).encode(), [normalize(form, "색상")])
        assert table == ImportedNumbers({"01012345678": Desired(Status.ACTIVE, "본점", "김영업", protected=True)}, [])


@pytest.mark.parametrize("note", ["홍", "홍 홍", "징"])
def test_ambiguous_bytes_are_read_as_cp949_with_a_warning(note: str) -> None:
    """These bytes are valid UTF-8 too, as accented Latin letters."""
    data = f"phone,status,note\n01012345678,ACTIVE,{note}\n".encode("cp949")
    assert data.decode() != data.decode("cp949")
    table = read_csv("t.csv", data)
    assert table.numbers["01012345678"].note == note
    message = "the file is valid UTF-8 and CP949; reading it as CP949: use --encoding to choose"
    assert table.warnings == [Problem("t.csv", 1, 1, message)]
    utf8_table = read_csv("t.csv", data, encoding="utf-8")
    assert (utf8_table.numbers["01012345678"].note, utf8_table.warnings) == (
        data.decode().strip().rpartition(",")[2],
        [],
    )


@pytest.mark.parametrize("note", ["개인", "개인 개인", "사원"])
def test_korean_in_utf8_is_read_as_utf8(note: str) -> None:
    """These bytes are valid CP949 too, as rare characters."""
    data = f"phone,status,note\n01012345678,ACTIVE,{note}\n".encode()
    assert read_csv("t.csv", data) == ImportedNumbers({"01012345678": Desired(Status.ACTIVE, note)}, [])


@pytest.mark.parametrize("written", ENCODINGS)
@pytest.mark.parametrize("read", ENCODINGS)
def test_chosen_encoding_disables_detection(written: str, read: str) -> None:
    data = "전화번호,상태\n01012345678,활성\n".encode(written)
    if written == read:
        assert read_csv("t.csv", data, encoding=read).numbers == {"01012345678": ACTIVE}
    else:
        with pytest.raises(DesiredStateError, match=f"the file is not {read.upper()} text|unknown column|is empty"):
            read_csv("t.csv", data, encoding=read)


def test_byte_order_mark_determines_the_encoding() -> None:
    data = "phone,status,note\n01012345678,ACTIVE,ȫ\n".encode("utf-8-sig")
    assert read_csv("t.csv", data) == ImportedNumbers({"01012345678": Desired(Status.ACTIVE, "ȫ")}, [])


def test_unusual_number_is_a_warning_at_its_cell() -> None:
    table = read_csv("t.csv", b"status,phone\nACTIVE,0507-1234-5678\nACTIVE,01012345678\nINACTIVE,0111234567\n")
    assert list(table.numbers) == ["050712345678", "01012345678", "0111234567"]
    assert [(each.line, each.column) for each in table.warnings] == [(2, 8), (4, 10)]
    assert table.warnings[0].message.startswith("'0507-1234-5678': 050 numbers forward calls")


def test_warnings_are_limited() -> None:
    rows = "".join(f"050{index:08},ACTIVE\n" for index in range(1200))
    assert len(read_csv("t.csv", f"phone,status\n{rows}".encode()).warnings) == 1000


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_first_row_determines_the_delimiter(delimiter: str) -> None:
    """Blank rows and blank cells at the end are ignored."""
    rows = [["Phone", " STATUS "], ["01012345678", "active"], ["", ""], ["15881234", "Inactive", "", ""]]
    text = "\r\n".join(delimiter.join(row) for row in rows)
    assert read_csv("t.csv", text.encode()).numbers == {"01012345678": ACTIVE, "15881234": INACTIVE}


def test_formula_and_apostrophe_around_number_are_stripped() -> None:
    """Notes that look like formulas are unchanged."""
    numbers = _numbers(b'phone,status,note\n"=""01012345678""",ACTIVE,=SUM(A1)\n\'0212345678,ACTIVE,"two\r\nlines"\n')
    assert [desired.note for desired in numbers.values()] == ["=SUM(A1)", "two\nlines"]
    assert list(numbers) == ["01012345678", "0212345678"]


def test_unknown_column_is_refused_unless_skipped() -> None:
    """A column without a name is ignored."""
    data = b"phone,status,protectd,\n01012345678,ACTIVE,yes,\n"
    assert read_csv("t.csv", data, ["Protectd"]).numbers == {"01012345678": ACTIVE}
    (message,) = _problems(data)
    assert message == "t.csv:1:14: unknown column 'protectd': rename it or use --skip-column"


def test_required_column_cannot_be_skipped() -> None:
    with pytest.raises(DesiredStateError, match="missing column phone"):
        read_csv("t.csv", b"phone,status\n01012345678,ACTIVE\n", ["phone"])


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ("1012345678", "missing leading 0"),
        ("1.0E+10", "converted this number to a decimal"),
        ("8.21012E11", "converted this number to a decimal"),
        ("021234567.0", "converted this number to a decimal"),
        ("-112", "minus sign"),
        ("15881234.0", "write 15881234"),
        ("15881234.", "write 15881234"),
        ('"15881234,0"', "converted this number to an amount: write 15881234"),
        ('"15,881,234.0"', "converted this number to an amount: write 15881234"),
        ('"=""15881234.0"""', "write 15881234"),
        ("'15881234.0", "write 15881234"),
        ("", "no number"),
    ],
)
def test_number_damaged_by_a_spreadsheet_is_refused(cell: str, message: str) -> None:
    """A number that lost or gained a digit is reported and never guessed."""
    (problem,) = _problems(f"phone,status\n{cell},ACTIVE\n")
    assert problem.startswith("t.csv:2:1: ")
    assert message in problem


def test_every_problem_has_its_line_and_column() -> None:
    """A problem of a row with several lines is at its first line."""
    assert _problems(
        'status,phone,note,protected\n"ACTIVE",1x,x,\nmaybe,01012345678,"a ""b"", c",perhaps\n,01012345679,,\n'
        'ACTIVE,01012345670,,,more\nACTIVE,01012345671,"\u0007\n",\nACTIVE,01012345672,,\nACTIVE,010-1234-5672,,\n'
    ) == [
        "t.csv:2:10: '1x': letter 'x': a number has only digits, such as 010-1234-5678",
        "t.csv:3:1: unknown status 'maybe': write ACTIVE or INACTIVE, or remove the row",
        "t.csv:3:32: protected must be true or false, not 'perhaps'",
        "t.csv:4:1: missing status: write ACTIVE or INACTIVE, or remove the row",
        "t.csv:5:22: the row has 5 cells, the first row 4: quote text that contains a comma",
        "t.csv:6:1: note has the invisible character U+0007: type it instead of pasting it",
        "t.csv:9:8: 01012345672 is a duplicate of line 8: keep one",
    ]


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", "t.csv:1:1: the file is empty"),
        (b" \n\n", "t.csv:1:1: the file is empty"),
        (b"phone,status\n\xff\xff\xff", "neither UTF-8 nor CP949"),
        (b"phone\0,status\n", "neither UTF-8 nor CP949"),
        (b'phone,status\n"01012345678,ACTIVE\n', "t.csv:2:1: invalid CSV: unexpected end of data"),
        (b"number,phone,status\n", "t.csv:1:8: duplicate column phone"),
        (b"phone,status\n,\n", "t.csv:1:1: the table has no numbers"),
        (b"phone,note\n", "t.csv:1:1: missing column"),
    ],
)
def test_file_that_is_not_a_table_has_one_problem(data: bytes, problem: str) -> None:
    (message,) = _problems(data)
    assert problem in message


def test_unicode_line_separator_does_not_end_a_row() -> None:
    (message,) = _problems("phone,status,note\n01012345678,ACTIVE,a\u2028b\n")
    assert message.startswith("t.csv:2:20: note has the invisible character U+2028")


def test_file_above_the_size_limit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.config.csv_import.FILE_CAP", 1 << 20)
    (message,) = _problems(b"x" * ((1 << 20) + 1))
    assert "longer than 1 MiB" in message


def test_problems_above_the_limit_are_counted() -> None:
    with pytest.raises(DesiredStateError) as raised:
        read_csv("t.csv", b"phone,status\n" + b"x,ACTIVE\n" * 1200)
    assert len(raised.value.problems) == 1000
    assert raised.value.omitted_count == 200
