"""Suspension and maintenance windows, in which `senderid watch` does not write."""

from datetime import datetime
from typing import Annotated

from msgspec import Meta, Struct

from worker.model.messages import Message
from worker.model.times import DEFAULT_ZONE, load_zone, parse_moment, to_utc

__all__ = ["Maintenance", "Suspend", "parse_until"]


def parse_until(text: str) -> datetime:
    """Parse a day, which means its midnight, or a time, and convert it to UTC. Without an offset it is Korean time.

    Raises:
        ValueError: the text is not a time.
    """
    try:
        return to_utc(parse_moment(text), load_zone(DEFAULT_ZONE))
    except ValueError:
        raise ValueError(
            Message("invalid until: use 2026-12-01, 2026-12-01T09:00 (Korean time) or 2026-12-01T09:00+09:00")
        ) from None


class Suspend(Struct, frozen=True, forbid_unknown_fields=True):
    """Suspension of the writes of `senderid watch`. If any field is set, the suspension is in force until `until`."""

    reason: Annotated[str | None, Meta(description="Reason.")] = None
    by: Annotated[str | None, Meta(description="Responsible person.")] = None
    until: Annotated[
        str | None,
        Meta(description="End: 2026-12-01 or 2026-12-01T09:00; Korean time without an offset."),
    ] = None

    @property
    def ends(self) -> datetime | None:
        """The end of the suspension in UTC; None if it has no end."""
        return None if self.until is None else parse_until(self.until)

    def is_in_force(self, now: datetime) -> bool:
        """Return True if the suspension is in force at `now`."""
        is_set = self.reason is not None or self.by is not None or self.until is not None
        return is_set and (self.ends is None or now < self.ends)


class Maintenance(Struct, frozen=True, forbid_unknown_fields=True):
    """Weekly maintenance windows, in which `senderid watch` reads but does not write."""

    weekly: Annotated[str | None, Meta(description='Days and times, such as "Sun 02:00-04:00". Null: none.')] = None
    reason: Annotated[str | None, Meta(description="Reason.")] = None
