"""Write texts of the code as Markdown."""

import re
from collections.abc import Iterable
from typing import Final

__all__ = ["code", "prose", "table"]

_SPECIAL: Final = re.compile(r"([\\*_\[\]<>|$~#])")


def table(head: tuple[str, ...], rows: Iterable[Iterable[str]]) -> str:
    """Return a table; its cells are Markdown."""
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def code(text: str) -> str:
    """Return text as code, also valid in a table."""
    return f"`{text}`".replace("|", "\\|")


def prose(text: str) -> str:
    """Return text of the code as Markdown: only backticks are markup."""
    parts = re.split(r"(`[^`]+`)", " ".join(text.split()))
    return "".join(code(part[1:-1]) if part[:1] == "`" else _SPECIAL.sub(r"\\\1", part) for part in parts)
