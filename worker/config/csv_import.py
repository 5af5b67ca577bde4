"""Import of sender numbers from CSV files of spreadsheets; every problem has its position."""

import csv
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from io import StringIO
from typing import Final
from unicodedata import normalize

from msgspec import Struct

from worker.config.fields import NOTE_CAP, why_unfit
from worker.config.yaml_reader import FILE_CAP, PROBLEM_CAP, file_too_long, quote
from worker.model.accounts import Desired, Status
from worker.model.errors import DesiredStateError, Problem
from worker.model.messages import Message, PhoneNumber
from worker.model.phones import normalise, why_unusual

__all__ = ["ENCODINGS", "ImportedNumbers", "read_csv"]

_COLUMNS: Final[Mapping[str, tuple[str, ...]]] = {
    "phone": ("phone", "phonenumber", "number", "sendernumber", "전화번호", "발신번호", "번호"),
    "status": ("status", "state", "상태", "사용여부"),
    "note": ("note", "notes", "memo", "comment", "메모", "비고", "설명"),
    "owner": ("owner", "team", "담당자", "담당", "담당부서", "부서"),
    "protected": ("protected", "보호"),
}
"""Accepted headings of each column, in lower case without spaces, hyphens and underscores."""

_NAMES: Final = {alias: column for column, aliases in _COLUMNS.items() for alias in aliases}

_WORDS: Final = {
    **dict.fromkeys(("active", "활성", "활성화", "사용", "사용중"), Status.ACTIVE),
    **dict.fromkeys(("inactive", "비활성", "비활성화", "미사용", "사용안함", "중지"), Status.INACTIVE),
}
_FLAGS: Final = {
    **dict.fromkeys(("true", "yes", "y", "1", "예", "o"), True),
    **dict.fromkeys(("false", "no", "n", "0", "아니오", "아니요", "x", ""), False),
}

_DELIMITERS: Final = ",;\t|"
ENCODINGS: Final = {"utf-8": "utf-8-sig", "cp949": "cp949", "utf-16": "utf-16"}
"""Encodings of Korean spreadsheets, each with its name in Python. CP949 is the older Windows code page."""

_UTF_8_MARK: Final = b"\xef\xbb\xbf"
_UTF_16_MARKS: Final = (b"\xff\xfe", b"\xfe\xff")

_PLAIN_BYTES: Final = 2
"""Count of bytes in EUC-KR of a syllable of KS X 1001. Any other syllable takes eight bytes."""

_blanks: Final = re.compile(r"[\s_-]+")
_formula: Final = re.compile(r'="([^"]*)"').fullmatch
"""Matches the formula `="…"`, with which users keep a spreadsheet from dropping a leading zero."""


class ImportedNumbers(Struct, frozen=True):
    """The content of a CSV file: the desired state of each number, in file order, and warnings."""

    numbers: Mapping[str, Desired]
    warnings: Sequence[Problem] = ()


class _CsvRow(Struct, frozen=True):
    """One row of a CSV file. `line` is its first line; `raw` is its text, None if the row has several lines."""

    line: int
    cells: Sequence[str]
    raw: str | None


def read_csv(source: str, data: bytes, skip: Collection[str] = (), encoding: str = "auto") -> ImportedNumbers:
    """Read the bytes of a CSV file whose first row names its columns; `source` is its name in problems.

    Columns in `skip` are ignored. The delimiter is a comma, semicolon, tab or bar. `encoding` is a key of `ENCODINGS`
    or `auto`. With `auto`, a byte-order mark decides. Without a mark, the file is UTF-8 or CP949; if it is valid in
    both, the encoding that gives the more plausible Korean text is used. Text is normalized to NFC, because macOS
    writes Hangul decomposed.

    Raises:
        DesiredStateError: the file has problems or no numbers. The error lists all problems.
    """
    if len(data) > FILE_CAP:
        raise _error(source, 1, 1, file_too_long(FILE_CAP))
    text, warnings = _decode(source, data, encoding)
    lines = list(StringIO(text, newline=""))
    if not lines or not text.strip():
        raise _error(source, 1, 1, Message("the file is empty"))
    delimiter = max(_DELIMITERS, key=lines[0].count)
    rows = _rows(source, lines, delimiter)
    reader = _TableReader(source, next(rows), delimiter, frozenset(map(_plain, skip)), warnings)
    for row in rows:
        if any(cell.strip() for cell in row.cells):
            reader.take(row)
    return reader.finish()


def _decode(source: str, data: bytes, encoding: str) -> tuple[str, list[Problem]]:
    """Return the text of a file, and a warning if its encoding is ambiguous."""
    if encoding == "auto":
        names: Sequence[str] = ("utf-8", "cp949")
        if data.startswith(_UTF_16_MARKS):
            names = ("utf-16",)
        elif data.startswith(_UTF_8_MARK):
            names = ("utf-8",)
    else:
        names = (encoding,)
    texts = {name: text for name in names if (text := _text(data, name)) is not None}
    if not texts:
        raise _error(
            source,
            1,
            1,
            Message("the file is neither UTF-8 nor CP949 text: export it as CSV (UTF-8)")
            if encoding == "auto"
            else Message("the file is not {encoding} text: export it as CSV (UTF-8)", encoding=encoding.upper()),
        )
    # max takes the first of equals
    name, text = max(texts.items(), key=lambda item: _korean(item[1]) if len(texts) > 1 else 0)
    if name != "cp949" or len(set(texts.values())) == 1:
        return text, []
    message = Message(
        "the file is valid UTF-8 and CP949; reading it as {encoding}: use --encoding to choose", encoding=name.upper()
    )
    return text, [Problem(source, 1, 1, message)]


def _text(data: bytes, name: str) -> str | None:
    try:
        text = data.decode(ENCODINGS[name])
    except UnicodeDecodeError:
        return None
    return None if "\0" in text else normalize("NFC", text)


def _korean(text: str) -> int:
    """Return a score for the likelihood that a text is Korean. A higher score is more likely.

    Common syllables raise it; rare syllables and accented letters lower it. Text in the wrong encoding has accented
    letters (CP949 read as UTF-8), or rare syllables between Chinese characters (UTF-8 read as CP949).
    """
    return sum(count * _weight(char) for char, count in Counter(text).items())


def _weight(char: str) -> int:
    if "가" <= char <= "힣":
        # the 2,350 syllables of KS X 1001, which make up nearly all Korean text
        return 1 if len(char.encode("euc_kr")) == _PLAIN_BYTES else -1
    return -1 if "\x80" <= char <= "\u02ff" else 0


def _rows(source: str, lines: Sequence[str], delimiter: str) -> Iterator[_CsvRow]:
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    while True:
        start = reader.line_num
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            message = Message("invalid CSV: {error}; check for an unclosed quote, or export it again", error=str(error))
            raise _error(source, start + 1, 1, message) from None
        yield _CsvRow(start + 1, cells, lines[start] if reader.line_num == start + 1 else None)


class _TableReader:
    """A reader of rows by the columns that the first row names. It collects problems."""

    def __init__(
        self, source: str, head: _CsvRow, delimiter: str, skip: Collection[str], warnings: Sequence[Problem]
    ) -> None:
        self._source = source
        self._warnings = list(warnings)
        self._delimiter = delimiter
        self._problems: list[Problem] = []
        self._omitted_count = 0
        self._numbers: dict[str, Desired] = {}
        self._lines: dict[str, int] = {}
        self._width = len(head.cells)
        self._columns: dict[str, int] = {}
        for index, cell in enumerate(head.cells):
            column = None if _plain(cell) in skip else _NAMES.get(_plain(cell))
            if column is None:
                if cell.strip() and _plain(cell) not in skip:
                    message = Message(
                        "unknown column {column}: rename it or use --skip-column", column=quote(cell.strip())
                    )
                    self._problem(head, index, message)
            elif column in self._columns:
                raise self._error_at(head, index, Message("duplicate column {column}: keep one", column=column))
            else:
                self._columns[column] = index
        missing_columns = [column for column in ("phone", "status") if column not in self._columns]
        if missing_columns:
            message = Message(
                "missing column {missing}: the first row must name the columns phone and status, and may name note, "
                "owner and protected",
                missing=tuple(missing_columns),
            )
            raise self._error_at(head, 0, message)

    def take(self, row: _CsvRow) -> None:
        """Read a row that is not blank. Add its number, or its problems."""
        if len(row.cells) > self._width and any(cell.strip() for cell in row.cells[self._width :]):
            message = Message(
                "the row has {count} cells, the first row {width}: quote text that contains a comma",
                count=len(row.cells),
                width=self._width,
            )
            self._problem(row, self._width, message)
            return
        phone = self._phone(row)
        status = self._status(row)
        note = self._text(row, "note")
        owner = self._text(row, "owner")
        protected = self._protected(row)
        if phone is None or status is None:
            return
        if phone in self._numbers:
            message = Message(
                "{name} is a duplicate of line {line}: keep one", name=PhoneNumber(phone), line=self._lines[phone]
            )
            self._problem(row, self._columns["phone"], message)
            return
        self._numbers[phone] = Desired(status, note, owner, protected)
        self._lines[phone] = row.line

    def finish(self) -> ImportedNumbers:
        """Return the numbers of the table, with warnings.

        Raises:
            DesiredStateError: the table has problems, or no numbers.
        """
        if not self._numbers and not self._problems:
            raise _error(self._source, 1, 1, Message("the table has no numbers, only column names"))
        if self._problems:
            raise DesiredStateError(sorted(self._problems), self._omitted_count)
        return ImportedNumbers(self._numbers, self._warnings)

    def _phone(self, row: _CsvRow) -> str | None:
        index = self._columns["phone"]
        cell = self._cell(row, "phone")
        formula = _formula(cell)
        text = formula[1] if formula else cell.removeprefix("'")
        try:
            phone = normalise(text)
        except ValueError as error:
            self._problem(row, index, Message("{phone}: {reason}", phone=quote(cell), reason=str(error)))
            return None
        warning = why_unusual(phone)
        if warning is not None and len(self._warnings) < PROBLEM_CAP:
            column = _column(row, index, self._delimiter)
            message = Message("{phone}: {reason}", phone=quote(cell), reason=warning)
            self._warnings.append(Problem(self._source, row.line, column, message))
        return phone

    def _status(self, row: _CsvRow) -> Status | None:
        cell = self._cell(row, "status")
        status = _WORDS.get(_plain(cell))
        if status is None:
            message = (
                Message("unknown status {status}: write ACTIVE or INACTIVE, or remove the row", status=quote(cell))
                if cell
                else Message("missing status: write ACTIVE or INACTIVE, or remove the row")
            )
            self._problem(row, self._columns["status"], message)
        return status

    def _text(self, row: _CsvRow, column: str) -> str | None:
        cell = self._cell(row, column)
        reason = why_unfit(cell, NOTE_CAP, prose=True)
        if reason is not None:
            self._problem(row, self._columns[column], Message("{field} {reason}", field=column, reason=reason))
        return cell or None

    def _protected(self, row: _CsvRow) -> bool:
        cell = self._cell(row, "protected")
        flag = _FLAGS.get(cell.lower())
        if flag is None:
            message = Message("protected must be true or false, not {actual}", actual=quote(cell))
            self._problem(row, self._columns["protected"], message)
        return bool(flag)

    def _cell(self, row: _CsvRow, column: str) -> str:
        index = self._columns.get(column, len(row.cells))
        return row.cells[index].strip().replace("\r\n", "\n") if index < len(row.cells) else ""

    def _problem(self, row: _CsvRow, index: int, message: str) -> None:
        if len(self._problems) < PROBLEM_CAP:
            self._problems.append(Problem(self._source, row.line, _column(row, index, self._delimiter), message))
        else:
            self._omitted_count += 1

    def _error_at(self, row: _CsvRow, index: int, message: str) -> DesiredStateError:
        return _error(self._source, row.line, _column(row, index, self._delimiter), message)


def _plain(cell: str) -> str:
    return _blanks.sub("", normalize("NFC", cell)).lower()


def _column(row: _CsvRow, index: int, delimiter: str) -> int:
    """Return the position in its line at which a cell starts, counted from 1; 1 if the row has several lines."""
    in_quotes, cells = False, 0
    for at, char in enumerate(row.raw or ""):
        if cells == index:
            return at + 1
        if char == '"':
            in_quotes = not in_quotes
        cells += char == delimiter and not in_quotes
    return 1


def _error(source: str, line: int, column: int, message: str) -> DesiredStateError:
    return DesiredStateError([Problem(source, line, column, message)])
