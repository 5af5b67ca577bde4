"""The ledger: what runs intended, did and found out, durable before each request; and one writer per account."""

from worker.ledger.ledger import Ledger, forget, probe
from worker.ledger.null import NullLedger
from worker.ledger.protocol import LedgerProtocol
from worker.ledger.readonly import recollection
from worker.ledger.records import RunInfo, Subject

__all__ = ["Ledger", "LedgerProtocol", "NullLedger", "RunInfo", "Subject", "forget", "probe", "recollection"]
