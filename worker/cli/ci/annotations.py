"""GitHub annotations of problems in files."""

import re
from collections.abc import Iterable, Iterator
from typing import Final

__all__ = ["annotations"]

_PROBLEM: Final = re.compile(r"(?P<file>.+?):(?P<line>\d+):(?P<column>\d+): (?P<warning>warning: )?(?P<message>.+)")
_MAX_ANNOTATIONS: Final = 10
"""Maximum count of annotations that GitHub shows for a step and level."""


def annotations(lines: Iterable[str]) -> Iterator[str]:
    """Yield a GitHub workflow command for each line `file:line:column: message`. Other lines are dropped.

    If a level has more problems than GitHub shows, its last command counts the others.
    """
    levels: dict[str, list[str]] = {"error": [], "warning": []}
    for line in lines:
        if match := _PROBLEM.fullmatch(line.rstrip("\r\n")):
            level = "warning" if match["warning"] else "error"
            properties = f"file={_value(match['file'])},line={match['line']},col={match['column']}"
            levels[level].append(f"::{level} {properties}::{_text(match['message'])}")
    for level, commands in levels.items():
        omitted_count = len(commands) - _MAX_ANNOTATIONS
        yield from commands if omitted_count <= 0 else commands[: _MAX_ANNOTATIONS - 1]
        if omitted_count > 0:
            yield f"::{level}::and {omitted_count + 1:,} more, in the log of this step"


def _text(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _value(text: str) -> str:
    return _text(text).replace(":", "%3A").replace(",", "%2C")
