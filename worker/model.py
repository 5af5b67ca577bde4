"""The values that everything else passes around.

`Plan` and `Result` are also the JSON documents that `plan` and `apply` print: encoding one of them with msgspec gives
the document, and its JSON Schema comes from the same type.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Final, Literal, Self, TypeVar

from msgspec import Meta, Struct

from worker.credentials import CredentialsRef

__all__ = [
    "PHONE_PATTERN",
    "AccountPlan",
    "AccountResult",
    "Action",
    "Cause",
    "Change",
    "Desired",
    "DesiredAccount",
    "ErrorInfo",
    "Memory",
    "NumberError",
    "NumberResult",
    "Observed",
    "ObservedAccount",
    "Outcome",
    "Phone",
    "Plan",
    "Refusal",
    "Requests",
    "Result",
    "RunOutcome",
    "SafetyOverride",
    "Status",
    "Timestamp",
    "Unmanaged",
    "Verdict",
    "tally",
]

PHONE_PATTERN: Final = "^[0-9]{3,12}$"
"""What may stand in a URL, a document or a log line as a phone number: 3 to 12 ASCII digits."""

Phone = Annotated[str, Meta(pattern=PHONE_PATTERN, description="Digits only.")]
Timestamp = Annotated[str, Meta(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$", description="UTC, ISO 8601.")]
Count = Annotated[int, Meta(ge=0)]


class Status(StrEnum):
    """A sender number's status. The API may invent new ones: those keep their text and are never written."""

    ACTIVE = "ACTIVE"
    INACTIVE = "INACTIVE"
    PENDING = "PENDING"
    BLOCKED = "BLOCKED"
    DUPLICATED = "DUPLICATED"
    EXPIRED = "EXPIRED"
    OVERLIMIT = "OVERLIMIT"

    @classmethod
    def _missing_(cls, value: object) -> Self | None:
        if not isinstance(value, str):
            return None
        unknown = str.__new__(cls, value)
        unknown._name_ = unknown._value_ = value
        return unknown

    @property
    def writable(self) -> bool:
        """Whether the API lets this status be changed (and be asked for)."""
        return self is Status.ACTIVE or self is Status.INACTIVE


class Unmanaged(StrEnum):
    """What to do with a number that is registered but not listed."""

    REPORT = "report"
    IGNORE = "ignore"
    DEACTIVATE = "deactivate"


class Action(StrEnum):
    """What a plan intends for one number."""

    ACTIVATE = "activate"
    DEACTIVATE = "deactivate"
    BLOCKED = "blocked"
    MISSING = "missing"
    PROTECTED = "protected"
    UNMANAGED = "unmanaged"
    UNCHANGED = "unchanged"

    @property
    def writes(self) -> bool:
        """Whether carrying the action out takes a write."""
        return self is Action.ACTIVATE or self is Action.DEACTIVATE


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
    MISSING = "missing"
    CONFLICT = "conflict"
    UNVERIFIED = "unverified"
    NOT_ATTEMPTED = "not_attempted"
    PROTECTED = "protected"
    UNMANAGED = "unmanaged"
    UNCHANGED = "unchanged"


class Verdict(StrEnum):
    """Whether an account's plan may be applied."""

    OK = "ok"
    REFUSED = "refused"
    ERROR = "error"


class RunOutcome(StrEnum):
    """How a run, or one account of it, ended."""

    CONVERGED = "converged"
    PARTIAL = "partial"
    REFUSED = "refused"
    FAILED = "failed"
    LOCKED = "locked"
    INTERRUPTED = "interrupted"


class SafetyOverride(Struct, frozen=True):
    """Safety thresholds that one desired-state file sets for its own account; None leaves the settings' value."""

    max_deactivations: int | str | None = None
    min_active: int | None = None


class Desired(Struct, frozen=True, gc=False):
    """What one number should be. Numbers that carry nothing but a status share one value.

    `managed` is False for a number that no file lists: it is wanted as it is.
    """

    status: Status
    note: str | None = None
    owner: str | None = None
    protected: bool = False
    managed: bool = True


class DesiredAccount(Struct, frozen=True):
    """One desired-state document: one account.

    `numbers` maps digits to what is desired, in the order of the file; `lines` holds the line of each, in that order.
    `source` is the file's name as the user gave it, `sha256` that of its bytes in hex and `commit` that of the checkout
    in which it lies; `line` is where the document begins.
    """

    name: str
    source: str
    numbers: dict[str, Desired]
    lines: Sequence[int]
    line: int = 1
    account_id: str | None = None
    credentials: CredentialsRef | None = None
    endpoint: str | None = None
    unmanaged: Unmanaged = Unmanaged.REPORT
    safety: SafetyOverride = SafetyOverride()
    sha256: str | None = None
    commit: str | None = None

    def located(self) -> Iterator[tuple[str, Desired, int]]:
        """Every number with what is desired and its line, in the order of the file."""
        return ((phone, desired, line) for (phone, desired), line in zip(self.numbers.items(), self.lines, strict=True))


class Observed(Struct, frozen=True, gc=False):
    """What the API says of one number. `expires_at` is the API's own ISO 8601 text."""

    phone: str
    status: Status
    expires_at: str | None = None


class ObservedAccount(Struct, frozen=True):
    """What the API says of one account. An account without numbers may come without an id.

    `updated` has the Unix second at which each number last changed, in the order of `numbers`; 0 where it is not told.
    """

    account_id: str | None
    numbers: dict[str, Observed]
    updated: Sequence[int] = ()

    @property
    def active(self) -> int:
        """How many numbers are ACTIVE."""
        return sum(number.status is Status.ACTIVE for number in self.numbers.values())

    def status(self, phone: str) -> Status | None:
        """The status of one number; None where the account does not have it."""
        number = self.numbers.get(phone)
        return None if number is None else number.status

    def updated_at(self, phones: Collection[str]) -> dict[str, str]:
        """When those of some numbers last changed of which it is told: UTC, ISO 8601, Z."""
        if not phones:
            return {}
        told = zip(self.numbers, self.updated, strict=False)
        return {
            phone: datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            for phone, second in told
            if second and phone in phones
        }


class Memory(Struct, frozen=True):
    """What is remembered of an account: the last status that a run of ours wrote and proved, by phone.

    `spent` are the numbers that runs which died have switched off since the last one that came to its end. `unsettled`
    tells whether earlier runs left anything open.
    """

    written: Mapping[str, Status] = {}
    spent: frozenset[str] = frozenset()
    unsettled: bool = False


class Change(Struct, frozen=True):
    """One number of a plan: what is there, what is wanted, and what that takes.

    `cause` is why, where the ledger remembers the number, and `since` when it was changed outside, where the API tells.
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
    """The plan of one account. `changes` holds everything but `unchanged`, in the order in which it will be done."""

    account: str
    account_id: str | None = None
    verdict: Verdict = Verdict.OK
    refusals: tuple[Refusal, ...] = ()
    error: ErrorInfo | None = None
    counts: dict[Action, Count]
    changes: tuple[Change, ...] = ()

    @property
    def writes(self) -> tuple[Change, ...]:
        """The changes that take a write."""
        return tuple(change for change in self.changes if change.action.writes)


class Plan(Struct, frozen=True, kw_only=True):
    """The document of `plan`. `fingerprint` names the set of changes, whenever and wherever it was computed."""

    schema: Literal["senderid.plan/v1"] = "senderid.plan/v1"
    created_at: Timestamp
    fingerprint: str
    accounts: tuple[AccountPlan, ...]


class Requests(Struct, frozen=True):
    """How many requests an account took; `retries` are part of `reads` and `writes`."""

    reads: Count = 0
    writes: Count = 0
    retries: Count = 0


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
