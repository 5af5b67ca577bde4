"""Measure how soon a fleet reacts: to a published change, idle and during a pass, and to a restart of the database.

`python benchmarks/failover.py [--accounts N] [--changes N]`. Two workers reconcile accounts of three numbers at a
simulated API, in this process. A worker that ends is started again after a second, as by a service manager. It also
measures the share of the quota that four runs use which write one account in turn, and that of a fleet whose workers
are drained by SIGTERM while they write such an account.
"""

import argparse
import asyncio
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from tests.support.postgres import PostgresServer
from worker.ledger.postgres.database import PostgresDatabase
from worker.sandbox import Sandbox, SandboxAccount
from worker.sandbox.server import Request

AWAY_SECONDS = 6.0
RUNS, WRITES = 4, 500
QUOTA, WINDOW = 100, 5.0


class Wire(list[Request]):
    """The requests that arrived, with the time of each write."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[float] = []

    def append(self, request: Request) -> None:
        """Record a request."""
        super().append(request)
        if request.method == "PUT":
            self.writes.append(time.perf_counter())


class Scene:
    """A simulated API, a database, and commands in a folder."""

    def __init__(self, folder: Path, accounts: list[SandboxAccount]) -> None:
        self.folder = folder
        self.accounts = accounts
        self.database = PostgresServer(fsync="on", full_page_writes="on")
        sandbox = Sandbox(accounts)
        self.wire = sandbox.wire = Wire()
        self.loop = asyncio.new_event_loop()
        threading.Thread(target=self.loop.run_forever, daemon=True).start()
        url = asyncio.run_coroutine_threadsafe(sandbox.start(), self.loop).result()
        self.environment = os.environ | {
            "HOME": str(folder),
            "SENDERID_ENDPOINT": url,
            "SENDERID_LEDGER__URL": self.database.url("postgres"),
            "SENDERID_SAFETY__FLEET_WIDE": "100%",
        }

    def write(self, index: int, status: str) -> None:
        """Write the file of an account."""
        account = self.accounts[index]
        (self.folder / "d").mkdir(exist_ok=True)
        for name, text in (("key", account.api_key), ("secret", account.api_secret)):
            (self.folder / f"{name}{index}").write_text(text)
        first, *others = account.numbers
        (self.folder / "d" / f"a{index}.yaml").write_text(
            f"version: 1\naccount: a{index}\ncredentials: {{api_key: {{file: key{index}}}, "
            f"api_secret: {{file: secret{index}}}}}\nnumbers:\n  {first}: {status}\n"
            + "".join(f"  {phone}: ACTIVE\n" for phone in others)
        )

    def start(self, *arguments: str) -> "subprocess.Popen[bytes]":
        """Start a command."""
        return subprocess.Popen(
            [sys.executable, "-m", "worker", *arguments],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def publish(self, *options: str) -> None:
        """Publish the files."""
        assert self.start("fleet", "publish", "-f", "d", *options).wait() == 0

    def settle(self) -> None:
        """Wait until two workers share the lanes, and every account was reconciled with its newest documents."""
        with closing(PostgresDatabase(self.database.url("postgres")).open()) as connection:
            for sql, expected in (
                ("SELECT count(*) FROM leases WHERE name LIKE 'lane %' GROUP BY worker", [(512,), (512,)]),
                ("SELECT name FROM accounts WHERE settled IS DISTINCT FROM revision LIMIT 1", []),
            ):
                until(lambda: connection.execute(sql).fetchall() == expected)  # noqa: B023 - called at once

    def close(self) -> None:
        """Stop the API and the database."""
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.database.remove()


def until(condition: Callable[[], bool]) -> float:
    """Wait for a condition. Return the seconds."""
    start = time.perf_counter()
    while not condition():
        time.sleep(0.01)
    return time.perf_counter() - start


def measure_fleet(folder: Path, accounts: int, changes: int) -> None:
    """Measure changes, idle and during a pass, and a restart of the database during a pass that writes."""
    scene = Scene(folder, [account(index) for index in range(accounts)])
    for index in range(accounts):
        scene.write(index, "ACTIVE")
    workers: list[subprocess.Popen[bytes]] = []
    is_over = threading.Event()

    def supervise() -> None:
        while not is_over.wait(1.0):
            for index, worker in enumerate(workers):
                if worker.poll() is not None:
                    workers[index] = scene.start("fleet", "worker", "--every", "2s")

    try:
        for label, every in (("idle", "1h"), ("during passes over all accounts", "2s")):
            scene.publish()
            workers[:] = [scene.start("fleet", "worker", "--every", every) for _ in range(2)]
            scene.settle()
            seconds = []
            for index in range(changes):
                count = len(scene.wire.writes)
                scene.write(index, "INACTIVE" if label == "idle" else "ACTIVE")
                scene.publish()
                seconds.append(until(lambda count=count: len(scene.wire.writes) > count))  # type: ignore[misc]
            worst = sorted(seconds)[int(0.95 * changes)]
            print(f"publication to first PUT, {label}: p95 {worst:.1f} s of {changes}", flush=True)
            if every == "1h":
                stop(workers)
        threading.Thread(target=supervise, daemon=True).start()
        for index in range(accounts):
            scene.write(index, "INACTIVE")
        count = len(scene.wire.writes)
        scene.publish()
        until(lambda: len(scene.wire.writes) > count + accounts / 4)
        scene.database.stop()
        time.sleep(AWAY_SECONDS)
        count = len(scene.wire.writes)
        scene.database.start()
        first = until(lambda: len(scene.wire.writes) > count)
        scene.settle()
        print(f"database away for {AWAY_SECONDS:g} s under load: first PUT {first:.1f} s after its start", flush=True)
    finally:
        is_over.set()
        stop(workers)
        scene.close()


def measure_handovers(folder: Path) -> None:
    """Measure the share of the quota that runs use which wait for each other's lease."""
    phones = [f"010{number:08}" for number in range(RUNS * WRITES)]
    scene = Scene(folder, [SandboxAccount.of(dict.fromkeys(phones, "INACTIVE"), limit=len(phones))])
    scene.environment |= {
        "SOLAPI_API_KEY": scene.accounts[0].api_key,
        "SOLAPI_API_SECRET": scene.accounts[0].api_secret,
        "SENDERID_RATE_LIMIT__WRITES": f"{QUOTA}",
    }
    (folder / "a.yaml").write_text("version: 1\nnumbers:\n" + "".join(f"  {phone}: ACTIVE\n" for phone in phones))
    try:
        runs = [
            scene.start(
                *("apply", "-f", "a.yaml", "--yes", "--lock-timeout", "10m"),
                *(f"--only={phone}" for phone in phones[WRITES * run : WRITES * (run + 1)]),
            )
            for run in range(RUNS)
        ]
        assert [run.wait() for run in runs] == [0] * RUNS
        writes, rejected = scene.wire.writes, sum(request.status == 429 for request in scene.wire)
        shortest = (len(writes) / QUOTA - 1) * WINDOW
        share = shortest / (writes[-1] - writes[0])
        print(f"{len(writes)} writes of {RUNS} runs in turn: {share:.2f} of the quota, {rejected} rejected", flush=True)
    finally:
        scene.close()


def measure_drains(folder: Path) -> None:
    """Measure the share of the quota that a fleet uses, the worker of whose lane is drained again and again."""
    phones = [f"010{number:08}" for number in range(RUNS * WRITES)]
    scene = Scene(folder, [SandboxAccount.of(dict.fromkeys(phones, "INACTIVE"), limit=len(phones))])
    scene.environment["SENDERID_RATE_LIMIT__WRITES"] = f"{QUOTA}"
    scene.write(0, "ACTIVE")
    scene.publish()
    workers = [scene.start("fleet", "worker") for _ in range(2)]
    writes = scene.wire.writes
    try:
        with closing(PostgresDatabase(scene.database.url("postgres")).open()) as connection:
            for run in range(1, RUNS):
                until(lambda: len(writes) >= WRITES * run)  # noqa: B023 - called at once
                (pid,) = connection.execute(
                    "SELECT pid FROM workers JOIN leases USING (worker) JOIN accounts ON leases.name = 'lane ' || lane"
                ).fetchone()
                os.kill(pid, signal.SIGTERM)
                workers.append(scene.start("fleet", "worker"))
        until(lambda: len(writes) >= len(phones))
        rejected = sum(request.status == 429 for request in scene.wire)
        shortest = (len(writes) / QUOTA - 1) * WINDOW
        seconds = writes[-1] - writes[0]
        print(
            f"{len(writes)} writes of a fleet with {RUNS - 1} drains: {shortest / seconds:.2f} of the quota, "
            f"{(seconds - shortest) / (RUNS - 1):.1f} s lost with each drain, {rejected} rejected",
            flush=True,
        )
    finally:
        stop(workers)
        scene.close()


def account(index: int) -> SandboxAccount:
    """Return an account of three ACTIVE numbers."""
    phones = [f"010{3 * index + offset:08}" for offset in range(3)]
    return SandboxAccount.of(
        dict.fromkeys(phones, "ACTIVE"),
        account_id=f"{index:08}",
        api_key=f"NCSKEY{index:08}",
        api_secret=f"secret-{index:025}",
    )


def stop(workers: "list[subprocess.Popen[bytes]]") -> None:
    """End the workers."""
    for worker in workers:
        worker.terminate()
    for worker in workers:
        worker.wait()


def main() -> None:
    """Read the options and measure."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--accounts", type=int, default=1000)
    parser.add_argument("--changes", type=int, default=20)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        measure_fleet(Path(name), options.accounts, options.changes)
    for measure in (measure_handovers, measure_drains):
        with tempfile.TemporaryDirectory() as name:
            measure(Path(name))


if __name__ == "__main__":
    main()
