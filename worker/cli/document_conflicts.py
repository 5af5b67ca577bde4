"""Checks for conflicts between documents: shared API keys, and documents of an account that the run leaves out."""

import os
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import takewhile
from pathlib import Path

from msgspec import Struct

from worker.cli.defaults import DEFAULT_FILES
from worker.config import desired, files
from worker.config.desired import AccountDocument, Conflict, DocumentName, IdentityResolver
from worker.model.accounts import Unmanaged
from worker.model.errors import Problem
from worker.model.messages import Message

__all__ = ["DocumentChecks", "documents_in"]


class DocumentChecks(Struct, frozen=True):
    """Checks of a run's documents against each other, and against documents outside the run."""

    resolver: IdentityResolver

    def __call__(self, fragments: Sequence[AccountDocument]) -> Iterator[Conflict]:
        """Yield a conflict for each account that is described twice, or that has documents outside the run."""
        yield from desired.find_duplicates(desired.join(fragments), self.resolver)
        yield from _incomplete(fragments)


def _incomplete(fragments: Sequence[AccountDocument]) -> Iterator[Conflict]:
    """Yield a conflict for each account that has documents outside the run, if this affects the writes.

    Numbers that are listed only in the missing documents would be deactivated as unmanaged. If the account-level keys
    are missing, the account would have other credentials and limits than its files define.
    """
    outside_documents = _OutsideDocuments(fragment.account.source for fragment in fragments)
    for name, documents in desired.group_by_account(fragments).items():
        deactivating_documents = [
            candidate for candidate in documents if candidate.account.unmanaged is Unmanaged.DEACTIVATE
        ]
        if not deactivating_documents and any(candidate.keys or not candidate.is_named for candidate in documents):
            continue
        first = (deactivating_documents or documents)[0].account
        run_sources = tuple(dict.fromkeys(candidate.account.source for candidate in documents))
        folders = dict.fromkeys(Path(source).parent for source in run_sources if source != files.STDIN)
        # in one folder, documents with the same name describe one account; a document in another folder belongs to it
        # if only one of the two has the account-level keys
        parts = {
            f"{path}:{document.line}": os.path.commonpath([folder, path.parent]) or os.curdir
            for folder in reversed(folders)
            for path, document in outside_documents.of(folder)
            if document.name == name
            and (document.has_account_keys or deactivating_documents)
            and (
                path.parent in folders
                or (
                    document.is_named
                    and documents[0].is_named
                    and document.has_account_keys != bool(deactivating_documents)
                )
            )
        }
        for location, folder in parts.items():
            message = (
                Message(
                    "{location} also describes account {name!r} but is not part of this run, so its numbers would "
                    "be deactivated as unmanaged: give the folder, -f {folder}",
                    location=location,
                    name=name,
                    folder=folder,
                )
                if deactivating_documents
                else Message(
                    "the account-level keys of account {name!r} are at {location}, which is not part of this run: "
                    "give the folder, -f {folder}",
                    name=name,
                    location=location,
                    folder=folder,
                )
            )
            yield Conflict(Problem(first.source, first.line, 1, message), run_sources)


class _OutsideDocuments:
    """Finder of documents near a run's files that are not part of the run.

    It searches the folder of a file with its subfolders, and each parent folder up to the first without YAML files. If
    the file is below the default folder, it searches the whole default folder. Subfolders are not searched if the
    folder is, or contains, the working directory.
    """

    def __init__(self, run: Iterator[str]) -> None:
        self._run = set(run)
        self._identities: set[files.FileIdentity | None] | None = None
        self._default, self._working_folder = Path(DEFAULT_FILES).resolve(), Path.cwd()
        # cached, as a fleet can have thousands of folders
        self.of = cache(self._of)
        self._documents = cache(self._documents_of)
        self._files = cache(files.yaml_files)

    def _of(self, folder: Path) -> tuple[tuple[Path, DocumentName], ...]:
        """Return the documents near a folder, each with its file."""
        root = next((parent for parent in folder.parents if parent.resolve() == self._default), folder)
        documents = self._documents(
            root, is_recursive=root.resolve() not in (self._working_folder, *self._working_folder.parents)
        )
        for parent in takewhile(self._files, root.parents):
            documents += self._documents(parent, is_recursive=False)
        return documents

    def _documents_of(self, folder: Path, *, is_recursive: bool) -> tuple[tuple[Path, DocumentName], ...]:
        paths = files.yaml_files_below(folder) if is_recursive else self._files(folder)
        return tuple(
            (Path(path), document) for path in paths if not self._is_in_run(path) for document in documents_in(path)
        )

    def _is_in_run(self, path: str) -> bool:
        if path in self._run:
            return True
        if self._identities is None:
            self._identities = set(map(files.read_identity, self._run)) - {None}
        return files.read_identity(path) in self._identities


def documents_in(path: str) -> list[DocumentName]:
    """Return the names of the documents in a file; an empty list if the file cannot be read."""
    file = files.read_file(path)
    # a file without the text `numbers` is not a desired-state file: parsing it would only cost time
    return [] if isinstance(file, Problem) or b"numbers" not in file[1] else desired.read_names(*file)
