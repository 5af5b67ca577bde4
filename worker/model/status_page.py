"""Values of the status page: from the ledger, from the daemon, and upcoming changes."""

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
    "platform",
    "unread",
]

OUT_OF_SYNC = frozenset(
    {Outcome.FAILED, Outcome.BLOCKED, Outcome.MISSING, Outcome.CONFLICT, Outcome.UNVERIFIED, Outcome.NOT_ATTEMPTED}
)
"""Outcomes of numbers that are out of sync. Numbers held or protected by an operator's decision are not."""


class AccountState(Struct, frozen=True, kw_only=True):
    """The state of an account after its last recorded run. `key` identifies it across runs and files.

    `place` is its position in the ledger. `settled` is True if the result of every write of that run is known.
    """

    place: int
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
    def unread(self) -> bool:
        """Return True if the account could not be read."""
        return unread(self.key)

    @property
    def name(self) -> tuple[str, str]:
        """Its platform and its name in the file: the identity of an account that could not be read."""
        return platform(self.key), self.account

    @property
    def differing(self) -> int:
        """The count of numbers out of sync after that run."""
        return sum(number for name, number in self.counts.items() if name in OUT_OF_SYNC)

    @property
    def calm(self) -> bool:
        """Return True if the account needs no attention."""
        return self.outcome is Ending.CONVERGED and self.settled and not self.differing


class RunSummary(Struct, frozen=True, kw_only=True):
    """One run in a list; `accounts` is how many accounts it recorded."""

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
    """The last write of a number; others may have changed it since."""

    phone: Phone
    status: str
    run_id: str
    at: Timestamp


class NumberRun(Struct, frozen=True):
    """One number in one run. `key` identifies the account, `place` is the position in the ledger."""

    place: int
    run_id: str
    command: str
    key: str
    account: str
    started_at: Timestamp
    number: NumberRecord


class WriteBucket(Struct, frozen=True):
    """The number of write requests in a period that starts at `start`."""

    start: Timestamp
    writes: Count


class UpcomingChange(Struct, frozen=True):
    """A simultaneous change of the desired status of some numbers of an account; None is nothing."""

    when: Timestamp
    account: str
    before: Status | None
    after: Status | None
    numbers: Count
    why: str


class UpcomingChanges(Struct, frozen=True):
    """The upcoming changes before `until`, in order; `more` is True if the list is cut."""

    until: Timestamp
    turns: tuple[UpcomingChange, ...] = ()
    more: bool = False


class AttentionItem(Struct, frozen=True):
    """An item that needs attention. `kind` is one word, such as expiring or refused."""

    kind: str
    account: str | None
    message: str
    phone: Phone | None = None


class LastRead(Struct, frozen=True):
    """The daemon's last read of an account: how many numbers differ, and the verdict."""

    account: str
    at: Timestamp
    verdict: str
    differing: Count


class QuotaUse(Struct, frozen=True):
    """The used part of the rate limits of one API key."""

    writes: Count
    writes_most: Count
    reads: Count
    reads_most: Count
    per_seconds: float


class DaemonState(Struct, frozen=True, kw_only=True):
    """The state of the daemon that is not in the ledger. `quotas` are in the order of first use of their keys."""

    last_pass: Timestamp | None = None
    outcome: str | None = None
    ready: str | None = None
    seen: tuple[LastRead, ...] = ()
    needs: tuple[AttentionItem, ...] = ()
    quotas: tuple[QuotaUse, ...] = ()


def unread(key: str) -> bool:
    """Return True if a key stands for the unread accounts of a platform, whose id is unknown."""
    return key.endswith(" None")


def platform(key: str) -> str:
    """Return the platform of an account key."""
    return key.rpartition(" ")[0]
