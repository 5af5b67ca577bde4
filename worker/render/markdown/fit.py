"""A page of Markdown that fits a comment: whole if it can be, otherwise with less, and what is left out is counted."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

from msgspec import Struct

from worker.render.i18n import gettext as _
from worker.render.i18n import ngettext, translated
from worker.render.markdown.escape import code, html_code, listed, prose, table
from worker.render.text.layout import count, counts

__all__ = ["CAP", "Kind", "Page", "Section", "fitted"]

CAP: Final = 65_000
"""Bytes of UTF-8. GitHub takes 65,536 characters, however it counts them; whoever posts a page adds a line or two."""

_FOLDED: Final = 30
"""Rows beyond which accounts are folded."""
_MANY: Final = 20
"""Rows of one kind beyond which its table is folded, and lines of a list that are shown of many."""
_SAMPLES: Final = (None, 500, 100, 10)
"""Rows of one kind that are shown of many; the first that fits is taken, None for all of them."""
_LIST: Final = 15_000
"""Bytes of a list. Three of them, a title and totals fit a page in any case."""


class Kind(Struct, frozen=True):
    """Numbers of one account of which the same is to be told: `word`, in English, and `advice` say what.

    `row` makes the cells of an item, the first of which is its number; a column without anything in it is left out.
    """

    word: str
    advice: str
    titles: tuple[str, ...]
    items: Sequence[Any]
    row: Callable[[Any], tuple[str, ...]]


class Section(Struct, frozen=True):
    """What is the same of some accounts, mostly of one: `brief` in a phrase, `size` rows, `kinds` in full."""

    accounts: tuple[str, ...]
    account_id: str | None
    brief: str
    size: int
    kinds: Callable[[], Sequence[Kind]]
    remarks: tuple[str, ...] = ()


class Page(Struct, frozen=True, kw_only=True):
    """What is told, in the order in which it is read. `verdict`, `remarks` and `totals` are text, the rest is Markdown.

    `needs` is what a person must do, and `asks` what besides where sections are folded. Of `totals` each has a word,
    how many numbers and how many accounts.
    """

    title: str
    verdict: tuple[str, ...] = ()
    needs: Sequence[str] = ()
    asks: Sequence[str] = ()
    sections: Sequence[Section] = ()
    quiet: str = ""
    notices: Sequence[str] = ()
    totals: Sequence[tuple[str, int, int]] = ()
    remarks: tuple[str, ...] = ()


def fitted(page: Page, cap: int = CAP) -> str:
    """The page, ended by a newline, with as much of it as fits: tables, samples of them, a line an account, counts."""
    for lines in (*(_in_full(page, most) for most in _SAMPLES), _in_brief(page, whole=True)):
        told = _within(lines, cap)
        if told is not None:
            return told
    return "\n".join(_in_brief(page, whole=False)) + "\n"


def _within(lines: Iterator[str], cap: int) -> str | None:
    kept = []
    size = 0
    for line in lines:
        size += len(line.encode()) + 1
        if size > cap:
            return None
        kept.append(line)
    return "\n".join(kept) + "\n"


def _head(page: Page, *, folded: bool) -> Iterator[str]:
    yield f"### {page.title}"
    for sentence in page.verdict:
        yield ""
        yield f"**{prose(sentence)}**"
    yield from _list([*page.needs, *(page.asks if folded else ())])


def _foot(page: Page) -> Iterator[str]:
    if page.quiet:
        yield ""
        yield page.quiet
    if page.notices:
        yield ""
        yield f"**{_('Worth knowing')}**"
        yield from _list(page.notices)
    for remark in page.remarks:
        yield ""
        yield prose(remark)


def _list(lines: Sequence[str]) -> Iterator[str]:
    """A list, of many lines the first ones and how many more there are; a blank line before it."""
    shown: list[str] = []
    room = _LIST
    for line in lines[:_MANY] if len(lines) > _MANY + 1 else lines:
        room -= len(line.encode()) + 3
        if room < 0:
            break
        shown.append(f"- {line}")
    left = len(lines) - len(shown)
    if left:
        shown.append("- " + _("and {count} more like these").format(count=f"{left:,}"))
    if shown:
        yield ""
        yield from shown


def _in_full(page: Page, sample: int | None) -> Iterator[str]:
    folded = sum(section.size for section in page.sections) > _FOLDED
    yield from _head(page, folded=folded)
    left = 0
    for section in page.sections:
        kinds = section.kinds()
        yield ""
        if folded:
            yield f"<details><summary>{_name(section, html=True)}: {_html_brief(section)}</summary>"
        else:
            yield f"#### {_name(section)}: {prose(section.brief)}"
        for remark in section.remarks:
            yield ""
            yield prose(remark)
        for kind in kinds:
            yield from _kind(kind, sample, folded=not folded and len(kind.items) > _MANY)
            left += _left(kind, sample)
        if folded:
            yield ""
            yield "</details>"
    yield from _foot(page)
    if left:
        yield ""
        yield _whole(
            ngettext("{count} number is left out of the tables.", "{count} numbers are left out of the tables.", left),
            left,
        )


def _left(kind: Kind, sample: int | None) -> int:
    return 0 if sample is None or len(kind.items) <= max(sample, _MANY) else len(kind.items) - sample


def _kind(kind: Kind, sample: int | None, *, folded: bool) -> Iterator[str]:
    left = _left(kind, sample)
    rows = [kind.row(item) for item in kind.items[: len(kind.items) - left]]
    columns = [index for index in range(len(kind.titles)) if any(row[index] for row in rows)]
    word = counts([(len(kind.items), kind.word)])
    yield ""
    if folded:
        yield f"<details><summary><b>{word}</b></summary>"
        yield ""
    yield (kind.advice if folded else f"**{word}**" + (f": {kind.advice}" if kind.advice else ""))
    yield from table([kind.titles[index] for index in columns], ([row[index] for index in columns] for row in rows))
    if left:
        first, last = (kind.row(item)[0] for item in (kind.items[-left], kind.items[-1]))
        yield ""
        yield _("and {count} more, from {first} to {last}").format(count=f"{left:,}", first=first, last=last)
    if folded:
        yield ""
        yield "</details>"


def _in_brief(page: Page, *, whole: bool) -> Iterator[str]:
    yield from _head(page, folded=True)
    if page.totals:
        rows = ((prose(translated(word)), f"{numbers:,}", f"{accounts:,}") for word, numbers, accounts in page.totals)
        yield from table(("", _("Numbers"), _("Accounts")), rows)
    alike: dict[str, list[str]] = {}
    for section in page.sections:
        alike.setdefault(section.brief, []).extend(section.accounts)
    lines = [_alike(brief, names) for brief, names in alike.items()]
    if whole:
        yield ""
        yield from (f"- {line}" for line in lines)
    else:
        yield from _list(lines)
    yield from _foot(page)
    size = sum(section.size * len(section.accounts) for section in page.sections)
    yield ""
    yield _whole(ngettext("{count} number is only counted here.", "{count} numbers are only counted here.", size), size)


def _alike(brief: str, names: Sequence[str]) -> str:
    if len(names) == 1:
        return f"{code(names[0])}: {prose(brief)}"
    return f"{count(len(names), 'account')} ({listed(names)}): {prose(brief)}"


def _whole(told: str, left: int) -> str:
    return told.format(count=f"{left:,}") + " " + _("All of them: `--format html` or `--format json`.")


def _name(section: Section, *, html: bool = False) -> str:
    if len(section.accounts) > 1:
        return _("Same in {accounts}: {names}").format(
            accounts=count(len(section.accounts), "account"), names=listed(section.accounts, html=html)
        )
    shown = listed(section.accounts, html=html)
    if section.account_id is None:
        return shown
    known = html_code(section.account_id) if html else code(section.account_id)
    return f"{shown} ({known})"


def _html_brief(section: Section) -> str:
    shown = prose(section.brief)
    return html_code(section.brief) if shown.startswith("`") else shown
