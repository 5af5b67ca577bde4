"""Text for terminals: escaping, alignment, wrapping and grouping of digits."""

import unicodedata

import pytest

from worker.model.phones import hyphenated
from worker.render.marks import Mark, count, counts
from worker.render.terminal import Paint, fit, safe, width, wrap
from worker.render.text.layout import group_lines
from worker.render.view.parts import NumberGroup, NumberRow


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain", "plain"),
        ("", ""),
        ("고객 센터", "고객 센터"),
        ("\x1b[31mred\x1b[0m", "\ufffd[31mred\ufffd[0m"),
        ("a\nb\r\nc\td", "a b  c d"),
        ("\u3000wide\u00a0blank\u2028", " wide blank "),
        ("bell\a null\0 del\x7f", "bell\ufffd null\ufffd del\ufffd"),
        ("\x9b31m", "\ufffd31m"),
        ("abc\u202edef\u2066", "abc\ufffddef\ufffd"),
        ("zero\u200bwidth\ufeff", "zero\ufffdwidth\ufffd"),
        ("\ud83d", "\ufffd"),
        (unicodedata.normalize("NFD", "한글"), "한글"),
        ("😀", "😀"),
    ],
)
def test_safe_replaces_control_and_invisible_characters(text: str, expected: str) -> None:
    """Blanks become spaces, and decomposed Hangul is composed."""
    assert safe(text) == expected


def test_safe_replaces_every_control_character() -> None:
    """No control, format or separator character of Unicode passes."""
    control_characters = [
        char for char in map(chr, range(0x110000)) if unicodedata.category(char) in {"Cc", "Cf", "Cs", "Zl", "Zp"}
    ]
    assert len(control_characters) > 2000
    assert {safe(char) for char in control_characters} == {" ", "\ufffd"}


@pytest.mark.parametrize(
    ("text", "limit", "expected"),
    [
        ("abcdef", 6, "abcdef"),
        ("abcdefg", 6, "abcde…"),
        ("가나다", 6, "가나다"),
        ("가나다라", 6, "가나…"),
        ("가나다라", 7, "가나다…"),
        ("x" * 10_000, 3, "xx…"),
    ],
)
def test_safe_truncates_by_columns(text: str, limit: int, expected: str) -> None:
    """A long text ends in an ellipsis. Wide characters take two columns."""
    assert safe(text, limit) == expected
    assert width(expected) <= limit


@pytest.mark.parametrize(("text", "columns"), [("abc", 3), ("한글", 4), ("a한b", 4), ("😀", 2), ("é", 1), ("", 0)])
def test_width_counts_wide_characters_twice(text: str, columns: int) -> None:
    assert width(text) == columns
    assert width(fit(text, 10)) == 10


def test_fit_does_not_truncate() -> None:
    assert fit("한글", 3) == "한글"


@pytest.mark.parametrize(
    ("text", "columns", "lines"),
    [
        ("", 10, []),
        ("one two", 10, ["one two"]),
        ("one two three", 7, ["one two", "three"]),
        ("one two three", 8, ["one two", "three"]),
        ("한글 두글", 8, ["한글", "두글"]),
        ("한글 두글", 9, ["한글 두글"]),
        ("abcdefghij", 4, ["abcd", "efgh", "ij"]),
        ("a abcdefghij b", 4, ["a", "abcd", "efgh", "ij b"]),
        ("가나다", 1, ["가", "나", "다"]),
        ("add --allow min-active now", 20, ["add", "--allow min-active", "now"]),
        ("there are 3 numbers", 11, ["there are", "3 numbers"]),
        ("it took 3.4 s.", 11, ["it took", "3.4 s."]),
        ("a\nb\x1b", 9, ["a b\ufffd"]),
    ],
)
def test_wrap_breaks_between_words(text: str, columns: int, lines: list[str]) -> None:
    """An option stays with its value, and a number with its noun."""
    assert wrap(text, columns) == lines


def test_paint_adds_codes_only_with_colour() -> None:
    assert Paint(color=True)("bad", "text") == "\x1b[31mtext\x1b[0m"
    assert Paint(color=False)("bad", "text") == "text"


@pytest.mark.parametrize(
    ("digits", "expected"),
    [
        ("01012345678", "010-1234-5678"),
        ("0111234567", "011-123-4567"),
        ("023124567", "02-312-4567"),
        ("0231234567", "02-3123-4567"),
        ("0312124567", "031-212-4567"),
        ("15881234", "1588-1234"),
        ("18001234", "1800-1234"),
        ("03031234567", "0303-123-4567"),
        ("050212345678", "0502-1234-5678"),
        ("07012345678", "070-1234-5678"),
        ("112", "112"),
        ("1335", "1335"),
        ("", ""),
        ("not a number", "not a number"),
        ("٠١٠١٢٣٤٥٦٧٨", "٠١٠١٢٣٤٥٦٧٨"),
        ("01012345678\n", "01012345678\n"),
    ],
)
def test_digits_are_grouped_as_in_korea(digits: str, expected: str) -> None:
    """Other text is unchanged."""
    assert hyphenated(digits) == expected


def test_counts_omit_zeros_and_select_plurals() -> None:
    """Counts have thousands separators."""
    assert counts([(0, "none"), (1, "one"), (2345, "many")]) == "1 one, 2,345 many"
    assert counts([(0, "none")]) == ""
    assert (count(1, "number"), count(0, "number"), count(1234, "number")) == ("1 number", "0 numbers", "1,234 numbers")


def test_table_without_rows_has_no_lines() -> None:
    assert list(group_lines([], Paint(color=False), 80)) == []


def test_columns_align_with_wide_characters() -> None:
    """Remarks start in the same column."""
    mark = Mark("+", "on", "good")
    rows = (
        NumberRow(phone="0211", mark=mark, status="상태", note="first"),
        NumberRow(phone="01012345678", mark=mark, status="ACTIVE", note="second"),
    )
    lines = list(group_lines([NumberGroup(mark, "", rows)], Paint(color=False), 80))
    assert lines == [
        "  + on  0211           상태    first",
        "  + on  010-1234-5678  ACTIVE  second",
    ]
    assert width(lines[0].partition("first")[0]) == width(lines[1].partition("second")[0])
