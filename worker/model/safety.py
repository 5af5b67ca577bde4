"""Settings of two precautions: whether numbers in use are held, and what is told before it needs a person."""

from typing import Annotated, Final, Literal

from msgspec import Meta, Struct

from worker.model.accounts import PairSwaps

__all__ = ["Health", "InUse", "Safety"]


class InUse(Struct, frozen=True, forbid_unknown_fields=True):
    """Whether a number that sends messages is kept from being deactivated; a desired-state file may set its account's.

    Each number that a plan deactivates costs one more read, and each account some; so it is off until it is asked for.
    """

    enabled: Annotated[bool, Meta(description="true: ask before each deactivation.")] = False
    hours: Annotated[int, Meta(ge=1, le=8784, description="What sent messages so many hours ago is in use.")] = 24
    on_unknown: Annotated[
        Literal["hold", "allow"], Meta(description="What becomes of numbers of which the API does not tell their use.")
    ] = "hold"


class Health(Struct, frozen=True, forbid_unknown_fields=True):
    """When plans and results remark on what is going to need a person."""

    expires_within_days: Annotated[
        int, Meta(ge=0, le=3650, description="Numbers whose registration ends so soon are told.")
    ] = 30
    limit_percent: Annotated[
        int, Meta(ge=1, le=100, description="Told from this share of the numbers that may be registered on, per cent.")
    ] = 90


COUNT_CAP: Final = 999_999_999
"""No count is larger. What is, is a slip, and would not go into the documents that carry it."""


class Safety(Struct, frozen=True, forbid_unknown_fields=True):
    """What the plan of an account may deactivate; a desired-state file may set each for its account."""

    max_deactivations: Annotated[
        int | str,
        Meta(description="Deactivations that one plan may hold: a number, or a percentage of the ACTIVE numbers."),
    ] = "30%"
    min_active: Annotated[int, Meta(ge=0, le=COUNT_CAP, description="ACTIVE numbers that a plan must leave.")] = 1
    pair_swaps: Annotated[
        PairSwaps,
        Meta(
            description="Deactivations of an account that has activations which cannot be done: warn adds a notice, "
            "hold holds them."
        ),
    ] = "warn"
