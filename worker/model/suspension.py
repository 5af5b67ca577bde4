"""Why, by whom and until when nothing is written: what settings and desired-state files say of it."""

from datetime import datetime
from typing import Annotated

from msgspec import Meta, Struct

from worker.model.messages import Message
from worker.model.times import DEFAULT_ZONE, load_zone, parse_moment, to_utc

__all__ = ["Maintenance", "Suspend", "parse_until"]


def parse_until(text: str) -> datetime:
    """The moment of a text such as `2026-12-01`, its midnight, in UTC; in Korea unless an offset or Z follows.

    Raises:
        ValueError: it is none.
    """
    try:
        return to_utc(parse_moment(text), load_zone(DEFAULT_ZONE))
    except ValueError:
        msg = Message("until should be a moment: 2026-12-01, 2026-12-01T09:00 (Korean time) or 2026-12-01T09:00+09:00")
        raise ValueError(msg) from None


class Suspend(Struct, frozen=True, forbid_unknown_fields=True):
    """Keeps `senderid watch` from writing as long as any of this is given and `until` is not past."""

    reason: Annotated[str | None, Meta(description="Why nothing is to be written.")] = None
    by: Annotated[str | None, Meta(description="Who wants it so.")] = None
    until: Annotated[
        str | None,
        Meta(description="When it ends by itself: 2026-12-01 or 2026-12-01T09:00, Korean time without an offset."),
    ] = None

    @property
    def ends(self) -> datetime | None:
        """When it ends by itself, UTC; None where it does not."""
        return None if self.until is None else parse_until(self.until)

    def holds(self, now: datetime) -> bool:
        """Whether it is in force."""
        given = self.reason is not None or self.by is not None or self.until is not None
        return given and (self.ends is None or now < self.ends)


class Maintenance(Struct, frozen=True, forbid_unknown_fields=True):
    """Times of every week in which `senderid watch` looks and writes nothing."""

    weekly: Annotated[
        str | None, Meta(description='Days and times, such as "Sun 02:00-04:00". Null: there are none.')
    ] = None
    reason: Annotated[str | None, Meta(description="Why nothing is written then.")] = None
