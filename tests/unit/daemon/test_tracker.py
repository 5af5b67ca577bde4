"""Notifications about passes and events, before and after a restart."""

from collections.abc import Sequence
from datetime import UTC, datetime

import pytest

from worker.daemon.notify.changes import Notification, NotifyState, decode
from worker.daemon.notify.tracker import Tracker
from worker.daemon.passes import AccountPass, Pass
from worker.model.errors import ErrorInfo
from worker.model.plans import AccountPlan, Action, Cause, Change, Notice, NoticeKind, Verdict
from worker.model.results import RunOutcome

NOW = datetime(2026, 12, 1, tzinfo=UTC)
DRIFT = Change("0212345678", Action.ACTIVATE, "INACTIVE", "ACTIVE", "listed", cause=Cause.EXTERNAL_DRIFT)


def drifted(account: str = "main") -> AccountPass:
    """Return an account with an external change."""
    return AccountPass(AccountPlan(account=account, counts={}, changes=(DRIFT,)))


def converged(account: str = "main") -> AccountPass:
    """Return a converged account."""
    return AccountPass(AccountPlan(account=account, counts={}))


def unreadable(account: str = "main") -> AccountPass:
    """Return an account that cannot be read."""
    error = ErrorInfo("ServerError", "the server failed")
    return AccountPass(AccountPlan(account=account, verdict=Verdict.ERROR, error=error, counts={}))


class Recorder:
    """Tracker that starts from a stored state. `titles` lists its notifications, `stored` is its last state."""

    def __init__(self, stored: bytes | None = None, names: tuple[str, ...] = ("main", "b")) -> None:
        self.titles: list[str] = []
        self.stored = stored
        self.writes = 0
        self.names = names
        state = NotifyState() if stored is None else decode(stored)
        assert state is not None
        self.tracker = Tracker(state, send=self._send, keep=self._store, names=lambda: self.names, version="1.0")

    def _send(self, news: Sequence[Notification]) -> None:
        assert news
        self.titles += [
            notification.title if notification.account is None else f"{notification.account}: {notification.title}"
            for notification in news
        ]

    def _store(self, data: bytes) -> None:
        self.stored = data
        self.writes += 1

    def passes(self, *accounts: AccountPass) -> None:
        """Report a pass."""
        self.tracker.on_pass(Pass("r1", NOW, NOW, RunOutcome.CONVERGED, accounts))

    def event(self, name: str, **fields: object) -> None:
        """Report an event of the daemon."""
        self.tracker.on_event(f"watch.{name}", fields)


def test_finding_is_reported_once() -> None:
    """Further passes that find the same do not store the state again."""
    tracker = Recorder()
    for _ in range(3):
        tracker.passes(drifted(), converged("b"))
    assert tracker.titles == ["main: 1 number changed externally"]
    assert tracker.writes == 1
    tracker.passes(unreadable("b"))
    tracker.passes(converged(), converged("b"))
    assert tracker.titles[1:] == [
        "b: failing: the server failed (ServerError)",
        "main: external changes were reverted or acknowledged",
        "b: working again",
    ]


@pytest.mark.parametrize("account", [None, "main"])
def test_start_and_end_of_a_suspension_are_reported(account: str | None) -> None:
    tracker = Recorder()
    tracker.event("suspended", account=account, reason="moving", by=None, until=None)
    tracker.passes(converged(), converged("b"))
    assert [title for title in tracker.titles if "moving" in title]
    reported = len(tracker.titles)
    tracker.event("resumed", account=account)
    tracker.passes(converged(), converged("b"))
    assert len(tracker.titles) == reported + 1
    tracker.passes(converged(), converged("b"))
    assert len(tracker.titles) == reported + 1


def test_unreported_change_of_state_is_stored() -> None:
    """A notice that ended without a notification is reported again after a restart."""
    soon = Notice(NoticeKind.EXPIRING, "its registration ends on 2026-12-01", "0212345678")
    expiring = AccountPass(AccountPlan(account="main", counts={}, notices=(soon,)))
    before_restart = Recorder()
    before_restart.passes(expiring)
    before_restart.passes(converged())
    assert len(before_restart.titles) == 1
    after_restart = Recorder(before_restart.stored)
    after_restart.passes(expiring)
    assert after_restart.titles == before_restart.titles


def test_restart_does_not_repeat_notifications() -> None:
    """The end of a state reported before the restart is reported."""
    before_restart = Recorder()
    before_restart.event("suspended", account="b", reason="moving", by=None, until=None)
    before_restart.passes(drifted(), converged("b"))
    after_restart = Recorder(before_restart.stored)
    after_restart.event("started", accounts=2, mode="apply")
    after_restart.event("suspended", account="b", reason="moving", by=None, until=None)
    after_restart.passes(drifted(), converged("b"))
    assert after_restart.titles == ["watching 2 accounts (senderid 1.0)"]
    after_restart.passes(converged())
    assert after_restart.titles[1:] == ["main: external changes were reverted or acknowledged"]


def test_suspensions_of_one_and_all_accounts_are_reported() -> None:
    """The end of a suspension is reported even if it ended while the daemon was stopped."""
    tracker = Recorder()
    tracker.event("suspended", account=None, reason=None, by=None, until=None)
    tracker.event("suspended", account="main", reason="moving", by="ops", until=None)
    tracker.passes(converged(), converged("b"))
    assert tracker.titles == [
        "writes suspended: no reason given",
        "main: writes suspended: moving",
    ]
    tracker.event("resumed", account=None)
    tracker.passes(converged())
    assert tracker.titles[2:] == ["no longer suspended"]
    restarted = Recorder(tracker.stored)
    restarted.passes(converged())
    assert restarted.titles == ["main: no longer suspended"]


def test_invalid_files_and_settings_are_reported_until_fixed() -> None:
    tracker = Recorder()
    tracker.event("file_broken", file="a.yaml", error_code="X", error_message="a.yaml:1:1: no")
    tracker.event("file_broken", file="a.yaml", error_code="X", error_message="a.yaml:2:1: no")
    tracker.event("reloaded", accounts=2, error_code="SettingsError", error_message="w.yaml:1:1: no")
    tracker.event("file_mended", file="a.yaml")
    tracker.event("reloaded", accounts=2, error_code=None, error_message=None)
    assert tracker.titles == [
        "a.yaml is invalid; using its last valid version, if any",
        "settings is invalid; using its last valid version, if any",
        "a.yaml is valid again or was deleted",
        "settings is valid again or was deleted",
    ]
    tracker.event("file_broken", file="b.yaml", error_code="X", error_message="b.yaml:1:1: no")
    restarted = Recorder(tracker.stored)
    restarted.event("started", accounts=2)
    assert restarted.titles == ["watching 2 accounts (senderid 1.0)", "b.yaml is valid again or was deleted"]


def test_removed_account_is_forgotten() -> None:
    tracker = Recorder()
    tracker.passes(drifted(), drifted("b"))
    tracker.names = ("b",)
    tracker.passes(drifted("b"))
    assert len(tracker.titles) == 2
    tracker.names = ("main", "b")
    tracker.passes(drifted())
    assert tracker.titles[2:] == ["main: 1 number changed externally"]


def test_stop_is_reported_and_backoff_is_not() -> None:
    tracker = Recorder()
    tracker.event("backoff", account="main", attempts=1, duration_ms=1)
    tracker.event("stopping", error_code="Interrupted", error_message="stopped by SIGTERM")
    assert tracker.titles == ["stopped watching: stopped by SIGTERM"]
    assert tracker.writes == 0


def test_failed_read_between_two_passes_does_not_repeat_notifications() -> None:
    tracker = Recorder()
    tracker.passes(drifted())
    tracker.passes(unreadable())
    tracker.passes(drifted())
    assert tracker.titles == [
        "main: 1 number changed externally",
        "main: failing: the server failed (ServerError)",
        "main: working again",
    ]
