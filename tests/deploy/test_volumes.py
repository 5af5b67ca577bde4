"""Files as Kubernetes and git-sync mount them: symbolic links that switch to a new folder atomically."""

from pathlib import Path

import pytest

from worker.daemon.files import WatchedFiles


class _Volume:
    """A volume in which each version is a folder, behind a link that switches atomically."""

    def __init__(self, root: Path, kind: str) -> None:
        self._root = root
        self._kind = kind
        self._version = 0
        self.path = root if kind == "config-map" else root / "current" / "accounts"

    def switch(self, **statuses: str) -> None:
        """Switch to a new version with one file per account."""
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
def test_switched_link_is_one_change(tmp_path: Path, kind: str) -> None:
    volume = _Volume(tmp_path, kind)
    volume.switch(main="ACTIVE")
    files = WatchedFiles([str(volume.path)])
    assert files.load() == ()
    assert [account.name for account in files.accounts] == ["main"]
    assert not files.refresh().changed_accounts
    volume.switch(main="INACTIVE")
    assert files.refresh().changed_accounts == {"main"}
    (account,) = files.accounts
    assert {expected.status for expected in account.numbers.values()} == {"INACTIVE"}
    volume.switch(main="PERHAPS")
    assert files.refresh().changed_accounts == frozenset()
    assert list(files.broken) == [str(volume.path / "main.yaml")]
    assert files.accounts == (account,)
