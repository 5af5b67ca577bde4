"""What tests have in common: property tests take as long as they need, and the same examples on every machine.

`HYPOTHESIS_PROFILE=wide` (`make wide`) tries ten times as many examples, new ones each time.
"""

from collections.abc import Iterator

import pytest
from hypothesis import settings

from tests.support.examples import PROFILE, SCALE
from tests.support.forges import Forge

settings.register_profile("same", deadline=None, derandomize=True)
settings.register_profile("wide", deadline=None, max_examples=100 * SCALE, print_blob=True)
settings.load_profile(PROFILE)


@pytest.fixture
def forge() -> Iterator[Forge]:
    """A GitHub and a GitLab."""
    started = Forge()
    started.start()
    yield started
    started.stop()
