"""Faults that the simulated API can inject, and profiles of faults that occur at random."""

from collections import defaultdict, deque
from enum import Enum
from random import Random
from typing import Final, NamedTuple

__all__ = ["PROFILES", "Fault", "Faults", "Profile"]


class Fault(Enum):
    """A fault of one request or response. Its value describes it."""

    INTERNAL_ERROR = "500 in the API's JSON; nothing takes effect"
    BAD_GATEWAY = "502 in a proxy's HTML; nothing takes effect"
    UNAVAILABLE = "503 in a proxy's HTML; nothing takes effect"
    GATEWAY_TIMEOUT = "504 without a body; a write takes effect"
    REQUEST_TIMEOUT = "408; nothing takes effect"
    FAILS_AFTERWARDS = "500; a write takes effect"
    RATE_LIMITED = "429, Retry-After in seconds"
    RATE_LIMITED_FRACTIONALLY = "429, Retry-After with a fraction of a second"
    RATE_LIMITED_UNTIL = "429, Retry-After as a date"
    RATE_LIMITED_SILENTLY = "429 without Retry-After"
    RATE_LIMITED_BEFORE = "429, a negative Retry-After"
    RATE_LIMITED_OBSCURELY = "429, a Retry-After that is neither number nor date"
    RATE_LIMITED_FOR_A_YEAR = "429, Retry-After of a year"
    RESET_BEFORE = "the connection is reset; nothing takes effect"
    RESET_AFTER = "the connection is reset; a write takes effect"
    TRUNCATED = "the connection closes in the middle of the body; a write takes effect"
    HTML = "200 with HTML; a write takes effect"
    GARBAGE = "200 with bytes that are not text; a write takes effect"
    NO_CONTENT = "204; a write takes effect"
    OTHER_JSON = "200 with JSON of another shape; a write takes effect"
    NO_ACCOUNT_ID = "a read gets the account document without its accountId"
    NO_NUMBER_LIST = "a read gets the account document without its senderIds"
    NULL_NUMBER_LIST = "a read gets the account document with null for senderIds"
    EMPTY_OBJECT = "a read gets an empty object, although the account has numbers"
    SHRUNKEN = "a read gets every second number only"
    NOT_GZIP = "200 that claims to be gzip but is not; a write takes effect"
    BLANK_ENCODING = "the response has a blank Content-Encoding"
    X_GZIP = "the response is compressed with the name x-gzip"
    TWO_GZIP_MEMBERS = "the response is compressed in two gzip members"
    STALE_ROWS = "the response shows every number as before the write"
    UNKNOWN_FIELDS = "the response has unknown fields"
    ONE_NUMBER_RESPONSE = "the response to a write has that number only"
    SHORT_RESPONSE = "the response to a write is phoneNumber and status only"
    SLOW = "the response is delayed by a third of a second"
    DRIP = "the response is sent in small pieces"
    STALL = "no response; a write takes effect"
    DUPLICATED_SIGNATURE = "403 DuplicatedSignature for a new signature"
    CLOCK_SKEW = "403 RequestTimeTooSkewed"
    STRANGE_DATE = "the Date header cannot be read"
    ESCAPES = "500 whose message holds line breaks and terminal escapes"
    REDIRECT = "307 to another host"
    INVALID_KEY = "400 InvalidApiKey"
    WRONG_SIGNATURE = "403 SignatureDoesNotMatch"
    FORBIDDEN = "403 without the scope"
    NOT_FOUND = "404"
    NOT_REGISTERED = "400 InvalidSenderId"
    NOT_WRITABLE = "409 FailedToUpdate"
    TEAPOT = "418"
    EDITED_BEFORE = "a user blocks the number right before the request"
    EDITED_AFTER = "a user switches the number back right after the request"
    OTHER_ACCOUNT = "the response is of another account"
    BOMB = "200 with few compressed bytes that expand to hundreds of megabytes"
    FLOOD = "200 with 80 MB of compressed bytes"

    @property
    def takes_effect(self) -> bool:
        """Return True if a write with this fault takes effect."""
        return self in _CARRYING_OUT


_CARRYING_OUT: Final = frozenset(
    {
        Fault.GATEWAY_TIMEOUT,
        Fault.FAILS_AFTERWARDS,
        Fault.RESET_AFTER,
        Fault.TRUNCATED,
        Fault.HTML,
        Fault.GARBAGE,
        Fault.NO_CONTENT,
        Fault.OTHER_JSON,
        Fault.NO_ACCOUNT_ID,
        Fault.NO_NUMBER_LIST,
        Fault.NULL_NUMBER_LIST,
        Fault.EMPTY_OBJECT,
        Fault.SHRUNKEN,
        Fault.NOT_GZIP,
        Fault.BLANK_ENCODING,
        Fault.X_GZIP,
        Fault.TWO_GZIP_MEMBERS,
        Fault.STALE_ROWS,
        Fault.UNKNOWN_FIELDS,
        Fault.ONE_NUMBER_RESPONSE,
        Fault.SHORT_RESPONSE,
        Fault.SLOW,
        Fault.DRIP,
        Fault.STALL,
        Fault.STRANGE_DATE,
        Fault.EDITED_BEFORE,
        Fault.EDITED_AFTER,
        Fault.OTHER_ACCOUNT,
        Fault.BOMB,
        Fault.FLOOD,
    }
)


class Profile(NamedTuple):
    """A profile of faults that occur at random.

    `share` is the share of requests with a fault, from 0 to 1. `in_a_row` is the most consecutive faults of requests
    with the same method and number.
    """

    faults: tuple[Fault, ...]
    share: float
    in_a_row: int


_FLAKY: Final = (
    Fault.INTERNAL_ERROR,
    Fault.BAD_GATEWAY,
    Fault.UNAVAILABLE,
    Fault.RATE_LIMITED,
    Fault.RATE_LIMITED_UNTIL,
    Fault.RESET_BEFORE,
    Fault.RESET_AFTER,
    Fault.TRUNCATED,
    Fault.GARBAGE,
    Fault.SLOW,
    Fault.DUPLICATED_SIGNATURE,
    Fault.SHORT_RESPONSE,
    Fault.ONE_NUMBER_RESPONSE,
)
_HOSTILE: Final = (
    *_FLAKY,
    Fault.GATEWAY_TIMEOUT,
    Fault.REQUEST_TIMEOUT,
    Fault.FAILS_AFTERWARDS,
    Fault.RATE_LIMITED_SILENTLY,
    Fault.RATE_LIMITED_BEFORE,
    Fault.RATE_LIMITED_OBSCURELY,
    Fault.RATE_LIMITED_FOR_A_YEAR,
    Fault.HTML,
    Fault.NO_CONTENT,
    Fault.OTHER_JSON,
    Fault.NO_ACCOUNT_ID,
    Fault.NO_NUMBER_LIST,
    Fault.NULL_NUMBER_LIST,
    Fault.NOT_GZIP,
    Fault.STALE_ROWS,
    Fault.UNKNOWN_FIELDS,
    Fault.DRIP,
    Fault.STALL,
    Fault.STRANGE_DATE,
    Fault.ESCAPES,
)

PROFILES: Final = {
    "calm": Profile((), 0.0, 0),
    "flaky": Profile(_FLAKY, 0.1, 2),
    "hostile": Profile(_HOSTILE, 0.35, 3),
}
"""Profiles by name. They have only faults from which a correct client recovers. The other faults must be scripted."""


class Faults:
    """Source of the fault of each request: scripted faults first, then random faults of a profile."""

    def __init__(self, profile: str, seed: int) -> None:
        self._profile = PROFILES[profile]
        self._chance = Random(seed)  # noqa: S311 - repeatable, not secret
        self._scripts: dict[tuple[str, str | None], deque[Fault | None]] = defaultdict(deque)
        self._row: dict[tuple[str, str | None], int] = defaultdict(int)

    def script(self, method: str, phone: str | None, faults: list[Fault | None]) -> None:
        """Append the faults of the next requests with this method and number; the number None means any number.

        A fault None means a request without a fault.
        """
        self._scripts[method, phone].extend(faults)

    def next(self, method: str, phone: str | None) -> Fault | None:
        """Return the fault of a request, or None if it has no fault."""
        for key in ((method, phone), (method, None)):
            if self._scripts[key]:
                return self._scripts[key].popleft()
        faults, share, longest = self._profile
        draw = self._chance.random()
        key = (method, phone)
        if not faults or draw >= share or self._row[key] >= longest:
            self._row[key] = 0
            return None
        self._row[key] += 1
        return self._chance.choice(faults)
