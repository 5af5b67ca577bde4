"""What the ledger keeps, as values. Times are UTC, ISO 8601, with Z."""

import msgspec
from msgspec import Struct

from worker.model.accounts import Group
from worker.model.credentials import CredentialsRef
from worker.model.history import AttemptState, Ending
from worker.model.safety import InUse, Safety

__all__ = ["CRASHED", "OPEN", "AttemptState", "RunInfo", "Subject", "credentials_of"]

CRASHED = Ending.CRASHED
"""The outcome of a run that died, in place of one of `RunOutcome`."""


OPEN = (AttemptState.INTENT, AttemptState.OK, AttemptState.AMBIGUOUS)
"""The states of attempts that no read has settled yet."""


class RunInfo(Struct, frozen=True, kw_only=True):
    """One run: its command, who started it where, and the settings that matter, as JSON.

    `plan` is the id of the plan file that it carries out.
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
    """An account as a run was asked to treat it: how it is reached, what limits hold, and which file says so.

    `key` names it over all runs and files: the API's host and the vendor's id. `sha256` is of the whole file, and
    `commit` of the checkout that it lies in. Credentials are references; a secret cannot be expressed. `registered` is
    how many numbers the account has, None where the ledger need not note that.
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
    """Return where credentials are, as an entry has it in JSON; None for the default ones."""
    return None if text is None else msgspec.json.decode(text, type=CredentialsRef)
