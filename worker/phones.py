"""Korean sender numbers: from every way that people write them to digits, and what cannot be one.

The rules are those of the Korean numbering plan for numbers that may stand as the sender of a message. A number that an
account has registered is right whatever is thought of it here, so that only what cannot exist is refused; what could
exist and rarely does is a matter for `oddity`. The library `phonenumbers` is not asked: what it takes for valid beyond
the table below are numbers of other countries behind a carrier's prefix, and some that lack digits.
"""

import re
from typing import Final
from unicodedata import name as unicode_name

__all__ = ["normalise", "oddity"]

_AREA: Final = "3[1-3]|4[1-4]|5[1-5]|6[1-4]"
"""Area codes without their zero, Seoul's 2 aside: Gyeonggi 31 to Jeju 64."""

_ordinary: Final = re.compile(
    r"0(?:10\d{8}|70\d{8}|2[2-9]\d{6,7}|(?:" + _AREA + r")[2-9]\d{6,7}|80\d{7,8})|1[568]\d{6}|1\d{2,3}", re.ASCII
).fullmatch
"""Numbers that need no second look: settled in one step, as a file may hold a million of them."""

_SEPARATORS: Final = dict.fromkeys(
    map(ord, " -.()\u00a0\u2007\u2009\u202f\u3000\u2010\u2011\u2012\u2013\u2014\u2015\u2212"),
)
"""What people and their word processors put between digits: spaces, hyphens, dashes, dots and parentheses."""

_international: Final = re.compile(r"(?:\+|00)?82(?=\d)(.*)", re.ASCII).fullmatch
_national: Final = re.compile(r"1[568]\d{6}|1\d{2,3}", re.ASCII).fullmatch

_2G: Final = "is a mobile prefix of the 2G networks, which were shut down by 2021"
_UNUSED: Final = "is a prefix that no service uses"

_SERVICES: Final[dict[str, tuple[int, int, str | None]]] = {
    "010": (11, 11, None),
    "011": (10, 11, _2G),
    "012": (10, 12, "is a prefix of machines that talk to machines"),
    "013": (10, 11, "is a prefix of trunked radio"),
    "014": (10, 11, "is a prefix of data services"),
    "015": (10, 11, "is a prefix of pagers"),
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

_SHORT: Final = 4
"""Special numbers, such as 112 and 1335, have three or four digits."""

_IN_AREA: Final = re.compile("1[0-9]{2,3}").fullmatch
"""Special numbers of one area, such as Seoul's 02-120, without the area code."""

_NATIONWIDE: Final = 8
"""Digits of 15xx, 16xx and 18xx numbers."""

_LOCAL: Final = (7, 8)
"""Digits of a number without its area code."""

_LONGEST: Final = 12
"""No number that can be dialled in Korea is longer."""


def normalise(text: str) -> str:
    """The digits of a number, however it is written: `010-1234-5678`, `02) 312 4567`, `+82 (0)2-312-4567`.

    Spaces, hyphens, dashes, dots and parentheses may stand anywhere. `+82`, `0082` and `82` give way to the zero that
    they stand for.

    Raises:
        ValueError: with a sentence that says why it cannot be a sender number, and what to write. The sentence does not
            repeat the text.
    """
    digits = text.replace("-", "")
    if _ordinary(digits):
        return digits
    digits = _digits(text.strip().translate(_SEPARATORS))
    if not _ordinary(digits):
        _check(digits)
    return digits


def oddity(digits: str) -> str | None:
    """A sentence about a number, given by `normalise`, that could exist but is probably a mistake, else None."""
    if len(digits) == _SHORT and digits[:2] in {"15", "16", "18"}:
        return "it looks like the beginning of a nationwide number, which has 8 digits such as 1588-1234: check it"
    if _ordinary(digits):
        return None
    prefix = digits[:3]
    if prefix in _SERVICES:
        odd = _SERVICES[prefix][2]
        return odd and f"{prefix} {odd}: check that the number is yours"
    subscriber = digits[2:] if digits.startswith("02") else digits[3:]
    if re.fullmatch("1[568][0-9]{6}", subscriber):
        return f"it looks like the nationwide number {subscriber} with an area code before it, which it must not have"
    if _IN_AREA(subscriber):
        return None
    if subscriber.startswith(("0", "1")):
        return "after an area code a number begins with 2 to 9: check it"
    return "it is shorter or rarer than usual for its area code: check it"


def _digits(text: str) -> str:
    """Digits alone, with the leading zero in place of the country code."""
    bare = text.removeprefix("+")
    if not bare:
        raise ValueError("there is no number: write one such as 010-1234-5678")
    if not (bare.isascii() and bare.isdigit()):
        raise ValueError(_stranger(bare))
    if match := _international(text):
        rest: str = match[1]
        if rest.startswith("0") or _national(rest):
            return rest
        return f"0{rest}"
    if text.startswith(("+", "00")):
        raise ValueError("only Korean numbers can send: write the number with +82 or with its leading 0")
    return text


def _stranger(text: str) -> str:
    """Why text that is not only digits is refused, by its first character that is none."""
    char = next(char for char in text if char not in "0123456789")
    if char.isdigit() or char.isnumeric():
        return f"it has the character {_named(char)}: write the digits 0 to 9 as plain ASCII"
    if char.isalpha():
        return f"it has the letter {_named(char)}: a number is made of digits, such as 010-1234-5678"
    if char == "+":
        return "a + can only stand at the beginning, as in +82 10-1234-5678"
    if not char.isprintable():
        return f"it has the invisible character {_named(char)}: type the number anew instead of pasting it"
    return f"it has the character {_named(char)}: between digits only hyphens, spaces, dots and parentheses may stand"


def _named(char: str) -> str:
    shown = f"'{char}'" if char.isascii() and char.isprintable() else f"U+{ord(char):04X}"
    described = "" if char.isascii() else unicode_name(char, "").lower()
    return f"{shown} ({described})" if described else shown


def _check(digits: str) -> None:
    """Refuse digits that no Korean sender number can have."""
    length = len(digits)
    if length > _LONGEST:
        raise ValueError(f"it has {length} digits and no number has more than {_LONGEST}: are these two numbers?")
    if not digits.startswith("0"):
        raise ValueError(_without_zero(digits))
    prefix = digits[:3]
    if prefix == "050":
        raise ValueError("050 numbers forward calls and cannot be sender numbers: give the number behind it")
    if prefix in _SERVICES:
        least, most, _ = _SERVICES[prefix]
        if not least <= length <= most:
            wanted = f"{least}" if least == most else f"{least} to {most}"
            raise ValueError(f"{prefix} numbers have {wanted} digits, this one has {length}: check it digit by digit")
        return
    area = re.match(f"02|0(?:{_AREA})", digits)
    if area and not _plausible(digits, area[0]):
        wanted = "9 or 10" if area[0] == "02" else "10 or 11"
        raise ValueError(f"{area[0]} numbers have {wanted} digits, this one has {length}: check it digit by digit")
    if not area:
        told = f"no Korean number begins with {prefix}" if length > _SHORT else "it is too short for a Korean number"
        raise ValueError(f"{told}: check it digit by digit")


def _plausible(digits: str, area: str) -> bool:
    """Whether what follows fits an area code: 7 or 8 digits, 6 in old exchanges outside Seoul, or a special number."""
    subscriber = digits[len(area) :]
    least, most = (7, 8) if area == "02" else (6, 8)
    return least <= len(subscriber) <= most or bool(_IN_AREA(subscriber))


def _without_zero(digits: str) -> str:
    """Why digits are refused that begin with no 0 and are no nationwide or special number."""
    length = len(digits)
    if digits[:2] in {"15", "16", "18"} and _SHORT < length <= _NATIONWIDE + 1:
        return f"{digits[:2]}xx numbers have exactly 8 digits and no area code, this one has {length}"
    if length <= _SHORT:
        return "it is too short; only special numbers, which begin with 1, have three or four digits, such as 1335"
    if length in _LOCAL:
        return "it has no area code, or lost its leading 0: write the whole number, such as 02-312-4567"
    try:
        _check(f"0{digits}")
    except ValueError:
        pass
    else:
        return f"its leading 0 is missing, which spreadsheets and YAML tools like to drop: write 0{digits}"
    return "a number begins with 0, or has eight digits and begins with 15, 16 or 18: check it digit by digit"
