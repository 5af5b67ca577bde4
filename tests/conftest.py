"""What tests have in common: property tests take as long as they need, and the same examples on every machine.

`HYPOTHESIS_PROFILE=wide` looks further, at new examples each time.
"""

import os
from collections.abc import Iterator

import pytest
from hypothesis import settings

from tests.support.forges import Forge

settings.register_profile("same", deadline=None, derandomize=True)
settings.register_profile("wide", deadline=None, max_examples=2000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "same"))


@pytest.fixture
def forge() -> Iterator[Forge]:
    """A GitHub and a GitLab."""
    started = Forge()
    started.start()
    yield started
    started.stop()
