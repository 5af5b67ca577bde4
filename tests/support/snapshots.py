"""Expected outputs of renderers, stored as files. `UPDATE_SNAPSHOTS=1 pytest …` rewrites them: review the diff."""

import os
from pathlib import Path
from typing import Final

__all__ = ["SNAPSHOTS", "snapshot"]

SNAPSHOTS: Final = Path(__file__).parents[1] / "unit" / "render" / "snapshots"


def snapshot(name: str, text: str) -> str:
    r"""Return the stored text of a snapshot.

    An update stores `text` first. Files contain `\e` in place of escape characters.
    """
    path = SNAPSHOTS / name
    if os.environ.get("UPDATE_SNAPSHOTS"):
        path.write_text(text.replace("\x1b", "\\e"))
    return path.read_text().replace("\\e", "\x1b")
