"""The number of examples of a property test: ten times as many in `make wide`, at most 20 for each mutant."""

import os
from typing import Any, Final

from hypothesis import settings

__all__ = ["FEW", "PROFILE", "SCALE", "examples"]

PROFILE: Final = os.environ.get("HYPOTHESIS_PROFILE", "same")
SCALE: Final = 10 if PROFILE == "wide" else 1
FEW: Final = 20
"""Examples of a property test for each mutant of `make mutate`."""


def examples(most: int, **more: Any) -> settings:
    """Return the settings of a test with `most` examples: ten times as many in `make wide`, at most 20 for a mutant."""
    return settings(max_examples=min(most, FEW) if PROFILE == "mutation" else most * SCALE, **more)
