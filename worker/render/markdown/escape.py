"""Escaping of foreign text in Markdown, so that it is no markup, link, mention or reference on GitHub and GitLab.

Text of letters, digits and harmless punctuation is left alone. All other text goes into a code span, where neither
Markdown nor the sites' own patterns (@names, #numbers, URLs, commits, commands) apply. A code span cannot hold a
backtick everywhere, nor a table cell a bar: U+02CB and U+00A6 replace them.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from html import escape
from typing import Final

from worker.model.phones import hyphenated
from worker.render.i18n import gettext as _
from worker.render.terminal import safe

__all__ = ["code", "html_code", "name_list", "phone", "prose", "table"]

NAME: Final = 64
"""Columns of a name or a status."""
NOTE: Final = 80
"""Columns of a note or an owner."""
MESSAGE: Final = 400
"""Columns of a message."""
_PHONE: Final = 16
_NAMES: Final = 5
"""Names that are listed; more are counted."""

_plain: Final = re.compile(
    r"""(?x) (?: [^\W_] | [ ,;()'"?→…·\u2013\u2014-] | (?<=[^\W_])_(?=[^\W_]) | \.(?![^\W\d_]) | :(?=[ \d]|$)
      | %(?![\w"]) | (?<!/)/(?!/) )*"""
).fullmatch
_odd: Final = re.compile(
    r"""(?xi) www                   # is linked without a scheme
      | [a-z]-\d                    # GH-12, and what a repository may have links made of
      | \b[0-9a-f]{7,}\b            # a commit
      | ^(?: [-/] | \d+[.)] )        # a list, or a command
    """
).search
_REPLACED: Final = str.maketrans("`|", "\u02cb\u00a6")


def code(text: str, limit: int = NAME) -> str:
    """Return foreign text as a code span of at most `limit` columns; nothing for a text of blanks."""
    content = safe(text, limit).translate(_REPLACED).strip()
    return f"`{content}`" if content else ""


def prose(text: str, limit: int = MESSAGE) -> str:
    """Return foreign text unchanged if it has no meaning in Markdown, otherwise as a code span."""
    content = safe(text, limit).strip()
    return content if _plain(content) and not _odd(content) else code(content, limit)


def html_code(text: str, limit: int = NAME) -> str:
    """Return foreign text as code within HTML, where Markdown is not parsed."""
    return f"<code>{escape(safe(text, limit))}</code>"


def phone(digits: str) -> str:
    """Return a number with its hyphens, as a code span."""
    return code(hyphenated(digits), _PHONE)


def name_list(names: Sequence[str], *, html: bool = False) -> str:
    """Return the first names, and how many more there are."""
    text = ", ".join(map(html_code if html else code, names[:_NAMES]))
    more = len(names) - _NAMES
    return _("{names} and {count} more").format(names=text, count=f"{more:,}") if more > 0 else text


def table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """Return the lines of a table behind a blank one; cells are Markdown."""
    yield ""
    yield f"| {' | '.join(titles)} |"
    yield f"|{' --- |' * len(titles)}"
    for row in rows:
        yield f"| {' | '.join(row)} |"
