"""The events of a simulated world in one order, as the model observed them. The oracles read this history."""

import asyncio
from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple

from tests.support.loopback import signing_key

__all__ = ["Edit", "Event", "History", "Moment", "Request", "ResponseKind"]


class Moment(NamedTuple):
    """A position in the order of all events, and its virtual time in seconds."""

    order: int
    at: float


class Event(NamedTuple):
    """One line of the trace."""

    at: float
    what: str
    run: str
    phone: str
    detail: str


class ResponseKind(Enum):
    """What a client can know of a response that it received."""

    ACCEPTED = "took effect"
    REFUSED = "refused permanently"
    RETRYABLE = "had no effect, may be sent again"
    AMBIGUOUS = "may have taken effect"


@dataclass(slots=True)
class Request:
    """One request on the wire.

    `requested` is the status of a write. `account_at_response` is the account when the API responded to a read, and
    `omitted` the numbers that the response nevertheless lacks.
    """

    run: str
    method: str
    phone: str
    requested: str
    header: str
    sent: Moment
    fault: str
    arrived: Moment | None = None
    effect: bool = False
    account_at_response: dict[str, str] | None = None
    omitted: frozenset[str] = frozenset()
    distorted: bool = False
    """True if a response with status 200 is not the account."""
    ended: Moment | None = None
    response_kind: ResponseKind | None = None
    status: int | None = None
    hold: float = 0.0
    """Seconds in which the response forbids to send anything."""

    @property
    def visible(self) -> dict[str, str]:
        """Return the numbers in the response to a read."""
        return {
            phone: status for phone, status in (self.account_at_response or {}).items() if phone not in self.omitted
        }

    @property
    def key(self) -> str:
        """Return the API key that signed the request."""
        return signing_key(self.header)

    @property
    def received_account(self) -> bool:
        """Return True if the run received a response with status 200 to this read."""
        return self.method == "GET" and self.ended is not None and self.status == 200

    @property
    def writes(self) -> bool:
        """Return True if the request is a write."""
        return self.method == "PUT"


class Edit(NamedTuple):
    """A change by an operator. `after` is None if the number was removed."""

    moment: Moment
    phone: str
    before: str | None
    after: str | None


@dataclass(slots=True)
class History:
    """All events in order."""

    trace: list[Event] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)
    edits: list[Edit] = field(default_factory=list)
    active: list[tuple[Moment, int, Request | None]] = field(default_factory=list)
    """The count of ACTIVE numbers after each change, and the request that made the change."""

    def mark(self, what: str, run: str = "", phone: str = "", detail: str = "") -> Moment:
        """Add a line to the trace."""
        at = asyncio.get_running_loop().time()
        self.trace.append(Event(at, what, run, phone, detail))
        return Moment(len(self.trace), at)
