"""Reading and replacing files: paths, folders, special files and symlinks."""

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from worker.config import files
from worker.config.files import read, read_file, read_identity, yaml_files
from worker.config.yaml_reader import FILE_CAP
from worker.model.errors import Problem


def fail_on_stdin(size: int) -> bytes:
    """Fail if standard input is read."""
    raise AssertionError(size)


def read_paths(*paths: object) -> list[tuple[str, bytes]]:
    """Read valid paths."""
    sources = list(read([str(path) for path in paths], fail_on_stdin))
    assert [source for source in sources if isinstance(source, Problem)] == []
    return [source for source in sources if not isinstance(source, Problem)]


def problems(*paths: object) -> list[str]:
    """Return the formatted problems of paths."""
    return [str(source) for source in read([str(path) for path in paths], fail_on_stdin) if isinstance(source, Problem)]


def test_file_is_read_under_the_given_path(tmp_path: Path) -> None:
    path = tmp_path / "numbers.txt"
    path.write_bytes(b"version: 1\r\n")
    assert read_paths(path) == [(str(path), b"version: 1\r\n")]


def test_relative_path_stays_relative(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "a.yaml").write_bytes(b"x")
    monkeypatch.chdir(tmp_path)
    assert read_paths("config") == [("config/a.yaml", b"x")]


def test_folder_is_read_recursively_by_name(tmp_path: Path) -> None:
    """Hidden files and folders are skipped."""
    for name in ("b.yaml", "a.yml", "c.txt", "d.yaml~", ".e.yaml", "y/a.yaml", "x/z/b.yaml", ".git/g.yaml", "h.YAML"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    assert [(Path(name).relative_to(tmp_path).as_posix(), data.decode()) for name, data in read_paths(tmp_path)] == [
        (name, name) for name in ("a.yml", "b.yaml", "x/z/b.yaml", "y/a.yaml")
    ]


def test_symlinks_are_followed(tmp_path: Path) -> None:
    """A mounted ConfigMap consists of symlinks."""
    (tmp_path / "..data").mkdir()
    (tmp_path / "..data" / "main.yaml").write_bytes(b"1")
    (tmp_path / "main.yaml").symlink_to("..data/main.yaml")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "team.yaml").write_bytes(b"2")
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "link").symlink_to(elsewhere)
    assert read_paths(tmp_path / "main.yaml", folder) == [
        (str(tmp_path / "main.yaml"), b"1"),
        (str(folder / "link" / "team.yaml"), b"2"),
    ]


def test_symlink_loop_is_read_once(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_bytes(b"1")
    (tmp_path / "loop").symlink_to(tmp_path)
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "up").symlink_to("..")
    assert read_paths(tmp_path) == [(str(tmp_path / "a.yaml"), b"1")]


def test_folder_without_yaml_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "a.txt").write_bytes(b"")
    assert problems(tmp_path) == [f"{tmp_path}:1:1: the folder has no *.yaml or *.yml files"]


def test_shared_file_of_a_folder_is_read_only_if_there_is_no_other_file(tmp_path: Path) -> None:
    """The loader then reports that the file describes no account."""
    shared = tmp_path / "senderid.yaml"
    shared.write_bytes(b"1")
    assert read_paths(tmp_path) == [(str(shared), b"1")]
    other = tmp_path / "a.yaml"
    other.write_bytes(b"2")
    assert read_paths(tmp_path) == [(str(other), b"2")]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_folder_without_read_permission_is_reported(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_bytes(b"1")
    closed = tmp_path / "closed"
    closed.mkdir(mode=0)
    assert problems(tmp_path) == [f"{closed}:1:1: the folder cannot be read: Permission denied"]


def test_unreadable_folder_is_reported_beside_other_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.yaml").write_bytes(b"1")
    closed = tmp_path / "closed\x1b"
    closed.mkdir()
    scandir: Callable[[str], object] = os.scandir

    def fail(path: str) -> object:
        if path == str(closed):
            raise OSError(errno.EACCES, os.strerror(errno.EACCES), path)
        return scandir(path)

    # root can read every folder, so the failure is simulated
    monkeypatch.setattr(os, "scandir", fail)
    first, second = read([str(tmp_path)], fail_on_stdin)
    assert first == (str(tmp_path / "a.yaml"), b"1")
    assert str(second) == f"'{tmp_path}/closed\\x1b':1:1: the folder cannot be read: Permission denied"


@pytest.mark.parametrize(("number", "count"), [(errno.ENOENT, 0), (errno.ESTALE, 1)])
def test_folder_removed_during_the_walk_is_skipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, count: int
) -> None:
    """A folder that cannot be read is reported."""
    (tmp_path / "a.yaml").write_bytes(b"1")
    removed_folder = tmp_path / "gone"
    removed_folder.mkdir()
    stat = Path.stat

    def fail(path: Path, **options: bool) -> os.stat_result:
        if path == removed_folder:
            raise OSError(number, os.strerror(number), str(path))
        return stat(path, **options)

    monkeypatch.setattr(Path, "stat", fail)
    first, *folder_problems = read([str(tmp_path)], fail_on_stdin)
    assert first == (str(tmp_path / "a.yaml"), b"1")
    assert len(folder_problems) == count


def create_unreadable_paths(tmp_path: Path) -> dict[str, tuple[str, str]]:
    """Create paths that are not regular files, and return each with its error."""
    (tmp_path / "dangling.yaml").symlink_to("nowhere")
    (tmp_path / "loop.yaml").symlink_to("loop.yaml")
    os.mkfifo(tmp_path / "fifo.yaml")
    (tmp_path / "zero.yaml").symlink_to("/dev/zero")
    return {
        "dangling": (f"{tmp_path}/dangling.yaml", "cannot be read: No such file or directory"),
        "loop": (f"{tmp_path}/loop.yaml", "cannot be read: Too many levels of symbolic links"),
        "fifo": (f"{tmp_path}/fifo.yaml", "not a regular file: give a file, a folder or - for standard input"),
        "device": (f"{tmp_path}/zero.yaml", "not a regular file: give a file, a folder or - for standard input"),
        "missing": (f"{tmp_path}/missing.yaml", "cannot be read: No such file or directory"),
        "below a file": (f"{__file__}/a.yaml", "cannot be read: Not a directory"),
        "too long": (f"{tmp_path}/{'x' * 5000}", "cannot be read: File name too long"),
        "empty": ("", "the path is empty: give a file, a folder or - for standard input"),
    }


@pytest.mark.parametrize("kind", ["dangling", "loop", "fifo", "device", "missing", "below a file", "too long", "empty"])
def test_special_file_is_refused_immediately(kind: str, tmp_path: Path) -> None:
    """A FIFO does not block, and a device is not read."""
    path, reason = create_unreadable_paths(tmp_path)[kind]
    assert problems(path) == [f"{path or repr('')}:1:1: {reason}"]


def test_special_files_in_a_folder_are_reported(tmp_path: Path) -> None:
    create_unreadable_paths(tmp_path)
    (tmp_path / "good.yaml").write_bytes(b"1")
    sources = list(read([str(tmp_path)], fail_on_stdin))
    assert [Path(source.source).stem if isinstance(source, Problem) else source[1] for source in sources] == [
        "dangling",
        "fifo",
        b"1",
        "loop",
        "zero",
    ]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_file_without_read_permission_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.touch(mode=0)
    assert problems(path) == [f"{path}:1:1: cannot be read: Permission denied"]


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("a\x1b[31m.yaml", "a\\x1b[31m.yaml"),
        ("a\nb.yaml", "a\\nb.yaml"),
        ("a\u202eb.yaml", "a\\u202eb.yaml"),
        ("a\udcffb.yaml", "a\\udcffb.yaml"),
    ],
)
def test_file_with_unprintable_name_is_refused(name: str, shown: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"1")
    message = f"'{tmp_path}/{shown}':1:1: the name has unprintable characters: rename the file or folder"
    assert problems(tmp_path) == problems(tmp_path / name) == [message]


def test_empty_folder_with_unprintable_name_is_escaped(tmp_path: Path) -> None:
    (tmp_path / "\x1b").mkdir()
    assert problems(tmp_path / "\x1b") == [f"'{tmp_path}/\\x1b':1:1: the folder has no *.yaml or *.yml files"]


def test_same_file_given_twice_is_refused(tmp_path: Path) -> None:
    """The same file may come from a folder or a symlink. The first name is reported."""
    path, link = tmp_path / "a.yaml", tmp_path / "b.yaml"
    path.write_bytes(b"1")
    link.symlink_to(path)
    assert problems(path, path) == [f"{path}:1:1: same file as {path}: give it once"]
    assert problems(path, tmp_path) == [
        f"{path}:1:1: same file as {path}: give it once",
        f"{link}:1:1: same file as {path}: give it once",
    ]


def test_dash_reads_standard_input_up_to_the_limit() -> None:
    sizes: list[int] = []

    def stdin(size: int) -> bytes:
        sizes.append(size)
        return b"version: 1"

    assert list(read(["-"], stdin)) == [("stdin", b"version: 1")]
    assert sizes == [FILE_CAP + 1]


def test_standard_input_given_twice_is_refused() -> None:
    assert [str(item) for item in read(["-", "-"], lambda _: b"x")][1:] == [
        "stdin:1:1: standard input is given twice: give - once"
    ]


def test_closed_standard_input_is_reported() -> None:

    def closed(size: int) -> bytes:
        raise OSError(errno.EBADF, os.strerror(errno.EBADF), size)

    assert [str(item) for item in read(["-"], closed)] == ["stdin:1:1: cannot be read: Bad file descriptor"]


def test_file_is_read_up_to_one_byte_above_the_limit(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    with path.open("wb") as file:
        file.truncate(FILE_CAP * 4)
    ((_, data),) = read_paths(path)
    assert len(data) == FILE_CAP + 1


def test_yaml_files_lists_one_folder(tmp_path: Path) -> None:
    """A missing folder has no files, and a missing file no identity."""
    for name in ("b.yml", "a.yaml", ".hidden.yaml", "c.txt", "sub/d.yaml"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("")
    assert yaml_files(tmp_path) == [str(tmp_path / "a.yaml"), str(tmp_path / "b.yml")]
    assert yaml_files(tmp_path / "gone") == []
    assert (
        read_identity(str(tmp_path / "a.yaml"))
        == read_identity(f"{tmp_path}/./a.yaml")
        != read_identity(str(tmp_path / "b.yml"))
    )
    assert read_identity("nowhere.yaml") is read_identity("a\0b") is None


def test_read_file_reads_one_file(tmp_path: Path) -> None:
    path = tmp_path / "w.yaml"
    path.write_bytes(b"x")
    assert read_file(str(path)) == (str(path), b"x")
    assert read_file(str(path)) == (str(path), b"x")
    assert str(read_file(str(tmp_path))) == f"{tmp_path}:1:1: cannot be read: Is a directory"
    assert str(read_file("")) == "'':1:1: the path is empty: give a file"


def test_paths_are_read_in_the_given_order(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    for name in ("z.yaml", "sub/b.yaml", "sub/a.yaml"):
        (tmp_path / name).write_bytes(b"")
    sources = read([f"{tmp_path}/z.yaml", "-", f"{tmp_path}/none", f"{tmp_path}/sub"], lambda _: b"")
    names = [source.source if isinstance(source, Problem) else source[0] for source in sources]
    assert [Path(name).name for name in names] == ["z.yaml", "stdin", "none", "a.yaml", "b.yaml"]


def test_replace_sets_the_mode_and_keeps_symlinks(tmp_path: Path) -> None:
    target, link = tmp_path / "plan.json", tmp_path / "link.json"
    for mode in (0o600, 0o644):
        files.replace(target, b"%o" % mode, mode=mode)
        assert (target.read_bytes(), stat.S_IMODE(target.stat().st_mode)) == (b"%o" % mode, mode)
    link.symlink_to(target)
    files.replace(link, b"new", mode=0o600)
    assert (link.is_symlink(), target.read_bytes()) == (True, b"new")
    assert {path.name for path in tmp_path.iterdir()} == {"plan.json", "link.json"}


def test_failed_replacement_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "plan.json"
    target.write_bytes(b"old")

    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(OSError, match="No space left"):
        files.replace(target, b"new", mode=0o600)
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("plan.json", b"old")]


@pytest.mark.parametrize("write", [files.check_writable, lambda path: files.replace(Path(path), b"x", mode=0o600)])
def test_folder_and_missing_folder_cannot_be_written(write: Callable[[str], None], tmp_path: Path) -> None:
    """The error names the given path."""
    with pytest.raises(IsADirectoryError) as folder:
        write(str(tmp_path))
    missing = tmp_path / "missing" / "plan.json"
    with pytest.raises(FileNotFoundError) as not_found:
        write(str(missing))
    assert (folder.value.filename, not_found.value.filename) == (str(tmp_path), str(missing))
    assert not_found.value.strerror == f"the folder {missing.parent} does not exist; create it first"


def test_check_writable_does_not_create_the_file(tmp_path: Path) -> None:
    files.check_writable(None)
    files.check_writable("/dev/stderr")
    files.check_writable(str(tmp_path / "plan.json"))
    assert list(tmp_path.iterdir()) == []


def test_devices_pipes_and_descriptors_are_special(tmp_path: Path) -> None:
    """Special files are written in place."""
    os.mkfifo(tmp_path / "pipe")
    paths = ("/dev/null", "/dev/stderr", "/dev/fd/2", "/dev/fd/7", "/proc/self/fd/9", str(tmp_path / "pipe"))
    assert all(files.is_special(Path(path)) for path in paths)
    (tmp_path / "file").touch()
    assert not any(files.is_special(path) for path in (tmp_path, tmp_path / "file", tmp_path / "missing"))
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    files.replace(tmp_path / "pipe", b"data", mode=0o600)
    assert os.read(reader, 9) == b"data"
    os.close(reader)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("stdin", None),
        ("/elsewhere/b/x.yaml", "b/x.yaml"),
        ("/elsewhere/a/b/x.yaml", "a/b/x.yaml"),
        ("../b/x.yaml", "b/x.yaml"),
        ("b/../b/x.yaml", "b/x.yaml"),
        ("c/x.yaml", "x.yaml"),
        ("c/y.yaml", None),
    ],
)
def test_planned_file_is_located_by_longest_path_suffix(name: str, expected: str | None, tmp_path: Path) -> None:
    for path in ("x.yaml", "b/x.yaml", "a/b/x.yaml"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()
    assert files.locate(name, str(tmp_path)) == (None if expected is None else str(tmp_path / expected))
    assert files.locate(str(tmp_path / "x.yaml"), None) == str(tmp_path / "x.yaml")
    assert files.locate(str(tmp_path / "y.yaml"), None) is None


@pytest.mark.parametrize("size", [0, 1, (1 << 16) - 1, 1 << 16, (1 << 16) + 1, 1 << 18])
def test_file_of_any_size_is_read_whole(tmp_path: Path, size: int) -> None:
    data = os.urandom(size)
    (tmp_path / "a.yaml").write_bytes(data)
    assert read_paths(tmp_path / "a.yaml") == [(str(tmp_path / "a.yaml"), data)]


def test_digest_changes_with_each_name_and_byte(tmp_path: Path) -> None:
    """The digest includes shared files, whose defaults apply to the files of their folders."""
    folder = tmp_path / "d"
    folder.mkdir()

    def digest() -> str:
        return files.digest(read_paths(folder), files.SharedFiles())

    steps: list[Callable[[], object]] = [
        lambda: (folder / "a.yaml").write_bytes(b"1"),
        lambda: (folder / "a.yaml").write_bytes(b"2"),
        lambda: (folder / "a.yaml").rename(folder / "b.yaml"),
        lambda: (folder / "c.yaml").write_bytes(b""),
        lambda: (folder / "senderid.yaml").write_bytes(b"1"),
        lambda: (folder / "senderid.yaml").write_bytes(b"2"),
    ]
    digests = []
    for step in steps:
        step()
        digests.append(digest())
        assert digest() == digests[-1]
    assert len(set(digests)) == len(steps)
