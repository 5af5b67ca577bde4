"""What the pages get from a running daemon."""

import pytest

from tests.support.daemon import Daemon, account, wanting
from tests.support.virtual_time import run
from worker.daemon.last_good import FileChanges
from worker.daemon.status import LiveStatus
from worker.model.errors import DesiredStateError, Problem
from worker.model.status_page import DaemonState
from worker.model.suspension import Suspend
from worker.sandbox import SandboxAccount


def test_before_there_is_a_daemon_nothing_is_known() -> None:
    """It is about to start, and wants nothing yet."""
    following = LiveStatus(list)
    assert following.live() == DaemonState(ready="the daemon is starting")
    assert following.accounts() == ()


def test_what_a_pass_saw_is_known_until_the_next() -> None:
    """Drift by account, with written numbers as fixed; the windows; and listeners are called."""

    async def scenario() -> None:
        one, two = account(1), account(2)
        daemon: Daemon
        following = LiveStatus(lambda: daemon.passes.quotas)
        rung: list[int] = []
        following.on_change = lambda: rung.append(1)
        suspended = wanting(two, suspend=Suspend("moving", "ann"))
        daemon = Daemon([one, two], [wanting(one), suspended], listeners=[following])
        following.follow(daemon.watch)
        await daemon.live(200)
        live = following.live()
        assert {seen.account: seen.differing for seen in live.seen} == {"account-1": 0, "account-2": 1}
        assert (live.outcome, live.ready, len(rung) > 0) == ("partial", None, True)
        assert [(need.kind, need.account, need.message) for need in live.needs] == [
            ("suspended", "account-2", "moving · ann")
        ]
        assert [(quota.writes_most, quota.per_seconds) for quota in live.quotas] == [(10_000, 5.0)] * 2
        assert len(following.accounts()) == 2
        daemon.folder.desired = (wanting(one),)
        assert [seen.account for seen in following.live().seen] == ["account-1"]

    run(scenario())


def test_what_needs_attention_is_known() -> None:
    """Broken files, accounts that cannot be read, refused plans and notices."""

    async def scenario() -> None:
        calm, refused = account(1), account(2, n01000000002="ACTIVE")
        blocked = SandboxAccount.of({"01000000003": "BLOCKED"}, account_id="3", api_key="NCS0000000000003")
        desired = [wanting(calm), wanting(refused, "INACTIVE"), wanting(blocked), wanting(account(9))]
        following = LiveStatus(list)
        daemon = Daemon([calm, refused, blocked], desired, listeners=[following], terms=None)
        following.follow(daemon.watch)
        error = DesiredStateError([Problem("x.yaml", 1, 1, "wrong")])

        def wrong() -> None:
            daemon.folder.invalid["x.yaml"] = error
            daemon.folder._news.append(FileChanges(broken={"x.yaml": error}))

        await daemon.live(200, (100, wrong))
        needs = {(need.kind, need.account) for need in following.live().needs}
        assert ("broken", None) in needs
        assert any(name == "account-9" for _, name in needs)
        assert any(name == "account-3" for _, name in needs), needs

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
        daemon = Daemon([one], [wanting(one, suspend=suspend)], listeners=[following])
        following.follow(daemon.watch)
        await daemon.live(50)
        assert [need.message for need in following.live().needs if need.kind == "suspended"] == [message]

    run(scenario())
