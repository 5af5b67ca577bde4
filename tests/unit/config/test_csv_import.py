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
    """The bytes are also valid UTF-8: accented Latin letters."""
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
    """The bytes are also valid CP949: rare characters."""
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
    assert [(warning.line, warning.column) for warning in table.warnings] == [(2, 8), (4, 10)]
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
    assert message == (
        "t.csv:1:14: unknown column 'protectd': rename it or use --skip-column; columns: 'phone' = phone, "
        "'status' = status, 'protectd' = unknown"
    )


def test_columns_are_listed_once() -> None:
    data = "no,발신번호,색상,상태,크기\n1,01012345678,빨강,활성,대\n"
    columns = "'no' = ignored, '발신번호' = phone, '색상' = unknown, '상태' = status, '크기' = unknown"
    assert _problems(data) == [
        f"t.csv:1:9: unknown column '색상': rename it or use --skip-column; columns: {columns}",
        "t.csv:1:15: unknown column '크기': rename it or use --skip-column",
    ]


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
        "t.csv:5:22: the row has 5 cells, the column names 4: quote text that contains a comma",
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
        (
            b"number,phone,status\n",
            "t.csv:1:8: duplicate column phone: keep one, or add --skip-column 'phone'; columns: ",
        ),
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
    assert "larger than 1 MiB" in message


def test_problems_above_the_limit_are_counted() -> None:
    with pytest.raises(DesiredStateError) as raised:
        read_csv("t.csv", b"phone,status\n" + b"x,ACTIVE\n" * 1200)
    assert len(raised.value.problems) == 1000
    assert raised.value.omitted_count == 200


def _warnings(text: str) -> list[str]:
    return [str(warning) for warning in read_csv("t.csv", text.encode()).warnings]


@pytest.mark.parametrize(
    "text",
    [
        "sep=;\n발신번호;상태\n01012345678;활성\n",
        '"sep=\t"\r\n발신번호\t상태\r\n01012345678\t활성\r\n',
        "SEP=|\n\n\n발신번호|상태\n01012345678|활성\n",
        "sep=,,\n발신번호,상태\n01012345678,활성\n",
    ],
)
def test_declared_delimiter_is_used(text: str) -> None:
    assert read_csv("t.csv", text.encode()) == ImportedNumbers({"01012345678": ACTIVE}, [])


def test_positions_count_the_declaration_of_the_delimiter() -> None:
    assert _problems("sep=;\nphone;status\n01012345678;maybe\n") == [
        "t.csv:3:13: unknown status 'maybe': write ACTIVE or INACTIVE, or remove the row"
    ]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("sep=:\nphone:status\n", "t.csv:1:1: invalid delimiter ':': use a comma, semicolon, tab or bar"),
        ("sep=;\n", "t.csv:1:1: the file is empty"),
    ],
)
def test_invalid_declaration_of_the_delimiter_is_refused(text: str, problem: str) -> None:
    assert _problems(text) == [problem]


@pytest.mark.parametrize(
    "heading",
    [
        *(
            "발신번호(필수)",
            "발신번호 [필수]",
            "* 발신번호",
            "발신번호\uff08필수\uff09",
            '"발신번호\n(필수)"',
            "휴대폰번호",
            "휴대폰 번호",
        ),
        *("휴대전화번호", "핸드폰", "연락처", "번호", "Tel", "Mobile Number", "\uff30hone"),
    ],
)
def test_heading_of_phone_numbers_is_recognised(heading: str) -> None:
    assert _numbers(f"{heading},상태\n01012345678,활성\n".encode()) == {"01012345678": ACTIVE}


@pytest.mark.parametrize(
    "heading", ["사용여부", "사용 여부(Y/N)", "사용유무", "상태(Y/N)", "use_yn", "Active", "is active"]
)
@pytest.mark.parametrize(
    ("on", "off"), [("Y", "N"), ("y", "n"), ("O", "X"), ("1", "0"), ("예", "아니오"), ("사용", "미사용")]
)
def test_column_of_yes_or_no_is_a_status(heading: str, on: str, off: str) -> None:
    numbers = _numbers(f"발신번호,{heading}\n01012345678,{on}\n01012345679,{off}\n".encode())
    assert numbers == {"01012345678": ACTIVE, "01012345679": INACTIVE}


@pytest.mark.parametrize("cell", ["Y", "N", "1", "0", "O", "X"])
def test_yes_or_no_is_not_a_status_in_another_column(cell: str) -> None:
    """A 1 may be any code."""
    (problem,) = _problems(f"phone,status\n01012345678,{cell}\n")
    assert problem.startswith(f"t.csv:2:13: unknown status '{cell}'")


def test_blank_cell_of_yes_or_no_is_not_a_status() -> None:
    assert _problems("발신번호,사용여부\n01012345678,\n") == [
        "t.csv:2:13: missing status: write ACTIVE or INACTIVE, or remove the row"
    ]


def test_row_numbers_are_ignored() -> None:
    table = read_csv("t.csv", "번호,순번,발신번호,상태\n1,1,01012345678,활성\n2,2,01012345679,활성\n".encode())
    assert table == ImportedNumbers({"01012345678": ACTIVE, "01012345679": ACTIVE}, [])


def test_rows_above_the_column_names_are_ignored_with_a_warning() -> None:
    text = "2026년 발신번호 현황;;\n\n작성: 총무팀 02-312-4567;;\n발신번호;상태;비고\n01012345678;활성;a,b,c,d\n"
    table = read_csv("t.csv", text.encode())
    assert table.numbers == {"01012345678": Desired(Status.ACTIVE, "a,b,c,d")}
    assert [str(warning) for warning in table.warnings] == [
        "t.csv:1:1: ignored above the column names: '2026년 발신번호 현황'",
        "t.csv:3:1: ignored above the column names: '작성: 총무팀 02-312-4567'",
    ]


def test_number_above_the_column_names_is_refused() -> None:
    assert _problems("01012345678,활성\n발신번호,상태\n01012345679,활성\n") == [
        "t.csv:1:1: a number above the column names: move the row below them"
    ]


def test_column_names_are_searched_in_the_first_rows_only() -> None:
    table = "발신번호,상태\n01012345678,활성\n"
    assert len(_warnings("title\n" * 19 + table)) == 19
    (problem,) = _problems("title\n" * 20 + table)
    assert problem.startswith("t.csv:1:1: missing column phone, status: ")
    assert problem.endswith("columns: 'title' = unknown")


@pytest.mark.parametrize(
    "names",
    [
        "발신번호,상태,메모,담당자\nphone,status,note,owner",
        "발신번호,상태,메모,담당자\n(필수),(필수),(선택),(선택)",
        "번호 정보,,관리,\n발신번호,사용여부,비고,부서",
        "발신번호,사용여부,관리,\n,,비고,부서",
        "구분,상태 및 관리,,\n발신번호,상태,비고,부서",
    ],
)
def test_column_names_can_take_two_rows(names: str) -> None:
    table = read_csv("t.csv", f"{names}\n01012345678,사용,본점,영업\n".encode())
    assert table.numbers == {"01012345678": Desired(Status.ACTIVE, "본점", "영업")}


@pytest.mark.parametrize("row", ["미정,사용", "01012345679,활성", "1.0E+10,사용"])
def test_row_with_a_number_or_a_status_does_not_name_columns(row: str) -> None:
    data = f"발신번호,상태\n{row}\n01012345678,활성\n"
    if row.startswith("010"):
        assert len(_numbers(data.encode())) == 2
    else:
        assert [problem.split(" ")[0] for problem in _problems(data)] == ["t.csv:2:1:"]


@pytest.mark.parametrize(
    "row",
    [
        *("※ 2026년 11월 기준", "※ 문의: 총무팀 02-312-4567", "* 활성, 비활성, 미사용, 중지 중 하나", "이하 여백"),
        *(",,이하 여백", "합계,2건,", "Total,,1", "[끝]"),
    ],
)
def test_notes_below_the_last_number_are_ignored_with_a_warning(row: str) -> None:
    text = f"발신번호,상태,메모\n01012345678,활성,\n{row}\n\n{row}\n"
    table = read_csv("t.csv", text.encode())
    assert table.numbers == {"01012345678": ACTIVE}
    row_text = " ".join(row.replace(",", " ").split())
    assert [(warning.line, warning.message) for warning in table.warnings] == [
        (line, f"ignored below the last number: '{row_text}'") for line in (3, 5)
    ]


@pytest.mark.parametrize(
    "row",
    [
        *("O1012345678,", "1.0E+10,", "대표번호 02-312-4567,", "010-1234-567,", "본점,활성", ",활성", "본점,PENDING"),
        *("*010-1234-5679,", "합계,활성"),
    ],
)
def test_damaged_number_below_the_last_number_is_a_problem(row: str) -> None:
    """A number that lost its status, or a status that lost its number, is not a note."""
    assert _problems(f"발신번호,상태\n01012345678,활성\n{row}\n")[0].startswith("t.csv:3:")


@pytest.mark.parametrize("count", ["1", "25", ""])
def test_sum_beside_row_numbers_is_ignored_with_a_warning(count: str) -> None:
    """The count of the sum is in the column of statuses, where 1 means yes. A sum with a phone number is a problem."""
    table = f"No,발신번호,사용여부\n1,01012345678,Y\n합계,{{}},{count}\n"
    assert read_csv("t.csv", table.format("").encode()).numbers == {"01012345678": ACTIVE}
    if count == "25":
        assert _problems(table.format("010-1234-5679"))[0].startswith("t.csv:3:")


def test_note_between_numbers_is_a_problem() -> None:
    problems = _problems("발신번호,상태\n01012345678,활성\n영업팀,\n01012345679,활성\n")
    assert [problem.split(" ")[0] for problem in problems] == ["t.csv:3:1:", "t.csv:3:5:"]


def test_table_without_active_numbers_is_a_warning() -> None:
    assert _warnings("발신번호,상태\n01012345678,중지\n") == [
        "t.csv:1:6: no number is ACTIVE: check the column of statuses"
    ]


@pytest.mark.parametrize("flag", ["네", "○", "V"])
def test_mark_is_true(flag: str) -> None:
    assert _numbers(f"phone,status,보호 여부\n01012345678,ACTIVE,{flag}\n".encode())["01012345678"].protected


def test_title_with_another_delimiter_does_not_choose_it() -> None:
    text = '발신번호 현황, 총무팀, "대외비"\n발신번호;상태;메모\n01012345678;활성;"a;b"\n'
    assert _numbers(text.encode()) == {"01012345678": Desired(Status.ACTIVE, "a;b")}
