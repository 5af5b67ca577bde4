"""Whether a daemon is alive, from its own state or from its record in the ledger."""

from datetime import UTC, datetime, timedelta

import pytest

from tests.support.ledgers import daemon_record
from worker.model.reads import HealthStatus, Segment, SyncStatus
from worker.model.status_page import AccountStatus, DaemonState, liveness

LAST = datetime(2026, 11, 24, 0, 10, tzinfo=UTC)
"""The last pass of the record. The next one is due after five minutes."""


@pytest.mark.parametrize(
    ("seconds", "state"), [(0, "live"), (300, "live"), (525, "live"), (526, "silent"), (600, "silent")]
)
def test_killed_daemon_is_silent_within_two_intervals(seconds: int, state: str) -> None:
    own = DaemonState(last_pass="2026-11-24T00:10:00Z", next_pass="2026-11-24T00:15:00Z", outcome="converged")
    now = LAST + timedelta(seconds=seconds)
    for actual in (liveness(None, daemon_record(), now), liveness(own, None, now)):
        assert (actual.state, actual.late_at) == (state, "2026-11-24T00:18:45Z")


def test_daemon_may_be_unknown_starting_or_stopped() -> None:
    stopped = liveness(None, daemon_record(ended_at="2026-11-24T00:11:00.000Z"), LAST)
    assert (stopped.state, stopped.host, stopped.next_pass) == ("stopped", "box", None)
    assert liveness(None, None, LAST).state == "none"
    assert liveness(DaemonState(), daemon_record(), LAST).state == "starting"
    assert liveness(DaemonState(last_pass="2026-11-24T00:10:00Z"), None, LAST).state == "live"


def test_account_that_no_run_has_read_is_unknown() -> None:
    never = AccountStatus(name="main")
    assert (never.segment, never.platform) == (Segment.UNKNOWN, "")
    read = never.replaced(at="2026-11-24T00:00:00Z", sync=SyncStatus.IN_SYNC, health=HealthStatus.FAILED)
    assert read.is_later_than(never)
    assert not never.is_later_than(read)
    assert read.segment is Segment.FAILED
