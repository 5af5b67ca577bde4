"""Many accounts at once, on real sockets: a failure in one stops no other, and every number gets an outcome."""

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
from worker.model.accounts import AccountMemory, Desired, DesiredAccount, Status
from worker.model.credentials import Credentials, CredentialsRef, Secret, SecretRef
from worker.model.errors import CredentialsMissing, ErrorInfo, InternalError, Interrupted
from worker.model.plans import AccountPlan, Action, Verdict, tally
from worker.model.results import AccountResult, Outcome, RunOutcome
from worker.model.safety import Safety
from worker.plan.build import Draft, Terms
from worker.plan.planfile import SavedAccount
from worker.reconcile import identity
from worker.reconcile.fleet import DefaultTarget, Fleet
from worker.reconcile.identity import Identities
from worker.sandbox import Fault, SandboxAccount
from worker.solapi.client import AccountReader

ON, OFF = "ACTIVE", "INACTIVE"
_TERMS = Terms(Safety(max_deactivations="100%", min_active=0), allow=frozenset({"fleet-wide"}))


def _account(number: int, numbers: int = 3, **more: Any) -> SandboxAccount:
    given = {"account_id": f"{number}", "api_key": f"NCS{number:013}", "api_secret": f"secret-of-{number}"}
    statuses = {f"010{number:04}{index:04}": OFF if index % 2 else ON for index in range(numbers)}
    return SandboxAccount.of(statuses, **given | more)


Holds = Callable[[str], AbstractContextManager[None]]


class _Keeper(NullLedger):
    """Keeps nothing, but lets a test into the moment in which an account is held."""

    holds: Holds = staticmethod(lambda _: nullcontext())

    @asynccontextmanager
    async def hold(self, subject: Subject, pause: Callable[[float], Awaitable[bool]]) -> AsyncIterator[NullLedger]:
        with self.holds(subject.key):
            async with super().hold(subject, pause) as page:
                yield page


class _Reseller:
    """A fleet of desired accounts that want every number's status the other way round."""

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
        self.keeper = _Keeper()
        self.fleet = self.kept_by(self.keeper)
        self.desired = [self._opposite(account) for account in self.accounts]

    def kept_by(self, keeper: LedgerProtocol) -> Fleet:
        return Fleet(self.settings, self.loopback.transport, self._resolve, self.log, ledger=keeper, runtime=runtime())

    def _resolve(self, reference: CredentialsRef | None) -> Credentials:
        assert reference is not None
        found = self.keys[reference.api_key.env or ""]
        if isinstance(found, Exception):
            raise found
        return found

    @staticmethod
    def _opposite(account: SandboxAccount) -> DesiredAccount:
        name = account.account_id
        wanted = {phone: Desired(Status(OFF if now == ON else ON)) for phone, now in account.statuses.items()}
        where = SecretRef(env=name)
        lines = array("I", range(1, len(wanted) + 1))
        return DesiredAccount(name, "x.yaml", wanted, lines, account_id=name, credentials=CredentialsRef(where, where))

    async def plan(self) -> list[Draft]:
        return await self.fleet.plan(self.desired, _TERMS)

    async def apply(self, drafts: Sequence[Draft] | None = None, holds: Holds | None = None) -> list[AccountResult]:
        drafts = await self.plan() if drafts is None else drafts
        self.keeper.holds = holds or (lambda _: nullcontext())
        return await self.fleet.apply(self.desired, drafts, _TERMS, self.log)

    def saved(self, drafts: Sequence[Draft]) -> list[SavedAccount]:
        return [
            SavedAccount.of(desired, drawn.plan, endpoint=self.settings.endpoint, safety=_TERMS.safety)
            for desired, drawn in zip(self.desired, drafts, strict=True)
        ]

    async def apply_saved(self, drafts: Sequence[Draft]) -> list[AccountResult]:
        return await self.fleet.apply_saved(self.saved(drafts), frozenset(), self.log)

    def converged(self) -> list[str]:
        """The accounts whose numbers are all as desired, in the sandbox itself."""
        return [
            desired.name
            for desired, account in zip(self.desired, self.accounts, strict=True)
            if account.statuses == {phone: want.status for phone, want in desired.numbers.items()}
        ]


def _play(
    scenario: Callable[[_Reseller], Coroutine[Any, Any, None]], accounts: int | list[SandboxAccount] = 5, **more: Any
) -> None:
    settings = {name: more.pop(name) for name in list(more) if name in Settings.__struct_fields__}
    given = [_account(number) for number in range(accounts)] if isinstance(accounts, int) else accounts

    async def whole() -> None:
        async with Loopback(*given, **more) as loopback:
            await scenario(_Reseller(loopback, **settings))

    run(whole())


def _outcomes(results: Sequence[AccountResult]) -> list[RunOutcome]:
    return [result.outcome for result in results]


def _codes(results: Sequence[AccountResult]) -> list[str | None]:
    return [None if result.error is None else result.error.code for result in results]


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_two_hundred_accounts_converge_on_a_hostile_api(seed: int) -> None:
    """One run brings every number of every account to its status, counts every request and leaves nothing to do."""

    async def scenario(reseller: _Reseller) -> None:
        results = await reseller.apply()
        assert _outcomes(results) == [RunOutcome.CONVERGED] * 200
        assert [result.account for result in results] == reseller.converged()
        wire = reseller.loopback.sandbox.wire
        assert sum(result.requests.reads + result.requests.writes for result in results) == len(wire)
        assert len({request.signature for request in wire}) == len(wire)
        assert sum(request.fault is not None for request in wire) > 200
        closed = Counter(fields["phone"] for event, fields in reseller.log.lines if event == "number")
        assert closed == {phone: 1 for account in reseller.accounts for phone in account.numbers}
        assert all(drawn.plan.verdict is Verdict.OK and not drawn.plan.writes for drawn in await reseller.plan())

    _play(scenario, 200, faults="hostile", seed=seed)


def test_a_bad_account_stops_no_other() -> None:
    """Credentials that miss or are wrong, another account, an endpoint that is none, a bug: all stay where they are."""

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
        codes = [drawn.error.code if drawn.error else None for drawn in drafts]
        rejected = ["CredentialsMissing", "InvalidApiKey", "SignatureDoesNotMatch", "WrongAccount", "ConnectionFailed"]
        assert codes == [*rejected, "InternalError", "InternalError", None, None]
        results = await reseller.apply(drafts)
        assert _codes(results) == codes
        assert _outcomes(results) == [RunOutcome.FAILED] * 7 + [RunOutcome.CONVERGED] * 2
        assert reseller.converged() == ["7", "8"]
        assert [str(drawn.error) for drawn in drafts[5:7]] == ["ValueError", "RuntimeError"]
        assert "1234" not in repr((drafts, results, reseller.log.lines))
        assert all(number.outcome is Outcome.NOT_ATTEMPTED for result in results[:7] for number in result.numbers)

    _play(scenario, 9)


def test_failed_reads_are_counted_too() -> None:
    """An account that cannot be planned reports the requests that this took."""

    async def scenario(reseller: _Reseller) -> None:
        reseller.loopback.sandbox.script(None, "GET", [Fault.UNAVAILABLE, Fault.UNAVAILABLE, Fault.FORBIDDEN])
        (result,) = await reseller.apply()
        assert (result.requests.reads, result.requests.retries) == (3, 2)
        assert result.error is not None
        assert result.error.code == "Forbidden"

    _play(scenario, 1)


@pytest.mark.parametrize("failure", [CredentialsMissing("gone"), RuntimeError("bug")])
def test_what_vanishes_between_plan_and_apply_stops_no_other(failure: Exception) -> None:
    """An account whose credentials are gone when it is its turn to be written fails alone, planned here or saved."""

    async def scenario(reseller: _Reseller) -> None:
        drafts = await reseller.plan()
        reseller.keys["1"] = failure
        code = "CredentialsMissing" if isinstance(failure, CredentialsMissing) else "InternalError"
        assert _codes(await reseller.apply(drafts)) == [None, code, None]
        assert reseller.converged() == ["0", "2"]
        assert _codes(await reseller.apply_saved(drafts)) == [None, code, None]

    _play(scenario, 3)


def test_accounts_of_one_key_share_its_quota() -> None:
    """Two documents with one key together never exceed what the server allows it, and need the time for it."""

    async def scenario(reseller: _Reseller) -> None:
        whole = reseller.desired[0]
        phones = list(whole.numbers)
        halves = [dict.fromkeys(phones[:10], Desired(Status(OFF))), dict.fromkeys(phones[10:], Desired(Status(OFF)))]
        reseller.desired = [
            msgspec.structs.replace(whole, name=name, numbers=half, lines=array("I", range(len(half))))
            for name, half in zip(("a", "b"), halves, strict=True)
        ]
        # planned by two runs, neither of which knows that both are one account
        drafts = [(await reseller.kept_by(reseller.keeper).plan([each], _TERMS))[0] for each in reseller.desired]
        results = await reseller.apply(drafts)
        assert _outcomes(results) == [RunOutcome.CONVERGED] * 2
        wire = reseller.loopback.sandbox.wire
        assert {request.status for request in wire} == {200}
        whens = [request.when for request in wire if request.method == "PUT"]
        assert len(whens) == 10
        assert whens[-1] - whens[0] > 5

    _play(scenario, [_account(0, 20)], rate_limit=RateLimit(writes=5, reads=10))


def test_two_names_of_one_account_are_refused_before_any_write() -> None:
    """Accounts that the API answers with one id get no write, both places are named, and others go on."""

    async def scenario(reseller: _Reseller) -> None:
        whole, other = reseller.desired
        places = (("a", "a.yaml", 3), ("b", "b.yaml", 7))
        pair = [msgspec.structs.replace(whole, name=name, source=file, line=line) for name, file, line in places]
        reseller.desired = [pair[0], other, pair[1]]
        results = await reseller.apply()
        assert _outcomes(results) == [RunOutcome.FAILED, RunOutcome.CONVERGED, RunOutcome.FAILED]
        assert _codes(results) == ["DuplicateAccount", None, "DuplicateAccount"]
        assert results[0].error is not None
        assert results[0].error.message.startswith("2 names are one account: 'a' (a.yaml:3), 'b' (b.yaml:7): ")
        assert {request.phone for request in reseller.loopback.sandbox.wire if request.method == "PUT"} == set(
            other.numbers
        )
        assert results[0].requests.reads == 1

    _play(scenario, 2)


@pytest.mark.parametrize(("credentials_changed", "reads", "code"), [(False, 2, "DuplicateAccount"), (True, 1, None)])
def test_an_account_left_out_is_read_if_an_earlier_run_found_it_to_be_the_same(
    *, credentials_changed: bool, reads: int, code: str | None
) -> None:
    """Its name in the ledger counts while its credentials stay the same."""

    async def scenario(reseller: _Reseller) -> None:
        (one,) = reseller.desired
        other = msgspec.structs.replace(one, name="b")
        before = None if credentials_changed else other.credentials
        ledger = NullLedger(lambda _: AccountMemory(names={"b": before, "gone": other.credentials}))
        (drawn,) = await reseller.kept_by(ledger).plan([one], _TERMS, [other])
        assert (drawn.error.code if drawn.error else None) == code
        assert len(reseller.loopback.sandbox.wire) == reads

    _play(scenario, 1)


@pytest.mark.parametrize(("registered", "reads"), [(None, 1), (4, 1), (5, 2)])
def test_an_account_is_read_again_if_the_last_run_saw_far_more_numbers(registered: int | None, reads: int) -> None:
    async def scenario(reseller: _Reseller) -> None:
        keys: list[str] = []

        def recall(key: str) -> AccountMemory:
            keys.append(key)
            return AccountMemory(registered=registered)

        observed = await reseller.kept_by(NullLedger(recall)).read(reseller.desired[0], reseller.log)
        assert {phone: observed.status(phone) for phone in observed.numbers} == reseller.accounts[0].statuses
        assert keys == [identity.key(reseller.settings.endpoint, "0")]
        assert len(reseller.loopback.sandbox.wire) == reads

    _play(scenario, 1)


def test_a_key_that_one_id_has_on_two_platforms_is_two_accounts() -> None:
    """Ids are compared within a platform: another URL is another one."""

    async def scenario(reseller: _Reseller) -> None:
        (one,) = reseller.desired
        elsewhere = reseller.settings.endpoint + "/behind/a/proxy"
        identities = Identities()
        (drawn,) = await reseller.plan()
        identities.learn(one, drawn.plan, reseller.settings.endpoint)
        identities.learn(
            msgspec.structs.replace(one, name="b", endpoint=elsewhere), drawn.plan, reseller.settings.endpoint
        )
        assert identities.duplicate("b") is None
        identities.learn(msgspec.structs.replace(one, name="c"), drawn.plan, reseller.settings.endpoint)
        assert identities.duplicate("c") is not None
        identities.forget("c")
        assert identities.duplicate(one.name) is None

    _play(scenario, 1)


def test_an_account_that_cannot_be_read_stays_who_it_was() -> None:
    """An error leaves the identity, unless the account is reached in another way; an account without id has none."""
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


def test_hosts_of_the_vendor_share_a_keys_quota() -> None:
    """The vendor's hosts are one platform: a key's quota is one, whichever of them it is used at."""

    async def scenario(reseller: _Reseller) -> None:
        reference = reseller.desired[0].credentials
        quotas = set()
        for endpoint in ("solapi", "coolsms", None):
            with reseller.fleet.client(AccountReader, DefaultTarget(reference, endpoint), reseller.log) as client:
                quotas.add(id(client._quota))
        assert len(quotas) == 1

    _play(scenario, 1)


@pytest.mark.parametrize("most", [1, 3])
def test_accounts_concurrency_is_reached_and_not_exceeded(most: int) -> None:
    """It bounds planning and applying, and every account has its turn."""

    async def scenario(reseller: _Reseller) -> None:
        under_way: list[int] = []
        reseller.log.on_line = lambda _: under_way.append(len(reseller.fleet._clients))
        drafts = await reseller.plan()
        assert max(under_way) == most
        under_way.clear()
        assert _outcomes(await reseller.apply(drafts)) == [RunOutcome.CONVERGED] * 8
        assert max(under_way) == most

    _play(scenario, [_account(number) for number in range(8)], accounts_concurrency=most)


def _interrupting(reseller: _Reseller, at: int) -> Holds:
    begun: list[str] = []

    @contextmanager
    def hold(name: str) -> Iterator[None]:
        begun.append(name)
        if len(begun) == at:
            reseller.fleet.interrupt(Interrupted("SIGTERM"))
            reseller.fleet.interrupt(Interrupted("a second one"))
        yield

    return hold


@pytest.mark.parametrize("at", [1, 4])
def test_an_interruption_starts_nothing_more(at: int) -> None:
    """Accounts that had not started are not touched; those in progress report each number's true outcome."""

    async def scenario(reseller: _Reseller) -> None:
        drafts = await reseller.plan()
        before = [account.statuses for account in reseller.accounts]
        results = await reseller.apply(drafts, _interrupting(reseller, at))
        assert str(reseller.fleet.interrupted) == "SIGTERM"
        assert results[-1].outcome is RunOutcome.INTERRUPTED
        written = {request.api_key for request in reseller.loopback.sandbox.wire if request.method == "PUT"}
        for account, was, result in zip(reseller.accounts, before, results, strict=True):
            changed = {number.phone for number in result.numbers if number.outcome is Outcome.CHANGED}
            assert changed == {phone for phone, status in account.statuses.items() if status != was[phone]}
            if result.outcome is RunOutcome.INTERRUPTED and account.api_key not in written:
                assert {number.outcome for number in result.numbers} == {Outcome.NOT_ATTEMPTED}
        assert len(written) <= at
        await asyncio.sleep(1)  # a read that was given up on may still arrive
        sent = len(reseller.loopback.sandbox.wire)
        assert _outcomes(await reseller.apply_saved(drafts)) == [RunOutcome.INTERRUPTED] * 6
        later = await reseller.plan()
        assert {drawn.error for drawn in later} == {reseller.fleet.interrupted}
        assert len(reseller.loopback.sandbox.wire) == sent

    _play(scenario, 6, accounts_concurrency=2)


def test_an_interruption_wakes_who_waits() -> None:
    """Accounts that wait for their quota stop at once, and what they wrote before is proven."""

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

    _play(scenario, [_account(0, 10), _account(1, 10)], rate_limit=RateLimit(writes=2, reads=3))


class _Buggy:
    """A meter with a bug in it."""

    def __init__(self) -> None:
        self.left = 1

    def advance(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise ZeroDivisionError("the secret is 1234")


def test_bug_is_reported_by_its_type_alone() -> None:
    """An unexpected exception, also in a group of tasks, fails its account and is named in a line."""

    async def scenario(reseller: _Reseller) -> None:
        drafts = await reseller.plan()

        def holds(name: str) -> AbstractContextManager[None]:
            if name.endswith(" 1"):
                raise LookupError("the secret is 1234")
            return nullcontext()

        results = await reseller.apply(drafts, holds)
        assert [None if r.error is None else (r.error.code, r.error.message) for r in results] == [
            None,
            (InternalError.__name__, "LookupError"),
            None,
        ]
        assert reseller.converged() == ["0", "2"]
        saved = reseller.saved(drafts)[1:2]
        reseller.keeper.holds = lambda _: nullcontext()
        (failed,) = await reseller.fleet.apply_saved(saved, frozenset(), _Buggy())
        assert failed.error is not None
        assert failed.error.message == "ZeroDivisionError"
        assert failed.requests.writes
        assert {number.outcome for number in failed.numbers} == {Outcome.UNVERIFIED}
        failures = [fields for event, fields in reseller.log.lines if event == "account.failed"]
        assert [line["error_message"] for line in failures] == ["LookupError", "ZeroDivisionError"]
        assert "1234" not in repr((results, failed, reseller.log.lines))

    _play(scenario, [_account(number, 9) for number in range(3)])


def test_a_busy_account_is_left_alone(tmp_path: Path) -> None:
    """Where another run holds an account nothing is written to it; the others are done."""

    async def scenario(reseller: _Reseller) -> None:
        drafts = await reseller.plan()
        async with immediate_ledger(tmp_path, run_id="other") as other, immediate_ledger(tmp_path) as ours:
            fleet = reseller.kept_by(ours)
            held = subject(identity.key(reseller.desired[1].endpoint or reseller.settings.endpoint, "1"))
            async with other.hold(held, never_wait):
                results = await fleet.apply(reseller.desired, drafts, _TERMS, reseller.log)
            assert _outcomes(results) == [RunOutcome.CONVERGED, RunOutcome.LOCKED, RunOutcome.CONVERGED]
            assert reseller.converged() == ["0", "2"]
            assert results[1].error is not None
            assert "run other, since" in results[1].error.message

    _play(scenario, 3)


def test_a_saved_plan_is_carried_out_but_for_its_conflicts() -> None:
    """A number that an operator changed since is a conflict and stays; one that already has its status is unchanged."""

    async def scenario(reseller: _Reseller) -> None:
        drafts = await reseller.plan()
        account = reseller.accounts[1]
        blocked, done, due = account.numbers
        account.switch(blocked, "BLOCKED")
        account.switch(done, ON)
        first, second = await reseller.apply_saved(drafts)
        assert (first.outcome, second.outcome) == (RunOutcome.CONVERGED, RunOutcome.PARTIAL)
        assert account.statuses == {blocked: "BLOCKED", done: ON, due: OFF}
        assert {number.phone: number.outcome for number in second.numbers} == {
            blocked: Outcome.CONFLICT,
            due: Outcome.CHANGED,
        }
        assert second.counts[Outcome.UNCHANGED] == 1
        assert reseller.converged() == ["0"]

    _play(scenario, 2)


def test_an_account_has_one_key_whichever_host_it_is_reached_at() -> None:
    """The vendor's hosts share an account's lock and history; another API's account of that id has its own."""
    names = {
        identity.key(endpoint, "7")
        for endpoint in ("solapi", "solapi-static", "coolsms", "coolsms-rest", "http://127.0.0.1:1")
    }
    assert names == {"vendor 7", "http://127.0.0.1:1 7"}


@pytest.mark.parametrize("saved", [False, True])
def test_a_canary_that_fails_holds_the_fleet_back(*, saved: bool) -> None:
    """No request that writes goes to an account behind a canary that fails, whose every number says why."""

    async def scenario(reseller: _Reseller) -> None:
        drafts = await reseller.plan()
        reseller.loopback.sandbox.script(next(iter(reseller.accounts[0].numbers)), "PUT", [Fault.NOT_WRITABLE])
        results = await (reseller.apply_saved(drafts) if saved else reseller.apply(drafts))
        assert _outcomes(results) == [RunOutcome.PARTIAL, RunOutcome.CONVERGED] + [RunOutcome.PARTIAL] * 3
        assert _codes(results) == [None, None] + ["CanaryFailed"] * 3
        assert {n.error and n.error.code for result in results[2:] for n in result.numbers} == {"CanaryFailed"}
        assert {n.outcome for result in results[2:] for n in result.numbers} == {Outcome.NOT_ATTEMPTED}
        wire = reseller.loopback.sandbox.wire
        written = {request.api_key for request in wire if request.method == "PUT"}
        assert written == {account.api_key for account in reseller.accounts[:2]}
        closed = Counter(fields["phone"] for event, fields in reseller.log.lines if event == "number")
        assert closed == {phone: 1 for account in reseller.accounts for phone in account.numbers}

    _play(scenario, canary=CanarySettings(accounts=2))


@pytest.mark.parametrize("saved", [False, True])
def test_a_canary_that_cannot_be_read_has_failed(*, saved: bool) -> None:
    """An account that goes first and cannot be looked at again proves nothing, so no other is begun with."""

    async def scenario(reseller: _Reseller) -> None:
        drafts = await reseller.plan()
        reseller.keys["0"] = CredentialsMissing("gone")
        results = await (reseller.apply_saved(drafts) if saved else reseller.apply(drafts))
        assert _codes(results) == ["CredentialsMissing", "CanaryFailed", "CanaryFailed"]
        assert reseller.converged() == []

    _play(scenario, 3, canary=CanarySettings(accounts=1))


def test_accounts_that_are_not_to_be_written_are_no_canary() -> None:
    """What cannot be planned, or is as desired, neither goes first nor waits."""

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

    _play(scenario, 5, canary=CanarySettings(accounts=1))


def test_interruption_of_the_canary_is_reported_as_one() -> None:
    """After a signal during the canary the others are interrupted, and the canary is not called failed."""

    async def scenario(reseller: _Reseller) -> None:
        drafts = await reseller.plan()
        results = await reseller.apply(drafts, _interrupting(reseller, 1))
        assert _outcomes(results) == [RunOutcome.INTERRUPTED] * 4
        assert [event for event, _ in reseller.log.lines if event.startswith("canary")] == []
        assert reseller.converged() == []

    _play(scenario, 4, canary=CanarySettings(accounts=2), accounts_concurrency=1)


def test_a_fleet_behind_a_canary_that_passed_converges() -> None:
    """After a canary that went well the others are carried out as without one, each account once."""

    async def scenario(reseller: _Reseller) -> None:
        results = await reseller.apply()
        assert _outcomes(results) == [RunOutcome.CONVERGED] * 5
        first = [request.api_key for request in reseller.loopback.sandbox.wire if request.method == "PUT"][:6]
        assert set(first) == {account.api_key for account in reseller.accounts[:2]}
        assert [event for event, _ in reseller.log.lines if event.startswith("canary")] == ["canary.passed"]

    _play(scenario, canary=CanarySettings(accounts=2))
