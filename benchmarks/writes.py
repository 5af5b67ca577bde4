"""Measure writes: use of the quota, the worker beside other programs, and the cost of long responses.

`python benchmarks/writes.py [quota] [throughput] [process] [responses] [--json]`; without a name, all four.
"""

import asyncio
import json
import os
import secrets
import statistics
import subprocess
import sys
import tempfile
import time
from array import array
from collections.abc import Callable, Coroutine, Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from typing import Any, TypeVar

import aiohttp
import msgspec
from uvloop import new_event_loop

from worker.cli.runner import now
from worker.config.settings import RateLimit, Settings
from worker.ledger import Ledger, RunInfo, SqliteFile
from worker.model.accounts import Desired, DesiredAccount, Status
from worker.model.credentials import Credentials, Secret
from worker.model.redaction import Secrets
from worker.model.results import Requests, RunOutcome
from worker.plan.build import Terms
from worker.reconcile.fleet import Fleet
from worker.solapi.signing import Signer
from worker.solapi.transport import Transport
from worker.telemetry import logs

T = TypeVar("T")

CREDENTIALS = Credentials("NCS0123456789ABC", Secret("0123456789ABCDEFGHIJKLMNOPQRSTUV"))
ROUNDS = 7


class Ignored:
    """Progress that is not shown."""

    def advance(self) -> None:
        """Do nothing."""


@contextmanager
def served(*options: str) -> Iterator[str]:
    """Start a server process and yield its URL."""
    with subprocess.Popen(
        [sys.executable, str(Path(__file__).parent / "server.py"), *options], stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        try:
            yield json.loads(process.stdout.readline())["url"]
        finally:
            process.kill()


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on the event loop that the worker uses."""
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        return runner.run(work)


async def worker(
    url: str, numbers: int, settings: Settings, ledger: Path | None = None
) -> tuple[float, float, Requests]:
    """Activate numbers in a complete run, and return its seconds, CPU seconds and requests."""
    phones = {f"010{number:08}": Desired(Status.ACTIVE) for number in range(numbers)}
    desired = DesiredAccount("bench", "bench.yaml", phones, array("I", range(1, numbers + 1)), endpoint=url)
    with tempfile.TemporaryFile() as file:
        sink = logs.Sink(file, is_buffered=True)
        log = logs.configure(
            format="json", level="info", sink=sink, color=False, secrets=Secrets([CREDENTIALS.api_secret.reveal()])
        )
        async with AsyncExitStack() as stack:
            keeper = None if ledger is None else await stack.enter_async_context(_kept(ledger))
            transport = await stack.enter_async_context(Transport(settings.timeout))
            fleet = Fleet(settings, transport, lambda _: CREDENTIALS, log.bind(run_id="bench"), ledger=keeper)
            drafts = await fleet.plan([desired], Terms())
            began, cpu = time.perf_counter(), time.process_time()
            results = await fleet.apply([desired], drafts, Terms(), Ignored())
            if keeper is not None:
                await keeper.finish(RunOutcome.CONVERGED)
            sink.flush()
            spent = time.perf_counter() - began, time.process_time() - cpu
    assert results[0].outcome is RunOutcome.CONVERGED, results[0].error
    return *spent, results[0].requests


def _kept(path: Path) -> Ledger:
    run = RunInfo(
        id=secrets.token_hex(8),
        command="bench",
        started_by="",
        host="",
        pid=0,
        version="",
        settings="{}",
        started_at="",
    )
    return Ledger(SqliteFile(path), run, now=now, max_bytes=1 << 30)


async def bare(url: str, numbers: int, concurrency: int) -> float:
    """Return the seconds of a plain aiohttp loop that signs and PUTs."""
    signer = Signer(CREDENTIALS)
    queue = iter(range(numbers))
    body = msgspec.json.encode({"status": "INACTIVE"})
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def put() -> None:
            for number in queue:
                headers = {"Authorization": signer.header(time.time(), secrets.token_hex(16))}
                address = f"{url}/senderid/v1/numbers/010{number:08}"
                async with session.put(address, data=body, headers=headers) as response:
                    await response.read()

        began = time.perf_counter()
        await asyncio.gather(*(put() for _ in range(concurrency)))
        return time.perf_counter() - began


async def stats(url: str) -> dict[str, float]:
    """Return the counts of the server."""
    async with aiohttp.ClientSession() as session, session.get(f"{url}/stats") as response:
        seen: dict[str, float] = json.loads(await response.read())
        return seen


def quota() -> dict[str, float]:
    """Measure both quotas of docs/figures.md against a server that enforces a sliding window.

    `times_least` is the duration of all writes in times of the least possible one, in which the first window takes no
    time. `of_quota` is the rate after the first window's writes.
    """
    found: dict[str, float] = {}
    for name, writes, per, total in (("100_per_5s", 100, 5.0, 500), ("1000_per_s", 1000, 1.0, 20_000)):
        window = ("--capacity", str(writes), "--window", str(per))
        with served("--numbers", str(total), *window, "--latency", "2", "30") as url:
            settings = Settings(rate_limit=RateLimit(writes, 100, per), concurrency=64)
            run(worker(url, total, settings))
            seen = run(stats(url))
        least = (total // writes - 1) * per
        found[f"{name}_refused"] = seen["refused"]
        found[f"{name}_times_least"] = round((seen["last"] - seen["first"]) / least, 4)
        found[f"{name}_of_quota"] = round(least / (seen["last"] - seen["filled"]), 4)
    return found


def throughput() -> dict[str, float]:
    """Measure unlimited writes per second of the worker, without and with a ledger, and of a bare loop.

    Medians over rounds taken in turn. `ledger_cost` is the share of its throughput that the worker loses with a ledger.
    """
    numbers, concurrency = 5000, 32
    settings = Settings(rate_limit=RateLimit(10**6, 10**6, 1.0), concurrency=concurrency)
    ours, theirs, noted = [], [], []
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(ROUNDS):
            with served("--numbers", str(numbers)) as url:
                theirs.append(run(bare(url, numbers, concurrency)))
                ours.append(run(worker(url, numbers, settings))[0])
            with served("--numbers", str(numbers)) as url:
                noted.append(run(worker(url, numbers, settings, Path(folder, "ledger.db")))[0])
    rates = {"worker": ours, "worker_with_ledger": noted, "bare": theirs}
    return {
        **{f"{name}_per_s": round(numbers / statistics.median(taken)) for name, taken in rates.items()},
        "ratio": _median_ratio(theirs, ours),
        "ratio_with_ledger": _median_ratio(theirs, noted),
        "ledger_cost": round(1 - _median_ratio(ours, noted), 3),
    }


def _median_ratio(above: list[float], below: list[float]) -> float:
    return round(statistics.median(a / b for a, b in zip(above, below, strict=True)), 3)


def process() -> dict[str, float]:
    """Measure `senderid apply` of 20,000 numbers as a process, beside the programs of `peers.py`.

    The worker keeps a ledger, logs JSON lines to a file and verifies. A server without a limit has an account for each
    program. Seconds are medians from start to exit; `of_bare` and `of_naive` are median ratios within one round.
    """
    rounds = [{name: _seconds(name, 20_000) for name in ("worker", "bare", "naive")} for _ in range(ROUNDS)]
    figures = {f"{name}_s": round(statistics.median(each[name] for each in rounds), 3) for name in rounds[0]}
    for name in ("bare", "naive"):
        figures[f"of_{name}"] = round(statistics.median(each[name] / each["worker"] for each in rounds), 3)
    return figures


def _seconds(program: str, numbers: int) -> float:
    with tempfile.TemporaryDirectory() as temporary, served("--numbers", str(numbers)) as url:
        folder = Path(temporary)
        file = folder / "numbers.yaml"
        lines = "".join(f"  '010{number:08}': ACTIVE\n" for number in range(numbers))
        file.write_text(f"version: 1\nnumbers:\n{lines}")
        if program == "worker":
            senderid = str(Path(sys.executable).with_name("senderid"))
            command = [senderid, "apply", "--yes", "--format", "json", "-f", str(file)]
        else:
            command = [sys.executable, str(Path(__file__).with_name("peers.py")), program, url, str(file)]
        settings = {
            "SENDERID_ENDPOINT": url,
            "SENDERID_CONCURRENCY": "32",
            "SENDERID_RATE_LIMIT__WRITES": "1000000",
            "SENDERID_RATE_LIMIT__READS": "1000000",
            "SOLAPI_API_KEY": CREDENTIALS.api_key,
            "SOLAPI_API_SECRET": CREDENTIALS.api_secret.reveal(),
            "XDG_STATE_HOME": str(folder),
        }
        with (folder / "output").open("wb") as output:
            began = time.perf_counter()
            subprocess.run(
                command, check=True, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=os.environ | settings
            )
            return time.perf_counter() - began


def responses() -> dict[str, float]:
    """Measure the CPU time of one write whose response is the gzipped account document, of 10,000 numbers and of one.

    With 16 requests in flight, 5 MB of responses wait in the kernel: more than a core's cache. With 4 they fit.
    """
    found: dict[str, float] = {}
    for concurrency in (4, 16):
        settings = Settings(rate_limit=RateLimit(10**6, 10**6, 1.0), concurrency=concurrency)
        costs: dict[int, list[float]] = {1: [], 10_000: []}
        for _ in range(ROUNDS):
            for numbers, spent in costs.items():
                with served("--numbers", str(numbers), "--whole-responses") as url:
                    spent.append(run(_cpu_per_write(url, 2000, settings)))
        small, large = (statistics.median(spent) * 1e6 for spent in costs.values())
        found[f"cpu_us_of_1_{concurrency}_under_way"] = round(small, 1)
        found[f"cpu_us_of_10000_{concurrency}_under_way"] = round(large, 1)
        found[f"ratio_{concurrency}_under_way"] = round(large / small, 3)
    return found


async def _cpu_per_write(url: str, writes: int, settings: Settings) -> float:
    from worker.config.urls import Endpoint
    from worker.solapi.client import AccountWriter
    from worker.solapi.limiter import Quota

    class Silent:
        def info(self, event: str, **fields: object) -> None:
            """Do nothing."""

        warning = info

    async with Transport(settings.timeout) as transport:
        client = AccountWriter(
            transport,
            Endpoint(url),
            CREDENTIALS,
            Quota(settings.rate_limit, clock=time.monotonic),
            retry=settings.retry,
            log=Silent(),
        )

        async def attempt(_: object) -> None:
            await client.acquire()
            await client.put("01000000000", Status.INACTIVE)

        queue = iter(range(writes))

        async def work() -> None:
            for _ in queue:
                await client.retry(attempt)

        began = time.process_time()
        await asyncio.gather(*(work() for _ in range(settings.concurrency)))
        return (time.process_time() - began) / writes


def main() -> None:
    """Print the chosen figures."""
    known: dict[str, Callable[[], dict[str, float]]] = {
        "quota": quota,
        "throughput": throughput,
        "process": process,
        "responses": responses,
    }
    chosen = [name for name in sys.argv[1:] if name in known] or list(known)
    figures = {name: known[name]() for name in chosen}
    if "--json" in sys.argv:
        print(json.dumps(figures))
        return
    for name, found in figures.items():
        print(name)
        for key, value in found.items():
            print(f"  {key:<36}{value:>12,}")


if __name__ == "__main__":
    main()
