"""Measure the peak memory of `senderid plan` for 1,000,000 numbers, and of `senderid apply` with long responses.

`python benchmarks/memory.py [--json]`; the API is `senderid sandbox`, in a process of its own.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SENDERID = str(Path(sys.executable).with_name("senderid"))
MILLION = 1_000_000
LARGE = 10_000
CHANGES = (100, 2_000)


@contextmanager
def sandbox(numbers: int) -> Iterator[dict[str, str]]:
    """Serve an account with that many numbers, and yield the environment of a run against it."""
    limits = f"{MILLION}/{MILLION}"
    with subprocess.Popen(
        [SENDERID, "sandbox", "--numbers", str(numbers), "--rate-limit", limits], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        try:
            ready = json.loads(process.stdout.readline())
            yield os.environ | {
                "SENDERID_ENDPOINT": ready["url"],
                "SOLAPI_API_KEY": ready["api_key"],
                "SOLAPI_API_SECRET": ready["api_secret"],
                "SENDERID_RATE_LIMIT__WRITES": str(MILLION),
                "SENDERID_LEDGER__PATH": str(Path(tempfile.gettempdir(), "senderid-benchmark", "ledger.db")),
            }
        finally:
            process.kill()


def measured(environment: dict[str, str], folder: str, *arguments: str) -> tuple[float, float]:
    """Run a command that must succeed, and return its seconds and peak MiB."""
    with Path(folder, "out").open("wb") as out:
        began = time.perf_counter()
        process = subprocess.Popen([SENDERID, *arguments], cwd=folder, env=environment, stdout=out, stderr=out)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, Path(folder, "out").read_text()[-2000:]
    return time.perf_counter() - began, usage.ru_maxrss / 1024


def plan(folder: str) -> dict[str, float]:
    """Measure a plan of a million numbers that are in sync."""
    with sandbox(MILLION) as environment:
        measured(environment, folder, "export", "--output", "million.yaml")
        seconds, peak = measured(environment, folder, "plan", "-f", "million.yaml")
    return {"plan_million_s": round(seconds, 1), "plan_million_mib": round(peak)}


def apply(folder: str) -> dict[str, float]:
    """Measure applies of few and many changes to an account of 10,000 numbers. Every response is the whole account."""
    found: dict[str, float] = {}
    for changes in CHANGES:
        with sandbox(LARGE) as environment:
            measured(environment, folder, "export", "--force", "--output", "large.yaml")
            path = Path(folder, "large.yaml")
            path.write_text(re.sub(": INACTIVE$", ": ACTIVE", path.read_text(), count=changes, flags=re.MULTILINE))
            _, peak = measured(environment, folder, "apply", "--yes", "-f", "large.yaml")
        found[f"apply_{changes}_changes_mib"] = round(peak)
    return found


def main() -> None:
    """Print the figures."""
    with tempfile.TemporaryDirectory() as folder:
        figures = plan(folder) | apply(folder)
    if "--json" in sys.argv:
        print(json.dumps(figures))
        return
    for name, value in figures.items():
        print(f"{name:<28}{value:>10,}")


if __name__ == "__main__":
    main()
