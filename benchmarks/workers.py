"""Measure how the workers of a fleet scale: the accounts a second of four workers, compared with one.

`python benchmarks/workers.py [--accounts N] [--delay MS] [--in-flight N] [--rounds N]`. A server with an account for
each API key responds after the delay. Each round is a first pass over converged accounts of ten numbers: of one worker,
then of four. It also prints the CPU that an account costs in the workers, in PostgreSQL and in that server, because two
cores limit the sum. `--in-flight` is `accounts_concurrency`, of which a worker runs eight slices.
"""

import argparse
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from operator import sub
from pathlib import Path

import uvloop

from benchmarks.agenda import server_seconds
from benchmarks.server import Connection, State
from tests.support.postgres import PostgresServer
from worker.ledger.postgres.connection import PostgresConnection
from worker.ledger.postgres.database import PostgresDatabase

NUMBERS = 10
WORKERS = 4
START, END = 0.05, 0.9
"""The shares of the accounts between which the rate is measured, because workers start and end at different times."""


class FleetConnection(Connection):
    """A connection that responds with the account of the request's API key."""

    def respond(self, head: bytes, body: bytes) -> None:
        """Respond to a GET of the account after the delay."""
        del body
        found = re.search(rb"apiKey=NCSKEY(\d+)", head)
        assert found is not None
        account = self.state.document().replace(b'"accountId":"1"', b'"accountId":"%b"' % found[1])
        self.send(b"200 OK", account, b"", delayed=True)


def serve(delay: float) -> None:
    """Serve the accounts until killed."""
    options = argparse.Namespace(numbers=NUMBERS, window=0.0, capacity=0, latency=(delay, delay), whole_responses=False)
    state = State(options)
    loop = uvloop.new_event_loop()
    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
    loop.run_until_complete(loop.create_server(lambda: FleetConnection(state, loop), sock=listener))
    print(json.dumps({"url": f"http://127.0.0.1:{listener.getsockname()[1]}"}), flush=True)
    loop.run_forever()


@contextmanager
def served(delay: float) -> Iterator[tuple["subprocess.Popen[bytes]", str]]:
    """Serve the accounts in a process, and yield it with its URL. The delay of a response is in milliseconds."""
    with subprocess.Popen([sys.executable, __file__, "--serve", f"--delay={delay}"], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        try:
            yield process, json.loads(process.stdout.readline())["url"]
        finally:
            process.kill()


def api_key(index: int) -> str:
    """Return the API key of an account."""
    return f"NCSKEY{index:08}"


def write_accounts(folder: Path, accounts: int) -> None:
    """Write a file for each account into the folder `d` of a folder, and the files with its credentials."""
    phones = "".join(f"  010{number:08}: INACTIVE\n" for number in range(NUMBERS))
    (folder / "secret").write_text("0123456789ABCDEFGHIJKLMNOPQRSTUV")
    (folder / "d").mkdir()
    for index in range(accounts):
        (folder / f"key{index}").write_text(api_key(index))
        (folder / "d" / f"a{index}.yaml").write_text(
            f"version: 1\naccount: a{index}\n"
            f"credentials: {{api_key: {{file: {folder}/key{index}}}, api_secret: {{file: {folder}/secret}}}}\n"
            f"numbers:\n{phones}"
        )


def cpu_seconds(process: "subprocess.Popen[bytes]") -> float:
    """Return the CPU seconds of a process."""
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")


class Measurement:
    """A fleet in a folder, over a database and a server."""

    def __init__(self, folder: Path, database: PostgresServer, server: "subprocess.Popen[bytes]", url: str) -> None:
        self.folder = folder
        self.database = database
        self.server = server
        self.environment = os.environ | {
            "SENDERID_LEDGER__URL": database.url("postgres"),
            "SENDERID_ENDPOINT": url,
            "SENDERID_RATE_LIMIT__PER_SECONDS": "1",
            "SENDERID_TIMEOUT__TOTAL_SECONDS": "5",
            "HOME": str(folder),
        }

    def write(self, accounts: int) -> None:
        """Write and publish the files."""
        write_accounts(self.folder, accounts)
        self.command("fleet", "publish", "-f", str(self.folder / "d"))

    def command(self, *arguments: str) -> None:
        """Run a command."""
        subprocess.run(
            [sys.executable, "-m", "worker", *arguments], env=self.environment, stdout=subprocess.DEVNULL, check=True
        )

    def measure(self, count: int, accounts: int) -> float:
        """Return the accounts a second of `count` workers."""
        database = PostgresDatabase(self.database.url("postgres"))
        with closing(database.open()) as connection:
            connection.script(
                "UPDATE accounts SET due_at = 'infinity', priority = 0, settled = NULL, crashes = 0, worker = NULL;"
                "DELETE FROM workers; DELETE FROM lanes"
            )
            workers = [
                subprocess.Popen(
                    [sys.executable, "-m", "worker", "fleet", "worker", "--every", "1h"],
                    env=self.environment,
                    stderr=subprocess.DEVNULL,
                )
                for _ in range(count)
            ]
            try:
                while True:
                    shares = connection.execute(
                        "SELECT count(*) FROM leases JOIN workers USING (worker) GROUP BY worker"
                    ).fetchall()
                    if [share for (share,) in shares] == [1024 // count] * count:
                        break
                    time.sleep(0.1)
                connection.script("UPDATE accounts SET due_at = clock_timestamp()")
                start, first = self.state(connection, workers, accounts * START)
                end, last = self.state(connection, workers, accounts * END)
            finally:
                for each in workers:
                    each.terminate()
                for each in workers:
                    each.wait()
        done = last[0] - first[0]
        used = dict(zip(("workers", "PostgreSQL", "API"), map(sub, last[1:], first[1:]), strict=True))
        milliseconds = ", ".join(f"{name} {1000 * seconds / done:.2f} ms" for name, seconds in used.items())
        rate, cores = done / (end - start), sum(used.values()) / (end - start)
        print(
            f"{count} workers: {rate:.0f} accounts/s; CPU an account: {milliseconds}; {cores:.2f} cores busy",
            flush=True,
        )
        return rate

    def state(
        self, connection: PostgresConnection, workers: "list[subprocess.Popen[bytes]]", count: float
    ) -> tuple[float, tuple[float, float, float, float]]:
        """Wait for `count` reconciled accounts. Return the time, their count, and the CPU seconds of each part."""
        while (done := connection.execute("SELECT sum(accounts)::float8 FROM workers").fetchone()[0]) < count:
            assert all(worker.poll() is None for worker in workers)
            time.sleep(0.02)
        cpu = sum(map(cpu_seconds, workers)), server_seconds(self.database), cpu_seconds(self.server)
        return time.perf_counter(), (done, *cpu)


def main() -> None:
    """Compare one worker with four, in turns."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--accounts", type=int, default=1000)
    parser.add_argument("--delay", type=float, default=50.0, metavar="MS")
    parser.add_argument("--in-flight", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--serve", action="store_true")
    options = parser.parse_args()
    if options.serve:
        serve(options.delay)
        return
    database = PostgresServer(fsync="on", full_page_writes="on", shared_buffers="128MB")
    try:
        with tempfile.TemporaryDirectory() as name, served(options.delay) as (server, url):
            measurement = Measurement(Path(name), database, server, url)
            measurement.environment["SENDERID_ACCOUNTS_CONCURRENCY"] = str(options.in_flight)
            measurement.write(options.accounts)
            measurement.measure(WORKERS, options.accounts)
            for _ in range(options.rounds):
                one, four = (measurement.measure(count, options.accounts) for count in (1, WORKERS))
                print(f"{four / one:.2f} times the accounts a second with {WORKERS} workers", flush=True)
    finally:
        database.remove()


if __name__ == "__main__":
    main()
