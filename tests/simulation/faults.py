"""Every fault of one request, according to the API's documentation and the design, with its frequency."""

from collections.abc import Mapping
from random import Random
from typing import Final, NamedTuple

__all__ = ["CALM", "FAULTS", "PROFILES", "Fault", "draw"]


class Fault(NamedTuple):
    """The fate of a request.

    `arrives`: in time, late (after the client gave up) or never. `ends` is what the client receives: the response
    (`response`), a connection that failed (`refused`, `unreachable`), one that broke (`broken`), a truncated response
    (`half`), or nothing in time (`silence`). `instead` is what the server does instead of its work, or `after` it.
    """

    name: str
    arrives: str = "in time"
    ends: str = "response"
    instead: str = ""
    after: bool = False


CALM: Final = Fault("none")

FAULTS: Final[Mapping[str, Fault]] = {
    fault.name: fault
    for fault in (
        CALM,
        Fault("refused", arrives="never", ends="refused"),
        Fault("unreachable", arrives="never", ends="unreachable"),
        Fault("reset before", arrives="never", ends="broken"),
        Fault("reset after", ends="broken"),
        Fault("lost", arrives="never", ends="silence"),
        Fault("late", arrives="late", ends="silence"),
        Fault("slow", ends="silence"),
        Fault("half", ends="half"),
        Fault("error before", instead="error"),
        Fault("error after", instead="error", after=True),
        Fault("garbage", instead="garbage", after=True),
        Fault("stale", instead="stale", after=True),
        Fault("untrue", instead="untrue"),
        Fault("limited", instead="limited"),
        Fault("duplicated", instead="duplicated"),
        Fault("rejected", instead="rejected"),
        Fault("other account", instead="other account", after=True),
        Fault("unauthorized", instead="unauthorized"),
        Fault("redirected", instead="redirected"),
        Fault("stranger", instead="stranger", after=True),
        Fault("emptied", instead="emptied", after=True),
        Fault("shrunk", instead="shrunk", after=True),
    )
}

_NO_ACCOUNT: Final = ("stranger", "emptied", "shrunk")
"""Responses with status 200 that are JSON but not the account: another shape, an empty object, half of the numbers."""

_FATAL: Final = ("other account", "unauthorized", "redirected")
"""Faults that end a whole account. They must be rare, or they would hide all others."""

Profile = tuple[float, Mapping[str, float]]
"""The share of requests that meet a fault, and the weight of each."""

_EVENLY: Final = {
    name: 0.2 if name in _FATAL else 0.5 if name == "untrue" else 1.0
    for name in FAULTS
    if name not in {"none", *_NO_ACCOUNT}
}

PROFILES: Final[Mapping[str, Profile]] = {
    "calm": (0.0, _EVENLY),
    "flaky": (0.15, _EVENLY),
    "hostile": (0.35, _EVENLY),
    "mute": (0.35, {"lost": 1.0, "late": 3.0, "slow": 1.0, "unreachable": 0.5}),
    "busy": (0.25, {"limited": 3.0, "duplicated": 0.5, "error before": 1.0}),
    "lying": (0.4, {"stale": 2.0, "untrue": 1.0, "garbage": 1.0, "half": 1.0, "error after": 1.0}),
    "broken": (0.4, {"reset before": 1.0, "reset after": 1.0, "refused": 1.0, "half": 0.5}),
    "strict": (0.2, {"rejected": 4.0, "limited": 1.0, "unauthorized": 0.3}),
    "tardy": (0.6, {"late": 3.0, "rejected": 2.0, "refused": 2.0, "lost": 0.5}),
    "strange": (0.35, {"stranger": 2.0, "emptied": 1.0, "shrunk": 3.0, "reset after": 0.5, "late": 0.5}),
}


def draw(profile: str, chance: Random) -> Fault:
    """Return the fault of the next request."""
    share, weights = PROFILES[profile]
    if chance.random() >= share:
        return CALM
    (name,) = chance.choices(list(weights), list(weights.values()))
    return FAULTS[name]
