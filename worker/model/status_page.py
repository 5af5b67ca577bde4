"""What the status page shows, as values: what the ledger knows, what a daemon has seen, and what is coming."""

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
"""Outcomes of numbers that are not as they are wanted, and that nobody chose to leave so."""


class AccountState(Struct, frozen=True, kw_only=True):
    """An account as the last run that noted anything of it left it. `key` names it over all runs and files.

    `place` is where it stands in the ledger. `settled` is whether every write of that run is known to have been carried
    out or not.
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
        """Whether it could not be read."""
        return unread(self.key)

    @property
    def name(self) -> tuple[str, str]:
        """Its platform and what its file calls it: all that is known of an account that could not be read."""
        return platform(self.key), self.account

    @property
    def differing(self) -> int:
        """How many numbers that run left otherwise than they were wanted."""
        return sum(number for name, number in self.counts.items() if name in OUT_OF_SYNC)

    @property
    def calm(self) -> bool:
        """Whether nobody needs to look at it."""
        return self.outcome is Ending.CONVERGED and self.settled and not self.differing


class RunSummary(Struct, frozen=True, kw_only=True):
    """One run in a list; `accounts` is how many accounts it noted anything of."""

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
    """A number as one of our runs last wrote it to an account, and when; others may have changed it since."""

    phone: Phone
    status: str
    run_id: str
    at: Timestamp


class NumberRun(Struct, frozen=True):
    """What one run did to one number of one account. `key` names the account, `place` is of the ledger."""

    place: int
    run_id: str
    command: str
    key: str
    account: str
    started_at: Timestamp
    number: NumberRecord


class WriteBucket(Struct, frozen=True):
    """Requests that write, by what the ledger holds, in the minutes or hours that begin at `start`."""

    start: Timestamp
    writes: Count


class UpcomingChange(Struct, frozen=True):
    """A change of what is wanted of some numbers of an account at once; None is nothing."""

    when: Timestamp
    account: str
    before: Status | None
    after: Status | None
    numbers: Count
    why: str


class UpcomingChanges(Struct, frozen=True):
    """The changes of what is wanted before `until`, the next ones first; `more`: there are others after them."""

    until: Timestamp
    turns: tuple[UpcomingChange, ...] = ()
    more: bool = False


class AttentionItem(Struct, frozen=True):
    """Something that a person should look at. `kind` is one word, such as expiring or refused."""

    kind: str
    account: str | None
    message: str
    phone: Phone | None = None


class LastRead(Struct, frozen=True):
    """An account as the daemon last saw it: how many numbers differ, and whether it could be looked at at all."""

    account: str
    at: Timestamp
    verdict: str
    differing: Count


class QuotaUse(Struct, frozen=True):
    """How much of the windows of one API key is used now."""

    writes: Count
    writes_most: Count
    reads: Count
    reads_most: Count
    per_seconds: float


class DaemonState(Struct, frozen=True, kw_only=True):
    """What a daemon knows that no ledger holds. `quotas` are in the order in which their keys came."""

    last_pass: Timestamp | None = None
    outcome: str | None = None
    ready: str | None = None
    seen: tuple[LastRead, ...] = ()
    needs: tuple[AttentionItem, ...] = ()
    quotas: tuple[QuotaUse, ...] = ()


def unread(key: str) -> bool:
    """Whether a key is that of all accounts of a platform that could not be read, of which no id is known."""
    return key.endswith(" None")


def platform(key: str) -> str:
    """Where the account of a key is."""
    return key.rpartition(" ")[0]
