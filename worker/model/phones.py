"""Korean sender numbers: from every way that people write them to digits, and which of them are plausible.

An account may have registered any number of 3 to 12 digits, and what is registered is right by definition. So three
questions are kept apart: `digits_of` answers what the digits are, `normalise` refuses digits that lost something on
their way into a file, and `implausible` says why a number cannot exist unless an account has registered it. The library
`phonenumbers` is not asked: what it takes for valid beyond the table below are numbers of other countries behind a
carrier's prefix, and some that lack digits.
"""

import re
from typing import Final
from unicodedata import name as unicode_name

from worker.model.messages import Message

__all__ = ["hyphenated", "is_listable", "normalise", "parse_digits", "why_implausible", "why_unusual"]

_AREA: Final = "3[1-3]|4[1-4]|5[1-5]|6[1-4]"
"""Area codes without their zero, Seoul's 2 aside: Gyeonggi 31 to Jeju 64."""

_ordinary: Final = re.compile(
    r"0(?:10\d{8}|70\d{8}|2[2-9]\d{6,7}|(?:" + _AREA + r")[2-9]\d{6,7}|80\d{7,8})|1[568]\d{6}|1\d{2,3}", re.ASCII
).fullmatch
"""Numbers that need no second look: settled in one step, as a file may hold a million of them."""

_DASHES: Final = "-\u2010\u2011\u2012\u2013\u2014\u2015\u2212"
_SEPARATORS: Final = dict.fromkeys(map(ord, " .()\u00a0\u2007\u2009\u202f\u3000" + _DASHES))
"""What people and their word processors put between digits: spaces, hyphens, dashes, dots and parentheses."""

_international: Final = re.compile(r"(?:\+|00)?82(?=\d)(.*)", re.ASCII).fullmatch
_national: Final = re.compile(r"1[568]\d{6}|1\d{2,3}", re.ASCII).fullmatch

_amount: Final = re.compile(r"\d[\d.,]*(?:,[\d.,]*|[eE][+-]?\d+)", re.ASCII).fullmatch
"""How spreadsheets write amounts: a comma between thousands or before decimals, or an exponent."""
_several: Final = re.compile(r"\d{7,}(?:,\d{7,})+", re.ASCII).fullmatch
_fraction: Final = re.compile(r"[.,]0*$", re.ASCII)
_whole: Final = re.compile(r"\d+|\d{1,4}(?P<between>[.,])\d{3,4}(?:(?P=between)\d{3,4})*", re.ASCII).fullmatch
"""Digits without a fraction: in one piece, in thousands, or in the groups of a phone number."""
_extension: Final = re.compile(r"내선|교환|ext|[x#]\s*\d", re.IGNORECASE).search

_2G: Final = Message("is a mobile prefix of the 2G networks, which were shut down by 2021")
_UNUSED: Final = Message("is a prefix that no service uses")

_SERVICES: Final[dict[str, tuple[int, int, str | None]]] = {
    "010": (11, 11, None),
    "011": (10, 11, _2G),
    "012": (10, 12, Message("is a prefix of machines that talk to machines")),
    "013": (10, 11, Message("is a prefix of trunked radio")),
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
"""Prefixes that are no area code: the fewest and the most digits, and what is odd about such a sender number."""

_NATIONWIDE_PREFIXES: Final = frozenset({"15", "16", "18"})

_SHORT: Final = 4
"""Special numbers, such as 112 and 1335, have three or four digits."""

_IN_AREA: Final = re.compile("1[0-9]{2,3}").fullmatch
"""Special numbers of one area, such as Seoul's 02-120, without the area code."""

_NATIONWIDE: Final = 8
"""Digits of 15xx, 16xx and 18xx numbers."""

_LOCAL: Final = (7, 8)
"""Digits of a number without its area code."""

_SHORTEST: Final = 3
_LONGEST: Final = 12
"""Digits of the shortest and of the longest number that an account can have registered."""

_FOREIGN: Final = Message("only Korean numbers can send: write the number with +82 or with its leading 0")
_MINUS: Final = Message("a number has no minus before it: format the column as text and export it anew")
_EXTENSION: Final = Message("an extension is not part of a sender number: leave it out")
_IN_RANGES: Final = "~\u223c\u301c\uff5e"
_BETWEEN_NUMBERS: Final = ",;/&\n"


def normalise(text: str) -> str:
    """Return the digits of a number that a file may list: `010-1234-5678`, `02) 312 4567`, `+82 (0)2-312-4567`.

    Spaces, hyphens, dashes, dots and parentheses may stand anywhere. `+82`, `0082` and `82` give way to the zero that
    they stand for. The number may be implausible: only an account knows whether it is registered.

    Raises:
        ValueError: the text is not a number of 3 to 12 digits, or the digits lost their leading zero on the way. The
            message says what to write, where there is one answer only. It does not repeat the text.
    """
    digits = text.replace("-", "")
    if _ordinary(digits) and not text.startswith("-"):
        return digits
    digits = parse_digits(text)
    if digits.startswith("00"):
        raise ValueError(_FOREIGN)
    if _lacks_zero(digits):
        raise ValueError(_without_zero(digits))
    return digits


def parse_digits(text: str) -> str:
    """Return the digits of any number that an account may have registered, as `normalise` reads them.

    For options and searches that find what is there already, so that no digits are refused.

    Raises:
        ValueError: the text is not a number of 3 to 12 digits. The message does not repeat the text.
    """
    written = text.strip()
    if written[:1] in _DASHES and written[1:2].isdecimal():
        raise ValueError(_MINUS)
    if _amount(written) and not _several(written):
        decimal = "," not in written
        raise ValueError(_spoilt(Message("a decimal") if decimal else Message("an amount"), written))
    bare = written.translate(_SEPARATORS)
    digits = bare.removeprefix("+")
    if not digits:
        raise ValueError(Message("there is no number: write one such as 010-1234-5678"))
    if not (digits.isascii() and digits.isdigit()):
        raise ValueError(_EXTENSION if _extension(written) else _stranger(digits))
    digits = _national_digits(bare)
    if _is_decimal(written, digits):
        raise ValueError(_spoilt(Message("a decimal"), written))
    length = len(digits)
    if length > _LONGEST:
        raise ValueError(
            Message(
                "it has {length} digits and no number has more than {longest}: are these two numbers?",
                length=length,
                longest=_LONGEST,
            )
        )
    if length < _SHORTEST:
        raise ValueError(Message("it is too short for a Korean number: check it digit by digit"))
    return digits


def is_listable(digits: str) -> bool:
    """Return True if a file that lists a registered number names exactly this one."""
    try:
        return normalise(digits) == digits
    except ValueError:
        return False


def why_implausible(digits: str) -> str | None:
    """Return why no account is likely to have a number, given by `normalise`, or None where one may well have it."""
    if _ordinary(digits):
        return None
    length = len(digits)
    if not digits.startswith("0"):
        return _without_zero(digits)
    prefix = digits[:3]
    if prefix == "050":
        return Message("050 numbers forward calls and cannot be registered as a rule: list the number behind it")
    if prefix in _SERVICES:
        least, most, _ = _SERVICES[prefix]
        if least <= length <= most:
            return None
        wanted = f"{least}" if least == most else Message("{least} to {most}", least=least, most=most)
        return Message(
            "{prefix} numbers have {wanted} digits, this one has {length}: check it digit by digit",
            prefix=prefix,
            wanted=wanted,
            length=length,
        )
    area = re.match(f"02|0(?:{_AREA})", digits)
    if area is None:
        return Message("no Korean number begins with {prefix}: check it digit by digit", prefix=prefix)
    if _fits_area(digits, area[0]):
        return None
    least = 9 if area[0] == "02" else 10
    return Message(
        "{area} numbers have {least} or {most} digits, this one has {length}: check it digit by digit",
        area=area[0],
        least=least,
        most=least + 1,
        length=length,
    )


def why_unusual(digits: str) -> str | None:
    """Return a sentence about a number, given by `normalise`, that is probably a mistake, else None."""
    if len(digits) == _SHORT and digits[:2] in _NATIONWIDE_PREFIXES:
        return Message(
            "it looks like the beginning of a nationwide number, which has 8 digits such as 1588-1234: check it"
        )
    if _ordinary(digits):
        return None
    if reason := why_implausible(digits):
        return Message("{reason}; a plan refuses it unless it is registered", reason=reason)
    prefix = digits[:3]
    if prefix in _SERVICES:
        odd = _SERVICES[prefix][2]
        return odd and Message("{prefix} {odd}: check that the number is yours", prefix=prefix, odd=odd)
    subscriber = digits[2:] if digits.startswith("02") else digits[3:]
    if re.fullmatch("1[568][0-9]{6}", subscriber):
        return Message(
            "it looks like the nationwide number {subscriber} with an area code before it, which it must not have",
            subscriber=subscriber,
        )
    if _IN_AREA(subscriber):
        return None
    if subscriber.startswith(("0", "1")):
        return Message("after an area code a number begins with 2 to 9: check it")
    return Message("it is shorter or rarer than usual for its area code: check it")


def _national_digits(bare: str) -> str:
    """Return digits with the leading zero in place of the country code."""
    if match := _international(bare):
        rest: str = match[1]
        return rest if rest.startswith("0") or _national(rest) else f"0{rest}"
    if bare.startswith("+") or (bare.startswith("00") and len(bare) > _LONGEST):
        raise ValueError(_FOREIGN)
    return bare


def _is_decimal(written: str, digits: str) -> bool:
    """Return True if the last dot begins a fraction rather than the last group of a number.

    A fraction is nothing but zeros (`15881234.0`). Behind the only dot it may also be shorter than any last group, or
    follow more digits than any group has, which begin with no zero. `010.1234.0000` is a number.
    """
    head, dot, tail = written.rpartition(".")
    if not dot:
        return False
    tail = tail.translate(_SEPARATORS)
    if not tail.strip("0"):
        return not ("." in head and tail == "0000" and why_implausible(digits) is None)
    amount = len(head) > _SHORT and head.isdecimal() and not head.startswith("0")
    return "." not in head and tail.isdecimal() and (len(tail) < _SHORTEST or amount)


def _spoilt(what: str, written: str) -> str:
    """Return why a number is refused of which a spreadsheet has made something else, with the number where one fits."""
    integer = _fraction.sub("", written)
    whole, every = (re.sub("[^0-9]", "", text) for text in (integer, written))
    readings = {reading for digits in (whole, every) for reading in (digits, f"0{digits}") if _is_usual(reading)}
    number, *others = readings or {""}
    if number in {whole, f"0{whole}"} and not others and _whole(re.sub("[^0-9.,eE]", "", integer)):
        return Message("a spreadsheet has made {what} of this number: write {number}", what=what, number=number)
    return Message(
        "a spreadsheet has made {what} of this number: format the column as text and export it anew", what=what
    )


def _stranger(text: str) -> str:
    """Return why text that is not only digits is refused, by its first character that is not one."""
    char = next(char for char in text if char not in "0123456789")
    if char.isdigit() or char.isnumeric():
        return Message("it has the character {char}: write the digits 0 to 9 as plain ASCII", char=_named(char))
    if char.isalpha():
        return Message("it has the letter {char}: a number is made of digits, such as 010-1234-5678", char=_named(char))
    if char == "+":
        return Message("a + can only stand at the beginning, as in +82 10-1234-5678")
    if char in _IN_RANGES:
        return Message("it has the character {char}: list each number of a range by itself", char=_named(char))
    if char in _BETWEEN_NUMBERS:
        return Message("it has the character {char}: write one number only", char=_named(char))
    if not char.isprintable():
        return Message(
            "it has the invisible character {char}: type the number anew instead of pasting it", char=_named(char)
        )
    return Message(
        "it has the character {char}: between digits only hyphens, spaces, dots and parentheses may stand",
        char=_named(char),
    )


def _named(char: str) -> str:
    shown = f"'{char}'" if char.isascii() and char.isprintable() else f"U+{ord(char):04X}"
    described = "" if char.isascii() else unicode_name(char, "").lower()
    return f"{shown} ({described})" if described else shown


def _fits_area(digits: str, area: str) -> bool:
    """Return True if what follows fits an area code: 7 or 8 digits, 6 outside Seoul, or a special number."""
    subscriber = digits[len(area) :]
    least, most = (7, 8) if area == "02" else (6, 8)
    return least <= len(subscriber) <= most or bool(_IN_AREA(subscriber))


def _is_usual(digits: str) -> bool:
    return _ordinary(digits) is not None and why_unusual(digits) is None


def _lacks_zero(digits: str) -> bool:
    """Return True if digits are those of a plausible number whose leading zero was dropped."""
    if digits.startswith("0") or _ordinary(digits) or _is_cut_nationwide(digits):
        return False
    whole = f"0{digits}"
    return why_implausible(whole) is None and _SERVICES.get(whole[:3], (0, 0, None))[2] is None


def _is_cut_nationwide(digits: str) -> bool:
    return digits[:2] in _NATIONWIDE_PREFIXES and _SHORT < len(digits) <= _NATIONWIDE + 1


def _without_zero(digits: str) -> str:
    """Return what is wrong with digits that begin with no 0 and are no nationwide or special number."""
    length = len(digits)
    if _is_cut_nationwide(digits):
        return Message(
            "{digits}xx numbers have exactly 8 digits and no area code, this one has {length}: check it digit by digit",
            digits=digits[:2],
            length=length,
        )
    if length <= _SHORT:
        return Message("only special numbers, which begin with 1, have three or four digits, such as 1335: check it")
    if length in _LOCAL:
        return Message("it has no area code, or lost its leading 0: write the whole number, such as 02-312-4567")
    if _is_usual(f"0{digits}"):
        return Message(
            "its leading 0 is missing, which spreadsheets and YAML tools like to drop: write 0{digits}", digits=digits
        )
    return Message("a number begins with 0, or has 8 digits and begins with 15, 16 or 18: check it digit by digit")


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
    """A number in the usual groups, such as 010-1234-5678; as it came where there are none, as in 112."""
    for shape in _SHAPES:
        if match := shape.fullmatch(digits):
            return "-".join(match.groups())
    return digits
