"""Default values of options."""

from typing import Final

__all__ = ["DEFAULT_FILES", "DEFAULT_SETTINGS"]

DEFAULT_FILES: Final = "config/desired"
DEFAULT_SETTINGS: Final = "config/worker.yaml"

OVERRIDES: Final = "senderid.overrides"
"""Key in the context of a command for the settings that options of most commands override, by their dotted names."""
