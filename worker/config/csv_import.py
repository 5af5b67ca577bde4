"""Tables of sender numbers, as spreadsheets write them: CSV text to values, every problem with its place."""

import csv
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from io import StringIO
from typing import Final
from unicodedata import normalize

from msgspec import Struct

from worker.config.fields import NOTE_CAP, why_unfit
from worker.config.yaml_reader import FILE_CAP, PROBLEM_CAP, quote
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
"""What a column may be called, without blanks, hyphens and letter case."""

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
"""What spreadsheets in Korea write, and Python's name of it; CP949 is the older Windows code page."""

_UTF_8_MARK: Final = b"\xef\xbb\xbf"
_UTF_16_MARKS: Final = (b"\xff\xfe", b"\xfe\xff")

_PLAIN_BYTES: Final = 2
"""Bytes of a syllable that EUC-KR knows; it spells others in eight."""

_blanks: Final = re.compile(r"[\s_-]+")
_formula: Final = re.compile(r'="([^"]*)"').fullmatch
"""How people keep a spreadsheet from taking a number for one."""


class ImportedNumbers(Struct, frozen=True):
    """The numbers of a table with what is desired of each, in the order of the table, and what is odd about it."""

    numbers: Mapping[str, Desired]
    warnings: Sequence[Problem] = ()


class _Row(Struct, frozen=True):
    """One row: where it begins, its cells, and its text where that is on one line."""

    line: int
    cells: Sequence[str]
    raw: str | None


def read_csv(source: str, data: bytes, skipped: Collection[str] = (), encoding: str = "auto") -> ImportedNumbers:
    """Read the bytes of a CSV file whose first row names its columns; `source` is its name in problems.

    Columns that are `skipped` are left out. Comma, semicolon, tab or bar separate. `encoding` is one of `ENCODINGS`, or
    `auto`: what the byte-order mark says or, where UTF-8 and CP949 both fit, the one that gives the better Korean. Text
    is read in NFC, as a Mac writes Hangul in parts.

    Raises:
        DesiredStateError: with every problem.
    """
    if len(data) > FILE_CAP:
        raise _error(source, 1, 1, Message("the file is longer than {file_cap} MiB: split it", file_cap=FILE_CAP >> 20))
    text, warnings = _decoded(source, data, encoding)
    lines = list(StringIO(text, newline=""))
    if not lines or not text.strip():
        raise _error(source, 1, 1, Message("the file is empty"))
    delimiter = max(_DELIMITERS, key=lines[0].count)
    rows = _rows(source, lines, delimiter)
    reading = _Reading(source, next(rows), delimiter, frozenset(map(_plain, skipped)), warnings)
    for row in rows:
        if any(cell.strip() for cell in row.cells):
            reading.take(row)
    return reading.finish()


def _decoded(source: str, data: bytes, encoding: str) -> tuple[str, list[Problem]]:
    """Return the text of a file, and a warning where its encoding had to be chosen."""
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
        problem = (
            Message("the file is neither UTF-8 nor CP949 text: export it as CSV (UTF-8)")
            if encoding == "auto"
            else Message("the file is not {encoding} text: export it as CSV (UTF-8)", encoding=encoding.upper())
        )
        raise _error(source, 1, 1, problem)
    # max takes the first of equals
    name, text = max(texts.items(), key=lambda item: _korean(item[1]) if len(texts) > 1 else 0)
    if name != "cp949" or len(set(texts.values())) == 1:
        return text, []
    told = Message(
        "the file can be read as UTF-8 and as CP949, and is read as {upper}: --encoding says otherwise",
        upper=name.upper(),
    )
    return text, [Problem(source, 1, 1, told)]


def _text(data: bytes, name: str) -> str | None:
    try:
        text = data.decode(ENCODINGS[name])
    except UnicodeDecodeError:
        return None
    return None if "\0" in text else normalize("NFC", text)


def _korean(text: str) -> int:
    """Return how plausible a text is in Korean: usual syllables count for it, rare ones and accented letters against.

    Text in another encoding than it is read in shows accented letters (CP949 read as UTF-8), or syllables that no word
    has, between Chinese characters (UTF-8 read as CP949).
    """
    return sum(count * _weight(char) for char, count in Counter(text).items())


def _weight(char: str) -> int:
    if "가" <= char <= "힣":
        # the 2,350 syllables of KS X 1001, which nearly all Korean text is made of
        return 1 if len(char.encode("euc_kr")) == _PLAIN_BYTES else -1
    return -1 if "\x80" <= char <= "\u02ff" else 0


def _rows(source: str, lines: Sequence[str], delimiter: str) -> Iterator[_Row]:
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    while True:
        begins = reader.line_num
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            told = Message(
                "this is no CSV: {error}; look for a quote that is not closed, or export it anew", error=str(error)
            )
            raise _error(source, begins + 1, 1, told) from None
        yield _Row(begins + 1, cells, lines[begins] if reader.line_num == begins + 1 else None)


class _Reading:
    """A table while it is read: the columns of its first row, and what the others say."""

    def __init__(
        self, source: str, head: _Row, delimiter: str, skipped: Collection[str], warnings: Sequence[Problem]
    ) -> None:
        self._source = source
        self._warnings = list(warnings)
        self._delimiter = delimiter
        self._problems: list[Problem] = []
        self._untold = 0
        self._numbers: dict[str, Desired] = {}
        self._lines: dict[str, int] = {}
        self._width = len(head.cells)
        self._columns: dict[str, int] = {}
        for index, cell in enumerate(head.cells):
            column = None if _plain(cell) in skipped else _NAMES.get(_plain(cell))
            if column is None:
                if cell.strip() and _plain(cell) not in skipped:
                    told = Message(
                        "there is no column {cell} here: name it otherwise, or --skip-column it",
                        cell=quote(cell.strip()),
                    )
                    self._problem(head, index, told)
            elif column in self._columns:
                raise self._failed(head, index, Message("there are two columns for {column}: keep one", column=column))
            else:
                self._columns[column] = index
        missing = [column for column in ("phone", "status") if column not in self._columns]
        if missing:
            told = Message(
                "the first row should name the columns: phone, status and, if you like, note, owner and protected"
            )
            raise self._failed(
                head, 0, Message("{told}; there is none for {missing}", told=told, missing=" and ".join(missing))
            )

    def take(self, row: _Row) -> None:
        """Take a row that is not blank."""
        if len(row.cells) > self._width and any(cell.strip() for cell in row.cells[self._width :]):
            told = Message(
                "the row has {cells} cells, the first one {width}: quote a text that has a comma",
                cells=len(row.cells),
                width=self._width,
            )
            self._problem(row, self._width, told)
            return
        phone = self._phone(row)
        status = self._status(row)
        note = self._text(row, "note")
        owner = self._text(row, "owner")
        protected = self._protected(row)
        if phone is None or status is None:
            return
        if phone in self._numbers:
            told = Message(
                "{phone} stands here and on line {lines}: keep one of the two",
                phone=PhoneNumber(phone),
                lines=self._lines[phone],
            )
            self._problem(row, self._columns["phone"], told)
            return
        self._numbers[phone] = Desired(status, note, owner, protected)
        self._lines[phone] = row.line

    def finish(self) -> ImportedNumbers:
        """What was read, if nothing is wrong with it."""
        if not self._numbers and not self._problems:
            raise _error(self._source, 1, 1, Message("the table has no numbers, only the names of its columns"))
        if self._problems:
            raise DesiredStateError(sorted(self._problems), self._untold)
        return ImportedNumbers(self._numbers, self._warnings)

    def _phone(self, row: _Row) -> str | None:
        index = self._columns["phone"]
        cell = self._cell(row, "phone")
        formula = _formula(cell)
        written = formula[1] if formula else cell.removeprefix("'")
        try:
            phone = normalise(written)
        except ValueError as error:
            self._problem(row, index, Message("{cell}: {error}", cell=quote(cell), error=str(error)))
            return None
        odd = why_unusual(phone)
        if odd is not None and len(self._warnings) < PROBLEM_CAP:
            place = _column(row, index, self._delimiter)
            self._warnings.append(
                Problem(self._source, row.line, place, Message("{cell}: {odd}", cell=quote(cell), odd=odd))
            )
        return phone

    def _status(self, row: _Row) -> Status | None:
        cell = self._cell(row, "status")
        status = _WORDS.get(_plain(cell))
        if status is None:
            problem = (
                Message("{cell} is not a status: write ACTIVE or INACTIVE, or leave the row out", cell=quote(cell))
                if cell
                else Message("the status is missing: write ACTIVE or INACTIVE, or leave the row out")
            )
            self._problem(row, self._columns["status"], problem)
        return status

    def _text(self, row: _Row, column: str) -> str | None:
        cell = self._cell(row, column)
        reason = why_unfit(cell, NOTE_CAP, prose=True)
        if reason is not None:
            self._problem(row, self._columns[column], Message("{column} {reason}", column=column, reason=reason))
        return cell or None

    def _protected(self, row: _Row) -> bool:
        cell = self._cell(row, "protected")
        flag = _FLAGS.get(cell.lower())
        if flag is None:
            self._problem(
                row, self._columns["protected"], Message("protected is true or false, not {cell}", cell=quote(cell))
            )
        return bool(flag)

    def _cell(self, row: _Row, column: str) -> str:
        index = self._columns.get(column, len(row.cells))
        return row.cells[index].strip().replace("\r\n", "\n") if index < len(row.cells) else ""

    def _problem(self, row: _Row, index: int, message: str) -> None:
        if len(self._problems) < PROBLEM_CAP:
            self._problems.append(Problem(self._source, row.line, _column(row, index, self._delimiter), message))
        else:
            self._untold += 1

    def _failed(self, row: _Row, index: int, message: str) -> DesiredStateError:
        return _error(self._source, row.line, _column(row, index, self._delimiter), message)


def _plain(cell: str) -> str:
    return _blanks.sub("", normalize("NFC", cell)).lower()


def _column(row: _Row, index: int, delimiter: str) -> int:
    """Where a cell begins in its line, counted from 1; 1 where the row has several lines."""
    quoted, cells = False, 0
    for at, char in enumerate(row.raw or ""):
        if cells == index:
            return at + 1
        if char == '"':
            quoted = not quoted
        cells += char == delimiter and not quoted
    return 1


def _error(source: str, line: int, column: int, message: str) -> DesiredStateError:
    return DesiredStateError([Problem(source, line, column, message)])
