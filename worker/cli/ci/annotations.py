"""Problems in files as annotations of GitHub, which shows them at their lines."""

import re
from collections.abc import Iterable, Iterator
from typing import Final

__all__ = ["annotations"]

_PROBLEM: Final = re.compile(r"(?P<file>.+?):(?P<line>\d+):(?P<column>\d+): (?P<warning>warning: )?(?P<message>.+)")
_MOST: Final = 10
"""Annotations that GitHub shows of a step and level."""


def annotations(lines: Iterable[str]) -> Iterator[str]:
    """A workflow command for each problem, `file:line:column: message`, among some lines; other lines are left out.

    Of more than GitHub shows of a level the last says how many are left.
    """
    levels: dict[str, list[str]] = {"error": [], "warning": []}
    for line in lines:
        if found := _PROBLEM.fullmatch(line.rstrip("\r\n")):
            level = "warning" if found["warning"] else "error"
            place = f"file={_value(found['file'])},line={found['line']},col={found['column']}"
            levels[level].append(f"::{level} {place}::{_text(found['message'])}")
    for level, told in levels.items():
        left = len(told) - _MOST
        yield from told if left <= 0 else told[: _MOST - 1]
        if left > 0:
            yield f"::{level}::and {left + 1:,} more, in the log of this step"


def _text(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _value(text: str) -> str:
    return _text(text).replace(":", "%3A").replace(",", "%2C")
