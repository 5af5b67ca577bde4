"""Scenario of a seed: an account, the files that describe it, and runs with the events that hit them."""

from collections.abc import Mapping
from random import Random
from typing import Final, NamedTuple

from msgspec import structs

from tests.simulation.faults import PROFILES
from tests.simulation.model import ACCOUNT_ID
from tests.simulation.process import DiskError, Happening
from worker.config.settings import RateLimit, Retry, SafetySettings, Settings, Timeout
from worker.model.accounts import Desired, DesiredAccount, Status, Unmanaged
from worker.model.safety import Safety
from worker.plan.build import Terms
from worker.plan.policy import Selection

__all__ = ["DRY_KINDS", "RunScript", "Scenario", "draw_scenario"]

DRY_KINDS: Final = frozenset({"plan", "drift", "save"})
"""Runs that cannot write."""

_STRANGE: Final = ("BLOCKED", "PENDING", "EXPIRED", "FROZEN")
_DISK: Final = ("disk I/O error", "database or disk is full")
_PROFILES: Final = (*(name for name in PROFILES if name not in {"strange", "tardy"}), "calm", "flaky")
_DAYS: Final[tuple[tuple[str, ...], ...]] = (
    ("apply",),
    ("apply", "apply"),
    ("apply", "apply"),
    ("apply", "apply", "apply"),
    ("apply", "apply", "apply", "apply", "apply"),
    ("apply", "plan", "apply"),
    ("save", "saved", "apply"),
    ("save", "apply", "saved"),
    ("save", "saved", "saved"),
)
"""Which runs one scenario may hold."""


class RunScript(NamedTuple):
    """One run. `kind` is apply, plan, drift, save (a plan that is kept) or saved (apply what was kept).

    `deadline` is in seconds. `happenings` go by the moments of the run, `turns` by those of the loop; `pause` is how
    many seconds pass after it; `beside` starts the next run at the same time. `compared` has a saved plan compared with
    the run's file. `twin` has the run find a second document of the same account, which is the
    other file, by another key.
    """

    kind: str = "apply"
    file: int = 0
    terms: Terms = Terms()
    profile: str = "calm"
    deadline: float = 60.0
    happenings: Mapping[int, tuple[Happening, ...]] = {}
    turns: Mapping[int, tuple[Happening, ...]] = {}
    disk_error: DiskError | None = None
    pause: float = 0.0
    beside: bool = False
    compared: bool = False
    twin: bool = False


class Scenario(NamedTuple):
    """One seed's account, files, runs and events."""

    seed: int
    numbers: dict[str, str]
    files: tuple[DesiredAccount, ...]
    settings: Settings
    runs: tuple[RunScript, ...]


def draw_scenario(seed: int) -> Scenario:
    """Return the scenario of a seed: most are arbitrary, some are of a kind that is rarely drawn at random."""
    chance = Random(seed)
    scenario = _anything(chance, seed)
    kind = chance.random()
    if kind < 0.08:
        scenario = _exchanged(scenario, chance)
    elif kind < 0.16:
        scenario = _in_pieces(scenario, chance)
    # separate generators: a new kind does not change the scenarios of the others
    scenario = _with_strange_responses(scenario, Random(f"replies {seed}"))
    scenario = _described_twice(scenario, Random(f"twins {seed}"))
    scenario = _edited(scenario, Random(f"edits {seed}"))
    scenario = _narrowed(scenario, Random(f"narrowed {seed}"))
    scenario = _interleaved(scenario, Random(f"turns {seed}"))
    return _contested(scenario, Random(f"contested {seed}"))


def _with_strange_responses(scenario: Scenario, chance: Random) -> Scenario:
    """Add responses that differ from the account to one scenario of ten."""
    if chance.random() >= 0.1:
        return scenario
    return scenario._replace(runs=tuple(run._replace(profile="strange") for run in scenario.runs))


def _described_twice(scenario: Scenario, chance: Random) -> Scenario:
    """Make two documents describe one account, in one scenario of twenty.

    Nothing else fails in it, so that both documents are read.
    """
    if chance.random() >= 0.05:
        return scenario
    twin = RunScript(
        file=chance.randrange(2), terms=Terms(scenario.settings.safety, allow=frozenset({"all"})), twin=True
    )
    at = chance.randint(0, len(scenario.runs))
    runs = [run._replace(beside=False) for run in scenario.runs]
    return scenario._replace(runs=(*runs[:at], twin, *runs[at:]))


def _edited(scenario: Scenario, chance: Random) -> Scenario:
    """Give half of the saved plans the current file, which may have changed since."""
    runs = tuple(run._replace(compared=run.kind == "saved" and chance.random() < 0.5) for run in scenario.runs)
    return scenario._replace(runs=runs)


def _narrowed(scenario: Scenario, chance: Random) -> Scenario:
    """Narrow all runs of one scenario of eight alike, and have one of them report drift."""
    if chance.random() >= 0.125:
        return scenario
    phones = sorted({*scenario.numbers, *scenario.files[0].numbers})
    some = frozenset(chance.sample(phones, (len(phones) + 1) // 2))
    selection = Selection(only=some) if chance.random() < 0.3 else Selection(exclude=some)
    runs = [run._replace(terms=structs.replace(run.terms, selection=selection)) for run in scenario.runs]
    drift = RunScript("drift", chance.randrange(2), runs[0].terms)
    runs.insert(chance.randint(0, len(runs)), drift)
    return scenario._replace(runs=tuple(runs))


def _interleaved(scenario: Scenario, chance: Random) -> Scenario:
    """Let others act between any two turns of the loop in half of the scenarios, sometimes with a revert."""
    if chance.random() >= 0.5:
        return scenario
    phones = sorted(scenario.numbers)
    # both documents of a twin are read in any case
    runs = (run if run.twin else run._replace(turns=_turns(chance, phones)) for run in scenario.runs)
    return scenario._replace(runs=tuple(runs))


def _contested(scenario: Scenario, chance: Random) -> Scenario:
    """Write every number in turn, while responses are late or missing and other users switch some of the numbers."""
    if chance.random() >= 0.18:
        return scenario
    phones = [f"010{index:08}" for index in range(chance.randint(6, 12))]
    numbers = {phone: _either(chance, 0.5) for phone in phones}
    file = _listing({phone: "INACTIVE" if numbers[phone] == "ACTIVE" else "ACTIVE" for phone in phones}, 0)
    retry = Retry(attempts=chance.choice((2, 2, 3, 4)), base_seconds=0.1)
    run = RunScript(
        terms=Terms(scenario.settings.safety, allow=frozenset({"all"})),
        profile=chance.choice(("tardy", "tardy", "lying", "mute")),
        deadline=120.0,
        turns=_there_and_back(chance, phones, chance.choice((2, 4, 6))),
    )
    settings = structs.replace(scenario.settings, retry=retry, concurrency=1)
    return scenario._replace(numbers=numbers, files=(file, file), settings=settings, runs=(run,))


def _there_and_back(chance: Random, phones: list[str], edits: int) -> dict[int, tuple[Happening, ...]]:
    """Return edits of other users by the turn of the loop. Half of the edits are undone some turns later."""
    turns: dict[int, tuple[Happening, ...]] = {}
    for _ in range(edits if phones else 0):
        at, edit = chance.randint(5, 120), _edit(chance, phones)
        turns[at] = (edit,)
        if chance.random() < 0.5:
            back = "ACTIVE" if edit.status == "INACTIVE" else "INACTIVE"
            turns[at + chance.randint(1, 25)] = (edit._replace(status=back),)
    return turns


def _turns(chance: Random, phones: list[str]) -> dict[int, tuple[Happening, ...]]:
    turns = _there_and_back(chance, phones, chance.choice((0, 1, 2)))
    for happening in (Happening("interrupt"), Happening("crash"), Happening("jump", seconds=3600.0)):
        if chance.random() < 0.04:
            turns[chance.randint(1, 120)] = (happening,)
    return turns


def _exchanged(scenario: Scenario, chance: Random) -> Scenario:
    """Return a scenario whose few ACTIVE numbers are replaced by other numbers, whose activations may fail."""
    phones = [*scenario.numbers, *(f"0109999{index:04}" for index in range(4))][:4]
    numbers = {phone: "INACTIVE" if index % 2 else "ACTIVE" for index, phone in enumerate(phones)}
    file = _listing({phone: "ACTIVE" if index % 2 else "INACTIVE" for index, phone in enumerate(phones)}, 0)
    safety = SafetySettings(max_deactivations="100%", min_active=chance.choice((1, 2)))
    settings = structs.replace(scenario.settings, safety=safety, retry=Retry(attempts=2, base_seconds=0.1))
    runs = tuple(
        run._replace(kind="apply", terms=Terms(safety), profile=chance.choice(("strict", "broken", "lying")))
        for run in scenario.runs
    )
    return scenario._replace(numbers=numbers, files=(file, file), settings=settings, runs=runs)


def _in_pieces(scenario: Scenario, chance: Random) -> Scenario:
    """More and more is to be switched off, by runs that die."""
    numbers = {f"010{index:08}": "ACTIVE" for index in range(chance.randint(6, 12))}
    some, more = (
        _listing({phone: "INACTIVE" if index < last else "ACTIVE" for index, phone in enumerate(numbers)}, last)
        for last in (2, chance.randint(3, 5))
    )
    safety = SafetySettings(max_deactivations=chance.choice((2, 2, 3, "30%")))
    runs = []
    for file in (0, 1, chance.choice((0, 1))):
        crash = {chance.randint(15, 40): (Happening("crash"),)} if chance.random() < 0.8 else {}
        profile = chance.choice(("calm", "calm", "flaky", "mute"))
        runs.append(RunScript(file=file, terms=Terms(safety), profile=profile, happenings=crash, pause=5.0))
    settings = structs.replace(scenario.settings, safety=safety)
    return scenario._replace(numbers=numbers, files=(some, more), settings=settings, runs=tuple(runs))


def _listing(statuses: Mapping[str, str], index: int) -> DesiredAccount:
    expected = {phone: Desired(Status(status)) for phone, status in statuses.items()}
    return DesiredAccount("main", f"{index}.yaml", expected, range(len(expected)))


def _anything(chance: Random, seed: int) -> Scenario:
    phones = [f"010{chance.randrange(10**8):08}" for _ in range(chance.randint(2, 12))]
    active = chance.choice((0.2, 0.5, 0.8, 1.0))
    numbers = {
        phone: chance.choice(_STRANGE) if chance.random() < 0.04 else _either(chance, active)
        for phone in phones
        if chance.random() < 0.97
    }
    files = (_file(chance, phones, numbers, 0), _file(chance, phones, numbers, 1))
    safety = SafetySettings(
        max_deactivations=chance.choice(("30%", 2, 3, "60%", "100%", "100%", "100%")),
        min_active=chance.choice((0, 1, 1, 1, 2)),
    )
    settings = Settings(
        rate_limit=RateLimit(writes=chance.randint(2, 6), reads=chance.randint(3, 5), per_seconds=1.0),
        concurrency=chance.choice((1, 3, 6)),
        retry=Retry(attempts=chance.randint(2, 5), base_seconds=0.1, cap_seconds=1.0),
        timeout=Timeout(connect_seconds=0.5, total_seconds=2.0),
        safety=safety,
    )
    runs = tuple(_run(chance, kind, phones, safety) for kind in chance.choice(_DAYS))
    return Scenario(seed, numbers, files, settings, runs)


def _either(chance: Random, active: float) -> str:
    return "ACTIVE" if chance.random() < active else "INACTIVE"


def _file(chance: Random, phones: list[str], numbers: dict[str, str], index: int) -> DesiredAccount:
    """Return a file that changes the status of most numbers, or desires the same status for most of them."""
    turned, active = chance.choice((0.0, 0.5, 0.9)), chance.choice((0.1, 0.5, 0.9))
    listed = {}
    for phone in phones:
        other = "INACTIVE" if numbers.get(phone) == "ACTIVE" else "ACTIVE"
        status = other if chance.random() < turned else _either(chance, active)
        if chance.random() < 0.92:
            listed[phone] = Desired(Status(status), protected=chance.random() < 0.06)
    return DesiredAccount(
        name="main",
        source=f"{index}.yaml",
        numbers=listed,
        lines=range(len(listed)),
        account_id=ACCOUNT_ID if chance.random() < 0.5 else None,
        unmanaged=chance.choice((Unmanaged.REPORT, Unmanaged.REPORT, Unmanaged.IGNORE, Unmanaged.DEACTIVATE)),
        sha256=f"{index}",
    )


def _run(chance: Random, kind: str, phones: list[str], safety: Safety) -> RunScript:
    happenings: dict[int, tuple[Happening, ...]] = {}

    def befall(share: float, happening: Happening) -> None:
        if chance.random() < share:
            moment = chance.randint(1, 15) if chance.random() < 0.2 else chance.randint(12, 60)
            happenings[moment] = (*happenings.get(moment, ()), happening)

    befall(0.4, Happening("crash"))
    for _ in range(3):
        befall(0.25, _edit(chance, phones))
    befall(0.06, Happening("jump", seconds=chance.choice((-3600.0, 3600.0, 1200.0, -5.0))))
    befall(0.06, Happening("interrupt"))
    selection = Selection(exclude=frozenset(chance.sample(phones, 1))) if chance.random() < 0.1 else Selection()
    allow: frozenset[str] = chance.choice(
        (frozenset(),) * 6 + (frozenset({"all"}), frozenset({"all"}), frozenset({"min-active"}))
    )
    disk = (chance.randint(1, 20), chance.choice(_DISK), chance.random() < 0.3) if chance.random() < 0.06 else None
    return RunScript(
        kind=kind,
        file=0 if chance.random() < 0.8 else 1,
        terms=Terms(safety, selection, allow),
        profile=chance.choice(_PROFILES),
        deadline=chance.choice((5.0, 60.0, 60.0)),
        happenings=happenings,
        disk_error=disk,
        pause=chance.choice((0.0, 0.0, 1.5, 10.0)),
        beside=chance.random() < 0.08,
    )


def _edit(chance: Random, phones: list[str]) -> Happening:
    phone = chance.choice(phones) if chance.random() < 0.95 else f"010{chance.randrange(10**8):08}"
    status = chance.choice(("ACTIVE", "ACTIVE", "INACTIVE", "INACTIVE", "BLOCKED", None))
    return Happening("edit", phone, status)
