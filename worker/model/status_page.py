"""Values of the status page: records of the ledger, the state of the daemon, and upcoming changes."""

from msgspec import Struct

from worker.model.accounts import Status
from worker.model.errors import ErrorInfo
from worker.model.history import Ending, NumberRecord
from worker.model.plans import Count, Phone, Timestamp
from worker.model.results import Outcome

__all__ = [
    "OUT_OF_SYNC",
    "AccountState",
    "AttentionItem",
    "DaemonState",
    "LastRead",
    "LastWrite",
    "NumberRun",
    "QuotaUse",
    "RunSummary",
    "UpcomingChange",
    "UpcomingChanges",
    "WriteBucket",
    "is_unread",
    "platform",
]

OUT_OF_SYNC = frozenset(
    {Outcome.FAILED, Outcome.BLOCKED, Outcome.MISSING, Outcome.CONFLICT, Outcome.UNVERIFIED, Outcome.NOT_ATTEMPTED}
)
"""Outcomes of numbers that are out of sync. Held and protected numbers do not count: an operator decided on them."""


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

    @property
    def name(self) -> tuple[str, str]:
        """The platform and name of the account. Together they identify an account that could not be read."""
        return platform(self.key), self.account

    @property
    def differing(self) -> int:
        """The count of numbers that are out of sync after the run."""
        return sum(number for name, number in self.counts.items() if name in OUT_OF_SYNC)

    @property
    def is_calm(self) -> bool:
        """Return True if the account does not need attention."""
        return self.outcome is Ending.CONVERGED and self.settled and not self.differing


class RunSummary(Struct, frozen=True, kw_only=True):
    """The summary of one run. `accounts` is the count of accounts that the run recorded."""

    run_id: str
    command: str
    started_by: str
    host: str
    version: str
    outcome: Ending
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


class WriteBucket(Struct, frozen=True):
    """The count of write requests in the minute or hour that starts at `start`."""

    start: Timestamp
    writes: Count


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


class AttentionItem(Struct, frozen=True):
    """A problem of an account or a number that needs attention. `kind` is one word, such as `expiring` or `refused`."""

    kind: str
    account: str | None
    message: str
    phone: Phone | None = None


class LastRead(Struct, frozen=True):
    """The daemon's last read of an account. `differing` is the count of numbers that are out of sync."""

    account: str
    at: Timestamp
    verdict: str
    differing: Count


class QuotaUse(Struct, frozen=True):
    """The use of the rate limits of one API key: requests that count now, and the maximum in `per_seconds` seconds."""

    writes: Count
    max_writes: Count
    reads: Count
    max_reads: Count
    per_seconds: float


class DaemonState(Struct, frozen=True, kw_only=True):
    """The state of the daemon that the ledger does not record: its last pass, its reads, and its rate limits.

    `quotas` contains one entry per API key, in the order of first use.
    """

    last_pass: Timestamp | None = None
    outcome: str | None = None
    ready: str | None = None
    reads: tuple[LastRead, ...] = ()
    needs: tuple[AttentionItem, ...] = ()
    quotas: tuple[QuotaUse, ...] = ()


def is_unread(key: str) -> bool:
    """Return True if a key is that of accounts that could not be read. Their ids are unknown, so they share a key."""
    return key.endswith(" None")


def platform(key: str) -> str:
    """Return the platform of an account key."""
    return key.rpartition(" ")[0]
