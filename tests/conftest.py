"""Common setup of tests: a time zone other than UTC, and property tests without a deadline.

Property tests use the same examples on every machine. `HYPOTHESIS_PROFILE=wide` (`make wide`) runs ten times as many,
new ones each time.
"""

import gc
import os
import time
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import Phase, settings

from tests.support.examples import FEW, PROFILE, SCALE
from tests.support.forges import Forge

# documents, logs and signatures are in UTC on every host: +05:45 makes a local time visible
os.environ.setdefault("TZ", "Asia/Kathmandu")
time.tzset()

settings.register_profile("same", deadline=None, derandomize=True)
settings.register_profile("wide", deadline=None, max_examples=100 * SCALE, print_blob=True)
settings.register_profile(
    "mutation", settings.get_profile("same"), max_examples=FEW, phases=[Phase.explicit, Phase.generate]
)
settings.load_profile(PROFILE)

_MEASURED: Final = (
    "unit/",
    "e2e/test_explain.py",
    "e2e/test_fleet.py",
    "e2e/test_gitlab.py",
    "e2e/test_groups.py",
    "e2e/test_history.py",
    "e2e/test_import_and_completion.py",
    "e2e/test_init.py",
    "e2e/test_metrics.py",
    "e2e/test_notify.py",
    "e2e/test_outputs.py",
    "e2e/test_plan_and_apply.py",
    "e2e/test_verbs.py",
    "e2e/test_watch.py",
)
"""The tests that together reach the required coverage."""


def _measurement(config: pytest.Config) -> Any:
    """Return what pauses and resumes pytest-cov in this process; None without `--cov`."""
    return getattr(config.pluginmanager.getplugin("_cov"), "cov_controller", None)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_setupnodes() -> None:
    """Start the processes of pytest-xdist without coverage, which pytest-cov starts in each.

    Otherwise coverage measures each process also from the start of its interpreter, and does not pause for `no_cover`.
    """
    os.environ.pop("COVERAGE_PROCESS_CONFIG", None)


@pytest.hookimpl(tryfirst=True)
def pytest_sessionstart(session: pytest.Session) -> None:
    """Stop the measurement that pytest-cov starts in a process of pytest-xdist first, and never pauses or saves."""
    if hasattr(session.config, "workerinput") and (measurement := _measurement(session.config)) is not None:
        measurement.pause()


@pytest.hookimpl(wrapper=True)
def pytest_collection(session: pytest.Session) -> Generator[None, object, object]:
    """Measure the collection in the first process of pytest-xdist only: it is the same in each, and takes long."""
    measurement = _measurement(session.config)
    if measurement is None or os.environ.get("PYTEST_XDIST_WORKER", "gw0") == "gw0":
        return (yield)
    measurement.pause()
    try:
        return (yield)
    finally:
        measurement.resume()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Order the tests, and measure coverage with the listed ones only: coverage doubles their time.

    The tests of pages share long preparations, so one process of pytest-xdist runs most of them, as its first tests.
    The longest tests follow.
    """
    items.sort(key=lambda item: ("browser" not in item.path.parts, "simulation" not in item.path.parts))
    for item in items:
        path = item.path.relative_to(Path(__file__).parent).as_posix()
        if not path.startswith(_MEASURED) or item.get_closest_marker("slow"):
            item.add_marker("no_cover")


def pytest_collection_finish() -> None:
    """Exclude the collected tests from garbage collection, which took a quarter of their CPU time."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _no_cover(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Start the processes of unmeasured tests without coverage."""
    if request.node.get_closest_marker("no_cover"):
        for name in [name for name in os.environ if name.startswith("COV")]:
            monkeypatch.delenv(name)


@pytest.fixture
def forge() -> Iterator[Forge]:
    """Serve a GitHub and a GitLab."""
    server = Forge()
    server.start()
    yield server
    server.stop()
