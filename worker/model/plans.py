"""What plans and results say. Encoding a `Plan` or a `Result` with msgspec gives the JSON document that is printed.

The JSON Schema comes from the same type.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Final, Literal, TypeVar

from msgspec import Meta, Struct

from worker.model.accounts import PHONE_PATTERN, Status

__all__ = [
    "AccountPlan",
    "AccountResult",
    "Action",
    "Cause",
    "Change",
    "Count",
    "ErrorInfo",
    "Notice",
    "NoticeKind",
    "NumberError",
    "NumberResult",
    "Outcome",
    "Phone",
    "Plan",
    "Refusal",
    "Requests",
    "Result",
    "RunOutcome",
    "Timestamp",
    "Verdict",
    "tally",
]

Phone = Annotated[str, Meta(pattern=PHONE_PATTERN, description="Digits only.")]

Timestamp = Annotated[str, Meta(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$", description="UTC, ISO 8601.")]

Count = Annotated[int, Meta(ge=0)]


class Action(StrEnum):
    """What a plan intends for one number."""

    ACTIVATE = "activate"
    DEACTIVATE = "deactivate"
    BLOCKED = "blocked"
    HELD = "held"
    MISSING = "missing"
    PROTECTED = "protected"
    UNMANAGED = "unmanaged"
    UNCHANGED = "unchanged"

    @property
    def writes(self) -> bool:
        """Whether carrying the action out takes a write."""
        return self is Action.ACTIVATE or self is Action.DEACTIVATE

    @property
    def stuck(self) -> bool:
        """Whether the number is not as desired, and takes a person before it can be."""
        return self is Action.BLOCKED or self is Action.HELD or self is Action.MISSING


class Cause(StrEnum):
    """Why a number is not as desired, by what a run of ours last wrote: the file changed, the account did, or both."""

    CONFIG_CHANGE = "config_change"
    EXTERNAL_DRIFT = "external_drift"
    BOTH = "both"


class Outcome(StrEnum):
    """What became of one number in a run. Every number has exactly one."""

    CHANGED = "changed"
    FAILED = "failed"
    BLOCKED = "blocked"
    HELD = "held"
    MISSING = "missing"
    CONFLICT = "conflict"
    UNVERIFIED = "unverified"
    NOT_ATTEMPTED = "not_attempted"
    PROTECTED = "protected"
    UNMANAGED = "unmanaged"
    UNCHANGED = "unchanged"

    @property
    def stuck(self) -> bool:
        """Whether the number did not converge, and a person has to look."""
        return self not in _CONVERGED


_CONVERGED: Final = frozenset({Outcome.CHANGED, Outcome.UNCHANGED, Outcome.PROTECTED, Outcome.UNMANAGED})


class Verdict(StrEnum):
    """Whether an account's plan may be applied."""

    OK = "ok"
    REFUSED = "refused"
    ERROR = "error"


class NoticeKind(StrEnum):
    """What a person should know of an account besides its changes."""

    EXPIRING = "expiring"
    PENDING = "pending"
    DUPLICATED = "duplicated"
    BLOCKED = "blocked"
    LIMIT = "limit"
    GROUP = "group"
    IN_USE = "in_use"
    FILES = "files"
    SWAP = "swap"


class RunOutcome(StrEnum):
    """How a run, or one account of it, ended."""

    CONVERGED = "converged"
    PARTIAL = "partial"
    REFUSED = "refused"
    FAILED = "failed"
    LOCKED = "locked"
    INTERRUPTED = "interrupted"


class Change(Struct, frozen=True):
    """One number of a plan: what is there, what is wanted, and what that takes.

    `cause` is why, where the ledger remembers the number, and `since` when it was changed outside, where the API tells.
    `until` is when the file stops to want this by itself; None where it does not.
    """

    phone: Phone
    action: Action
    observed: str | None
    desired: str
    reason: str
    note: str | None = None
    owner: str | None = None
    cause: Cause | None = None
    since: Timestamp | None = None
    until: Timestamp | None = None

    @property
    def unreached(self) -> bool:
        """Return True if the number should be ACTIVE, is not, and this change does not activate it."""
        return self.desired == Status.ACTIVE != self.observed and self.action is not Action.ACTIVATE


class Notice(Struct, frozen=True):
    """Something that a person should know of an account, or of one number of it, and what to do next."""

    kind: NoticeKind
    message: str
    phone: Phone | None = None


class Refusal(Struct, frozen=True):
    """A safety rule that a plan breaks. `rule` is the name that `--allow` takes."""

    rule: str
    message: str


class ErrorInfo(Struct, frozen=True):
    """Why an account could not be planned or applied."""

    code: str
    message: str


class NumberError(Struct, frozen=True):
    """Why a number did not converge; `http_status` where the API answered."""

    code: str
    message: str
    http_status: int | None = None


class AccountPlan(Struct, frozen=True, kw_only=True):
    """The plan of one account. `changes` holds everything but `unchanged`, in the order in which it will be done.

    `timezone` is the IANA name of the zone by whose clock its file is written. `active` is how many numbers of the
    account, planned or not, are ACTIVE; None where nobody looked.
    """

    account: str
    account_id: str | None = None
    timezone: str = "Asia/Seoul"
    verdict: Verdict = Verdict.OK
    refusals: tuple[Refusal, ...] = ()
    error: ErrorInfo | None = None
    counts: dict[Action, Count]
    changes: tuple[Change, ...] = ()
    notices: tuple[Notice, ...] = ()
    active: Count | None = None

    @property
    def writes(self) -> tuple[Change, ...]:
        """The changes that take a write."""
        return tuple(change for change in self.changes if change.action.writes)


class Plan(Struct, frozen=True, kw_only=True):
    """The document of `plan`. `fingerprint` names the set of changes, whenever and wherever it was computed.

    `at` is the moment whose desired state was compared, where it is not that of the plan itself.
    """

    schema: Literal["senderid.plan/v1"] = "senderid.plan/v1"
    created_at: Timestamp
    at: Timestamp | None = None
    fingerprint: str
    accounts: tuple[AccountPlan, ...]


class Requests(Struct, frozen=True):
    """How many requests an account took; `retries` are part of `reads` and `writes`."""

    reads: Count = 0
    writes: Count = 0
    retries: Count = 0

    def __add__(self, other: "Requests") -> "Requests":
        return Requests(self.reads + other.reads, self.writes + other.writes, self.retries + other.retries)


class NumberResult(Struct, frozen=True):
    """What became of one number. `action` is None where the account could not be read, so that none was planned.

    `duration_ms` is from the first attempt to the last answer, 0 where nothing was sent.
    """

    phone: Phone
    action: Action | None
    desired: str | None
    before: str | None
    after: str | None
    outcome: Outcome
    attempts: Count = 0
    error: NumberError | None = None
    duration_ms: Count = 0


class AccountResult(Struct, frozen=True, kw_only=True):
    """What became of one account. `numbers` holds everything but `unchanged`."""

    account: str
    account_id: str | None = None
    outcome: RunOutcome
    error: ErrorInfo | None = None
    refusals: tuple[Refusal, ...] = ()
    counts: dict[Outcome, Count]
    requests: Requests = Requests()
    numbers: tuple[NumberResult, ...] = ()
    notices: tuple[Notice, ...] = ()


class Result(Struct, frozen=True, kw_only=True):
    """The document of `apply`."""

    schema: Literal["senderid.result/v1"] = "senderid.result/v1"
    run_id: str
    started_at: Timestamp
    finished_at: Timestamp
    outcome: RunOutcome
    accounts: tuple[AccountResult, ...]


K = TypeVar("K", bound=StrEnum)


def tally(keys: type[K], found: Mapping[K, int]) -> dict[K, int]:
    """Counts for every member of an enum, those that were not found with 0."""
    return {key: found.get(key, 0) for key in keys}
