"""What the pages get from a running daemon."""

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import cast

import pytest

from tests.support.daemon import Daemon, account, desired_account
from tests.support.virtual_time import run
from worker.daemon.last_good import FileChanges
from worker.daemon.loop import WatchLoop
from worker.daemon.passes import AccountPass, Pass
from worker.daemon.status import LiveStatus
from worker.model.errors import DesiredStateError, ErrorInfo, Problem, Refusal
from worker.model.plans import AccountPlan, Action, Change, Notice, NoticeKind, Verdict
from worker.model.results import AccountResult, Outcome, RunOutcome
from worker.model.status_page import AttentionItem, DaemonState, LastRead, QuotaUse
from worker.model.suspension import Suspend
from worker.sandbox import SandboxAccount


def test_before_there_is_a_daemon_nothing_is_known() -> None:
    """It is about to start, and wants nothing yet."""
    following = LiveStatus(list)
    assert following.state() == DaemonState(ready="the daemon is starting")
    assert following.accounts() == ()


def test_what_a_pass_saw_is_known_until_the_next() -> None:
    """Drift by account, with written numbers as fixed; the windows; and listeners are called."""

    async def scenario() -> None:
        one, two = account(1), account(2)
        daemon: Daemon
        following = LiveStatus(lambda: daemon.passes.quotas)
        rung: list[int] = []
        following.on_change = lambda: rung.append(1)
        suspended = desired_account(two, suspend=Suspend("moving", "ann"))
        daemon = Daemon([one, two], [desired_account(one), suspended], listeners=[following])
        following.follow(daemon.watch)
        await daemon.live(200)
        live = following.state()
        assert {seen.account: seen.differing for seen in live.seen} == {"account-1": 0, "account-2": 1}
        assert (live.outcome, live.ready, len(rung) > 0) == ("partial", None, True)
        assert [(need.kind, need.account, need.message) for need in live.needs] == [
            ("suspended", "account-2", "moving · ann")
        ]
        assert [(quota.writes_most, quota.per_seconds) for quota in live.quotas] == [(10_000, 5.0)] * 2
        assert len(following.accounts()) == 2
        daemon.folder.desired = (desired_account(one),)
        assert [seen.account for seen in following.state().seen] == ["account-1"]

    run(scenario())


def test_what_needs_attention_is_known() -> None:
    """Broken files, accounts that cannot be read, refused plans and notices."""

    async def scenario() -> None:
        calm, refused = account(1), account(2, n01000000002="ACTIVE")
        blocked = SandboxAccount.of({"01000000003": "BLOCKED"}, account_id="3", api_key="NCS0000000000003")
        desired = [
            desired_account(calm),
            desired_account(refused, "INACTIVE"),
            desired_account(blocked),
            desired_account(account(9)),
        ]
        following = LiveStatus(list)
        daemon = Daemon([calm, refused, blocked], desired, listeners=[following], terms=None)
        following.follow(daemon.watch)
        error = DesiredStateError([Problem("x.yaml", 1, 1, "wrong")])

        def wrong() -> None:
            daemon.folder.invalid["x.yaml"] = error
            daemon.folder._news.append(FileChanges(problems={"x.yaml": error}))

        await daemon.live(200, (100, wrong))
        needs = {(need.kind, need.account) for need in following.state().needs}
        assert ("broken", None) in needs
        assert any(name == "account-9" for _, name in needs)
        assert any(name == "account-3" for _, name in needs), needs
        daemon.folder.desired = (desired_account(calm),)
        assert {need.account for need in following.state().needs} == {None}, "removed accounts need nothing"

    run(scenario())


@pytest.mark.parametrize(
    ("suspend", "message"),
    [(Suspend(until="2036-12-01"), "2036-11-30T15:00:00Z"), (Suspend("", None, None), "nothing is written")],
)
def test_suspension_is_described_as_far_as_it_was_given(suspend: Suspend, message: str) -> None:
    """Its end, reason and owner; without them, its effect."""

    async def scenario() -> None:
        one = account(1)
        following = LiveStatus(list)
        daemon = Daemon([one], [desired_account(one, suspend=suspend)], listeners=[following])
        following.follow(daemon.watch)
        await daemon.live(50)
        assert [need.message for need in following.state().needs if need.kind == "suspended"] == [message]

    run(scenario())


def test_windows_of_a_key_are_reads_and_writes() -> None:
    writes, reads = (SimpleNamespace(used=used, capacity=most, seconds=5.0) for used, most in ((1, 80), (2, 16)))
    following = LiveStatus(lambda: [SimpleNamespace(writes=writes, reads=reads)])
    following.follow(
        cast("WatchLoop", SimpleNamespace(accounts=(), last=None, why_not_ready=str, broken={}, suspended={}))
    )
    assert following.state().quotas == (QuotaUse(1, 80, 2, 16, 5.0),)


def test_numbers_that_a_pass_changed_do_not_differ() -> None:
    """Unmanaged and protected numbers never do. Errors, refusals and notices need attention."""
    actions = (Action.ACTIVATE, Action.DEACTIVATE, Action.BLOCKED, Action.UNMANAGED, Action.PROTECTED)
    plan = AccountPlan(
        account="main",
        verdict=Verdict.REFUSED,
        error=ErrorInfo("Forbidden", "no"),
        refusals=(Refusal("min-active", "few"),),
        notices=(Notice(NoticeKind.EXPIRING, "soon", "02123456"),),
        counts={},
        changes=tuple(Change(f"02{index}", action, "", "", "") for index, action in enumerate(actions)),
    )
    result = AccountResult(account="main", outcome=RunOutcome.PARTIAL, counts={Outcome.CHANGED: 2, Outcome.FAILED: 9})
    ended = datetime(2026, 11, 24, 12, tzinfo=UTC)
    watch = SimpleNamespace(accounts=[SimpleNamespace(name="main")], why_not_ready=str, broken={}, suspended={})
    for each, differing in ((None, 3), (result, 1)):
        done = Pass("1", ended - timedelta(hours=1), ended, RunOutcome.PARTIAL, (AccountPass(plan, each),))
        watch.last = done
        following = LiveStatus(list)
        following.follow(cast("WatchLoop", watch))
        following.on_pass(done)
        live = following.state()
        assert live.seen == (LastRead("main", "2026-11-24T12:00:00Z", "refused", differing),)
        assert (live.last_pass, live.outcome) == ("2026-11-24T12:00:00Z", "partial")
        assert live.needs == (
            AttentionItem("Forbidden", "main", "no"),
            AttentionItem("min-active", "main", "few"),
            AttentionItem("expiring", "main", "soon", "02123456"),
        )
