"""The daemon over a long time and over many accounts."""

import gc
import tracemalloc

import pytest
from msgspec.structs import replace

from tests.support.daemon import Daemon, account, desired_account
from tests.support.virtual_time import run
from worker.config.settings import RateLimit, Settings
from worker.daemon.scheduler import Interval
from worker.model.results import RunOutcome


@pytest.mark.slow
def test_a_thousand_passes_take_no_more_memory_than_some() -> None:
    """What the daemon holds after 1,100 passes, of which each tenth writes, is what it held after 100."""

    async def scenario() -> None:
        found = account()
        daemon = Daemon([found], [desired_account(found)], rhythm=Interval(60.0))
        held: list[int] = []

        def read() -> None:
            for kept in (daemon.tape.lines, daemon.wire.reads, daemon.wire.writes, daemon.ledgers.opened):
                kept.clear()
            gc.collect()
            held.append(tracemalloc.get_traced_memory()[0])

        def drift() -> None:
            found.switch("01000000001", "INACTIVE")

        drifts = [(600.0 * number + 30, drift) for number in range(110)]
        await daemon.live(66_000, (6_010, read), (65_990, read), *drifts)
        assert held[1] - held[0] < 20_000

    tracemalloc.start()
    try:
        run(scenario())
    finally:
        tracemalloc.stop()


@pytest.mark.slow
def test_five_thousand_accounts_with_nothing_to_do_wait_for_the_quota_alone() -> None:
    """A pass over 5,000 accounts of one key takes as long as the quota of reads says, to within a second."""

    async def scenario() -> None:
        found = account(n01000000001="ACTIVE")
        one = desired_account(found)
        settings = Settings(rate_limit=RateLimit(writes=80, reads=16, per_seconds=5.0))
        accounts = [
            replace(one, name=f"account-{number}", endpoint=f"https://proxy-{number}.example")
            for number in range(5_000)
        ]
        daemon = Daemon([found], accounts, rhythm=Interval(3600.0), settings=settings)
        await daemon.live(3599)
        least = (5_000 / 16 - 1) * 5.0
        last = max(at for at, _ in daemon.wire.reads)
        assert len(daemon.wire.reads) == 5_000
        assert least <= last <= least * 1.01 + 1
        assert daemon.outcomes() == [RunOutcome.CONVERGED]

    run(scenario())
