"""Reading desired-state files: a file, a folder, standard input."""

import os
import stat
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

from worker.errors import Problem
from worker.strictyaml import FILE_CAP

__all__ = ["read"]

_ENDINGS: Final = (".yaml", ".yml")


def read(paths: Sequence[str], stdin: Callable[[int], bytes]) -> Iterator[tuple[str, bytes] | Problem]:
    """Name and bytes of each file, or why it cannot be read. No file is read twice, and none much over its bound.

    `-` is standard input, read through `stdin(size)`. A folder is walked for *.yaml and *.yml, hidden ones left out.
    """
    seen: dict[tuple[int, int], str] = {}
    for path in paths:
        if path == "-":
            yield "stdin", stdin(FILE_CAP + 1)
            continue
        if not Path(path).is_dir():
            yield _file(path, seen)
            continue
        found = False
        for name in _walk(path):
            found = True
            yield _file(name, seen)
        if not found:
            yield Problem(path, 1, 1, "the folder has no *.yaml or *.yml files")


def _walk(folder: str) -> Iterator[str]:
    for parent, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if name.endswith(_ENDINGS) and not name.startswith("."):
                yield str(Path(parent, name))


def _file(path: str, seen: dict[tuple[int, int], str]) -> tuple[str, bytes] | Problem:
    try:
        # a FIFO or a device would never end; opening it must not wait either
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode):
                return Problem(path, 1, 1, "this is no file: give a file, a folder or -")
            identity = (found.st_dev, found.st_ino)
            if identity in seen:
                return Problem(path, 1, 1, f"this is the same file as {seen[identity]}: give it once")
            seen[identity] = path
            return path, file.read(FILE_CAP + 1)
    except OSError as error:
        return Problem(path, 1, 1, f"cannot be read: {error.strerror}")
