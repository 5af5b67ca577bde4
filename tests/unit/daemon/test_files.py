"""Watched files on a real disk."""

import os
from pathlib import Path

import pytest

from worker.config import files as sources
from worker.config.desired import Conflict
from worker.daemon.files import WatchedFiles
from worker.daemon.last_good import FileChanges
from worker.model.errors import DesiredStateError, Problem

OLD = 1_700_000_000


def _write(path: Path, phone: str, *, at: int = OLD) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"version: 1\nnumbers:\n  '{phone}': ACTIVE\n")
    os.utime(path, (at, at))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with two files of two accounts."""
    _write(tmp_path / "d" / "a.yaml", "01000000001")
    _write(tmp_path / "d" / "b.yaml", "01000000002")
    return tmp_path / "d"


class _Reads:
    """Recorder of the files that were read."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.paths: list[str] = []
        real = sources.read_file

        def read(path: str, *arguments: object, **options: object) -> tuple[str, bytes] | Problem:
            self.paths.append(Path(path).name)
            return real(path, *arguments, **options)  # type: ignore[arg-type]

        monkeypatch.setattr(sources, "read_file", read)

    def take(self) -> list[str]:
        """Return the files read since the last call."""
        paths, self.paths = self.paths, []
        return paths


def _far_later() -> float:
    return 4_000_000_000.0


def test_only_changed_files_are_read_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Times, size and inode identify an unchanged file. A touched file does not change its accounts."""
    reads = _Reads(monkeypatch)
    files = WatchedFiles([str(folder)], wall=_far_later)
    files.load()
    assert reads.take() == ["a.yaml", "b.yaml"]
    original = files.accounts
    assert files.refresh() == FileChanges()
    assert reads.take() == []
    os.utime(folder / "a.yaml", (OLD + 9, OLD + 9))
    assert files.refresh() == FileChanges()
    assert reads.take() == ["a.yaml"]
    assert all(old is new for old, new in zip(original, files.accounts, strict=True))
    _write(folder / "b.yaml", "01000000003")
    assert files.refresh().changed_accounts == {"b"}
    assert list(files.accounts[1].numbers) == ["01000000003"]
    assert files.refresh(read_all=True) == FileChanges()
    assert reads.take() == ["b.yaml", "a.yaml", "b.yaml"]


@pytest.mark.parametrize(("age", "reads_again"), [(1.9, 2), (2.1, 0)])
def test_recently_changed_file_is_read_again(
    age: float, reads_again: int, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within two seconds, a second change may leave times and size equal."""
    reads = _Reads(monkeypatch)
    changed = [(folder / name).stat().st_ctime for name in ("a.yaml", "b.yaml")]
    oldest, newest = min(changed), max(changed)
    files = WatchedFiles([str(folder)], wall=lambda: (oldest if age < 2 else newest) + age)
    files.load()
    files.refresh()
    assert len(reads.take()) == 2 + reads_again


def test_deleted_and_new_files_are_detected(folder: Path) -> None:
    files = WatchedFiles([str(folder)])
    files.load()
    (folder / "a.yaml").unlink()
    _write(folder / "c.yaml", "01000000003")
    changes = files.refresh()
    assert changes == FileChanges(
        removed_files=(str(folder / "a.yaml"),), removed_accounts=frozenset({"a"}), changed_accounts=frozenset({"c"})
    )
    assert [account.name for account in files.accounts] == ["b", "c"]


def test_missing_file_is_deleted_but_missing_folder_keeps_its_accounts(folder: Path) -> None:
    """A failed mount must not remove a thousand accounts."""
    files = WatchedFiles([str(folder / "a.yaml"), str(folder)])
    with pytest.raises(DesiredStateError, match="same file"):
        files.load()
    _write(folder.parent / "x.yaml", "01000000009")
    files = WatchedFiles([str(folder.parent / "x.yaml"), str(folder)])
    files.load()
    (folder.parent / "x.yaml").unlink()
    assert files.refresh().removed_accounts == {"x"}
    folder.rename(folder.parent / "elsewhere")
    changes = files.refresh()
    assert list(changes.problems) == [str(folder)]
    assert [account.name for account in files.accounts] == ["a", "b"]
    (folder.parent / "elsewhere").rename(folder)
    assert files.refresh().fixed_files == (str(folder),)


def test_symlink_to_a_watched_file_is_invalid(folder: Path) -> None:
    files = WatchedFiles([str(folder)], wall=_far_later)
    files.load()
    (folder / "z.yaml").symlink_to(folder / "a.yaml")
    changes = files.refresh()
    assert "same file" in str(changes.problems[str(folder / "z.yaml")])
    assert len(files.accounts) == 2


def test_narrowed_watch_keeps_its_selection_after_changes(folder: Path) -> None:
    files = WatchedFiles([str(folder)])
    files.load()
    files.narrow(["b"])
    assert [account.name for account in files.accounts] == ["b"]
    _write(folder / "a.yaml", "01000000004")
    files.refresh()
    assert [account.name for account in files.accounts] == ["b"]
    assert [list(account.numbers) for account in files.others] == [["01000000004"]]
    files.narrow([])
    assert [account.name for account in files.accounts] == ["a", "b"]
    assert files.others == ()


def test_conflict_of_the_given_check_is_a_problem(folder: Path) -> None:
    """At the start, a conflict is an error. Later, the files that it names are invalid."""
    conflicts = [Conflict(Problem(str(folder / "b.yaml"), 1, 1, "also a"), (str(folder / "b.yaml"),))]
    with pytest.raises(DesiredStateError, match="also a"):
        WatchedFiles([str(folder)], lambda _: conflicts).load()
    files = WatchedFiles([str(folder)])
    files.load()
    files.check = lambda _: conflicts
    _write(folder / "b.yaml", "01000000003")
    assert "also a" in str(files.refresh().problems[str(folder / "b.yaml")])


def test_changed_shared_file_is_noticed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The files of its folder are read again, even if it is new or deleted."""
    reads = _Reads(monkeypatch)
    files = WatchedFiles([str(folder)], wall=_far_later)
    files.load()
    for text, is_protected in (("defaults: {protected: true}\n", True), ("", False), (None, False)):
        reads.take()
        path = folder / "senderid.yaml"
        path.unlink(missing_ok=True)
        if text is not None:
            path.write_text(f"version: 1\n{text}")
            os.utime(path, (OLD, OLD))
        assert files.refresh().changed_accounts == {"a", "b"}
        assert sorted(reads.take()) == ["a.yaml", "b.yaml", *(["senderid.yaml"] if text is not None else [])]
        assert files.refresh() == FileChanges()
        assert reads.take() == []
        assert {number.protected for account in files.accounts for number in account.numbers.values()} == {is_protected}
