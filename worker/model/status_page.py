"""Values of the status page: records of the ledger, the state of the daemon, and upcoming changes."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final, Literal, Self

from msgspec import Struct, structs

from worker.model.accounts import Status
from worker.model.credentials import CredentialsRef
from worker.model.errors import ErrorInfo
from worker.model.history import Ending, NumberRecord
from worker.model.plans import Count, Phone, Timestamp
from worker.model.reads import (
    AccountRead,
    Attention,
    DaemonRecord,
    HealthStatus,
    Segment,
    SyncStatus,
    is_unread,
    platform,
    segment_of,
)
from worker.model.times import format_utc

__all__ = [
    "AccountState",
    "AccountStatus",
    "DaemonState",
    "LastWrite",
    "Liveness",
    "NumberRun",
    "QuotaUse",
    "RequestBucket",
    "RunSummary",
    "RunTimes",
    "UpcomingChange",
    "UpcomingChanges",
    "liveness",
]


class AccountState(Struct, frozen=True, kw_only=True):
    """The state of an account after its last recorded run. `key` identifies the account across runs and files.

    `position` is the position of the record in the ledger, for paging. `counts` are the counts of numbers by outcome.
    `settled` is True if the result of every write of the run is known.
    """

    position: int
    key: str
    account: str
    run_id: str
    outcome: Ending
    started_at: Timestamp
    finished_at: Timestamp | None
    counts: dict[str, Count]
    error: ErrorInfo | None
    settled: bool

    @property
    def is_unread(self) -> bool:
        """Return True if the account could not be read."""
        return is_unread(self.key)


class AccountStatus(Struct, frozen=True, kw_only=True):
    """The state of an account after the latest read by any run. Every page counts and filters by its `segment`.

    `at` is the time of that read, and `command` its command; None and "" for an account that no run has read. The other
    fields are those of `AccountRead`. `suspension` is the reason of a suspension.
    """

    name: str
    key: str = ""
    at: Timestamp | None = None
    command: str = ""
    run_id: str | None = None
    sync: SyncStatus = SyncStatus.UNKNOWN
    health: HealthStatus = HealthStatus.HEALTHY
    counts: Mapping[str, Count] = {}
    differing: Count = 0
    numbers: Count | None = None
    active: Count | None = None
    needs: tuple[Attention, ...] = ()
    failed_at: Timestamp | None = None
    source: str = ""
    commit: str | None = None
    credentials: CredentialsRef | None = None
    timezone: str = "Asia/Seoul"
    suspension: str = ""

    @property
    def segment(self) -> Segment:
        """The segment that the account belongs to."""
        return segment_of(self.sync, self.health)

    @property
    def platform(self) -> str:
        """The platform of the account; empty if no run has read it."""
        return platform(self.key)

    def is_later_than(self, other: Self) -> bool:
        """Return True if the read is later than the read of another state of the same account."""
        return (self.at or "") > (other.at or "")

    def replaced(self, **fields: Any) -> Self:
        """Return the state with other values of some fields."""
        return structs.replace(self, **fields)


class RunSummary(Struct, frozen=True, kw_only=True):
    """The summary of one run. `accounts` is the count of accounts that the run recorded.

    `declined` is True if the user declined the plan at the prompt; `outcome` is then `refused`.
    """

    run_id: str
    command: str
    started_by: str
    host: str
    version: str
    outcome: Ending
    declined: bool = False
    started_at: Timestamp
    finished_at: Timestamp | None
    accounts: Count


class LastWrite(Struct, frozen=True):
    """The last write of a number by the worker. Its status may have been changed elsewhere since then."""

    phone: Phone
    status: str
    run_id: str
    at: Timestamp


class NumberRun(Struct, frozen=True):
    """The record of one number in one run. `key` identifies the account.

    `position` is the position of the record in the ledger, for paging.
    """

    position: int
    run_id: str
    command: str
    key: str
    account: str
    started_at: Timestamp
    number: NumberRecord


class RequestBucket(Struct, frozen=True):
    """The counts of requests in the time that starts at `start`. `rejected` writes got HTTP status 429.

    Reads count at the start of their account in a run.
    """

    start: Timestamp
    reads: Count = 0
    writes: Count = 0
    rejected: Count = 0


class RunTimes(Struct, frozen=True, kw_only=True):
    """The times of a run. `planned_at` is when its first plan was recorded, `first_write` the first intent of a write.

    `canary_ended_at` is when its canary was verified; None without one. `reads`, `writes` and `retries` count its
    requests, and `buckets` are its writes by second.
    """

    started_at: Timestamp
    planned_at: Timestamp | None = None
    first_write: Timestamp | None = None
    canary_ended_at: Timestamp | None = None
    last_answer: Timestamp | None = None
    finished_at: Timestamp | None = None
    reads: Count = 0
    writes: Count = 0
    retries: Count = 0
    buckets: tuple[RequestBucket, ...] = ()


class UpcomingChange(Struct, frozen=True):
    """A scheduled change of the desired status of several numbers of an account at the same time.

    `before` and `after` are None for no desired status. `numbers` is the count of numbers, `why` the reason.
    """

    when: Timestamp
    account: str
    before: Status | None
    after: Status | None
    numbers: Count
    why: str


class UpcomingChanges(Struct, frozen=True):
    """The upcoming changes before `until`, in order of time. `more` is True if the list is incomplete."""

    until: Timestamp
    turns: tuple[UpcomingChange, ...] = ()
    more: bool = False


class QuotaUse(Struct, frozen=True):
    """The use of the rate limits of one API key: requests that count now, and the maximum in `per_seconds` seconds."""

    writes: Count
    max_writes: Count
    reads: Count
    max_reads: Count
    per_seconds: float


class DaemonState(Struct, frozen=True, kw_only=True):
    """The state of the daemon that serves the page: its last pass, its reads, and its rate limits.

    `next_pass` is when it will start its next pass. `suspended` maps the name of each suspended account to the reason;
    None is all accounts. `broken` maps each invalid file to its problems. `quotas` contains one entry per API key, in
    the order of their first use.
    """

    last_pass: Timestamp | None = None
    next_pass: Timestamp | None = None
    outcome: str | None = None
    ready: str | None = None
    reads: tuple[AccountRead, ...] = ()
    suspended: Mapping[str | None, str] = {}
    broken: Mapping[str, str] = {}
    quotas: tuple[QuotaUse, ...] = ()


_LATE: Final = 0.75
"""The part of an interval by which a pass may be late, so that a killed daemon is silent within two intervals."""


class Liveness(Struct, frozen=True):
    """Whether a daemon keeps the accounts in sync now.

    `live`: it started its passes in time. `silent`: it has sent no heartbeat for three quarters of an interval after
    its next pass was due. `stopped`: it recorded that it stopped. `starting`: its first pass has not ended yet. `none`:
    no daemon is known. `last_pass` and `next_pass` are None if unknown; `host` is where it runs. `late_at` is when a
    live daemon becomes silent unless it starts a pass before.
    """

    state: Literal["live", "silent", "stopped", "starting", "none"] = "none"
    last_pass: Timestamp | None = None
    next_pass: Timestamp | None = None
    outcome: str | None = None
    host: str = ""
    late_at: Timestamp | None = None


def liveness(live: DaemonState | None, recorded: DaemonRecord | None, now: datetime) -> Liveness:
    """Return the liveness of the daemon at `now`, from its own state or, without one, from its record in the ledger."""
    if live is not None:
        if live.last_pass is None:
            return Liveness("starting")
        last, following, outcome, host = live.last_pass, live.next_pass or live.last_pass, live.outcome, ""
    elif recorded is None:
        return Liveness()
    else:
        last, following, outcome, host = recorded.last_pass, recorded.next_pass, recorded.outcome, recorded.host
        if recorded.ended_at is not None:
            return Liveness("stopped", last, None, outcome, host)
    due = datetime.fromisoformat(following)
    latest = due + _LATE * (due - datetime.fromisoformat(last))
    return Liveness("silent" if now > latest else "live", last, following, outcome, host, format_utc(latest))
