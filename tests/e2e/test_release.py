"""The release: a wheel that is complete and contains nothing else, and that runs in an empty environment."""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

from worker import __version__

ROOT = Path(__file__).parents[2]


def _run(*words: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603 - our own tools
        words,
        cwd=cwd,
        env={"PATH": os.environ["PATH"], "HOME": str(cwd), "SOURCE_DATE_EPOCH": "1764000000", **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def _build(source: Path, into: Path, *kinds: str) -> list[Path]:
    result = _run(
        sys.executable, "-m", "build", "--no-isolation", "--outdir", str(into), *kinds, str(source), cwd=source
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return sorted(into.iterdir())


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Build the wheel and the source distribution from the files that git tracks."""
    source = tmp_path_factory.mktemp("source")
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],  # noqa: S607 - whichever git there is
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    if listed.returncode != 0:
        pytest.skip("this is no checkout")
    for name in filter(None, listed.stdout.decode().split("\0")):
        if (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, source / name)
    wheel, sdist = _build(source, tmp_path_factory.mktemp("dist"))
    return wheel, sdist


def test_wheel_has_code_types_templates_and_catalogues_only(dist: tuple[Path, Path]) -> None:
    names = zipfile.ZipFile(dist[0]).namelist()
    packaged = {name for name in names if name.startswith("worker/")}
    expected = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "worker").rglob("*")
        if path.is_file() and path.suffix not in {".pyc", ".po", ".mo", ".pot"}
    }
    catalogues = {
        path.relative_to(ROOT).with_suffix(".mo").as_posix() for path in (ROOT / "worker/render/locale").rglob("*.po")
    }
    assert catalogues
    assert packaged == expected | catalogues
    assert {name.partition("/")[0] for name in names} == {"worker", f"senderid_worker-{__version__}.dist-info"}


def test_source_distribution_builds_the_same_wheel(dist: tuple[Path, Path], tmp_path: Path) -> None:
    with tarfile.open(dist[1]) as archive:
        archive.extractall(tmp_path, filter="data")
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {
        "Makefile",
        "requirements-dev.lock",
        "tests/conftest.py",
        "docs/conf.py",
        "deploy/docker/Dockerfile",
    } <= names
    (second,) = _build(tmp_path / f"senderid_worker-{__version__}", tmp_path / "dist", "--wheel")
    assert hashlib.sha256(second.read_bytes()).digest() == hashlib.sha256(dist[0].read_bytes()).digest()


def test_metadata_is_valid(dist: tuple[Path, Path]) -> None:
    result = _run(sys.executable, "-m", "twine", "check", "--strict", *map(str, dist), cwd=dist[0].parent)
    assert result.returncode == 0, result.stdout + result.stderr


def test_links_of_the_description_are_absolute(dist: tuple[Path, Path]) -> None:
    metadata = zipfile.ZipFile(dist[0]).read(f"senderid_worker-{__version__}.dist-info/METADATA").decode()
    links = re.findall(r"\]\(([^)#]+)", metadata) + re.findall(r'src(?:set)?="([^"]+)', metadata)
    assert len(links) > 20
    assert all(link.startswith("https://") for link in links)
    repository = "https://github.com/your-org/senderid/"
    paths = [link.removeprefix(repository).partition("/HEAD/")[2] for link in links if link.startswith(repository)]
    assert paths
    assert all((ROOT / path).exists() for path in paths)


def test_version_is_the_same_everywhere(dist: tuple[Path, Path]) -> None:
    metadata = zipfile.ZipFile(dist[0]).read(f"senderid_worker-{__version__}.dist-info/METADATA").decode()
    assert f"\nVersion: {__version__}\n" in metadata
    heads = re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert heads[0] in {"Unreleased", __version__}
    assert len(heads) == len(set(heads))


def test_wheel_runs_with_locked_dependencies_only(dist: tuple[Path, Path], tmp_path: Path) -> None:
    venv.create(tmp_path / "venv")
    pip = (sys.executable, "-m", "pip", "--python", str(tmp_path / "venv"), "--disable-pip-version-check")
    install = (*pip, "install", "--quiet", "--no-compile", "--no-deps")
    # pip uses the index of the caller's environment
    settings = {name: value for name, value in os.environ.items() if name.startswith(("PIP_", "XDG_"))}
    result = _run(
        *install, "--require-hashes", "-r", str(ROOT / "deploy/docker/runtime.lock"), cwd=tmp_path, **settings
    )
    if re.search("ConnectionError|NewConnectionError|No matching distribution", result.stderr):
        pytest.skip("no package index can be reached")
    assert result.returncode == 0, result.stderr
    assert _run(*install, "--no-index", str(dist[0]), cwd=tmp_path).returncode == 0
    assert _run(*pip, "check", cwd=tmp_path).returncode == 0
    senderid = str(tmp_path / "venv/bin/senderid")
    assert _run(senderid, "--version", cwd=tmp_path).stdout == f"senderid {__version__}\n"
    demo = _run(senderid, "demo", cwd=tmp_path, NO_COLOR="1")
    assert demo.returncode == 0, demo.stderr
    assert "명령" in _run(senderid, "--lang", "ko", "--help", cwd=tmp_path, PYTHONUTF8="1").stdout
    assert "No runs" in _run(senderid, "history", cwd=tmp_path).stdout
    page = _run(senderid, "history", "--format", "html", cwd=tmp_path)
    assert page.stdout.startswith("<!doctype html>"), page.stderr
