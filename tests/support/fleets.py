"""Published fleets for tests."""

from collections.abc import Callable
from contextlib import closing, suppress
from hashlib import sha256
from typing import Any

from tests.support.ledgers import clock, run_info
from worker.config import desired
from worker.config.desired.canonical import encode_documents
from worker.ledger.database import Connection
from worker.ledger.postgres.agenda import Agenda, Balance
from worker.ledger.postgres.connection import PostgresConnection
from worker.ledger.postgres.database import PostgresDatabase
from worker.ledger.postgres.leases import PostgresLeases
from worker.ledger.postgres.publications import Comparison, NewRevision, PublishedAccount, publish
from worker.model.errors import LedgerError
from worker.model.fleet import Revision

__all__ = ["FleetProcess", "document", "end_leases", "publish_accounts", "published_account"]


def document(name: str, text: str = "numbers: {01000000001: ACTIVE}") -> str:
    """Return a desired-state document of an account."""
    return f"version: 1\naccount: {name}\n{text}\n"


def published_account(text: str, lane: int = 0) -> PublishedAccount:
    """Return a desired-state document as a revision has it."""
    documents = desired.read_documents([("a.yaml", text.encode())]).documents
    data = encode_documents(documents)
    return PublishedAccount(documents[0].account.name, lane, data, sha256(data).hexdigest(), None)


def publish_accounts(
    database: PostgresDatabase,
    *texts: str,
    lane: Callable[[str], int] = lambda _: 0,
    review: Callable[[Comparison], None] = lambda _: None,
    **more: Any,
) -> Revision | None:
    """Publish documents as a revision. `lane` returns the lane of an account."""
    accounts = [published_account(text) for text in texts]
    fields: dict[str, Any] = {
        "published_by": "ann",
        "host": "box",
        "commit": None,
        "numbers": 1000,
        "canary": 0,
        "max_failed": "10%",
        "fleet_wide": "50%",
        "accounts": [PublishedAccount(a.name, lane(a.name), a.document, a.sha256, a.commit) for a in accounts],
    } | more
    with closing(database.connect(program="0", now=clock())) as connection:
        return publish(connection, NewRevision(**fields), review)


class _ReleasingAgenda(Agenda):
    """An agenda that releases idle lanes immediately, as `FleetWorker` does."""

    def balance(self) -> Balance:
        balance = super().balance()
        self._release(balance.idle)
        return balance

    def drain(self) -> frozenset[str]:
        self._release(super().drain())
        return frozenset()

    def _release(self, idle: frozenset[str]) -> None:
        if idle:
            self.release(self._leases.used_slots(idle))


class FleetProcess:
    """The leases and the agenda of one worker."""

    def __init__(self, database: PostgresDatabase, run_id: str = "run-1", **more: Any) -> None:
        options: dict[str, Any] = {"every": 300.0, "longest_rest": 3600.0} | more
        self.connection: PostgresConnection = database.connect(program="0", now=clock())
        self.leases = PostgresLeases(run_info(run_id), 1.0, database.open, is_fleet=True)
        self.leases.start(self.connection)
        self.agenda = _ReleasingAgenda(self.connection, self.leases, **options)

    def __enter__(self) -> Agenda:
        return self.agenda

    def __exit__(self, *_: object) -> None:
        # a worker whose leases a test ended detects that at its next renewal
        with suppress(LedgerError):
            self.agenda.release(self.leases.used_slots(self.leases.lanes))
        self.leases.stop()
        self.connection.close()


def end_leases(connection: Connection, run_id: str) -> None:
    """Act as if a worker had died long ago."""
    connection.execute("UPDATE workers SET until = '-infinity' WHERE run = ?", (run_id,))
