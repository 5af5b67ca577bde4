"""Free texts of a document: names, notes, references."""

from typing import Final
from unicodedata import category

from worker.strictyaml import Node, Reader, Scalar

__all__ = ["NAME_CAP", "NOTE_CAP", "text", "unfit"]

NAME_CAP: Final = 64
"""Characters of an account's name, which stands in every log line."""
NOTE_CAP: Final = 1000
"""Characters of a note, an owner, a path or a URL."""


def text(reader: Reader, node: Node, what: str, cap: int, *, prose: bool = False) -> str | None:
    """The text at a node, without blanks around it; None where it is a problem.

    `prose` may have several lines, and the wide and unbreakable blanks that word processors and Korean keyboards make.
    """
    if not isinstance(node, Scalar):
        reader.problem(node, f"{what} should be a text")
        return None
    given = node.text.strip()
    if node.null or not given:
        reader.problem(node, f"{what} is empty: leave the line out or give it a value")
        return None
    reason = unfit(given, cap, prose=prose)
    if reason is not None:
        reader.problem(node, f"{what} {reason}")
        return None
    return given


def unfit(given: str, cap: int, *, prose: bool = False) -> str | None:
    """Why a text cannot be used, without repeating it; None if it can."""
    if len(given) > cap:
        return f"is longer than {cap:,} characters: shorten it"
    if not given.isprintable():
        for char in given:
            if prose and (char in "\n\t" or category(char) == "Zs"):
                continue
            if char == "\n":
                return "has more than one line: write it on one"
            if not char.isprintable():
                return f"has the invisible character U+{ord(char):04X}: type it anew instead of pasting it"
    return None
