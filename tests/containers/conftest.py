"""The image, built from the Dockerfile, and the containers of each test."""

import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import pytest

from tests.containers import base
from tests.containers.engine import Engine, missing
from tests.containers.simulated import Simulated

ROOT: Final = Path(__file__).parents[2]
IMAGE: Final = "localhost/senderid:0.1.0"
"""The tag that `deploy/` uses, as an engine stores it."""
SYSTEMD: Final = "localhost/systemd:test"
"""The tag of a machine with systemd and senderid."""
REVISION: Final = "0123456789abcdef0123456789abcdef01234567"


SIZE: Final = pytest.StashKey[str]()
"""The size of the image, which the summary shows."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker("containers")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if SIZE in config.stash:
        terminalreporter.write_line(config.stash[SIZE])


@pytest.fixture(scope="session")
def machine() -> Iterator[Engine]:
    """A container engine with a base image."""
    if (why := missing()) is not None:
        pytest.skip(why)
    engine = Engine(Path(tempfile.mkdtemp(prefix="senderid-")))
    try:
        base.import_base(engine)
        yield engine
    finally:
        engine.close()


@pytest.fixture(scope="session")
def mounts(machine: Engine) -> Mapping[Path, str]:
    """What builds need of this machine."""
    return base.build_mounts(machine.folder)


@pytest.fixture(scope="session")
def image(machine: Engine, mounts: Mapping[Path, str]) -> str:
    """The image of this checkout."""
    build(machine, ROOT, IMAGE, mounts)
    return IMAGE


@pytest.fixture(scope="session")
def systemd(machine: Engine, image: str) -> None:
    """The image of a machine with systemd."""
    assert image == IMAGE
    machine.build(ROOT / "deploy", SYSTEMD, file=Path(__file__).with_name("systemd.containerfile"), mounts={})


@pytest.fixture
def engine(machine: Engine, image: str) -> Iterator[Engine]:  # noqa: ARG001 - tests run the image
    """The engine with the image. Containers, pods and volumes of a test are removed after it."""
    yield machine
    machine.remove_containers()


@pytest.fixture
def simulated(engine: Engine) -> Simulated:
    """A simulated account in a container."""
    return Simulated(engine, IMAGE)


def build(engine: Engine, checkout: Path, tag: str, mounts: Mapping[Path, str]) -> None:
    """Build the image of a checkout as `docs/how-to/deployment.md` shows it, on the local base."""
    engine.build(
        checkout,
        tag,
        file=checkout / "deploy/docker/Dockerfile",
        mounts=mounts,
        arguments={"BASE": base.BASE, "REVISION": REVISION},
    )
