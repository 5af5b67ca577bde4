"""The ledger: a durable journal of runs, and the leases of accounts. A write is recorded before it is sent."""

from worker.ledger.database import Database, Leases
from worker.ledger.ledger import Ledger, forget
from worker.ledger.null import NullLedger
from worker.ledger.protocol import LedgerProtocol
from worker.ledger.readonly import memory_reader
from worker.ledger.records import RunInfo, Subject
from worker.ledger.sqlite import SqliteFile

__all__ = [
    "Database",
    "Leases",
    "Ledger",
    "LedgerProtocol",
    "NullLedger",
    "RunInfo",
    "SqliteFile",
    "Subject",
    "forget",
    "memory_reader",
]
