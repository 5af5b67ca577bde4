"""Files that are looked at again and again, on a real disk."""

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
    """Two files, of two accounts."""
    _write(tmp_path / "d" / "a.yaml", "01000000001")
    _write(tmp_path / "d" / "b.yaml", "01000000002")
    return tmp_path / "d"


class _Reads:
    """Which files were read."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.paths: list[str] = []
        real = sources.read_file

        def read(path: str, *given: object, **more: object) -> tuple[str, bytes] | Problem:
            self.paths.append(Path(path).name)
            return real(path, *given, **more)  # type: ignore[arg-type]

        monkeypatch.setattr(sources, "read_file", read)

    def taken(self) -> list[str]:
        """Those since the last time."""
        taken, self.paths = self.paths, []
        return taken


def _far_later() -> float:
    return 4_000_000_000.0


def test_only_what_changed_is_read_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file whose times, size and inode are as before is not opened; a touched one with the same bytes is no news."""
    reads = _Reads(monkeypatch)
    files = WatchedFiles([str(folder)], wall=_far_later)
    files.begin()
    assert reads.taken() == ["a.yaml", "b.yaml"]
    before = files.accounts
    assert files.refresh() == FileChanges()
    assert reads.taken() == []
    os.utime(folder / "a.yaml", (OLD + 9, OLD + 9))
    assert files.refresh() == FileChanges()
    assert reads.taken() == ["a.yaml"]
    assert all(one is other for one, other in zip(before, files.accounts, strict=True))
    _write(folder / "b.yaml", "01000000003")
    assert files.refresh().changed_accounts == {"b"}
    assert list(files.accounts[1].numbers) == ["01000000003"]
    assert files.refresh(read_all=True) == FileChanges()
    assert reads.taken() == ["b.yaml", "a.yaml", "b.yaml"]


@pytest.mark.parametrize(("age", "reads_again"), [(1.9, 2), (2.1, 0)])
def test_a_young_file_is_read_until_its_times_can_be_believed(
    age: float, reads_again: int, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within two seconds a file may change twice and look the same: it is read again meanwhile."""
    reads = _Reads(monkeypatch)
    changed = [(folder / name).stat().st_ctime for name in ("a.yaml", "b.yaml")]
    oldest, newest = min(changed), max(changed)
    files = WatchedFiles([str(folder)], wall=lambda: (oldest if age < 2 else newest) + age)
    files.begin()
    files.refresh()
    assert len(reads.taken()) == 2 + reads_again


def test_deleted_files_are_reported_and_new_ones_found(folder: Path) -> None:
    """A file that is removed takes its account along, a new one brings one."""
    files = WatchedFiles([str(folder)])
    files.begin()
    (folder / "a.yaml").unlink()
    _write(folder / "c.yaml", "01000000003")
    news = files.refresh()
    assert news == FileChanges(
        removed_files=(str(folder / "a.yaml"),), removed_accounts=frozenset({"a"}), changed_accounts=frozenset({"c"})
    )
    assert [account.name for account in files.accounts] == ["b", "c"]


def test_a_named_file_that_goes_is_deleted_and_a_folder_that_goes_is_not(folder: Path) -> None:
    """A failed mount must not delete a thousand accounts: a missing folder is broken, and its accounts stay."""
    files = WatchedFiles([str(folder / "a.yaml"), str(folder)])
    with pytest.raises(DesiredStateError, match="same file"):
        files.begin()
    _write(folder.parent / "x.yaml", "01000000009")
    files = WatchedFiles([str(folder.parent / "x.yaml"), str(folder)])
    files.begin()
    (folder.parent / "x.yaml").unlink()
    assert files.refresh().removed_accounts == {"x"}
    folder.rename(folder.parent / "elsewhere")
    news = files.refresh()
    assert list(news.problems) == [str(folder)]
    assert [account.name for account in files.accounts] == ["a", "b"]
    (folder.parent / "elsewhere").rename(folder)
    assert files.refresh().fixed_files == (str(folder),)


def test_a_second_name_of_a_file_is_a_problem_of_the_newcomer(folder: Path) -> None:
    """A link to a watched file is an error, and the accounts stay."""
    files = WatchedFiles([str(folder)], wall=_far_later)
    files.begin()
    (folder / "z.yaml").symlink_to(folder / "a.yaml")
    news = files.refresh()
    assert "same file" in str(news.problems[str(folder / "z.yaml")])
    assert len(files.accounts) == 2


def test_it_can_be_about_some_accounts(folder: Path) -> None:
    """Named accounts alone are watched, also after their files changed."""
    files = WatchedFiles([str(folder)])
    files.begin()
    files.narrow(["b"])
    assert [account.name for account in files.accounts] == ["b"]
    _write(folder / "a.yaml", "01000000004")
    files.refresh()
    assert [account.name for account in files.accounts] == ["b"]
    assert [list(account.numbers) for account in files.others] == [["01000000004"]]
    files.narrow([])
    assert [account.name for account in files.accounts] == ["a", "b"]
    assert files.others == ()


def test_a_conflict_of_the_given_check_is_a_problem(folder: Path) -> None:
    """At the start it is an error. Later the files that it names are broken."""
    conflicts = [Conflict(Problem(str(folder / "b.yaml"), 1, 1, "also a"), (str(folder / "b.yaml"),))]
    with pytest.raises(DesiredStateError, match="also a"):
        WatchedFiles([str(folder)], lambda _: conflicts).begin()
    files = WatchedFiles([str(folder)])
    files.begin()
    files.check = lambda _: conflicts
    _write(folder / "b.yaml", "01000000003")
    assert "also a" in str(files.refresh().problems[str(folder / "b.yaml")])
