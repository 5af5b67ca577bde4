"""Masking of phone numbers by an example: `010****5678` shows three digits, stars, and four digits."""

import re
from collections.abc import Callable, Collection, Iterable
from enum import Enum
from functools import cache, lru_cache
from typing import Any, Final, Self, TypeVar, get_args, get_type_hints
from unicodedata import digit

from msgspec import Struct, structs

from worker.model.messages import Message, PhoneNumber
from worker.model.plans import Phone, Timestamp

__all__ = ["Mask"]

_MIN_DIGITS: Final = 3
"""Minimum count of digits that a mask must hide, as fewer could be guessed."""
_LONGEST: Final = 12

_BETWEEN: Final = r"(?:[^\w:]|_){0,3}"
"""Separators that may stand between two digits of one number. A colon is not one: it belongs to a time of day."""
_SHAPE: Final = rf"""
    (?: (?:\+|00)82 {_BETWEEN} (?:\d{_BETWEEN}){{2,10}} \d
      | 82 {_BETWEEN} [1-7] {_BETWEEN} (?:\d{_BETWEEN}){{6,9}} \d
      | [0\uff10] {_BETWEEN} (?:\d{_BETWEEN}){{7,10}} \d
      | 1[568]\d\d {_BETWEEN} \d{{4}} )
    (?!\d)"""
_MOBILE: Final = r"(?:82)?0?10[\Wx_]{0,4}\d{4}[\Wx_]{0,4}\d{4}(?!\d)"
"""A mobile number. Up to four separators may stand between its groups of digits."""
_NUMBER: Final = re.compile(rf"(?x) (?<!\d) {_SHAPE}")
"""Pattern of a text that looks like a Korean phone number."""
_IN_TEXT: Final = tuple(re.compile(rf"(?x) (?<!\d) (?=({shape}))") for shape in (_SHAPE, _MOBILE))
"""Patterns of Korean phone numbers in a text. A lookahead matches at every first digit, as matches may overlap."""
_IN_LINE: Final = (
    re.compile(r"""(?x) (?<= "phone":") (?=(\d{3,12})")"""),
    *(re.compile(rf"""(?x) (?<!\d) (?<![^\\]":) (?=({shape}))""") for shape in (_SHAPE, _MOBILE)),
)
"""Patterns of phone numbers in a line of JSON.

The field `phone` may have any length. A JSON number, which follows a colon without a quote, is not a phone number.
"""
_DIGITS: Final = re.compile(r"(?<!\d)\d(?:[- ]?\d){2,11}(?!\d)")
_RUN: Final = re.compile(r"\d+")
_ABROAD: Final = re.compile(r"(?:00)?82")
_TEXTS: Final = 4096
"""Maximum count of masked texts in the cache. A small cache suffices, as thousands of numbers share a few reasons."""

_PHONES: Final = frozenset({"members"})
"""Fields that contain phone numbers although their type is `str`."""
_IDENTIFIERS: Final = frozenset(
    {"schema", "run_id", "fingerprint", "sha256", "commit", "version", "plan"}
    | {"host", "started_by", "endpoint", "timezone", "credentials", "safety", "in_use", "rule"}
)
"""Fields with names, hashes and limits. Their digits are not phone numbers and are not masked."""

Document = TypeVar("Document", bound=Struct)


class Mask:
    """A mask of phone numbers: `head` digits are shown, at least `stars` are hidden, and `tail` digits are shown.

    If a number is shorter than the example, fewer digits are shown, so that `stars` digits are still hidden.
    """

    def __init__(self, head: int, stars: int, tail: int) -> None:
        self.head = head
        self.stars = stars
        self.tail = tail

    @classmethod
    def of(cls, example: str) -> Self:
        """Return the mask of an example such as 010****5678 or 010-****-5678.

        Raises:
            ValueError: the example is not a valid mask; the message has the reason.
        """
        match = re.fullmatch(r"([0-9]*)(\*+)([0-9]*)", example.replace("-", ""))
        if match is None or len(match[0]) > _LONGEST:
            raise ValueError(Message("a mask is a number with stars for the digits to be hidden: 010****5678"))
        if len(match[2]) < _MIN_DIGITS:
            raise ValueError(Message("a mask hides {minimum} digits or more: 010****5678", minimum=_MIN_DIGITS))
        return cls(len(match[1]), len(match[2]), len(match[3]))

    def number(self, digits: str) -> str:
        """Return the digits of a phone number, with stars in place of the hidden ones."""
        visible = max(len(digits) - self.stars, 0)
        tail = min(self.tail, visible)
        head = min(self.head, visible - tail)
        return digits[:head] + "*" * (len(digits) - head - tail) + digits[len(digits) - tail :]

    def text(self, text: str) -> str:
        """Return the text with everything masked that looks like a Korean phone number."""
        return self._mask_matches(text, _IN_TEXT)

    def line(self, line: str) -> str:
        """Return a log line in which phone numbers are masked. A JSON line stays valid JSON."""
        return self._mask_matches(line, _IN_LINE) if line.startswith("{") else self.text(line)

    def document(self, document: Document) -> Document:
        """Return a plan, a result, a run or another document in which phone numbers are masked."""
        phones: list[str] = []

        def note(phone: str) -> str:
            phones.append(phone)
            return phone

        _walk(document, note, str)
        result: Document = _walk(document, self.number, self._make_text_masker(phones))
        return result

    def _make_text_masker(self, phones: Collection[str]) -> Callable[[str], str]:
        """Return a function that masks the phone numbers in a text.

        It masks the numbers of `phones` even if they do not look like Korean phone numbers, such as 1335.
        """
        odd = {phone for phone in phones if not _NUMBER.fullmatch(phone)}

        @lru_cache(_TEXTS)
        def mask_text(text: str) -> str:
            if not _RUN.search(text):
                return text
            result = self.text(text)
            return _DIGITS.sub(mask_known, result) if odd else result

        def mask_known(match: re.Match[str]) -> str:
            digits = re.sub("[- ]", "", match[0])
            if digits in odd:
                return self.number(digits)
            return _RUN.sub(lambda run: self.number(run[0]) if run[0] in odd else run[0], match[0])

        return mask_text

    def _mask_matches(self, text: str, patterns: Iterable[re.Pattern[str]]) -> str:
        """Return the text with every match of the patterns masked. Overlapping matches are masked as one."""
        pieces, at = [], 0
        for start, end in _merge(sorted(match.span(1) for pattern in patterns for match in pattern.finditer(text))):
            pieces += [text[at:start], self._mask_match(text[start:end])]
            at = end
        return "".join([*pieces, text[at:]]) if pieces else text

    def _mask_match(self, text: str) -> str:
        digits = "".join(str(digit(char)) for char in text if char.isdecimal())
        abroad = _ABROAD.match(digits)
        if abroad is None:
            return self.number(digits)
        national = digits[abroad.end() :]
        return self.number(national if national.startswith(("0", "15", "16", "18")) else f"0{national}")


def _merge(spans: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return the spans, with overlapping ones merged."""
    merged_spans: list[tuple[int, int]] = []
    for start, end in spans:
        if merged_spans and start < merged_spans[-1][1]:
            merged_spans[-1] = (merged_spans[-1][0], max(end, merged_spans[-1][1]))
        else:
            merged_spans.append((start, end))
    return merged_spans


def _walk(value: Any, phone: Callable[[str], str], text: Callable[[str], str], *, are_phones: bool = False) -> Any:
    """Return a value in which `phone` replaces phone numbers and `text` replaces other texts.

    With `are_phones`, all texts of the value are phone numbers.
    """
    match value:
        case Enum() if value.name in type(value).__members__:
            return value
        case Message():
            return value.map_texts(lambda part: phone(part) if isinstance(part, PhoneNumber) else text(part))
        case str():
            return phone(value) if are_phones else text(value)
        case Struct():
            fields = _texts(type(value)).items()
            values = {name: _walk(getattr(value, name), phone, text, are_phones=inner) for name, inner in fields}
            return structs.replace(value, **values)
        case dict():
            return {key: _walk(item, phone, text) for key, item in value.items()}
        case list() | tuple():
            return type(value)(_walk(item, phone, text, are_phones=are_phones) for item in value)
        case _:
            return value


@cache
def _texts(kind: type[Struct]) -> dict[str, bool]:
    """Return the fields of a type that can contain phone numbers; True if their texts are phone numbers."""
    hints = get_type_hints(kind, include_extras=True)
    return {
        name: name in _PHONES or _mentions(hint, Phone)
        for name, hint in hints.items()
        if name not in _IDENTIFIERS and not _mentions(hint, Timestamp)
    }


def _mentions(hint: object, alias: object) -> bool:
    return hint == alias or any(_mentions(argument, alias) for argument in get_args(hint))
