"""What a report consists of, whatever it is about, and its way into one file that asks for nothing from outside."""

from collections import Counter
from collections.abc import Sequence
from typing import Final, Literal, TypeAlias
from urllib.parse import quote

from msgspec import Struct

from worker.render.html import Tone, inlined, render
from worker.render.i18n import gettext as _
from worker.render.i18n import ngettext
from worker.render.report.chart import Chart
from worker.render.text.layout import Mark, counts

__all__ = [
    "MOST",
    "Cell",
    "Column",
    "Fact",
    "Kind",
    "Named",
    "Report",
    "Row",
    "Share",
    "Table",
    "Task",
    "Tile",
    "page",
    "sampled",
]

MOST: Final = 50_000
"""Rows that a table has at most: more of them no browser opens without a stall."""

_NAMES: Final = 2_000
"""Accounts that are listed by nothing but their names."""

Kind = Literal["account", "phone", "mark", "share", "lines", "code", "moment", "number"]
"""What the cells of a column hold: an account by name and id, digits, a mark, a share of ACTIVE numbers, lines of text,
an identifier, a stamp, a number."""


class Named(Struct, frozen=True):
    """An account by its name, and by the vendor's id where it is known."""

    name: str
    id: str | None = None


class Share(Struct, frozen=True):
    """How many numbers are ACTIVE, and how many go on and off."""

    active: int
    on: int
    off: int

    @property
    def after(self) -> int:
        """How many are ACTIVE afterwards."""
        return self.active + self.on - self.off

    @property
    def percent(self) -> int:
        """Of 100 ACTIVE numbers, how many go off; rounded up, so that nothing that goes looks like nothing."""
        return -(-100 * self.off // self.active) if self.active else 0


Cell: TypeAlias = str | int | tuple[str, ...] | Mark | Named | Share | None
"""None, "" and () are empty."""


class Column(Struct, frozen=True):
    """A column; `key` names it in links, and `facet` whether rows are chosen by its values."""

    key: str
    label: str
    kind: Kind
    facet: bool = False


class Row(Struct, frozen=True):
    """One cell for each column; `person` tells that somebody must do something about it."""

    cells: tuple[Cell, ...]
    person: bool = False

    @property
    def word(self) -> str:
        """The word of its mark, wherever that stands."""
        return next(cell.word for cell in self.cells if isinstance(cell, Mark))


class Table(Struct, frozen=True):
    """Rows below a heading. `left` tells of rows that are not there."""

    key: str
    title: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    left: str = ""

    @property
    def shown(self) -> tuple[int, ...]:
        """The columns that have anything to show, by their place."""
        return tuple(
            place
            for place, _column in enumerate(self.columns)
            if any(row.cells[place] not in {None, "", ()} for row in self.rows)
        )


class Fact(Struct, frozen=True):
    """One thing that is known of a document; `value` is a stamp where `kind` is moment."""

    label: str
    value: str
    kind: Literal["text", "code", "moment"] = "text"


class Tile(Struct, frozen=True):
    """How many of something there are."""

    number: int
    label: str
    tone: Tone


class Task(Struct, frozen=True):
    """What a person must do or know: `title` says what it is about, `text` what to do.

    `accounts` are names, `phones` digits of numbers that it is about, all of them; a sample is shown. `find` chooses
    its rows, as a column's key and a value.
    """

    tone: Tone
    title: str
    text: str
    accounts: tuple[str, ...] = ()
    phones: tuple[str, ...] = ()
    find: tuple[str, str] | None = None

    @property
    def link(self) -> str:
        """The part of a link that chooses its rows."""
        return "" if self.find is None else "#" + "=".join(quote(each, safe="") for each in self.find)


class Report(Struct, frozen=True, kw_only=True):
    """A whole report. `verdict` says in one sentence what it comes to, and `remarks` what stands in its way.

    `notes` are worth knowing and nobody's task. `quiet` are the names of accounts of which there is nothing to tell.
    """

    title: str
    facts: tuple[Fact, ...]
    tone: Tone
    verdict: str
    remarks: tuple[str, ...] = ()
    tiles: tuple[Tile, ...] = ()
    tasks: tuple[Task, ...] = ()
    notes: tuple[Task, ...] = ()
    charts: tuple[Chart, ...] = ()
    chart_note: str = ""
    tables: tuple[Table, ...] = ()
    quiet: tuple[str, ...] = ()
    settings: tuple[str, ...] = ()


def page(report: Report) -> str:
    """The report as one HTML document, ended by a newline."""
    assets = [inlined(name) for name in ("style.css", "report.css", "early.js", "report.js")]
    (style, own, early, script), sources = zip(*assets, strict=True)
    return render(
        "report.html",
        report=report,
        styles=(style, own),
        early=early,
        script=script,
        policy=_policy(sources[:2], sources[2:]),
        names=_NAMES,
    )


def _policy(styles: Sequence[str], scripts: Sequence[str]) -> str:
    """A Content-Security-Policy under which nothing is fetched or sent, and nothing else of the document runs."""
    return (
        f"default-src 'none'; style-src {' '.join(styles)}; script-src {' '.join(scripts)}; "
        "base-uri 'none'; form-action 'none'; require-trusted-types-for 'script'"
    )


def sampled(key: str, title: str, columns: tuple[Column, ...], rows: Sequence[Row], most: int = MOST) -> Table:
    """A table of all rows, or of the first `most`, those that need a person first; then it tells what is left out.

    Each row has a mark somewhere.
    """
    if len(rows) <= most:
        return Table(key, title, columns, tuple(rows))
    ordered = sorted(rows, key=lambda row: not row.person)
    found = Counter(row.word for row in ordered[most:])
    number = len(rows) - most
    told = ngettext(
        "{number:,} more row is not in this file ({what}).",
        "{number:,} more rows are not in this file ({what}).",
        number,
    )
    way = _("All of them: --format json. One account in full: --account NAME.")
    left = told.format(number=number, what=counts((many, what) for what, many in found.most_common()))
    return Table(key, title, columns, tuple(ordered[:most]), f"{left} {way}")
