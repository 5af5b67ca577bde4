"""Many accounts at once, each on its own: what goes wrong in one stops no other.

Accounts share the connection pool, and those of one API key its quota.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol, Self, TypeVar

import msgspec
from msgspec import Struct

from worker.errors import Interrupted, WorkerError
from worker.model import (
    AccountPlan,
    AccountResult,
    Action,
    Credentials,
    CredentialsRef,
    DesiredAccount,
    Requests,
    tally,
)
from worker.plan import SavedAccount
from worker.reconcile import Draft, Terms, apply, apply_saved, draft, failed_draft, unapplied
from worker.settings import ENDPOINTS, Settings, endpoint
from worker.solapi.client import AccountReader, AccountWriter, Ambient
from worker.solapi.limiter import Quota
from worker.solapi.transport import Transport
from worker.writes import Log, Meter, Pace

__all__ = ["Fleet", "InternalError", "Leases", "RunLog", "Site"]

Client = TypeVar("Client", bound=AccountReader)
Item = TypeVar("Item")
Made = TypeVar("Made")

Leases = Callable[[str], AbstractContextManager[None]]
"""Given the name of an account, a context in which no other run of this host writes to it."""


class RunLog(Log, Protocol):
    """A log that can be narrowed to one account."""

    def bind(self, **fields: Any) -> Self:
        """The same log with `fields` on every line."""
        ...


class Reachable(Protocol):
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


class Site(Struct, frozen=True):
    """An account that no file describes: the default credentials at the settings' endpoint."""

    credentials: CredentialsRef | None = None
    endpoint: str | None = None
    account_id: str | None = None


class InternalError(WorkerError):
    """A bug of ours. It names the exception's type only, as its text may hold anything."""


class Fleet:
    """The accounts of one run. `credentials` resolves a file's references, or the default ones where it has none."""

    def __init__(
        self,
        settings: Settings,
        transport: Transport,
        credentials: Callable[[CredentialsRef | None], Credentials],
        log: RunLog,
        *,
        ambient: Ambient | None = None,
    ) -> None:
        self._settings = settings
        self._transport = transport
        self._credentials = credentials
        self._log = log
        self._ambient = ambient or Ambient()
        self._quotas: dict[str, Quota] = {}
        self._under_way: set[AccountReader] = set()
        self._pace = Pace(settings.concurrency, settings.deadline_seconds)
        self.interrupted: Interrupted | None = None

    def interrupt(self, reason: Interrupted) -> None:
        """Start nothing more; what is under way finishes and is proven."""
        self.interrupted = self.interrupted or reason
        for client in self._under_way:
            client.halt(reason)

    async def plan(self, accounts: Sequence[DesiredAccount], terms: Terms) -> list[Draft]:
        """The plan of each account, in their order. One that cannot be planned has its error in its plan."""

        async def one(desired: DesiredAccount) -> Draft:
            if self.interrupted is not None:
                return failed_draft(desired, terms, self.interrupted)
            log = self._log.bind(account=desired.name)
            requests = Requests()
            try:
                with self.client(AccountReader, desired, log) as client:
                    try:
                        drawn = await draft(desired, client, terms, log)
                    finally:
                        requests = client.requests
            except Exception as error:  # noqa: BLE001 - a bug met in one account must not stop the others
                drawn = failed_draft(desired, terms, _ours(error, log))
            return msgspec.structs.replace(drawn, requests=requests)

        return await self._each(accounts, one)

    async def apply(
        self, accounts: Sequence[DesiredAccount], drafts: Sequence[Draft], terms: Terms, leases: Leases, meter: Meter
    ) -> list[AccountResult]:
        """Carry out the plans that may be, and close the story of every account, in their order."""

        async def one(pair: tuple[DesiredAccount, Draft]) -> AccountResult:
            desired, drawn = pair
            log = self._log.bind(account=desired.name)
            if drawn.error is not None or drawn.plan.refusals or not drawn.plan.writes:
                return unapplied(drawn, drawn.requests, log)

            async def carry_out(client: AccountWriter) -> AccountResult:
                return await apply(desired, drawn.plan, client, terms, pace=self._pace, log=log, meter=meter)

            result = await self._closed(desired, drawn, leases, carry_out, log)
            return msgspec.structs.replace(result, requests=_sum(drawn.requests, result.requests))

        return await self._each(list(zip(accounts, drafts, strict=True)), one)

    async def apply_saved(
        self, accounts: Sequence[SavedAccount], allow: frozenset[str], leases: Leases, meter: Meter
    ) -> list[AccountResult]:
        """Carry out a saved plan, account by account, in their order."""

        async def one(saved: SavedAccount) -> AccountResult:
            log = self._log.bind(account=saved.account)

            async def carry_out(client: AccountWriter) -> AccountResult:
                return await apply_saved(saved, client, allow, pace=self._pace, log=log, meter=meter)

            return await self._closed(saved, Draft(_as_plan(saved), {}), leases, carry_out, log)

        return await self._each(accounts, one)

    @contextmanager
    def client(self, kind: type[Client], account: Reachable, log: Log) -> Iterator[Client]:
        """A client for one account, of a type that can write or of one that cannot; an interruption halts it.

        Raises:
            CredentialsMissing: its credentials cannot be found.
            ValueError: its endpoint is none.
        """
        credentials = self._credentials(account.credentials)
        where = endpoint(account.endpoint or self._settings.endpoint)
        key = credentials.api_key
        if key not in self._quotas:
            self._quotas[key] = Quota(self._settings.rate_limit, clock=self._ambient.clock)
        client = kind(
            self._transport,
            where,
            credentials,
            self._quotas[key],
            account_id=account.account_id,
            retry=self._settings.retry,
            log=log,
            ambient=self._ambient,
        )
        self._under_way.add(client)
        try:
            yield client
        finally:
            self._under_way.discard(client)

    def _lease_name(self, account: Reachable, account_id: str | None) -> str:
        where = endpoint(account.endpoint or self._settings.endpoint)
        # the vendor's hosts are one platform
        return f"{'vendor' if where in ENDPOINTS.values() else where.url} {account_id}"

    async def _closed(
        self,
        account: Reachable,
        drawn: Draft,
        leases: Leases,
        carry_out: Callable[[AccountWriter], Awaitable[AccountResult]],
        log: RunLog,
    ) -> AccountResult:
        """The result of `carry_out`, or of the error that stopped it."""
        if self.interrupted is not None:
            return unapplied(drawn, Requests(), log, self.interrupted)
        requests = Requests()
        try:
            with (
                self.client(AccountWriter, account, log) as client,
                leases(self._lease_name(account, drawn.plan.account_id)),
            ):
                try:
                    return await carry_out(client)
                finally:
                    requests = client.requests
        except Exception as error:  # noqa: BLE001 - a bug met in one account must not stop the others
            return unapplied(drawn, requests, log, _ours(error, log))

    async def _each(self, items: Sequence[Item], work: Callable[[Item], Awaitable[Made]]) -> list[Made]:
        """What `work` makes of each item, in their order, `accounts_concurrency` of them at once."""
        made: dict[int, Made] = {}
        queue = enumerate(items)

        async def take() -> None:
            for index, item in queue:
                made[index] = await work(item)

        async with asyncio.TaskGroup() as group:
            for _ in range(min(self._settings.accounts_concurrency, len(items))):
                group.create_task(take())
        return [made[index] for index in range(len(items))]


def _ours(error: Exception, log: RunLog) -> WorkerError:
    """The error, or what a bug is told as."""
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, WorkerError):
        return error
    name = type(error).__name__
    log.warning("account.failed", error_code=InternalError.__name__, error_message=name)
    return InternalError(name)


def _as_plan(saved: SavedAccount) -> AccountPlan:
    changes = (*saved.changes, *saved.impossible)
    counts = Counter(change.action for change in changes)
    return AccountPlan(
        account=saved.account, account_id=saved.account_id, counts=tally(Action, counts), changes=changes
    )


def _sum(first: Requests, second: Requests) -> Requests:
    return Requests(first.reads + second.reads, first.writes + second.writes, first.retries + second.retries)
