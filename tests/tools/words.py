"""Find phrases that the project's prose avoids: `python -m tests.tools.words docs messages worker tests`.

`docs` checks Markdown outside fenced blocks, the Python of `docs/`, and samples, deployment files and the build.
`messages` checks what the catalogue translates. Any other argument is a folder of Python, of which docstrings and
comments are checked. Each finding is a line `FILE:LINE: WORD: use …`, and the exit status is 1 if there is one.
"""

import ast
import io
import re
import sys
import tokenize
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Final, NamedTuple

from babel.messages.pofile import read_po

__all__ = ["Finding", "check", "main", "of_markdown", "of_python"]

ROOT: Final = Path(__file__).parents[2]
CATALOGUE: Final = "worker/render/locale/ko/LC_MESSAGES/senderid.po"
SAMPLES: Final = ("config/**/*", "deploy/**/*", "action.yml", "Makefile", "pyproject.toml", ".ci/*")

_BEFORE_NOUN: Final = "a|an|the|one|each|every|another|any|no|that|this|its|their|first|second|last|closing|next|single"
AVOIDED: Final = (
    (r"tell|tells|telling|told", "report, log, show, describe; distinguish"),
    (rf"(?:{_BEFORE_NOUN}) looks?(?! like| as|-)", "read, check"),
    (r"story|stories", "history, run"),
    (r"somebody|nobody|whoever|a person", "user, caller, operator, you"),
    (r"of ours", "our"),
    (r"so many", "the number, that many"),
    (r"what there is", "name it"),
    (r"as it is(?! \w+(?:ed|en|wn|nt|de)\b)", "unchanged, the current …"),  # "as it is written" is fine
    (r"that which", "what"),
    (r"mend|mends|mended|mending", "fix"),
    (r"go off|goes off|going off|went off", "be deactivated, end"),
    (r"(?<!that\s)(?<!which\s)(?<!not\s)begin with", "start from, start with"),  # a prefix is fine
    (r"to be had", "available"),
    (r"reply|replies", "response"),
    (r"(?:dead|died) runs?|a run that died|in doubt", "crashed run; ambiguous"),
)
"""Phrases as regular expressions of whole words, in which a blank is any white space, and what to write instead."""

EXCEPTIONS: Final[dict[tuple[str, str], str]] = {}
"""Phrases that stay, by file and phrase in lower case, each with the reason."""

_PATTERN: Final = re.compile(
    "|".join(rf"(?P<_{place}>\b(?:{words})\b)" for place, (words, _) in enumerate(AVOIDED)).replace(" ", r"[\s#]+"),
    re.IGNORECASE,
)
_FENCE: Final = re.compile(r"^( *)(```+|~~~+).*?^\1\2 *$", re.MULTILINE | re.DOTALL)


class Finding(NamedTuple):
    """A phrase in a file, with its line from 1 and what to write instead."""

    path: str
    line: int
    phrase: str
    instead: str

    def __str__(self) -> str:
        """Return the line that is printed."""
        return f"{self.path}:{self.line}: {self.phrase}: use {self.instead}"


def check(path: str, parts: Iterable[tuple[int, str]]) -> Iterator[Finding]:
    """Yield the avoided phrases of a file, given its texts with the line at which each starts."""
    for first, text in parts:
        for match in _PATTERN.finditer(text):
            phrase = re.sub(r"[\s#]+", " ", match[0]).lower()
            if (path, phrase) not in EXCEPTIONS and match.lastgroup:
                line = first + text.count("\n", 0, match.start())
                yield Finding(path, line, phrase, AVOIDED[int(match.lastgroup[1:])][1])


def of_markdown(text: str) -> Iterator[tuple[int, str]]:
    """Yield a page with its fenced blocks emptied."""
    yield 1, _FENCE.sub(lambda block: "\n" * block[0].count("\n"), text)


def of_python(text: str) -> Iterator[tuple[int, str]]:
    """Yield docstrings and comments of a module."""
    for node in ast.walk(ast.parse(text)):
        match node:
            case ast.Expr(value=ast.Constant(value=str(docstring), lineno=line)):
                yield line, docstring
    first, comment = 0, ""
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            first, comment = (first, f"{comment}\n{token.string}") if comment else (token.start[0], token.string)
        elif token.type != tokenize.NL and comment:
            yield first, comment
            comment = ""


def _of_catalogue(text: str) -> Iterator[tuple[int, str]]:
    lines = {line.strip(): number for number, line in enumerate(text.splitlines(), 1)}
    for message in read_po(io.BytesIO(text.encode())):
        for msgid in [message.id] if isinstance(message.id, str) else message.id:
            quoted = msgid.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
            yield lines.get(f'msgid "{quoted}"', message.lineno or 1), " ".join(msgid.split())


def _scope(word: str) -> Iterator[Finding]:
    if word == "docs":
        pages = chain(ROOT.glob("*.md"), (ROOT / "docs").rglob("*.md"))
        for page in sorted(pages):
            yield from check(str(page.relative_to(ROOT)), of_markdown(page.read_text()))
        yield from _scope("docs/")
        for file in sorted(chain.from_iterable(map(ROOT.glob, SAMPLES))):
            if file.is_file():
                yield from check(str(file.relative_to(ROOT)), [(1, file.read_text())])
    elif word == "messages":
        yield from check(CATALOGUE, _of_catalogue((ROOT / CATALOGUE).read_text()))
    else:
        for file in sorted((ROOT / word).rglob("*.py")):
            yield from check(str(file.relative_to(ROOT)), of_python(file.read_text()))


def main(scopes: Iterable[str]) -> int:
    """Print the findings in the scopes, and return the exit status."""
    findings = [finding for scope in scopes for finding in _scope(scope)]
    sys.stdout.writelines(f"{finding}\n" for finding in findings)
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
