"""Samples in the documentation: each fenced block, how to run it, and how to compare its output.

A comment above a block controls it: `<!-- run -->` runs it in a shell, `<!-- run: yes -->` at a terminal with the input
`yes`, and `<!-- skip: REASON -->` skips it. YAML and JSON need no comment: they are loaded.
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
    """One fenced block: its language, its text, its line in the page, and the comment above it."""

    language: str
    text: str
    line: int
    mark: str
    remark: str


class Step(Struct):
    """A command, and its output as the page shows it; None if the page shows no output."""

    command: str
    output: str | None


def samples(text: str) -> list[Sample]:
    """Return the fenced blocks of a page in order."""
    tokens = MarkdownIt().parse(text)
    blocks = []
    for last, token in zip([None, *tokens], tokens, strict=False):
        if token.type == "fence":
            comment = _MARK.fullmatch(last.content) if last is not None and last.type == "html_block" else None
            line = token.map[0] + 1 if token.map else 0
            mark, remark = (comment[1], comment[2] or "") if comment else ("", "")
            blocks.append(Sample(token.info.strip(), token.content, line, mark, remark))
    return blocks


def steps(sample: Sample) -> list[Step]:
    """Return the commands of a block.

    A `sh` block is one command; in a `console` block, commands start with `$ ` and precede their output.
    """
    if sample.language != "console":
        return [Step(sample.text, None)]
    commands: list[Step] = []
    for line in sample.text.splitlines():
        if line.startswith(_PROMPT):
            commands.append(Step(line.removeprefix(_PROMPT), ""))
        elif line.startswith(_CONTINUED) and commands and not commands[-1].output:
            commands[-1].command += f"\n{line.removeprefix(_CONTINUED)}"
        else:
            commands[-1].output = f"{commands[-1].output}{line}\n"
    return commands


def matches(shown: str, real: str) -> bool:
    """Return True if an output is as shown: `…` is any text in a line, or any lines on a line of its own.

    Blanks at the ends of lines and empty lines are ignored.
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
