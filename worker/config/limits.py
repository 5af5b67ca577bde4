"""Limits as people write them: a number of numbers, or a percentage of them."""

import re
from typing import Final

from worker.config import yaml_reader
from worker.model.messages import Message

__all__ = ["resolve_limit"]

_WHOLE: Final = 100
"""Per cent."""

_share: Final = re.compile(r"(?P<number>[0-9]{1,9})(?P<percent> *%)?").fullmatch


def resolve_limit(name: str, value: int | str, whole: int, *, least: int = 0) -> int:
    """How many of `whole` numbers the limit `name` lets through.

    A percentage is rounded down and never comes to fewer than `least`; a plain number is taken as it is.

    Raises:
        ValueError: when the value is neither a whole number from 0 to 999,999,999 nor a percentage from 0% to 100%.
    """
    match = _share(str(value).strip())
    if match is None or (match["percent"] and int(match["number"]) > _WHOLE):
        given = Message("nothing") if value == "" else yaml_reader.quote(str(value))
        msg = Message(
            "{name} should be a whole number of 0 or more, or a percentage such as 30%, not {given}",
            name=name,
            given=given,
        )
        raise ValueError(msg)
    number = int(match["number"])
    return max(least, whole * number // _WHOLE) if match["percent"] else number
