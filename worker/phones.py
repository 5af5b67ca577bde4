"""Korean phone numbers as people write them, and as the API takes them: digits only."""

import re
from typing import Final

__all__ = ["normalise", "oddity"]

_LONGEST: Final = 40
"""Characters of a number in any spelling; longer text is none."""
_DASHES: Final = str.maketrans(dict.fromkeys("-\u2010\u2011\u2012\u2013\u2014\u2212.() \u00a0", ""))
"""What people put between digits, with the dashes and blanks that word processors make of them."""

_PLAIN: Final = re.compile(r"01[016789]\d{7,8}", re.ASCII)

_SHAPES: Final = (
    (re.compile(r"1[568]\d{6}", re.ASCII), None),
    (re.compile(r"010\d{8}", re.ASCII), None),
    (re.compile(r"02\d{7,9}", re.ASCII), None),
    (re.compile(r"0(?:3[1-3]|4[1-4]|5[1-5]|6[1-4])\d{6,8}", re.ASCII), None),
    (re.compile(r"070\d{8}", re.ASCII), None),
    (re.compile(r"080\d{7,8}", re.ASCII), None),
    (re.compile(r"030\d{8,9}", re.ASCII), None),
    (re.compile(r"1\d{2,3}", re.ASCII), None),
    (re.compile(r"01[16789]\d{7,8}", re.ASCII), "numbers of this prefix moved to 010 years ago"),
    (re.compile(r"0[24689]0\d{7,9}", re.ASCII), "this service prefix is rare for a sender"),
)
"""Numbers that can be registered, each shape with what is odd about it."""


def normalise(text: str) -> str:
    """The digits of a number in any usual spelling: with hyphens, dots, blanks or brackets, or with +82.

    Raises:
        ValueError: it cannot be a Korean sender number; the sentence says why and what to write.
    """
    if len(text) > _LONGEST:
        raise ValueError("too long for a phone number")
    digits = text.strip().translate(_DASHES)
    if digits.startswith("+"):
        if not digits.startswith("+82"):
            raise ValueError("only Korean numbers (+82) can be sender numbers")
        national = digits[3:].removeprefix("0")
        digits = national if re.fullmatch(r"1[568]\d{6}", national, re.ASCII) else "0" + national
    if not digits:
        raise ValueError("a phone number is missing")
    if not digits.isascii() and digits.isdigit():
        raise ValueError("its digits are not the plain ones 0 to 9: type them anew")
    if not (digits.isascii() and digits.isdigit()):
        raise ValueError("not a phone number: only digits, with hyphens, dots, blanks, brackets or +82 if you like")
    if not _PLAIN.fullmatch(digits):
        _refuse_impossible(digits)
    return digits


def _refuse_impossible(digits: str) -> None:
    """Raise for what cannot be registered, with the reason that fits best."""
    if digits.startswith("050"):
        raise ValueError("050 numbers forward calls and cannot be registered as senders: use the number behind it")
    if digits[:2] in {"15", "16", "18"} and len(digits) > 4:  # noqa: PLR2004 - special numbers have up to four digits
        if len(digits) != 8:  # noqa: PLR2004
            raise ValueError(f"15xx, 16xx and 18xx numbers have exactly 8 digits, this has {len(digits)}")
        return
    if digits.startswith("010") and len(digits) != 11:  # noqa: PLR2004
        raise ValueError(f"010 numbers have 11 digits, this has {len(digits)}")
    if any(shape.fullmatch(digits) for shape, _ in _SHAPES):
        return
    if re.fullmatch(r"(?:10\d{8}|1[16789]\d{7,8}|2\d{7,8}|[3-6]\d{7,9}|70\d{8}|80\d{7})", digits, re.ASCII):
        raise ValueError(f"the leading 0 is missing: write 0{digits}, quoted if a spreadsheet keeps eating it")
    raise ValueError(f"no Korean number looks like this ({len(digits)} digits beginning with {digits[:3]})")


def oddity(digits: str) -> str | None:
    """What is odd about a number that could exist; None for a usual one.

    The library of Google's numbering plan is asked about area codes, where it knows more than lengths.
    """
    if _PLAIN.fullmatch(digits) and digits.startswith("010"):
        return None
    odd = next((remark for shape, remark in _SHAPES if shape.fullmatch(digits)), "this number looks unusual")
    if odd is None and digits.startswith("0") and not digits.startswith("030"):
        import phonenumbers  # noqa: PLC0415 - 35 ms that most files do not need

        if not phonenumbers.is_valid_number(phonenumbers.parse(digits, "KR")):
            return "the Korean numbering plan has no such number"
    return odd
