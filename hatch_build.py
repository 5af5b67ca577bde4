"""Build hooks: compile the message catalogues, and make the README's links absolute for package indexes."""

import re
from pathlib import Path
from typing import Any

from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from hatchling.builders.config import BuilderConfig
from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from hatchling.metadata.plugin.interface import MetadataHookInterface

_LINK = re.compile(r"(?<=\]\()(?![a-z]+:|#)(?=[^)]+\))")
_PICTURE = re.compile(r'(?<=src=")(?![a-z]+:)|(?<=srcset=")(?![a-z]+:)')


class Readme(MetadataHookInterface):
    """Set the description of the package: the README, whose relative links lead into the repository."""

    PLUGIN_NAME = "custom"

    def update(self, metadata: dict[str, Any]) -> None:
        """Add the description to the project's metadata."""
        repository = metadata["urls"]["Source"]
        text = Path(self.root, "README.md").read_text(encoding="utf-8")
        text = _LINK.sub(f"{repository}/blob/HEAD/", text)
        text = _PICTURE.sub(f"{repository}/raw/HEAD/", text)
        metadata["readme"] = {"content-type": "text/markdown", "text": text}


class Messages(BuildHookInterface[BuilderConfig]):
    """Write a .mo file beside each .po file and add it to the wheel, although git ignores it."""

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
