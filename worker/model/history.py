"""Run history, as read from the ledger. Encoded, a `History` is the document of `history`."""

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
    """The state of one write request.

    `intent` is durable before the request is sent. The response makes it `ok`, `rejected` (not carried out) or
    `ambiguous`. The verification read turns `ok` and `ambiguous` into `verified`, `conflict` (it found a third value)
    or `lost` (it found the old one).
    """

    INTENT = "intent"
    OK = "ok"
    REJECTED = "rejected"
    AMBIGUOUS = "ambiguous"
    VERIFIED = "verified"
    CONFLICT = "conflict"
    LOST = "lost"


class Ending(StrEnum):
    """The outcome of a run, or of one account in it, as the history shows it.

    `crashed`: it died, and a later run closed it. `unfinished`: it is still running, or died and is not closed yet.
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
    """One write request, the `number`-th of its phone.

    `intended_at` and `answered_at` are when the intent and the response were recorded.
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
    """One account in one run: its endpoint and credentials, its source file, and its result.

    `counts` are by outcome, or by action if the account is unfinished. `credentials` are references, None for the
    default ones. `safety`, `in_use` and `groups` are the rules that applied. `settled` is True if the result of every
    write is known. `numbers` is None in a list of runs; otherwise it has the numbers with writes or obstacles, and the
    others are only counted.
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
    """One run. `settings` is None in a list of runs; `accounts` has those with anything to report.

    `plan` is the id of the plan file that the run carried out, None without one.
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
    """The document of `history`: runs, newest first, and the `total` of matching runs, including those not shown."""

    schema: Literal["senderid.history/v1"] = "senderid.history/v1"
    total: Count
    runs: tuple[RunRecord, ...]
