"""What the daemon's passes and events make news, also after a restart."""

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
    """An account with a number that others changed."""
    return AccountPass(AccountPlan(account=account, counts={}, changes=(DRIFT,)))


def fine(account: str = "main") -> AccountPass:
    """An account as desired."""
    return AccountPass(AccountPlan(account=account, counts={}))


def broken(account: str = "main") -> AccountPass:
    """An account that cannot be read."""
    error = ErrorInfo("ServerError", "the server failed")
    return AccountPass(AccountPlan(account=account, verdict=Verdict.ERROR, error=error, counts={}))


class Room:
    """Newsroom that starts from a kept state; `titles` has the titles of its news, `kept` the last state."""

    def __init__(self, kept: bytes | None = None, names: tuple[str, ...] = ("main", "b")) -> None:
        self.titles: list[str] = []
        self.kept = kept
        self.writes = 0
        self.names = names
        state = NotifyState() if kept is None else decode(kept)
        assert state is not None
        self.room = Tracker(state, send=self._send, keep=self._keep, names=lambda: self.names, version="1.0")

    def _send(self, news: Sequence[Notification]) -> None:
        assert news
        self.titles += [each.title if each.account is None else f"{each.account}: {each.title}" for each in news]

    def _keep(self, data: bytes) -> None:
        self.kept = data
        self.writes += 1

    def passes(self, *accounts: AccountPass) -> None:
        """A pass."""
        self.room.on_pass(Pass("r1", NOW, NOW, RunOutcome.CONVERGED, accounts))

    def event(self, name: str, **fields: object) -> None:
        """An event of the daemon."""
        self.room.on_event(f"watch.{name}", fields)


def test_passes_report_their_edges() -> None:
    """A finding is reported and kept once; passes with the same finding report and keep nothing."""
    room = Room()
    for _ in range(3):
        room.passes(drifted(), fine("b"))
    assert room.titles == ["main: 1 number changed by others"]
    assert room.writes == 1
    room.passes(broken("b"))
    room.passes(fine(), fine("b"))
    assert room.titles[1:] == [
        "b: failing: the server failed (ServerError)",
        "main: external changes were reverted",
        "b: working again",
    ]


@pytest.mark.parametrize("account", [None, "main"])
def test_suspension_is_over_when_it_ends(account: str | None) -> None:
    """That of all accounts and that of one are each reported at both ends."""
    room = Room()
    room.event("suspended", account=account, reason="moving", by=None, until=None)
    room.passes(fine(), fine("b"))
    assert [title for title in room.titles if "moving" in title]
    reported = len(room.titles)
    room.event("resumed", account=account)
    room.passes(fine(), fine("b"))
    assert len(room.titles) == reported + 1
    room.passes(fine(), fine("b"))
    assert len(room.titles) == reported + 1


def test_state_that_is_no_news_is_kept_too() -> None:
    """A notice that ended silently is news again if it comes back after a restart."""
    soon = Notice(NoticeKind.EXPIRING, "its registration ends on 2026-12-01", "0212345678")
    expiring = AccountPass(AccountPlan(account="main", counts={}, notices=(soon,)))
    first = Room()
    first.passes(expiring)
    first.passes(fine())
    assert len(first.titles) == 1
    second = Room(first.kept)
    second.passes(expiring)
    assert second.titles == first.titles


def test_restart_repeats_no_news() -> None:
    """Only the end of what was reported before the restart is news."""
    first = Room()
    first.event("suspended", account="b", reason="moving", by=None, until=None)
    first.passes(drifted(), fine("b"))
    second = Room(first.kept)
    second.event("started", accounts=2, mode="apply")
    second.event("suspended", account="b", reason="moving", by=None, until=None)
    second.passes(drifted(), fine("b"))
    assert second.titles == ["watching 2 accounts (senderid 1.0)"]
    second.passes(fine())
    assert second.titles[1:] == ["main: external changes were reverted"]


def test_suspensions_begin_and_end() -> None:
    """They are reported with their reason and their end, also one that came during a stop."""
    room = Room()
    room.event("suspended", account=None, reason=None, by=None, until=None)
    room.event("suspended", account="main", reason="moving", by="ops", until=None)
    room.passes(fine(), fine("b"))
    assert room.titles == [
        "suspended, nothing is written: no reason given",
        "main: suspended, nothing is written: moving",
    ]
    room.event("resumed", account=None)
    room.passes(fine())
    assert room.titles[2:] == ["no longer suspended"]
    later = Room(room.kept)
    later.passes(fine())
    assert later.titles == ["main: no longer suspended"]


def test_files_and_settings_break_and_are_fixed() -> None:
    """Reported at once: that they break, are fixed, are gone, or are right at a new start."""
    room = Room()
    room.event("file_broken", file="a.yaml", error_code="X", error_message="a.yaml:1:1: no")
    room.event("file_broken", file="a.yaml", error_code="X", error_message="a.yaml:2:1: no")
    room.event("reloaded", accounts=2, error_code="SettingsError", error_message="w.yaml:1:1: no")
    room.event("file_mended", file="a.yaml")
    room.event("reloaded", accounts=2, error_code=None, error_message=None)
    assert room.titles == [
        "a.yaml is invalid; using its last valid version, if any",
        "settings is invalid; using its last valid version, if any",
        "a.yaml is valid again or was deleted",
        "settings is valid again or was deleted",
    ]
    room.event("file_broken", file="b.yaml", error_code="X", error_message="b.yaml:1:1: no")
    again = Room(room.kept)
    again.event("started", accounts=2)
    assert again.titles == ["watching 2 accounts (senderid 1.0)", "b.yaml is valid again or was deleted"]


def test_accounts_that_leave_are_forgotten() -> None:
    """An account that is watched no longer makes no news, and starts afresh when it comes back."""
    room = Room()
    room.passes(drifted(), drifted("b"))
    room.names = ("b",)
    room.passes(drifted("b"))
    assert len(room.titles) == 2
    room.names = ("main", "b")
    room.passes(drifted())
    assert room.titles[2:] == ["main: 1 number changed by others"]


def test_end_is_news_and_events_of_passes_are_not() -> None:
    """The daemon's end is news with its reason."""
    room = Room()
    room.event("backoff", account="main", attempts=1, duration_ms=1)
    room.event("stopping", error_code="Interrupted", error_message="stopped by SIGTERM")
    assert room.titles == ["stopped watching: stopped by SIGTERM"]
    assert room.writes == 0


def test_a_failed_read_between_two_passes_repeats_no_news() -> None:
    """The state before it is kept, and its end is news."""
    room = Room()
    room.passes(drifted())
    room.passes(broken())
    room.passes(drifted())
    assert room.titles == [
        "main: 1 number changed by others",
        "main: failing: the server failed (ServerError)",
        "main: working again",
    ]
