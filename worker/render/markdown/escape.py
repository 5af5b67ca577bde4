"""Escaping of untrusted text in Markdown: GitHub and GitLab find no markup, link, mention or reference in it.

Text of letters, digits and harmless punctuation is not changed. All other text becomes a code span, in which neither
Markdown nor the sites' own patterns (@names, #numbers, URLs, commits, commands) apply. U+02CB replaces backticks, which
could end the code span, and U+00A6 replaces vertical bars, which could end a table cell.
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
"""Maximum width in columns of a name or a status."""
NOTE: Final = 80
"""Maximum width in columns of a note or an owner."""
MESSAGE: Final = 400
"""Maximum width in columns of a message."""
_PHONE: Final = 16
_NAMES: Final = 5
"""Maximum count of names that are listed. The others are counted."""

_match_plain: Final = re.compile(
    r"""(?x) (?: [^\W_] | [ ,;()'"?→…·\u2013\u2014-] | (?<=[^\W_])_(?=[^\W_]) | \.(?![^\W\d_]) | :(?=[ \d]|$)
      | %(?![\w"]) | (?<!/)/(?!/) )*"""
).fullmatch
_find_special: Final = re.compile(
    r"""(?xi) www                   # is linked without a scheme
      | [a-z]-\d                    # GH-12, and what a repository may have links made of
      | \b[0-9a-f]{7,}\b            # a commit
      | ^(?: [-/] | \d+[.)] )        # a list, or a command
    """
).search
_REPLACED: Final = str.maketrans("`|", "\u02cb\u00a6")


def code(text: str, limit: int = NAME) -> str:
    """Return untrusted text as a code span of at most `limit` columns; an empty string for blank text."""
    content = safe(text, limit).translate(_REPLACED).strip()
    return f"`{content}`" if content else ""


def prose(text: str, limit: int = MESSAGE) -> str:
    """Return untrusted text, cut to `limit` columns: unchanged if it is not Markdown, else as a code span."""
    content = safe(text, limit).strip()
    return content if _match_plain(content) and not _find_special(content) else code(content, limit)


def html_code(text: str, limit: int = NAME) -> str:
    """Return untrusted text as an HTML `<code>` element, for HTML blocks in which Markdown is not parsed."""
    return f"<code>{escape(safe(text, limit))}</code>"


def phone(digits: str) -> str:
    """Return a phone number with hyphens, as a code span."""
    return code(hyphenated(digits), _PHONE)


def name_list(names: Sequence[str], *, html: bool = False, limit: int = _NAMES) -> str:
    """Return the first names, with the count of the others. With `html`, the text is for an HTML block."""
    text = ", ".join(map(html_code if html else code, names[:limit]))
    more_count = len(names) - limit
    return _("{names} and {count} more").format(names=text, count=f"{more_count:,}") if more_count > 0 else text


def table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """Yield a blank line and the lines of a table. Titles and cells are Markdown."""
    yield ""
    yield f"| {' | '.join(titles)} |"
    yield f"|{' --- |' * len(titles)}"
    for row in rows:
        yield f"| {' | '.join(row)} |"
