"""Queue of writes. The ledger records the intents of a block of writes before its first write is sent."""

import asyncio
from collections import deque
from collections.abc import Sequence
from itertools import islice

from worker.model.ports import AttemptJournal
from worker.reconcile.attempt import WriteAttempt

__all__ = ["WriteQueue"]


class WriteQueue:
    """Queue of attempts that wait for a worker task.

    The first intents of `block` attempts at a time are recorded in one transaction of the ledger.
    """

    __slots__ = ("_block", "_journal", "_ready", "_recording", "_unrecorded")

    def __init__(self, attempts: Sequence[WriteAttempt], journal: AttemptJournal, block: int) -> None:
        self._unrecorded = iter(attempts)
        self._ready: deque[WriteAttempt] = deque()
        self._journal = journal
        self._block = block
        self._recording: asyncio.Task[bool] | None = None

    def take(self) -> WriteAttempt | None:
        """Return the next attempt whose intent is recorded.

        Return None if there is none yet: then await `wait_for_more`.
        """
        if self._recording is None and len(self._ready) <= self._block // 2:
            self._recording = asyncio.create_task(self._record_block())
            self._recording.add_done_callback(_retrieve)
        return self._ready.popleft() if self._ready else None

    async def wait_for_more(self) -> bool:
        """Wait until further intents are recorded. Return False if no attempts are left.

        Raises:
            LedgerError: the intents could not be recorded.
        """
        return bool(self._ready) or (self._recording is not None and await asyncio.shield(self._recording))

    async def _record_block(self) -> bool:
        block = list(islice(self._unrecorded, self._block))
        if not block:
            return False
        await self._journal.intend([attempt.intent for attempt in block])
        for attempt in block:
            attempt.intents = 1
        self._ready += block
        self._recording = None
        return True


def _retrieve(recording: asyncio.Task[bool]) -> None:
    """Retrieve the exception of a task, so that asyncio does not report it if no worker awaits the task."""
    if not recording.cancelled():
        recording.exception()
