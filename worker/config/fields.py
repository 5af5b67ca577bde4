"""Free texts of files that people write: names, notes, counts, references to secrets."""

import re
from typing import Final
from unicodedata import category

from worker.config.yaml_reader import Mapping, Node, Reader, Scalar
from worker.model.credentials import SecretRef
from worker.model.messages import Message

__all__ = ["COUNT_DIGITS", "NAME_CAP", "NOTE_CAP", "read_count", "read_secret_ref", "read_text", "why_unfit"]

NAME_CAP: Final = 64
"""Characters of an account's name, which stands in every log line."""
NOTE_CAP: Final = 1000
"""Characters of a note, an owner, a path or a URL."""
COUNT_DIGITS: Final = 9
"""Digits of a count: more numbers than this says there are not."""

_variable: Final = re.compile("[A-Za-z_][A-Za-z0-9_]*").fullmatch
_secret: Final = re.compile("NCS[0-9A-Z]{13}|(?=.*[0-9])[0-9A-Z]{32}|.*://.*", re.IGNORECASE).fullmatch
"""What the vendor's keys and secrets look like, and URLs that carry some; names of variables and files do not."""


def read_text(reader: Reader, node: Node, what: str, cap: int, *, prose: bool = False) -> str | None:
    """The text at a node, without blanks around it; None where it is a problem.

    `prose` may have several lines, and the wide and unbreakable blanks that word processors and Korean keyboards make.
    """
    if not isinstance(node, Scalar):
        reader.problem(node, Message("{what} should be a text", what=what))
        return None
    given = node.text.strip()
    if node.null or not given:
        reader.problem(node, Message("{what} is empty: leave the line out or give it a value", what=what))
        return None
    reason = why_unfit(given, cap, prose=prose)
    if reason is not None:
        reader.problem(node, Message("{what} {reason}", what=what, reason=reason))
        return None
    return given


def read_count(node: Node) -> int | None:
    """The whole number at a node, of at most `COUNT_DIGITS` digits; None where something else stands there."""
    given = node.text if isinstance(node, Scalar) else ""
    return int(given) if given.isascii() and given.isdigit() and len(given) <= COUNT_DIGITS else None


def why_unfit(given: str, cap: int, *, prose: bool = False) -> str | None:
    """Why a text cannot be used, without repeating it; None if it can."""
    if len(given) > cap:
        return Message("is longer than {cap:,} characters: shorten it", cap=cap)
    if not given.isprintable():
        for char in given:
            if prose and (char in "\n\t" or category(char) == "Zs"):
                continue
            if char == "\n":
                return Message("has more than one line: write it on one")
            if not char.isprintable():
                code = f"U+{ord(char):04X}"
                return Message("has the invisible character {code}: type it anew instead of pasting it", code=code)
    return None


def read_secret_ref(reader: Reader, node: Node, name: str) -> SecretRef | None:
    """The reference to the secret `name` at a node; None where it is a problem, which repeats nothing of the text."""
    advice = Message("{name} takes a reference, {{env: NAME}} or {{file: PATH}}", name=name)
    literal = Message(
        "{advice}; a secret itself does not belong in this file: take it out and replace it", advice=advice
    )
    if not isinstance(node, Mapping):
        reader.problem(node, literal)
        return None
    fields = reader.fields(node, ("env", "file"), secret=True)
    if len(fields) != 1:
        reader.problem(
            node, literal if node.items and not fields else Message("{advice}: one of the two", advice=advice)
        )
        return None
    ((kind, value),) = fields.items()
    given = read_text(reader, value, kind, NOTE_CAP)
    if given is None:
        return None
    if _secret(given):
        reader.problem(value, Message("this looks like a secret and not like a name: {literal}", literal=literal))
    elif kind == "env" and not _variable(given):
        reader.problem(value, Message("env is the name of a variable: letters, digits and _, without $ or blanks"))
    return SecretRef(**{kind: given})
