"""The events of a simulated world in one order, as the model observed them. The oracles read this history."""

import asyncio
from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple

from tests.support.loopback import signing_key

__all__ = ["Answered", "Edit", "Event", "History", "Moment", "Request"]


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
    said: str


class Answered(Enum):
    """What a client can know of a response that it received."""

    YES = "carried out"
    NO = "refused for good"
    LATER = "not carried out, try again"
    DOUBT = "nobody knows"


@dataclass(slots=True)
class Request:
    """One request on the wire.

    `asked` is the status of a write. `shown` is the account when a read was answered, and `hidden` the numbers that the
    response omitted nevertheless.
    """

    run: str
    method: str
    phone: str
    asked: str
    header: str
    sent: Moment
    fault: str
    arrived: Moment | None = None
    effect: bool = False
    shown: dict[str, str] | None = None
    hidden: frozenset[str] = frozenset()
    distorted: bool = False
    """Whether the reply of status 200 is not the account."""
    ended: Moment | None = None
    answered: Answered | None = None
    status: int | None = None
    hold: float = 0.0
    """Seconds in which the answer forbids to send anything."""

    @property
    def visible(self) -> dict[str, str]:
        """Return the numbers in the response to a read."""
        return {phone: status for phone, status in (self.shown or {}).items() if phone not in self.hidden}

    @property
    def key(self) -> str:
        """Return the API key that signed the request."""
        return signing_key(self.header)

    @property
    def heard_account(self) -> bool:
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
    """How many numbers were ACTIVE after each change, and by which request it was made."""

    def mark(self, what: str, run: str = "", phone: str = "", said: str = "") -> Moment:
        """Add a line to the trace."""
        at = asyncio.get_running_loop().time()
        self.trace.append(Event(at, what, run, phone, said))
        return Moment(len(self.trace), at)
