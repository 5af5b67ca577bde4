"""Samples of the documents: each fenced block, how to try it, and how to compare its output.

A comment above a block says how: `<!-- run -->` runs it in a shell, `<!-- run: yes -->` at a terminal that answers
yes, and `<!-- skip: REASON -->` skips it. YAML and JSON need no comment: they are loaded.
"""

import re
from pathlib import Path
from typing import Final

from markdown_it import MarkdownIt
from msgspec import Struct

__all__ = ["PAGES", "ROOT", "Sample", "matches", "samples", "steps"]

ROOT: Final = Path(__file__).parents[2]
PAGES: Final = sorted([*ROOT.glob("README*.md"), ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")])
"""Every page with samples that users may copy."""

_MARK: Final = re.compile(r"<!-- (run|skip)(?:: ([^>]+))? -->\s*")
_PROMPT: Final = "$ "
_CONTINUED: Final = "> "
_ANY: Final = "…"


class Sample(Struct, frozen=True):
    """One fenced block: its language, its text, its line in the page, and what the comment above it says."""

    language: str
    text: str
    line: int
    mark: str
    remark: str


class Step(Struct):
    """A command as it is typed, and what is shown of its output; None where nothing is said of that."""

    command: str
    output: str | None


def samples(text: str) -> list[Sample]:
    """Every fenced block of a page, in the page's order."""
    tokens = MarkdownIt().parse(text)
    found = []
    for before, token in zip([None, *tokens], tokens, strict=False):
        if token.type == "fence":
            said = _MARK.fullmatch(before.content) if before is not None and before.type == "html_block" else None
            line = token.map[0] + 1 if token.map else 0
            mark, remark = (said[1], said[2] or "") if said else ("", "")
            found.append(Sample(token.info.strip(), token.content, line, mark, remark))
    return found


def steps(sample: Sample) -> list[Step]:
    """Return the commands of a block: `sh` is one; those of `console` start with `$ ` and precede their output."""
    if sample.language != "console":
        return [Step(sample.text, None)]
    found: list[Step] = []
    for line in sample.text.splitlines():
        if line.startswith(_PROMPT):
            found.append(Step(line.removeprefix(_PROMPT), ""))
        elif line.startswith(_CONTINUED) and found and not found[-1].output:
            found[-1].command += f"\n{line.removeprefix(_CONTINUED)}"
        else:
            found[-1].output = f"{found[-1].output}{line}\n"
    return found


def matches(shown: str, real: str) -> bool:
    """Return True if an output is as shown: `…` is any text in a line, or any lines on a line of its own.

    Blanks at the ends of lines, and empty lines, do not count.
    """
    pattern = ""
    for line in _lines(shown):
        if line.strip() == _ANY:
            pattern += r"(?:[^\n]*\n)*?"
        else:
            pattern += r"[^\n]*".join(re.escape(part) for part in line.split(_ANY)) + r"\n"
    return re.fullmatch(pattern, "".join(f"{line}\n" for line in _lines(real))) is not None


def _lines(text: str) -> list[str]:
    return [line.rstrip() for line in text.splitlines() if line.strip()]
