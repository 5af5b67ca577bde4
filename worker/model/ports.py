"""What one account's reconciliation needs of the outside, as protocols: the API, the ledger, a log, a meter, a watcher.

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
    """Where it is noted, before requests leave, that they will."""

    async def intend(self, requests: Sequence[tuple[str, int, Status]]) -> None:
        """Note durably some requests: the phone, the how-manieth of it, and the status that it asks for.

        Raises:
            LedgerError: they could not be noted, and must not leave.
        """
        ...

    def answered(self, phone: str, number: int, error: ApiError | None) -> None:
        """Note what became of a request."""
        ...


class AccountLedger(AttemptJournal, Protocol):
    """The ledger of one account in one run, while nobody else writes to the account. Each may raise LedgerError."""

    async def earlier_run(self, plan: PlanFile, phones: Collection[str]) -> PlanFileUse | None:
        """Return the run that used up a plan file, which writes `phones` of the account; None if there is none."""
        ...

    async def registered(self) -> int | None:
        """Return how many numbers the account had when a run saw it last; None if that is unknown."""
        ...

    async def resume(self, observed: ObservedAccount) -> AccountMemory:
        """Close what runs that died left open, as what they turned out to be; what is remembered of the account."""
        ...

    async def begin(self, plan: AccountPlan, fingerprint: str) -> None:
        """Note what is going to be done."""
        ...

    async def finish(self, result: AccountResult, confirmed: Mapping[str, Status]) -> None:
        """Note what became of it, and which numbers turned out as desired by other hands than ours."""
        ...


class Log(Protocol):
    """Where the story of each number is told."""

    def info(self, event: str, **fields: Any) -> None:
        """Write one line."""
        ...

    def warning(self, event: str, **fields: Any) -> None:
        """Write one line that a person should see."""
        ...


class RunLog(Log, Protocol):
    """A log that can be narrowed to one account."""

    def bind(self, **fields: Any) -> Self:
        """The same log with `fields` on every line."""
        ...


class ProgressMeter(Protocol):
    """Who wants to know how far the writes are."""

    def advance(self) -> None:
        """One more number is done with."""
        ...


class RequestObserver(Protocol):
    """Who wants to know how requests fare."""

    def request(self, method: str, seconds: float, status: int | None) -> None:
        """A request came to its end after so long; `status` is None where no answer came."""
        ...

    def retried(self, error: ApiError) -> None:
        """A request is going to be tried again, as this became of it."""
        ...


class ReadableAccount(Protocol):
    """An account that can be looked at, as `worker.solapi.client.AccountReader` is."""

    @property
    def requests(self) -> Requests:
        """The requests sent until now."""
        ...

    async def observe(self, *, closing: bool = False) -> ObservedAccount:
        """The account as it is now; a `closing` look is taken even after `halt`."""
        ...

    async def confirm(self, observed: ObservedAccount, registered: int | None) -> ObservedAccount:
        """Return `observed`, or a second read where it lost too many of the `registered` numbers of earlier runs."""
        ...

    async def usage(self, phones: Collection[str], hours: int) -> NumberUse:
        """Which of some numbers are scheduled to send, or have sent in so many hours."""
        ...

    def halt(self, reason: WorkerError) -> None:
        """Raise `reason` in every wait for a turn; what is under way finishes."""
        ...


class WritableAccount(ReadableAccount, Protocol):
    """An account that can be changed, as `worker.solapi.client.AccountWriter` is."""

    async def retry(self, attempt: Callable[[ApiError | None], Awaitable[None]]) -> None:
        """Await `attempt` until it succeeds or its error is final. It gets the error of the attempt before.

        Raises:
            WorkerError: the last error of `attempt`.
        """
        ...

    async def acquire(self) -> None:
        """Wait for a slot of the write quota.

        Raises:
            WorkerError: what `halt` was given.
        """
        ...

    def release(self) -> None:
        """Give back a slot of which no request left."""
        ...

    async def put(self, phone: str, status: Status) -> None:
        """Sign one write, send it in the slot that was acquired, and return once the API has accepted it.

        Raises:
            ApiError: it was not carried out, or its result is unknown.
        """
        ...


class AccountTarget(Protocol):
    """What it takes to reach an account; desired-state documents and saved plans both have it."""

    @property
    def credentials(self) -> CredentialsRef | None:
        """Where its credentials are; None for the default ones."""
        ...

    @property
    def endpoint(self) -> str | None:
        """A name or a URL; None for the settings' one."""
        ...

    @property
    def account_id(self) -> str | None:
        """The account that every answer must be of; None for whichever the credentials belong to."""
        ...

    @property
    def listed(self) -> tuple[str, ...]:
        """The numbers that are expected to be registered."""
        ...


class DescribedAccount(AccountTarget, Protocol):
    """An account as a file describes it; desired-state documents and saved plans both are."""

    @property
    def source(self) -> str:
        """The file's name."""
        ...

    @property
    def groups(self) -> tuple[Group, ...]:
        """Numbers of which some must stay ACTIVE."""
        ...

    @property
    def sha256(self) -> str | None:
        """The hash of its bytes."""
        ...

    @property
    def commit(self) -> str | None:
        """The commit of the checkout in which it lies."""
        ...

    @property
    def parts(self) -> tuple[SourceFile, ...]:
        """Further documents of an account that is split over several."""
        ...


class DefaultTarget(Struct, frozen=True):
    """An account that no file describes: the default credentials at the settings' endpoint."""

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
    """Return all files of an account as one: their names, a hash over their hashes, and the commit of all of them.

    A commit with `-dirty` wins. There is no commit if files are of different ones, or any is of none.
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
