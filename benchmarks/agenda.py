"""Measure the agenda of a fleet: the CPU that taking and finishing converged accounts costs, without requests.

`python benchmarks/agenda.py [--accounts N] [--numbers N]`. It counts the CPU of the worker and of all processes of the
server. It also measures the publication of these accounts, and of the same accounts again.
"""

import argparse
import os
import time
from contextlib import closing
from hashlib import sha256
from pathlib import Path

from tests.support.postgres import PostgresServer
from worker.cli.runner import now
from worker.config import desired
from worker.config.desired.canonical import decode_documents, encode_documents
from worker.ledger import RunInfo
from worker.ledger.postgres.agenda import Agenda, Reconciled
from worker.ledger.postgres.database import PostgresDatabase
from worker.ledger.postgres.leases import PostgresLeases
from worker.ledger.postgres.publications import NewRevision, PublishedAccount, publish

SLICE = 32


def revision(accounts: int, numbers: int) -> NewRevision:
    """Return a revision of many accounts."""
    text = "version: 1\naccount: NAME\nnumbers:\n" + "".join(f"  010{index:08}: ACTIVE\n" for index in range(numbers))
    published = []
    for index in range(accounts):
        documents = desired.parse_file("a.yaml", text.replace("NAME", f"a{index}").encode())
        data = encode_documents(documents)
        published.append(PublishedAccount(f"a{index}", index % 1024, data, sha256(data).hexdigest(), None))
    return NewRevision(
        published_by="",
        host="",
        commit=None,
        numbers=accounts * numbers,
        canary=0,
        max_failed="0",
        fleet_wide=None,
        accounts=published,
    )


def server_seconds(server: PostgresServer) -> float:
    """Return the CPU seconds of all processes of the server, also of those that ended."""
    postmaster = int((server.folder / "data" / "postmaster.pid").read_text().split()[0])
    ticks = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if postmaster in {int(stat.parent.name), int(fields[1])}:
            ticks += sum(map(int, fields[11:15]))
    return ticks / os.sysconf("SC_CLK_TCK")


def measure(accounts: int, numbers: int) -> None:
    """Measure a publication and one pass over all of its accounts."""
    new = revision(accounts, numbers)
    server = PostgresServer(fsync="on", full_page_writes="on", shared_buffers="128MB")
    database = PostgresDatabase(server.url("postgres"))
    try:
        with closing(database.connect(program="0", now=now)) as connection:
            for label in ("publish", "publish unchanged"):
                start = time.perf_counter()
                publish(connection, new, lambda _: None)
                print(f"{label} {accounts:,} accounts: {time.perf_counter() - start:.1f} s", flush=True)
            run = RunInfo(
                id="b", command="", started_by="", host="", pid=0, version="", settings="{}", started_at=now()
            )
            leases = PostgresLeases(run, 25.0, database.open, is_fleet=True)
            leases.start(connection)
            agenda = Agenda(connection, leases, every=300.0, longest_rest=3600.0)
            agenda.balance()
            worker, total = time.process_time(), server_seconds(server)
            start = time.perf_counter()
            count = 0
            while found := agenda.take(SLICE):
                taken = found.accounts
                for due in taken:
                    desired.join(decode_documents(due.document))
                agenda.memories([due.key for due in taken if due.key])
                done = [
                    Reconciled(name=due.name, revision=due.revision, seconds=300.0, key=f"vendor {due.name}")
                    for due in taken
                ]
                agenda.finish(taken, done)
                count += len(taken)
            seconds = time.perf_counter() - start
            worker, total = time.process_time() - worker, server_seconds(server) - total
            leases.stop()
        worker_ms, server_ms = 1000 * worker / count, 1000 * total / count
        print(f"one pass over {count:,} accounts: {seconds:.1f} s")
        print(f"CPU of an account: worker {worker_ms:.3f} ms, server {server_ms:.3f} ms")
    finally:
        server.remove()


def main() -> None:
    """Read the options and measure."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--accounts", type=int, default=100_000)
    parser.add_argument("--numbers", type=int, default=10)
    options = parser.parse_args()
    measure(options.accounts, options.numbers)


if __name__ == "__main__":
    main()
