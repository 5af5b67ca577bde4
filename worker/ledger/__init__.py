"""The ledger: a durable journal of runs, written before each request, and one lease per account."""

from worker.ledger.ledger import Ledger, forget, probe
from worker.ledger.null import NullLedger
from worker.ledger.protocol import LedgerProtocol
from worker.ledger.readonly import recollection
from worker.ledger.records import RunInfo, Subject

__all__ = ["Ledger", "LedgerProtocol", "NullLedger", "RunInfo", "Subject", "forget", "probe", "recollection"]
