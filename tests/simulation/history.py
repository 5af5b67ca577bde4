"""What happened in one simulated world, in one order, as the model saw it: what the oracles read."""

import asyncio
from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple

from tests.support.loopback import signing_key

__all__ = ["Answered", "Edit", "Event", "History", "Moment", "Request"]


class Moment(NamedTuple):
    """A place in the order of everything, and its virtual time in seconds."""

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
    """What a client could know of a request once it heard of it."""

    YES = "carried out"
    NO = "refused for good"
    LATER = "not carried out, try again"
    DOUBT = "nobody knows"


@dataclass(slots=True)
class Request:
    """One request on the wire.

    `asked` is the status of a write. `shown` is the account when a read was answered, and `hidden` the numbers that the
    reply left out all the same.
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
        """The numbers that the reply to a read holds."""
        return {phone: status for phone, status in (self.shown or {}).items() if phone not in self.hidden}

    @property
    def key(self) -> str:
        """The API key that signed it."""
        return signing_key(self.header)

    @property
    def heard_account(self) -> bool:
        """Whether the run read a reply of status 200 to this read."""
        return self.method == "GET" and self.ended is not None and self.status == 200

    @property
    def writes(self) -> bool:
        """Whether it is one that changes something."""
        return self.method == "PUT"


class Edit(NamedTuple):
    """Change by an operator: `after` is None if the number was removed."""

    moment: Moment
    phone: str
    before: str | None
    after: str | None


@dataclass(slots=True)
class History:
    """Everything, in its order."""

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
