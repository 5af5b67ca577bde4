"""The last valid version of each desired-state file, which stays in force while the file is invalid.

If changed files contradict each other, their earlier versions stay in force. If a number was removed from a file, it is
not deactivated as unmanaged while another, invalid file may list it. If an account is split over several documents, the
document with its account-level keys cannot be deleted alone.
"""

from collections.abc import Iterable, Iterator
from hashlib import sha256
from itertools import chain
from pathlib import PurePath

from msgspec import Struct

from worker.config import desired
from worker.config.desired import AccountDocument, Conflict
from worker.model.accounts import DesiredAccount, Unmanaged
from worker.model.errors import DesiredStateError, Problem
from worker.model.messages import Message, PhoneNumber

__all__ = ["FileChanges", "LastGood"]

Fragments = tuple[AccountDocument, ...]


class FileChanges(Struct, frozen=True):
    """The changes between two reads of the files.

    `broken` maps files that became invalid, or whose problems changed, to their problems. `fixed` are the files that
    are valid again, and `removed` are deleted files. Files have the names that the user gave. `changed` and `gone` are
    names of accounts.
    """

    broken: dict[str, DesiredStateError] = {}
    fixed: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    changed: frozenset[str] = frozenset()
    gone: frozenset[str] = frozenset()


class LastGood:
    """The last valid version of each desired-state file.

    `begin` reads all files, and raises an error if a file is invalid. `take` reads them again, and keeps the last valid
    version of each invalid file. `check` yields contradictions between documents that are valid by themselves.
    """

    def __init__(self, check: desired.Check | None = None) -> None:
        self._check = check
        self._good: dict[str, Fragments] = {}
        self._accounts: dict[str, tuple[Fragments, DesiredAccount]] = {}
        self._hashes: dict[str, str] = {}
        self._broken: dict[str, DesiredStateError] = {}
        self._waiting: dict[str, Fragments] = {}

    @property
    def accounts(self) -> tuple[DesiredAccount, ...]:
        """The accounts of all files, each from the last valid version of its files."""
        return tuple(account for _, account in self._accounts.values())

    @property
    def broken(self) -> dict[str, DesiredStateError]:
        """The files whose current version is invalid, with their problems."""
        return dict(self._broken)

    def begin(self, files: Iterable[tuple[str, bytes] | Problem]) -> tuple[Problem, ...]:
        """Read all files for the first time, and return warnings.

        Raises:
            DesiredStateError: a file is invalid. The error lists every problem of every file.
        """
        hashes: dict[str, str] = {}

        def recording() -> Iterator[tuple[str, bytes] | Problem]:
            for file in files:
                if not isinstance(file, Problem):
                    hashes[file[0]] = _hash(file[1])
                yield file

        documents = desired.read_documents(recording(), self._check)
        self._hashes = hashes
        self._good = dict.fromkeys(hashes, ())
        for fragment in documents.documents:
            self._good[fragment.account.source] += (fragment,)
        self._join()
        return documents.warnings

    def take(self, files: Iterable[tuple[str, bytes | None] | Problem]) -> FileChanges:
        """Read all files again, and return the changes.

        `files` yields each file as a name with its bytes, or with None if it has not changed. A file or a folder that
        cannot be read is given as its problem.
        """
        existing, fresh, broken = self._read(files)
        before = self._good
        good = {source: before.get(source, ()) for source in existing}
        deleted = {source: some for source, some in before.items() if source not in existing}
        waiting: dict[str, Fragments] = {}
        while fresh or deleted:
            problems_by_file: dict[str, list[Problem]] = {}
            for clash in self._clashes(good, fresh, deleted, broken):
                for source in _causes(clash, good, fresh, deleted):
                    problems_by_file.setdefault(source, []).append(clash.problem)
            if not problems_by_file:
                break
            # the files that caused a contradiction are set aside, then the others are checked again
            for source, problems in problems_by_file.items():
                broken[source] = DesiredStateError(problems)
                if source in fresh:
                    waiting[source] = fresh.pop(source)
                else:
                    good[source] = deleted.pop(source)
                    self._hashes.pop(source, None)  # if the file is created again, it is parsed again
        self._good, self._waiting = good | fresh, waiting
        return self._changes(before, broken)

    def _clashes(
        self,
        good: dict[str, Fragments],
        fresh: dict[str, Fragments],
        deleted: dict[str, Fragments],
        broken: Iterable[str],
    ) -> Iterator[Conflict]:
        """Yield the contradictions between files. Unchanged files take precedence over changed ones."""
        steady = [fragment for source, some in good.items() if source not in fresh for fragment in some]
        fragments = [*steady, *(fragment for some in fresh.values() for fragment in some)]
        yield from desired.find_conflicts(fragments)
        yield from _headless(fragments, deleted)
        former = {source: self._good.get(source, ()) for source in (*fresh, *deleted)}
        yield from _numbers_lost(fragments, former, {source: self._good.get(source, ()) for source in broken})
        if self._check is not None:
            yield from self._check(fragments)

    def _read(
        self, files: Iterable[tuple[str, bytes | None] | Problem]
    ) -> tuple[dict[str, None], dict[str, Fragments], dict[str, DesiredStateError]]:
        """Return the existing files, the documents of changed files, and the errors of files invalid by themselves."""
        existing: dict[str, None] = {}
        fresh: dict[str, Fragments] = {}
        broken: dict[str, DesiredStateError] = {}
        for file in files:
            if isinstance(file, Problem):
                # files in a folder that cannot be read may still exist
                folder = PurePath(file.source)
                names = [name for name in self._good if folder in PurePath(name).parents]
                existing |= dict.fromkeys([file.source] if file.source in self._good else names)
                broken[file.source] = DesiredStateError([file])
                self._hashes.pop(file.source, None)
                continue
            source, data = file
            existing[source] = None
            digest = self._hashes.get(source) if data is None else _hash(data)
            if data is None or digest == self._hashes.get(source):
                if source in self._waiting:
                    fresh[source] = self._waiting[source]
                elif source in self._broken:
                    broken[source] = self._broken[source]
                continue
            self._hashes[source] = digest or ""
            try:
                fresh[source] = desired.parse_file(source, data)
            except DesiredStateError as error:
                broken[source] = error
        return existing, fresh, broken

    def _join(self) -> None:
        """Build the accounts from the documents. If the documents of an account did not change, keep its object."""
        before, self._accounts = self._accounts, {}
        for name, documents in desired.group_by_account(chain.from_iterable(self._good.values())).items():
            fragments, account = before.get(name, ((), None))
            if account is None or list(map(id, fragments)) != list(map(id, documents)):
                (account,) = desired.join(documents)
            self._accounts[name] = tuple(documents), account

    def _changes(self, before: dict[str, Fragments], broken: dict[str, DesiredStateError]) -> FileChanges:
        known, self._broken = self._broken, broken
        accounts_before = self._accounts
        self._join()
        now = self._accounts
        removed = tuple(source for source in before if source not in self._good)
        for source in removed:
            self._hashes.pop(source, None)
        return FileChanges(
            broken={
                source: error
                for source, error in broken.items()
                if source not in known or known[source].problems != error.problems
            },
            fixed=tuple(source for source in known if source not in broken and source not in removed),
            removed=removed,
            changed=frozenset(
                name for name in now if name not in accounts_before or accounts_before[name][1] is not now[name][1]
            ),
            gone=frozenset(accounts_before.keys() - now.keys()),
        )


def _causes(
    clash: Conflict, good: dict[str, Fragments], fresh: dict[str, Fragments], deleted: dict[str, Fragments]
) -> list[str]:
    """Return the changed or deleted files that caused a contradiction.

    It is the file with the problem or, if that did not change, the changed files that the contradiction names, or else
    the deleted files of the same accounts.
    """
    source = clash.problem.source
    if source in fresh or source in deleted:
        return [source]
    changed = [other for other in clash.sources if other in fresh]
    if changed:
        return changed
    names = {fragment.account.name for other in clash.sources for fragment in good.get(other, ())}
    return [other for other, some in deleted.items() if any(fragment.account.name in names for fragment in some)]


def _headless(fragments: Iterable[AccountDocument], deleted: dict[str, Fragments]) -> Iterator[Conflict]:
    """Yield a conflict for each deleted file that had the account-level keys of an account with other documents."""
    remaining = desired.group_by_account(fragments) if deleted else {}
    for source, some in deleted.items():
        for fragment in some:
            others = remaining.get(fragment.account.name, [])
            if fragment.keys and others and not any(other.keys for other in others):
                keys = tuple(fragment.keys)
                message = Message(
                    "the file was deleted, and with it {keys} of account {account!r}, which {location} still "
                    "describes: add the keys there, or delete that document too",
                    keys=keys,
                    account=fragment.account.name,
                    location=others[0].place,
                )
                yield Conflict(Problem(source, fragment.account.line, 1, message), (source,))


def _numbers_lost(
    fragments: Iterable[AccountDocument], former: dict[str, Fragments], broken: dict[str, Fragments]
) -> Iterator[Conflict]:
    """Yield a conflict for each file from which numbers were removed that a broken file may list now.

    Such numbers would be deactivated as unmanaged. `former` has the earlier documents of changed and deleted files, and
    `broken` has the earlier documents of broken files. A file that was never valid may describe any account that is
    split with `account:`.
    """
    numbers_by_account: dict[str, set[str]] = {}
    deactivating: set[str] = set()
    for fragment in fragments if broken else ():
        numbers_by_account.setdefault(fragment.account.name, set()).update(fragment.account.numbers)
        if fragment.named and fragment.account.unmanaged is Unmanaged.DEACTIVATE:
            deactivating.add(fragment.account.name)
    for source, some in former.items():
        for account in (fragment.account for fragment in some if fragment.account.name in deactivating):
            suspects = [
                other
                for other, documents in broken.items()
                if not documents or any(each.account.name == account.name for each in documents)
            ]
            missing = sorted(account.numbers.keys() - numbers_by_account[account.name])
            if suspects and missing:
                files = tuple(sorted(suspects))
                message = Message(
                    "account {account!r} keeps {phone} until these files are valid: {files}",
                    account=account.name,
                    phone=PhoneNumber(missing[0]),
                    files=files,
                )
                yield Conflict(Problem(source, account.line, 1, message), (source,))


def _hash(data: bytes) -> str:
    return sha256(data).hexdigest()
