"""Settings of two precautions: whether numbers in use are held, and what is told before it needs a person."""

from typing import Annotated, Literal

from msgspec import Meta, Struct

__all__ = ["Health", "InUse"]


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
