"""The parts of `senderid fleet worker` that its accounts share."""

import asyncio
from typing import Any, cast

import pytest

from worker.cli.fleet_worker import _Ledgers


async def test_cancelled_account_does_not_end_the_start_of_its_slice(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first account of a slice opens the ledger for all of them."""
    may_start = asyncio.Event()

    class Opened:
        lease = recall = record = None

    async def start(_self: object, _run_id: str) -> Opened:
        await may_start.wait()
        return Opened()

    monkeypatch.setattr(_Ledgers, "_start", start)
    unused = cast("Any", None)
    ledgers = _Ledgers(unused, unused, unused, unused, {})

    async def use() -> None:
        async with ledgers.open("run"):
            pass

    first, second = asyncio.ensure_future(use()), asyncio.ensure_future(use())
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.sleep(0)
    may_start.set()
    async with asyncio.timeout(10):
        results = await asyncio.gather(first, second, return_exceptions=True)
    assert isinstance(results[0], asyncio.CancelledError)
    assert results[1] is None
