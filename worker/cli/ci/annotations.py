"""Format problems in files as GitHub annotations, which appear at their lines."""

import re
from collections.abc import Iterable, Iterator
from typing import Final

__all__ = ["annotations"]

_PROBLEM: Final = re.compile(r"(?P<file>.+?):(?P<line>\d+):(?P<column>\d+): (?P<warning>warning: )?(?P<message>.+)")
_MOST: Final = 10
"""Annotations that GitHub shows per step and level."""


def annotations(lines: Iterable[str]) -> Iterator[str]:
    """Yield a workflow command for each line `file:line:column: message`; other lines are dropped.

    If a level has more problems than GitHub shows, the last command counts the rest.
    """
    levels: dict[str, list[str]] = {"error": [], "warning": []}
    for line in lines:
        if found := _PROBLEM.fullmatch(line.rstrip("\r\n")):
            level = "warning" if found["warning"] else "error"
            place = f"file={_value(found['file'])},line={found['line']},col={found['column']}"
            levels[level].append(f"::{level} {place}::{_text(found['message'])}")
    for level, commands in levels.items():
        left = len(commands) - _MOST
        yield from commands if left <= 0 else commands[: _MOST - 1]
        if left > 0:
            yield f"::{level}::and {left + 1:,} more, in the log of this step"


def _text(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _value(text: str) -> str:
    return _text(text).replace(":", "%3A").replace(",", "%2C")
