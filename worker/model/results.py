"""Results of runs, as values. Encoded as JSON, a `Result` is the document of `senderid apply`."""

from enum import StrEnum
from typing import Final, Literal

from msgspec import Struct

from worker.model.errors import ErrorInfo, NumberError, Refusal
from worker.model.plans import Action, Count, Notice, Phone, Timestamp

__all__ = ["FAILURES", "AccountResult", "NumberResult", "Outcome", "Requests", "Result", "RunOutcome"]


class Outcome(StrEnum):
    """The outcome of one number in a run. Every number has exactly one."""

    CHANGED = "changed"
    FAILED = "failed"
    BLOCKED = "blocked"
    HELD = "held"
    MISSING = "missing"
    CONFLICT = "conflict"
    UNVERIFIED = "unverified"
    NOT_ATTEMPTED = "not_attempted"
    PROTECTED = "protected"
    ACKNOWLEDGED = "acknowledged"
    UNMANAGED = "unmanaged"
    UNCHANGED = "unchanged"

    @property
    def needs_attention(self) -> bool:
        """Return True if the number did not converge: an operator must check it."""
        return self not in _CONVERGED


FAILURES: Final = frozenset({Outcome.FAILED, Outcome.CONFLICT, Outcome.UNVERIFIED})
"""The outcomes of writes that did not have the planned result."""
_CONVERGED: Final = frozenset(
    {Outcome.CHANGED, Outcome.UNCHANGED, Outcome.PROTECTED, Outcome.ACKNOWLEDGED, Outcome.UNMANAGED}
)


class RunOutcome(StrEnum):
    """The outcome of a run, or of one account in it."""

    CONVERGED = "converged"
    PARTIAL = "partial"
    REFUSED = "refused"
    FAILED = "failed"
    LOCKED = "locked"
    INTERRUPTED = "interrupted"


class Requests(Struct, frozen=True):
    """Counts of the requests sent for an account. `reads` and `writes` include `retries`."""

    reads: Count = 0
    writes: Count = 0
    retries: Count = 0

    def __add__(self, other: "Requests") -> "Requests":
        return Requests(self.reads + other.reads, self.writes + other.writes, self.retries + other.retries)


class NumberResult(Struct, frozen=True):
    """The result of one number. `before` and `after` are its observed statuses, `attempts` the count of writes sent.

    `action` is None if the account could not be read, so that there was no plan. `duration_ms` is the time from the
    first attempt to the last response, in milliseconds; 0 if nothing was sent. `note` and `owner` come from the file.
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
    note: str | None = None
    owner: str | None = None


class AccountResult(Struct, frozen=True, kw_only=True):
    """The result of one account. `numbers` contains every number whose outcome is not `unchanged`.

    `counts` are the counts of all numbers by outcome.
    """

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
    """The document of `senderid apply`: the result of one run, by account.

    `prompt_ms` is the time in milliseconds that the run waited for the user at the prompt.
    """

    schema: Literal["senderid.result/v1"] = "senderid.result/v1"
    run_id: str
    started_at: Timestamp
    finished_at: Timestamp
    outcome: RunOutcome
    prompt_ms: Count = 0
    accounts: tuple[AccountResult, ...]
