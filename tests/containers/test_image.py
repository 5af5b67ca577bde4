"""What the image contains beside its base, and that a second build gives the same."""

import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import pytest

from tests.containers import base
from tests.containers.conftest import REVISION, ROOT, SIZE, build
from tests.containers.engine import Engine
from worker import __version__

_MAX_BYTES: Final = 150 << 20
"""What the image may add to its base."""
TOOLS: Final = ("pip", "pip3", "hatch", "hatchling", "uv", "pybabel", "gcc", "cc", "make", "git", "curl", "wget")
_UNCHECKED_HASH: Final = 1
_SPECIAL_BITS: Final = 0o6000

Files = Mapping[str, Path]


def _files(root: Path) -> Files:
    return {path.relative_to(root).as_posix(): path for path in root.rglob("*")}


@pytest.fixture(scope="module")
def trees(machine: Engine, image: str) -> Iterator[tuple[Files, Files]]:
    """The files of the base image and of the image, by their paths."""
    names = (base.BASE, image)
    roots = [Path(machine.podman("image", "mount", name).stdout.strip()) for name in names]
    yield _files(roots[0]), _files(roots[1])
    machine.podman("image", "umount", *names)


def test_image_adds_little_to_its_base(machine: Engine, image: str, pytestconfig: pytest.Config) -> None:
    whole, below = (machine.inspect("image", name)["Size"] for name in (image, base.BASE))
    size = f"image {whole / (1 << 20):.0f} MiB, of which {(whole - below) / (1 << 20):.0f} MiB above its base"
    pytestconfig.stash[SIZE] = size
    assert whole - below < _MAX_BYTES, size


def test_labels_name_version_and_revision(machine: Engine, image: str) -> None:
    config = machine.inspect("image", image)["Config"]
    labels = {name.rpartition(".")[2]: text for name, text in config["Labels"].items() if "opencontainers" in name}
    assert labels.pop("description")
    assert labels == {"title": "senderid", "licenses": "MIT", "version": __version__, "revision": REVISION}
    assert {variable.partition("=")[0] for variable in config["Env"]} == {
        "PATH",
        "PYTHONDONTWRITEBYTECODE",
        "SENDERID_LEDGER__PATH",
    }


def test_image_changes_only_its_own_folders(trees: tuple[Files, Files]) -> None:
    """Nothing of the build remains in it: no package index, certificate, source or build environment."""
    below, whole = trees
    added = {name for name in whole.keys() - below.keys() if not name.startswith("opt/senderid/")}
    assert added == {"opt/senderid", "etc/senderid", "var/lib/senderid"}
    removed = below.keys() - whole.keys()
    assert all(name.startswith(("usr/local/bin/pip", "usr/local/lib/python3")) for name in removed)
    changed = [
        name
        for name in below.keys() & whole.keys()
        if below[name].is_file()
        and not below[name].is_symlink()
        and (below[name].stat().st_size, below[name].stat().st_mode)
        != (whole[name].stat().st_size, whole[name].stat().st_mode)
    ]
    assert changed == []


def test_image_has_neither_pip_nor_build_tools(machine: Engine, image: str, trees: tuple[Files, Files]) -> None:
    find = ["run", "--rm", "--no-healthcheck", "--entrypoint=sh", image, "-c"]
    script = f"for name in {' '.join(TOOLS)}; do command -v $name; done; true"
    assert machine.podman(*find, script).stdout == ""
    for python in ("python", "/usr/local/bin/python3"):
        missing = machine.podman(*find, f"{python} -m pip --version", check=False)
        assert "No module named pip" in missing.stderr
    packages = {name.split("/")[5] for name in trees[1] if name.startswith("opt/senderid/lib/") and name.count("/") > 4}
    assert "worker" in packages
    assert not packages & {"pip", "setuptools", "wheel", "hatchling", "babel", "tests"}


def test_only_the_state_can_be_written(trees: tuple[Files, Files]) -> None:
    """The image's user and group 0 can write it. No added file is setuid or setgid."""
    below, whole = trees
    writable = set()
    for name, path in whole.items():
        status = path.lstat()
        if path.is_symlink() or name in below:
            continue
        assert not status.st_mode & _SPECIAL_BITS
        if status.st_uid != 0 or status.st_gid != 0 or status.st_mode & 0o022:
            writable.add(name)
    assert writable == {"var/lib/senderid"}


def test_compiled_files_are_valid_whatever_their_times_are(trees: tuple[Files, Files]) -> None:
    compiled = {name: path for name, path in trees[1].items() if name.startswith("opt/") and name.endswith(".pyc")}
    sources = [name for name in trees[1] if name.startswith("opt/") and name.endswith(".py")]
    assert len(compiled) == len(sources)
    assert {path.read_bytes()[4] for path in compiled.values()} == {_UNCHECKED_HASH}


def test_second_build_gives_the_same_layers(
    machine: Engine, image: str, mounts: Mapping[Path, str], tmp_path: Path
) -> None:
    """The second build uses a copy of the checkout with other times and another path."""
    copy = tmp_path / "copy"
    ignored = shutil.ignore_patterns(".*cache*", ".git", ".hypothesis", ".venv*", "build", "dist", "mutants")
    shutil.copytree(ROOT, copy, ignore=ignored, copy_function=shutil.copyfile)
    build(machine, copy, "localhost/senderid:again", mounts)
    layers, again = (machine.inspect("image", name)["RootFS"]["Layers"] for name in (image, "localhost/senderid:again"))
    assert len(layers) == 2
    assert again == layers
