"""Korean sender numbers: parsing, formatting and plausibility.

An account may have registered any number of 3 to 12 digits, and a registered number is valid by definition. So
`parse_digits` only reads digits, `normalise` refuses digits that were truncated on their way into a file, and
`why_implausible` returns why a number is unlikely to be registered. The library `phonenumbers` does not help: beyond
the table below it accepts foreign numbers behind a carrier's prefix, and numbers that lack digits.
"""

import re
from typing import Final
from unicodedata import name as unicode_name

from worker.model.messages import Message, PhoneNumber

__all__ = ["hyphenated", "is_listable", "normalise", "parse_digits", "parse_pattern", "why_implausible", "why_unusual"]

_AREA: Final = "3[1-3]|4[1-4]|5[1-5]|6[1-4]"
"""Area codes without the leading 0, from Gyeonggi (31) to Jeju (64). Seoul's 2 is handled separately."""

_is_ordinary: Final = re.compile(
    r"0(?:10\d{8}|70\d{8}|2[2-9]\d{6,7}|(?:" + _AREA + r")[2-9]\d{6,7}|80\d{7,8})|1[568]\d{6}|1\d{2,3}", re.ASCII
).fullmatch
"""Matches the most usual numbers: a fast path, because a file may list a million numbers."""

_DASHES: Final = "-\u2010\u2011\u2012\u2013\u2014\u2015\u2212"
_SEPARATORS: Final = dict.fromkeys(map(ord, " .()\u00a0\u2007\u2009\u202f\u3000" + _DASHES))
"""Separators between digits: spaces, hyphens, dashes, dots and parentheses."""

_match_international: Final = re.compile(r"(?:\+|00)?82(?=\d)(.*)", re.ASCII).fullmatch
_match_nationwide_or_special: Final = re.compile(r"1[568]\d{6}|1\d{2,3}", re.ASCII).fullmatch

_match_amount: Final = re.compile(r"\d[\d.,]*(?:,[\d.,]*|[eE][+-]?\d+)", re.ASCII).fullmatch
"""Matches a number that a spreadsheet turned into an amount, with a comma (1,000 or 1000,5) or an exponent (1E+10)."""
_match_several_numbers: Final = re.compile(r"\d{7,}(?:,\d{7,})+", re.ASCII).fullmatch
"""Matches several numbers separated by commas."""
_fraction: Final = re.compile(r"[.,]0*$", re.ASCII)
_match_decimal: Final = re.compile(r"\d+|\d{1,4}(?P<between>[.,])\d{3,4}(?:(?P=between)\d{3,4})*", re.ASCII).fullmatch
"""Matches digits without a fraction: in one piece, in thousands, or in the groups of a phone number."""
_find_extension: Final = re.compile(r"내선|교환|ext|[x#]\s*\d", re.IGNORECASE).search

_2G: Final = Message("is a mobile prefix of the 2G networks, which were shut down by 2021")
_UNUSED: Final = Message("is a prefix that no service uses")

_PREFIX_RULES: Final[dict[str, tuple[int, int, Message | None]]] = {
    "010": (11, 11, None),
    "011": (10, 11, _2G),
    "012": (10, 12, Message("is a prefix of machine-to-machine services")),
    "013": (10, 11, Message("is a prefix of trunked radio services")),
    "014": (10, 11, Message("is a prefix of data services")),
    "015": (10, 11, Message("is a prefix of pagers")),
    "016": (10, 11, _2G),
    "017": (10, 11, _2G),
    "018": (10, 11, _2G),
    "019": (10, 11, _2G),
    "020": (10, 12, _UNUSED),
    "030": (11, 12, None),
    "040": (10, 12, _UNUSED),
    "060": (10, 11, None),
    "070": (11, 11, None),
    "080": (10, 11, None),
    "090": (10, 12, _UNUSED),
}
"""Prefixes other than area codes, each with its minimum and maximum count of digits, and a reason to warn or None."""

_NATIONWIDE_PREFIXES: Final = frozenset({"15", "16", "18"})

_SHORT: Final = 4
"""Maximum count of digits of a special number, such as 112 or 1335."""

_match_area_special: Final = re.compile("1[0-9]{2,3}").fullmatch
"""Matches a special number of one area, such as Seoul's 02-120, without the area code."""

_NATIONWIDE: Final = 8
"""Count of digits of a nationwide number: 15xx, 16xx or 18xx."""

_LOCAL: Final = (7, 8)
"""Counts of digits of a number without its area code."""

_SHORTEST: Final = 3
_LONGEST: Final = 12
"""Minimum and maximum count of digits of a registered number."""

_FOREIGN: Final = Message("only Korean numbers can send: write the number with +82 or with its leading 0")
_MINUS: Final = Message("minus sign before the number: format the column as text and export it again")
_EXTENSION: Final = Message("a sender number has no extension: remove it")
_IN_RANGES: Final = "~\u223c\u301c\uff5e"
_BETWEEN_NUMBERS: Final = ",;/&\n"


def normalise(text: str) -> str:
    """Return the digits of a number that a file may list: `010-1234-5678`, `02) 312 4567`, `+82 (0)2-312-4567`.

    Spaces, hyphens, dashes, dots and parentheses are ignored. `+82`, `0082` and `82` become the leading 0. The number
    may be implausible: only the account shows whether it is registered.

    Raises:
        ValueError: the text is not a number of 3 to 12 digits, or lacks its leading 0. The message says what to write,
            if that is certain. It does not repeat the text.
    """
    digits = text.replace("-", "")
    if _is_ordinary(digits) and not text.startswith("-"):
        return digits
    digits = parse_digits(text)
    if digits.startswith("00"):
        raise ValueError(_FOREIGN)
    if _lacks_zero(digits):
        raise ValueError(_without_zero(digits))
    return digits


def parse_pattern(text: str) -> str:
    """Return a pattern of numbers: the digits of a number, or the first digits of numbers with `*`.

    Raises:
        ValueError: the text is neither a number nor such a pattern. The message does not repeat the text.
    """
    if "*" not in text:
        return normalise(text)
    digits = text.removesuffix("*").translate(_SEPARATORS)
    if not (text.endswith("*") and digits.isascii() and digits.isdigit() and _SHORTEST <= len(digits) < _LONGEST):
        message = Message(
            "write the first digits with one * at the end, such as 070-1234-*; at least {minimum} digits",
            minimum=_SHORTEST,
        )
        raise ValueError(message)
    return f"{digits}*"


def parse_digits(text: str) -> str:
    """Return the digits of any number that an account may have registered, even if it lacks its leading 0.

    The notations are those of `normalise`. Options and searches use this function, as they may name any registered
    number.

    Raises:
        ValueError: the text is not a number of 3 to 12 digits. The message does not repeat the text.
    """
    text_without_spaces = text.strip()
    if text_without_spaces[:1] in _DASHES and text_without_spaces[1:2].isdecimal():
        raise ValueError(_MINUS)
    if _match_amount(text_without_spaces) and not _match_several_numbers(text_without_spaces):
        raise ValueError(_converted_message(text_without_spaces, is_decimal="," not in text_without_spaces))
    bare = text_without_spaces.translate(_SEPARATORS)
    digits = bare.removeprefix("+")
    if not digits:
        raise ValueError(Message("no number: write one such as 010-1234-5678"))
    if not (digits.isascii() and digits.isdigit()):
        raise ValueError(_EXTENSION if _find_extension(text_without_spaces) else _bad_character(digits))
    digits = _national_digits(bare)
    if _is_decimal(text_without_spaces, digits):
        raise ValueError(_converted_message(text_without_spaces, is_decimal=True))
    length = len(digits)
    if length > _LONGEST:
        raise ValueError(
            Message(
                "{length} digits; a number has at most {maximum}: write one number only",
                length=length,
                maximum=_LONGEST,
            )
        )
    if length < _SHORTEST:
        raise ValueError(Message("too short for a Korean number: check its digits"))
    return digits


def is_listable(digits: str) -> bool:
    """Return True if `normalise` returns the digits unchanged, so that a file can list them."""
    try:
        return normalise(digits) == digits
    except ValueError:
        return False


def why_implausible(digits: str) -> Message | None:
    """Return why a number from `normalise` is unlikely to be registered; None if it is plausible."""
    if _is_ordinary(digits):
        return None
    length = len(digits)
    if not digits.startswith("0"):
        return _without_zero(digits)
    prefix = digits[:3]
    if prefix == "050":
        return Message("050 numbers forward calls and usually cannot be registered: list the number behind it")
    if prefix in _PREFIX_RULES:
        minimum, maximum, _ = _PREFIX_RULES[prefix]
        if minimum <= length <= maximum:
            return None
        return _wrong_length(prefix, minimum, maximum, length)
    area = re.match(f"02|0(?:{_AREA})", digits)
    if area is None:
        return Message("no Korean number starts with {prefix}: check its digits", prefix=prefix)
    if _fits_area(digits, area[0]):
        return None
    minimum = 9 if area[0] == "02" else 10
    return _wrong_length(area[0], minimum, minimum + 1, length)


def _wrong_length(prefix: str, minimum: int, maximum: int, length: int) -> Message:
    if minimum == maximum:
        return Message(
            "{prefix} numbers have {maximum} digits, this one has {length}: check its digits",
            prefix=prefix,
            maximum=maximum,
            length=length,
        )
    return Message(
        "{prefix} numbers have {minimum} to {maximum} digits, this one has {length}: check its digits",
        prefix=prefix,
        minimum=minimum,
        maximum=maximum,
        length=length,
    )


def why_unusual(digits: str) -> Message | None:
    """Return a warning for a number from `normalise` that is probably a mistake, else None."""
    if len(digits) == _SHORT and digits[:2] in _NATIONWIDE_PREFIXES:
        return Message("looks like an incomplete nationwide number, which has 8 digits such as 1588-1234: check it")
    if _is_ordinary(digits):
        return None
    if reason := why_implausible(digits):
        return Message("{reason}; a plan refuses it unless it is registered", reason=reason)
    prefix = digits[:3]
    if prefix in _PREFIX_RULES:
        warning = _PREFIX_RULES[prefix][2]
        return warning and Message("{prefix} {reason}: check that the number is yours", prefix=prefix, reason=warning)
    subscriber = digits[2:] if digits.startswith("02") else digits[3:]
    if re.fullmatch("1[568][0-9]{6}", subscriber):
        return Message(
            "looks like the nationwide number {phone} after an area code: remove the area code",
            phone=PhoneNumber(subscriber),
        )
    if _match_area_special(subscriber):
        return None
    if subscriber.startswith(("0", "1")):
        return Message("after an area code a number starts with 2 to 9: check it")
    return Message("unusual length for its area code: check it")


def _national_digits(bare: str) -> str:
    """Return the digits with a leading 0 instead of the country code.

    Raises:
        ValueError: the number is not a Korean one.
    """
    if match := _match_international(bare):
        rest: str = match[1]
        return rest if rest.startswith("0") or _match_nationwide_or_special(rest) else f"0{rest}"
    if bare.startswith("+") or (bare.startswith("00") and len(bare) > _LONGEST):
        raise ValueError(_FOREIGN)
    return bare


def _is_decimal(text: str, digits: str) -> bool:
    """Return True if the last dot in `text` starts a decimal fraction, not the last group of a phone number.

    Digits after the last dot are a fraction if all of them are zeros (`15881234.0`), but not in `010.1234.0000`. If
    there is only one dot, they are also a fraction if they are fewer than three, or if more than four digits without a
    leading 0 come before the dot. `digits` is the whole number without separators.
    """
    head, dot, tail = text.rpartition(".")
    if not dot:
        return False
    tail = tail.translate(_SEPARATORS)
    if not tail.strip("0"):
        return not ("." in head and tail == "0000" and why_implausible(digits) is None)
    amount = len(head) > _SHORT and head.isdecimal() and not head.startswith("0")
    return "." not in head and tail.isdecimal() and (len(tail) < _SHORTEST or amount)


def _converted_message(text: str, *, is_decimal: bool) -> Message:
    """Return the message for a number that a spreadsheet converted, with the original number if it is certain."""
    integer = _fraction.sub("", text)
    integer_digits, all_digits = (re.sub("[^0-9]", "", part) for part in (integer, text))
    readings = {
        reading for digits in (integer_digits, all_digits) for reading in (digits, f"0{digits}") if _is_usual(reading)
    }
    number, *alternatives = readings or {""}
    if (
        number in {integer_digits, f"0{integer_digits}"}
        and not alternatives
        and _match_decimal(re.sub("[^0-9.,eE]", "", integer))
    ):
        phone = PhoneNumber(number)
        if is_decimal:
            return Message("a spreadsheet converted this number to a decimal: write {phone}", phone=phone)
        return Message("a spreadsheet converted this number to an amount: write {phone}", phone=phone)
    if is_decimal:
        return Message(
            "a spreadsheet converted this number to a decimal: format the column as text and export it again"
        )
    return Message("a spreadsheet converted this number to an amount: format the column as text and export it again")


def _bad_character(text: str) -> Message:
    """Return the message for the first character that is not a digit."""
    char = next(char for char in text if char not in "0123456789")
    name = _describe(char)
    if char.isdigit() or char.isnumeric():
        return Message("character {char}: write the digits 0 to 9 in plain ASCII", char=name)
    if char.isalpha():
        return Message("letter {char}: a number has only digits, such as 010-1234-5678", char=name)
    if char == "+":
        return Message("+ is allowed only at the start, as in +82 10-1234-5678")
    if char in _IN_RANGES:
        return Message("character {char}: list each number of a range separately", char=name)
    if char in _BETWEEN_NUMBERS:
        return Message("character {char}: write one number only", char=name)
    if not char.isprintable():
        return Message("invisible character {char}: type the number instead of pasting it", char=name)
    return Message("character {char}: only hyphens, spaces, dots and parentheses may separate digits", char=name)


def _describe(char: str) -> str:
    label = f"'{char}'" if char.isascii() and char.isprintable() else f"U+{ord(char):04X}"
    description = "" if char.isascii() else unicode_name(char, "").lower()
    return f"{label} ({description})" if description else label


def _fits_area(digits: str, area: str) -> bool:
    """Return True if a number has a valid length for its area code, or is a special number of the area."""
    subscriber = digits[len(area) :]
    minimum, maximum = (7, 8) if area == "02" else (6, 8)
    return minimum <= len(subscriber) <= maximum or bool(_match_area_special(subscriber))


def _is_usual(digits: str) -> bool:
    return _is_ordinary(digits) is not None and why_unusual(digits) is None


def _lacks_zero(digits: str) -> bool:
    """Return True if the digits are a plausible number without its leading zero."""
    if digits.startswith("0") or _is_ordinary(digits) or _is_cut_nationwide(digits):
        return False
    full_number = f"0{digits}"
    return why_implausible(full_number) is None and _PREFIX_RULES.get(full_number[:3], (0, 0, None))[2] is None


def _is_cut_nationwide(digits: str) -> bool:
    return digits[:2] in _NATIONWIDE_PREFIXES and _SHORT < len(digits) <= _NATIONWIDE + 1


def _without_zero(digits: str) -> Message:
    """Return the message for digits without a leading 0 that are not a nationwide or special number."""
    length = len(digits)
    if _is_cut_nationwide(digits):
        return Message(
            "{prefix}xx numbers have exactly 8 digits and no area code, this one has {length}: check its digits",
            prefix=digits[:2],
            length=length,
        )
    if length <= _SHORT:
        return Message("only special numbers, which start with 1, have three or four digits, such as 1335: check it")
    if length in _LOCAL:
        return Message("missing area code or leading 0: write the whole number, such as 02-312-4567")
    if _is_usual(f"0{digits}"):
        return Message(
            "missing leading 0, which spreadsheets and YAML tools may drop: write {phone}",
            phone=PhoneNumber(f"0{digits}"),
        )
    return Message("a number starts with 0, or has 8 digits and starts with 15, 16 or 18: check its digits")


_SHAPES: Final = tuple(
    re.compile(shape, re.ASCII)
    for shape in (
        r"(1[568]\d\d)(\d{4})",  # representative numbers: 1588-1234
        r"(02)(\d{3,5})(\d{4})",  # Seoul: 02-312-4567
        r"(0[35]0\d)(\d{3,4})(\d{4})",  # personal and forwarding services: 0303-123-4567
        r"(0\d\d)(\d{2,5})(\d{4})",  # everything else: 010-1234-5678, 031-123-4567
    )
)


def hyphenated(digits: str) -> str:
    """Format a number in its usual groups, such as 010-1234-5678. One without groups, such as 112, stays unchanged."""
    for shape in _SHAPES:
        if match := shape.fullmatch(digits):
            return "-".join(match.groups())
    return digits
