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
    """Records each write before it is sent, and its result."""

    async def intend(self, requests: Sequence[tuple[str, int, Status]]) -> None:
        """Record requests durably: the phone, its attempt number, and the requested status.

        Raises:
            LedgerError: nothing was recorded, so the requests must not be sent.
        """
        ...

    def record_answer(self, phone: str, number: int, error: ApiError | None) -> None:
        """Record the result of a request; `error` is None if the API accepted it."""
        ...


class AccountLedger(AttemptJournal, Protocol):
    """The ledger of one account in one run that holds its lease. Each method may raise LedgerError."""

    async def earlier_run(self, plan: PlanFile, phones: Collection[str]) -> PlanFileUse | None:
        """Return the run that used up a plan file with changes of `phones`; None if there is none."""
        ...

    async def registered(self) -> int | None:
        """Return how many numbers the account had in the last run; None if unknown."""
        ...

    async def resume(self, observed: ObservedAccount) -> AccountMemory:
        """Close the open attempts of crashed runs by the observed statuses. Return the memory of the account."""
        ...

    async def begin(self, plan: AccountPlan, fingerprint: str) -> None:
        """Record the plan that is carried out."""
        ...

    async def finish(self, result: AccountResult, confirmed: Mapping[str, Status]) -> None:
        """Record the result, and the numbers that reached their desired status without a write of this tool."""
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
    """A log that can be bound to an account."""

    def bind(self, **fields: Any) -> Self:
        """Return the log with `fields` on every event."""
        ...


class ProgressMeter(Protocol):
    """Shows the progress of writes."""

    def advance(self) -> None:
        """Count one more finished number."""
        ...


class RequestObserver(Protocol):
    """Observes requests, for metrics and traces."""

    def request(self, method: str, seconds: float, status: int | None) -> None:
        """Record a finished request with its duration; `status` is None without a response."""
        ...

    def retried(self, error: ApiError) -> None:
        """Record that a request is retried after an error."""
        ...


class ReadableAccount(Protocol):
    """An account that can be read, such as `worker.solapi.client.AccountReader`."""

    @property
    def requests(self) -> Requests:
        """The requests sent so far."""
        ...

    async def observe(self, *, closing: bool = False) -> ObservedAccount:
        """Read the account; a `closing` read is allowed even after `halt`."""
        ...

    async def confirm(self, observed: ObservedAccount, registered: int | None) -> ObservedAccount:
        """Return `observed`, or a second read if too many of the `registered` numbers are missing."""
        ...

    async def usage(self, phones: Collection[str], hours: int) -> NumberUse:
        """Return the numbers that are scheduled to send, or have sent within `hours`."""
        ...

    def halt(self, reason: WorkerError) -> None:
        """Raise `reason` in every request that waits; in-flight requests finish."""
        ...


class WritableAccount(ReadableAccount, Protocol):
    """An account that can be written, such as `worker.solapi.client.AccountWriter`."""

    async def retry(self, attempt: Callable[[ApiError | None], Awaitable[None]]) -> None:
        """Await `attempt` until it succeeds or its error is final. It gets the error of the previous attempt.

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
        """Give back a slot without sending a request."""
        ...

    async def put(self, phone: str, status: Status) -> None:
        """Sign and send one write in the acquired slot. Return once the API has accepted it.

        Raises:
            ApiError: the write was not carried out, or its result is unknown.
        """
        ...


class AccountTarget(Protocol):
    """The address and credentials of an account, from a desired-state document or a saved plan."""

    @property
    def credentials(self) -> CredentialsRef | None:
        """The reference to its credentials; None for the default ones."""
        ...

    @property
    def endpoint(self) -> str | None:
        """A name or a URL; None for the endpoint of the settings."""
        ...

    @property
    def account_id(self) -> str | None:
        """The account id that every response must have; None for any."""
        ...

    @property
    def listed(self) -> tuple[str, ...]:
        """The numbers that should be registered."""
        ...


class DescribedAccount(AccountTarget, Protocol):
    """An account with its source files; implemented by desired-state documents and saved plans."""

    @property
    def source(self) -> str:
        """The name of the file."""
        ...

    @property
    def groups(self) -> tuple[Group, ...]:
        """The groups whose members must stay ACTIVE."""
        ...

    @property
    def sha256(self) -> str | None:
        """The SHA-256 of the file, in hex."""
        ...

    @property
    def commit(self) -> str | None:
        """The commit of the checkout that contains the file."""
        ...

    @property
    def parts(self) -> tuple[SourceFile, ...]:
        """Further documents of a split account."""
        ...


class DefaultTarget(Struct, frozen=True):
    """An account without a file: by default the default credentials at the endpoint of the settings."""

    credentials: CredentialsRef | None = None
    endpoint: str | None = None
    account_id: str | None = None
    listed: tuple[str, ...] = ()


def files(account: DescribedAccount) -> tuple[SourceFile, ...]:
    """Return the files that describe an account, each once, the one with the account-level keys first."""
    head = SourceFile(account.source, sha256=account.sha256, commit=account.commit)
    others = {part.source: part for part in account.parts if part.source != account.source}
    return (head, *others.values())


def sources(account: DescribedAccount) -> tuple[str, ...]:
    """Return the names of the files that describe an account, as `files` does."""
    return tuple(file.source for file in files(account))


def revision(account: DescribedAccount) -> SourceFile:
    """Return all files of an account as one: their names, a hash of their hashes, and their common commit.

    A commit with `-dirty` takes precedence. Without a common commit, it is None.
    """
    found = files(account)
    if len(found) == 1:
        return found[0]
    hashes = [file.sha256 or "" for file in found]
    commits = {file.commit for file in found}
    dirty = sorted(commit for commit in commits if commit is not None and commit.endswith("-dirty"))
    commit = dirty[0] if dirty else commits.pop() if len(commits) == 1 else None
    return SourceFile(
        ", ".join(file.source for file in found), sha256=sha256("".join(hashes).encode()).hexdigest(), commit=commit
    )
