"""What the ledger forgets: the oldest runs that nothing depends on. What was written last stays remembered."""

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
"""Of a run: nothing of it is open, and what it has switched off no longer counts for the safety rules."""


def prune(connection: sqlite3.Connection, before: str) -> int:
    """Forget the runs that ended before a time and on which nothing depends; how many there were."""
    forgotten = connection.execute(
        f"DELETE FROM runs WHERE coalesce(finished_at, started_at) < ? AND {_DISPENSABLE}",
        (before,),
    ).rowcount
    _shrink(connection)
    return forgotten


def trim(connection: sqlite3.Connection, most_bytes: int, *, keep: str) -> int:
    """Forget the oldest runs but `keep` until the rest takes no more than `most_bytes`; how many there were."""
    forgotten = 0
    while _used(connection) > most_bytes:
        gone = connection.execute(
            f"""DELETE FROM runs WHERE id IN (
                SELECT id FROM runs WHERE {_DISPENSABLE}
                AND finished_at IS NOT NULL AND id <> ?
                ORDER BY started_at LIMIT (SELECT 1 + count(*) / 10 FROM runs)
            )""",
            (keep,),
        ).rowcount
        if not gone:
            break
        forgotten += gone
    if forgotten:
        _shrink(connection)
    return forgotten


def _shrink(connection: sqlite3.Connection) -> None:
    """Give the file's empty pages back; the statement gives back one each time that it is run."""
    (free,) = connection.execute("PRAGMA freelist_count").fetchone()
    for _ in range(free):
        connection.execute("PRAGMA incremental_vacuum(1)")


def _used(connection: sqlite3.Connection) -> int:
    """Bytes of the file that hold something."""
    pages, free, size = (
        connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count", "page_size")
    )
    used: int = (pages - free) * size
    return used
