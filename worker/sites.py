"""What it takes to reach an account, and which file describes it."""

from typing import Protocol

from msgspec import Struct

from worker.credentials import CredentialsRef
from worker.model import Group

__all__ = ["Reachable", "Revised", "Site"]


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


class Site(Struct, frozen=True):
    """An account that no file describes: the default credentials at the settings' endpoint."""

    credentials: CredentialsRef | None = None
    endpoint: str | None = None
    account_id: str | None = None
    listed: tuple[str, ...] = ()
