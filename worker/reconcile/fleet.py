"""The fleet: all accounts of one run, in parallel. An error in one account does not stop the others.

All accounts share the connection pool. Accounts with the same API key share its quota.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager
from datetime import UTC, datetime
from functools import partial
from typing import TypeVar

import msgspec

from worker.config.settings import Settings
from worker.config.urls import parse_endpoint
from worker.ledger import LedgerProtocol, NullLedger, Subject
from worker.model.accounts import AccountMemory, DesiredAccount, ObservedAccount, PlanFile, PlanFileUse, Status
from worker.model.credentials import DEFAULT_CREDENTIALS, Credentials, CredentialsRef
from worker.model.errors import CredentialsMissing, InternalError, Interrupted, WorkerError
from worker.model.messages import Message
from worker.model.plans import AccountPlan, Action, tally
from worker.model.ports import AccountLedger, AccountTarget, DefaultTarget, Log, ProgressMeter, RunLog
from worker.model.redaction import SHORTEST_SECRET
from worker.model.results import AccountResult, Requests, RunOutcome
from worker.plan.build import Draft, Terms, as_plan, failed_draft
from worker.plan.comparison import CurrentFiles
from worker.plan.planfile import LeftOut, SavedAccount
from worker.plan.safety import IN_USE, guard_fleet
from worker.reconcile import identity
from worker.reconcile.account import apply, apply_saved, conclude_unapplied, make_draft, observe, preview_saved
from worker.reconcile.canary import canary_first
from worker.reconcile.executor import Pace
from worker.reconcile.identity import Identities
from worker.reconcile.in_use import guard_notices
from worker.reconcile.log import log_result
from worker.reconcile.results import Conclusion, left_out_result
from worker.reconcile.rollback import failed_preview, limit_to_preview, preview
from worker.solapi.baseline import Baseline
from worker.solapi.client import AccountReader, AccountWriter
from worker.solapi.limiter import Quota
from worker.solapi.runtime import Runtime
from worker.solapi.transport import Transport

__all__ = ["DefaultTarget", "Fleet", "as_worker_error"]

Client = TypeVar("Client", bound=AccountReader)
Item = TypeVar("Item")
Result = TypeVar("Result")


class Fleet:
    """The accounts of one run, which it reads, plans and writes in parallel.

    `credentials` resolves a reference to credentials; the reference None stands for the default credentials. A daemon
    passes the same `quotas` (by API key), `identities` and `baselines` (by endpoint and API key) to each run, and the
    fleet updates them. With `records_numbers`, drafts have all numbers of their account for the ledger.
    """

    def __init__(
        self,
        settings: Settings,
        transport: Transport,
        credentials: Callable[[CredentialsRef | None], Credentials],
        log: RunLog,
        *,
        ledger: LedgerProtocol | None = None,
        runtime: Runtime | None = None,
        quotas: dict[str, Quota] | None = None,
        identities: Identities | None = None,
        baselines: dict[str, Baseline] | None = None,
        records_numbers: bool = False,
    ) -> None:
        self._ledger = ledger or NullLedger()
        self._settings = settings
        self._transport = transport
        self._credentials = credentials
        self._log = log
        self._runtime = runtime or Runtime()
        self.quotas: dict[str, Quota] = {} if quotas is None else quotas
        self._identities = identities or Identities()
        self._baselines: dict[str, Baseline] = {} if baselines is None else baselines
        self._clients: set[AccountReader] = set()
        self._pace = Pace(settings.concurrency, settings.deadline_seconds, self._runtime.wall)
        self._records_numbers = records_numbers
        self._slots = asyncio.Semaphore(settings.accounts_concurrency)
        self.interrupted: Interrupted | None = None
        self.writes = 0
        """The count of write requests sent by clients that are closed by now."""

    def interrupt(self, reason: Interrupted) -> None:
        """Start no further requests. In-flight writes finish and are verified."""
        self.interrupted = self.interrupted or reason
        for client in self._clients:
            client.halt(reason)

    async def plan(
        self,
        accounts: Sequence[DesiredAccount],
        terms: Terms,
        other_accounts: Sequence[DesiredAccount] = (),
        *,
        now: datetime | None = None,
    ) -> list[Draft]:
        """Return the plan of each account, in order, checked against the safety rules of the account and the fleet.

        If an account cannot be planned, its plan holds the error. If several names describe the same account, each of
        their plans holds an error. `other_accounts` are accounts of the same files that are not part of this run. Such
        an account is read if an earlier run recorded that it is the same as an account of this run. `now` is the aware
        time at which the desired state is evaluated; None means the current time.
        """
        moment = now or self._now()

        async def one(desired: DesiredAccount) -> Draft:
            log = self._log.bind(account=desired.name)
            return await self._make_draft(
                desired,
                lambda client, recall: make_draft(
                    desired, client, terms, recall, log, now=moment, records_numbers=self._records_numbers
                ),
                lambda error: failed_draft(desired, terms, error, moment),
                log,
            )

        drafts = await self._run_each(accounts, one)
        await self._identify(accounts, drafts, other_accounts)
        drafts = self._refuse_duplicates(accounts, drafts, terms, moment)
        plans = guard_fleet([draft.plan for draft in drafts], self._settings.safety.fleet_wide, terms.allow)
        return [msgspec.structs.replace(draft, plan=plan) for draft, plan in zip(drafts, plans, strict=True)]

    async def _identify(
        self, accounts: Sequence[DesiredAccount], drafts: Sequence[Draft], other_accounts: Sequence[DesiredAccount]
    ) -> None:
        """Record the identities of accounts.

        This includes `other_accounts` and unread accounts if earlier runs recorded that they are the same as a read
        account.
        """
        default = self._settings.endpoint
        for desired, draft in zip(accounts, drafts, strict=True):
            self._identities.learn(desired, draft.plan, default)
        by_name = {desired.name: desired for desired in (*accounts, *other_accounts)}
        candidates = [
            (by_name[name], draft.plan.account)
            for draft in drafts
            for name, credentials in draft.names.items()
            if name in by_name and by_name[name].credentials == credentials
        ]
        suspect_names = {desired.name for desired, _ in candidates}
        unread_accounts = [desired for desired in other_accounts if desired.name in suspect_names]
        for desired, draft in zip(unread_accounts, await self._run_each(unread_accounts, self._read), strict=True):
            self._identities.learn(desired, draft.plan, default)
        for desired, name in candidates:
            self._identities.recall(desired, name, default)

    async def _read(self, desired: DesiredAccount) -> Draft:
        """Read an account, and return a plan that has its id and no changes."""
        log = self._log.bind(account=desired.name)

        async def read(client: AccountReader, recall: Callable[[str | None], Awaitable[AccountMemory]]) -> Draft:
            observed, _ = await observe(client, recall, log)
            plan = AccountPlan(account=desired.name, account_id=observed.account_id, counts=tally(Action, {}))
            return Draft(plan, {})

        return await self._make_draft(
            desired, read, lambda error: failed_draft(desired, Terms(), error, self._now()), log
        )

    def _refuse_duplicates(
        self, accounts: Sequence[DesiredAccount], drafts: Sequence[Draft], terms: Terms, now: datetime
    ) -> list[Draft]:
        """Return the drafts. If the files describe an account under several names, its drafts hold an error."""
        distinct = []
        for desired, draft in zip(accounts, drafts, strict=True):
            error = self._identities.duplicate(desired.name)
            if error is None or draft.error is not None:
                distinct.append(draft)
            else:
                draft_with_error = failed_draft(desired, terms, error, now)
                distinct.append(
                    msgspec.structs.replace(draft_with_error, requests=draft.requests, statuses=draft.statuses)
                )
        return distinct

    async def read(self, account: AccountTarget, log: Log) -> ObservedAccount:
        """Return the observed account.

        A second read confirms a response that lacks listed numbers, or many numbers of the last run.

        Raises:
            ApiError: the account cannot be read.
            LedgerError: the ledger cannot be read.
            CredentialsMissing: the account's credentials are missing or cannot be used.
        """
        with self.client(AccountReader, account, log) as client:
            observed = await client.observe()
            memory = await self._recall(account.endpoint, observed.account_id)
            return await client.confirm(observed, memory.registered)

    async def observe(self, accounts: Sequence[DesiredAccount]) -> list[ObservedAccount | WorkerError]:
        """Return each account as `read` does, in order, or the error that prevents it."""

        async def one(desired: DesiredAccount) -> ObservedAccount | WorkerError:
            log = self._log.bind(account=desired.name)
            try:
                return self.interrupted or await self.read(desired, log)
            except Exception as error:  # noqa: BLE001 - a bug in one account must not stop the others
                return as_worker_error(error, log)

        return await self._run_each(accounts, one)

    async def preview(self, accounts: Sequence[SavedAccount], allow: frozenset[str]) -> list[Draft]:
        """Return the rollback plan of each account, in order."""

        async def one(saved: SavedAccount) -> Draft:
            log = self._log.bind(account=saved.account)
            return await self._make_draft(
                saved,
                lambda client, recall: preview(saved, client, allow, recall, log, health=self._settings.health),
                lambda error: failed_preview(saved, error),
                log,
            )

        return await self._run_each(accounts, one)

    async def apply(
        self,
        accounts: Sequence[DesiredAccount],
        drafts: Sequence[Draft],
        terms: Terms,
        meter: ProgressMeter,
        *,
        now: datetime | None = None,
    ) -> list[AccountResult]:
        """Apply the plans that no rule refuses. Return the result of every account, in order.

        Each account is planned again at `now`, an aware time; None means the current time. If that plan differs from
        the approved draft, the draft is stale and is refused.
        """
        moment = now or self._now()

        async def one(pair: tuple[DesiredAccount, Draft]) -> AccountResult:
            desired, draft = pair
            log = self._log.bind(account=desired.name)
            subject = identity.planned_subject(desired, draft, terms, self._settings.endpoint)
            idle = not draft.plan.writes and not draft.is_outdated(desired, moment)
            if draft.error is not None or draft.plan.refusals or idle:
                return await self._settle(desired, subject, draft, log)

            has_waited = False

            async def pause(seconds: float) -> bool:
                nonlocal has_waited
                has_waited = True
                return await self._pause(seconds)

            async def reconcile_account(client: AccountWriter, ledger: AccountLedger) -> Conclusion:
                return await apply(
                    desired,
                    draft.plan,
                    client,
                    terms,
                    now=moment,
                    ledger=ledger,
                    pace=self._pace,
                    log=log,
                    meter=meter,
                    has_waited=has_waited,
                )

            result = await self._with_lease(desired, subject, draft, reconcile_account, pause=pause, log=log)
            return msgspec.structs.replace(result, requests=draft.requests + result.requests)

        return await canary_first(
            list(zip(accounts, drafts, strict=True)),
            self._settings.canary,
            writes=[() if draft.plan.refusals else draft.plan.writes for draft in drafts],
            apply_batch=lambda pairs: self._run_each(pairs, one),
            hold_back=lambda pairs, why: self.decline(
                [account for account, _ in pairs], [draft for _, draft in pairs], terms, why
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
        """Apply a saved plan. Return the result of every account, in order.

        `plan` identifies the plan file, which is applied only once; None allows a replay. `files` takes the name of an
        account and returns its current desired-state files; it is called while the lease is held. None skips the
        comparison with the files.
        """
        return await canary_first(
            accounts,
            self._settings.canary,
            writes=[saved.writes for saved in accounts],
            apply_batch=lambda some: self._run_each(
                some, lambda saved: self._apply_saved(saved, allow, meter, plan, files)
            ),
            hold_back=lambda some, why: self._run_each(
                some, lambda saved: self._decline_saved(saved, Draft(as_plan(saved), {}), why)
            ),
            log=self._log,
        )

    async def preview_saved(
        self,
        accounts: Sequence[SavedAccount],
        allow: frozenset[str],
        *,
        earlier_run: Callable[[str, Collection[str]], Awaitable[PlanFileUse | None]] | None = None,
        files: Callable[[str], CurrentFiles] | None = None,
    ) -> list[Draft]:
        """Return the plan of what `apply_saved` would write to each account, in order. It writes nothing.

        `earlier_run` takes the key of an account and the numbers of its plan, and returns the run that used up the plan
        file; None allows a replay. `files` is as for `apply_saved`.
        """

        async def one(saved: SavedAccount) -> Draft:
            log = self._log.bind(account=saved.account)

            async def draw(client: AccountReader, recall: Callable[[str | None], Awaitable[AccountMemory]]) -> Draft:
                key = identity.saved_subject(saved).key
                phones = [change.phone for change in saved.changes]
                return await preview_saved(
                    saved,
                    client,
                    allow,
                    recall,
                    log,
                    now=self._now(),
                    health=self._settings.health,
                    earlier=None if earlier_run is None else await earlier_run(key, phones),
                    files=None if files is None else files(saved.account),
                )

            return await self._make_draft(saved, draw, lambda error: failed_preview(saved, error), log)

        return await self._run_each(accounts, one)

    async def leave_out(self, accounts: Sequence[LeftOut], source: str) -> list[AccountResult]:
        """Record the accounts that a saved plan leaves out, and return their results. `source` names the plan file."""
        return [
            await self._record(
                identity.left_out_subject(account, source, self._settings), Conclusion(left_out_result(account)), {}
            )
            for account in accounts
        ]

    async def roll_back(
        self,
        accounts: Sequence[SavedAccount],
        drafts: Sequence[Draft],
        allow: frozenset[str],
        meter: ProgressMeter,
        decline_error: WorkerError | None = None,
    ) -> list[AccountResult]:
        """Apply the plans of `preview` that no rule refuses. Return the result of every account, in order.

        `decline_error` is set if the user did not confirm: then no plan is applied.
        """

        async def one(pair: tuple[SavedAccount, Draft]) -> AccountResult:
            saved, draft = pair
            if decline_error is None and draft.error is None and not draft.plan.refusals:
                # the preview has already checked the use of these numbers
                result = await self._apply_saved(
                    limit_to_preview(saved, draft.plan), allow | {IN_USE}, meter, preview=draft.plan
                )
                notices = (*result.notices, *guard_notices(draft.plan))
                return msgspec.structs.replace(result, requests=draft.requests + result.requests, notices=notices)
            return await self._decline_saved(saved, draft, decline_error)

        return await self._run_each(list(zip(accounts, drafts, strict=True)), one)

    async def _decline_saved(
        self, saved_account: SavedAccount, draft: Draft, reason: WorkerError | None
    ) -> AccountResult:
        """Do not apply a saved account. Return its result, with `reason` or the error of the draft."""
        conclusion = conclude_unapplied(draft, draft.requests, reason)
        return await self._record(identity.saved_subject(saved_account), conclusion, {})

    async def _apply_saved(
        self,
        saved_account: SavedAccount,
        allow: frozenset[str],
        meter: ProgressMeter,
        plan: PlanFile | None = None,
        files: Callable[[str], CurrentFiles] | None = None,
        *,
        preview: AccountPlan | None = None,
    ) -> AccountResult:
        log = self._log.bind(account=saved_account.account)

        async def apply_writes(client: AccountWriter, ledger: AccountLedger) -> Conclusion:
            return await apply_saved(
                saved_account,
                client,
                allow,
                ledger=ledger,
                pace=self._pace,
                log=log,
                meter=meter,
                now=self._now(),
                health=self._settings.health,
                plan=plan,
                files=None if files is None else files(saved_account.account),
            )

        return await self._with_lease(
            saved_account,
            identity.saved_subject(saved_account),
            Draft(as_plan(saved_account) if preview is None else preview, {}),
            apply_writes,
            pause=self._pause,
            log=log,
        )

    async def decline(
        self, accounts: Sequence[DesiredAccount], drafts: Sequence[Draft], terms: Terms, reason: WorkerError
    ) -> list[AccountResult]:
        """Apply no plan. Return the result of every account, in order, with `reason` as its error."""
        results = []
        for desired, draft in zip(accounts, drafts, strict=True):
            subject = identity.planned_subject(desired, draft, terms, self._settings.endpoint)
            conclusion = conclude_unapplied(draft, draft.requests, reason)
            results.append(await self._record(subject, conclusion, draft.confirmed_statuses))
        return results

    @contextmanager
    def client(self, kind: type[Client], account: AccountTarget, log: Log) -> Iterator[Client]:
        """Yield a client of the type `kind` for one account. An interruption of the fleet halts the client.

        Raises:
            CredentialsMissing: the account's credentials are missing or cannot be used, such as a secret that is too
                short.
            ValueError: the account's endpoint is not valid.
        """
        credentials = self._credentials(account.credentials)
        endpoint = parse_endpoint(account.endpoint or self._settings.endpoint)
        if len(credentials.api_secret.reveal()) < SHORTEST_SECRET and not endpoint.is_loopback:
            location = (account.credentials or DEFAULT_CREDENTIALS).api_secret.location
            message = Message(
                "the API secret in {location} has fewer than {minimum} characters, so it cannot be a secret of the "
                "vendor: write the whole secret there",
                location=location,
                minimum=SHORTEST_SECRET,
            )
            raise CredentialsMissing(message)
        key = credentials.api_key
        if key not in self.quotas:
            self.quotas[key] = Quota(self._settings.rate_limit, clock=self._runtime.clock)
        client = kind(
            self._transport,
            endpoint,
            credentials,
            self.quotas[key],
            account_id=account.account_id,
            listed=account.listed,
            baseline=self._baselines.setdefault(f"{endpoint.url} {key}", Baseline()),
            retry=self._settings.retry,
            log=log,
            runtime=self._runtime,
        )
        self._clients.add(client)
        try:
            yield client
        finally:
            self._clients.discard(client)
            self.writes += client.requests.writes

    async def _make_draft(
        self,
        account: AccountTarget,
        draw: Callable[[AccountReader, Callable[[str | None], Awaitable[AccountMemory]]], Awaitable[Draft]],
        failed: Callable[[WorkerError], Draft],
        log: RunLog,
    ) -> Draft:
        """Return `draw(client, recall)` with a read-only client. If it raises, return `failed(error)`."""
        if self.interrupted is not None:
            return failed(self.interrupted)
        requests = Requests()

        try:
            with self.client(AccountReader, account, log) as client:
                try:
                    draft = await draw(client, partial(self._recall, account.endpoint))
                finally:
                    requests = client.requests
        except Exception as error:  # noqa: BLE001 - a bug in one account must not stop the others
            draft = failed(as_worker_error(error, log))
        return msgspec.structs.replace(draft, requests=requests)

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._runtime.wall(), UTC)

    async def _recall(self, endpoint: str | None, account_id: str | None) -> AccountMemory:
        return await self._ledger.recall(identity.key(endpoint or self._settings.endpoint, account_id))

    async def _with_lease(
        self,
        account: AccountTarget,
        subject: Subject,
        draft: Draft,
        action: Callable[[AccountWriter, AccountLedger], Awaitable[Conclusion]],
        *,
        pause: Callable[[float], Awaitable[bool]],
        log: RunLog,
    ) -> AccountResult:
        """Acquire the lease of the account, and return the result of `action`.

        If an error prevents or stops it, return the result of `draft` with that error.
        """
        if self.interrupted is not None:
            return await self._record(subject, conclude_unapplied(draft, Requests(), self.interrupted), {})
        requests = Requests()
        try:
            with self.client(AccountWriter, account, log) as client:
                async with self._lease(client, subject, pause) as account_ledger:
                    try:
                        conclusion = await action(client, account_ledger)
                    except Exception as error:  # noqa: BLE001 - a bug in one account must not stop the others
                        conclusion = conclude_unapplied(draft, client.requests, as_worker_error(error, log))
                    requests = client.requests
                    return await _log_and_record(
                        conclusion, account_ledger.finish(conclusion.result, draft.confirmed_statuses), log
                    )
        except Exception as error:  # noqa: BLE001 - as above
            return await self._record(subject, conclude_unapplied(draft, requests, as_worker_error(error, log)), {})

    def _lease(
        self, client: AccountReader, subject: Subject, pause: Callable[[float], Awaitable[bool]]
    ) -> AbstractAsyncContextManager[AccountLedger]:
        """Take the lease of the account of a client, and of the lane of its API key."""
        subject = msgspec.structs.replace(subject, lane=identity.lane(subject.endpoint, client.api_key))
        return self._ledger.lease(subject, pause, client.quota)

    async def _settle(self, account: AccountTarget, subject: Subject, draft: Draft, log: RunLog) -> AccountResult:
        """Return the result of an account without writes, and close the ledger entries that earlier runs left open.

        If they cannot be closed, they are left to the next run.
        """
        conclusion = conclude_unapplied(draft, draft.requests)
        if not draft.has_open_attempts or self.interrupted is not None:
            return await self._record(subject, conclusion, draft.confirmed_statuses)
        try:
            with self.client(AccountReader, account, log) as client:
                async with self._lease(client, subject, _never_wait) as account_ledger:
                    try:
                        await account_ledger.resume(await client.observe())
                    finally:
                        conclusion = conclusion.with_requests(draft.requests + client.requests)
                    return await _log_and_record(
                        conclusion, account_ledger.finish(conclusion.result, draft.confirmed_statuses), log
                    )
        except Exception as error:  # noqa: BLE001 - a bug in one account must not stop the others
            as_worker_error(error, log)
            return await self._record(subject, conclusion, draft.confirmed_statuses)

    async def _record(
        self, subject: Subject, conclusion: Conclusion, confirmed_statuses: Mapping[str, Status]
    ) -> AccountResult:
        log = self._log.bind(account=subject.account)
        return await _log_and_record(
            conclusion, self._ledger.record(subject, conclusion.result, confirmed_statuses), log
        )

    async def _pause(self, seconds: float) -> bool:
        """Sleep while another run has the lease of an account, and free the slot for other accounts meanwhile.

        Raises:
            Interrupted: the run was interrupted.
        """
        self._slots.release()
        try:
            await self._runtime.sleep(seconds)
        finally:
            await self._slots.acquire()
        if self.interrupted is not None:
            raise self.interrupted
        return True

    async def _run_each(self, items: Sequence[Item], work: Callable[[Item], Awaitable[Result]]) -> list[Result]:
        """Return `work(item)` for each item, in order. At most `accounts_concurrency` of the calls run concurrently."""
        results: dict[int, Result] = {}

        async def one(index: int, item: Item) -> None:
            try:
                results[index] = await work(item)
            finally:
                self._slots.release()

        async with asyncio.TaskGroup() as group:
            for index, item in enumerate(items):
                await self._slots.acquire()
                group.create_task(one(index, item))
        return [results[index] for index in range(len(items))]


async def _never_wait(_seconds: float) -> bool:
    """Return False immediately. The run that has the lease closes the open entries itself."""
    return False


async def _log_and_record(conclusion: Conclusion, recording: Awaitable[None], log: RunLog) -> AccountResult:
    """Log a result while `recording` records it in the ledger. Return it, as failed if it could not be recorded."""
    recording_task = asyncio.ensure_future(recording)
    await log_result(conclusion, log)
    result = conclusion.result
    try:
        await recording_task
    except Exception as error:  # noqa: BLE001 - the writes have been sent: the result must still be returned
        return msgspec.structs.replace(
            result, outcome=RunOutcome.FAILED, error=result.error or as_worker_error(error, log).info
        )
    return result


def as_worker_error(error: Exception, log: Log) -> WorkerError:
    """Return a WorkerError unchanged. Log any other error, and return an InternalError in its place."""
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, WorkerError):
        return error
    name = type(error).__name__
    log.warning("account.failed", error_code=InternalError.__name__, error_message=name)
    return InternalError(name)
