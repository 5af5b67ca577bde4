"""The ledger: a durable journal of runs, and the leases of accounts. A write is recorded before it is sent."""

from worker.ledger.ledger import Ledger, forget, probe
from worker.ledger.null import NullLedger
from worker.ledger.protocol import LedgerProtocol
from worker.ledger.readonly import memory_reader
from worker.ledger.records import RunInfo, Subject

__all__ = ["Ledger", "LedgerProtocol", "NullLedger", "RunInfo", "Subject", "forget", "memory_reader", "probe"]
