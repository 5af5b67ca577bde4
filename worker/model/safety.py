"""Safety settings: limits on deactivations, the in-use guard, and early warnings."""

from typing import Annotated, Final, Literal

from msgspec import Meta, Struct

from worker.model.accounts import PairSwaps

__all__ = ["COUNT_CAP", "HOURS_CAP", "Health", "InUse", "Safety"]

COUNT_CAP: Final = 999_999_999
"""Maximum of a count: documents allow nine digits."""
HOURS_CAP: Final = 8784
"""Maximum of `InUse.hours`: the hours of a leap year."""


class InUse(Struct, frozen=True, forbid_unknown_fields=True):
    """The in-use guard, which holds the deactivation of numbers that send messages.

    A desired-state file may override it. It is off by default, because it costs one more read per deactivation and some
    reads per account.
    """

    enabled: Annotated[bool, Meta(description="true: check each number before it is deactivated.")] = False
    hours: Annotated[
        int, Meta(ge=1, le=HOURS_CAP, description="A number that sent messages within this many hours is in use.")
    ] = 24
    on_unknown: Annotated[
        Literal["hold", "allow"],
        Meta(description="Numbers whose use the API does not report: hold or allow the deactivation."),
    ] = "hold"


class Health(Struct, frozen=True, forbid_unknown_fields=True):
    """Thresholds of early warnings: registrations that end soon, and registration slots that are nearly used up."""

    expires_within_days: Annotated[
        int, Meta(ge=0, le=3650, description="Warn of registrations that end within this many days.")
    ] = 30
    limit_percent: Annotated[
        int, Meta(ge=1, le=100, description="Warn from this share of used registration slots, per cent.")
    ] = 90


class Safety(Struct, frozen=True, forbid_unknown_fields=True):
    """Limits on the plan of one account. A desired-state file may override each of them for its account."""

    max_deactivations: Annotated[
        int | str,
        Meta(description="Deactivations allowed in one plan: a number, or a percentage of the ACTIVE numbers."),
    ] = "30%"
    min_active: Annotated[int, Meta(ge=0, le=COUNT_CAP, description="Numbers that must stay ACTIVE.")] = 1
    pair_swaps: Annotated[
        PairSwaps,
        Meta(
            description="Deactivations of an account whose activations are impossible: warn adds a notice, hold holds "
            "them."
        ),
    ] = "warn"
