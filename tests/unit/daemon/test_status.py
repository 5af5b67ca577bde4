"""Live status of a daemon for the status page."""

from types import SimpleNamespace
from typing import cast

import pytest

from tests.support.daemon import Daemon, account, desired_account
from tests.support.virtual_time import run
from worker.daemon.last_good import FileChanges
from worker.daemon.loop import WatchLoop
from worker.daemon.status import LiveStatus
from worker.model.errors import DesiredStateError, Problem
from worker.model.status_page import DaemonState, QuotaUse
from worker.model.suspension import Suspend
from worker.sandbox import SandboxAccount


def test_status_is_empty_before_the_daemon_starts() -> None:
    status = LiveStatus(list)
    assert status.state() == DaemonState(ready="the daemon is starting")
    assert status.accounts() == ()


def test_status_shows_the_last_pass() -> None:
    """The status contains drift by account, quotas and suspensions, and listeners are called."""

    async def scenario() -> None:
        first, second = account(1), account(2)
        daemon: Daemon
        status = LiveStatus(lambda: daemon.passes.quotas)
        calls: list[int] = []
        status.on_change = lambda: calls.append(1)
        suspended = desired_account(second, suspend=Suspend("moving", "ann"))
        daemon = Daemon([first, second], [desired_account(first), suspended], listeners=[status])
        status.follow(daemon.watch)
        await daemon.run_for(200)
        live = status.state()
        assert {read.account: read.differing for read in live.reads} == {"account-1": 0, "account-2": 1}
        assert (live.outcome, live.ready, len(calls) > 0) == ("partial", None, True)
        assert live.suspended == {"account-2": "moving · ann"}
        assert live.last_pass is not None
        assert live.next_pass is not None
        assert live.next_pass > live.last_pass
        assert [(quota.max_writes, quota.per_seconds) for quota in live.quotas] == [(10_000, 5.0)] * 2
        assert len(status.accounts()) == 2
        daemon.folder.desired = (desired_account(first),)
        assert [read.account for read in status.state().reads] == ["account-1"]

    run(scenario())


def test_status_lists_files_and_accounts_that_need_attention() -> None:

    async def scenario() -> None:
        converged, refused = account(1), account(2, n01000000002="ACTIVE")
        blocked = SandboxAccount.of({"01000000003": "BLOCKED"}, account_id="3", api_key="NCS0000000000003")
        desired = [
            desired_account(converged),
            desired_account(refused, "INACTIVE"),
            desired_account(blocked),
            desired_account(account(9)),
        ]
        status = LiveStatus(list)
        daemon = Daemon([converged, refused, blocked], desired, listeners=[status], terms=None)
        status.follow(daemon.watch)
        error = DesiredStateError([Problem("x.yaml", 1, 1, "wrong")])

        def break_file() -> None:
            daemon.folder.invalid["x.yaml"] = error
            daemon.folder._news.append(FileChanges(problems={"x.yaml": error}))

        await daemon.run_for(200, (100, break_file))
        live = status.state()
        assert (live.last_pass is None, live.ready) == (False, "using the last valid version of x.yaml")
        assert live.broken == {"x.yaml": "x.yaml:1:1: wrong"}
        assert {read.account for read in live.reads if read.needs} >= {"account-3", "account-9"}
        daemon.folder.desired = (desired_account(converged),)
        assert [read.account for read in status.state().reads] == ["account-1"], "removed accounts need nothing"

    run(scenario())


@pytest.mark.parametrize(
    ("suspend", "message"),
    [(Suspend(until="2036-12-01"), "2036-11-30T15:00:00Z"), (Suspend("", None, None), "")],
)
def test_suspension_shows_its_given_fields(suspend: Suspend, message: str) -> None:

    async def scenario() -> None:
        one = account(1)
        status = LiveStatus(list)
        daemon = Daemon([one], [desired_account(one, suspend=suspend)], listeners=[status])
        status.follow(daemon.watch)
        await daemon.run_for(50)
        assert status.state().suspended == {"account-1": message}

    run(scenario())


def test_quota_of_a_key_has_reads_and_writes() -> None:
    writes, reads = (SimpleNamespace(used=used, capacity=limit, seconds=5.0) for used, limit in ((1, 80), (2, 16)))
    status = LiveStatus(lambda: [SimpleNamespace(writes=writes, reads=reads)])
    status.follow(
        cast("WatchLoop", SimpleNamespace(accounts=(), last=None, why_not_ready=str, broken={}, suspended={}))
    )
    assert status.state().quotas == (QuotaUse(1, 80, 2, 16, 5.0),)


def test_invalid_files_are_listed_with_their_first_three_problems() -> None:
    errors = {
        name: DesiredStateError([Problem(name, line, 1, f"wrong {line}") for line in range(1, 5)])
        for name in ("b", "a")
    }
    watch = SimpleNamespace(accounts=(), last=None, why_not_ready=str, broken=errors, suspended={})
    status = LiveStatus(list)
    status.follow(cast("WatchLoop", watch))
    assert list(status.state().broken.items()) == [
        (name, f"{name}:1:1: wrong 1; {name}:2:1: wrong 2; {name}:3:1: wrong 3") for name in ("a", "b")
    ]


def test_suspension_shows_reason_author_and_end() -> None:
    suspended = {"main": Suspend("audit", "Kim", "2036-12-01")}
    watch = SimpleNamespace(accounts=(), last=None, why_not_ready=str, broken={}, suspended=suspended)
    status = LiveStatus(list)
    status.follow(cast("WatchLoop", watch))
    assert status.state().suspended == {"main": "audit · Kim · 2036-11-30T15:00:00Z"}
