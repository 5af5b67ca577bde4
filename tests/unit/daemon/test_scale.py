"""Memory and duration over many passes and many accounts."""

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
def test_memory_does_not_grow_over_a_thousand_passes() -> None:
    """Every tenth pass writes."""

    async def scenario() -> None:
        api_account = account()
        daemon = Daemon([api_account], [desired_account(api_account)], trigger=Interval(60.0))
        sizes: list[int] = []

        def read() -> None:
            for records in (daemon.log.lines, daemon.wire.reads, daemon.wire.writes, daemon.ledgers.opened):
                records.clear()
            gc.collect()
            sizes.append(tracemalloc.get_traced_memory()[0])

        def drift() -> None:
            api_account.switch("01000000001", "INACTIVE")

        drifts = [(600.0 * number + 30, drift) for number in range(110)]
        await daemon.run_for(66_000, (6_010, read), (65_990, read), *drifts)
        assert sizes[1] - sizes[0] < 20_000

    tracemalloc.start()
    try:
        run(scenario())
    finally:
        tracemalloc.stop()


@pytest.mark.slow
def test_pass_over_five_thousand_accounts_takes_as_long_as_the_read_quota() -> None:

    async def scenario() -> None:
        api_account = account(n01000000001="ACTIVE")
        one = desired_account(api_account)
        settings = Settings(rate_limit=RateLimit(writes=80, reads=16, per_seconds=5.0))
        accounts = [
            replace(one, name=f"account-{number}", endpoint=f"https://proxy-{number}.example")
            for number in range(5_000)
        ]
        daemon = Daemon([api_account], accounts, trigger=Interval(3600.0), settings=settings)
        await daemon.run_for(3599)
        minimum = (5_000 / 16 - 1) * 5.0
        last = max(at for at, _ in daemon.wire.reads)
        assert len(daemon.wire.reads) == 5_000
        assert minimum <= last <= minimum * 1.01 + 1
        assert daemon.outcomes() == [RunOutcome.CONVERGED]

    run(scenario())
