"""A fleet: the accounts of one run, side by side. An error of one account does not stop the others.

Accounts share the connection pool, and those of one API key its quota.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from typing import TypeVar

import msgspec

from worker.config.settings import Settings
from worker.config.urls import parse_endpoint
from worker.ledger import LedgerProtocol, NullLedger, Subject
from worker.model.accounts import AccountMemory, DesiredAccount, ObservedAccount, PlanFile, Status
from worker.model.credentials import DEFAULT_CREDENTIALS, Credentials, CredentialsRef
from worker.model.errors import CredentialsMissing, InternalError, Interrupted, WorkerError
from worker.model.messages import Message
from worker.model.plans import AccountPlan, Action, tally
from worker.model.ports import AccountLedger, AccountTarget, DefaultTarget, Log, ProgressMeter, RunLog
from worker.model.redaction import SHORTEST_SECRET
from worker.model.results import AccountResult, Requests, RunOutcome
from worker.plan.build import Draft, Terms, as_plan, failed_draft
from worker.plan.comparison import CurrentFiles
from worker.plan.planfile import SavedAccount
from worker.plan.safety import IN_USE, fleet_wide
from worker.reconcile import identity
from worker.reconcile.account import apply, apply_saved, draft, not_carried_out, observe
from worker.reconcile.canary import canary_first
from worker.reconcile.executor import Pace
from worker.reconcile.identity import Identities
from worker.reconcile.in_use import answers
from worker.reconcile.log import log_result
from worker.reconcile.results import Conclusion
from worker.reconcile.rollback import approved, failed_preview, preview
from worker.solapi.baseline import Baseline
from worker.solapi.client import AccountReader, AccountWriter
from worker.solapi.limiter import Quota
from worker.solapi.runtime import Runtime
from worker.solapi.transport import Transport

__all__ = ["DefaultTarget", "Fleet", "as_worker_error"]

Client = TypeVar("Client", bound=AccountReader)
Item = TypeVar("Item")
Made = TypeVar("Made")


class Fleet:
    """The accounts of one run. `credentials` resolves references, None to the default ones.

    Earlier runs of the same process pass on what they know, and the fleet adds to it: `quotas` has the quota windows by
    API key, `identities` the identities of accounts by name, and `baselines` the last reads by endpoint and API key.
    """

    def __init__(
        self,
        settings: Settings,
        transport: Transport,
        credentials: Callable[[CredentialsRef | None], Credentials],
        log: RunLog,
        *,
        keeper: LedgerProtocol | None = None,
        runtime: Runtime | None = None,
        quotas: dict[str, Quota] | None = None,
        identities: Identities | None = None,
        baselines: dict[str, Baseline] | None = None,
    ) -> None:
        self._keeper = keeper or NullLedger()
        self._settings = settings
        self._transport = transport
        self._credentials = credentials
        self._log = log
        self._runtime = runtime or Runtime()
        self.quotas: dict[str, Quota] = {} if quotas is None else quotas
        self._identities = identities or Identities()
        self._baselines: dict[str, Baseline] = {} if baselines is None else baselines
        self._under_way: set[AccountReader] = set()
        self._pace = Pace(settings.concurrency, settings.deadline_seconds, self._runtime.wall)
        self._slots = asyncio.Semaphore(settings.accounts_concurrency)
        self.interrupted: Interrupted | None = None
        self.writes = 0
        """Write requests that closed clients have sent."""

    def interrupt(self, reason: Interrupted) -> None:
        """Start nothing more. Writes in flight finish and are verified."""
        self.interrupted = self.interrupted or reason
        for client in self._under_way:
            client.halt(reason)

    async def plan(
        self,
        accounts: Sequence[DesiredAccount],
        terms: Terms,
        others: Sequence[DesiredAccount] = (),
        *,
        now: datetime | None = None,
    ) -> list[Draft]:
        """Return the plan of each account, in their order, judged one by one and all together.

        One that cannot be planned has its error in its plan, and so have accounts that turn out to be one. `others` are
        accounts that the same files describe and that the run leaves out: one of them is read if an earlier run knew it
        as an account of this run. `now` is the aware time whose desired state is compared, None for the clock's.
        """
        moment = now or self._now()

        async def one(desired: DesiredAccount) -> Draft:
            log = self._log.bind(account=desired.name)
            return await self._drawn(
                desired,
                lambda client, recall: draft(desired, client, terms, recall, log, now=moment),
                lambda error: failed_draft(desired, terms, error, moment),
                log,
            )

        drafts = await self._each(accounts, one)
        await self._identify(accounts, drafts, others)
        drafts = self._distinct(accounts, drafts, terms, moment)
        judged = fleet_wide([drawn.plan for drawn in drafts], self._settings.safety.fleet_wide, terms.allow)
        return [msgspec.structs.replace(drawn, plan=plan) for drawn, plan in zip(drafts, judged, strict=True)]

    async def _identify(
        self, accounts: Sequence[DesiredAccount], drafts: Sequence[Draft], others: Sequence[DesiredAccount]
    ) -> None:
        """Learn the identities of accounts, also of accounts not read that earlier runs noted as one of these."""
        default = self._settings.endpoint
        for desired, drawn in zip(accounts, drafts, strict=True):
            self._identities.learn(desired, drawn.plan, default)
        described = {desired.name: desired for desired in (*accounts, *others)}
        noted = [
            (described[name], drawn.plan.account)
            for drawn in drafts
            for name, credentials in drawn.names.items()
            if name in described and described[name].credentials == credentials
        ]
        suspects = {desired.name for desired, _ in noted}
        left_out = [desired for desired in others if desired.name in suspects]
        for desired, drawn in zip(left_out, await self._each(left_out, self._read), strict=True):
            self._identities.learn(desired, drawn.plan, default)
        for desired, name in noted:
            self._identities.recall(desired, name, default)

    async def _read(self, desired: DesiredAccount) -> Draft:
        """Return a plan without changes that has the id of an account."""
        log = self._log.bind(account=desired.name)

        async def read(client: AccountReader, recall: Callable[[str | None], Awaitable[AccountMemory]]) -> Draft:
            observed, _ = await observe(client, recall, log)
            plan = AccountPlan(account=desired.name, account_id=observed.account_id, counts=tally(Action, {}))
            return Draft(plan, {})

        return await self._drawn(desired, read, lambda error: failed_draft(desired, Terms(), error, self._now()), log)

    def _distinct(
        self, accounts: Sequence[DesiredAccount], drafts: Sequence[Draft], terms: Terms, now: datetime
    ) -> list[Draft]:
        """Return the drafts, with an error in those of accounts that share platform and id with another name."""
        found = []
        for desired, drawn in zip(accounts, drafts, strict=True):
            error = self._identities.duplicate(desired.name)
            if error is None or drawn.error is not None:
                found.append(drawn)
            else:
                failed = failed_draft(desired, terms, error, now)
                found.append(msgspec.structs.replace(failed, requests=drawn.requests, statuses=drawn.statuses))
        return found

    async def read(self, account: AccountTarget, log: Log) -> ObservedAccount:
        """Read an account, and once more if it lost numbers that are listed or many that are remembered.

        Raises:
            ApiError: the account cannot be read.
            LedgerError: the ledger cannot be read.
            CredentialsMissing: its credentials cannot be found.
        """
        with self.client(AccountReader, account, log) as client:
            observed = await client.observe()
            memory = await self._recall(account.endpoint, observed.account_id)
            return await client.confirm(observed, memory.registered)

    async def preview(self, accounts: Sequence[SavedAccount], allow: frozenset[str]) -> list[Draft]:
        """Return the plan of undoing a run on each account, in their order."""

        async def one(saved: SavedAccount) -> Draft:
            log = self._log.bind(account=saved.account)
            return await self._drawn(
                saved,
                lambda client, recall: preview(saved, client, allow, recall, log, health=self._settings.health),
                lambda error: failed_preview(saved, error),
                log,
            )

        return await self._each(accounts, one)

    async def apply(
        self,
        accounts: Sequence[DesiredAccount],
        drafts: Sequence[Draft],
        terms: Terms,
        meter: ProgressMeter,
        *,
        now: datetime | None = None,
    ) -> list[AccountResult]:
        """Carry out the plans that the rules let through, and return the result of every account, in their order.

        `now` is as for `plan`. A plan that is no longer true then is refused.
        """
        moment = now or self._now()

        async def one(pair: tuple[DesiredAccount, Draft]) -> AccountResult:
            desired, drawn = pair
            log = self._log.bind(account=desired.name)
            subject = identity.planned(desired, drawn, terms, self._settings.endpoint)
            idle = not drawn.plan.writes and not drawn.is_outdated(desired, moment)
            if drawn.error is not None or drawn.plan.refusals or idle:
                return await self._unwritten(desired, subject, drawn, log)

            waited = False

            async def pause(seconds: float) -> bool:
                nonlocal waited
                waited = True
                return await self._pause(seconds)

            async def carry_out(client: AccountWriter, ledger: AccountLedger) -> Conclusion:
                return await apply(
                    desired,
                    drawn.plan,
                    client,
                    terms,
                    now=moment,
                    ledger=ledger,
                    pace=self._pace,
                    log=log,
                    meter=meter,
                    waited=waited,
                )

            result = await self._closed(desired, subject, drawn, carry_out, pause=pause, log=log)
            return msgspec.structs.replace(result, requests=drawn.requests + result.requests)

        return await canary_first(
            list(zip(accounts, drafts, strict=True)),
            self._settings.canary,
            writes=lambda pair: () if pair[1].plan.refusals else pair[1].plan.writes,
            carry_out=lambda pairs: self._each(pairs, one),
            hold_back=lambda pairs, why: self.decline(
                [each[0] for each in pairs], [each[1] for each in pairs], terms, why
            ),
            log=self._log,
        )

    async def apply_saved(
        self,
        accounts: Sequence[SavedAccount],
        allow: frozenset[str],
        meter: ProgressMeter,
        *,
        plan: PlanFile | None = None,
        files: Callable[[str], CurrentFiles] | None = None,
    ) -> list[AccountResult]:
        """Carry out a saved plan, account by account, in their order.

        `plan` is the file that the accounts are of, None if it may be carried out again. `files` returns the
        desired-state files of an account by its name, once its lease is held; None compares the plan with no files.
        """

        async def hold_back(some: Sequence[SavedAccount], why: WorkerError) -> list[AccountResult]:
            return await self.roll_back(some, [Draft(as_plan(saved), {}) for saved in some], allow, meter, why)

        return await canary_first(
            accounts,
            self._settings.canary,
            writes=lambda saved: saved.writes,
            carry_out=lambda some: self._each(some, lambda saved: self._apply_saved(saved, allow, meter, plan, files)),
            hold_back=hold_back,
            log=self._log,
        )

    async def roll_back(
        self,
        accounts: Sequence[SavedAccount],
        drafts: Sequence[Draft],
        allow: frozenset[str],
        meter: ProgressMeter,
        declined: WorkerError | None = None,
    ) -> list[AccountResult]:
        """Carry out what `preview` showed and the rules allow, or nothing if it was `declined`."""

        async def one(pair: tuple[SavedAccount, Draft]) -> AccountResult:
            saved, drawn = pair
            if declined is None and drawn.error is None and not drawn.plan.refusals:
                # what the preview asked about is not asked again
                result = await self._apply_saved(approved(saved, drawn.plan), allow | {IN_USE}, meter)
                notices = (*result.notices, *answers(drawn.plan))
                return msgspec.structs.replace(result, requests=drawn.requests + result.requests, notices=notices)
            conclusion = not_carried_out(drawn, drawn.requests, declined)
            return await self._recorded(identity.saved(saved, self._settings.endpoint), conclusion, {})

        return await self._each(list(zip(accounts, drafts, strict=True)), one)

    async def _apply_saved(
        self,
        saved: SavedAccount,
        allow: frozenset[str],
        meter: ProgressMeter,
        plan: PlanFile | None = None,
        files: Callable[[str], CurrentFiles] | None = None,
    ) -> AccountResult:
        log = self._log.bind(account=saved.account)

        async def carry_out(client: AccountWriter, ledger: AccountLedger) -> Conclusion:
            return await apply_saved(
                saved,
                client,
                allow,
                ledger=ledger,
                pace=self._pace,
                log=log,
                meter=meter,
                now=self._now(),
                health=self._settings.health,
                plan=plan,
                files=None if files is None else files(saved.account),
            )

        return await self._closed(
            saved,
            identity.saved(saved, self._settings.endpoint),
            Draft(as_plan(saved), {}),
            carry_out,
            pause=self._pause,
            log=log,
        )

    async def decline(
        self, accounts: Sequence[DesiredAccount], drafts: Sequence[Draft], terms: Terms, reason: WorkerError
    ) -> list[AccountResult]:
        """Carry out nothing, and return the result of every account with the reason."""
        results = []
        for desired, drawn in zip(accounts, drafts, strict=True):
            subject = identity.planned(desired, drawn, terms, self._settings.endpoint)
            conclusion = not_carried_out(drawn, drawn.requests, reason)
            results.append(await self._recorded(subject, conclusion, drawn.confirmed))
        return results

    @contextmanager
    def client(self, kind: type[Client], account: AccountTarget, log: Log) -> Iterator[Client]:
        """Open a client for one account, of a type that can write or cannot. An interruption halts it.

        Raises:
            CredentialsMissing: its credentials cannot be found, or its secret is too short to be one.
            ValueError: its endpoint is not valid.
        """
        credentials = self._credentials(account.credentials)
        where = parse_endpoint(account.endpoint or self._settings.endpoint)
        if len(credentials.api_secret.reveal()) < SHORTEST_SECRET and not where.is_loopback:
            place = (account.credentials or DEFAULT_CREDENTIALS).api_secret.place
            message = Message(
                "the API secret in {location} has fewer than {minimum} characters, so it cannot be a secret of the "
                "vendor: write the whole secret there",
                location=place,
                minimum=SHORTEST_SECRET,
            )
            raise CredentialsMissing(message)
        key = credentials.api_key
        if key not in self.quotas:
            self.quotas[key] = Quota(self._settings.rate_limit, clock=self._runtime.clock)
        client = kind(
            self._transport,
            where,
            credentials,
            self.quotas[key],
            account_id=account.account_id,
            listed=account.listed,
            baseline=self._baselines.setdefault(f"{where.url} {key}", Baseline()),
            retry=self._settings.retry,
            log=log,
            runtime=self._runtime,
        )
        self._under_way.add(client)
        try:
            yield client
        finally:
            self._under_way.discard(client)
            self.writes += client.requests.writes

    async def _drawn(
        self,
        account: AccountTarget,
        draw: Callable[[AccountReader, Callable[[str | None], Awaitable[AccountMemory]]], Awaitable[Draft]],
        failed: Callable[[WorkerError], Draft],
        log: RunLog,
    ) -> Draft:
        """Return what `draw` makes of a read-only client and the memory, or `failed` of the error that stopped it."""
        if self.interrupted is not None:
            return failed(self.interrupted)
        requests = Requests()

        try:
            with self.client(AccountReader, account, log) as client:
                try:
                    drawn = await draw(client, partial(self._recall, account.endpoint))
                finally:
                    requests = client.requests
        except Exception as error:  # noqa: BLE001 - a bug in one account must not stop the others
            drawn = failed(as_worker_error(error, log))
        return msgspec.structs.replace(drawn, requests=requests)

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._runtime.wall(), UTC)

    async def _recall(self, endpoint: str | None, account_id: str | None) -> AccountMemory:
        return await self._keeper.recall(identity.key(endpoint or self._settings.endpoint, account_id))

    async def _closed(
        self,
        account: AccountTarget,
        subject: Subject,
        drawn: Draft,
        carry_out: Callable[[AccountWriter, AccountLedger], Awaitable[Conclusion]],
        *,
        pause: Callable[[float], Awaitable[bool]],
        log: RunLog,
    ) -> AccountResult:
        """Hold the account, and return the result of `carry_out` or of the error that stopped it."""
        if self.interrupted is not None:
            return await self._recorded(subject, not_carried_out(drawn, Requests(), self.interrupted), {})
        try:
            with self.client(AccountWriter, account, log) as client:
                async with self._keeper.hold(subject, pause) as book:
                    try:
                        conclusion = await carry_out(client, book)
                    except Exception as error:  # noqa: BLE001 - a bug in one account must not stop the others
                        conclusion = not_carried_out(drawn, client.requests, as_worker_error(error, log))
                    return await _noted(conclusion, book.finish(conclusion.result, drawn.confirmed), log)
        except Exception as error:  # noqa: BLE001 - as above, and before anything was sent
            return await self._recorded(subject, not_carried_out(drawn, Requests(), as_worker_error(error, log)), {})

    async def _unwritten(self, account: AccountTarget, subject: Subject, drawn: Draft, log: RunLog) -> AccountResult:
        """Return the result of an account without writes, and close what earlier runs left open there.

        If that fails, the next run does it.
        """
        conclusion = not_carried_out(drawn, drawn.requests)
        if not drawn.unsettled or self.interrupted is not None:
            return await self._recorded(subject, conclusion, drawn.confirmed)
        try:
            with self.client(AccountReader, account, log) as client:
                async with self._keeper.hold(subject, _at_once) as book:
                    try:
                        await book.resume(await client.observe())
                    finally:
                        conclusion = conclusion.with_requests(drawn.requests + client.requests)
                    return await _noted(conclusion, book.finish(conclusion.result, drawn.confirmed), log)
        except Exception as error:  # noqa: BLE001 - a bug in one account must not stop the others
            as_worker_error(error, log)
            return await self._recorded(subject, conclusion, drawn.confirmed)

    async def _recorded(
        self, subject: Subject, conclusion: Conclusion, confirmed: Mapping[str, Status]
    ) -> AccountResult:
        log = self._log.bind(account=subject.account)
        return await _noted(conclusion, self._keeper.record(subject, conclusion.result, confirmed), log)

    async def _pause(self, seconds: float) -> bool:
        """Wait for a run that holds an account, and let another account run in the meantime.

        Raises:
            Interrupted: the run was stopped.
        """
        self._slots.release()
        try:
            await self._runtime.sleep(seconds)
        finally:
            await self._slots.acquire()
        if self.interrupted is not None:
            raise self.interrupted
        return True

    async def _each(self, items: Sequence[Item], work: Callable[[Item], Awaitable[Made]]) -> list[Made]:
        """Return what `work` makes of each item, in their order, `accounts_concurrency` of them at once."""
        made: dict[int, Made] = {}

        async def one(index: int, item: Item) -> None:
            try:
                made[index] = await work(item)
            finally:
                self._slots.release()

        async with asyncio.TaskGroup() as group:
            for index, item in enumerate(items):
                await self._slots.acquire()
                group.create_task(one(index, item))
        return [made[index] for index in range(len(items))]


async def _at_once(_seconds: float) -> bool:
    """Return False: a run that holds the account closes what it left open itself."""
    return False


async def _noted(conclusion: Conclusion, noting: Awaitable[None], log: RunLog) -> AccountResult:
    """Log a result while the ledger notes it, and return it. It is no success if it could not be noted."""
    noted = asyncio.ensure_future(noting)
    await log_result(conclusion, log)
    result = conclusion.result
    try:
        await noted
    except Exception as error:  # noqa: BLE001 - what was done is done
        return msgspec.structs.replace(
            result, outcome=RunOutcome.FAILED, error=result.error or as_worker_error(error, log).info
        )
    return result


def as_worker_error(error: Exception, log: Log) -> WorkerError:
    """Return an error that was raised on purpose, or log any other one and return it as an InternalError."""
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, WorkerError):
        return error
    name = type(error).__name__
    log.warning("account.failed", error_code=InternalError.__name__, error_message=name)
    return InternalError(name)
