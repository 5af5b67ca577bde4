"""Retention: deletion of the oldest runs that no record depends on. The last written status of each number stays."""

import sqlite3
from typing import Final

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


_FREE_PAGES: Final = "PRAGMA freelist_count"
_RELEASE_PAGE: Final = "PRAGMA incremental_vacuum(1)"
_USED_BYTES: Final = """
    SELECT (page_count - freelist_count) * page_size
    FROM pragma_page_count, pragma_freelist_count, pragma_page_size
"""


def prune(connection: sqlite3.Connection, time_limit: str) -> int:
    """Delete the runs that ended before `time_limit` (UTC, ISO 8601, Z) and may be deleted. Return their count."""
    deleted_count = connection.execute(
        f"DELETE FROM runs WHERE coalesce(finished_at, started_at) < ? AND {_DISPENSABLE}",
        (time_limit,),
    ).rowcount
    _shrink(connection)
    return deleted_count


def trim(connection: sqlite3.Connection, max_bytes: int, *, current_run: str) -> int:
    """Delete the oldest runs until the file uses at most `max_bytes`. Return the count of deleted runs.

    The current run, and runs that may not be deleted, are not deleted.
    """
    deleted = 0
    while _used_bytes(connection) > max_bytes:
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
    if deleted:
        _shrink(connection)
    return deleted


def _shrink(connection: sqlite3.Connection) -> None:
    """Release the free pages of the file to the file system, one page per statement."""
    (free,) = connection.execute(_FREE_PAGES).fetchone()
    for _ in range(free):
        connection.execute(_RELEASE_PAGE)


def _used_bytes(connection: sqlite3.Connection) -> int:
    """Return the count of bytes in use, which is the size of the file without its free pages."""
    size: int
    (size,) = connection.execute(_USED_BYTES).fetchone()
    return size
