"""Import of sender numbers from CSV files of spreadsheets; every problem has its position."""

import csv
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from io import StringIO
from itertools import chain, islice
from typing import Final
from unicodedata import normalize

from msgspec import Struct

from worker.config.csv_header import SEARCHED_ROWS, Header, find_header, plain
from worker.config.fields import NOTE_CAP, why_unfit
from worker.config.yaml_reader import FILE_CAP, PROBLEM_CAP, file_too_long, quote
from worker.model.accounts import Desired, Status
from worker.model.errors import DesiredStateError, Problem
from worker.model.messages import Message, PhoneNumber
from worker.model.phones import normalise, why_unusual

__all__ = ["ENCODINGS", "ImportedNumbers", "read_csv"]

_STATUSES: Final = {
    **dict.fromkeys(("active", "on", "enabled", "활성", "활성화", "사용", "사용중", "사용함"), Status.ACTIVE),
    **dict.fromkeys(
        ("inactive", "off", "disabled", "비활성", "비활성화", "미사용", "사용안함", "사용중지", "중지", "정지"),
        Status.INACTIVE,
    ),
}
_TRUE: Final = ("true", "yes", "y", "1", "예", "네", "o", "○", "◯", "v", "✓")
_FALSE: Final = ("false", "no", "n", "0", "아니오", "아니요", "x", "✕")
_FLAGS: Final = {**dict.fromkeys(_TRUE, True), **dict.fromkeys(_FALSE, False)}
_FLAG_STATUSES: Final = {
    **_STATUSES,
    **dict.fromkeys(_TRUE, Status.ACTIVE),
    **dict.fromkeys(_FALSE, Status.INACTIVE),
}
"""The statuses in a column such as 사용여부. In any other column, `Y` and `1` may mean anything."""

_DELIMITERS: Final = ",;\t|"
ENCODINGS: Final = {"utf-8": "utf-8-sig", "cp949": "cp949", "utf-16": "utf-16"}
"""Encodings of Korean spreadsheets, each with its name in Python. CP949 is the older Windows code page."""

_UTF_8_MARK: Final = b"\xef\xbb\xbf"
_UTF_16_MARKS: Final = (b"\xff\xfe", b"\xfe\xff")

_SUMS: Final = frozenset({"합계", "총계", "소계", "계", "총", "total", "sum"})
"""First cells of a row with sums, as `plain` returns them."""
_NOTE_MARKS: Final = ("※", "*", "#", "☞", "▶", "▷", "●", "■", "◆", "★", "☆", "[", "<")
_NOTE_LETTERS: Final = 2
"""Minimum count of letters in the first cell of a note. A number with a typing error has one."""

_PLAIN_BYTES: Final = 2
"""Count of bytes in EUC-KR of a syllable of KS X 1001. Any other syllable takes eight bytes."""

_match_declaration: Final = re.compile(r'"?sep=(.)"?[,;\t|]*', re.IGNORECASE).fullmatch
"""Matches the line by which a file names its delimiter for Excel."""
_find_number: Final = re.compile(r"\d(?:[-. )]?\d){6}").search
_match_formula: Final = re.compile(r'="([^"]*)"').fullmatch
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
    """Read the bytes of a CSV file that names its columns in one of its first rows; `source` is its name in problems.

    Columns in `skip` are ignored. The delimiter is a comma, semicolon, tab or bar; a first line such as `sep=;` names
    it. Rows above the column names, and notes below the last number, are ignored with a warning. `encoding` is a key of
    `ENCODINGS` or `auto`. With `auto`, a byte-order mark decides. Without a mark, the file is UTF-8 or CP949; if it is
    valid in both, the encoding that gives the more plausible Korean text is used. Text is normalized to NFC, because
    macOS writes Hangul decomposed.

    Raises:
        DesiredStateError: the file has problems or no numbers. The error lists all problems.
    """
    if len(data) > FILE_CAP:
        raise _error(source, 1, 1, file_too_long(FILE_CAP))
    text, warnings = _decode(source, data, encoding)
    lines = list(StringIO(text, newline=""))
    if not text.strip():
        raise _error(source, 1, 1, Message("the file is empty"))
    skipped_names = frozenset(map(plain, skip))
    declaration = _match_declaration(lines[0].rstrip("\r\n"))
    if declaration is None:
        delimiter = _detect_delimiter(lines, skipped_names)
    elif (delimiter := declaration[1]) not in _DELIMITERS:
        message = Message("invalid delimiter {text}: use a comma, semicolon, tab or bar", text=quote(delimiter))
        raise _error(source, 1, 1, message)
    rows = _rows(source, lines, delimiter, 1 if declaration else 0)
    head = list(islice(rows, SEARCHED_ROWS + 1))
    if not head:
        raise _error(source, 1, 1, Message("the file is empty"))
    header = find_header([row.cells for row in head], skipped_names)
    reader = _TableReader(source, head, header, delimiter, warnings)
    for row in chain(head[header.end :], rows):
        reader.take(row)
    return reader.finish()


def _detect_delimiter(lines: Sequence[str], skip: Collection[str]) -> str:
    """Return the delimiter with which the first rows name most fields, or the most frequent delimiter."""
    first_lines = lines[:SEARCHED_ROWS]
    text = "".join(first_lines)

    def rank(delimiter: str) -> tuple[int, int]:
        rows: list[Sequence[str]] = []
        # with a wrong delimiter, quotes may be wrong too
        with suppress(csv.Error):
            rows.extend(csv.reader(first_lines, delimiter=delimiter, strict=True))
        return find_header(rows or [()], skip).known, text.count(delimiter)

    return max(_DELIMITERS, key=rank)


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


def _rows(source: str, lines: Sequence[str], delimiter: str, start: int) -> Iterator[_CsvRow]:
    """Yield the rows from the line `start`, counted from 0, that are not blank."""
    reader = csv.reader(lines[start:], delimiter=delimiter, strict=True)
    while True:
        line = start + reader.line_num
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            message = Message("invalid CSV: {error}; check for an unclosed quote, or export it again", error=str(error))
            raise _error(source, line + 1, 1, message) from None
        if any(cell.strip() for cell in cells):
            yield _CsvRow(line + 1, cells, lines[line] if start + reader.line_num == line + 1 else None)


class _TableReader:
    """A reader of rows by the columns of a header. It collects problems.

    `head` are the first rows of the table, which include the rows of the header.
    """

    def __init__(
        self, source: str, head: Sequence[_CsvRow], header: Header, delimiter: str, warnings: Sequence[Problem]
    ) -> None:
        self._source = source
        self._warnings = list(warnings)
        self._delimiter = delimiter
        self._problems: list[Problem] = []
        self._omitted_count = 0
        self._numbers: dict[str, Desired] = {}
        self._lines: dict[str, int] = {}
        self._possible_notes: list[_CsvRow] = []
        self._head = head[header.start]
        self._width = max(len(row.cells) for row in head[header.start : header.end])
        self._columns: dict[str, int] = {}
        unknown_columns = [column for column in header.columns if column.field is None and not column.is_ignored]
        for column in unknown_columns:
            message = Message("unknown column {column}: rename it or use --skip-column", column=quote(column.heading))
            if column is unknown_columns[0]:
                message = _with_columns(message, header)
            self._problem(self._head, column.index, message)
        for column in header.columns:
            if column.field in self._columns:
                message = Message(
                    "duplicate column {column}: keep one, or add --skip-column {heading}",
                    column=column.field,
                    heading=quote(column.heading),
                )
                raise self._error_at(self._head, column.index, _with_columns(message, header))
            if column.field is not None:
                self._columns[column.field] = column.index
        if header.missing:
            message = Message(
                "missing column {missing}: a row must name the columns phone and status, and may name note, owner and "
                "protected",
                missing=header.missing,
            )
            raise self._error_at(self._head, 0, _with_columns(message, header))
        is_flag = any(column.is_flag for column in header.columns if column.field == "status")
        self._statuses = _FLAG_STATUSES if is_flag else _STATUSES
        for row in head[: header.start]:
            self._take_title(row)

    def take(self, row: _CsvRow) -> None:
        """Read a row below the column names. Add its number, or its problems."""
        if self._may_be_note(row):
            self._possible_notes.append(row)
            return
        for earlier_row in (*self._possible_notes, row):
            self._take_number(earlier_row)
        self._possible_notes.clear()

    def finish(self) -> ImportedNumbers:
        """Return the numbers of the table, with warnings.

        Raises:
            DesiredStateError: the table has problems, or no numbers.
        """
        for row in self._possible_notes:
            self._warn(row, 0, Message("ignored below the last number: {text}", text=_text_of(row)))
        if not self._numbers and not self._problems:
            raise _error(self._source, self._head.line, 1, Message("the table has no numbers, only column names"))
        if self._problems:
            raise DesiredStateError(sorted(self._problems), self._omitted_count)
        if not any(desired.status is Status.ACTIVE for desired in self._numbers.values()):
            message = Message("no number is ACTIVE: check the column of statuses")
            self._warn(self._head, self._columns["status"], message)
        return ImportedNumbers(self._numbers, sorted(self._warnings))

    def _take_title(self, row: _CsvRow) -> None:
        """Warn of a row above the column names. It is a problem if it has a number with a status."""
        if any(map(_is_phone, row.cells)) and any(plain(cell) in self._statuses for cell in row.cells):
            message = Message("a number above the column names: move the row below them")
            self._problem(row, 0, message)
        else:
            self._warn(row, 0, Message("ignored above the column names: {text}", text=_text_of(row)))

    def _may_be_note(self, row: _CsvRow) -> bool:
        """Return True if a row has words, but neither a number nor a status: a note or a sum below the table."""
        phone, status = self._cell(row, "phone"), self._cell(row, "status")
        label = next(cell.strip() for cell in row.cells if cell.strip())
        is_status = plain(status) in self._statuses
        if plain(label) in _SUMS:
            return not phone or (phone == label and not is_status)
        letter_count = sum(map(str.isalpha, phone))
        if phone.startswith(_NOTE_MARKS):
            return letter_count > 0 and not (is_status and _find_number(phone))
        return not status and (not phone or (letter_count >= _NOTE_LETTERS and not _find_number(phone)))

    def _take_number(self, row: _CsvRow) -> None:
        if len(row.cells) > self._width and any(cell.strip() for cell in row.cells[self._width :]):
            message = Message(
                "the row has {count} cells, the column names {width}: quote text that contains a comma",
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

    def _phone(self, row: _CsvRow) -> str | None:
        index = self._columns["phone"]
        cell = self._cell(row, "phone")
        formula = _match_formula(cell)
        text = formula[1] if formula else cell.removeprefix("'")
        try:
            phone = normalise(text)
        except ValueError as error:
            self._problem(row, index, Message("{phone}: {reason}", phone=quote(cell), reason=str(error)))
            return None
        warning = why_unusual(phone)
        if warning is not None:
            self._warn(row, index, Message("{phone}: {reason}", phone=quote(cell), reason=warning))
        return phone

    def _status(self, row: _CsvRow) -> Status | None:
        cell = self._cell(row, "status")
        status = self._statuses.get(plain(cell))
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
        reason = why_unfit(cell, NOTE_CAP, is_multiline=True)
        if reason is not None:
            self._problem(row, self._columns[column], Message("{field} {reason}", field=column, reason=reason))
        return cell or None

    def _protected(self, row: _CsvRow) -> bool:
        cell = self._cell(row, "protected")
        flag = _FLAGS.get(plain(cell)) if cell else False
        if flag is None:
            message = Message("protected must be true or false, not {actual}", actual=quote(cell))
            self._problem(row, self._columns["protected"], message)
        return bool(flag)

    def _cell(self, row: _CsvRow, column: str) -> str:
        index = self._columns.get(column, len(row.cells))
        return row.cells[index].strip().replace("\r\n", "\n") if index < len(row.cells) else ""

    def _warn(self, row: _CsvRow, index: int, message: str) -> None:
        if len(self._warnings) < PROBLEM_CAP:
            self._warnings.append(Problem(self._source, row.line, _column(row, index, self._delimiter), message))

    def _problem(self, row: _CsvRow, index: int, message: str) -> None:
        if len(self._problems) < PROBLEM_CAP:
            self._problems.append(Problem(self._source, row.line, _column(row, index, self._delimiter), message))
        else:
            self._omitted_count += 1

    def _error_at(self, row: _CsvRow, index: int, message: str) -> DesiredStateError:
        return _error(self._source, row.line, _column(row, index, self._delimiter), message)


def _with_columns(problem: Message, header: Header) -> Message:
    """Return a problem of the column names, with how each column is read."""
    return Message("{problem}; columns: {columns}", problem=problem, columns=header.readings)


def _is_phone(cell: str) -> bool:
    try:
        return bool(normalise(cell.strip()))
    except ValueError:
        return False


def _text_of(row: _CsvRow) -> str:
    """Return the cells of a row for a message."""
    return quote(" ".join(" ".join(row.cells).split()))


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
