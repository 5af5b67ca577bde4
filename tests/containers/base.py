"""A base image made of Debian packages, laid out as `python:3.11-slim-bookworm`, for machines without a registry."""

import configparser
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from tests.containers.engine import Engine, run_tool

__all__ = ["BASE", "build_mounts", "import_base"]

BASE: Final = "localhost/base:bookworm"
_SUITE: Final = "bookworm"
_CACHE: Final = Path(__file__).parents[2] / "build/containers/base.tar"
_CERTIFICATES: Final = "/etc/ssl/certs/ca-certificates.crt"

# Python and pip are in /usr/local. Names and addresses of the machine that debootstrap copies are removed.
_FINISH: Final = """
set -e
chroot "$ROOT" python3 -m venv /usr/local
rm -rf "$ROOT"/var/cache/apt/* "$ROOT"/var/lib/apt/lists/* "$ROOT"/var/log/* "$ROOT"/usr/share/doc/* "$ROOT"/root/.cache
for name in hostname hosts resolv.conf; do : > "$ROOT/etc/$name"; done
"""


def import_base(engine: Engine) -> None:
    """Import the base image. It is built once, in about a minute, and kept in `build/`."""
    if not _CACHE.exists():
        _bootstrap(engine.folder / "root")
    engine.podman("import", "--quiet", str(_CACHE), BASE, timeout=300)


def _bootstrap(root: Path) -> None:
    try:
        _run("debootstrap", "--variant=minbase", "--include=ca-certificates,python3,python3-venv", _SUITE, str(root))
    except AssertionError as error:
        pytest.skip(f"Debian's packages cannot be downloaded for a base image: {error}")
    _run("sh", "-c", _FINISH, ROOT=str(root))
    _CACHE.parent.mkdir(parents=True, exist_ok=True)
    part = _CACHE.with_suffix(".part")
    _run("tar", "-C", str(root), "-cf", str(part), ".")
    part.rename(_CACHE)
    shutil.rmtree(root)


def build_mounts(folder: Path) -> dict[Path, str]:
    """Return what a build mounts of the machine: its certificates, and the package index that pip uses here.

    They are mounted over paths that the base image has, so that nothing of them remains in the image, not even an
    empty file.
    """
    (folder / "home/.config/pip").mkdir(parents=True)
    here = configparser.ConfigParser(interpolation=None)
    here["global"] = {"cert": _CERTIFICATES}
    listed = subprocess.run([sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True)
    for line in listed.stdout.splitlines():
        name, _, value = line.partition("=")
        key = name.rpartition(".")[2]
        if key in {"index-url", "trusted-host", "proxy", "timeout"}:
            here["global"][key] = value.strip("'")
    with (folder / "home/.config/pip/pip.conf").open("w") as file:
        here.write(file)
    return {folder / "home": "/root", Path(_CERTIFICATES): _CERTIFICATES}


def _run(*command: str, **environment: str) -> None:
    path = f"{os.environ['PATH']}:/usr/sbin:/sbin"
    run_tool(*command, environment={"PATH": path, **environment}, timeout=900)
