"""Phone numbers as an example masks them: `010****5678` shows three digits, then four, and stars for all between."""

import re
from collections.abc import Callable, Collection, Iterable
from functools import lru_cache
from typing import Any, Final, Self, TypeVar
from unicodedata import digit

from msgspec import structs

from worker.model.errors import ErrorInfo, NumberError, Refusal
from worker.model.history import AccountRecord, NumberRecord, RunRecord
from worker.model.plans import AccountPlan, Change, Notice, Plan
from worker.model.results import AccountResult, Result

__all__ = ["Mask"]

_LEAST: Final = 3
"""Digits that a mask hides, at least: fewer are tried out in a moment."""
_LONGEST: Final = 12

_BETWEEN: Final = r"(?:[^\w:]|_){0,3}"
"""What may stand between two digits of one number. A colon is a clock's."""
_SHAPE: Final = rf"""
    (?: (?:\+|00)82 {_BETWEEN} (?:\d{_BETWEEN}){{2,10}} \d
      | 82 {_BETWEEN} [1-7] {_BETWEEN} (?:\d{_BETWEEN}){{6,9}} \d
      | [0\uff10] {_BETWEEN} (?:\d{_BETWEEN}){{7,10}} \d
      | 1[568]\d\d {_BETWEEN} \d{{4}} )
    (?!\d)"""
_MOBILE: Final = r"(?:82)?0?10[\Wx_]{0,4}\d{4}[\Wx_]{0,4}\d{4}(?!\d)"
"""A mobile number, with more between its groups than between any two digits."""
_NUMBER: Final = re.compile(rf"(?x) (?<!\d) {_SHAPE}")
"""What looks like a Korean phone number in a text, whatever letters stand around it."""
_IN_TEXT: Final = tuple(re.compile(rf"(?x) (?<!\d) (?=({shape}))") for shape in (_SHAPE, _MOBILE))
"""Likewise from every digit that may be its first: one number may begin within what looks like another."""
_IN_LINE: Final = (
    re.compile(r"""(?x) (?<= "phone":") (?=(\d{3,12})")"""),
    *(re.compile(rf"""(?x) (?<!\d) (?<![^\\]":) (?=({shape}))""") for shape in (_SHAPE, _MOBILE)),
)
"""Likewise in a line of JSON, where the `phone` is one however short, and a bare number is none."""
_DIGITS: Final = re.compile(r"(?<!\d)\d(?:[- ]?\d){2,11}(?!\d)")
_RUN: Final = re.compile(r"\d+")
_ABROAD: Final = re.compile(r"(?:00)?82")
_TEXTS: Final = 4096
"""Texts that are remembered: thousands of numbers share a few reasons."""

Failed = TypeVar("Failed", ErrorInfo, NumberError)


class Mask:
    """How many digits at the beginning and the end of a number are shown; those between are hidden by stars.

    Of a shorter number than the example's fewer are shown, first at its beginning, so that as many are hidden.
    """

    def __init__(self, head: int, stars: int, tail: int) -> None:
        self.head = head
        self.stars = stars
        self.tail = tail

    @classmethod
    def of(cls, example: str) -> Self:
        """The mask of an example such as 010****5678 or 010-****-5678.

        Raises:
            ValueError: with a sentence that says why it is none.
        """
        found = re.fullmatch(r"([0-9]*)(\*+)([0-9]*)", example.replace("-", ""))
        if found is None or len(found[0]) > _LONGEST:
            raise ValueError("a mask is a number with stars for the digits to be hidden: 010****5678")
        if len(found[2]) < _LEAST:
            raise ValueError(f"a mask hides {_LEAST} digits or more: 010****5678")
        return cls(len(found[1]), len(found[2]), len(found[3]))

    def number(self, digits: str) -> str:
        """A number's digits, those to be hidden as stars."""
        shown = max(len(digits) - self.stars, 0)
        tail = min(self.tail, shown)
        head = min(self.head, shown - tail)
        return digits[:head] + "*" * (len(digits) - head - tail) + digits[len(digits) - tail :]

    def text(self, text: str) -> str:
        """A text in which whatever looks like a Korean phone number is masked."""
        return self._hidden(text, _IN_TEXT)

    def line(self, line: str) -> str:
        """A line of a log likewise, which may be JSON and stays so."""
        return self._hidden(line, _IN_LINE) if line.startswith("{") else self.text(line)

    def plan(self, plan: Plan) -> Plan:
        """A plan without a number in full."""
        return structs.replace(plan, accounts=tuple(map(self._account_plan, plan.accounts)))

    def result(self, result: Result) -> Result:
        """A result likewise."""
        return structs.replace(result, accounts=tuple(map(self._account_result, result.accounts)))

    def run(self, told: RunRecord) -> RunRecord:
        """A run's story likewise."""
        settings = None if told.settings is None else _mapped(told.settings, self.text)
        accounts = tuple(map(self._account_story, told.accounts))
        return structs.replace(told, command=self.text(told.command), settings=settings, accounts=accounts)

    def _account_plan(self, account: AccountPlan) -> AccountPlan:
        hide = self._hider([*(each.phone for each in account.changes), *_phones(account.notices)])

        def change(each: Change) -> Change:
            return structs.replace(
                each,
                phone=self.number(each.phone),
                observed=_or_none(hide, each.observed),
                desired=hide(each.desired),
                reason=hide(each.reason),
                note=_or_none(hide, each.note),
                owner=_or_none(hide, each.owner),
            )

        return structs.replace(
            account,
            account=hide(account.account),
            account_id=_or_none(hide, account.account_id),
            refusals=_refusals(account.refusals, hide),
            error=_error(account.error, hide),
            changes=tuple(map(change, account.changes)),
            notices=self._notices(account.notices, hide),
        )

    def _account_result(self, account: AccountResult) -> AccountResult:
        hide = self._hider([*(each.phone for each in account.numbers), *_phones(account.notices)])
        numbers = (
            structs.replace(
                each,
                phone=self.number(each.phone),
                desired=_or_none(hide, each.desired),
                before=_or_none(hide, each.before),
                after=_or_none(hide, each.after),
                error=_error(each.error, hide),
            )
            for each in account.numbers
        )
        return structs.replace(
            account,
            account=hide(account.account),
            account_id=_or_none(hide, account.account_id),
            refusals=_refusals(account.refusals, hide),
            error=_error(account.error, hide),
            numbers=tuple(numbers),
            notices=self._notices(account.notices, hide),
        )

    def _account_story(self, account: AccountRecord) -> AccountRecord:
        numbers = account.numbers
        groups = account.groups
        known = [each.phone for each in numbers or ()]
        hide = self._hider([*known, *(member for group in groups for member in group.members)])
        return structs.replace(
            account,
            account=hide(account.account),
            account_id=_or_none(hide, account.account_id),
            source=hide(account.source),
            error=_error(account.error, hide),
            groups=tuple(
                structs.replace(group, name=hide(group.name), members=tuple(map(self.number, group.members)))
                for group in groups
            ),
            numbers=None if numbers is None else tuple(self._number_story(each, hide) for each in numbers),
        )

    def _number_story(self, number: NumberRecord, hide: Callable[[str], str]) -> NumberRecord:
        attempts = (
            structs.replace(each, asked=hide(each.asked), error=_error(each.error, hide)) for each in number.attempts
        )
        return structs.replace(
            number,
            phone=self.number(number.phone),
            desired=_or_none(hide, number.desired),
            before=_or_none(hide, number.before),
            after=_or_none(hide, number.after),
            error=_error(number.error, hide),
            attempts=tuple(attempts),
        )

    def _notices(self, notices: Iterable[Notice], hide: Callable[[str], str]) -> tuple[Notice, ...]:
        return tuple(
            structs.replace(each, message=hide(each.message), phone=_or_none(self.number, each.phone))
            for each in notices
        )

    def _hider(self, phones: Collection[str]) -> Callable[[str], str]:
        """What masks a text: whatever looks like a number, and those of `phones` that look like none, such as 1335."""
        odd = {phone for phone in phones if not _NUMBER.fullmatch(phone)}

        @lru_cache(_TEXTS)
        def hide(text: str) -> str:
            if not _RUN.search(text):
                return text
            masked = self.text(text)
            return _DIGITS.sub(known, masked) if odd else masked

        def known(found: re.Match[str]) -> str:
            digits = re.sub("[- ]", "", found[0])
            if digits in odd:
                return self.number(digits)
            return _RUN.sub(lambda run: self.number(run[0]) if run[0] in odd else run[0], found[0])

        return hide

    def _hidden(self, text: str, patterns: Iterable[re.Pattern[str]]) -> str:
        """The text with what any pattern finds masked; where findings overlap, they are masked as one."""
        pieces, at = [], 0
        for start, end in _joined(sorted(found.span(1) for pattern in patterns for found in pattern.finditer(text))):
            pieces += [text[at:start], self._found(text[start:end])]
            at = end
        return "".join([*pieces, text[at:]]) if pieces else text

    def _found(self, written: str) -> str:
        digits = "".join(str(digit(char)) for char in written if char.isdecimal())
        abroad = _ABROAD.match(digits)
        if abroad is None:
            return self.number(digits)
        rest = digits[abroad.end() :]
        return self.number(rest if rest.startswith(("0", "15", "16", "18")) else f"0{rest}")


def _joined(spans: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Spans in their order, those that overlap as one."""
    joined: list[tuple[int, int]] = []
    for start, end in spans:
        if joined and start < joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((start, end))
    return joined


def _phones(notices: Iterable[Notice]) -> list[str]:
    return [notice.phone for notice in notices if notice.phone]


def _refusals(refusals: Iterable[Refusal], hide: Callable[[str], str]) -> tuple[Refusal, ...]:
    return tuple(structs.replace(each, message=hide(each.message)) for each in refusals)


def _error(error: Failed | None, hide: Callable[[str], str]) -> Failed | None:
    return None if error is None else structs.replace(error, code=hide(error.code), message=hide(error.message))


def _or_none(hide: Callable[[str], str], text: str | None) -> str | None:
    return None if text is None else hide(text)


def _mapped(value: Any, hide: Callable[[str], str]) -> Any:
    """A value of settings with `hide` over its texts."""
    match value:
        case str():
            return hide(value)
        case dict():
            return {key: _mapped(each, hide) for key, each in value.items()}
        case list() | tuple():
            return [_mapped(each, hide) for each in value]
        case _:
            return value
