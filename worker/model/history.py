"""What the ledger tells of runs, as values; the document of `history` is these values, encoded."""

from enum import StrEnum
from typing import Any, Literal

from msgspec import Struct

from worker.model.accounts import Group
from worker.model.credentials import CredentialsRef
from worker.model.errors import ErrorInfo, NumberError
from worker.model.plans import Action, Count, Phone, Timestamp
from worker.model.results import Outcome, Requests
from worker.model.safety import InUse, Safety

__all__ = ["AccountRecord", "Attempt", "AttemptState", "Ending", "History", "NumberRecord", "RunRecord"]


class AttemptState(StrEnum):
    """How far one request that writes has come.

    `intent` is durable before the request leaves. The answer makes it `ok`, `rejected` (not carried out) or
    `ambiguous`; a look afterwards makes what may have been carried out `verified`, `conflict` (it found a value that
    is neither the old one nor ours) or `lost` (it found the old one).
    """

    INTENT = "intent"
    OK = "ok"
    REJECTED = "rejected"
    AMBIGUOUS = "ambiguous"
    VERIFIED = "verified"
    CONFLICT = "conflict"
    LOST = "lost"


class Ending(StrEnum):
    """How a run, or one account of it, ended, if it did.

    `crashed` is one that died and that a later run closed. `unfinished` is one that still runs, or that died and
    nobody has closed yet.
    """

    CONVERGED = "converged"
    PARTIAL = "partial"
    REFUSED = "refused"
    FAILED = "failed"
    LOCKED = "locked"
    INTERRUPTED = "interrupted"
    CRASHED = "crashed"
    UNFINISHED = "unfinished"


class Attempt(Struct, frozen=True):
    """One request that writes, the `number`-th of its phone: noted at `intended_at`, some time before it was to leave.

    `answered_at` is when its answer was noted, some time after it came.
    """

    number: Count
    asked: str
    state: AttemptState
    intended_at: Timestamp
    answered_at: Timestamp | None = None
    error: NumberError | None = None


class NumberRecord(Struct, frozen=True, kw_only=True):
    """One number in one run. `outcome` is None while the account is unfinished."""

    phone: Phone
    action: Action | None
    desired: str | None
    before: str | None
    after: str | None = None
    outcome: Outcome | None = None
    duration_ms: Count = 0
    error: NumberError | None = None
    attempts: tuple[Attempt, ...] = ()


class AccountRecord(Struct, frozen=True, kw_only=True):
    """One account in one run: how it was reached, which file described it, and what became of it.

    `counts` are by outcome, of an unfinished account by action. `credentials` are references, None for the default
    ones. `in_use` kept numbers in use from being deactivated, and `groups` some of theirs ACTIVE. `settled` is whether
    every write of it is known to have been carried out or not. `numbers` is None in a list of runs; otherwise it has
    what was written or to be written, and what stood in the way: the others are only counted.
    """

    account: str
    account_id: str | None
    outcome: Ending
    started_at: Timestamp
    finished_at: Timestamp | None = None
    endpoint: str
    credentials: CredentialsRef | None = None
    safety: Safety
    in_use: InUse = InUse()
    groups: tuple[Group, ...] = ()
    source: str
    sha256: str | None = None
    commit: str | None = None
    fingerprint: str
    error: ErrorInfo | None = None
    counts: dict[str, Count]
    requests: Requests = Requests()
    settled: bool
    numbers: tuple[NumberRecord, ...] | None = None


class RunRecord(Struct, frozen=True, kw_only=True):
    """One run. `settings` is None in a list of runs; `accounts` has those that there was anything to tell of.

    `plan` is the id of the plan file that it carried out, None where it carried out none.
    """

    run_id: str
    command: str
    outcome: Ending
    started_at: Timestamp
    finished_at: Timestamp | None = None
    started_by: str
    host: str
    pid: int
    version: str
    plan: str | None = None
    settings: dict[str, Any] | None = None
    counts: dict[str, Count]
    accounts: tuple[AccountRecord, ...]


class History(Struct, frozen=True, kw_only=True):
    """The document of `history`: runs, newest first, and the `total` of those that were asked for, shown or not."""

    schema: Literal["senderid.history/v1"] = "senderid.history/v1"
    total: Count
    runs: tuple[RunRecord, ...]
