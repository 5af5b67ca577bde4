"""Plan, apply, crash, resume, edit, save, roll back, in any order, against a dictionary."""

import asyncio
import tempfile
from pathlib import Path
from typing import Final

from hypothesis import Phase
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.simulation.oracles import violations
from tests.simulation.process import Happening, task_factory
from tests.simulation.scenario import RunScript, Scenario
from tests.simulation.world import MEMORY, Record, World
from tests.support.examples import examples
from tests.support.virtual_time import VirtualLoop
from worker.config.settings import RateLimit, Retry, SafetySettings, Settings, Timeout, threshold
from worker.ledger.history import run_record
from worker.ledger.readonly import open_read_only
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
    """`there` is what the account has to hold, `wanted` what the file says, `kept` what a saved plan saw and wants.

    `carried_out` is True once a run has used that plan up, and `touched` are numbers that others have written since.
    """

    def __init__(self) -> None:
        super().__init__()
        self._folder = tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None)
        self._runner = asyncio.Runner(loop_factory=VirtualLoop)
        self.there: dict[str, str] = {}
        self.wanted: dict[str, str] = {}
        self.kept: dict[str, tuple[str, str]] = {}
        self.carried_out = False
        self.touched: set[str] = set()
        self.noted: set[str] = set()
        self.spent: set[str] = set()

    @initialize(there=st.fixed_dictionaries(dict.fromkeys(_PHONES, statuses)), wanted=st.dictionaries(phones, statuses))
    def begin(self, there: dict[str, str], wanted: dict[str, str]) -> None:
        """An account and a file."""

        async def make() -> World:
            asyncio.get_running_loop().set_task_factory(task_factory)
            return World(Scenario(1, there, (), _SETTINGS, ()), Path(self._folder.name))

        self.there, self.wanted = dict(there), dict(wanted)
        self.world = self._runner.run(make())

    @rule(phone=phones, status=st.sampled_from(("ACTIVE", "INACTIVE", "BLOCKED", None)))
    def edit(self, phone: str, status: str | None) -> None:
        """Change, add or remove a number, as an operator would."""

        async def do() -> None:
            self.world.api.edit(phone, status)

        self._runner.run(do())
        if status is None:
            self.there.pop(phone, None)
        else:
            self.there[phone] = status

    @rule(phone=phones, status=st.sampled_from(("ACTIVE", "INACTIVE", None)))
    def want(self, phone: str, status: str | None) -> None:
        """Change one number in the file."""
        if status is None:
            self.wanted.pop(phone, None)
        else:
            self.wanted[phone] = status

    @rule(status=st.sampled_from(("ACTIVE", "INACTIVE", None)))
    def want_all(self, status: str | None) -> None:
        """Write the file anew: every number alike, or every number inverted."""
        other = {"ACTIVE": "INACTIVE", "INACTIVE": "ACTIVE"}
        self.wanted = {phone: status or other.get(now, "ACTIVE") for phone, now in self.there.items()}

    @rule()
    def plan(self) -> None:
        """Check that a plan reports exactly the differences and writes nothing."""
        record = self._live("plan", _ALLOWED)
        assert record.plan is not None
        assert {change.phone: change.desired for change in record.plan.writes} == self._due()

    @rule()
    def apply(self) -> None:
        """What may be is as desired afterwards."""
        due = self._due()
        record = self._live("apply", _ALLOWED)
        assert record.result is not None
        assert record.result.outcome in {"converged", "partial"}
        self.there |= due
        self._ended(tried=bool(due))

    @rule()
    def apply_guarded(self) -> None:
        """A plan that takes too much away, with what runs that died have taken, is refused and writes nothing."""
        due = self._due()
        record = self._live("apply", Terms(_SAFETY))
        assert record.result is not None
        off = {phone for phone, status in due.items() if status == "INACTIVE"}
        gone = {phone for phone in self.noted if self.there.get(phone) == self.wanted.get(phone) == "INACTIVE"}
        limit = threshold(_SAFETY.max_deactivations, 0)
        if record.result.outcome == "refused":
            assert off
            assert len(off | gone) > limit
        else:
            assert not off or len(off | (gone & self.spent)) <= limit
            self.there |= due
            self._ended(tried=bool(due))

    @precondition(lambda self: self._due())
    @rule(moment=st.integers(10, 50), profile=st.sampled_from(("calm", "flaky", "mute", "broken")))
    def crash(self, moment: int, profile: str) -> None:
        """A run dies at any moment: only what was to be written may have been."""
        due = self._due()
        record = self._live("apply", _ALLOWED, profile, {moment: (Happening("crash"),)})
        after = self.world.api.numbers
        changed = {phone for phone in {*after, *self.there} if after.get(phone) != self.there.get(phone)}
        assert all(after[phone] == due[phone] for phone in changed)
        self.there = dict(after)
        off = {phone for phone, status in due.items() if status == "INACTIVE"}
        if record.result is None:
            self.noted |= off
            self.spent |= off & changed
        else:
            # whether it died before or after its end was noted
            self.noted |= off
            self.spent = set()

    @precondition(lambda self: self.noted)
    @rule()
    def resume(self) -> None:
        """The next run that carries anything out, or finds nothing to do, leaves nothing open."""
        self.apply()
        assert self.world.rows("SELECT * FROM entries WHERE finished_at IS NULL OR NOT settled") == []
        assert self.world.rows("SELECT * FROM attempts WHERE state IN ('intent', 'ok', 'ambiguous')") == []

    @rule()
    def save(self) -> None:
        """A plan is kept for later."""
        self.kept = {phone: (self.there[phone], status) for phone, status in self._due().items()}
        self._live("save", _ALLOWED)
        self.carried_out, self.touched = False, set()

    @precondition(lambda self: self.world.saved is not None)
    @rule()
    def apply_saved(self) -> None:
        """Exactly what was kept is written, where the number still is as it was; and once at most."""
        if self.carried_out or self.touched & set(self.kept):
            record = self._live("saved", _ALLOWED)
            assert record.result is not None
            assert [refusal.rule for refusal in record.result.refusals] == ["replay"]
        else:
            self._carry_out_saved("saved")

    @precondition(lambda self: self._runs())
    @rule(data=st.data())
    def roll_back(self, data: st.DataObject) -> None:
        """What a run changed gets its old status back, where it still has that run's; a run like any other."""
        run = data.draw(st.sampled_from(sorted(self._runs())))
        (account,) = self._history(run)
        saved, kept = self.world.saved, self.kept
        self.world.saved = inverse_plan(account, run)
        self.kept = {phone: (after, before) for phone, before, after in self._runs()[run]}
        self._carry_out_saved("rollback")
        self.world.saved, self.kept = saved, kept

    @invariant()
    def the_account_holds_what_it_should(self) -> None:
        """The model of the API and the dictionary agree."""
        if hasattr(self, "world"):
            assert self.world.api.numbers == self.there

    def teardown(self) -> None:
        """One more run leaves nothing open, and the whole life contradicts no oracle."""
        try:
            if hasattr(self, "world"):
                self.apply()
                self.the_account_holds_what_it_should()
                assert violations(self.world) == []
                self.world.close()
        finally:
            self._runner.close()
            self._folder.cleanup()

    def _carry_out_saved(self, kind: str) -> None:
        record = self._live(kind, _ALLOWED)
        assert record.result is not None
        outcomes = {number.phone: number.outcome for number in record.result.numbers}
        tried = False
        for phone, (before, after) in self.kept.items():
            if self.there.get(phone) == before:
                self.there[phone] = after
                tried = True
                assert outcomes[phone] is Outcome.CHANGED
            elif self.there.get(phone) != after:
                assert outcomes[phone] is Outcome.CONFLICT
        self._ended(tried=tried)

    def _due(self) -> dict[str, str]:
        """What differs and can be written."""
        return {phone: status for phone, status in self.wanted.items() if self.there.get(phone) in _WRITABLE - {status}}

    def _runs(self) -> dict[str, list[tuple[str, str, str]]]:
        """What each run of the past has changed: numbers, with their statuses before and after."""
        found: dict[str, list[tuple[str, str, str]]] = {}
        if not hasattr(self, "world") or not self.world.ledger.exists():
            return found
        for row in self.world.rows(
            "SELECT run, phone, before, after FROM outcomes JOIN entries ON entries.id = entry "
            "WHERE outcomes.outcome = 'changed'"
        ):
            found.setdefault(row["run"], []).append((row["phone"], row["before"], row["after"]))
        return found

    def _history(self, run: str) -> tuple[AccountRecord, ...]:
        """Return what the ledger reports of a run, as `history` shows it."""
        with open_read_only(self.world.ledger) as connection:
            assert connection is not None
            return tuple(run_record(connection, run).accounts)

    def _ended(self, *, tried: bool) -> None:
        """A run came to its end: what dead runs have taken no longer counts."""
        if tried:
            self.noted, self.spent = set(), set()

    def _live(
        self,
        kind: str,
        terms: Terms,
        profile: str = "calm",
        happenings: dict[int, tuple[Happening, ...]] | None = None,
    ) -> Record:
        wanted = {phone: Desired(Status(status)) for phone, status in self.wanted.items()}
        files = (*self.world.scenario.files, DesiredAccount("main", "file", wanted, range(len(wanted))))
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
        """What a run that may write does to the saved plan."""
        tried = "SELECT run, phone FROM attempts JOIN entries ON entries.id = entry"
        phones = {row["phone"] for row in self.world.rows(tried) if row["run"] == record.name}
        if record.plan_file is None:
            self.touched |= phones
        elif phones or (record.result is not None and record.result.outcome == "converged"):
            self.carried_out = True


TestAccount = Account.TestCase
TestAccount.settings = examples(200, stateful_step_count=50, phases=[Phase.explicit, Phase.generate, Phase.shrink])
