"""Records of the ledger, as values. Times are UTC, ISO 8601, Z."""

import msgspec
from msgspec import Struct

from worker.model.accounts import Group
from worker.model.credentials import CredentialsRef
from worker.model.history import AttemptState, Ending
from worker.model.safety import InUse, Safety

__all__ = ["CRASHED", "OPEN", "AttemptState", "RunInfo", "Subject", "credentials_of"]

CRASHED = Ending.CRASHED
"""The recorded outcome of a crashed run, in addition to the members of `RunOutcome`."""


OPEN = (AttemptState.INTENT, AttemptState.OK, AttemptState.AMBIGUOUS)
"""The states of attempts whose result no read has settled yet."""


class RunInfo(Struct, frozen=True, kw_only=True):
    """The record of the start of a run: its command, user, host, process and version.

    `settings` are the relevant settings, as JSON. `plan` is the id of the plan file that the run applies; None without
    a plan file.
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
    """The account that an entry of a run is about: its endpoint, credentials, limits and source file.

    `key` identifies the account in all runs and files: the platform of the API and the account id. `credentials` are
    references, never secrets. `sha256` is the hash of the whole file, and `commit` the commit of its git checkout.
    `registered` is the count of the account's numbers; None if the ledger need not record it. `lane` is the lane of the
    account's API key, from 0 to 1,023.
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
    lane: int = 0


def credentials_of(text: str | None) -> CredentialsRef | None:
    """Decode the references to credentials in an entry. None means the default credentials."""
    return None if text is None else msgspec.json.decode(text, type=CredentialsRef)
