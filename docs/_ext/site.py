"""What makes a site of plain Markdown: the parts of the reference, and the menu out of the links of the front page."""

import re
from pathlib import PurePosixPath
from typing import Final

from sphinx.application import Sphinx

from docs._ext.reference import fill

__all__ = ["menu", "setup"]

_SECTION: Final = re.compile(r"^## (.+)$", re.MULTILINE)
_LINK: Final = re.compile(r"\]\((?!https?:|#|\.\.)([^)#]+)\.md\)")


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


def setup(app: Sphinx) -> dict[str, bool]:
    """Tell Sphinx."""
    app.connect("source-read", _read)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
