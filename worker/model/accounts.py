"""Accounts and numbers: desired and observed state."""

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
"""A phone number in URLs, documents and logs: 3 to 12 ASCII digits."""


PairSwaps = Literal["warn", "hold"]
"""The policy for an account's deactivations while one of its activations is impossible."""


class Status(StrEnum):
    """The status of a sender number. Unknown statuses of the API keep their text and are never written."""

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
        """Return True if the API can change from and to this status."""
        return self is Status.ACTIVE or self is Status.INACTIVE


class Unmanaged(StrEnum):
    """Policy for numbers that are registered but not listed."""

    REPORT = "report"
    IGNORE = "ignore"
    DEACTIVATE = "deactivate"


class SafetyOverride(Struct, frozen=True):
    """Safety limits of one desired-state file; None keeps the value of the settings."""

    max_deactivations: int | str | None = None
    min_active: int | None = None
    pair_swaps: PairSwaps | None = None


class InUseOverride(Struct, frozen=True):
    """The in-use guard of one desired-state file; None keeps the value of the settings."""

    enabled: bool = True
    hours: int | None = None
    on_unknown: Literal["hold", "allow"] | None = None


class Desired(Struct, frozen=True, gc=False):
    """The desired state of one number. Numbers with nothing but a status share one value.

    `managed` is False for a number that no file lists; its desired status is the observed one. `because` is the reason
    of a schedule, and `until` the end of its window: UTC, ISO 8601, Z.
    """

    status: Status
    note: str | None = None
    owner: str | None = None
    protected: bool = False
    managed: bool = True
    because: str | None = None
    until: str | None = None


class IdleNumber(Struct, frozen=True, gc=False):
    """A listed number without a desired status now, by its schedule; `because` and `until` as in `Desired`."""

    because: str
    until: str | None = None
    note: str | None = None
    owner: str | None = None


class DatedWindow(Struct, frozen=True):
    """A window with a desired status, [start, end) in UTC; None is unbounded."""

    status: Status
    start: datetime | None = None
    end: datetime | None = None
    reason: str | None = None


class WeeklyWindow(Struct, frozen=True):
    """A weekly window with a desired status; `text` is the window as written.

    `spans` are [from, until) in minutes from midnight on Monday, local time.
    """

    status: Status
    text: str
    spans: tuple[tuple[int, int], ...]
    reason: str | None = None


class Schedule(Struct, frozen=True):
    """The desired status of one number over time, in a time zone (an IANA name).

    A dated window takes precedence over a weekly one, and that over `plain`, which is None for no desired status.
    """

    plain: Status | None
    dated: tuple[DatedWindow, ...]
    weekly: tuple[WeeklyWindow, ...]
    timezone: str


class Group(Struct, frozen=True):
    """Numbers of which at least `min_active` must be ACTIVE at any moment; `members` are digits."""

    name: str
    members: tuple[str, ...]
    min_active: int = 1


class SourceFile(Struct, frozen=True):
    """A desired-state document that adds numbers to an account, and its revision.

    `source` is the file's name as the user gave it, `line` the first line of the document, counted from 1. `sha256` is
    the hash of the file's bytes in hex, `commit` the git commit of the checkout that contains the file.
    """

    source: str
    line: int = 1
    sha256: str | None = None
    commit: str | None = None


class DesiredAccount(Struct, frozen=True):
    """The desired state of one account: of one document, or of several if the account is split.

    `numbers` maps digits to the desired state, in the order of the files; `lines` has their lines in the same order.
    `source` is the file's name as the user gave it, `line` the first line of the document, `sha256` the hash of the
    file in hex, and `commit` that of its git checkout. `parts` are further documents of a split account: they add
    numbers and schedules, and everything else is from the document at `source`. `elsewhere` has the file of each
    number from them. `timezone` is an IANA name.

    Numbers in `schedules` have a placeholder in `numbers` until `worker.model.schedule.settle_schedules` replaces it.
    The settled account has no schedules; numbers without a desired status are in `idle` instead of `numbers`.
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
        """Every listed number, with or without a desired status now."""
        return (*self.numbers, *self.idle, *self.schedules)

    def located(self) -> Iterator[tuple[str, Desired, int]]:
        """Yield every number with its desired state and its line, in the order of the file."""
        return ((phone, desired, line) for (phone, desired), line in zip(self.numbers.items(), self.lines, strict=True))

    def places(self, phones: Collection[str]) -> dict[str, tuple[str, int]]:
        """Return the file and the line of each of the phones that the account lists, in its order."""
        return {
            phone: (self.elsewhere.get(phone, self.source), line)
            for phone, _, line in self.located()
            if phone in phones
        }


class Observed(Struct, frozen=True, gc=False):
    """The observed state of one number. `expires_at` is the API's own ISO 8601 text."""

    phone: str
    status: Status
    expires_at: str | None = None


class ObservedAccount(Struct, frozen=True):
    """The observed state of one account. An account without numbers may lack an id.

    `updated` has the Unix time of each number's last change, in the order of `numbers`; 0 if unknown. `extended` are
    the numbers whose registration the vendor extends automatically. `measures` are the vendor's texts on what an
    operator still has to do for a number. `limit` is how many numbers may be registered, None if unknown. `seen_at` is
    the Unix time of the read, 0 if unknown.
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
        """The number of ACTIVE numbers."""
        return sum(number.status is Status.ACTIVE for number in self.numbers.values())

    @property
    def active_phones(self) -> frozenset[str]:
        """The digits of the ACTIVE numbers."""
        return frozenset(phone for phone, number in self.numbers.items() if number.status is Status.ACTIVE)

    @property
    def statuses(self) -> Mapping[Status, int]:
        """The number of numbers of each status."""
        return Counter(number.status for number in self.numbers.values())

    def is_active(self, phone: str) -> bool:
        """Return True if a number is ACTIVE."""
        return self.status(phone) is Status.ACTIVE

    def status(self, phone: str) -> Status | None:
        """Return the status of a number; None if the account does not have it."""
        number = self.numbers.get(phone)
        return None if number is None else number.status

    def updated_at(self, phones: Collection[str]) -> dict[str, str]:
        """Return when each of the phones last changed, if known: UTC, ISO 8601, Z."""
        if not phones:
            return {}
        times = zip(self.numbers, self.updated, strict=False)
        return {
            phone: datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            for phone, second in times
            if second and phone in phones
        }


class AccountMemory(Struct, frozen=True):
    """The ledger's memory of an account: the last verified status of each number that was written.

    `spent` are the numbers that crashed runs deactivated since the last finished run. `unsettled` is True if earlier
    runs left open attempts. `registered` is how many numbers the account had in the last run, None if unknown. `names`
    are the names of the account in earlier runs, each with its last credentials.
    """

    written: Mapping[str, Status] = {}
    spent: frozenset[str] = frozenset()
    unsettled: bool = False
    registered: int | None = None
    names: Mapping[str, CredentialsRef | None] = {}


class PlanFile(Struct, frozen=True):
    """The plan file that a run carries out: its id, and the time of the plan (UTC, ISO 8601, Z)."""

    id: str
    created_at: str


class PlanFileUse(Struct, frozen=True):
    """A run that used up a plan file.

    With `carried_out`, it carried out the plan, and `at` is its start. Otherwise it wrote to numbers of the plan after
    the plan was created, and `at` is the last such write. Times are UTC, ISO 8601, Z.
    """

    run: str
    at: str
    carried_out: bool


class NumberUse(Struct, frozen=True):
    """The use of some numbers: `in_use` has those in use, and what for.

    `unknown` are the numbers whose use is unknown, and `why` is the reason.
    """

    in_use: Mapping[str, str] = {}
    unknown: frozenset[str] = frozenset()
    why: str = ""
