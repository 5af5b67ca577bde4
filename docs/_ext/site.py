"""Turn plain Markdown into the site: insert the reference, and build the menu from the links of the front page.

It also adds what the theme lacks for keyboards and screen readers.
"""

import re
from pathlib import Path, PurePosixPath
from typing import Final

from sphinx.application import Sphinx

from docs._ext.reference import fill

__all__ = ["menu", "setup"]

_SECTION: Final = re.compile(r"^## (.+)$", re.MULTILINE)
_LINK: Final = re.compile(r"\]\((?!https?:|#|\.\.)([^)#]+)\.md\)")

_FIXES: Final = (
    ('<p class="caption" role="heading">', '<p class="caption" role="heading" aria-level="2">'),
    ('<aside class="sidebar-drawer">', '<aside class="sidebar-drawer" aria-label="Pages">'),
    ('<th class="head"><p></p></th>', "<td></td>"),
    ("<pre>", '<pre tabindex="0">'),
    ('<div class="table-wrapper', '<div tabindex="0" class="table-wrapper'),
)
"""Make scrolling parts reachable by keyboard, and give headings a level."""


def menu(front: str) -> str:
    """Return a hidden table of contents for each section of the front page, with the pages that it links to."""
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
        if page == outdir / "index.html":
            text = text.replace("<body", '<body class="front"', 1)
        for theirs, ours in _FIXES:
            text = text.replace(theirs, ours)
        page.write_text(text)


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    app.connect("source-read", _read)
    app.connect("build-finished", _built)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
