"""The row of column names of a spreadsheet: where it is, and which field each column has."""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Final
from unicodedata import normalize

from msgspec import Struct

from worker.config.yaml_reader import quote
from worker.model.messages import Message

__all__ = ["FIELDS", "SEARCHED_ROWS", "Column", "Header", "find_header", "plain"]

FIELDS: Final = ("phone", "status", "note", "owner", "protected")
"""The fields of a number that a column can have."""

_YES_OR_NO: Final = (
    *("사용여부", "사용유무", "활성여부", "활성화여부", "운영여부"),
    *("active", "isactive", "enabled", "isenabled", "useyn", "activeyn", "사용", "활성"),
)
"""Headings of a column of statuses whose cells are yes or no."""

_HEADINGS: Final[Mapping[str, tuple[str, ...]]] = {
    "phone": (
        *("phone", "phonenumber", "number", "sender", "sendernumber", "callingnumber", "callerid"),
        *("tel", "telephone", "telno", "mobile", "mobilenumber", "cellphone"),
        *("전화번호", "발신번호", "발신자번호", "발신전화번호", "발송번호", "송신번호", "회신번호", "대표번호", "번호"),
        *("전화", "연락처", "휴대폰", "휴대폰번호", "휴대전화", "휴대전화번호", "핸드폰", "핸드폰번호"),
    ),
    "status": ("status", "state", "상태", "사용상태", "현재상태", "상태값", *_YES_OR_NO),
    "note": ("note", "notes", "memo", "comment", "remark", "remarks", "메모", "비고", "설명", "용도"),
    "owner": ("owner", "team", "department", "담당자", "담당자명", "담당", "담당부서", "부서", "부서명", "소속"),
    "protected": ("protected", "보호", "보호여부"),
}
"""Accepted headings of each field, as `plain` returns them."""

_FIELD_OF: Final = {heading: field for field, headings in _HEADINGS.items() for heading in headings}
_STATUSES: Final = frozenset({"active", "사용", "활성"})
"""Headings that are statuses too. They do not show that a row has column names."""
_ROW_NUMBERS: Final = frozenset({"no", "no.", "#", "순번", "연번", "일련번호"})
"""Headings of columns that number the rows. They are ignored."""
_AMBIGUOUS: Final = "번호"
"""A heading of phone numbers or, if another column has phone numbers, of row numbers."""

SEARCHED_ROWS: Final = 20
"""Count of rows among which the column names are searched."""
_SHOWN: Final = 20
"""Maximum count of columns that a message lists."""

_blanks: Final = re.compile(r"[\s_-]+")
_remark: Final = re.compile(r"\([^()]*\)|\[[^][]*\]|[*:]")
"""Matches what follows a name in a heading, as in `발신번호(필수)` and `status *`."""
_find_yes_or_no: Final = re.compile(r"[(\[](?:y/n|o/x)[)\]]").search
_find_digits: Final = re.compile(r"\d(?:\D?\d){2}").search


class Column(Struct, frozen=True):
    """A column of a table. `heading` is the text of its name, and `index` its position from 0.

    `field` is one of `FIELDS`; None if the column is not read. `is_ignored` is True if the user skips the column, or if
    it numbers the rows. `is_flag` is True if its cells are yes or no.
    """

    heading: str
    index: int
    field: str | None = None
    is_ignored: bool = False
    is_flag: bool = False

    @property
    def reading(self) -> Message:
        """The heading, and how the column is read."""
        if self.is_ignored:
            return Message("{heading} = ignored", heading=quote(self.heading))
        if self.field is None:
            return Message("{heading} = unknown", heading=quote(self.heading))
        return Message("{heading} = {field}", heading=quote(self.heading), field=self.field)


class Header(Struct, frozen=True):
    """The columns of a table. `start` and `end` are the first row of column names and the row after the last one.

    Rows are counted from 0. Columns without a name are left out.
    """

    columns: tuple[Column, ...]
    start: int
    end: int

    @property
    def missing(self) -> tuple[str, ...]:
        """The required fields that no column has."""
        fields = {column.field for column in self.columns}
        return tuple(field for field in ("phone", "status") if field not in fields)

    @property
    def readings(self) -> tuple[Message, ...]:
        """How each column is read, for messages."""
        return tuple(column.reading for column in self.columns[:_SHOWN])

    @property
    def known(self) -> int:
        """The count of columns that are read."""
        return sum(column.field is not None for column in self.columns)


def plain(text: str) -> str:
    """Return a heading or a cell for comparison: without blanks, hyphens and underscores, in lower case.

    Hangul is composed, and wide characters become plain ones.
    """
    return _blanks.sub("", normalize("NFKC", text)).lower()


def find_header(rows: Sequence[Sequence[str]], skip: Collection[str]) -> Header:
    """Return the columns that the first of `rows` with column names define.

    Column names can take two rows, such as a group of columns above its columns, or Korean names above English ones.
    `skip` are the headings of columns to ignore, as `plain` returns them. If no row names phone and status, the row
    with the most known names is returned, and `missing` is not empty.
    """
    headers = list(_candidates(rows[:SEARCHED_ROWS], skip))
    complete = next((header for header in headers if not header.missing), None)
    # max takes the first of equals
    return complete or max(headers, key=lambda header: (header.known, len(header.columns)))


def _candidates(rows: Sequence[Sequence[str]], skip: Collection[str]) -> Iterator[Header]:
    for start, row in enumerate(rows):
        header = Header(_columns([row], skip), start, start + 1)
        next_row = rows[start + 1] if start + 1 < len(rows) else ()
        if header.known and not any(map(_find_digits, row)) and _names_columns(next_row):
            header = Header(_columns([row, next_row], skip), start, start + 2)
        yield header


def _names_columns(row: Sequence[str]) -> bool:
    """Return True if a row below column names has column names too, and no number."""
    names = {_name(cell) for cell in row if plain(cell)}
    return not any(map(_find_digits, row)) and ("" in names or not names.isdisjoint(_FIELD_OF.keys() - _STATUSES))


def _columns(rows: Sequence[Sequence[str]], skip: Collection[str]) -> tuple[Column, ...]:
    """Return the columns that one or two rows name. The lower of two known names counts."""
    columns: list[Column] = []
    for index in range(max(map(len, rows))):
        headings = [row[index].strip() for row in reversed(rows) if index < len(row) and row[index].strip()]
        if headings:
            known_heading = next((heading for heading in headings if _name(heading) in _FIELD_OF), headings[0])
            columns.append(_column(known_heading, index, skip))
    phones = [column for column in columns if column.field == "phone" and _name(column.heading) != _AMBIGUOUS]
    return tuple(
        Column(column.heading, column.index, is_ignored=True)
        if phones and _name(column.heading) == _AMBIGUOUS
        else column
        for column in columns
    )


def _column(heading: str, index: int, skip: Collection[str]) -> Column:
    name = _name(heading)
    if plain(heading) in skip or name in skip or name in _ROW_NUMBERS:
        return Column(heading, index, is_ignored=True)
    is_flag = name in _YES_OR_NO or bool(_find_yes_or_no(plain(heading)))
    return Column(heading, index, _FIELD_OF.get(name), is_flag=is_flag)


def _name(heading: str) -> str:
    """Return a heading for comparison, without remarks."""
    return _remark.sub("", plain(heading))
