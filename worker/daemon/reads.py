"""Recorder of the state of accounts after each pass, and of the heartbeats of the daemon, in the ledger.

The status page reads them, even if the daemon has ended. A thread writes them after the pass, which does not wait.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from msgspec import structs

from worker.ledger.reads import RecordedRead, save
from worker.model.errors import LedgerError
from worker.model.reads import DaemonRecord
from worker.model.times import format_utc_ms

if TYPE_CHECKING:
    from worker.daemon.passes import Pass
    from worker.daemon.status import Watched
    from worker.ledger import Database
    from worker.telemetry.logs import Logger

__all__ = ["ReadRecorder"]


class ReadRecorder:
    """Pass listener that records reads in the ledger. `program` is the version of the worker, `now` returns the time.

    If the ledger cannot be written, the reads are recorded after the next pass.
    """

    def __init__(
        self, database: "Database", log: "Logger", *, host: str, pid: int, program: str, now: Callable[[], str]
    ) -> None:
        self._database = database
        self._log = log
        self._host = host
        self._pid = pid
        self._program = program
        self._now = now
        self._started_at = now()
        self._watch: Watched | None = None
        self._pending: dict[str, RecordedRead] = {}
        self._daemon: DaemonRecord | None = None
        self._writing: asyncio.Task[None] | None = None
        self._has_failed = False

    def follow(self, watch: "Watched") -> None:
        """Set the watch loop whose passes are recorded."""
        self._watch = watch

    def note(self, reads: Sequence[RecordedRead]) -> None:
        """Record reads after the current pass."""
        self._pending |= {recorded.read.account: recorded for recorded in reads}

    def on_pass(self, finished_pass: "Pass") -> None:
        """Record the reads of a pass, and that the daemon is alive."""
        if self._watch is None:
            return
        # a pass that takes longer than the interval delays the next one as much
        duration = finished_pass.ended_at - finished_pass.started_at
        earliest = finished_pass.ended_at + max(duration, timedelta(seconds=1))
        self._daemon = DaemonRecord(
            host=self._host,
            pid=self._pid,
            started_at=self._started_at,
            last_pass=format_utc_ms(finished_pass.ended_at),
            next_pass=format_utc_ms(max(self._watch.next_pass, earliest)),
            outcome=finished_pass.outcome,
        )
        if self._writing is None or self._writing.done():
            self._writing = asyncio.ensure_future(self._write())

    def on_event(self, event: str, fields: Mapping[str, Any]) -> None:
        """Ignore an event: only passes read accounts."""

    async def close(self) -> None:
        """Record that the daemon has stopped, after everything else."""
        if self._daemon is not None:
            self._daemon = structs.replace(self._daemon, ended_at=self._now())
            if self._writing is not None:
                await self._writing
            await self._write()

    async def _write(self) -> None:
        """Write what is pending, until nothing is left."""
        while (daemon := self._daemon) is not None:
            reads, self._pending = self._pending, {}
            try:
                await asyncio.to_thread(
                    save, self._database, reads.values(), daemon, program=self._program, now=self._now
                )
            except LedgerError as error:
                self._pending = reads | self._pending
                self._warn(error)
                return
            self._has_failed = False
            if daemon is self._daemon:
                return

    def _warn(self, error: LedgerError) -> None:
        if not self._has_failed:
            self._has_failed = True
            self._log.warning("watch.unrecorded", error_code=error.code, error_message=str(error))
