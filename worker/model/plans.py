"""Plans as values. Encoded as JSON, a `Plan` is the document of `senderid plan`. Its schema comes from these types."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Final, Literal, TypeVar

from msgspec import Meta, Struct

from worker.model.accounts import PHONE_PATTERN, Status
from worker.model.errors import ErrorInfo, Refusal

__all__ = [
    "NOT_WRITTEN",
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
    """The planned action for one number. Only `activate` and `deactivate` write."""

    ACTIVATE = "activate"
    DEACTIVATE = "deactivate"
    BLOCKED = "blocked"
    HELD = "held"
    MISSING = "missing"
    PROTECTED = "protected"
    ACKNOWLEDGED = "acknowledged"
    UNMANAGED = "unmanaged"
    UNCHANGED = "unchanged"

    @property
    def writes(self) -> bool:
        """Return True if the action is a write."""
        return self is Action.ACTIVATE or self is Action.DEACTIVATE

    @property
    def needs_attention(self) -> bool:
        """Return True if the number needs attention: it cannot reach its desired status without an operator."""
        return self is Action.BLOCKED or self is Action.HELD or self is Action.MISSING


NOT_WRITTEN: Final = frozenset({Action.UNMANAGED, Action.PROTECTED, Action.ACKNOWLEDGED})
"""The actions of numbers that the desired state leaves: they count as in sync."""


class Cause(StrEnum):
    """The cause of a difference: since the last write, the file has changed, the account has changed, or both have."""

    CONFIG_CHANGE = "config_change"
    EXTERNAL_DRIFT = "external_drift"
    BOTH = "both"


class Verdict(StrEnum):
    """The verdict on an account's plan: only `ok` may be applied."""

    OK = "ok"
    REFUSED = "refused"
    ERROR = "error"


class NoticeKind(StrEnum):
    """The kind of a notice."""

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
    """The planned change of one number: its observed and desired status, the action, and the reason.

    `observed` is None if the number is not registered. `cause` is None if the ledger has no write of the number.
    `since` is the time of a change outside the worker; None if there was none or the API does not report it. `until` is
    the time when the desired status ends by its schedule; None if it does not end.
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
    def is_unreached(self) -> bool:
        """Return True if the number should be ACTIVE but is not, and this change does not activate it."""
        return self.desired == Status.ACTIVE != self.observed and self.action is not Action.ACTIVATE


class Notice(Struct, frozen=True):
    """A warning about an account, or about one of its numbers. The message says what to do."""

    kind: NoticeKind
    message: str
    phone: Phone | None = None


class AccountPlan(Struct, frozen=True, kw_only=True):
    """The plan of one account. `changes` are the numbers whose action is not `unchanged`, in the order of execution.

    `counts` are the counts of numbers by action. `timezone` is the time zone of the file, an IANA name. `active` is the
    count of ACTIVE numbers of the whole account, including those outside the plan; None if the account was not read.
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
    """The document of `senderid plan`. `fingerprint` identifies the set of writes, whatever the time and host.

    `at` is the time at which the desired state was evaluated; None if that is `created_at`.
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
