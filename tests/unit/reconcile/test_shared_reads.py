"""Reads shared by several tasks: each caller gets a read that started after its call."""

import asyncio

import pytest

from tests.support import virtual_time
from worker.model.accounts import ObservedAccount
from worker.model.errors import ConnectionFailed
from worker.reconcile.shared_reads import SharedReads

SECONDS = 5.0


class SlowAccount:
    """An account whose reads take five seconds. The account id of a read is the second at which it started."""

    def __init__(self, *, fails: bool = False) -> None:
        self.starts: list[float] = []
        self._fails = fails

    async def observe(self, *, is_verification: bool = False) -> ObservedAccount:
        """Return the account after five seconds, or raise ConnectionFailed."""
        del is_verification
        start = asyncio.get_running_loop().time()
        self.starts.append(start)
        await asyncio.sleep(SECONDS)
        if self._fails:
            raise ConnectionFailed("refused")
        return ObservedAccount(f"{start:.0f}", {})


def test_caller_during_a_read_gets_a_later_one() -> None:
    """A read in progress may be too old for its caller. Callers during one read share the next one."""
    account, observed_ids = SlowAccount(), []

    async def scenario() -> None:
        reads = SharedReads(account, lambda read: observed_ids.append(read.account_id))  # type: ignore[arg-type]

        async def caller(at: float) -> str | None:
            await asyncio.sleep(at)
            return (await reads.read()).account_id

        assert await asyncio.gather(*map(caller, (0.0, 0.0, 1.0, 4.0, 6.0))) == ["0", "0", "5", "5", "10"]
        assert reads.latest is not None
        assert reads.latest.account_id == "10"

    virtual_time.run(scenario())
    assert account.starts == [0.0, 5.0, 10.0]
    assert observed_ids == ["0", "5", "10"]


def test_failed_read_fails_its_callers_and_the_next_one_is_sent() -> None:
    account = SlowAccount(fails=True)

    async def scenario() -> None:
        reads = SharedReads(account, lambda _: None)  # type: ignore[arg-type]
        for _ in range(2):
            with pytest.raises(ConnectionFailed):
                await reads.read()
        assert reads.latest is None

    virtual_time.run(scenario())
    assert account.starts == [0.0, 5.0]
