"""Free texts of a document: names, notes, references."""

from typing import Final

from worker.strictyaml import Node, Reader, Scalar

__all__ = ["NAME_CAP", "NOTE_CAP", "text"]

NAME_CAP: Final = 64
"""Characters of an account's name, which stands in every log line."""
NOTE_CAP: Final = 1000
"""Characters of a note, an owner, a path or a URL."""


def text(reader: Reader, node: Node, what: str, cap: int) -> str | None:
    """The text at a node, without blanks around it; None where it is a problem."""
    if not isinstance(node, Scalar):
        reader.problem(node, f"{what} should be a text")
    elif node.null or not node.text.strip():
        reader.problem(node, f"{what} is empty: leave the line out or give it a value")
    elif len(node.text) > cap:
        reader.problem(node, f"{what} is longer than {cap:,} characters")
    elif not all(character.isprintable() or character == "\n" for character in node.text):
        reader.problem(node, f"{what} has control characters")
    else:
        return node.text.strip()
    return None
