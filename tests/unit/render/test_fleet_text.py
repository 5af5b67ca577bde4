"""The text of `senderid fleet status` and `senderid fleet publish`."""

from collections.abc import Sequence
from typing import Any

import pytest

from tests.support.snapshots import snapshot
from worker.model.fleet import (
    Budget,
    Canary,
    FleetStatus,
    FleetWorkerStatus,
    LaneCounts,
    Queue,
    Revision,
    RevisionState,
)
from worker.render.text import fleet

HOSTILE = "\x1b[31m\nroot\u202e"


def _revision(**fields: Any) -> Revision:
    values: dict[str, Any] = {
        "revision": 7,
        "published_at": "2026-12-01T00:00:00.000Z",
        "published_by": "kim",
        "host": "deploy-1",
        "commit": "c0ffee",
        "accounts": 1_200,
        "numbers": 24_000,
        "changed": 1_100,
        "removed": 3,
        "canary": 12,
        "state": RevisionState.ROLLING,
        "paused": False,
        "paused_by": None,
        "reason": None,
        "budget": Budget(None, 0, 0),
    }
    return Revision(**{**values, **fields})


def _worker(number: int, **fields: bool) -> FleetWorkerStatus:
    values = {"alive": True, "draining": False, **fields}
    started = "2026-12-01T00:00:00.000Z"
    return FleetWorkerStatus(number, f"host-{number}", 100 + number, f"run-{number}", started, 256, 1_000, **values)


def _status(revision: Revision | None, workers: Sequence[FleetWorkerStatus] = (), canary: Canary | None = None) -> str:
    queue = Queue(1_000, 2.4, 4, 17, 3, 2, 5)
    return fleet.status(
        FleetStatus(
            at="2026-12-01T00:01:00.000Z",
            revision=revision,
            canary=canary,
            queue=queue,
            lanes=LaneCounts(1_024, 768, 1),
            workers=tuple(workers),
        )
    )


def test_status_has_revision_queue_lanes_and_workers() -> None:
    page = _status(_revision(), [_worker(1), _worker(2, draining=True), _worker(3, alive=False)])
    assert page == snapshot("fleet_status.txt", page)


def test_empty_fleet_says_which_commands_come_next() -> None:
    lines = _status(None).splitlines()
    assert lines[0] == "No revision is published yet: run `senderid fleet publish`."
    assert lines[-1] == "No worker is running: start `senderid fleet worker`."


@pytest.mark.parametrize(
    ("fields", "state"),
    [
        ({}, ""),
        ({"state": RevisionState.CANARY}, "Canary: 12 accounts first; the other accounts follow if these succeed.\n"),
        (
            {"paused": True, "paused_by": "lee"},
            "Paused by lee: no reason given. Continue with `senderid fleet resume`.\n",
        ),
        (
            {"paused": True, "reason": "too many changes", "state": RevisionState.CANARY},
            "Paused: too many changes. Publish a corrected revision, or continue with `senderid fleet resume`.\n",
        ),
    ],
)
def test_published_revision_says_what_it_waits_for(fields: dict[str, Any], state: str) -> None:
    line = "Revision 7: 1,200 accounts, 24,000 numbers; 1,100 changed, 3 removed.\n"
    assert fleet.published(_revision(**fields)) == line + state
    assert state in _status(_revision(**fields))


def test_status_names_the_suspended_accounts_that_a_canary_waits_for() -> None:
    revision = _revision(state=RevisionState.CANARY)
    page = _status(revision, canary=Canary(3, ("a", f"b{HOSTILE}")))
    assert "The canary waits for accounts that are suspended or in a maintenance window: a, b" in page
    assert "\x1b" not in page
    assert "waits" not in _status(revision, canary=Canary(3, ()))


def test_control_characters_of_users_and_hosts_are_escaped() -> None:
    page = _status(_revision(published_by=HOSTILE, host=HOSTILE, paused=True, paused_by=HOSTILE, reason=HOSTILE))
    assert "\x1b" not in page
    assert "\u202e" not in page
    assert len(page.splitlines()) == 5
