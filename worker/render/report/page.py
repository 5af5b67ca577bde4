"""The model of a report, and its HTML page."""

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Final, Literal, TypeAlias

from msgspec import Struct

from worker.render.html import inline_asset, render
from worker.render.i18n import gettext as _
from worker.render.i18n import ngettext
from worker.render.marks import Mark, Tone, counts
from worker.render.report.chart import Chart
from worker.render.view.attention import AttentionGroup
from worker.render.view.parts import CountView, Share

__all__ = [
    "AccountName",
    "Cell",
    "Column",
    "Field",
    "Report",
    "RowGroup",
    "Table",
    "TableRow",
    "capped",
    "page",
    "table",
]

_MAX_ROWS: Final = 50_000
"""Maximum count of rows of a table, as browsers stall on more."""

_ROWS_SHOWN: Final = 200
"""Count of rows of a table that a browser with scripts shows at first, as PAGE of report.js."""

_MAX_ITEMS: Final = 100
"""Maximum count of attention items of one kind in a report."""

_MAX_NAMES: Final = 2_000
"""Maximum count of accounts that are listed by name only."""

CellKind = Literal["account", "phone", "mark", "share", "lines", "code", "moment", "number"]
"""The content of a column's cells.

In order: an account by name and id, the digits of a phone number, a mark, a share of ACTIVE numbers, lines of text, an
identifier, a timestamp, a count.
"""


class AccountName(Struct, frozen=True):
    """The name of an account, and the vendor's account id if it is known."""

    name: str
    id: str | None = None


Cell: TypeAlias = str | int | tuple[str, ...] | Mark | AccountName | Share | None
"""The content of a cell. A cell with None, "" or () is empty."""


class Column(Struct, frozen=True):
    """A column of a table. `key` names it in links. `facet` is the label of a filter by its values; "" for none."""

    key: str
    label: str
    kind: CellKind
    facet: str = ""


class RowGroup(Struct, frozen=True):
    """The account of consecutive rows: its name, mark and counts. The first column of its table is the account."""

    account: AccountName
    mark: Mark
    text: str


class TableRow(Struct, frozen=True):
    """A row of a table, with one cell for each column."""

    cells: tuple[Cell, ...]
    needs_attention: bool = False
    group: RowGroup | None = None


class TableBody(Struct, frozen=True):
    """Rows of one group. `group` is None if they have none or continue it. Scripts show rows later if `is_late`."""

    group: RowGroup | None
    rows: Sequence[TableRow]
    is_late: bool


class Table(Struct, frozen=True):
    """A table of a report: rows below a heading. `omitted` is a sentence on rows that are left out, if any."""

    key: str
    title: str
    columns: tuple[Column, ...]
    rows: tuple[TableRow, ...]
    omitted: str = ""

    @property
    def shown(self) -> tuple[int, ...]:
        """The indexes of the columns that are not empty. A column of zeros is empty."""
        return tuple(
            index
            for index in range(len(self.columns))
            if any(row.cells[index] not in {None, "", (), 0} for row in self.rows)
        )

    @property
    def is_grouped(self) -> bool:
        """Return True if the rows have groups."""
        return any(row.group for row in self.rows)

    @property
    def bodies(self) -> Iterator[TableBody]:
        """Yield the rows by group, in parts of at most `_ROWS_SHOWN` rows."""
        last_group = None
        for (_group, part), items in groupby(
            enumerate(self.rows), lambda item: (id(item[1].group), item[0] // _ROWS_SHOWN)
        ):
            rows = [row for _index, row in items]
            group = rows[0].group
            yield TableBody(None if group is last_group else group, rows, is_late=part > 0)
            last_group = group


class Field(Struct, frozen=True):
    """A labelled value at the head of a report. If `kind` is "moment", `value` is a timestamp; "hash" is shortened."""

    label: str
    value: str
    kind: Literal["text", "code", "hash", "moment"] = "text"


class Report(Struct, frozen=True, kw_only=True):
    """The content of an HTML report.

    `verdict` is one sentence, and `remarks` are further sentences. `attention` lists what an operator must do, and
    `notices` what is worth knowing. `quiet` lists the names of accounts without rows.
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
    assets = [inline_asset(name) for name in ("style.css", "report.css", "early.js", "copy.js", "report.js")]
    (style, own, early, *scripts), sources = zip(*assets, strict=True)
    return render(
        "report.html",
        report=report,
        styles=(style, own),
        early=early,
        scripts=scripts,
        policy=_policy(sources[:2], sources[2:]),
        names=_MAX_NAMES,
    )


def _policy(styles: Sequence[str], scripts: Sequence[str]) -> str:
    """Return a Content-Security-Policy that allows only these styles and scripts, by hash, and no requests."""
    return (
        f"default-src 'none'; style-src {' '.join(styles)}; script-src {' '.join(scripts)}; "
        "base-uri 'none'; form-action 'none'; require-trusted-types-for 'script'"
    )


def table(key: str, title: str, columns: tuple[Column, ...], rows: Sequence[TableRow], limit: int = _MAX_ROWS) -> Table:
    """Return a table of at most `limit` rows. If there are more, rows that need attention take precedence.

    Each row must have a cell with a mark.
    """
    if len(rows) <= limit:
        return Table(key, title, columns, tuple(rows))
    ordered = sorted(range(len(rows)), key=lambda index: not rows[index].needs_attention)
    word_counts = Counter(
        next(cell.word for cell in rows[index].cells if isinstance(cell, Mark)) for index in ordered[limit:]
    )
    number = len(rows) - limit
    text = ngettext(
        "{number:,} more row is not in this file ({what}).",
        "{number:,} more rows are not in this file ({what}).",
        number,
    )
    text = text.format(number=number, what=counts((many, word) for word, many in word_counts.most_common()))
    return Table(
        key,
        title,
        columns,
        tuple(rows[index] for index in sorted(ordered[:limit])),
        f"{text} {_('All of them: --format json. One account in full: --account NAME.')}",
    )


def capped(items: Sequence[AttentionGroup]) -> Iterator[AttentionGroup]:
    """Yield the first items of each kind, then an item with the count of the others."""
    for kind, items_of_kind in groupby(items, lambda item: item.kind):
        kind_items = list(items_of_kind)
        yield from kind_items[:_MAX_ITEMS]
        number = len(kind_items) - _MAX_ITEMS
        if number > 0:
            text = ngettext("{number:,} more: --format json", "{number:,} more: --format json", number)
            title = {"refusal": _("Refused"), "notice": _("Notices")}.get(kind, kind_items[0].title)
            yield AttentionGroup(kind, "quiet", title, text.format(number=number))
