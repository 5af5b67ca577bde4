"""A daemon in virtual time: the real worker on accounts in memory, with files and a clock that a test sets."""

import asyncio
from array import array
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, Self

import msgspec
from yarl import URL

from tests.support.loopback import EPOCH, signing_key
from worker.cli.exit_status import overall
from worker.config.settings import RateLimit, Settings
from worker.daemon.files import WatchedFiles
from worker.daemon.last_good import FileChanges
from worker.daemon.loop import WatchLoop
from worker.daemon.passes import Passes, ReadSink
from worker.daemon.scheduler import Interval, Scheduler, Trigger
from worker.ledger import NullLedger
from worker.model.accounts import Desired, DesiredAccount, Status
from worker.model.credentials import Credentials, CredentialsRef, Secret, SecretRef
from worker.model.errors import ApiError, DesiredStateError, Interrupted
from worker.model.results import RunOutcome
from worker.plan.build import Terms
from worker.sandbox import SandboxAccount
from worker.solapi.runtime import Runtime
from worker.solapi.transport import Response, Transport

__all__ = ["Daemon", "DaemonLog", "Folder", "Wire", "account", "desired_account"]


class DaemonLog:
    """A log of the daemon, which keeps its last 5,000 lines."""

    def __init__(self, fields: Mapping[str, Any] | None = None, lines: list[dict[str, Any]] | None = None) -> None:
        self._fields = dict(fields or {})
        self.lines: list[dict[str, Any]] = [] if lines is None else lines

    def bind(self, **fields: Any) -> Self:
        """Return this log with `fields` on every line."""
        return type(self)(self._fields | fields, self.lines)

    def info(self, event: str, **fields: Any) -> None:
        """Keep a line."""
        values = {name: value for name, value in fields.items() if value is not None}
        self.lines.append({"event": event, **self._fields, **values})
        del self.lines[:-5000]

    warning = error = info

    def debug(self, event: str, **fields: Any) -> None:
        """Ignore a line."""

    def of(self, event: str) -> list[dict[str, Any]]:
        """Return the lines of one event."""
        return [line for line in self.lines if line["event"] == event]


class Wire(Transport):
    """Transport to accounts in memory, selected by API key. `faults` maps a key to the error that its requests raise.

    `reads` and `writes` list each request: its arrival in seconds of the loop, and the key or the number.
    """

    def __init__(self, accounts: Iterable[SandboxAccount], latency: float = 0.01) -> None:
        super().__init__(Settings().timeout)
        self._accounts = {account.api_key: account for account in accounts}
        self._latency = latency
        self.faults: dict[str, Callable[[], ApiError]] = {}
        self.reads: list[tuple[float, str]] = []
        self.writes: list[tuple[float, str, str]] = []

    async def exchange(
        self,
        method: str,
        url: URL,
        headers: Mapping[str, str],
        body: bytes | None = None,
        *,
        sink: Callable[[bytes], None] | None = None,
    ) -> Response:
        """Apply a request immediately, and respond after `latency` seconds."""
        del method
        key = signing_key(headers["Authorization"])
        account, now = self._accounts[key], asyncio.get_running_loop().time()
        if body is None:
            self.reads.append((now, key))
        if key in self.faults:
            raise self.faults[key]()  # noqa: RSE102 - a new one each time
        document = account.document()
        if body is not None:
            status = msgspec.json.decode(body)["status"]
            self.writes.append((now, url.name, status))
            account.switch(url.name, status)
            document = account.one_number_document(url.name)
        await asyncio.sleep(self._latency)
        if sink is not None:
            sink(document)
            return Response(200, {})
        return Response(200, {}, document)


class Folder(WatchedFiles):
    """Desired-state files in memory."""

    def __init__(self, accounts: Sequence[DesiredAccount]) -> None:
        super().__init__(())
        self.desired = tuple(accounts)
        self.unmanaged: tuple[DesiredAccount, ...] = ()
        self.invalid: dict[str, DesiredStateError] = {}
        self._news: list[FileChanges] = []

    @property
    def accounts(self) -> tuple[DesiredAccount, ...]:
        """Return the accounts of the files."""
        return self.desired

    @property
    def others(self) -> tuple[DesiredAccount, ...]:
        """Return the accounts that the daemon does not manage."""
        return self.unmanaged

    @property
    def broken(self) -> dict[str, DesiredStateError]:
        """Return the invalid files."""
        return self.invalid

    def write(self, *accounts: DesiredAccount) -> None:
        """Replace the files. The next read returns the changes."""
        previous, current = ({account.name: account for account in versions} for versions in (self.desired, accounts))
        changed = frozenset(name for name in current if current[name] != previous.get(name))
        self._news.append(
            FileChanges(changed_accounts=changed, removed_accounts=frozenset(previous.keys() - current.keys()))
        )
        self.desired = accounts

    def refresh(self, *, read_all: bool = False) -> FileChanges:
        """Return the changes since the last read."""
        del read_all
        return self._news.pop(0) if self._news else FileChanges()


class _Ledgers:
    """A ledger in memory that counts the runs opened."""

    def __init__(self) -> None:
        self.memory = NullLedger()
        self.opened: list[str] = []
        self.fail: Exception | None = None
        self.fail_at_end: Exception | None = None
        self.seconds = 0.0

    @asynccontextmanager
    async def open(self, run_id: str) -> AsyncIterator["_Run"]:
        await asyncio.sleep(self.seconds)
        if self.fail is not None:
            raise self.fail
        self.opened.append(run_id)
        yield _Run(self.fail_at_end)


class _Run(NullLedger):
    def __init__(self, failure: Exception | None) -> None:
        super().__init__()
        self._failure = failure

    async def finish(self, *arguments: Any) -> None:
        """Do nothing, or raise the failure of this run."""
        del arguments
        if self._failure is not None:
            raise self._failure


def account(number: int = 1, **statuses: str) -> SandboxAccount:
    """Return an account in memory. Write its numbers as n010…, because a keyword cannot start with a digit."""
    numbers = {phone.lstrip("n"): status for phone, status in statuses.items()} or {f"010{number:08}": "INACTIVE"}
    return SandboxAccount.of(numbers, account_id=f"{number}", api_key=f"NCS{number:013}", api_secret="s" * 32)


def desired_account(account: SandboxAccount, status: str = "ACTIVE", **more: Any) -> DesiredAccount:
    """Return a desired-state file with one status for every number of `account`."""
    secret = SecretRef(env=account.api_key)
    return DesiredAccount(
        f"account-{account.account_id}",
        f"{account.account_id}.yaml",
        {phone: Desired(Status(status)) for phone in account.numbers},
        array("I", range(1, len(account.numbers) + 1)),
        credentials=CredentialsRef(secret, secret),
        **more,
    )


class Daemon:
    """A daemon on a virtual loop. `skew` is the number of seconds by which its wall clock is ahead."""

    def __init__(
        self,
        accounts: Sequence[SandboxAccount],
        desired: Sequence[DesiredAccount],
        *,
        trigger: Trigger | None = None,
        settings: Settings | None = None,
        terms: Terms | None = None,
        latency: float = 0.01,
        recorder: ReadSink | None = None,
        **options: Any,
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self.skew = 0.0
        self.settings = settings or Settings(rate_limit=RateLimit(writes=10_000, reads=10_000))
        self.wire = Wire(accounts, latency)
        self.folder = Folder(desired)
        self.log = DaemonLog()
        self.ledgers = _Ledgers()
        self.runtime = Runtime(clock=self.loop.time, wall=self.wall, uniform=lambda low, high: (low + high) / 2)
        terms = terms or Terms(msgspec.structs.replace(self.settings.safety, max_deactivations="100%", min_active=0))
        self.passes = Passes(
            self.settings,
            terms,
            self.wire,
            lambda reference: Credentials(reference.api_key.env or "", Secret("s" * 32)) if reference else _no_client(),
            self.log,
            ledgers=self.ledgers,
            conclude=overall,
            recorder=recorder,
            runtime=self.runtime,
        )
        self.scheduler = Scheduler(trigger or Interval(300.0), self.now(), uniform=self.runtime.uniform)
        self._runs = 0
        defaults: dict[str, Any] = {
            "settings": self.settings,
            "reload_settings": lambda: (self.settings, terms),
            "new_run_id": self._start_run,
            "runtime": self.runtime,
        }
        self.watch = WatchLoop(self.folder, self.passes, self.scheduler, self.log, **defaults | options)

    def wall(self) -> float:
        """Return Unix time as the daemon reads it."""
        return EPOCH + self.loop.time() + self.skew

    def now(self) -> datetime:
        """Return the current wall time in UTC."""
        return datetime.fromtimestamp(self.wall(), UTC)

    def outcomes(self) -> list[RunOutcome]:
        """Return the outcome of each pass."""
        return [line["outcome"] for line in self.log.of("watch.pass")]

    async def run_for(self, seconds: float, *events: tuple[float, Callable[[], object]]) -> None:
        """Run the daemon for `seconds`. Each event is called at its time."""
        for at, event in events:
            self.loop.call_later(at, event)
        self.loop.call_later(seconds, self.watch.stop, Interrupted("stopped by SIGTERM; run again to continue"))
        await self.watch.run()

    def _start_run(self) -> str:
        self._runs += 1
        return f"pass-{self._runs}"


def _no_client() -> Credentials:
    raise AssertionError("every account has a reference")
