"""Values of a fleet: its revisions, its workers and its status."""

from enum import StrEnum
from typing import Final, Literal

from msgspec import Struct

from worker.model.plans import Count, Timestamp

__all__ = [
    "LANES",
    "Budget",
    "Canary",
    "FleetStatus",
    "FleetWorkerStatus",
    "LaneCounts",
    "Queue",
    "Revision",
    "RevisionState",
]

LANES: Final = 1024
"""Count of lanes: enough to spread the API keys of a reseller over workers."""


class RevisionState(StrEnum):
    """The state of a revision: only its canary is written, or all accounts are."""

    CANARY = "canary"
    ROLLING = "rolling"


class Budget(Struct, frozen=True):
    """The activations and deactivations that workers have planned in the current interval, and the limit of each.

    `limit` is None if the revision has no limit.
    """

    limit: Count | None
    activations: Count
    deactivations: Count


class Revision(Struct, frozen=True, kw_only=True):
    """A published desired state of all accounts.

    `changed` and `removed` are counts of accounts, compared with the revision before. `canary` is the count of accounts
    that are written first. While `paused` is True, workers read all accounts and write none. `paused_by` is the user
    who paused the fleet; None if a safety rule did, and `reason` says why.
    """

    revision: Count
    published_at: Timestamp
    published_by: str
    host: str
    commit: str | None
    accounts: Count
    numbers: Count
    changed: Count
    removed: Count
    canary: Count
    state: RevisionState
    paused: bool
    paused_by: str | None
    reason: str | None
    budget: Budget


class LaneCounts(Struct, frozen=True):
    """Counts of the lanes of a fleet: in total, leased by workers (`held`), and requested by another run (`wanted`)."""

    total: Count
    held: Count
    wanted: Count


class Queue(Struct, frozen=True):
    """The accounts of a fleet by what workers do with them next.

    `due` accounts wait for a worker, for `oldest_due_seconds` at most. `in_progress` accounts are read or written now.
    `unsettled` accounts changed in the current revision and were not reconciled since. `failing` accounts rest after
    failures. `crashed` accounts were in progress when a worker died. `held` accounts have changes that
    workers may not write now, because of a pause, a suspension or a maintenance window.
    """

    due: Count
    oldest_due_seconds: float
    in_progress: Count
    unsettled: Count
    failing: Count
    crashed: Count
    held: Count


class FleetWorkerStatus(Struct, frozen=True):
    """A process that reconciles accounts of a fleet.

    `lanes` is the count of its lanes, and `accounts` how many accounts it has reconciled since its start.
    `draining` is True while it ends. `alive` is False after its leases have ended, until another worker takes over.
    """

    worker: Count
    host: str
    pid: Count
    run_id: str
    started_at: Timestamp
    lanes: Count
    accounts: Count
    draining: bool
    alive: bool


class Canary(Struct, frozen=True):
    """The accounts of a canary that were not reconciled yet, which the other accounts of the revision wait for.

    `held` are the names of the first of them that a suspension or a maintenance window delays.
    """

    waiting: Count
    held: tuple[str, ...]


class FleetStatus(Struct, frozen=True, kw_only=True):
    """The document of `senderid fleet status`. `revision` is None before the first `senderid fleet publish`.

    `canary` is None if the current revision waits for none.
    """

    schema: Literal["senderid.fleet/v1"] = "senderid.fleet/v1"
    at: Timestamp
    revision: Revision | None
    canary: Canary | None
    queue: Queue
    lanes: LaneCounts
    workers: tuple[FleetWorkerStatus, ...]
