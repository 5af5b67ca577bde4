"""Phone numbers as Koreans write them."""

import re
from typing import Final

__all__ = ["hyphenated"]

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
