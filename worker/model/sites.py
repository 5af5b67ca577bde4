"""What it takes to reach an account, and which files describe it."""

from hashlib import sha256
from typing import Protocol

from msgspec import Struct

from worker.model.accounts import Group, SourceFile
from worker.model.credentials import CredentialsRef

__all__ = ["Reachable", "Revised", "Site", "files", "revision", "sources"]


class Reachable(Protocol):
    """What it takes to reach an account; desired-state documents and saved plans both have it."""

    @property
    def credentials(self) -> CredentialsRef | None:
        """Where its credentials are; None for the default ones."""
        ...

    @property
    def endpoint(self) -> str | None:
        """A name or a URL; None for the settings' one."""
        ...

    @property
    def account_id(self) -> str | None:
        """The account that every answer must be of; None for whichever the credentials belong to."""
        ...

    @property
    def listed(self) -> tuple[str, ...]:
        """The numbers that are expected to be registered."""
        ...


class Revised(Reachable, Protocol):
    """An account as a file describes it; desired-state documents and saved plans both are."""

    @property
    def source(self) -> str:
        """The file's name."""
        ...

    @property
    def groups(self) -> tuple[Group, ...]:
        """Numbers of which some must stay ACTIVE."""
        ...

    @property
    def sha256(self) -> str | None:
        """The hash of its bytes."""
        ...

    @property
    def commit(self) -> str | None:
        """The commit of the checkout in which it lies."""
        ...

    @property
    def parts(self) -> tuple[SourceFile, ...]:
        """Further documents of an account that is split over several."""
        ...


class Site(Struct, frozen=True):
    """An account that no file describes: the default credentials at the settings' endpoint."""

    credentials: CredentialsRef | None = None
    endpoint: str | None = None
    account_id: str | None = None
    listed: tuple[str, ...] = ()


def files(account: Revised) -> tuple[SourceFile, ...]:
    """Return the files that describe an account, each once, the one with the account-level keys first."""
    head = SourceFile(account.source, sha256=account.sha256, commit=account.commit)
    others = {part.source: part for part in account.parts if part.source != account.source}
    return (head, *others.values())


def sources(account: Revised) -> tuple[str, ...]:
    """Return the names of the files that describe an account, as `files` does."""
    return tuple(file.source for file in files(account))


def revision(account: Revised) -> SourceFile:
    """Return all files of an account as one: their names, a hash over their hashes, and the commit of all of them.

    A commit with `-dirty` wins. There is no commit if files are of different ones, or any is of none.
    """
    found = files(account)
    if len(found) == 1:
        return found[0]
    hashes = [file.sha256 or "" for file in found]
    commits = {file.commit for file in found}
    dirty = sorted(commit for commit in commits if commit is not None and commit.endswith("-dirty"))
    commit = dirty[0] if dirty else commits.pop() if len(commits) == 1 else None
    return SourceFile(
        ", ".join(file.source for file in found), sha256=sha256("".join(hashes).encode()).hexdigest(), commit=commit
    )
