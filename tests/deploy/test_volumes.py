"""Files as Kubernetes and git-sync mount them: symbolic links that switch to a new folder at once."""

from pathlib import Path

import pytest

from worker.daemon.files import WatchedFiles


class _Volume:
    """A folder of which each version is a folder of its own, behind a link that is turned at once."""

    def __init__(self, root: Path, kind: str) -> None:
        self._root = root
        self._kind = kind
        self._version = 0
        self.path = root if kind == "config-map" else root / "current" / "accounts"

    def turn(self, **statuses: str) -> None:
        """A new version, with one file an account."""
        self._version += 1
        if self._kind == "config-map":
            link, folder = self._root / "..data", self._root / f"..2026_11_24_{self._version}"
            files = folder
        else:
            link, folder = self._root / "current", self._root / ".worktrees" / f"{self._version:040}"
            files = folder / "accounts"
        files.mkdir(parents=True)
        for name, status in statuses.items():
            (files / f"{name}.yaml").write_text(f"version: 1\nnumbers:\n  010-0000-0001: {status}\n")
        fresh = self._root / "..fresh"
        fresh.symlink_to(folder.relative_to(self._root))
        fresh.rename(link)
        if self._kind == "config-map":
            for name in statuses:
                if not (self._root / f"{name}.yaml").is_symlink():
                    (self._root / f"{name}.yaml").symlink_to(f"..data/{name}.yaml")


@pytest.mark.parametrize("kind", ["config-map", "git-sync"])
def test_switched_link_is_one_change_and_no_file_counts_twice(tmp_path: Path, kind: str) -> None:
    volume = _Volume(tmp_path, kind)
    volume.turn(main="ACTIVE")
    files = WatchedFiles([str(volume.path)])
    assert files.load() == ()
    assert [account.name for account in files.accounts] == ["main"]
    assert not files.refresh().changed_accounts
    volume.turn(main="INACTIVE")
    assert files.refresh().changed_accounts == {"main"}
    (account,) = files.accounts
    assert {wanted.status for wanted in account.numbers.values()} == {"INACTIVE"}
    volume.turn(main="PERHAPS")
    assert files.refresh().changed_accounts == frozenset()
    assert list(files.broken) == [str(volume.path / "main.yaml")]
    assert files.accounts == (account,)
