"""Files on disk: read desired state from files, folders or standard input, and replace files atomically."""

import os
import stat
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from errno import EISDIR, ENOENT
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO, Final

from worker.config.yaml_reader import FILE_CAP
from worker.model.accounts import SHARED_FILE
from worker.model.errors import Problem
from worker.model.messages import Message, system_text

__all__ = [
    "STDERR",
    "STDIN",
    "STDOUT",
    "FileIdentity",
    "FileVersion",
    "SharedFiles",
    "check_writable",
    "digest",
    "expand_folders",
    "is_special",
    "locate",
    "read",
    "read_file",
    "read_identity",
    "read_version",
    "replace",
    "shared_path",
    "yaml_files",
    "yaml_files_below",
]

STDIN: Final = "stdin"
"""The name of standard input in messages."""
STDOUT: Final = "-"
STDERR: Final = "/dev/stderr"
_STDERR: Final = frozenset({STDERR, "/dev/fd/2", "/proc/self/fd/2"})
_DESCRIPTORS: Final = frozenset({"/dev/fd", "/proc/self/fd"})
_ENDINGS: Final = (".yaml", ".yml")
_FILE: Final = Message("a file")
_CHUNK: Final = 1 << 16
"""Size in bytes of one read."""

FileIdentity = tuple[int, int]
"""Device and inode of a file. Two paths of the same file have the same identity."""

FileVersion = tuple[int, int, int, int, int]
"""Device, inode, size, mtime and ctime of a file. A change of the file changes its version."""


def read(paths: Sequence[str], stdin: Callable[[int], bytes]) -> Iterator[tuple[str, bytes] | Problem]:
    """Yield the name and the bytes of each file, or the problem that prevents its reading. No file is read twice.

    The path `-` is standard input, of which `stdin(size)` reads at most `size` bytes. Folders are searched for *.yaml
    and *.yml files, each folder once. Links are followed; hidden files and folders, and shared files, are skipped.
    """
    read_before: dict[FileIdentity, str] = {}
    has_read_stdin = False
    for path in expand_folders(paths):
        if isinstance(path, Problem):
            yield path
        elif path == "-":
            yield (
                Problem(STDIN, 1, 1, Message("standard input is given twice: give - once"))
                if has_read_stdin
                else _stdin(stdin)
            )
            has_read_stdin = True
        else:
            yield read_file(path, read_before, Message("a file, a folder or - for standard input"))


def expand_folders(paths: Sequence[str]) -> Iterator[str | Problem]:
    """Yield the paths in order. In place of a folder, yield its *.yaml and *.yml files, or a problem."""
    for path in paths:
        if os.path.isdir(path):  # noqa: PTH112 - Path.is_dir raises where a name is too long
            yield from _folder(path)
        else:
            yield path


def read_file(
    path: str, read_before: dict[FileIdentity, str] | None = None, expected: Message = _FILE, cap: int = FILE_CAP
) -> tuple[str, bytes] | Problem:
    """Return a file's name and its first `cap` + 1 bytes, or the problem that prevents its reading.

    `read_before` maps the identities of files to their names. A file in it is a problem; the file that is read is added
    to it. `expected` names in messages what the user should give.
    """
    if not path.isprintable():
        # the name goes to terminals and logs
        message = Message("the name has unprintable characters: rename the file or folder")
        return Problem(_printable(path), 1, 1, message)
    if not path:
        return Problem("''", 1, 1, Message("the path is empty: give {expected}", expected=expected))
    try:
        # a FIFO or a device may never end, or block when opened
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                return Problem(path, 1, 1, Message("not a regular file: give {expected}", expected=expected))
            identity = (status.st_dev, status.st_ino)
            if read_before is not None and identity in read_before:
                return Problem(
                    path,
                    1,
                    1,
                    Message("same file as {other_name}: give it once", other_name=read_before[identity]),
                )
            data = _first_bytes(file, cap + 1)
    except OSError as error:
        return Problem(path, 1, 1, _unreadable(error))
    if read_before is not None:
        read_before[identity] = path
    return path, data


def _first_bytes(file: BinaryIO, size: int) -> bytes:
    """Return at most `size` bytes. One read of `size` bytes would allocate `size` bytes for each file."""
    chunks = []
    while size > 0 and (chunk := file.read(min(size, _CHUNK))):
        chunks.append(chunk)
        size -= len(chunk)
    return b"".join(chunks)


class SharedFiles:
    """Reader of the files with the defaults of folders. It reads each once."""

    def __init__(self) -> None:
        self._files: dict[str, tuple[str, bytes] | Problem | None] = {}

    def __call__(self, source: str) -> tuple[str, bytes] | Problem | None:
        """Return the name and the bytes of the shared file in the folder of `source`.

        Return a problem if the shared file cannot be read, and None if the folder has none or `source` is standard
        input.
        """
        if source == STDIN:
            return None
        folder = os.path.dirname(source)  # noqa: PTH120 - a Path for each file takes long
        if folder not in self._files:
            path = shared_path(source)
            self._files[folder] = read_file(str(path)) if os.path.lexists(path) else None
        return self._files[folder]


def digest(sources: Iterable[tuple[str, bytes]], shared_files: SharedFiles) -> str:
    """Return the SHA-256 of the names and bytes of files, and of the files with the defaults of their folders."""
    total = sha256()
    folders: dict[str, str] = {}
    for name, data in sources:
        folders.setdefault(os.path.dirname(name), name)  # noqa: PTH120 - a Path for each file takes long
        total.update(sha256(name.encode()).digest() + sha256(data).digest())
    for name in folders.values():
        shared = shared_files(name)
        total.update(b"-" if shared is None else repr(shared).encode())
    return total.hexdigest()


def shared_path(source: str) -> Path:
    """Return the path of the file that has the defaults of a desired-state file."""
    return Path(source).with_name(SHARED_FILE)


def locate(name: str, folder: str | None) -> str | None:
    """Return the current path of a file that a plan names; None if the file is not found.

    Without `folder`, that is `name` itself. With `folder`, it is the longest tail of `name` that exists in the folder.
    """
    if name == STDIN:
        return None
    if folder is None:
        return name if os.path.lexists(name) else None
    parts = [part for part in Path(os.path.normpath(name)).parts if part not in {os.sep, os.pardir}]
    ends = (os.path.join(folder, *parts[first_part:]) for first_part in range(len(parts)))  # noqa: PTH118 - as given
    return next(filter(os.path.lexists, ends), None)


def yaml_files_below(folder: Path) -> list[str]:
    """Return the *.yaml and *.yml files in a folder and all folders below it, except hidden and shared ones."""
    return [path for path in _folder(str(folder)) if isinstance(path, str)]


def yaml_files(folder: Path) -> list[str]:
    """Return the *.yaml and *.yml files directly in a folder, except hidden and shared ones.

    Return none if the folder cannot be read.
    """
    try:
        names = sorted(path.name for path in folder.iterdir())
    except OSError:
        return []
    return [str(Path(folder, name)) for name in names if _is_yaml(name)]


def read_identity(path: str) -> FileIdentity | None:
    """Return the identity of a file; None if it does not exist."""
    version = read_version(path)
    return None if version is None else version[:2]


def read_version(path: str) -> FileVersion | None:
    """Return the version of a file; None if it does not exist."""
    try:
        status = os.stat(path)  # noqa: PTH116 - Path.stat raises ValueError where a name has a NUL
    except (OSError, ValueError):
        return None
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _is_yaml(name: str) -> bool:
    return name.endswith(_ENDINGS) and not name.startswith(".") and name != SHARED_FILE


def _unreadable(error: OSError) -> Message:
    return Message("cannot be read: {error}", error=system_text(error.strerror))


def _printable(path: str) -> str:
    return path if path.isprintable() else ascii(path)


def _stdin(stdin: Callable[[int], bytes]) -> tuple[str, bytes] | Problem:
    try:
        return STDIN, stdin(FILE_CAP + 1)
    except OSError as error:
        return Problem(STDIN, 1, 1, _unreadable(error))


def _folder(path: str) -> Iterator[str | Problem]:
    is_empty = True
    shared: str | None = None
    unreadable: list[OSError] = []
    visited: set[FileIdentity] = set()
    for parent, folders, files in os.walk(path, onerror=unreadable.append, followlinks=True):
        try:
            status = Path(parent).stat()
        except OSError as missing:
            # a folder deleted meanwhile counts as absent; any other error is reported
            if not isinstance(missing, FileNotFoundError):
                unreadable.append(missing)
            folders.clear()
            continue
        if (status.st_dev, status.st_ino) in visited:
            folders.clear()
            continue
        visited.add((status.st_dev, status.st_ino))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        if SHARED_FILE in files:
            shared = str(Path(parent, SHARED_FILE))
        for name in filter(_is_yaml, sorted(files)):
            is_empty = False
            yield str(Path(parent, name))
    for error in unreadable:
        is_empty = False
        yield Problem(
            _printable(str(error.filename)),
            1,
            1,
            Message("the folder cannot be read: {error}", error=system_text(error.strerror)),
        )
    if is_empty:
        # the reader of the shared file says that it describes no account
        yield shared or Problem(_printable(path), 1, 1, Message("the folder has no *.yaml or *.yml files"))


def check_writable(path: str | None) -> None:
    """Check that `replace` can write a file, without changing the file. A path of None passes the check.

    Raises:
        OSError: the file cannot be written.
    """
    if path is not None and not is_special(Path(path)):
        descriptor, name = _beside(Path(path))
        os.close(descriptor)
        Path(name).unlink()


def is_special(path: Path) -> bool:
    """Return True if a path is a device, a pipe or an open descriptor, which cannot be replaced."""
    if str(path) in _STDERR or str(path.parent) in _DESCRIPTORS:
        return True
    return path.exists() and not (path.is_file() or path.is_dir())


def _beside(path: Path) -> tuple[int, str]:
    if path.is_dir():
        raise IsADirectoryError(EISDIR, os.strerror(EISDIR), str(path))
    try:
        return tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    except OSError as error:
        reason = error.strerror
        if error.errno == ENOENT:
            reason = Message("the folder {folder} does not exist; create it first", folder=str(path.parent))
        raise OSError(error.errno, reason, str(path)) from None


def replace(path: Path, data: bytes, *, mode: int) -> None:
    """Replace a file atomically, with the permissions `mode`. Symbolic links are followed.

    Data for a device, a pipe or an open descriptor is written to it directly.

    Raises:
        OSError: the file could not be written. The old file is unchanged.
    """
    if is_special(path):
        path.write_bytes(data)
        return
    if path.is_symlink():
        path = path.resolve()
    descriptor, name = _beside(path)
    try:
        with open(descriptor, "wb") as file:  # noqa: PTH123 - a descriptor, not a path
            os.fchmod(descriptor, mode)
            file.write(data)
            file.flush()
            os.fsync(descriptor)
        Path(name).replace(path)
    except BaseException:
        with suppress(OSError):
            Path(name).unlink()
        raise
