"""The memories of many accounts, in a few queries."""

from collections.abc import Sequence
from typing import Final

from worker.ledger import writes
from worker.ledger.database import Connection
from worker.ledger.records import credentials_of
from worker.model.accounts import AccountMemory, Status
from worker.model.results import RunOutcome

__all__ = ["recall_all"]

_NEWEST_ENTRIES: Final = """
    SELECT DISTINCT ON (key) key, outcome, EXISTS (SELECT 1 FROM entries AS open WHERE open.key = entries.key
        AND NOT open.settled) FROM entries WHERE key = ANY(?1) ORDER BY key, id DESC
"""
_WRITTEN: Final = "SELECT key, phone, status FROM written WHERE key = ANY(?1)"
_NAMES: Final = """
    SELECT DISTINCT ON (key, account) key, account, credentials FROM entries WHERE key = ANY(?1)
    ORDER BY key, account, id DESC
"""


def recall_all(connection: Connection, keys: Sequence[str]) -> dict[str, AccountMemory]:
    """Return the memories of accounts by their keys, in a few queries for all accounts without open entries."""
    newest = {key: (outcome, is_open) for key, outcome, is_open in connection.execute(_NEWEST_ENTRIES, (keys,))}
    statuses: dict[str, dict[str, Status]] = {}
    for key, phone, status in connection.execute(_WRITTEN, (keys,)):
        statuses.setdefault(key, {})[phone] = Status(status)
    registered = dict(connection.execute("SELECT key, numbers FROM registered WHERE key = ANY(?)", (keys,)))
    names: dict[str, dict[str, str | None]] = {}
    for key, account, credentials in connection.execute(_NAMES, (keys,)):
        names.setdefault(key, {})[account] = credentials
    memories = {}
    for key in keys:
        outcome, is_open = newest.get(key, (RunOutcome.CONVERGED, False))
        if is_open or outcome != RunOutcome.CONVERGED:
            memories[key] = writes.recall(connection, key)
        else:
            memories[key] = AccountMemory(
                statuses.get(key, {}),
                registered=registered.get(key),
                names={name: credentials_of(text) for name, text in names.get(key, {}).items()},
            )
    return memories
