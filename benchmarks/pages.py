"""Time the pages of the status page over a large ledger: 5,000 accounts, a million numbers, 10,000 runs.

`python benchmarks/pages.py` prints the median and the 95th percentile of each page at the server, its processor time,
and the peak memory of `senderid serve`. On a machine with other work, compare the processor time. `--accounts`,
`--numbers` (of each account) and `--runs` make it smaller, `--keep FOLDER` keeps the ledger. The figures are in
docs/figures.md.
"""

import argparse
import http.client
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import msgspec

from worker.ledger.database import transaction
from worker.ledger.reads import RecordedRead, record_daemon, record_reads
from worker.ledger.sqlite import SqliteFile
from worker.model.reads import (
    AccountRead,
    Attention,
    DaemonRecord,
    HealthStatus,
    NumberState,
    SyncStatus,
    encode_numbers,
)
from worker.model.times import format_utc_ms

NAMES: Final = ("seoul", "busan", "daegu", "incheon", "gwangju", "daejeon", "ulsan", "sejong", "jeju", "suwon")
OWNERS: Final = ("marketing", "support", "logistics", "finance", "sales")
NOTES: Final = ("winter sale", "customer centre", "night shift", "delivery notices", "payment reminders", None, None)
NOW: Final = datetime.now(UTC)


def ago(**time: float) -> str:
    """Return a time before now, as documents have it."""
    return format_utc_ms(NOW - timedelta(**time))


def account_name(index: int) -> str:
    """Return the name of an account: a city, and a number beyond the first ten."""
    return NAMES[index] if index < len(NAMES) else f"{NAMES[index % len(NAMES)]}-{index:04}"


def account_key(index: int) -> str:
    """Return the key of an account."""
    return f"https://api.solapi.com {index:014}"


def recorded(index: int, numbers: int, chance: random.Random) -> RecordedRead:
    """Return the latest read of an account: most are in sync, a few need attention, one in fifty has failed."""
    luck = chance.random()
    states = []
    needs: list[Attention] = []
    for position in range(numbers):
        phone = f"010{(index * numbers + position) * 7919 % 100_000_000:08}"
        desired = "ACTIVE" if chance.random() < 0.8 else "INACTIVE"
        states.append(
            NumberState(
                phone,
                desired,
                desired,
                None,
                f"2027-0{chance.randint(1, 9)}-15T00:00:00Z",
                chance.choice(NOTES),
                chance.choice(OWNERS),
                None,
                None,
                position + 4,
            )
        )
    health, sync = HealthStatus.HEALTHY, SyncStatus.IN_SYNC
    differing = 0
    first = states[0]
    if luck < 0.02:
        health, sync = HealthStatus.FAILED, SyncStatus.UNKNOWN
        message = "the API rejected the credentials: check the key and the secret"
        needs.append(Attention("error", message, "AccountRejected"))
    elif luck < 0.08:
        health, sync, differing = HealthStatus.NEEDS_ATTENTION, SyncStatus.OUT_OF_SYNC, 1
        kind = chance.choice(("held", "missing", "blocked"))
        states[0] = msgspec.structs.replace(first, desired="INACTIVE", observed="ACTIVE", action=kind)
        needs.append(Attention(kind, f"the number is {kind}", count=1, phones=(first.phone,)))
    elif luck < 0.12:
        health = HealthStatus.NEEDS_ATTENTION
        message = "its registration ends on 2026-12-09: verify it again in the console before then"
        needs.append(Attention("expiring", message, count=1, phones=(first.phone,)))
    elif luck < 0.16:
        sync, differing = SyncStatus.OUT_OF_SYNC, 1
        states[0] = msgspec.structs.replace(first, observed="INACTIVE", desired="ACTIVE", action="activate")
    read = AccountRead(
        account=account_name(index),
        key=account_key(index),
        at=ago(seconds=40 + index % 20),
        command="watch",
        sync=sync,
        health=health,
        counts={"unchanged": numbers - differing} | ({"missing": differing} if differing else {}),
        differing=differing,
        numbers=numbers,
        active=sum(state.observed == "ACTIVE" for state in states),
        needs=tuple(needs),
        source=f"accounts/{account_name(index)}.yaml",
        commit="3f1c9a7",
        failed_at=ago(hours=3) if health is HealthStatus.FAILED else None,
    )
    return RecordedRead(read, encode_numbers(states))


def runs(count: int, accounts: int, chance: random.Random) -> Iterator[tuple[str, str, int]]:
    """Yield the id, the start and the account of each run, the oldest first, over ninety days."""
    for index in range(count):
        started = NOW - timedelta(days=90) * (count - index) / count
        yield (
            f"{started:%Y%m%dT%H%M%SZ}-{chance.randrange(1 << 24):06x}",
            format_utc_ms(started),
            chance.randrange(accounts),
        )


def make_ledger(path: Path, accounts: int, numbers: int, run_count: int) -> None:
    """Write a ledger with reads of all accounts, and with runs that changed some of their numbers."""
    chance = random.Random(7)
    with closing(SqliteFile(path).connect(program="0", now=lambda: ago(days=90))) as connection:
        with transaction(connection):
            record_reads(connection, (recorded(index, numbers, chance) for index in range(accounts)))
            record_daemon(
                connection,
                DaemonRecord(
                    host="worker-1",
                    pid=1,
                    started_at=ago(days=9),
                    last_pass=ago(seconds=40),
                    next_pass=format_utc_ms(NOW + timedelta(seconds=260)),
                    outcome="partial",
                ),
            )
        with transaction(connection):
            for run_id, at, account in runs(run_count, accounts, chance):
                add_run(connection.execute, (run_id, at, account), numbers, chance)


def add_run(execute: Callable[..., Any], run: tuple[str, str, int], numbers: int, chance: random.Random) -> None:
    """Add a run that changed up to ten numbers of an account: its id, its start, and the account."""
    run_id, at, account = run
    changed = range(min(numbers, chance.randint(1, 10)))
    command = chance.choice(("apply", "watch", "watch", "watch", "rollback"))
    end = format_utc_ms(datetime.fromisoformat(at) + timedelta(seconds=chance.uniform(0.8, 9)))
    execute(
        "INSERT INTO runs VALUES (?, ?, ?, 'worker-1', 1, '0', '{}', ?, ?, 'converged', NULL)",
        (run_id, command, "kim" if command != "watch" else "senderid", at, end),
    )
    entry = execute(
        "INSERT INTO entries (run, key, account, endpoint, safety, source, fingerprint, started_at, finished_at,"
        " outcome, counts, reads, writes, settled) VALUES (?, ?, ?, 'solapi', '{}', ?, 'f', ?, ?, 'converged', ?, 2, ?,"
        " 1)",
        (
            run_id,
            account_key(account),
            account_name(account),
            f"accounts/{account_name(account)}.yaml",
            at,
            end,
            json.dumps({"changed": len(changed), "unchanged": numbers - len(changed)}),
            len(changed),
        ),
    ).lastrowid
    for position in changed:
        phone = f"010{(account * numbers + position) * 7919 % 100_000_000:08}"
        before, after = chance.choice((("INACTIVE", "ACTIVE"), ("ACTIVE", "INACTIVE")))
        action = "activate" if after == "ACTIVE" else "deactivate"
        execute(
            "INSERT INTO outcomes VALUES (?, ?, ?, ?, ?, ?, 'changed', 1, 180, NULL, NULL, NULL, NULL)",
            (entry, phone, action, after, before, after),
        )
        execute(
            "INSERT INTO attempts VALUES (?, ?, 1, ?, 'verified', ?, ?, 200, NULL, NULL, NULL)",
            (entry, phone, after, at, end),
        )
        execute(
            "INSERT OR REPLACE INTO written VALUES (?, ?, ?, ?, ?)", (account_key(account), phone, after, run_id, at)
        )


def measure(url: str, path: str, times: int) -> tuple[float, float, int]:
    """Return the median and the 95th percentile of the time of a page in milliseconds, and its size in bytes."""
    taken, size = [], 0
    for _ in range(times):
        start = time.perf_counter()
        connection = http.client.HTTPConnection(url.removeprefix("http://").rstrip("/"), timeout=60)
        connection.request("GET", path)
        response = connection.getresponse()
        size = len(response.read())
        if response.status != http.client.OK:
            raise SystemExit(f"{path}: HTTP status {response.status}")
        connection.close()
        taken.append((time.perf_counter() - start) * 1000)
    return statistics.median(taken), statistics.quantiles(taken, n=20)[-1], size


def processor_milliseconds(pid: int) -> float:
    """Return the processor time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * 1000 / os.sysconf("SC_CLK_TCK")


def memory(pid: int) -> int:
    """Return the peak memory of a process in MiB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) // 1024 for line in lines if line.startswith("VmHWM"))


def main() -> None:
    """Make the ledger, serve it, and time each page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--accounts", type=int, default=5000)
    parser.add_argument("--numbers", type=int, default=200)
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--times", type=int, default=20)
    parser.add_argument("--keep", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        path = (options.keep or Path(temporary)) / "ledger.db"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            make_ledger(path, options.accounts, options.numbers, options.runs)
        print(f"ledger: {path.stat().st_size >> 20} MiB")
        phone = f"010{0 * 7919 % 100_000_000:08}"
        unwritten = f"010{(options.numbers - 1) * 7919 % 100_000_000:08}"
        with SqliteFile(path).read(skip_check=True) as reader:
            assert reader is not None
            (run_id,) = reader.execute("SELECT max(id) FROM runs").fetchone()
        command = [sys.executable, "-m", "worker", "serve", "--listen", "127.0.0.1:0"]
        environment = {"SENDERID_LEDGER__PATH": str(path), "PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"}
        with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as server:
            assert server.stdout is not None
            url = server.stdout.readline().strip()
            for page in (
                "/",
                "/?show=failed",
                f"/accounts/{quote(account_name(options.accounts // 2))}",
                f"/numbers/{phone}",
                f"/numbers/{unwritten}",
                "/runs",
                f"/runs/{run_id}",
                "/calendar",
                "/quota",
                "/search?q=4321",
                "/search?q=winter",
                "/search?q=nothing-of-this-kind",
            ):
                before = processor_milliseconds(server.pid)
                median, percentile, size = measure(url, page, options.times)
                used = (processor_milliseconds(server.pid) - before) / options.times
                print(f"{page:40} {median:7.0f} ms {percentile:7.0f} ms {used:7.0f} ms CPU {size >> 10:6} KiB")
            print(f"memory of serve: {memory(server.pid)} MiB")
            server.terminate()


if __name__ == "__main__":
    main()
