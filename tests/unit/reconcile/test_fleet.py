"""Several accounts at the same time, on real sockets.

A failed account does not stop others, and each number has an outcome.
"""

import asyncio
from array import array
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Sequence
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.support.ledgers import immediate_ledger, never_wait, subject
from tests.support.loopback import LogRecorder, Loopback, credentials, run, runtime
from worker.config.settings import CanarySettings, RateLimit, Retry, Settings
from worker.ledger import LedgerProtocol, NullLedger, Subject
from worker.model.accounts import AccountMemory, Desired, DesiredAccount, ObservedAccount, Status
from worker.model.credentials import Credentials, CredentialsRef, Secret, SecretRef
from worker.model.errors import CredentialsMissing, ErrorInfo, InternalError, Interrupted
from worker.model.plans import AccountPlan, Action, NoticeKind, Verdict, tally
from worker.model.ports import SharedQuota
from worker.model.results import AccountResult, Outcome, RunOutcome
from worker.model.safety import Health, Safety
from worker.plan.build import Draft, Terms
from worker.plan.planfile import SavedAccount
from worker.reconcile import identity
from worker.reconcile.fleet import DefaultTarget, Fleet
from worker.reconcile.identity import Identities
from worker.sandbox import Fault, SandboxAccount
from worker.solapi.client import AccountReader

ON, OFF = "ACTIVE", "INACTIVE"
_TERMS = Terms(Safety(max_deactivations="100%", min_active=0), allow=frozenset({"fleet-wide"}))


def _account(number: int, numbers: int = 3, **overrides: Any) -> SandboxAccount:
    defaults = {"account_id": f"{number}", "api_key": f"NCS{number:013}", "api_secret": f"secret-of-{number}"}
    statuses = {f"010{number:04}{index:04}": OFF if index % 2 else ON for index in range(numbers)}
    return SandboxAccount.of(statuses, **defaults | overrides)


Holds = Callable[[str], AbstractContextManager[None]]


class _HookedLedger(NullLedger):
    """A null ledger that calls a hook while an account is leased."""

    on_lease: Holds = staticmethod(lambda _: nullcontext())

    @asynccontextmanager
    async def lease(
        self, subject: Subject, pause: Callable[[float], Awaitable[bool]], quota: SharedQuota | None = None
    ) -> AsyncIterator[NullLedger]:
        with self.on_lease(subject.key):
            async with super().lease(subject, pause, quota) as ledger:
                yield ledger


class _Reseller:
    """A fleet of accounts whose desired statuses are the opposite of the observed ones."""

    def __init__(self, loopback: Loopback, **settings: Any) -> None:
        self.loopback = loopback
        self.accounts = list(loopback.sandbox.accounts.values())
        self.keys: dict[str, Credentials | Exception] = {
            account.account_id: credentials(account) for account in self.accounts
        }
        self.log = LogRecorder()
        self.settings = msgspec.structs.replace(
            Settings(
                endpoint=loopback.sandbox.url,
                rate_limit=RateLimit(writes=10_000, reads=10_000),
                retry=Retry(attempts=10, base_seconds=0.1),
            ),
            **settings,
        )
        self.ledger = _HookedLedger()
        self.fleet = self.with_ledger(self.ledger)
        self.desired = [self._opposite(account) for account in self.accounts]

    def with_ledger(self, ledger: LedgerProtocol) -> Fleet:
        return Fleet(self.settings, self.loopback.transport, self._resolve, self.log, ledger=ledger, runtime=runtime())

    def _resolve(self, reference: CredentialsRef | None) -> Credentials:
        assert reference is not None
        resolved = self.keys[reference.api_key.env or ""]
        if isinstance(resolved, Exception):
            raise resolved
        return resolved

    @staticmethod
    def _opposite(account: SandboxAccount) -> DesiredAccount:
        name = account.account_id
        desired_numbers = {
            phone: Desired(Status(OFF if current == ON else ON)) for phone, current in account.statuses.items()
        }
        secret_ref = SecretRef(env=name)
        lines = array("I", range(1, len(desired_numbers) + 1))
        return DesiredAccount(
            name, "x.yaml", desired_numbers, lines, account_id=name, credentials=CredentialsRef(secret_ref, secret_ref)
        )

    async def plan(self) -> list[Draft]:
        return await self.fleet.plan(self.desired, _TERMS)

    async def apply(self, drafts: Sequence[Draft] | None = None, on_lease: Holds | None = None) -> list[AccountResult]:
        drafts = await self.plan() if drafts is None else drafts
        self.ledger.on_lease = on_lease or (lambda _: nullcontext())
        return await self.fleet.apply(self.desired, drafts, _TERMS, self.log)

    def saved(self, drafts: Sequence[Draft]) -> list[SavedAccount]:
        return [
            SavedAccount.of(desired, draft.plan, endpoint=self.settings.endpoint, safety=_TERMS.safety)
            for desired, draft in zip(self.desired, drafts, strict=True)
        ]

    async def apply_saved(self, drafts: Sequence[Draft]) -> list[AccountResult]:
        return await self.fleet.apply_saved(self.saved(drafts), frozenset(), self.log)

    def converged(self) -> list[str]:
        """Return the names of accounts whose numbers all have the desired status in the sandbox."""
        return [
            desired.name
            for desired, account in zip(self.desired, self.accounts, strict=True)
            if account.statuses == {phone: desired_number.status for phone, desired_number in desired.numbers.items()}
        ]


def _run_scenario(
    scenario: Callable[[_Reseller], Coroutine[Any, Any, None]],
    accounts: int | list[SandboxAccount] = 5,
    **sandbox_options: Any,
) -> None:
    settings = {name: sandbox_options.pop(name) for name in list(sandbox_options) if name in Settings.__struct_fields__}
    sandbox_accounts = [_account(number) for number in range(accounts)] if isinstance(accounts, int) else accounts

    async def scenario_with_sandbox() -> None:
        async with Loopback(*sandbox_accounts, **sandbox_options) as loopback:
            await scenario(_Reseller(loopback, **settings))

    run(scenario_with_sandbox())


def _outcomes(results: Sequence[AccountResult]) -> list[RunOutcome]:
    return [result.outcome for result in results]


def _codes(results: Sequence[AccountResult]) -> list[str | None]:
    return [None if result.error is None else result.error.code for result in results]


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_two_hundred_accounts_converge_on_a_hostile_api(seed: int) -> None:
    """One run sets every number of every account, counts every request and leaves no changes."""

    async def scenario(reseller: _Reseller) -> None:
        results = await reseller.apply()
        assert _outcomes(results) == [RunOutcome.CONVERGED] * 200
        assert [result.account for result in results] == reseller.converged()
        wire = reseller.loopback.sandbox.wire
        assert sum(result.requests.reads + result.requests.writes for result in results) == len(wire)
        assert len({request.signature for request in wire}) == len(wire)
        assert sum(request.fault is not None for request in wire) > 200
        final_lines = Counter(fields["phone"] for event, fields in reseller.log.lines if event == "number")
        assert final_lines == {phone: 1 for account in reseller.accounts for phone in account.numbers}
        assert all(draft.plan.verdict is Verdict.OK and not draft.plan.writes for draft in await reseller.plan())

    _run_scenario(scenario, 200, faults="hostile", seed=seed)


def test_failed_account_does_not_stop_the_others() -> None:
    """Missing or wrong credentials, another account, an invalid endpoint and a bug fail only their account."""

    async def scenario(reseller: _Reseller) -> None:
        replace = msgspec.structs.replace
        desired, keys = reseller.desired, reseller.keys
        keys["0"] = CredentialsMissing("not here")
        keys["1"] = Credentials("NCSUNKNOWN", Secret("x"))
        keys["2"] = Credentials(reseller.accounts[2].api_key, Secret("wrong"))
        desired[3] = replace(desired[3], account_id="another")
        desired[4] = replace(desired[4], endpoint="http://127.0.0.1:1")
        desired[5] = replace(desired[5], endpoint="ftp://nowhere")
        keys["6"] = RuntimeError("the secret is 1234")
        drafts = await reseller.plan()
        codes = [draft.error.code if draft.error else None for draft in drafts]
        rejected = ["CredentialsMissing", "InvalidApiKey", "SignatureDoesNotMatch", "WrongAccount", "ConnectionFailed"]
        assert codes == [*rejected, "InternalError", "InternalError", None, None]
        results = await reseller.apply(drafts)
        assert _codes(results) == codes
        assert _outcomes(results) == [RunOutcome.FAILED] * 7 + [RunOutcome.CONVERGED] * 2
        assert reseller.converged() == ["7", "8"]
        assert [str(draft.error) for draft in drafts[5:7]] == ["ValueError", "RuntimeError"]
        assert "1234" not in repr((drafts, results, reseller.log.lines))
        assert all(number.outcome is Outcome.NOT_ATTEMPTED for result in results[:7] for number in result.numbers)

    _run_scenario(scenario, 9)


def test_accounts_are_observed_with_their_errors() -> None:
    """A failed account stops no other, and after an interruption none is read."""

    async def scenario(reseller: _Reseller) -> None:
        reseller.keys["0"] = CredentialsMissing("not here")
        reseller.keys["1"] = RuntimeError("the secret is 1234")
        results = await reseller.fleet.observe(reseller.desired)
        names = [result.account_id if isinstance(result, ObservedAccount) else result.code for result in results]
        assert names == ["CredentialsMissing", "InternalError", "2"]
        assert "1234" not in repr((results, reseller.log.lines))
        interruption = Interrupted("SIGTERM")
        reseller.fleet.interrupt(interruption)
        assert await reseller.fleet.observe(reseller.desired) == [interruption] * 3

    _run_scenario(scenario, 3)


def test_requests_of_failed_reads_are_counted() -> None:
    """An account that cannot be planned reports its requests."""

    async def scenario(reseller: _Reseller) -> None:
        reseller.loopback.sandbox.script(None, "GET", [Fault.UNAVAILABLE, Fault.UNAVAILABLE, Fault.FORBIDDEN])
        (result,) = await reseller.apply()
        assert (result.requests.reads, result.requests.retries) == (3, 2)
        assert result.error is not None
        assert result.error.code == "Forbidden"

    _run_scenario(scenario, 1)


@pytest.mark.parametrize("failure", [CredentialsMissing("gone"), RuntimeError("bug")])
def test_account_that_fails_after_the_plan_does_not_stop_the_others(failure: Exception) -> None:
    """Credentials that are missing at the apply fail one account, with a new plan and with a saved one."""

    async def scenario(reseller: _Reseller) -> None:
        drafts = await reseller.plan()
        reseller.keys["1"] = failure
        code = "CredentialsMissing" if isinstance(failure, CredentialsMissing) else "InternalError"
        assert _codes(await reseller.apply(drafts)) == [None, code, None]
        assert reseller.converged() == ["0", "2"]
        assert _codes(await reseller.apply_saved(drafts)) == [None, code, None]

    _run_scenario(scenario, 3)


@pytest.mark.parametrize(("percent", "expected"), [(50, [NoticeKind.LIMIT]), (51, [])])
@pytest.mark.parametrize("path", ["apply", "saved plan", "rollback"])
def test_thresholds_of_the_settings_hold_for_every_write(path: str, percent: int, expected: list[NoticeKind]) -> None:
    """Half of the registration slots are used. The plan and its result warn from the threshold on."""

    async def scenario(reseller: _Reseller) -> None:
        terms = msgspec.structs.replace(_TERMS, health=reseller.settings.health)
        drafts = await reseller.fleet.plan(reseller.desired, terms)
        saved = reseller.saved(drafts)
        if path == "apply":
            results = await reseller.fleet.apply(reseller.desired, drafts, terms, reseller.log)
        elif path == "saved plan":
            results = await reseller.apply_saved(drafts)
        else:
            drafts = await reseller.fleet.preview(saved, terms.allow)
            results = await reseller.fleet.roll_back(saved, drafts, terms.allow, reseller.log)
        assert [notice.kind for notice in drafts[0].plan.notices] == expected
        assert [notice.kind for notice in results[0].notices] == expected
        assert results[0].outcome is RunOutcome.CONVERGED

    _run_scenario(scenario, [_account(1)], health=Health(limit_percent=percent))


def test_accounts_with_one_key_share_its_quota() -> None:
    """Two documents with one key together never exceed the quota of the key."""

    async def scenario(reseller: _Reseller) -> None:
        account = reseller.desired[0]
        phones = list(account.numbers)
        halves = [dict.fromkeys(phones[:10], Desired(Status(OFF))), dict.fromkeys(phones[10:], Desired(Status(OFF)))]
        reseller.desired = [
            msgspec.structs.replace(account, name=name, numbers=numbers, lines=array("I", range(len(numbers))))
            for name, numbers in zip(("a", "b"), halves, strict=True)
        ]
        # planned by two runs, which do not know that both are one account
        drafts = [
            (await reseller.with_ledger(reseller.ledger).plan([desired], _TERMS))[0] for desired in reseller.desired
        ]
        results = await reseller.apply(drafts)
        assert _outcomes(results) == [RunOutcome.CONVERGED] * 2
        wire = reseller.loopback.sandbox.wire
        assert {request.status for request in wire} == {200}
        write_times = [request.when for request in wire if request.method == "PUT"]
        assert len(write_times) == 10
        assert write_times[-1] - write_times[0] > 5

    _run_scenario(scenario, [_account(0, 20)], rate_limit=RateLimit(writes=5, reads=10))


def test_duplicate_account_is_refused_before_any_write() -> None:
    """Two names with one account id are not written, and the error names both positions. Other accounts are applied."""

    async def scenario(reseller: _Reseller) -> None:
        account, other = reseller.desired
        positions = (("a", "a.yaml", 3), ("b", "b.yaml", 7))
        pair = [msgspec.structs.replace(account, name=name, source=file, line=line) for name, file, line in positions]
        reseller.desired = [pair[0], other, pair[1]]
        results = await reseller.apply()
        assert _outcomes(results) == [RunOutcome.FAILED, RunOutcome.CONVERGED, RunOutcome.FAILED]
        assert _codes(results) == ["DuplicateAccount", None, "DuplicateAccount"]
        assert results[0].error is not None
        assert results[0].error.message.startswith("2 names describe one account ('a' (a.yaml:3), 'b' (b.yaml:7)), ")
        assert {request.phone for request in reseller.loopback.sandbox.wire if request.method == "PUT"} == set(
            other.numbers
        )
        assert results[0].requests.reads == 1

    _run_scenario(scenario, 2)


@pytest.mark.parametrize(("credentials_changed", "reads", "code"), [(False, 2, "DuplicateAccount"), (True, 1, None)])
def test_left_out_account_is_read_if_the_ledger_links_it_to_the_same_id(
    *, credentials_changed: bool, reads: int, code: str | None
) -> None:
    """The name in the ledger counts while its credentials stay the same."""

    async def scenario(reseller: _Reseller) -> None:
        (account,) = reseller.desired
        other = msgspec.structs.replace(account, name="b")
        recorded_credentials = None if credentials_changed else other.credentials

        async def recall(_: str) -> AccountMemory:
            return AccountMemory(names={"b": recorded_credentials, "gone": other.credentials})

        ledger = NullLedger(recall)
        (draft,) = await reseller.with_ledger(ledger).plan([account], _TERMS, [other])
        assert (draft.error.code if draft.error else None) == code
        assert len(reseller.loopback.sandbox.wire) == reads

    _run_scenario(scenario, 1)


@pytest.mark.parametrize(("registered", "reads"), [(None, 1), (4, 1), (5, 2)])
def test_account_is_read_again_if_many_numbers_are_missing(registered: int | None, reads: int) -> None:
    async def scenario(reseller: _Reseller) -> None:
        keys: list[str] = []

        async def recall(key: str) -> AccountMemory:
            keys.append(key)
            return AccountMemory(registered=registered)

        observed = await reseller.with_ledger(NullLedger(recall)).read(reseller.desired[0], reseller.log)
        assert {phone: observed.status(phone) for phone in observed.numbers} == reseller.accounts[0].statuses
        assert keys == [identity.key(reseller.settings.endpoint, "0")]
        assert len(reseller.loopback.sandbox.wire) == reads

    _run_scenario(scenario, 1)


def test_same_id_on_two_platforms_is_two_accounts() -> None:
    """Ids are compared within a platform: another URL is another platform."""

    async def scenario(reseller: _Reseller) -> None:
        (account,) = reseller.desired
        other_url = reseller.settings.endpoint + "/behind/a/proxy"
        identities = Identities()
        (draft,) = await reseller.plan()
        identities.learn(account, draft.plan, reseller.settings.endpoint)
        identities.learn(
            msgspec.structs.replace(account, name="b", endpoint=other_url), draft.plan, reseller.settings.endpoint
        )
        assert identities.duplicate("b") is None
        identities.learn(msgspec.structs.replace(account, name="c"), draft.plan, reseller.settings.endpoint)
        assert identities.duplicate("c") is not None
        identities.forget("c")
        assert identities.duplicate(account.name) is None

    _run_scenario(scenario, 1)


def test_unreadable_account_keeps_its_identity() -> None:
    """An error keeps the identity, unless credentials or endpoint change. An account without id has none."""
    desired = DesiredAccount("a", "a.yaml", {}, (), credentials=None)
    twin = msgspec.structs.replace(desired, name="b")
    read = AccountPlan(account="a", account_id="7", counts=tally(Action, {}))
    failed = msgspec.structs.replace(read, account_id=None, verdict=Verdict.ERROR, error=ErrorInfo("X", "x"))
    identities = Identities()
    identities.learn(twin, read, "solapi")
    identities.learn(desired, failed, "solapi")
    assert identities.duplicate("a") is None
    identities.learn(desired, read, "coolsms")
    assert identities.duplicate("a") is not None, "the vendor's hosts are one platform"
    identities.learn(desired, failed, "solapi")
    assert identities.duplicate("a") is not None
    identities.learn(msgspec.structs.replace(desired, account_id="8"), failed, "solapi")
    assert identities.duplicate("a") is identities.duplicate("b") is None
    identities.learn(desired, msgspec.structs.replace(read, account_id=None), "solapi")
    assert identities.duplicate("a") is None


def test_endpoints_of_the_vendor_share_the_quota_of_a_key() -> None:
    """The vendor's endpoints are one platform, so a key has one quota on all of them."""

    async def scenario(reseller: _Reseller) -> None:
        reference = reseller.desired[0].credentials
        quotas = set()
        for endpoint in ("solapi", "coolsms", None):
            with reseller.fleet.client(AccountReader, DefaultTarget(reference, endpoint), reseller.log) as client:
                quotas.add(id(client.quota))
        assert len(quotas) == 1

    _run_scenario(scenario, 1)


@pytest.mark.parametrize("limit", [1, 3])
def test_accounts_concurrency_is_reached_and_not_exceeded(limit: int) -> None:
    """The limit applies to planning and applying, and every account is processed."""

    async def scenario(reseller: _Reseller) -> None:
        active_clients: list[int] = []
        reseller.log.on_line = lambda _: active_clients.append(len(reseller.fleet._clients))
        drafts = await reseller.plan()
        assert max(active_clients) == limit
        active_clients.clear()
        assert _outcomes(await reseller.apply(drafts)) == [RunOutcome.CONVERGED] * 8
        assert max(active_clients) == limit

    _run_scenario(scenario, [_account(number) for number in range(8)], accounts_concurrency=limit)


def _interrupt_at(reseller: _Reseller, at: int) -> Holds:
    started: list[str] = []

    @contextmanager
    def hold(name: str) -> Iterator[None]:
        started.append(name)
        if len(started) == at:
            reseller.fleet.interrupt(Interrupted("SIGTERM"))
            reseller.fleet.interrupt(Interrupted("a second one"))
        yield

    return hold


@pytest.mark.parametrize("at", [1, 4])
def test_no_account_starts_after_an_interruption(at: int) -> None:
    """Accounts that have not started are not written. Accounts in progress report the outcome of each number."""

    async def scenario(reseller: _Reseller) -> None:
        drafts = await reseller.plan()
        statuses_before = [account.statuses for account in reseller.accounts]
        results = await reseller.apply(drafts, _interrupt_at(reseller, at))
        assert str(reseller.fleet.interrupted) == "SIGTERM"
        assert results[-1].outcome is RunOutcome.INTERRUPTED
        written = {request.api_key for request in reseller.loopback.sandbox.wire if request.method == "PUT"}
        for account, old_statuses, result in zip(reseller.accounts, statuses_before, results, strict=True):
            changed = {number.phone for number in result.numbers if number.outcome is Outcome.CHANGED}
            assert changed == {phone for phone, status in account.statuses.items() if status != old_statuses[phone]}
            if result.outcome is RunOutcome.INTERRUPTED and account.api_key not in written:
                assert {number.outcome for number in result.numbers} == {Outcome.NOT_ATTEMPTED}
        assert len(written) <= at
        await asyncio.sleep(1)  # an abandoned read may still arrive
        request_count = len(reseller.loopback.sandbox.wire)
        assert _outcomes(await reseller.apply_saved(drafts)) == [RunOutcome.INTERRUPTED] * 6
        late_drafts = await reseller.plan()
        assert {draft.error for draft in late_drafts} == {reseller.fleet.interrupted}
        assert len(reseller.loopback.sandbox.wire) == request_count

    _run_scenario(scenario, 6, accounts_concurrency=2)


def test_interruption_stops_accounts_that_wait_for_quota() -> None:
    """Writes sent before the interruption are verified."""

    async def scenario(reseller: _Reseller) -> None:
        loop = asyncio.get_running_loop()
        drafts = await reseller.plan()
        loop.call_later(7, reseller.fleet.interrupt, Interrupted("SIGINT"))
        results = await reseller.apply(drafts)
        assert loop.time() < 11, "it went on waiting"
        assert _outcomes(results) == [RunOutcome.INTERRUPTED] * 2
        for account, result in zip(reseller.accounts, results, strict=True):
            assert result.counts[Outcome.CHANGED] == 4
            assert result.counts[Outcome.NOT_ATTEMPTED] == 6
            assert Counter(account.statuses.values()) == {ON: 9, OFF: 1}

    _run_scenario(scenario, [_account(0, 10), _account(1, 10)], rate_limit=RateLimit(writes=2, reads=3))


class _BuggyMeter:
    """A meter that raises an exception."""

    def __init__(self) -> None:
        self.remaining = 1

    def advance(self) -> None:
        self.remaining -= 1
        if self.remaining < 0:
            raise ZeroDivisionError("the secret is 1234")


def test_unexpected_error_is_reported_by_its_type_only() -> None:
    """An unexpected exception, even in a task group, fails its account and is logged."""

    async def scenario(reseller: _Reseller) -> None:
        drafts = await reseller.plan()

        def on_lease(name: str) -> AbstractContextManager[None]:
            if name.endswith(" 1"):
                raise LookupError("the secret is 1234")
            return nullcontext()

        results = await reseller.apply(drafts, on_lease)
        assert [None if result.error is None else (result.error.code, result.error.message) for result in results] == [
            None,
            (InternalError.__name__, "LookupError"),
            None,
        ]
        assert reseller.converged() == ["0", "2"]
        saved = reseller.saved(drafts)[1:2]
        reseller.ledger.on_lease = lambda _: nullcontext()
        (failed,) = await reseller.fleet.apply_saved(saved, frozenset(), _BuggyMeter())
        assert failed.error is not None
        assert failed.error.message == "ZeroDivisionError"
        assert failed.requests.writes
        assert {number.outcome for number in failed.numbers} == {Outcome.UNVERIFIED}
        failures = [fields for event, fields in reseller.log.lines if event == "account.failed"]
        assert [line["error_message"] for line in failures] == ["LookupError", "ZeroDivisionError"]
        assert "1234" not in repr((results, failed, reseller.log.lines))

    _run_scenario(scenario, [_account(number, 9) for number in range(3)])


def test_error_after_the_writes_does_not_hide_them() -> None:
    """The numbers are unverified, so that nothing treats their writes as unsent."""

    @contextmanager
    def fail_at_the_end(_: str) -> Iterator[None]:
        yield
        raise LookupError

    async def scenario(reseller: _Reseller) -> None:
        (result,) = await reseller.apply(on_lease=fail_at_the_end)
        assert reseller.converged() == ["0"]
        assert result.requests.writes
        assert {number.outcome for number in result.numbers} == {Outcome.UNVERIFIED}

    _run_scenario(scenario, 1)


def test_leased_account_is_not_written(tmp_path: Path) -> None:
    """An account leased by another run is not written; the other accounts are applied."""

    async def scenario(reseller: _Reseller) -> None:
        drafts = await reseller.plan()
        async with immediate_ledger(tmp_path, run_id="other") as other_ledger, immediate_ledger(tmp_path) as run_ledger:
            fleet = reseller.with_ledger(run_ledger)
            leased = subject(identity.key(reseller.desired[1].endpoint or reseller.settings.endpoint, "1"))
            async with other_ledger.lease(leased, never_wait):
                results = await fleet.apply(reseller.desired, drafts, _TERMS, reseller.log)
            assert _outcomes(results) == [RunOutcome.CONVERGED, RunOutcome.LOCKED, RunOutcome.CONVERGED]
            assert reseller.converged() == ["0", "2"]
            assert results[1].error is not None
            assert "run other, since" in results[1].error.message

    _run_scenario(scenario, 3)


def test_saved_plan_is_applied_except_for_conflicts() -> None:
    """A number that was changed since is a conflict. A number that already has its status is unchanged."""

    async def scenario(reseller: _Reseller) -> None:
        drafts = await reseller.plan()
        account = reseller.accounts[1]
        blocked, already_inactive, due = account.numbers
        account.switch(blocked, "BLOCKED")
        account.switch(already_inactive, ON)
        first, second = await reseller.apply_saved(drafts)
        assert (first.outcome, second.outcome) == (RunOutcome.CONVERGED, RunOutcome.PARTIAL)
        assert account.statuses == {blocked: "BLOCKED", already_inactive: ON, due: OFF}
        assert {number.phone: number.outcome for number in second.numbers} == {
            blocked: Outcome.CONFLICT,
            due: Outcome.CHANGED,
        }
        assert second.counts[Outcome.UNCHANGED] == 1
        assert reseller.converged() == ["0"]

    _run_scenario(scenario, 2)


def test_account_has_one_key_for_all_vendor_endpoints() -> None:
    """The vendor's endpoints share the lease and history of an account. Another API has its own."""
    names = {
        identity.key(endpoint, "7")
        for endpoint in ("solapi", "solapi-static", "coolsms", "coolsms-rest", "http://127.0.0.1:1")
    }
    assert names == {"vendor 7", "http://127.0.0.1:1 7"}


@pytest.mark.parametrize("saved", [False, True])
def test_later_accounts_are_not_written_after_a_failed_canary(*, saved: bool) -> None:
    """Each number of the later accounts has the reason."""

    async def scenario(reseller: _Reseller) -> None:
        drafts = await reseller.plan()
        reseller.loopback.sandbox.script(next(iter(reseller.accounts[0].numbers)), "PUT", [Fault.NOT_WRITABLE])
        results = await (reseller.apply_saved(drafts) if saved else reseller.apply(drafts))
        assert _outcomes(results) == [RunOutcome.PARTIAL, RunOutcome.CONVERGED] + [RunOutcome.PARTIAL] * 3
        assert _codes(results) == [None, None] + ["CanaryFailed"] * 3
        assert {number.error and number.error.code for result in results[2:] for number in result.numbers} == {
            "CanaryFailed"
        }
        assert {number.outcome for result in results[2:] for number in result.numbers} == {Outcome.NOT_ATTEMPTED}
        wire = reseller.loopback.sandbox.wire
        written = {request.api_key for request in wire if request.method == "PUT"}
        assert written == {account.api_key for account in reseller.accounts[:2]}
        final_lines = Counter(fields["phone"] for event, fields in reseller.log.lines if event == "number")
        assert final_lines == {phone: 1 for account in reseller.accounts for phone in account.numbers}

    _run_scenario(scenario, canary=CanarySettings(accounts=2))


@pytest.mark.parametrize("saved", [False, True])
def test_unreadable_canary_has_failed(*, saved: bool) -> None:
    """A canary that cannot be read again confirms nothing, so no other account is started."""

    async def scenario(reseller: _Reseller) -> None:
        drafts = await reseller.plan()
        reseller.keys["0"] = CredentialsMissing("gone")
        results = await (reseller.apply_saved(drafts) if saved else reseller.apply(drafts))
        assert _codes(results) == ["CredentialsMissing", "CanaryFailed", "CanaryFailed"]
        assert reseller.converged() == []

    _run_scenario(scenario, 3, canary=CanarySettings(accounts=1))


def test_accounts_without_writes_are_not_canaries() -> None:
    """Accounts in sync and accounts without a plan neither go first nor wait."""

    async def scenario(reseller: _Reseller) -> None:
        reseller.keys["0"] = CredentialsMissing("gone")
        for account in (reseller.accounts[1], reseller.accounts[4]):
            for phone, status in account.statuses.items():
                account.switch(phone, OFF if status == ON else ON)
        drafts = await reseller.plan()
        reseller.loopback.sandbox.script(next(iter(reseller.accounts[2].numbers)), "PUT", [Fault.NOT_WRITABLE])
        results = await reseller.apply(drafts)
        assert _codes(results) == ["CredentialsMissing", None, None, "CanaryFailed", None]
        assert [result.outcome for result in results[1:3]] == [RunOutcome.CONVERGED, RunOutcome.PARTIAL]
        assert reseller.converged() == ["1", "4"]

    _run_scenario(scenario, 5, canary=CanarySettings(accounts=1))


def test_interrupted_canary_is_reported_as_interrupted() -> None:
    """If a signal stops the canary, the other accounts are interrupted, and the canary is not reported as failed."""

    async def scenario(reseller: _Reseller) -> None:
        drafts = await reseller.plan()
        results = await reseller.apply(drafts, _interrupt_at(reseller, 1))
        assert _outcomes(results) == [RunOutcome.INTERRUPTED] * 4
        assert [event for event, _ in reseller.log.lines if event.startswith("canary")] == []
        assert reseller.converged() == []

    _run_scenario(scenario, 4, canary=CanarySettings(accounts=2), accounts_concurrency=1)


def test_passed_canary_is_followed_by_the_fleet() -> None:
    """The other accounts are applied once, as without a canary."""

    async def scenario(reseller: _Reseller) -> None:
        results = await reseller.apply()
        assert _outcomes(results) == [RunOutcome.CONVERGED] * 5
        first = [request.api_key for request in reseller.loopback.sandbox.wire if request.method == "PUT"][:6]
        assert set(first) == {account.api_key for account in reseller.accounts[:2]}
        assert [event for event, _ in reseller.log.lines if event.startswith("canary")] == ["canary.passed"]

    _run_scenario(scenario, canary=CanarySettings(accounts=2))
