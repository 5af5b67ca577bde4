"""What makes a site of plain Markdown: the parts of the reference, and the menu out of the links of the front page.

It also has what the theme forgets of those who use a keyboard or a screen reader.
"""

import re
from pathlib import Path, PurePosixPath
from typing import Final

from sphinx.application import Sphinx

from docs._ext.reference import fill

__all__ = ["menu", "setup"]

_SECTION: Final = re.compile(r"^## (.+)$", re.MULTILINE)
_LINK: Final = re.compile(r"\]\((?!https?:|#|\.\.)([^)#]+)\.md\)")

_MENDED: Final = (
    ('<p class="caption" role="heading">', '<p class="caption" role="heading" aria-level="2">'),
    ('<aside class="sidebar-drawer">', '<aside class="sidebar-drawer" aria-label="Pages">'),
    ('<th class="head"><p></p></th>', "<td></td>"),
    ("<pre>", '<pre tabindex="0">'),
    ('<div class="table-wrapper', '<div tabindex="0" class="table-wrapper'),
)
"""What scrolls can be reached by keyboard, what is a heading has a level, and what is no heading is none."""


def menu(front: str) -> str:
    """A hidden table of contents for each section of the front page: the pages that it links to, in their order."""
    _, *sections = _SECTION.split(front)
    trees = []
    for caption, text in zip(sections[::2], sections[1::2], strict=True):
        pages = "\n".join(dict.fromkeys(_LINK.findall(text)))
        trees.append(f"```{{toctree}}\n:hidden:\n:caption: {caption}\n\n{pages}\n```")
    return "\n\n".join(trees)


def _read(_app: Sphinx, name: str, source: list[str]) -> None:
    page = fill(source[0])
    source[0] = f"{page}\n\n{menu(page)}\n" if PurePosixPath(name).name == "index" else page


def _built(app: Sphinx, error: Exception | None) -> None:
    outdir = Path(app.outdir)
    for page in outdir.rglob("*.html") if error is None else ():
        text = page.read_text()
        if page.parent == outdir / "ko":
            text = text.replace(' lang="en"', ' lang="ko"', 1)
        for theirs, ours in _MENDED:
            text = text.replace(theirs, ours)
        page.write_text(text)


def setup(app: Sphinx) -> dict[str, bool]:
    """Tell Sphinx."""
    app.connect("source-read", _read)
    app.connect("build-finished", _built)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
