"""The demo of a fleet: a real PostgreSQL, a simulated API with 2,000 accounts, three workers, and a `kill -9`.

`make fleet-demo` runs it. It needs no container engine and no network.
"""

import asyncio
import os
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import DEVNULL, PIPE, Popen, run
from tempfile import TemporaryDirectory
from typing import Final

import click

from tests.support.postgres import PostgresServer
from worker.ledger.postgres.database import PostgresDatabase
from worker.sandbox import Sandbox, SandboxAccount

__all__ = ["main"]

_ACCOUNTS: Final = 2000
_NUMBERS: Final = 3
_WORKERS: Final = 3
_KILL_AT: Final = 0.25
"""Share of the numbers that are switched when a worker is killed."""
_SECONDS: Final = 180.0
"""Time limit of the demo in seconds. It takes about a minute."""
_SENDERID: Final = (sys.executable, "-m", "worker")


def main() -> int:
    """Run the demo. Return the exit status: 0 if nothing was lost and nothing was written twice."""
    with TemporaryDirectory() as folder, _database() as url:
        return _Demo(Path(folder), url).run()


class _Demo:
    """The demo in a folder, with the database at `url`."""

    def __init__(self, folder: Path, url: str) -> None:
        self._folder = folder
        self._database = PostgresDatabase(url)
        self._accounts = [_account(index) for index in range(_ACCOUNTS)]
        self._sandbox = Sandbox(self._accounts)
        self._environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "PYTHONPATH": os.pathsep.join(sys.path),
            "SENDERID_LEDGER__URL": url,
            "SENDERID_SAFETY__FLEET_WIDE": "100%",
            "SENDERID_TIMEOUT__TOTAL_SECONDS": "3",
        }
        self._start = time.monotonic()

    def run(self) -> int:
        with _served(self._sandbox):
            self._environment["SENDERID_ENDPOINT"] = self._sandbox.url
            self._write_files()
            self._chapter("1. senderid fleet publish: validate the files of all accounts and put them into PostgreSQL")
            self._command("fleet", "publish", "-f", "accounts")
            self._chapter(f"2. senderid fleet worker: {_WORKERS} processes share the accounts")
            workers = [self._worker(index) for index in range(_WORKERS)]
            try:
                return self._watch(workers)
            finally:
                for worker in workers:
                    worker.kill()
                    worker.wait()

    def _watch(self, workers: list[Popen[bytes]]) -> int:
        total = _ACCOUNTS
        self._wait(total * _KILL_AT)
        self._chapter("3. kill -9: one worker dies while it writes")
        workers[0].kill()
        workers[0].wait()
        click.echo(f"     {self._switched():,} of {total:,} numbers are switched at this moment.")
        self._command("fleet", "status")
        self._chapter("4. The others continue, and take its accounts over when its leases have ended")
        self._wait(total)
        self._command("fleet", "status")
        for worker in workers[1:]:
            worker.terminate()
        statuses = [worker.wait() for worker in workers[1:]]
        click.echo(f"     SIGTERM ended the others with the exit statuses {statuses}.")
        return self._prove()

    def _prove(self) -> int:
        writes = Counter(request.phone for request in self._sandbox.wire if request.method == "PUT")
        rejected = sum(request.status == 429 for request in self._sandbox.wire)
        with self._database.read() as connection:
            assert connection is not None
            (open_count,) = connection.execute("SELECT count(*) FROM entries WHERE NOT settled").fetchone()
            (recorded,) = connection.execute("SELECT count(*) FROM outcomes WHERE outcome = 'changed'").fetchone()
            (crashed,) = connection.execute("SELECT count(*) FROM entries WHERE outcome = 'crashed'").fetchone()
        twice = sum(count > 1 for count in writes.values())
        is_proven = (self._switched(), twice, rejected, open_count) == (_ACCOUNTS, 0, 0, 0)
        self._chapter("5. The proof: what the simulated API counted, compared with the ledger")
        lost = _ACCOUNTS - self._switched()
        click.echo(f"  - {self._switched():,} of {_ACCOUNTS:,} numbers are switched: {lost} were lost;")
        click.echo(f"  - {writes.total():,} write requests arrived: {twice} numbers were written twice;")
        click.echo(f"  - {rejected} requests exceeded the quota of an API key;")
        click.echo(
            f"  - the ledger has {recorded:,} changed numbers, {crashed} crashed and {open_count} open accounts."
        )
        click.echo(f"\n{'Proven' if is_proven else 'FAILED'} in {time.monotonic() - self._start:.0f} s.")
        return 0 if is_proven else 1

    def _write_files(self) -> None:
        folder = self._folder / "accounts"
        folder.mkdir()
        for index, account in enumerate(self._accounts):
            self._environment |= {f"KEY_{index}": account.api_key, f"SECRET_{index}": account.api_secret}
            first, *others = account.numbers
            (folder / f"shop{index:04}.yaml").write_text(
                f"version: 1\naccount: shop{index:04}\n"
                f"credentials: {{api_key: {{env: KEY_{index}}}, api_secret: {{env: SECRET_{index}}}}}\n"
                f"numbers:\n  {first}: INACTIVE\n" + "".join(f"  {phone}: ACTIVE\n" for phone in others)
            )

    def _switched(self) -> int:
        return sum("INACTIVE" in account.statuses.values() for account in self._accounts)

    def _wait(self, count: float) -> None:
        while self._switched() < count:
            if time.monotonic() - self._start > _SECONDS:
                sys.exit(f"only {self._switched()} numbers are switched after {_SECONDS:.0f} s")
            time.sleep(0.05)

    def _worker(self, index: int) -> Popen[bytes]:
        with (self._folder / f"worker{index}.log").open("wb") as log:
            return Popen(  # noqa: S603 - our own command
                [*_SENDERID, "fleet", "worker"],
                cwd=self._folder,
                env=self._environment,
                stdin=DEVNULL,
                stderr=log,
            )

    def _command(self, *arguments: str) -> None:
        result = run(  # noqa: S603 - our own command
            [*_SENDERID, *arguments], cwd=self._folder, env=self._environment, stdout=PIPE, text=True, check=True
        )
        click.echo("\n".join(f"     {line}" for line in result.stdout.splitlines()))

    def _chapter(self, title: str) -> None:
        click.echo(f"\n{time.monotonic() - self._start:4.0f} s  {title}\n")


def _account(index: int) -> SandboxAccount:
    phones = [f"010{_NUMBERS * index + offset:08}" for offset in range(_NUMBERS)]
    return SandboxAccount.of(
        dict.fromkeys(phones, "ACTIVE"),
        account_id=f"{index:08}",
        api_key=f"NCSDEMO{index:09}",
        api_secret=f"demo-secret-{index:020}",
    )


@contextmanager
def _database() -> Iterator[str]:
    # as in production, a commit is on disk before a request is sent
    server = PostgresServer(fsync="on", full_page_writes="on")
    try:
        yield server.url("postgres")
    finally:
        server.remove()


@contextmanager
def _served(sandbox: Sandbox) -> Iterator[None]:
    """Serve the simulated API on a thread."""
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, daemon=True).start()
    asyncio.run_coroutine_threadsafe(sandbox.start(), loop).result()
    try:
        yield
    finally:
        asyncio.run_coroutine_threadsafe(sandbox.stop(), loop).result()
        loop.call_soon_threadsafe(loop.stop)


if __name__ == "__main__":
    sys.exit(main())
