"""The image, installed once, and pods of it."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.deploy import image
from tests.deploy.image import Image, Pod

Pods = Callable[..., Pod]


@pytest.fixture(scope="session")
def dockerfile() -> Image:
    """What the Dockerfile makes."""
    return image.read()


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the image has in its folder, made of the wheel and the lock."""
    if why := image.missing():
        pytest.skip(why)
    folder = tmp_path_factory.mktemp("installed")
    folder.chmod(0o755)
    image.install(folder, image.build(tmp_path_factory.mktemp("wheel")))
    return folder


@pytest.fixture
def pod(dockerfile: Image, installed: Path, tmp_path: Path) -> Iterator[Pods]:
    """Makes pods, each with a folder of accounts and a user, and ends them."""
    made: list[Pod] = []

    def make(accounts: Path, user: tuple[int, int]) -> Pod:
        folder = tmp_path / f"pod{len(made)}"
        folder.mkdir()
        made.append(Pod(dockerfile, folder, installed, accounts, user))
        return made[-1]

    yield make
    for each in made:
        each.end()
