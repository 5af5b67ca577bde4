"""Attention items, which say what an operator must do about accounts and numbers, and notices."""

from collections.abc import Collection, Hashable, Iterable
from typing import Final, Literal, TypeVar

from msgspec import Struct

from worker.model.errors import ErrorInfo, NumberError, Refusal
from worker.model.plans import Notice, NoticeKind
from worker.render.i18n import gettext as _
from worker.render.i18n import translate
from worker.render.marks import NOTICES, Mark, Tone, counts

__all__ = [
    "AttentionGroup",
    "error_items",
    "error_text",
    "group_by",
    "notice_items",
    "number_item",
    "refusal_items",
    "unshown_notices",
]

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")


_OF_STATUS: Final = frozenset({NoticeKind.PENDING, NoticeKind.DUPLICATED, NoticeKind.BLOCKED})


class AttentionGroup(Struct, frozen=True):
    """One attention item or notice about a group of accounts or numbers.

    `title` is its subject, and `text` says what happened and what to do. `accounts` are the names of its accounts,
    `phones` are the digits of its numbers, and `mark` is the mark of the numbers.
    """

    kind: Literal["refusal", "error", "numbers", "notice"]
    tone: Tone
    title: str
    text: str
    accounts: tuple[str, ...] = ()
    phones: tuple[str, ...] = ()
    mark: Mark | None = None


def refusal_items(accounts: Iterable[tuple[str, Iterable[Refusal]]]) -> list[AttentionGroup]:
    """Return an item for each refusal by a safety rule, with its accounts and the option that allows it.

    `accounts` yields names with refusals. The item with the most accounts comes first.
    """
    groups = group_by((refusal, name) for name, refusals in accounts for refusal in refusals)
    title = _("Refused by {rule}")
    return _most_first(
        AttentionGroup("refusal", "bad", title.format(rule=refusal.rule), _refusal_text(refusal), tuple(names))
        for refusal, names in groups.items()
    )


def error_items(accounts: Iterable[tuple[str, ErrorInfo | None]], title: str) -> list[AttentionGroup]:
    """Return an item for each error of whole accounts, with the names of the accounts.

    `accounts` yields names with errors. The item with the most accounts comes first.
    """
    groups = group_by((error, name) for name, error in accounts)
    return _most_first(
        AttentionGroup("error", "bad", title, error_text(error), tuple(names))
        for error, names in groups.items()
        if error is not None
    )


def number_item(mark: Mark, text: str, numbers: Iterable[tuple[str, str]]) -> AttentionGroup:
    """Return the item of at least one number. `numbers` yields account names with phone digits."""
    names, phones = zip(*numbers, strict=True)
    title = counts([(len(phones), mark.counted)])
    return AttentionGroup("numbers", mark.tone, title, text, tuple(dict.fromkeys(names)), phones, mark)


def notice_items(notices: Iterable[tuple[str, Notice]]) -> list[AttentionGroup]:
    """Return the items of notices, given with the names of accounts. Numbers with equal notices share an item."""
    groups = group_by(
        ((notice.kind, notice.message, notice.phone is None), (name, notice.phone)) for name, notice in notices
    )
    return [
        AttentionGroup(
            "notice",
            NOTICES[kind].tone,
            translate(NOTICES[kind].word),
            translate(message),
            tuple(dict.fromkeys(name for name, _phone in subjects)),
            tuple(phone for _name, phone in subjects if phone),
            NOTICES[kind],
        )
        for (kind, message, _of_account), subjects in groups.items()
    ]


def unshown_notices(notices: Iterable[Notice], blocked_phones: Collection[str]) -> list[Notice]:
    """Return the notices, without those on the status of a blocked number, as its row already shows it."""
    return [notice for notice in notices if not (notice.kind in _OF_STATUS and notice.phone in blocked_phones)]


def group_by(items: Iterable[tuple[K, T]]) -> dict[K, list[T]]:
    """Return items, each given with its key, as a list for each key. Groups are in order of first appearance."""
    groups: dict[K, list[T]] = {}
    for key, item in items:
        groups.setdefault(key, []).append(item)
    return groups


def error_text(error: ErrorInfo | NumberError) -> str:
    """Return the code, the HTTP status and the message of an error, without a full stop."""
    status = f" ({error.http_status})" if isinstance(error, NumberError) and error.http_status else ""
    return f"{error.code}{status}: {translate(error.message)}".rstrip(".")


def _refusal_text(refusal: Refusal) -> str:
    option = f"--allow {refusal.rule}"
    hint = "" if option in refusal.message else _(" To allow it: {option}").format(option=option)
    return translate(refusal.message) + hint


def _most_first(items: Iterable[AttentionGroup]) -> list[AttentionGroup]:
    return sorted(items, key=lambda item: -len(item.accounts))
