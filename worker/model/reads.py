"""The latest read of each account: its numbers, what needs attention, and the state that follows from both."""

from collections.abc import Sequence
from enum import StrEnum
from typing import Any, Final

import msgspec
from msgspec import Struct

from worker.model.credentials import CredentialsRef
from worker.model.messages import english
from worker.model.plans import NOT_WRITTEN, Count, Phone, Timestamp

__all__ = [
    "AccountRead",
    "Attention",
    "DaemonRecord",
    "HealthStatus",
    "NumberState",
    "Segment",
    "SyncStatus",
    "decode_numbers",
    "encode_numbers",
    "is_unread",
    "platform",
    "segment_of",
]


class SyncStatus(StrEnum):
    """The state of the numbers of an account: do all of them have their desired status?"""

    IN_SYNC = "in_sync"
    OUT_OF_SYNC = "out_of_sync"
    UNKNOWN = "unknown"


class HealthStatus(StrEnum):
    """The state of the reconciliation of an account."""

    HEALTHY = "healthy"
    NEEDS_ATTENTION = "needs_attention"
    FAILED = "failed"
    SUSPENDED = "suspended"


class Segment(StrEnum):
    """The one word that sums up an account, the most severe first. Every account is in exactly one segment."""

    FAILED = "failed"
    NEEDS_ATTENTION = "needs_attention"
    OUT_OF_SYNC = "out_of_sync"
    UNKNOWN = "unknown"
    SUSPENDED = "suspended"
    IN_SYNC = "in_sync"


def segment_of(sync: SyncStatus, health: HealthStatus) -> Segment:
    """Return the segment of an account. Health comes first: a failed account may be in sync, and needs an operator."""
    return _SEGMENTS[sync, health]


_SEGMENTS: Final = {
    (sync, health): Segment((sync if health is HealthStatus.HEALTHY else health).value)
    for sync in SyncStatus
    for health in HealthStatus
}


class Attention(Struct, frozen=True):
    """One reason why an account needs attention.

    `kind` is an outcome or an action of numbers, the kind of a notice, `refused`, or `error` for a whole account.
    `code` is the rule of a refusal, or the code of an error. `count` is how many numbers it concerns, and `phones` are
    the first of them; there are none if it concerns the whole account. `parts` are the parts of the message.
    """

    kind: str
    message: str
    code: str = ""
    count: Count = 0
    phones: tuple[Phone, ...] = ()
    parts: Any = None


class NumberState(Struct, frozen=True, gc=False, array_like=True):
    """One number of an account as the latest read found it. In JSON it is an array.

    `desired` and `observed` are statuses; None for none. `action` says what is left to do, or why nothing can be done;
    None if the number has its desired status. `expires` is the API's own text. `until` is the time of the next
    scheduled change. `source` is the file that lists the number, `line` its line; None and 0 for an unlisted number.
    """

    phone: Phone
    desired: str | None
    observed: str | None
    action: str | None = None
    expires: str | None = None
    note: str | None = None
    owner: str | None = None
    until: Timestamp | None = None
    source: str | None = None
    line: Count = 0

    @property
    def differs(self) -> bool:
        """Return True if the number is out of sync: it is not one that the desired state leaves."""
        return self.action is not None and self.action not in NOT_WRITTEN


class AccountRead(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The latest read of an account by any run, and the state after that run.

    `key` identifies the account across runs and files. `command` is the command of the run, and `run_id` its id in the
    ledger; None if the run is not recorded. `counts` are the counts of numbers by outcome or by action, `numbers` the
    count of registered numbers and `active` that of the ACTIVE ones; None if unknown. `differing` is the count of
    numbers that are out of sync. `failed_at` is the time of the last read whose health was `failed`.
    """

    account: str
    key: str
    at: Timestamp
    command: str
    run_id: str | None = None
    sync: SyncStatus
    health: HealthStatus
    counts: dict[str, Count] = {}
    differing: Count = 0
    numbers: Count | None = None
    active: Count | None = None
    needs: tuple[Attention, ...] = ()
    source: str = ""
    commit: str | None = None
    credentials: CredentialsRef | None = None
    timezone: str = "Asia/Seoul"
    failed_at: Timestamp | None = None


class DaemonRecord(Struct, frozen=True, kw_only=True):
    """The last heartbeat of a daemon. `next_pass` is the latest time of its next pass.

    `ended_at` is when it stopped in an orderly way; None while it runs, and after it was killed.
    """

    host: str
    pid: int
    started_at: Timestamp
    last_pass: Timestamp
    next_pass: Timestamp
    outcome: str
    ended_at: Timestamp | None = None


_NUMBERS: Final = msgspec.json.Decoder(list[NumberState])


def encode_numbers(numbers: Sequence[NumberState]) -> bytes:
    """Return numbers as JSON for the ledger. Lone surrogates of notes and owners are replaced."""
    try:
        return msgspec.json.encode(numbers, enc_hook=english)
    except UnicodeEncodeError:
        rows = map(msgspec.structs.astuple, numbers)
        return msgspec.json.encode([[_without_surrogates(value) for value in row] for row in rows])


def decode_numbers(document: bytes | str) -> list[NumberState]:
    """Return the numbers that `encode_numbers` encoded."""
    return _NUMBERS.decode(document)


def _without_surrogates(value: Any) -> Any:
    return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace") if isinstance(value, str) else value


def is_unread(key: str) -> bool:
    """Return True if a key is that of accounts that could not be read. Their ids are unknown, so they share a key."""
    return key.endswith(" None")


def platform(key: str) -> str:
    """Return the platform of an account key."""
    return key.rpartition(" ")[0]
