"""Scenario of a daemon run: the accounts, the versions of their files, and the events injected at each await."""

from collections.abc import Mapping
from datetime import UTC, datetime
from random import Random
from typing import Final, NamedTuple

from tests.simulation.model import EPOCH
from worker.plan.policy import Selection

__all__ = ["INTERVAL", "AccountScript", "Event", "FileVersion", "Listed", "WatchScenario", "draw_watch"]

INTERVAL: Final = 60.0
"""Seconds between two passes."""
_STATUSES: Final = ("ACTIVE", "INACTIVE")


class Listed(NamedTuple):
    """The desired status of a number: `plain`, and others within windows of (start, end, status) in seconds."""

    plain: str
    windows: tuple[tuple[float, float, str], ...] = ()

    def at(self, second: float) -> str:
        """Return the desired status at a second."""
        return next((status for start, end, status in self.windows if start <= second < end), self.plain)


class FileVersion(NamedTuple):
    """One version of a file.

    `suspended` and `until` stop writes; `refused` makes a safety rule refuse deactivations.
    """

    numbers: Mapping[str, Listed]
    suspended: bool = False
    until: float | None = None
    refused: bool = False
    valid: bool = True

    def is_suspended(self, second: float) -> bool:
        """Return True if the file suspends its account at a second."""
        return self.suspended and (self.until is None or second < self.until)

    def edges(self) -> set[float]:
        """Return the seconds at which a desired status changes or the suspension ends."""
        actual = {
            edge
            for listed in self.numbers.values()
            for start, end, _ in listed.windows
            for edge in (start, end)
            if listed.at(edge) != listed.at(edge - 0.5)
        }
        return actual | ({self.until} if self.suspended and self.until is not None else set())

    def text(self, name: str) -> str:
        """Return the YAML of the file."""
        if not self.valid:
            return "version: 1\nnumbers: [\n"
        lines = ["version: 1", f"account: {name}", f"account_id: '{name[-1]}'"]
        lines.append(f"credentials: {{api_key: {{env: {name}}}, api_secret: {{env: SECRET}}}}")
        if self.suspended:
            until = "" if self.until is None else f", until: '{_moment(self.until)}'"
            lines.append(f"suspend: {{reason: moving{until}}}")
        if self.refused:
            lines.append("safety: {max_deactivations: 0}")
        lines.append("numbers:" if self.numbers else "numbers: {}")
        for phone, (plain, windows) in self.numbers.items():
            schedule = ", ".join(
                f"{{from: '{_moment(start)}', until: '{_moment(end)}', status: {status}}}"
                for start, end, status in windows
            )
            lines.append(f"  '{phone}': {{status: {plain}" + (f", schedule: [{schedule}]}}" if windows else "}"))
        return "\n".join(lines) + "\n"


class Event(NamedTuple):
    """An event at the `turn`-th await after a second: its kind, its account, and its parameters."""

    at: float
    turn: int
    what: str
    account: str = ""
    phone: str = ""
    value: str | float | int | None = None


class AccountScript(NamedTuple):
    """One account: its initial numbers, and the versions of its file."""

    name: str
    numbers: dict[str, str]
    versions: tuple[FileVersion, ...]


class WatchScenario(NamedTuple):
    """The accounts, options and events of one seed. No events happen after `storm` seconds."""

    seed: int
    accounts: tuple[AccountScript, ...]
    selection: Selection
    events: tuple[Event, ...]
    storm: float


def draw_watch(seed: int) -> WatchScenario:
    """Return the scenario of a seed."""
    chance = Random(f"watch {seed}")
    accounts = tuple(_account(chance, index) for index in range(chance.randint(1, 3)))
    storm = chance.choice((150.0, 250.0, 350.0))
    phones = [phone for account in accounts for phone in account.numbers]
    selection = Selection()
    if chance.random() < 0.15:
        some = frozenset(chance.sample(phones, (len(phones) + 1) // 2))
        selection = chance.choice((Selection(only=some), Selection(exclude=some)))
    events = [event for _ in range(chance.randint(3, 12)) for event in _events(chance, accounts, storm)]
    if chance.random() < 0.1:
        # the ledger fails when the first pass reports what needs attention
        events = [
            Event(0.0, 0, "disk", accounts[0].name, value=chance.randint(1, 3)),
            Event(storm / 2, 0, "disk", accounts[0].name, value=0),
        ]
        accounts = tuple(_refused(account) for account in accounts)
    return WatchScenario(seed, accounts, selection, tuple(events), storm)


def _account(chance: Random, index: int) -> AccountScript:
    numbers = {f"010{index}{number:07}": chance.choice(_STATUSES) for number in range(chance.randint(1, 5))}
    if chance.random() < 0.15:
        numbers[next(iter(numbers))] = "BLOCKED"
    first = _version(chance, list(numbers))
    versions = (first, *(_version(chance, list(numbers)) for _ in range(2)), first._replace(valid=False))
    return AccountScript(f"account{index}", numbers, versions)


def _refused(account: AccountScript) -> AccountScript:
    first = account.versions[0]
    numbers = {phone: Listed("INACTIVE") for phone in account.numbers}
    return account._replace(versions=(first._replace(numbers=numbers, suspended=False, refused=True),))


def _version(chance: Random, phones: list[str]) -> FileVersion:
    listed = {phone: Listed(chance.choice(_STATUSES), _windows(chance)) for phone in phones if chance.random() < 0.9}
    suspended = chance.random() < 0.15
    until = float(chance.randrange(30, 400)) if chance.random() < 0.5 else None
    return FileVersion(listed, suspended, until, refused=chance.random() < 0.15)


def _windows(chance: Random) -> tuple[tuple[float, float, str], ...]:
    """Return windows whose edges are often near the start of a pass, or within a slow one."""
    windows = []
    end = 0.0
    for _ in range(chance.choice((0, 0, 1, 1, 2))):
        near = INTERVAL * chance.randint(0, 5) + chance.randint(-1, 5)
        start = max(end, float(chance.choice((near, chance.randint(1, 360)))))
        end = start + chance.randint(2, 90)
        windows.append((start, end, chance.choice(_STATUSES)))
    return tuple(windows)


def _events(chance: Random, accounts: tuple[AccountScript, ...], storm: float) -> tuple[Event, ...]:
    """Return one disturbance, with its end if it has one. Half of them happen within a pass."""
    pass_start = INTERVAL * chance.randrange(int(storm // INTERVAL))
    at = chance.choice((pass_start, chance.uniform(0.0, storm)))
    account = chance.choice(accounts)
    name, over = account.name, min(storm, at + chance.choice((1.0, 20.0, 70.0, 130.0)))

    def event(what: str, phone: str = "", value: str | float | None = None, when: float = at) -> Event:
        return Event(when, chance.choice((0, 1, chance.randint(1, 60))), what, name, phone, value)

    phone = chance.choice(list(account.numbers))
    kind = chance.choice(
        ("edit", "edit", "file", "file", "slow", "slow", "faults", "channel", "disk", "settings", "stop")
    )
    match kind:
        case "edit":
            return (event("edit", phone, chance.choice((*_STATUSES, "BLOCKED"))),)
        case "file":
            return (event("file", value=chance.randrange(len(account.versions))), event("file", value=0, when=over))
        case "slow":
            return (event("slow", value=chance.choice((10.0, 30.0))), event("slow", value=1.0, when=over))
        case "faults":
            profile = chance.choice(("hostile", "mute", "broken", "strict", "flaky"))
            return (event("faults", value=profile), event("faults", value="calm", when=over))
        case "channel":
            return (
                event("channel", value=chance.choice(("refuse", "hang"))),
                event("channel", value="accept", when=over),
            )
        case "disk":
            return (event("disk", value=chance.randint(1, 8)), event("disk", value=0, when=over))
        case "settings":
            change = chance.choice(("suspend", "broken", "fewer"))
            return (event("settings", value=change), event("settings", value="plain", when=over))
        case _:
            return (event("stop"),) if chance.random() < 0.4 else ()


def _moment(second: float) -> str:
    return datetime.fromtimestamp(EPOCH + second, UTC).strftime("%Y-%m-%dT%H:%M:%S+00:00")
