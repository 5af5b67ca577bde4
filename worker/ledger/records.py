"""Records of the ledger, as values. Times are UTC, ISO 8601, with Z."""

import msgspec
from msgspec import Struct

from worker.model.accounts import Group
from worker.model.credentials import CredentialsRef
from worker.model.history import AttemptState, Ending
from worker.model.safety import InUse, Safety

__all__ = ["CRASHED", "OPEN", "AttemptState", "RunInfo", "Subject", "credentials_of"]

CRASHED = Ending.CRASHED
"""The outcome of a run that crashed, in place of one of `RunOutcome`."""


OPEN = (AttemptState.INTENT, AttemptState.OK, AttemptState.AMBIGUOUS)
"""The states of attempts that no read has settled yet."""


class RunInfo(Struct, frozen=True, kw_only=True):
    """One run: its command, user, host and relevant settings as JSON.

    `plan` is the id of the plan file that it carries out; None without one.
    """

    id: str
    command: str
    started_by: str
    host: str
    pid: int
    version: str
    settings: str
    started_at: str
    plan: str | None = None


class Subject(Struct, frozen=True, kw_only=True):
    """An account in a run: its endpoint, credentials, limits and source file.

    `key` identifies it in all runs and files: the platform of the API and the vendor's id. `sha256` is of the whole
    file, `commit` of its checkout. Credentials are references, never secrets. `registered` is the count of the
    account's numbers; None if the ledger need not record it.
    """

    key: str
    account: str
    account_id: str | None
    endpoint: str
    credentials: CredentialsRef | None
    safety: Safety
    in_use: InUse = InUse()
    groups: tuple[Group, ...] = ()
    source: str
    sha256: str | None = None
    commit: str | None = None
    registered: int | None = None


def credentials_of(text: str | None) -> CredentialsRef | None:
    """Decode the credentials reference of an entry; None for the default ones."""
    return None if text is None else msgspec.json.decode(text, type=CredentialsRef)
