"""Compiles the catalogues of messages into what the command reads, for every wheel, an editable one too."""

from pathlib import Path
from typing import Any

from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from hatchling.builders.config import BuilderConfig
from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class Messages(BuildHookInterface[BuilderConfig]):
    """Writes a .mo beside each .po, and has the wheel take it although git does not."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002 - hatchling's signature
        """Compile before files are gathered."""
        root = Path(self.root)
        for source in root.glob("worker/render/locale/*/LC_MESSAGES/*.po"):
            with source.open("rb") as file:
                catalog = read_po(file, locale=source.parts[-3], abort_invalid=True)
            compiled = source.with_suffix(".mo")
            with compiled.open("wb") as file:
                write_mo(file, catalog)
            build_data["artifacts"].append(f"/{compiled.relative_to(root).as_posix()}")
