"""Ports of the reconciliation: protocols for the API, the ledger, logs, progress and target accounts.

`worker.solapi`, `worker.ledger` and `worker.telemetry` implement them; neither side imports the other.
"""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from hashlib import sha256
from typing import Any, Protocol, Self

from msgspec import Struct

from worker.model.accounts import (
    AccountMemory,
    Group,
    NumberUse,
    ObservedAccount,
    PlanFile,
    PlanFileUse,
    SourceFile,
    Status,
)
from worker.model.credentials import CredentialsRef
from worker.model.errors import ApiError, WorkerError
from worker.model.plans import AccountPlan
from worker.model.results import AccountResult, Requests

__all__ = [
    "AccountLedger",
    "AccountTarget",
    "AttemptJournal",
    "DefaultTarget",
    "DescribedAccount",
    "Log",
    "ProgressMeter",
    "ReadableAccount",
    "RequestObserver",
    "RunLog",
    "WritableAccount",
    "files",
    "revision",
    "sources",
]


class AttemptJournal(Protocol):
    """The journal of write requests: the intent before each is sent, and then its result."""

    async def intend(self, requests: Sequence[tuple[str, int, Status]]) -> None:
        """Record requests durably, each as (phone, attempt number, requested status).

        Raises:
            LedgerError: nothing was recorded, so the requests must not be sent.
        """
        ...

    def check_lease(self) -> None:
        """Check that no other run may write to the account. It is called before each request that writes.

        Raises:
            LeaseLost: the request must not be sent.
        """
        ...

    def record_response(self, phone: str, number: int, error: ApiError | None) -> None:
        """Record the result of a request; `error` is None if the API accepted it."""
        ...


class AccountLedger(AttemptJournal, Protocol):
    """The ledger of one account in one run, which has the lease of the account. Each method may raise LedgerError."""

    async def earlier_run(self, plan: PlanFile, phones: Collection[str]) -> PlanFileUse | None:
        """Return the earlier run that used up the plan file with writes of `phones`; None without such a run."""
        ...

    async def registered(self) -> int | None:
        """Return the count of registered numbers in the last run; None if unknown."""
        ...

    async def resume(self, observed: ObservedAccount) -> AccountMemory:
        """Close the open attempts of crashed runs, using the observed statuses. Return the memory of the account."""
        ...

    async def record_plan(self, plan: AccountPlan, fingerprint: str) -> None:
        """Record the plan of the account before its first write."""
        ...

    async def finish(self, result: AccountResult, confirmed: Mapping[str, Status]) -> None:
        """Record the result. `confirmed` are numbers that reached their desired status without a write of this tool."""
        ...


class UsedSlots(Struct, frozen=True):
    """The slots of a quota that requests occupy at the server: the seconds until each of them is free."""

    reads: tuple[float, ...] = ()
    writes: tuple[float, ...] = ()


class SharedQuota(Protocol):
    """The quota of an API key that processes use in turn, such as `worker.solapi.limiter.Quota`."""

    def used_slots(self) -> UsedSlots:
        """Return the slots in use, for the next process."""
        ...

    def occupy(self, slots: UsedSlots, elapsed: float) -> None:
        """Occupy the slots that other processes used until `elapsed` seconds ago."""
        ...


class Log(Protocol):
    """A structured log."""

    def info(self, event: str, **fields: Any) -> None:
        """Log an event at level INFO."""
        ...

    def warning(self, event: str, **fields: Any) -> None:
        """Log an event at level WARNING."""
        ...


class RunLog(Log, Protocol):
    """A structured log that can be bound to an account."""

    def bind(self, **fields: Any) -> Self:
        """Return a log that adds `fields` to every event."""
        ...


class ProgressMeter(Protocol):
    """A display of the progress of writes."""

    def advance(self) -> None:
        """Count one more number as finished."""
        ...


class RequestObserver(Protocol):
    """An observer of requests, for metrics and traces."""

    def record_request(self, method: str, seconds: float, status: int | None) -> None:
        """Record a finished request and its duration in seconds. `status` is None without a response."""
        ...

    def record_retry(self, error: ApiError) -> None:
        """Record the retry of a request after `error`."""
        ...


class ReadableAccount(Protocol):
    """A read-only client of one account, such as `worker.solapi.client.AccountReader`."""

    @property
    def requests(self) -> Requests:
        """The counts of requests sent so far."""
        ...

    async def observe(self, *, is_verification: bool = False) -> ObservedAccount:
        """Read the account. The verification read is allowed even after `halt`."""
        ...

    async def confirm(self, observed: ObservedAccount, registered: int | None) -> ObservedAccount:
        """Return `observed`, or a repeated read if too many numbers are missing.

        `registered` is the count of registered numbers in the last run; None if unknown.
        """
        ...

    async def usage(self, phones: Collection[str], hours: int) -> NumberUse:
        """Return which of `phones` have scheduled messages, or have sent messages within the last `hours`."""
        ...

    def halt(self, reason: WorkerError) -> None:
        """Stop sending: raise `reason` in every request that waits for a slot. In-flight requests finish."""
        ...


class WritableAccount(ReadableAccount, Protocol):
    """A client that also writes, such as `worker.solapi.client.AccountWriter`."""

    @property
    def probe(self) -> ObservedAccount | None:
        """The account in the last read that ended an outage; None if there was no outage."""
        ...

    async def retry(self, attempt: Callable[[ApiError | None], Awaitable[None]]) -> None:
        """Await `attempt` until it succeeds or its error is final. Its argument is the error of the previous attempt.

        Raises:
            WorkerError: the last error of `attempt`.
        """
        ...

    async def acquire(self) -> None:
        """Wait for a slot of the write quota.

        Raises:
            WorkerError: the reason passed to `halt`.
        """
        ...

    def release(self) -> None:
        """Give back an acquired slot for which no request was sent."""
        ...

    async def put(self, phone: str, status: Status) -> None:
        """Sign and send one write in the acquired slot. Return once the API has accepted it.

        Raises:
            ApiError: the write had no effect, or its result is unknown.
        """
        ...


class AccountTarget(Protocol):
    """The endpoint and credentials of an account, from a desired-state document or a saved plan."""

    @property
    def credentials(self) -> CredentialsRef | None:
        """The reference to its credentials; None for the default ones."""
        ...

    @property
    def endpoint(self) -> str | None:
        """The endpoint, as a name or a URL; None for the endpoint of the settings."""
        ...

    @property
    def account_id(self) -> str | None:
        """The account id that every response must have; None to use the id of the first response."""
        ...

    @property
    def listed(self) -> tuple[str, ...]:
        """The digits of the numbers that should be registered."""
        ...


class DescribedAccount(AccountTarget, Protocol):
    """An account and the revision of its source files. Desired-state documents and saved plans implement it."""

    @property
    def source(self) -> str:
        """The name of the main file, as the user gave it."""
        ...

    @property
    def groups(self) -> tuple[Group, ...]:
        """The groups whose members must stay ACTIVE."""
        ...

    @property
    def sha256(self) -> str | None:
        """The SHA-256 of the main file, in hex."""
        ...

    @property
    def commit(self) -> str | None:
        """The git commit of the checkout that contains the main file; None if unknown."""
        ...

    @property
    def parts(self) -> tuple[SourceFile, ...]:
        """The other documents of a split account, and the files with shared defaults."""
        ...


class DefaultTarget(Struct, frozen=True):
    """The target of a command without a file: the default credentials and the endpoint of the settings."""

    credentials: CredentialsRef | None = None
    endpoint: str | None = None
    account_id: str | None = None
    listed: tuple[str, ...] = ()


def files(account: DescribedAccount) -> tuple[SourceFile, ...]:
    """Return the files of an account without duplicates. The file with the account-level keys comes first."""
    head = SourceFile(account.source, sha256=account.sha256, commit=account.commit)
    other_parts = {part.source: part for part in account.parts if part.source != account.source}
    return (head, *other_parts.values())


def sources(account: DescribedAccount) -> tuple[str, ...]:
    """Return the names of the `files` of an account, in the same order."""
    return tuple(file.source for file in files(account))


def revision(account: DescribedAccount) -> SourceFile:
    """Return one revision for all files of an account: their names, a hash of their hashes, and their common commit.

    If a file has a commit that ends with `-dirty`, that commit is used. Without a common commit, `commit` is None.
    """
    source_files = files(account)
    if len(source_files) == 1:
        return source_files[0]
    hashes = [file.sha256 or "" for file in source_files]
    commits = {file.commit for file in source_files}
    dirty = sorted(commit for commit in commits if commit is not None and commit.endswith("-dirty"))
    commit = dirty[0] if dirty else commits.pop() if len(commits) == 1 else None
    return SourceFile(
        ", ".join(file.source for file in source_files),
        sha256=sha256("".join(hashes).encode()).hexdigest(),
        commit=commit,
    )
