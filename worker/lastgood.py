"""Desired state that outlives a broken file: each file counts as it last was when it was right.

Files that no longer agree with each other count so too: what was there first stays.
"""

from collections.abc import Iterable, Iterator
from hashlib import sha256
from pathlib import PurePath

from msgspec import Struct

from worker import desired
from worker.errors import DesiredStateError, Problem
from worker.model import DesiredAccount

__all__ = ["LastGood", "News"]

Accounts = tuple[DesiredAccount, ...]


class News(Struct, frozen=True):
    """What another look at the files has brought, by their names as the user gave them.

    `broken` has files that were right, or broken in another way, when they were last looked at, with what is wrong now.
    `changed` and `gone` are the names of accounts.
    """

    broken: dict[str, DesiredStateError] = {}
    mended: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    changed: frozenset[str] = frozenset()
    gone: frozenset[str] = frozenset()


class LastGood:
    """The files of a daemon. The first look is as strict as any command's: `begin`."""

    def __init__(self) -> None:
        self._good: dict[str, Accounts] = {}
        self._hashes: dict[str, str] = {}
        self._broken: dict[str, DesiredStateError] = {}
        self._waiting: dict[str, Accounts] = {}

    @property
    def accounts(self) -> Accounts:
        """The accounts of all files, each as it was when its file was last right."""
        return tuple(account for accounts in self._good.values() for account in accounts)

    @property
    def broken(self) -> dict[str, DesiredStateError]:
        """The files that do not count as they are now, and why."""
        return dict(self._broken)

    def begin(self, files: Iterable[tuple[str, bytes] | Problem]) -> tuple[Problem, ...]:
        """Take files of which nothing is known yet; what is odd about them.

        Raises:
            DesiredStateError: with every problem of all of them.
        """
        hashes: dict[str, str] = {}

        def noted() -> Iterator[tuple[str, bytes] | Problem]:
            for file in files:
                if not isinstance(file, Problem):
                    hashes[file[0]] = _hash(file[1])
                yield file

        loaded = desired.load(noted())
        self._hashes = hashes
        self._good = dict.fromkeys(hashes, ())
        for account in loaded.accounts:
            self._good[account.source] += (account,)
        return loaded.warnings

    def take(self, files: Iterable[tuple[str, bytes | None] | Problem]) -> News:
        """Take all files again: the bytes of each, None where they are as before, or why one cannot be read."""
        there, fresh, broken = self._read(files)
        before, good = self._good, {source: self._good.get(source, ()) for source in there}
        waiting: dict[str, Accounts] = {}
        while fresh:
            steady = [account for source, some in good.items() if source not in fresh for account in some]
            clashes = desired.clashes([*steady, *(account for some in fresh.values() for account in some)])
            found: dict[str, list[Problem]] = {}
            for clash in clashes:
                found.setdefault(clash.source, []).append(clash)
            if not found:
                break
            # of files that do not agree, the ones that came later are named; without them the others may
            for source, problems in found.items():
                waiting[source] = fresh.pop(source)
                broken[source] = DesiredStateError(problems)
        self._good, self._waiting = good | fresh, waiting
        return self._compared(before, broken)

    def _read(
        self, files: Iterable[tuple[str, bytes | None] | Problem]
    ) -> tuple[dict[str, None], dict[str, Accounts], dict[str, DesiredStateError]]:
        """Which files are there, what the new ones say, and which are broken by themselves."""
        there: dict[str, None] = {}
        fresh: dict[str, Accounts] = {}
        broken: dict[str, DesiredStateError] = {}
        for file in files:
            if isinstance(file, Problem):
                # behind a folder that cannot be read any file may still be there
                folder = PurePath(file.source)
                hidden = [name for name in self._good if folder in PurePath(name).parents]
                there |= dict.fromkeys([file.source] if file.source in self._good else hidden)
                broken[file.source] = DesiredStateError([file])
                self._hashes.pop(file.source, None)
                continue
            source, data = file
            there[source] = None
            digest = self._hashes.get(source) if data is None else _hash(data)
            if data is None or digest == self._hashes.get(source):
                if source in self._waiting:
                    fresh[source] = self._waiting[source]
                elif source in self._broken:
                    broken[source] = self._broken[source]
                continue
            self._hashes[source] = digest or ""
            try:
                fresh[source] = desired.load([(source, data)]).accounts
            except DesiredStateError as error:
                broken[source] = error
        return there, fresh, broken

    def _compared(self, before: dict[str, Accounts], broken: dict[str, DesiredStateError]) -> News:
        told, self._broken = self._broken, broken
        was = {account.name: account for accounts in before.values() for account in accounts}
        now = {account.name: account for account in self.accounts}
        removed = tuple(source for source in before if source not in self._good)
        for source in removed:
            self._hashes.pop(source, None)
        return News(
            broken={
                source: error
                for source, error in broken.items()
                if source not in told or told[source].problems != error.problems
            },
            mended=tuple(source for source in told if source not in broken and source not in removed),
            removed=removed,
            changed=frozenset(name for name, account in now.items() if was.get(name) is not account),
            gone=frozenset(was.keys() - now.keys()),
        )


def _hash(data: bytes) -> str:
    return sha256(data).hexdigest()
