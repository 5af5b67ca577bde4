"""Measure the CPU of a plan of many accounts, compared with a bare aiohttp loop that reads the same accounts.

`python benchmarks/reads.py [--accounts N] [--rounds N]`. Each round runs two processes in turn, against the server of
`workers.py`: a loop that signs, sends and decodes the requests, on uvloop; and `senderid plan` of a folder with a file
for each account, which has ten converged numbers and its own API key. The plan has as many requests in flight, reads a
ledger with an earlier run of all accounts, and logs JSON lines of level `info` to a file. The CPU of both is user and
system time from start to exit.
"""

import argparse
import asyncio
import os
import secrets
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import aiohttp
import msgspec
import uvloop

from benchmarks.workers import NUMBERS, api_key, served, write_accounts
from benchmarks.writes import CREDENTIALS
from worker.config.settings import Settings
from worker.model.credentials import Credentials
from worker.solapi.signing import Signer


class Row(msgspec.Struct):
    """What the loop decodes of a number."""

    phone: str = msgspec.field(name="phoneNumber")
    status: str


class Account(msgspec.Struct):
    """What the loop decodes of an account."""

    id: str = msgspec.field(name="accountId")
    rows: list[Row] = msgspec.field(name="senderIds")


async def bare(url: str, accounts: int) -> None:
    """Read each account."""
    queue = iter(range(accounts))
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def work() -> None:
            for index in queue:
                signer = Signer(Credentials(api_key(index), CREDENTIALS.api_secret))
                headers = {"Authorization": signer.header(time.time(), secrets.token_hex(16))}
                async with session.get(f"{url}/senderid/v1/numbers", headers=headers) as response:
                    account = msgspec.json.decode(await response.read(), type=Account)
                assert len(account.rows) == NUMBERS

        await asyncio.gather(*(work() for _ in range(Settings().accounts_concurrency)))


def cpu_seconds(command: list[str], environment: dict[str, str], folder: Path) -> float:
    """Run a command, and return the CPU seconds that it uses."""
    with (folder / "output").open("wb") as output:
        process = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, (folder / "output").read_bytes()[-2000:]
    return usage.ru_utime + usage.ru_stime


def measure(url: str, accounts: int, rounds: int) -> None:
    """Run the rounds, and print each and the median."""
    ratios = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_accounts(folder, accounts)
        environment = os.environ | {"SENDERID_ENDPOINT": url, "SENDERID_LOG__FORMAT": "json", "HOME": name}
        loop = [sys.executable, __file__, "--bare", url, "--accounts", str(accounts)]
        plan, apply = ([sys.executable, "-m", "worker", name, "-f", str(folder / "d")] for name in ("plan", "apply"))
        cpu_seconds([*apply, "--yes"], environment, folder)
        for _ in range(rounds):
            seconds = [cpu_seconds(command, environment, folder) for command in (loop, plan)]
            ratios.append(seconds[1] / seconds[0])
            print(f"bare {seconds[0]:.2f} s, plan {seconds[1]:.2f} s: {ratios[-1]:.2f} times the CPU", flush=True)
    print(f"median: {statistics.median(ratios):.2f} times the CPU of the bare loop")


def main() -> None:
    """Read the options and measure."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--accounts", type=int, default=3000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--bare", metavar="URL")
    options = parser.parse_args()
    if options.bare is not None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(bare(options.bare, options.accounts))
        return
    with served(delay=0.0) as (_, url):
        measure(url, options.accounts, options.rounds)


if __name__ == "__main__":
    main()
