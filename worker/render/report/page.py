"""The parts of a report, and its template."""

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Final, Literal, TypeAlias

from msgspec import Struct

from worker.render.html import inlined, render
from worker.render.i18n import gettext as _
from worker.render.i18n import ngettext
from worker.render.marks import Mark, Tone, counts
from worker.render.report.chart import Chart
from worker.render.view.attention import AttentionGroup
from worker.render.view.parts import CountView, Share

__all__ = ["AccountName", "Cell", "Column", "Field", "Report", "Table", "TableRow", "capped", "page", "table"]

_MOST_ROWS: Final = 50_000
"""Most rows of a table, as browsers stall on more."""

_MOST_ITEMS: Final = 100
"""Most attention items of one kind."""

_MOST_NAMES: Final = 2_000
"""Most accounts that are listed by name only."""

CellKind = Literal["account", "phone", "mark", "share", "lines", "code", "moment", "number"]
"""The content of a column's cells: an account by name and id, digits, a mark, a share of ACTIVE numbers, lines of text,
an identifier, a stamp, a number."""


class AccountName(Struct, frozen=True):
    """An account's name, and the vendor's id of it if that is known."""

    name: str
    id: str | None = None


Cell: TypeAlias = str | int | tuple[str, ...] | Mark | AccountName | Share | None
"""None, "" and () are empty."""


class Column(Struct, frozen=True):
    """A column; `key` names it in links. Rows can be filtered by the values of a `facet`."""

    key: str
    label: str
    kind: CellKind
    facet: bool = False


class TableRow(Struct, frozen=True):
    """One cell for each column."""

    cells: tuple[Cell, ...]
    needs_attention: bool = False


class Table(Struct, frozen=True):
    """Rows below a heading. `omitted` says which rows are left out."""

    key: str
    title: str
    columns: tuple[Column, ...]
    rows: tuple[TableRow, ...]
    omitted: str = ""

    @property
    def shown(self) -> tuple[int, ...]:
        """The indexes of the columns that are not empty."""
        return tuple(
            index
            for index in range(len(self.columns))
            if any(row.cells[index] not in {None, "", ()} for row in self.rows)
        )


class Field(Struct, frozen=True):
    """A labelled value of a document; `value` is a stamp where `kind` is moment."""

    label: str
    value: str
    kind: Literal["text", "code", "moment"] = "text"


class Report(Struct, frozen=True, kw_only=True):
    """A report. `verdict` is one sentence, `remarks` are others.

    `attention` is what an operator must do, `notices` what is worth knowing. `quiet` are the names of accounts that
    have no rows.
    """

    title: str
    tone: Tone
    verdict: str
    fields: tuple[Field, ...] = ()
    remarks: tuple[str, ...] = ()
    counts: Sequence[CountView] = ()
    attention: Sequence[AttentionGroup] = ()
    notices: Sequence[AttentionGroup] = ()
    charts: tuple[Chart, ...] = ()
    chart_note: str = ""
    tables: tuple[Table, ...] = ()
    quiet: Sequence[str] = ()
    settings: tuple[str, ...] = ()


def page(report: Report) -> str:
    """Return the report as one HTML document, ended by a newline."""
    assets = [inlined(name) for name in ("style.css", "report.css", "early.js", "report.js")]
    (style, own, early, script), sources = zip(*assets, strict=True)
    return render(
        "report.html",
        report=report,
        styles=(style, own),
        early=early,
        script=script,
        policy=_policy(sources[:2], sources[2:]),
        names=_MOST_NAMES,
    )


def _policy(styles: Sequence[str], scripts: Sequence[str]) -> str:
    """Return a Content-Security-Policy that forbids all requests, and all other styles and scripts."""
    return (
        f"default-src 'none'; style-src {' '.join(styles)}; script-src {' '.join(scripts)}; "
        "base-uri 'none'; form-action 'none'; require-trusted-types-for 'script'"
    )


def table(key: str, title: str, columns: tuple[Column, ...], rows: Sequence[TableRow], most: int = _MOST_ROWS) -> Table:
    """Return a table of the first `most` rows, those that need attention first if others are left out.

    Each row has a mark.
    """
    if len(rows) <= most:
        return Table(key, title, columns, tuple(rows))
    ordered = sorted(rows, key=lambda row: not row.needs_attention)
    words = Counter(next(cell.word for cell in row.cells if isinstance(cell, Mark)) for row in ordered[most:])
    number = len(rows) - most
    text = ngettext(
        "{number:,} more row is not in this file ({what}).",
        "{number:,} more rows are not in this file ({what}).",
        number,
    )
    text = text.format(number=number, what=counts((many, word) for word, many in words.most_common()))
    return Table(
        key,
        title,
        columns,
        tuple(ordered[:most]),
        f"{text} {_('All of them: --format json. One account in full: --account NAME.')}",
    )


def capped(items: Sequence[AttentionGroup]) -> Iterator[AttentionGroup]:
    """Return the first items of each kind, and how many more there are."""
    for kind, some in groupby(items, lambda item: item.kind):
        alike = list(some)
        yield from alike[:_MOST_ITEMS]
        number = len(alike) - _MOST_ITEMS
        if number > 0:
            text = ngettext("{number:,} more: --format json", "{number:,} more: --format json", number)
            title = {"refusal": _("Refused"), "notice": _("Notices")}.get(kind, alike[0].title)
            yield AttentionGroup(kind, "quiet", title, text.format(number=number))
