"""Why, by whom and until when nothing is written: what settings and desired-state files say of it."""

import re
from datetime import UTC, datetime
from typing import Annotated, Final
from zoneinfo import ZoneInfo

from msgspec import Meta, Struct

__all__ = ["Suspend", "moment"]

_KOREA: Final = "Asia/Seoul"

_WRITTEN: Final = re.compile(r"\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d)?(?:Z|[+-]\d\d:\d\d)?)?", re.ASCII)


def moment(text: str) -> datetime:
    """The moment of a text: `2026-12-01`, its midnight, or `2026-12-01T09:00`, in Korea unless an offset or Z follows.

    Raises:
        ValueError: it is none.
    """
    try:
        found = datetime.fromisoformat(text if _WRITTEN.fullmatch(text) else "")
        # of moments near the ends of what datetime knows, not all have a UTC
        return (found if found.tzinfo else found.replace(tzinfo=ZoneInfo(_KOREA))).astimezone(UTC)
    except (ValueError, OverflowError):
        msg = "until should be a moment: 2026-12-01, 2026-12-01T09:00 (Korean time) or 2026-12-01T09:00+09:00"
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
        return None if self.until is None else moment(self.until)

    def holds(self, now: datetime) -> bool:
        """Whether it is in force."""
        given = self.reason is not None or self.by is not None or self.until is not None
        return given and (self.ends is None or now < self.ends)
