"""Watched desired-state files. Only files that may have changed are read again."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final

from worker.config import files
from worker.config.desired import AccountDocument, Check, Conflict
from worker.config.revision import with_commits
from worker.daemon.last_good import FileChanges, LastGood
from worker.model.accounts import DesiredAccount
from worker.model.errors import DesiredStateError, Problem
from worker.model.messages import Message

__all__ = ["WatchedFiles"]

_SETTLE_SECONDS: Final = 2.0
"""A file that changed less than this many seconds ago is read again.

Its timestamps may be too coarse to show another change.
"""


class WatchedFiles:
    """The desired-state files at the given paths, and the accounts that they describe.

    Call `load` before any other method. `check` finds conflicts between documents, and may be replaced at any time.
    `wall` returns the Unix time in seconds.
    """

    def __init__(
        self, paths: Sequence[str], check: Check | None = None, *, wall: Callable[[], float] = time.time
    ) -> None:
        self.check = check
        self._paths = paths
        self._wall = wall
        self._shared_files = files.SharedFiles()
        self._state = LastGood(self._find_conflicts, self._find_shared)
        self._names: frozenset[str] | None = None
        self._marks: dict[str, tuple[files.FileVersion, files.FileVersion | None]] = {}
        self._existing: set[str] = set()
        self._given_paths: set[str] = set()
        self._accounts: dict[str, DesiredAccount] = {}

    @property
    def accounts(self) -> tuple[DesiredAccount, ...]:
        """The selected accounts, each from the last valid version of its files."""
        return tuple(self._accounts.values())

    @property
    def others(self) -> tuple[DesiredAccount, ...]:
        """The accounts that `narrow` does not select, each from the last valid version of its files."""
        return tuple(account for account in self._state.accounts if account.name not in self._accounts)

    @property
    def broken(self) -> dict[str, DesiredStateError]:
        """The files whose current version is invalid, with their problems."""
        return self._state.broken

    def load(self) -> tuple[Problem, ...]:
        """Read all files for the first time, and return warnings.

        Raises:
            DesiredStateError: a file is invalid. The error lists every problem of every file.
        """
        warnings = self._state.load(self._all())
        self._take(frozenset(account.name for account in self._state.accounts))
        return warnings

    def narrow(self, names: Sequence[str]) -> None:
        """Select accounts by name from now on. An empty `names` selects all accounts."""
        self._names = frozenset(names) or None
        self._take(frozenset())

    def refresh(self, *, read_all: bool = False) -> FileChanges:
        """Read the files that may have changed, and return the changes. With `read_all`, read all files."""
        changes = self._state.take(self._read(read_all=read_all))
        if changes.changed_accounts or changes.removed_accounts:
            self._take(changes.changed_accounts)
        return changes

    def _find_conflicts(self, fragments: Sequence[AccountDocument]) -> Iterable[Conflict]:
        return () if self.check is None else self.check(fragments)

    def _find_shared(self, source: str) -> tuple[str, bytes] | Problem | None:
        return self._shared_files(source)

    def _take(self, changed_names: frozenset[str]) -> None:
        current = {account.name: account for account in self._state.accounts}
        changed_accounts = {
            account.name: account for account in with_commits(current[name] for name in sorted(changed_names))
        }
        self._accounts = {
            name: changed_accounts.get(name) or self._accounts.get(name) or account
            for name, account in current.items()
            if self._names is None or name in self._names
        }

    def _all(self) -> Iterator[tuple[str, bytes] | Problem]:
        for file in self._read(read_all=True):
            if isinstance(file, Problem):
                yield file
            elif file[1] is not None:
                yield file[0], file[1]

    def _read(self, *, read_all: bool) -> Iterator[tuple[str, bytes | None] | Problem]:
        existing_before, self._existing = self._existing, set()
        self._shared_files = files.SharedFiles()
        paths_by_identity: dict[files.FileIdentity, str] = {}
        for path in files.expand_folders(self._paths):
            if isinstance(path, Problem):
                yield path
                continue
            mark = files.read_version(path)
            shared_mark = files.read_version(str(files.shared_path(path)))
            if mark is None and (path in existing_before or path in self._given_paths):
                continue  # the file was deleted
            if mark is not None:
                self._existing.add(path)
                if path in self._paths:
                    self._given_paths.add(path)
                if not read_all and self._marks.get(path) == (mark, shared_mark):
                    paths_by_identity[mark[:2]] = path
                    yield path, None
                    continue
            self._marks.pop(path, None)
            content = files.read_file(path, paths_by_identity, Message("a file or a folder"))
            if (
                mark is not None
                and not isinstance(content, Problem)
                and max(*mark[3:], *(shared_mark or ())[3:]) / 1e9 + _SETTLE_SECONDS < self._wall()
            ):
                self._marks[path] = mark, shared_mark
            yield content
        for path in existing_before - self._existing:
            self._marks.pop(path, None)
