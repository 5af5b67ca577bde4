"""Plan, apply, crash, resume, edit, save and roll back, in any order, compared with a dictionary."""

import asyncio
import tempfile
from pathlib import Path
from typing import Final

from hypothesis import Phase
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.simulation.databases import FileStore
from tests.simulation.oracles import violations
from tests.simulation.process import Happening, task_factory
from tests.simulation.scenario import RunScript, Scenario
from tests.simulation.world import MEMORY, Record, World
from tests.support.examples import examples
from tests.support.virtual_time import VirtualLoop
from worker.config.settings import RateLimit, Retry, SafetySettings, Settings, Timeout, threshold
from worker.ledger.history import run_record
from worker.model.accounts import Desired, DesiredAccount, Status
from worker.model.history import AccountRecord
from worker.model.results import Outcome
from worker.plan.build import Terms
from worker.plan.safety import ALLOW_ALL
from worker.reconcile.rollback import inverse_plan

_PHONES: Final = tuple(f"0100000000{index}" for index in range(6))
_WRITABLE: Final = frozenset({"ACTIVE", "INACTIVE"})
_SAFETY: Final = SafetySettings(max_deactivations=2, min_active=0)
_SETTINGS: Final = Settings(
    rate_limit=RateLimit(writes=5, reads=5, per_seconds=1.0),
    concurrency=2,
    retry=Retry(attempts=4, base_seconds=0.1, cap_seconds=1.0),
    timeout=Timeout(connect_seconds=0.5, total_seconds=2.0),
    safety=_SAFETY,
)
_ALLOWED: Final = Terms(_SAFETY, allow=frozenset({ALLOW_ALL}))

phones = st.sampled_from(_PHONES)
statuses = st.sampled_from(("ACTIVE", "INACTIVE"))


class Account(RuleBasedStateMachine):
    """`actual` is the expected state of the account, `desired` the file, `saved_plan` a saved plan: observed, desired.

    `is_used` is True once a run has applied that plan, and `touched` are numbers that other runs wrote since.
    """

    def __init__(self) -> None:
        super().__init__()
        self._folder = tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None)
        self._runner = asyncio.Runner(loop_factory=VirtualLoop)
        self.actual: dict[str, str] = {}
        self.desired: dict[str, str] = {}
        self.saved_plan: dict[str, tuple[str, str]] = {}
        self.is_used = False
        self.touched: set[str] = set()
        self.noted: set[str] = set()
        self.spent: set[str] = set()

    @initialize(
        actual=st.fixed_dictionaries(dict.fromkeys(_PHONES, statuses)), desired=st.dictionaries(phones, statuses)
    )
    def create(self, actual: dict[str, str], desired: dict[str, str]) -> None:
        """Create an account and a file."""

        async def make() -> World:
            asyncio.get_running_loop().set_task_factory(task_factory)
            return World(Scenario(1, actual, (), _SETTINGS, ()), FileStore(Path(self._folder.name)))

        self.actual, self.desired = dict(actual), dict(desired)
        self.world = self._runner.run(make())

    @rule(phone=phones, status=st.sampled_from(("ACTIVE", "INACTIVE", "BLOCKED", None)))
    def edit(self, phone: str, status: str | None) -> None:
        """Change, add or remove a number, as an operator would."""

        async def do() -> None:
            self.world.api.edit(phone, status)

        self._runner.run(do())
        if status is None:
            self.actual.pop(phone, None)
        else:
            self.actual[phone] = status

    @rule(phone=phones, status=st.sampled_from(("ACTIVE", "INACTIVE", None)))
    def desire(self, phone: str, status: str | None) -> None:
        """Change one number in the file."""
        if status is None:
            self.desired.pop(phone, None)
        else:
            self.desired[phone] = status

    @rule(status=st.sampled_from(("ACTIVE", "INACTIVE", None)))
    def desire_all(self, status: str | None) -> None:
        """Rewrite the file with one status for all numbers, or with every status inverted."""
        other = {"ACTIVE": "INACTIVE", "INACTIVE": "ACTIVE"}
        self.desired = {phone: status or other.get(now, "ACTIVE") for phone, now in self.actual.items()}

    @rule()
    def plan(self) -> None:
        """Check that a plan reports exactly the differences and writes nothing."""
        record = self._live("plan", _ALLOWED)
        assert record.plan is not None
        assert {change.phone: change.desired for change in record.plan.writes} == self._due()

    @rule()
    def apply(self) -> None:
        """After an apply, every writable number is as desired."""
        due = self._due()
        record = self._live("apply", _ALLOWED)
        assert record.result is not None
        assert record.result.outcome in {"converged", "partial"}
        self.actual |= due
        self._ended(record, tried=bool(due))

    @rule()
    def apply_guarded(self) -> None:
        """A plan over the limits, counted together with killed runs, is refused and writes nothing."""
        due = self._due()
        record = self._live("apply", Terms(_SAFETY))
        assert record.result is not None
        off = {phone for phone, status in due.items() if status == "INACTIVE"}
        gone = {phone for phone in self.noted if self.actual.get(phone) == self.desired.get(phone) == "INACTIVE"}
        limit = threshold(_SAFETY.max_deactivations, 0)
        if record.result.outcome == "refused":
            assert off
            assert len(off | gone) > limit
        else:
            assert not off or len(off | (gone & self.spent)) <= limit
            self.actual |= due
            self._ended(record, tried=bool(due))

    @precondition(lambda self: self._due())
    @rule(moment=st.integers(10, 50), profile=st.sampled_from(("calm", "flaky", "mute", "broken")))
    def crash(self, moment: int, profile: str) -> None:
        """A run killed at any moment has written nothing but its planned changes."""
        due = self._due()
        record = self._live("apply", _ALLOWED, profile, {moment: (Happening("crash"),)})
        current = self.world.api.numbers
        changed = {phone for phone in {*current, *self.actual} if current.get(phone) != self.actual.get(phone)}
        assert all(current[phone] == due[phone] for phone in changed)
        self.actual = dict(current)
        off = {phone for phone, status in due.items() if status == "INACTIVE"}
        if record.result is None:
            self.noted |= off
            self.spent |= off & changed
        else:
            # the run may have been killed before or after its end was recorded
            self.noted |= off
            self.spent = set()

    @precondition(lambda self: self.noted)
    @rule()
    def resume(self) -> None:
        """The next run that writes, or finds no changes, leaves nothing open."""
        self.apply()
        assert self.world.rows("SELECT * FROM entries WHERE finished_at IS NULL OR NOT settled") == []
        assert self.world.rows("SELECT * FROM attempts WHERE state IN ('intent', 'ok', 'ambiguous')") == []

    @rule()
    def save(self) -> None:
        """Save a plan."""
        self.saved_plan = {phone: (self.actual[phone], status) for phone, status in self._due().items()}
        self._live("save", _ALLOWED)
        self.is_used, self.touched = False, set()

    @precondition(lambda self: self.world.saved is not None)
    @rule()
    def apply_saved(self) -> None:
        """A saved plan writes exactly its changes, where the number still has the observed status, and only once."""
        if self.is_used or self.touched & set(self.saved_plan):
            record = self._live("saved", _ALLOWED)
            assert record.result is not None
            assert [refusal.rule for refusal in record.result.refusals] == ["replay"]
        else:
            self._apply_saved("saved")

    @precondition(lambda self: self._runs())
    @rule(data=st.data())
    def roll_back(self, data: st.DataObject) -> None:
        """A rollback restores the old status of numbers that still have the status of the run."""
        run = data.draw(st.sampled_from(sorted(self._runs())))
        (account,) = self._history(run)
        saved, saved_plan = self.world.saved, self.saved_plan
        self.world.saved = inverse_plan(account, run)
        self.saved_plan = {phone: (current, previous) for phone, previous, current in self._runs()[run]}
        self._apply_saved("rollback")
        self.world.saved, self.saved_plan = saved, saved_plan

    @invariant()
    def check_account(self) -> None:
        """The model of the API and the dictionary are equal."""
        if hasattr(self, "world"):
            assert self.world.api.numbers == self.actual

    def teardown(self) -> None:
        """One more run leaves nothing open, and no oracle reports a violation."""
        try:
            if hasattr(self, "world"):
                self.apply()
                self.check_account()
                assert violations(self.world) == []
                self.world.close()
        finally:
            self._runner.close()
            self._folder.cleanup()

    def _apply_saved(self, kind: str) -> None:
        record = self._live(kind, _ALLOWED)
        assert record.result is not None
        outcomes = {number.phone: number.outcome for number in record.result.numbers}
        tried = False
        for phone, (previous, current) in self.saved_plan.items():
            if self.actual.get(phone) == previous:
                self.actual[phone] = current
                tried = True
                assert outcomes[phone] is Outcome.CHANGED
            elif self.actual.get(phone) != current:
                assert outcomes[phone] is Outcome.CONFLICT
        self._ended(record, tried=tried)

    def _due(self) -> dict[str, str]:
        """Return the numbers that differ and can be written."""
        return {
            phone: status for phone, status in self.desired.items() if self.actual.get(phone) in _WRITABLE - {status}
        }

    def _runs(self) -> dict[str, list[tuple[str, str, str]]]:
        """Return what each past run changed: numbers with their statuses before and after."""
        actual: dict[str, list[tuple[str, str, str]]] = {}
        if not hasattr(self, "world") or not self.world.rows("SELECT id FROM runs"):
            return actual
        for row in self.world.rows(
            "SELECT run, phone, before, after FROM outcomes JOIN entries ON entries.id = entry "
            "WHERE outcomes.outcome = 'changed'"
        ):
            actual.setdefault(row["run"], []).append((row["phone"], row["before"], row["after"]))
        return actual

    def _history(self, run: str) -> tuple[AccountRecord, ...]:
        """Return what the ledger reports of a run, as `history` shows it."""
        with self.world.store.database.read() as connection:
            assert connection is not None
            return tuple(run_record(connection, run).accounts)

    def _ended(self, record: Record, *, tried: bool) -> None:
        """Record the end of a run that wrote or found its plan completed: killed runs no longer count."""
        assert record.result is not None
        if tried or record.result.outcome == "converged":
            self.noted, self.spent = set(), set()

    def _live(
        self,
        kind: str,
        terms: Terms,
        profile: str = "calm",
        happenings: dict[int, tuple[Happening, ...]] | None = None,
    ) -> Record:
        desired = {phone: Desired(Status(status)) for phone, status in self.desired.items()}
        files = (*self.world.scenario.files, DesiredAccount("main", "file", desired, range(len(desired))))
        self.world.scenario = self.world.scenario._replace(files=files)
        script = RunScript(kind, len(files) - 1, terms, profile, happenings=happenings or {})

        async def do() -> Record:
            record = await self.world.run(script, "storm")
            await asyncio.sleep(10)
            return record

        record = self._runner.run(do())
        if kind not in {"plan", "save"}:
            self._used(record)
        return record

    def _used(self, record: Record) -> None:
        """Record what a writing run does to the saved plan."""
        tried = "SELECT run, phone FROM attempts JOIN entries ON entries.id = entry"
        phones = {row["phone"] for row in self.world.rows(tried) if row["run"] == record.name}
        if record.plan_file is None:
            self.touched |= phones
        elif phones or (record.result is not None and record.result.outcome == "converged"):
            self.is_used = True


TestAccount = Account.TestCase
TestAccount.settings = examples(100, stateful_step_count=50, phases=[Phase.explicit, Phase.generate, Phase.shrink])
