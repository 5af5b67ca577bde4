"""What a person must do about accounts, or should know of them; what is alike stands together."""

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from typing import Final, TypeVar

from worker.model.errors import ErrorInfo, Refusal
from worker.model.plans import Notice
from worker.render.html import TONES
from worker.render.i18n import gettext as _
from worker.render.i18n import ngettext, translated
from worker.render.report.page import Task
from worker.render.text.layout import Mark, counts, refusal_text
from worker.render.text.notices import MARKS
from worker.render.text.result import error_text

__all__ = ["failed", "gathered", "numbered", "refused", "worth_knowing"]

_MOST: Final = 100
"""Kinds of what is alike that are told one by one."""

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")


def refused(broken: Iterable[tuple[str, Refusal]]) -> Iterator[Task]:
    """The safety rules that refuse accounts, each with the option that lets it through."""
    alike = gathered(broken, lambda each: each[1])
    for refusal, some in _first(alike):
        title = _("Refused by {rule}").format(rule=refusal.rule)
        yield Task("bad", title, refusal_text(refusal), tuple(account for account, _refusal in some))
    yield from _rest(alike, _("Refused"))


def failed(found: Iterable[tuple[str, ErrorInfo]], title: str) -> Iterator[Task]:
    """What went wrong with whole accounts."""
    alike = gathered(found, lambda each: each[1])
    for error, some in _first(alike):
        yield Task("bad", title, f"{error_text(error)}.", tuple(account for account, _error in some))
    yield from _rest(alike, title)


def worth_knowing(found: Iterable[tuple[str, Notice]]) -> Iterator[Task]:
    """Notices of accounts and their numbers."""
    alike = gathered(found, lambda each: (each[1].kind, each[1].message))
    for (kind, message), some in _first(alike):
        phones = tuple(notice.phone for _account, notice in some if notice.phone)
        yield Task(
            "info",
            translated(MARKS[kind].word),
            translated(message),
            _apart(account for account, _notice in some),
            phones,
        )
    yield from _rest(alike, _("Worth knowing"))


def numbered(mark: Mark, text: str, numbers: Iterable[tuple[str, str]]) -> Task:
    """What a person must do about some numbers, each with the name of its account before it."""
    accounts, phones = zip(*numbers, strict=True)
    title = counts([(len(phones), mark.word)])
    return Task(TONES[mark.style], title, text, _apart(accounts), phones, ("what", translated(mark.word)))


def gathered(items: Iterable[T], key: Callable[[T], K]) -> dict[K, list[T]]:
    """The items by what they have in common, in the order of their coming."""
    alike: dict[K, list[T]] = {}
    for item in items:
        alike.setdefault(key(item), []).append(item)
    return alike


def _apart(names: Iterable[str]) -> tuple[str, ...]:
    """Names without those that come again."""
    return tuple(dict.fromkeys(names))


def _first(alike: Mapping[K, T]) -> list[tuple[K, T]]:
    return list(alike.items())[:_MOST]


def _rest(alike: Mapping[K, list[T]], title: str) -> Iterator[Task]:
    left = list(alike.values())[_MOST:]
    if left:
        number = sum(map(len, left))
        told = ngettext("{number:,} more: --format json", "{number:,} more: --format json", number)
        yield Task("quiet", title, told.format(number=number))
