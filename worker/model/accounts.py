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
    "MISSING",
    "PHONE_PATTERN",
    "SHARED_FILE",
    "AccountMemory",
    "Acknowledgement",
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
    "matches_pattern",
]

MISSING: Final = "MISSING"
"""Stands for the status of a number that is not registered."""

PHONE_PATTERN: Final = "^[0-9]{3,12}$"
"""Regular expression of a phone number in URLs, documents and logs: 3 to 12 ASCII digits."""


SHARED_FILE: Final = "senderid.yaml"
"""Name of the file with the defaults and schedules that the desired-state files of its folder share."""

PairSwaps = Literal["warn", "hold"]
"""Policy for the deactivations of an account while one of its activations is impossible: add a notice, or hold them."""


class Status(StrEnum):
    """The status of a sender number at the API.

    A status that this version does not know keeps the API's text. The worker never writes it.
    """

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
    def is_writable(self) -> bool:
        """Return True if a write can change a number from this status and to this status."""
        return self is Status.ACTIVE or self is Status.INACTIVE


class Unmanaged(StrEnum):
    """Policy for numbers that are registered on the account but not listed in its file."""

    REPORT = "report"
    IGNORE = "ignore"
    DEACTIVATE = "deactivate"


class SafetyOverride(Struct, frozen=True):
    """Safety limits that one desired-state file overrides. None keeps the value of the settings."""

    max_deactivations: int | str | None = None
    min_active: int | None = None
    pair_swaps: PairSwaps | None = None


class InUseOverride(Struct, frozen=True):
    """The in-use guard as one desired-state file overrides it. None keeps the value of the settings."""

    enabled: bool = True
    hours: int | None = None
    on_unknown: Literal["hold", "allow"] | None = None


class Acknowledgement(Struct, frozen=True, gc=False):
    """A difference of one number that is known, and therefore neither written nor reported until it ends or changes.

    `observed` is the observed status that is known, or `MISSING`; None stands for the one of ACTIVE and INACTIVE that
    is not desired. `until` is the end in UTC, and `timezone` the IANA name of the zone in which it is shown.
    `has_ended` is set by `worker.model.schedule.settle_schedules`.
    """

    reason: str
    until: datetime
    by: str | None = None
    observed: str | None = None
    timezone: str = "Asia/Seoul"
    has_ended: bool = False

    def known_status(self, desired: Status) -> str:
        """Return the observed status that is known while a status is desired."""
        return self.observed or (Status.INACTIVE if desired is Status.ACTIVE else Status.ACTIVE)


class Desired(Struct, frozen=True, gc=False):
    """The desired state of one number. Numbers that have only a status share one instance.

    `managed` is False for a number without a desired status of its own: `status` is then the observed one, except for
    numbers to deactivate because they are unlisted. `because` is the reason for the status if it is not simply listed.
    `until` is when the status ends by its schedule (UTC, ISO 8601, Z); None if it does not end. `acknowledgement` is
    that of the number, which may have ended; None if there is none.
    """

    status: Status
    note: str | None = None
    owner: str | None = None
    protected: bool = False
    managed: bool = True
    because: str | None = None
    until: str | None = None
    acknowledgement: Acknowledgement | None = None

    def acknowledges(self, observed: str | None) -> bool:
        """Return True if an acknowledgement in force covers the difference from the desired status.

        `observed` is None if the number is not registered.
        """
        acknowledgement = self.acknowledgement
        return (
            acknowledgement is not None
            and not acknowledgement.has_ended
            and self.status != observed
            and (observed or MISSING) == acknowledgement.known_status(self.status)
        )


class IdleNumber(Struct, frozen=True, gc=False):
    """A listed number whose schedule gives it no desired status at this time.

    `because` is the reason. `until` is when the number gets a desired status (UTC, ISO 8601, Z); None if it never does.
    """

    because: str
    until: str | None = None
    note: str | None = None
    owner: str | None = None


class DatedWindow(Struct, frozen=True):
    """A period in which a number has `status`: [start, end) in UTC. None leaves that side unbounded."""

    status: Status
    start: datetime | None = None
    end: datetime | None = None
    reason: str | None = None


class WeeklyWindow(Struct, frozen=True):
    """Times of every week in which a number has `status`. `text` is the window as the file has it.

    Each of `spans` is [from, until) in minutes since Monday 00:00, local time.
    """

    status: Status
    text: str
    spans: tuple[tuple[int, int], ...]
    reason: str | None = None


class Schedule(Struct, frozen=True):
    """The desired status of one number over time. `timezone` is an IANA name.

    A dated window takes precedence over a weekly window. Outside all windows, `base_status` applies; None means no
    desired status.
    """

    base_status: Status | None
    dated: tuple[DatedWindow, ...]
    weekly: tuple[WeeklyWindow, ...]
    timezone: str


class Group(Struct, frozen=True):
    """A group of numbers, at least `min_active` of which must be ACTIVE at any moment. `members` are digits."""

    name: str
    members: tuple[str, ...]
    min_active: int = 1


class SourceFile(Struct, frozen=True):
    """A desired-state document that lists numbers of an account, or a file that it shares, and the file's revision.

    `source` is the file's name as the user gave it, and `line` the first line of the document, counted from 1. `sha256`
    is the hash of the file's bytes in hex. `commit` is the git commit of the checkout that contains the file.
    """

    source: str
    line: int = 1
    sha256: str | None = None
    commit: str | None = None


def matches_pattern(pattern: str, phone: str) -> bool:
    """Return True if a pattern is a number, or its first digits with `*`."""
    return phone.startswith(pattern[:-1]) if pattern.endswith("*") else phone == pattern


class DesiredAccount(Struct, frozen=True):
    """The desired state of one account, from one document or, if the account is split, from several.

    `numbers` maps digits to the desired state, in file order. `lines` are the lines of the numbers, in the same order.

    `source`, `line`, `sha256` and `commit` describe the main document, as in `SourceFile`. It sets all account-level
    keys. `parts` are the other documents of a split account, which only add numbers and schedules, and the files with
    shared defaults. `elsewhere` maps each number of `parts` to its file. `timezone` is an IANA name. `ignored` are the
    unlisted numbers that others manage: digits, or the first digits with `*`.

    A number in `schedules` has a placeholder in `numbers` until `worker.model.schedule.settle_schedules` replaces it.
    A settled account has no `schedules`. Its numbers without a desired status move from `numbers` to `idle`. It has no
    `acknowledgements` either: they are in `numbers`.
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
    ignored: tuple[str, ...] = ()
    suspend: Suspend | None = None
    maintenance: Maintenance = Maintenance()
    timezone: str = "Asia/Seoul"
    schedules: Mapping[str, Schedule] = {}
    acknowledgements: Mapping[str, Acknowledgement] = {}
    idle: Mapping[str, IdleNumber] = {}
    sha256: str | None = None
    commit: str | None = None
    parts: tuple[SourceFile, ...] = ()
    elsewhere: Mapping[str, str] = {}

    def ignores(self, phone: str) -> bool:
        """Return True if others manage an unlisted number."""
        return any(matches_pattern(pattern, phone) for pattern in self.ignored)

    @property
    def listed(self) -> tuple[str, ...]:
        """The digits of every listed number, whether or not it has a desired status at this time."""
        return (*self.numbers, *self.idle, *self.schedules)

    def numbers_with_lines(self) -> Iterator[tuple[str, Desired, int]]:
        """Yield the digits, the desired state and the line of each of `numbers`, in file order."""
        return ((phone, desired, line) for (phone, desired), line in zip(self.numbers.items(), self.lines, strict=True))

    def locations(self, phones: Collection[str]) -> dict[str, tuple[str, int]]:
        """Return the file and line of each of `phones` that is in `numbers`, in file order."""
        return {
            phone: (self.elsewhere.get(phone, self.source), line)
            for phone, _, line in self.numbers_with_lines()
            if phone in phones
        }


class Observed(Struct, frozen=True, gc=False):
    """The observed state of one number. `expires_at` is the API's own ISO 8601 text."""

    phone: str
    status: Status
    expires_at: str | None = None


class ObservedAccount(Struct, frozen=True):
    """The observed state of one account. `account_id` may be None if the account has no numbers.

    `updated` are the Unix times of the last change of each number, in seconds and in the order of `numbers`; 0 if
    unknown. `extended` are the numbers whose registration the vendor extends automatically. `measures` maps a number to
    the steps that the vendor still requires for it, in the vendor's words. `limit` is the maximum count of registered
    numbers; None if unknown. `seen_at` is the Unix time of the read in seconds; 0 if unknown.
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
        """The count of ACTIVE numbers."""
        return sum(number.status is Status.ACTIVE for number in self.numbers.values())

    @property
    def active_phones(self) -> frozenset[str]:
        """The digits of the ACTIVE numbers."""
        return frozenset(phone for phone, number in self.numbers.items() if number.status is Status.ACTIVE)

    @property
    def statuses(self) -> Mapping[Status, int]:
        """The count of numbers by status."""
        return Counter(number.status for number in self.numbers.values())

    def is_active(self, phone: str) -> bool:
        """Return True if the account has the number and it is ACTIVE."""
        return self.status(phone) is Status.ACTIVE

    def status(self, phone: str) -> Status | None:
        """Return the status of a number; None if the account does not have it."""
        number = self.numbers.get(phone)
        return None if number is None else number.status

    def updated_at(self, phones: Collection[str]) -> dict[str, str]:
        """Return the time of the last change of each of `phones`, where known (UTC, ISO 8601, Z)."""
        if not phones:
            return {}
        times = zip(self.numbers, self.updated, strict=False)
        return {
            phone: datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            for phone, second in times
            if second and phone in phones
        }


class AccountMemory(Struct, frozen=True):
    """The state of an account as earlier runs recorded it in the ledger.

    `written` maps each number that a run wrote to its last verified status. `spent` are the numbers that crashed runs
    have, or may have, deactivated since the last finished run. `has_open_attempts` is True if earlier runs left open
    attempts. `registered` is the count of registered numbers in the last run; None if unknown. `names` maps each name
    of the account in earlier runs to the credentials it last had; None for the default ones.
    """

    written: Mapping[str, Status] = {}
    spent: frozenset[str] = frozenset()
    has_open_attempts: bool = False
    registered: int | None = None
    names: Mapping[str, CredentialsRef | None] = {}


class PlanFile(Struct, frozen=True):
    """A reference to the plan file that a run applies. `created_at` is the time of the plan (UTC, ISO 8601, Z)."""

    id: str
    created_at: str


class PlanFileUse(Struct, frozen=True):
    """The use of a plan file by an earlier run, after which the file must not be applied again.

    If `was_applied` is True, the run applied the plan, and `at` is its start. Otherwise the run wrote to numbers of the
    plan after the plan was created, and `at` is its last such write. `at` is UTC, ISO 8601, Z.
    """

    run: str
    at: str
    was_applied: bool


class NumberUse(Struct, frozen=True):
    """The result of an in-use check. `in_use` maps each number that sends messages to a description of its use.

    `unknown` are the numbers whose use could not be determined, and `why` is the reason.
    """

    in_use: Mapping[str, str] = {}
    unknown: frozenset[str] = frozenset()
    why: str = ""
