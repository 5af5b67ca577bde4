"""The image, installed once, and its pods."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.deploy import image
from tests.deploy.image import Image, Pod

Pods = Callable[..., Pod]


@pytest.fixture(scope="session")
def dockerfile() -> Image:
    """Return the image that the Dockerfile describes."""
    return image.read_dockerfile()


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the wheel and the lock file in a folder, as the image does."""
    if why := image.missing():
        pytest.skip(why)
    folder = tmp_path_factory.mktemp("installed")
    folder.chmod(0o755)
    image.install(folder, image.build(tmp_path_factory.mktemp("wheel")))
    return folder


@pytest.fixture
def pod(dockerfile: Image, installed: Path, tmp_path: Path) -> Iterator[Pods]:
    """Create pods, each with a folder of accounts and a user, and stop them after the test."""
    instance: list[Pod] = []

    def create(accounts: Path, user: tuple[int, int]) -> Pod:
        folder = tmp_path / f"pod{len(instance)}"
        folder.mkdir()
        instance.append(Pod(dockerfile, folder, installed, accounts, user))
        return instance[-1]

    yield create
    for item in instance:
        item.end()
