"""Measure intents: how many a second four processes record durably in blocks, in PostgreSQL and in an SQLite file.

`python benchmarks/intents.py [--seconds S] [--accounts N] [--block N]`. Each process writes to several accounts at
once, each with its lease. The server is the one of the tests, with fsync.
"""

import argparse
import asyncio
import secrets
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.support.postgres import PostgresServer
from worker.cli.runner import now
from worker.ledger import Database, Ledger, RunInfo, SqliteFile, Subject
from worker.ledger.postgres.database import PostgresDatabase
from worker.model.accounts import Status
from worker.model.plans import AccountPlan
from worker.model.safety import Safety

PROCESSES = 4
ROUNDS = 3


def database_at(place: str) -> Database:
    """Return the database at a path or URL."""
    return PostgresDatabase(place) if "://" in place else SqliteFile(Path(place))


async def record(place: str, seconds: float, accounts: int, block: int, first_lane: int) -> int:
    """Record intents for some seconds, with lanes from `first_lane` on. Return their count."""
    run = secrets.token_hex(8)
    info = RunInfo(id=run, command="bench", started_by="", host="", pid=0, version="", settings="{}", started_at=now())
    count = 0
    async with Ledger(database_at(place), info, now=now, max_bytes=1 << 40) as ledger:
        end = time.perf_counter() + seconds

        async def write(number: int) -> None:
            nonlocal count
            subject = Subject(
                key=f"{run} {number}",
                account="bench",
                account_id="1",
                endpoint="solapi",
                credentials=None,
                safety=Safety(),
                source="bench.yaml",
                lane=first_lane + number,
            )
            async with ledger.lease(subject, never_wait) as account:
                await account.record_plan(AccountPlan(account="bench", account_id="1", counts={}), "")
                position = 0
                while time.perf_counter() < end:
                    await account.intend([(f"{position + step:011}", 1, Status.ACTIVE) for step in range(block)])
                    position += block
                count += position

        await asyncio.gather(*map(write, range(accounts)))
    return count


async def never_wait(_: float) -> bool:
    """Do not wait for a lease."""
    return False


def measure(place: str, options: argparse.Namespace) -> float:
    """Return the intents a second of all processes together."""
    command = [
        sys.executable,
        __file__,
        f"--seconds={options.seconds}",
        f"--accounts={options.accounts}",
        f"--block={options.block}",
        f"--place={place}",
    ]
    workers = [
        subprocess.Popen([*command, f"--lane={number * options.accounts}"], stdout=subprocess.PIPE)
        for number in range(PROCESSES)
    ]
    seconds: float = options.seconds
    return sum(int(worker.communicate()[0]) for worker in workers) / seconds


def main() -> None:
    """Compare both databases, in turns."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--accounts", type=int, default=16)
    parser.add_argument("--block", type=int, default=8)
    parser.add_argument("--place")
    parser.add_argument("--lane", type=int)
    options = parser.parse_args()
    if options.place:
        count = record(options.place, options.seconds, options.accounts, options.block, options.lane)
        print(asyncio.run(count))
        return
    server = PostgresServer(fsync="on", full_page_writes="on", shared_buffers="128MB")
    try:
        database_at(server.url("postgres")).connect(program="0", now=now).close()
        for _ in range(ROUNDS):
            with tempfile.TemporaryDirectory() as folder:
                file = str(Path(folder, "ledger.db"))
                database_at(file).connect(program="0", now=now).close()
                figures = {"postgres": measure(server.url("postgres"), options), "sqlite": measure(file, options)}
            print({name: round(figure) for name, figure in figures.items()}, flush=True)
    finally:
        server.remove()


if __name__ == "__main__":
    main()
