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

    `problems` maps files that became invalid, or whose problems changed, to their problems. `fixed_files` are valid
    again, and `removed_files` were deleted. Files have the names that the user gave; `changed_accounts` and
    `removed_accounts` are account names.
    """

    problems: dict[str, DesiredStateError] = {}
    fixed_files: tuple[str, ...] = ()
    removed_files: tuple[str, ...] = ()
    changed_accounts: frozenset[str] = frozenset()
    removed_accounts: frozenset[str] = frozenset()


class LastGood:
    """The last valid version of each desired-state file.

    `load` reads all files, and raises an error if a file is invalid. `take` reads them again, and keeps the last valid
    version of each invalid file. `check` yields contradictions between documents that are valid by themselves.
    `shared_files` finds the defaults of a file, whose content counts as a part of the file.
    """

    def __init__(self, check: desired.Check | None = None, shared_files: desired.SharedFiles = lambda _: None) -> None:
        self._check = check
        self._shared_files = shared_files
        self._last_valid: dict[str, Fragments] = {}
        self._accounts: dict[str, tuple[Fragments, DesiredAccount]] = {}
        self._hashes: dict[str, str] = {}
        self._broken: dict[str, DesiredStateError] = {}
        self._deferred: dict[str, Fragments] = {}

    @property
    def accounts(self) -> tuple[DesiredAccount, ...]:
        """The accounts of all files, each from the last valid version of its files."""
        return tuple(account for _, account in self._accounts.values())

    @property
    def broken(self) -> dict[str, DesiredStateError]:
        """The files whose current version is invalid, with their problems."""
        return dict(self._broken)

    def load(self, files: Iterable[tuple[str, bytes] | Problem]) -> tuple[Problem, ...]:
        """Read all files for the first time, and return warnings.

        Raises:
            DesiredStateError: a file is invalid. The error lists every problem of every file.
        """
        hashes: dict[str, str] = {}

        def recording() -> Iterator[tuple[str, bytes] | Problem]:
            for file in files:
                if not isinstance(file, Problem):
                    hashes[file[0]] = self._hash(*file)
                yield file

        documents = desired.read_documents(recording(), self._check, self._shared_files)
        self._hashes = hashes
        self._last_valid = dict.fromkeys(hashes, ())
        for fragment in documents.documents:
            self._last_valid[fragment.account.source] += (fragment,)
        self._join()
        return documents.warnings

    def take(self, files: Iterable[tuple[str, bytes | None] | Problem]) -> FileChanges:
        """Read all files again, and return the changes.

        `files` yields each file as a name with its bytes, or with None if the file has not changed. For a file or
        folder that cannot be read, it yields the problem.
        """
        existing, changed_documents, broken = self._read(files)
        valid_before = self._last_valid
        last_valid = {source: valid_before.get(source, ()) for source in existing}
        deleted_files = {source: documents for source, documents in valid_before.items() if source not in existing}
        deferred: dict[str, Fragments] = {}
        while changed_documents or deleted_files:
            problems_by_file: dict[str, list[Problem]] = {}
            for conflict in self._conflicts(last_valid, changed_documents, deleted_files, broken):
                for source in _causes(conflict, last_valid, changed_documents, deleted_files):
                    problems_by_file.setdefault(source, []).append(conflict.problem)
            if not problems_by_file:
                break
            # the files that caused a contradiction are set aside, then the others are checked again
            for source, problems in problems_by_file.items():
                broken[source] = DesiredStateError(problems)
                if source in changed_documents:
                    deferred[source] = changed_documents.pop(source)
                else:
                    last_valid[source] = deleted_files.pop(source)
                    self._hashes.pop(source, None)  # if the file is created again, it is parsed again
        self._last_valid, self._deferred = last_valid | changed_documents, deferred
        return self._changes(valid_before, broken)

    def _conflicts(
        self,
        last_valid: dict[str, Fragments],
        changed_documents: dict[str, Fragments],
        deleted_files: dict[str, Fragments],
        broken: Iterable[str],
    ) -> Iterator[Conflict]:
        """Yield the contradictions between files. Unchanged files take precedence over changed ones."""
        unchanged_documents = [
            fragment
            for source, documents in last_valid.items()
            if source not in changed_documents
            for fragment in documents
        ]
        fragments = [
            *unchanged_documents,
            *(fragment for documents in changed_documents.values() for fragment in documents),
        ]
        yield from desired.find_conflicts(fragments)
        yield from _headless(fragments, deleted_files)
        earlier_documents = {
            source: self._last_valid.get(source, ()) for source in (*changed_documents, *deleted_files)
        }
        yield from _numbers_lost(
            fragments, earlier_documents, {source: self._last_valid.get(source, ()) for source in broken}
        )
        if self._check is not None:
            yield from self._check(fragments)

    def _read(
        self, files: Iterable[tuple[str, bytes | None] | Problem]
    ) -> tuple[dict[str, None], dict[str, Fragments], dict[str, DesiredStateError]]:
        """Return the existing files, the documents of changed files, and the errors of files invalid on their own."""
        existing: dict[str, None] = {}
        changed_documents: dict[str, Fragments] = {}
        broken: dict[str, DesiredStateError] = {}
        for file in files:
            if isinstance(file, Problem):
                # files in a folder that cannot be read may still exist
                folder = PurePath(file.source)
                names = [name for name in self._last_valid if folder in PurePath(name).parents]
                existing |= dict.fromkeys([file.source] if file.source in self._last_valid else names)
                broken[file.source] = DesiredStateError([file])
                self._hashes.pop(file.source, None)
                continue
            source, data = file
            existing[source] = None
            digest = self._hashes.get(source) if data is None else self._hash(source, data)
            if data is None or digest == self._hashes.get(source):
                if source in self._deferred:
                    changed_documents[source] = self._deferred[source]
                elif source in self._broken:
                    broken[source] = self._broken[source]
                continue
            self._hashes[source] = digest or ""
            try:
                changed_documents[source] = desired.parse_file(source, data, self._shared_files)
            except DesiredStateError as error:
                broken[source] = error
        return existing, changed_documents, broken

    def _hash(self, source: str, data: bytes) -> str:
        """Return the hash of a file and of its defaults."""
        digest = sha256(data)
        shared_file = self._shared_files(source)
        if shared_file is not None:
            digest.update(str(shared_file).encode() if isinstance(shared_file, Problem) else shared_file[1])
        return digest.hexdigest()

    def _join(self) -> None:
        """Build the accounts from the documents. If the documents of an account did not change, keep its object."""
        accounts_before, self._accounts = self._accounts, {}
        for name, documents in desired.group_by_account(chain.from_iterable(self._last_valid.values())).items():
            fragments, account = accounts_before.get(name, ((), None))
            if account is None or list(map(id, fragments)) != list(map(id, documents)):
                (account,) = desired.join(documents)
            self._accounts[name] = tuple(documents), account

    def _changes(self, valid_before: dict[str, Fragments], broken: dict[str, DesiredStateError]) -> FileChanges:
        broken_before, self._broken = self._broken, broken
        accounts_before = self._accounts
        self._join()
        accounts_now = self._accounts
        removed_files = tuple(source for source in valid_before if source not in self._last_valid)
        for source in removed_files:
            self._hashes.pop(source, None)
        return FileChanges(
            problems={
                source: error
                for source, error in broken.items()
                if source not in broken_before or broken_before[source].problems != error.problems
            },
            fixed_files=tuple(
                source for source in broken_before if source not in broken and source not in removed_files
            ),
            removed_files=removed_files,
            changed_accounts=frozenset(
                name
                for name in accounts_now
                if name not in accounts_before or accounts_before[name][1] is not accounts_now[name][1]
            ),
            removed_accounts=frozenset(accounts_before.keys() - accounts_now.keys()),
        )


def _causes(
    conflict: Conflict,
    last_valid: dict[str, Fragments],
    changed_documents: dict[str, Fragments],
    deleted_files: dict[str, Fragments],
) -> list[str]:
    """Return the changed or deleted files that caused a contradiction.

    It is the file with the problem or, if that did not change, the changed files that the contradiction names, or else
    the deleted files of the same accounts.
    """
    source = conflict.problem.source
    if source in changed_documents or source in deleted_files:
        return [source]
    changed_files = [source_of_clash for source_of_clash in conflict.sources if source_of_clash in changed_documents]
    if changed_files:
        return changed_files
    names = {
        fragment.account.name
        for source_of_clash in conflict.sources
        for fragment in last_valid.get(source_of_clash, ())
    }
    return [
        source_of_clash
        for source_of_clash, documents in deleted_files.items()
        if any(fragment.account.name in names for fragment in documents)
    ]


def _headless(fragments: Iterable[AccountDocument], deleted_files: dict[str, Fragments]) -> Iterator[Conflict]:
    """Yield a conflict for each deleted file that had the account-level keys of an account with other documents."""
    documents_by_account = desired.group_by_account(fragments) if deleted_files else {}
    for source, documents in deleted_files.items():
        for fragment in documents:
            other_documents = documents_by_account.get(fragment.account.name, [])
            if fragment.keys and other_documents and not any(other.keys for other in other_documents):
                keys = tuple(fragment.keys)
                message = Message(
                    "the file was deleted, and with it {keys} of account {account!r}, which {location} still "
                    "describes: add the keys there, or delete that document too",
                    keys=keys,
                    account=fragment.account.name,
                    location=other_documents[0].location,
                )
                yield Conflict(Problem(source, fragment.account.line, 1, message), (source,))


def _numbers_lost(
    fragments: Iterable[AccountDocument], documents_before: dict[str, Fragments], broken: dict[str, Fragments]
) -> Iterator[Conflict]:
    """Yield a conflict for each file from which numbers were removed that a broken file may list now.

    Such numbers would be deactivated as unmanaged. `documents_before` are the earlier documents of changed and deleted
    files, and `broken` those of broken files. A file that was never valid may describe any account that is split with
    `account:`.
    """
    numbers_by_account: dict[str, set[str]] = {}
    deactivating_accounts: set[str] = set()
    for fragment in fragments if broken else ():
        numbers_by_account.setdefault(fragment.account.name, set()).update(fragment.account.numbers)
        if fragment.is_named and fragment.account.unmanaged is Unmanaged.DEACTIVATE:
            deactivating_accounts.add(fragment.account.name)
    for source, former_documents in documents_before.items():
        for account in (
            fragment.account for fragment in former_documents if fragment.account.name in deactivating_accounts
        ):
            suspect_files = [
                other
                for other, documents in broken.items()
                if not documents or any(document.account.name == account.name for document in documents)
            ]
            missing_phones = sorted(account.numbers.keys() - numbers_by_account[account.name])
            if suspect_files and missing_phones:
                files = tuple(sorted(suspect_files))
                message = Message(
                    "account {account!r} keeps {phone} until these files are valid: {files}",
                    account=account.name,
                    phone=PhoneNumber(missing_phones[0]),
                    files=files,
                )
                yield Conflict(Problem(source, account.line, 1, message), (source,))
