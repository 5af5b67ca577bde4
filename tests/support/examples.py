"""How many examples a property test tries: ten times as many in `make wide`."""

import os
from typing import Any, Final

from hypothesis import settings

__all__ = ["PROFILE", "SCALE", "examples"]

PROFILE: Final = os.environ.get("HYPOTHESIS_PROFILE", "same")
SCALE: Final = 10 if PROFILE == "wide" else 1


def examples(most: int, **more: Any) -> settings:
    """Return the settings of a test that tries `most` examples, and ten times as many in `make wide`."""
    return settings(max_examples=most * SCALE, **more)
