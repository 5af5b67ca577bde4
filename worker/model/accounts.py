"""The values that everything else passes around: what is desired of accounts and numbers, and what is there."""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final, Literal, Self

from msgspec import Struct

from worker.model.credentials import CredentialsRef
from worker.model.suspension import Maintenance, Suspend

__all__ = [
    "PHONE_PATTERN",
    "AccountMemory",
    "DatedWindow",
    "Desired",
    "DesiredAccount",
    "Group",
    "IdleNumber",
    "InUseOverride",
    "NumberUse",
    "Observed",
    "ObservedAccount",
    "PairSwaps",
    "PlanFile",
    "PlanFileUse",
    "SafetyOverride",
    "Schedule",
    "SourceFile",
    "Status",
    "Unmanaged",
    "WeeklyWindow",
]

PHONE_PATTERN: Final = "^[0-9]{3,12}$"
"""What may stand in a URL, a document or a log line as a phone number: 3 to 12 ASCII digits."""


PairSwaps = Literal["warn", "hold"]
"""What becomes of an account's deactivations while one of its activations is impossible."""


class Status(StrEnum):
    """A sender number's status. The API may invent new ones: those keep their text and are never written."""

    ACTIVE = "ACTIVE"
    INACTIVE = "INACTIVE"
    PENDING = "PENDING"
    BLOCKED = "BLOCKED"
    DUPLICATED = "DUPLICATED"
    EXPIRED = "EXPIRED"
    OVERLIMIT = "OVERLIMIT"

    @classmethod
    def _missing_(cls, value: object) -> Self | None:
        if not isinstance(value, str):
            return None
        unknown = str.__new__(cls, value)
        unknown._name_ = unknown._value_ = value
        return unknown

    @property
    def writable(self) -> bool:
        """Whether the API lets this status be changed (and be asked for)."""
        return self is Status.ACTIVE or self is Status.INACTIVE


class Unmanaged(StrEnum):
    """What to do with a number that is registered but not listed."""

    REPORT = "report"
    IGNORE = "ignore"
    DEACTIVATE = "deactivate"


class SafetyOverride(Struct, frozen=True):
    """Safety thresholds that one desired-state file sets for its own account; None leaves the settings' value."""

    max_deactivations: int | str | None = None
    min_active: int | None = None
    pair_swaps: PairSwaps | None = None


class InUseOverride(Struct, frozen=True):
    """The in-use guard as one desired-state file sets it for its own account; None leaves the settings' value."""

    enabled: bool = True
    hours: int | None = None
    on_unknown: Literal["hold", "allow"] | None = None


class Desired(Struct, frozen=True, gc=False):
    """What one number should be. Numbers that carry nothing but a status share one value.

    `managed` is False for a number of which no file wants anything: it is wanted as it is. `because` is why a schedule
    wants this now, and `until` when it stops to: UTC, ISO 8601, Z.
    """

    status: Status
    note: str | None = None
    owner: str | None = None
    protected: bool = False
    managed: bool = True
    because: str | None = None
    until: str | None = None


class IdleNumber(Struct, frozen=True, gc=False):
    """A listed number of which its schedule wants nothing now; `because` and `until` as in `Desired`."""

    because: str
    until: str | None = None
    note: str | None = None
    owner: str | None = None


class DatedWindow(Struct, frozen=True):
    """A status that is wanted from one instant until another, [start, end) in UTC; None is for ever."""

    status: Status
    start: datetime | None = None
    end: datetime | None = None
    reason: str | None = None


class WeeklyWindow(Struct, frozen=True):
    """A status that is wanted at some times of every week, as `text` says.

    `spans` are those times, [from, until) in minutes from Monday's midnight on the clock.
    """

    status: Status
    text: str
    spans: tuple[tuple[int, int], ...]
    reason: str | None = None


class Schedule(Struct, frozen=True):
    """What one number should be at which time, by the clock of a zone (an IANA name).

    A dated window wins over a weekly one, and that over `plain`; where that is None nothing is wanted.
    """

    plain: Status | None
    dated: tuple[DatedWindow, ...]
    weekly: tuple[WeeklyWindow, ...]
    timezone: str


class Group(Struct, frozen=True):
    """Numbers of which at least `min_active` are to be ACTIVE at any moment; `members` are digits."""

    name: str
    members: tuple[str, ...]
    min_active: int = 1


class SourceFile(Struct, frozen=True):
    """A desired-state document that adds numbers to an account, and its revision.

    `source` is the file's name as the user gave it, `line` the first line of the document, counted from 1. `sha256` is
    the hash of the file's bytes in hex, `commit` the git commit of the checkout that holds the file.
    """

    source: str
    line: int = 1
    sha256: str | None = None
    commit: str | None = None


class DesiredAccount(Struct, frozen=True):
    """One account as desired-state documents describe it: mostly one document, several if the account is split.

    `numbers` maps digits to what is desired, in the order of the files; `lines` holds the line of each, in that order,
    each within its own file.
    `source` is the file's name as the user gave it, `sha256` that of its bytes in hex and `commit` that of the checkout
    in which it lies; `line` is where the document begins. `parts` are further documents of the same account, if it is
    split: they add numbers and schedules, and everything else is of the document at `source`. `elsewhere` has the file
    of each number that one of them lists. `timezone` is an IANA name.

    The numbers of `schedules` have a status in `numbers` only once `worker.model.schedule.at` settled them;
    it leaves no schedules, and those of which nothing is wanted then are `idle` and no part of `numbers`.
    """

    name: str
    source: str
    numbers: dict[str, Desired]
    lines: Sequence[int]
    line: int = 1
    account_id: str | None = None
    credentials: CredentialsRef | None = None
    endpoint: str | None = None
    unmanaged: Unmanaged = Unmanaged.REPORT
    safety: SafetyOverride = SafetyOverride()
    in_use: InUseOverride | None = None
    groups: tuple[Group, ...] = ()
    suspend: Suspend | None = None
    maintenance: Maintenance = Maintenance()
    timezone: str = "Asia/Seoul"
    schedules: Mapping[str, Schedule] = {}
    idle: Mapping[str, IdleNumber] = {}
    sha256: str | None = None
    commit: str | None = None
    parts: tuple[SourceFile, ...] = ()
    elsewhere: Mapping[str, str] = {}

    @property
    def listed(self) -> tuple[str, ...]:
        """Every number that the document lists, whatever it wants of it now."""
        return (*self.numbers, *self.idle, *self.schedules)

    def located(self) -> Iterator[tuple[str, Desired, int]]:
        """Every number with what is desired and its line, in the order of the file."""
        return ((phone, desired, line) for (phone, desired), line in zip(self.numbers.items(), self.lines, strict=True))

    def places(self, phones: Collection[str]) -> dict[str, tuple[str, int]]:
        """Return the file and the line of those of some phones that are numbers of the account, in its order."""
        return {
            phone: (self.elsewhere.get(phone, self.source), line)
            for phone, _, line in self.located()
            if phone in phones
        }


class Observed(Struct, frozen=True, gc=False):
    """What the API says of one number. `expires_at` is the API's own ISO 8601 text."""

    phone: str
    status: Status
    expires_at: str | None = None


class ObservedAccount(Struct, frozen=True):
    """What the API says of one account. An account without numbers may come without an id.

    `updated` has the Unix second at which each number last changed, in the order of `numbers`; 0 where it is not told.
    `extended` are the numbers whose registration the vendor extends by itself, `measures` what a person still has to do
    for one, in the vendor's words, `limit` how many numbers may be registered, None where that is not told.
    `seen_at` is the Unix second of the look, 0 where nobody noted it.
    """

    account_id: str | None
    numbers: dict[str, Observed]
    updated: Sequence[int] = ()
    extended: frozenset[str] = frozenset()
    measures: Mapping[str, tuple[str, ...]] = {}
    limit: int | None = None
    seen_at: float = 0.0

    @property
    def active(self) -> int:
        """How many numbers are ACTIVE."""
        return sum(number.status is Status.ACTIVE for number in self.numbers.values())

    @property
    def active_phones(self) -> frozenset[str]:
        """The digits of those that are."""
        return frozenset(phone for phone, number in self.numbers.items() if number.status is Status.ACTIVE)

    @property
    def statuses(self) -> Mapping[Status, int]:
        """How many numbers there are of each status that any has."""
        return Counter(number.status for number in self.numbers.values())

    def active_phone(self, phone: str) -> bool:
        """Whether one number is ACTIVE."""
        return self.status(phone) is Status.ACTIVE

    def status(self, phone: str) -> Status | None:
        """The status of one number; None where the account does not have it."""
        number = self.numbers.get(phone)
        return None if number is None else number.status

    def updated_at(self, phones: Collection[str]) -> dict[str, str]:
        """When those of some numbers last changed of which it is told: UTC, ISO 8601, Z."""
        if not phones:
            return {}
        told = zip(self.numbers, self.updated, strict=False)
        return {
            phone: datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            for phone, second in told
            if second and phone in phones
        }


class AccountMemory(Struct, frozen=True):
    """What is remembered of an account: the last status that a run of ours wrote and proved, by phone.

    `spent` are the numbers that runs which died have switched off since the last one that came to its end. `unsettled`
    tells whether earlier runs left anything open. `registered` is how many numbers the account had when a run saw it
    last, None if that is unknown. `names` are the names under which runs noted the account, each with its credentials
    in the last of them.
    """

    written: Mapping[str, Status] = {}
    spent: frozenset[str] = frozenset()
    unsettled: bool = False
    registered: int | None = None
    names: Mapping[str, CredentialsRef | None] = {}


class PlanFile(Struct, frozen=True):
    """The plan file that a run carries out: its id, and when the plan was made (UTC, ISO 8601, Z)."""

    id: str
    created_at: str


class PlanFileUse(Struct, frozen=True):
    """A run that used up a plan file.

    `carried_out`: it carried out the plan, and `at` is its start. Otherwise it wrote to numbers of the plan after the
    plan was made, and `at` is the last such write. Times are UTC, ISO 8601, Z.
    """

    run: str
    at: str
    carried_out: bool


class NumberUse(Struct, frozen=True):
    """What is known of the use of some numbers: `in_use` has those that are used, and what for.

    `unknown` are others of which it cannot be told, and `why` that is.
    """

    in_use: Mapping[str, str] = {}
    unknown: frozenset[str] = frozenset()
    why: str = ""
