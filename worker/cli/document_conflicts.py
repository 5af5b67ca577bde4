"""Conflicts between documents: shared API keys, and documents of an account outside the run."""

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
    """Checks the documents of a run against each other and against documents outside the run."""

    reach: IdentityResolver

    def __call__(self, fragments: Sequence[AccountDocument]) -> Iterator[Conflict]:
        """Yield accounts that are described twice, and accounts that the run has only in part."""
        yield from desired.find_duplicates(desired.join(fragments), self.reach)
        yield from _incomplete(fragments)


def _incomplete(fragments: Sequence[AccountDocument]) -> Iterator[Conflict]:
    """Yield accounts of which the run has only some documents, if that affects the writes.

    Numbers of the other documents would be deactivated as unmanaged. Without the account-level keys, the account would
    have other credentials and limits than its files define.
    """
    outside = _OutsideDocuments(fragment.account.source for fragment in fragments)
    for name, some in desired.group_by_account(fragments).items():
        deactivating = [each for each in some if each.account.unmanaged is Unmanaged.DEACTIVATE]
        if not deactivating and any(each.keys or not each.named for each in some):
            continue
        first = (deactivating or some)[0].account
        sources_ = tuple(dict.fromkeys(each.account.source for each in some))
        folders = dict.fromkeys(Path(source).parent for source in sources_ if source != files.STDIN)
        # one name in one folder is one account; elsewhere a document is a part if it lacks what the run has
        parts = {
            f"{path}:{document.line}": os.path.commonpath([folder, path.parent]) or os.curdir
            for folder in reversed(folders)
            for path, document in outside.of(folder)
            if document.name == name
            and (document.head or deactivating)
            and (
                path.parent in folders or (document.explicit and some[0].named and document.head != bool(deactivating))
            )
        }
        for place, folder in parts.items():
            message = (
                Message(
                    "{location} also describes account {name!r} but is not part of this run, so its numbers would "
                    "be deactivated as unmanaged: give the folder, -f {folder}",
                    location=place,
                    name=name,
                    folder=folder,
                )
                if deactivating
                else Message(
                    "the account-level keys of account {name!r} are at {location}, which is not part of this run: "
                    "give the folder, -f {folder}",
                    name=name,
                    location=place,
                    folder=folder,
                )
            )
            yield Conflict(Problem(first.source, first.line, 1, message), sources_)


class _OutsideDocuments:
    """The documents around a run's files that are not part of the run.

    They are in the folder of a file and below it, in the folders above it while these have YAML files, and anywhere in
    the default folder if the file is below it. Nothing is searched below a folder that contains the working directory.
    """

    def __init__(self, run: Iterator[str]) -> None:
        self._run = set(run)
        self._identities: set[files.FileIdentity | None] | None = None
        self._default, self._here = Path(DEFAULT_FILES).resolve(), Path.cwd()
        # a fleet has thousands of folders
        self.of = cache(self._of)
        self._documents = cache(self._documents_of)
        self._files = cache(files.yaml_files)

    def _of(self, folder: Path) -> tuple[tuple[Path, DocumentName], ...]:
        """Return the documents around a folder, each with its file."""
        root = next((parent for parent in folder.parents if parent.resolve() == self._default), folder)
        documents = self._documents(root, below=root.resolve() not in (self._here, *self._here.parents))
        for parent in takewhile(self._files, root.parents):
            documents += self._documents(parent, below=False)
        return documents

    def _documents_of(self, folder: Path, *, below: bool) -> tuple[tuple[Path, DocumentName], ...]:
        paths = files.yaml_files_below(folder) if below else self._files(folder)
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
    """Return the documents of a file; none if it cannot be read."""
    file = files.read_file(path)
    # a file without this key is not a desired-state file and is not parsed
    return [] if isinstance(file, Problem) or b"numbers" not in file[1] else desired.read_names(*file)
