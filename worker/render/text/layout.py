"""What a plan and a result have in common on a page: rows of numbers, samples of many, lists of names."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, TypeVar

from msgspec import Struct

from worker.model.errors import Refusal
from worker.model.phones import hyphenated
from worker.render.i18n import gettext as _
from worker.render.i18n import ngettext, translated
from worker.render.terminal import Paint, fit, safe, width, wrap

__all__ = [
    "MANY",
    "Group",
    "Mark",
    "Row",
    "apart",
    "count",
    "counts",
    "header",
    "in_full_or_brief",
    "indented",
    "names",
    "refusal_text",
    "refusals",
    "render_groups",
]

MANY: Final = 20
"""More rows, or accounts, than this of one kind are shown as a sample and a count."""
_SAMPLE: Final = 10
_NAMES: Final = 5
_NAME_COLUMNS: Final = 50
_ID_COLUMNS: Final = 24
_PHONE_COLUMNS: Final = 16
_WHAT_COLUMNS: Final = 40
_NARROWEST: Final = 20
"""Columns that wrapped text gets however narrow the page is. Numbers and statuses are never cut to fit one, so that a
row may be wider than a page of under 80 columns."""

T = TypeVar("T")


class Mark(Struct, frozen=True):
    """How one kind of row is marked, such as a green `+ activate`."""

    symbol: str
    word: str
    style: str


class Row(Struct, frozen=True):
    """One number: what becomes of it, and a remark that may be cut to fit a line. Neither needs to be safe."""

    phone: str
    what: str
    remark: str = ""


class Group(Struct, frozen=True):
    """Rows of one kind, all or a sample of them, with what a person must know or do about each.

    `more` are the first and the last phone and the count of the rows that are not shown.
    """

    mark: Mark
    rows: tuple[Row, ...]
    advice: str = ""
    more: tuple[str, str, int] | None = None

    @classmethod
    def of(cls, mark: Mark, items: Sequence[T], row: Callable[[T], Row], advice: str = "") -> "Group":
        """All items as rows, or a sample of them where they are many."""
        if len(items) <= MANY:
            return cls(mark, tuple(map(row, items)), advice)
        first, last = row(items[_SAMPLE]).phone, row(items[-1]).phone
        return cls(mark, tuple(map(row, items[:_SAMPLE])), advice, (first, last, len(items) - _SAMPLE))


def render_groups(groups: Sequence[Group], paint: Paint, columns: int) -> Iterator[str]:
    """The groups as lines of a table in `columns`; each group's advice stands below its rows."""
    shown = [(group.mark, row) for group in groups for row in group.rows]
    if not shown:
        return
    word = max(width(translated(mark.word)) for mark, _row in shown)
    phone = max(width(_phone(row.phone)) for _mark, row in shown)
    what = max((width(_what(row)) for _mark, row in shown if row.remark), default=0)
    indent = " " * (4 + word + 2)
    for group in groups:
        mark = group.mark
        label = paint(mark.style, f"{mark.symbol} {fit(translated(mark.word), word)}")
        for row in group.rows:
            left = f"{fit(_phone(row.phone), phone)}  {fit(_what(row), what)}"
            remark = safe(row.remark, max(columns - len(indent), _NARROWEST))
            if remark and len(indent) + width(left) + 2 + width(remark) <= columns:
                yield f"  {label}  {left}  {paint('dim', remark)}"
                continue
            yield f"  {label}  {left}".rstrip()
            if remark:
                yield indent + paint("dim", remark)
        if group.more is not None:
            first, last, number = group.more
            told = _("and {count} more, from {first} to {last}")
            yield indent + told.format(count=f"{number:,}", first=_phone(first), last=_phone(last))
        yield from indented(group.advice, columns, indent, indent, lambda line: paint("dim", line))


def _phone(phone: str) -> str:
    return safe(hyphenated(phone), _PHONE_COLUMNS)


def _what(row: Row) -> str:
    return safe(row.what, _WHAT_COLUMNS)


def in_full_or_brief(
    accounts: Sequence[T],
    full: Callable[[T], Iterable[str]],
    brief: Callable[[T], str],
    name: Callable[[T], str],
    columns: int,
) -> Iterator[str]:
    """The first accounts in full, a blank line after each; the rest, where they are many, counted by what is brief."""
    for account in accounts[:MANY]:
        yield from full(account)
        yield ""
    alike: dict[str, list[str]] = {}
    for account in accounts[MANY:]:
        alike.setdefault(brief(account), []).append(name(account))
    for told, some in sorted(alike.items(), key=lambda item: -len(item[1]))[:MANY]:
        more = count(len(some), "more account")
        yield from indented(f"{more}: {told} ({names(some)})", columns, "", "  ")
    rest = sorted(map(len, alike.values()), reverse=True)[MANY:]
    if rest:
        more, kinds = count(sum(rest), "more account"), count(len(rest), "other kind")
        yield _("{more} of {kinds}").format(more=more, kinds=kinds)
    if alike:
        yield from indented(_("One account in full: --account NAME. All of them: --format json."), columns, "", "  ")
        yield ""


def names(all_names: Sequence[str]) -> str:
    """Some names, and how many more there are."""
    shown = ", ".join(safe(name, _NAME_COLUMNS) for name in all_names[:_NAMES])
    more = len(all_names) - _NAMES
    return _("{names} and {count} more").format(names=shown, count=f"{more:,}") if more > 0 else shown


def count(number: int, noun: str) -> str:
    """A number with its noun, which is one that takes an s: `account` counts 1 account and 2 accounts."""
    one = f"{{count}} {noun}"
    return ngettext(one, f"{one}s", number).format(count=f"{number:,}")


def counts(parts: Iterable[tuple[int, str]]) -> str:
    """What there is any of, such as "2 to activate, 1 blocked"."""
    each = _("{count} {what}")
    return ", ".join(each.format(count=f"{number:,}", what=translated(what)) for number, what in parts if number)


def header(account: str, account_id: str | None, paint: Paint, columns: int) -> str:
    """An account's name, cut to fit, and the vendor's id of it."""
    known = _(" (account {id})").format(id=safe(account_id, _ID_COLUMNS)) if account_id else ""
    return paint("bold", safe(account, max(columns - width(known), _NARROWEST))) + known


def apart(observed: str | None, desired: str | None) -> str:
    """A status that is not, and will not become, the desired one; or that no one asked to change."""
    if observed is None:
        return _("not registered")
    if desired in {observed, None}:
        return observed
    return _("{observed}, not {desired}").format(observed=observed, desired=desired)


def refusals(found: Iterable[Refusal], paint: Paint, columns: int) -> Iterator[str]:
    """Each broken rule with the option that lets the plan through, a blank line before each."""
    for refusal in found:
        yield ""
        text = _("Refused by {rule}: {reason}").format(rule=refusal.rule, reason=refusal_text(refusal))
        yield from indented(text, columns, "  ", "    ", lambda line: paint("red", line))


def refusal_text(refusal: Refusal) -> str:
    """What a broken rule says, with the option that lets the plan through."""
    option = f"--allow {refusal.rule}"
    hint = "" if option in refusal.message else _(" To let it through: {option}").format(option=option)
    return translated(refusal.message) + hint


def indented(text: str, columns: int, first: str, rest: str, style: Callable[[str], str] = str) -> Iterator[str]:
    """Foreign text wrapped into `columns`, the first line behind one indent and the others behind another."""
    for index, line in enumerate(wrap(text, max(columns - max(len(first), len(rest)), _NARROWEST))):
        yield (rest if index else first) + style(line)
