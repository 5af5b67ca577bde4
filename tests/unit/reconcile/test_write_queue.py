"""Intents are recorded in blocks, before their writes are taken."""

import asyncio
import gc
from collections.abc import Sequence
from typing import Any

import pytest

from tests.support.execution import activation
from worker.model.accounts import Status
from worker.model.errors import LedgerError
from worker.reconcile.attempt import WriteAttempt
from worker.reconcile.write_queue import WriteQueue


class _Journal:
    def __init__(self, error: LedgerError | None = None) -> None:
        self.blocks: list[list[str]] = []
        self.error = error

    async def intend(self, requests: Sequence[tuple[str, int, Status]]) -> None:
        await asyncio.sleep(0)
        self.blocks.append([phone for phone, _, _ in requests])
        if self.error is not None:
            raise self.error

    def check_lease(self) -> None:
        """Do nothing."""

    def record_response(self, *_: object) -> None:
        raise AssertionError("no request is sent")


def _queue(count: int, journal: _Journal) -> WriteQueue:
    return WriteQueue([WriteAttempt(activation(f"010000{number}")) for number in range(count)], journal, 4)


async def test_writes_are_taken_in_order_after_their_intents_are_recorded() -> None:
    """The next block is recorded when half of a block is left."""
    journal = _Journal()
    queue = _queue(6, journal)
    assert queue.take() is None
    assert await queue.wait_for_more()
    taken = []
    for blocks in (1, 1, 2, 2):
        attempt = queue.take()
        assert attempt is not None
        taken.append((attempt.phone, attempt.intents))
        for _ in range(5):
            await asyncio.sleep(0)
        assert len(journal.blocks) == blocks
    assert taken == [(f"010000{number}", 1) for number in range(4)]
    assert journal.blocks == [[f"010000{number}" for number in range(4)], ["0100004", "0100005"]]
    assert [attempt.phone for attempt in (queue.take(), queue.take()) if attempt] == ["0100004", "0100005"]
    assert queue.take() is None
    assert not await queue.wait_for_more()


async def test_error_of_the_ledger_reaches_every_worker() -> None:
    queue = _queue(6, _Journal(LedgerError("disk full")))
    for _ in range(2):
        assert queue.take() is None
        with pytest.raises(LedgerError, match="disk full"):
            await queue.wait_for_more()


@pytest.mark.parametrize("is_cancelled", [False, True])
async def test_abandoned_recording_is_not_reported_by_asyncio(*, is_cancelled: bool) -> None:
    """No worker waits for it, because all of them have stopped."""
    reports: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, report: reports.append(report))
    queue = _queue(6, _Journal(LedgerError("disk full")))
    assert queue.take() is None
    if is_cancelled:
        assert queue._recording is not None
        queue._recording.cancel()
    for _ in range(5):
        await asyncio.sleep(0)
    del queue
    gc.collect()
    assert reports == []
