"""Plans as values. Encoded, a `Plan` is the document of `plan`; its JSON Schema comes from the same types."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Literal, TypeVar

from msgspec import Meta, Struct

from worker.model.accounts import PHONE_PATTERN, Status
from worker.model.errors import ErrorInfo, Refusal

__all__ = [
    "AccountPlan",
    "Action",
    "Cause",
    "Change",
    "Count",
    "Notice",
    "NoticeKind",
    "Phone",
    "Plan",
    "Timestamp",
    "Verdict",
    "tally",
]

Phone = Annotated[str, Meta(pattern=PHONE_PATTERN, description="Digits only.")]

Timestamp = Annotated[str, Meta(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$", description="UTC, ISO 8601.")]

Count = Annotated[int, Meta(ge=0)]


class Action(StrEnum):
    """The action of a plan for one number."""

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
        """Return True if the action is a write."""
        return self is Action.ACTIVATE or self is Action.DEACTIVATE

    @property
    def stuck(self) -> bool:
        """Return True if the number needs attention: it cannot reach its desired status without an operator."""
        return self is Action.BLOCKED or self is Action.HELD or self is Action.MISSING


class Cause(StrEnum):
    """The cause of a difference since the last write: the file changed, the account did, or both."""

    CONFIG_CHANGE = "config_change"
    EXTERNAL_DRIFT = "external_drift"
    BOTH = "both"


class Verdict(StrEnum):
    """The verdict on an account's plan: only `ok` may be applied."""

    OK = "ok"
    REFUSED = "refused"
    ERROR = "error"


class NoticeKind(StrEnum):
    """Kinds of notices."""

    EXPIRING = "expiring"
    PENDING = "pending"
    DUPLICATED = "duplicated"
    BLOCKED = "blocked"
    LIMIT = "limit"
    GROUP = "group"
    IN_USE = "in_use"
    FILES = "files"
    SWAP = "swap"


class Change(Struct, frozen=True):
    """One number of a plan: its observed and desired status, and the action.

    `cause` is set if the ledger has a write of the number, `since` if the API reports when it was changed outside.
    `until` is the end of the desired status by its schedule, None if there is none.
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
    """A notice on an account, or on one of its numbers, with what to do."""

    kind: NoticeKind
    message: str
    phone: Phone | None = None


class AccountPlan(Struct, frozen=True, kw_only=True):
    """The plan of one account. `changes` has every number that is not `unchanged`, in the order of execution.

    `timezone` is the IANA name of the time zone of its file. `active` is how many numbers of the account, planned or
    not, are ACTIVE; None if it was not read.
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
        """The changes that need a write."""
        return tuple(change for change in self.changes if change.action.writes)


class Plan(Struct, frozen=True, kw_only=True):
    """The document of `plan`. `fingerprint` identifies the set of changes, independent of time and host.

    `at` is the time of the desired state; None if it is `created_at`.
    """

    schema: Literal["senderid.plan/v1"] = "senderid.plan/v1"
    created_at: Timestamp
    at: Timestamp | None = None
    fingerprint: str
    accounts: tuple[AccountPlan, ...]


K = TypeVar("K", bound=StrEnum)


def tally(keys: type[K], counts: Mapping[K, int]) -> dict[K, int]:
    """Return a count for every member of an enum, 0 for those that `counts` lacks."""
    return {key: counts.get(key, 0) for key in keys}
