"""Retention: deletion of the oldest runs that no record depends on. The last written status of each number stays."""

from collections.abc import Callable
from typing import Final

from worker.ledger.database import Connection
from worker.ledger.records import CRASHED
from worker.model.results import RunOutcome

__all__ = ["prune", "trim"]

_DISPENSABLE: Final = f"""
    NOT EXISTS (SELECT 1 FROM entries WHERE run = runs.id AND NOT settled)
    AND NOT EXISTS (SELECT 1 FROM entries AS died WHERE died.run = runs.id AND died.outcome = '{CRASHED}'
        AND NOT EXISTS (SELECT 1 FROM entries AS ended WHERE ended.key = died.key AND ended.id > died.id
            AND ended.outcome <> '{CRASHED}' AND (ended.outcome = '{RunOutcome.CONVERGED}'
                OR EXISTS (SELECT 1 FROM attempts WHERE entry = ended.id))))
"""
"""SQL condition of runs that may be deleted: no write is open, and no deactivation still counts for a safety rule."""


def prune(connection: Connection, time_limit: str) -> int:
    """Delete the runs that ended before `time_limit` (UTC, ISO 8601, Z) and may be deleted. Return their count."""
    return connection.execute(
        f"DELETE FROM runs WHERE coalesce(finished_at, started_at) < ? AND {_DISPENSABLE}",
        (time_limit,),
    ).rowcount


def trim(connection: Connection, used_bytes: Callable[[Connection], int], max_bytes: int, *, current_run: str) -> int:
    """Delete the oldest runs until `used_bytes(connection)` is at most `max_bytes`. Return the count of deleted runs.

    The current run, and runs that may not be deleted, are not deleted.
    """
    deleted = 0
    while used_bytes(connection) > max_bytes:
        count = connection.execute(
            f"""DELETE FROM runs WHERE id IN (
                SELECT id FROM runs WHERE {_DISPENSABLE}
                AND finished_at IS NOT NULL AND id <> ?
                ORDER BY started_at LIMIT (SELECT 1 + count(*) / 10 FROM runs)
            )""",
            (current_run,),
        ).rowcount
        if not count:
            break
        deleted += count
    return deleted
