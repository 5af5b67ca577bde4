"""What holds for every way to write an account: an apply, a saved plan and a rollback."""

from array import array
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

import pytest
from msgspec.structs import replace

from tests.support.model_account import ModelAccount, Recorder
from tests.support.records import account_record, changed_number
from tests.support.virtual_time import run
from worker.ledger import NullLedger
from worker.model.accounts import (
    AccountMemory,
    Desired,
    DesiredAccount,
    Group,
    NumberUse,
    ObservedAccount,
    PairSwaps,
    Status,
    Unmanaged,
)
from worker.model.errors import Ambiguous, NotRegistered, PolicyRefusal
from worker.model.plans import AccountPlan, Action, NoticeKind
from worker.model.results import AccountResult, Outcome
from worker.model.safety import Health, InUse, Safety
from worker.plan.build import Terms
from worker.plan.planfile import SavedAccount, fingerprint
from worker.reconcile.account import apply, apply_saved, make_draft
from worker.reconcile.executor import Pace
from worker.reconcile.log import log_result
from worker.reconcile.results import Conclusion
from worker.reconcile.rollback import inverse_plan, limit_to_preview, preview

A, B, C, D = "01000000001", "01000000002", "01000000003", "01000000004"
_NOW: Final = datetime(2026, 11, 24, tzinfo=UTC)
_PACE: Final = Pace(1, 900.0)
_ALL: Final = Terms(Safety("100%", 0))


class _Ledger(NullLedger):
    """A ledger with a memory of the account, which keeps the plans that it records."""

    def __init__(self, memory: AccountMemory) -> None:
        super().__init__()
        self.memory = memory
        self.plans: list[tuple[AccountPlan, str]] = []

    async def registered(self) -> int | None:
        return self.memory.registered

    async def resume(self, observed: ObservedAccount) -> AccountMemory:
        del observed
        return self.memory

    async def record_plan(self, plan: AccountPlan, fingerprint: str) -> None:
        self.plans.append((plan, fingerprint))


class _Case:
    """An account, and the statuses that its numbers should get, by any way to write it.

    `between` is called after the plan or the preview, before the account is read again.
    """

    def __init__(
        self,
        account: ModelAccount,
        terms: Terms = _ALL,
        groups: tuple[Group, ...] = (),
        memory: AccountMemory | None = None,
        between: Callable[[], object] = lambda: None,
        **statuses: str,
    ) -> None:
        self.account = account
        self.terms = terms
        self.groups = groups
        self.memory = memory or AccountMemory()
        self.between = between
        self.statuses = {name[1:]: status for name, status in statuses.items()}
        self.ledger = _Ledger(self.memory)
        self.log = Recorder()

    @property
    def desired(self) -> DesiredAccount:
        numbers = {phone: Desired(Status(status)) for phone, status in self.statuses.items()}
        return DesiredAccount(
            "main",
            "main.yaml",
            numbers,
            array("I", range(len(numbers))),
            unmanaged=Unmanaged.IGNORE,
            groups=self.groups,
        )

    async def _recall(self, account_id: str | None) -> AccountMemory:
        assert account_id == "1"
        return self.memory

    def run(self, way: str) -> AccountResult:
        async def scenario() -> AccountResult:
            conclusion = await {"apply": self._apply, "saved": self._apply_saved, "rollback": self._roll_back}[way]()
            await log_result(conclusion, self.log)
            return conclusion.result

        return run(scenario())

    async def _apply(self) -> Conclusion:
        draft = await make_draft(self.desired, self.account, self.terms, self._recall, self.log, now=_NOW)
        self.between()
        return await apply(
            self.desired,
            draft.plan,
            self.account,
            self.terms,
            now=_NOW,
            ledger=self.ledger,
            pace=_PACE,
            log=self.log,
            meter=self.log,
        )

    async def _apply_saved(self) -> Conclusion:
        draft = await make_draft(self.desired, self.account, self.terms, self._recall, self.log, now=_NOW)
        saved = SavedAccount.of(
            self.desired, draft.plan, endpoint="solapi", safety=self.terms.safety, in_use=self.terms.in_use
        )
        self.between()
        return await self._send(saved)

    async def _roll_back(self) -> Conclusion:
        opposite = {"ACTIVE": "INACTIVE", "INACTIVE": "ACTIVE"}
        record = account_record(
            *(changed_number(phone, status, opposite[status]) for phone, status in self.statuses.items()),
            account_id="1",
            safety=self.terms.safety,
            in_use=self.terms.in_use,
            groups=self.groups,
        )
        saved = inverse_plan(record, "run-1")
        draft = await preview(saved, self.account, self.terms.allow, self._recall, self.log, health=self.terms.health)
        self.between()
        return await self._send(limit_to_preview(saved, draft.plan), frozenset({"in-use"}))

    async def _send(self, saved: SavedAccount, allow: frozenset[str] = frozenset()) -> Conclusion:
        return await apply_saved(
            saved,
            self.account,
            self.terms.allow | allow,
            ledger=self.ledger,
            pace=_PACE,
            log=self.log,
            meter=self.log,
            now=_NOW,
            health=self.terms.health,
        )


every_way = pytest.mark.parametrize("way", ["apply", "saved", "rollback"])


def _outcomes(result: AccountResult) -> dict[str, Outcome]:
    return {number.phone: number.outcome for number in result.numbers}


def _pair() -> ModelAccount:
    """Return an account whose number B cannot be activated."""
    account = ModelAccount(n01000000001="ACTIVE", n01000000002="INACTIVE")
    account.faults = {B: [(NotRegistered("no"), False)]}
    return account


@every_way
@pytest.mark.parametrize(
    ("allow", "outcome"),
    [((), Outcome.NOT_ATTEMPTED), (("min-active",), Outcome.CHANGED), (("all",), Outcome.CHANGED)],
)
def test_failed_activation_keeps_the_minimum_of_the_account_unless_allowed(
    way: str, allow: tuple[str, ...], outcome: Outcome
) -> None:
    terms = Terms(Safety("100%", 1), allow=frozenset(allow))
    case = _Case(_pair(), terms, n01000000001="INACTIVE", n01000000002="ACTIVE")
    assert _outcomes(case.run(way)) == {A: outcome, B: Outcome.FAILED}


@every_way
@pytest.mark.parametrize(("is_grouped", "outcome"), [(True, Outcome.HELD), (False, Outcome.CHANGED)])
def test_failed_activation_holds_the_deactivation_of_its_group(way: str, outcome: Outcome, *, is_grouped: bool) -> None:
    groups = (Group("support", (A, B)),) if is_grouped else ()
    case = _Case(_pair(), _ALL, groups, n01000000001="INACTIVE", n01000000002="ACTIVE")
    assert _outcomes(case.run(way)) == {A: outcome, B: Outcome.FAILED}


@every_way
@pytest.mark.parametrize(("pair_swaps", "outcome"), [("hold", Outcome.HELD), ("warn", Outcome.CHANGED)])
def test_failed_activation_holds_every_deactivation_if_set(way: str, pair_swaps: PairSwaps, outcome: Outcome) -> None:
    """Otherwise the result has a notice."""
    case = _Case(_pair(), Terms(Safety("100%", 0, pair_swaps)), n01000000001="INACTIVE", n01000000002="ACTIVE")
    result = case.run(way)
    assert _outcomes(result) == {A: outcome, B: Outcome.FAILED}
    assert [notice.kind for notice in result.notices] == ([NoticeKind.SWAP] if pair_swaps == "warn" else [])


@every_way
@pytest.mark.parametrize(("spent", "outcome"), [({C}, Outcome.HELD), (set(), Outcome.CHANGED)])
def test_number_that_a_crashed_run_may_still_deactivate_does_not_count_for_its_group(
    way: str, spent: set[str], outcome: Outcome
) -> None:
    """After the failed activation, C is the only other ACTIVE member."""
    account = _pair()
    account.statuses[C] = Status.ACTIVE
    memory = AccountMemory(spent=frozenset(spent))
    groups = (Group("support", (A, B, C)),)
    case = _Case(account, _ALL, groups, memory, n01000000001="INACTIVE", n01000000002="ACTIVE")
    assert _outcomes(case.run(way)) == {A: outcome, B: Outcome.FAILED}


@pytest.mark.parametrize("way", ["saved", "rollback"])
@pytest.mark.parametrize("spent", [{A}, set()])
def test_deactivations_of_a_crashed_run_count_when_the_account_is_read_again(way: str, spent: set[str]) -> None:
    """The crashed run deactivated A of the same plan, which may deactivate one number."""
    account = ModelAccount(n01000000001="ACTIVE", n01000000002="ACTIVE")

    def crash() -> None:
        account.statuses[A] = Status.INACTIVE
        case.ledger.memory = AccountMemory(spent=frozenset(spent))

    case = _Case(account, Terms(Safety(1, 0)), between=crash, n01000000001="INACTIVE", n01000000002="INACTIVE")
    if spent:
        with pytest.raises(PolicyRefusal, match="2 of 2 ACTIVE numbers would be deactivated"):
            case.run(way)
    else:
        assert case.run(way).counts[Outcome.CHANGED] == 1


@every_way
def test_count_of_earlier_runs_confirms_both_reads(way: str) -> None:
    case = _Case(ModelAccount(n01000000001="INACTIVE"), _ALL, (), AccountMemory(registered=1), n01000000001="ACTIVE")
    case.run(way)
    assert case.account.registered_counts == [1, 1]


class _Full(ModelAccount):
    """An account that uses half of its registration slots."""

    async def observe(self, *, is_verification: bool = False) -> ObservedAccount:
        return replace(await super().observe(is_verification=is_verification), limit=6)


@every_way
@pytest.mark.parametrize("limit_percent", [50, 51])
def test_result_has_the_notices_of_the_verification_read(way: str, limit_percent: int) -> None:
    """An operator changes C in the meantime. The thresholds are those of the run."""
    account = _Full(n01000000001="INACTIVE", n01000000003="PENDING", n01000000004="ACTIVE")
    account.on_read = lambda read: account.statuses.update({C: Status.BLOCKED}) if read == 3 else None
    terms = Terms(Safety("100%", 0), health=Health(limit_percent=limit_percent))
    case = _Case(account, terms, (Group("support", (C, D), 2),), n01000000001="ACTIVE")
    expected = [(NoticeKind.GROUP, None), (NoticeKind.BLOCKED, C), (NoticeKind.LIMIT, None)]
    assert [(notice.kind, notice.phone) for notice in case.run(way).notices] == expected[
        : 3 if limit_percent == 50 else 2
    ]


@every_way
@pytest.mark.parametrize("allow", [(), ("in-use",), ("all",)])
def test_number_in_use_is_held_unless_allowed(way: str, allow: tuple[str, ...]) -> None:
    """The usage is queried once before the plan is shown, and once more before a saved plan is applied."""
    account = ModelAccount(n01000000001="ACTIVE", n01000000002="ACTIVE")
    account.use = NumberUse({A: "it has sent messages"})
    terms = Terms(Safety("100%", 0), allow=frozenset(allow), in_use=InUse(enabled=True, hours=7))
    result = _Case(account, terms, n01000000001="INACTIVE", n01000000002="INACTIVE").run(way)
    assert _outcomes(result) == {A: Outcome.CHANGED if allow else Outcome.HELD, B: Outcome.CHANGED}
    queries = [] if allow else [((A, B), 7), ((B,), 7)][: 2 if way == "saved" else 1]
    assert account.usage_queries == queries


@pytest.mark.parametrize("way", ["apply", "saved"])
def test_unknown_usage_that_is_allowed_is_a_notice_of_the_result(way: str) -> None:
    account = ModelAccount(n01000000001="ACTIVE")
    account.use = NumberUse(unknown=frozenset({A}), why="no permission")
    terms = Terms(Safety("100%", 0), in_use=InUse(enabled=True, on_unknown="allow"))
    result = _Case(account, terms, n01000000001="INACTIVE").run(way)
    assert _outcomes(result) == {A: Outcome.CHANGED}
    assert [notice.kind for notice in result.notices] == [NoticeKind.IN_USE]


@every_way
def test_ledger_records_the_writes_that_are_sent(way: str) -> None:
    """Numbers that became as desired, and held numbers, have no record. The fingerprint covers the recorded writes."""
    account = ModelAccount(n01000000001="ACTIVE", n01000000002="INACTIVE", n01000000003="INACTIVE")

    def activate() -> None:
        account.statuses[C] = Status.ACTIVE

    case = _Case(
        account,
        _ALL,
        (Group("support", (A,)),),
        between=activate,
        n01000000001="INACTIVE",
        n01000000002="ACTIVE",
        n01000000003="ACTIVE",
    )
    if way == "apply":
        activate()
    result = case.run(way)
    ((plan, digest),) = case.ledger.plans
    assert [(change.phone, change.action) for change in plan.writes] == [(B, Action.ACTIVATE)]
    assert (plan.account, plan.account_id, digest) == ("main", "1", fingerprint([plan]))
    assert _outcomes(result) == {A: Outcome.HELD, B: Outcome.CHANGED}
    assert result.counts[Outcome.UNCHANGED] == 1
    lines = {str(line["phone"]): line["outcome"] for event, line in case.log.lines if event == "number"}
    assert lines == {A: Outcome.HELD, B: Outcome.CHANGED, C: Outcome.UNCHANGED}


@pytest.mark.parametrize("way", ["saved", "rollback"])
def test_plan_without_writes_is_not_recorded(way: str) -> None:
    """Nothing needs to be closed if this run crashes, and an earlier plan stays the last one."""
    account = ModelAccount(n01000000001="INACTIVE")
    case = _Case(account, between=lambda: account.statuses.update({A: Status.ACTIVE}), n01000000001="ACTIVE")
    assert case.run(way).counts[Outcome.UNCHANGED] == 1
    assert (case.ledger.plans, account.written) == ([], [])


@every_way
def test_ambiguous_write_is_read_again_and_counted(way: str) -> None:
    account = ModelAccount(n01000000001="INACTIVE")
    account.faults = {A: [(Ambiguous("reset"), False)]}
    result = _Case(account, n01000000001="ACTIVE").run(way)
    (number,) = result.numbers
    assert (number.outcome, number.attempts) == (Outcome.CHANGED, 2)
    assert result.requests == account.requests
    assert (result.account, result.account_id) == ("main", "1")


@every_way
@pytest.mark.parametrize("pair_swaps", ["warn", "hold"])
def test_swap_that_is_reverted_before_the_verification_has_a_notice_unless_swaps_are_held(
    way: str, pair_swaps: PairSwaps
) -> None:
    """With `hold`, a read showed the activation before the deactivation was sent, so the run did not cause the gap."""
    account = ModelAccount(n01000000001="ACTIVE", n01000000002="INACTIVE")

    def deactivate(read: int) -> None:
        if read == (4 if pair_swaps == "hold" else 3):
            account.statuses[B] = Status.INACTIVE

    account.on_read = deactivate
    case = _Case(account, Terms(Safety("100%", 0, pair_swaps)), n01000000001="INACTIVE", n01000000002="ACTIVE")
    result = case.run(way)
    assert _outcomes(result) == {A: Outcome.CHANGED, B: Outcome.UNVERIFIED}
    assert [notice.kind for notice in result.notices] == ([NoticeKind.SWAP] if pair_swaps == "warn" else [])
