"""Run history, as read from the ledger. Encoded as JSON, a `History` is the document of `senderid history`."""

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

    `intent` is recorded durably before the request is sent. The response changes it to `ok`, `rejected` (without
    effect) or `ambiguous`. The verification read then changes `ok` and `ambiguous` to `verified` (the number has its
    desired status), `lost` (it has its previous status) or `conflict` (it has neither).
    """

    INTENT = "intent"
    OK = "ok"
    REJECTED = "rejected"
    AMBIGUOUS = "ambiguous"
    VERIFIED = "verified"
    CONFLICT = "conflict"
    LOST = "lost"


class Ending(StrEnum):
    """The outcome of a run, or of one account in it, in the history: those of `RunOutcome` and two more.

    `crashed`: the process died, and a later run closed its records. `unfinished`: the run is in progress, or its
    process died and no later run has closed its records yet.
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
    """One write request. `number` counts the requests for one phone number in one run, from 1.

    `asked` is the requested status. `intended_at` and `answered_at` are the times when the intent and the response were
    recorded.
    """

    number: Count
    asked: str
    state: AttemptState
    intended_at: Timestamp
    answered_at: Timestamp | None = None
    error: NumberError | None = None


class NumberRecord(Struct, frozen=True, kw_only=True):
    """The record of one number in one run. `before` and `after` are its observed statuses.

    `outcome` is None while the account is unfinished. `duration_ms` is the time from the first attempt to the last
    response, in milliseconds.
    """

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
    """The record of one account in one run: its endpoint and credentials, its source file, and its result.

    `credentials` are references; None for the default ones. `safety`, `in_use` and `groups` are the rules that applied.
    `counts` are the counts of numbers by outcome, or by action while the account is unfinished. `settled` is True if
    the result of every write is known. `numbers` are the numbers that were written or could not proceed; all others are
    only counted. It is None in a list of runs.
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
    """The record of one run. `accounts` omits accounts without writes, errors or other events.

    `plan` is the id of the plan file that the run applied; None without one. `settings` is None in a list of runs.
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
    """The document of `senderid history`: runs, newest first.

    `total` is the count of all matching runs, including those beyond the limit of the query.
    """

    schema: Literal["senderid.history/v1"] = "senderid.history/v1"
    total: Count
    runs: tuple[RunRecord, ...]
