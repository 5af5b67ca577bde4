"""Measure `senderid fleet publish`: how long many files take at first, unchanged, and with one changed file.

`python benchmarks/publish.py [--files N] [--numbers N]`. The server is the one of the tests, with fsync.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.support.postgres import PostgresServer


def publish(folder: Path, environment: dict[str, str], label: str) -> None:
    """Publish the files, and print the time."""
    start, used = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    command = [sys.executable, "-m", "worker", "fleet", "publish", "-f", str(folder)]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    used = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - used
    line = result.stdout.splitlines()[0]
    print(f"{label}: {time.perf_counter() - start:.1f} s, of them {used:.1f} s CPU. {line}", flush=True)


def measure(files: int, numbers: int) -> None:
    """Measure three publications."""
    server = PostgresServer(fsync="on", full_page_writes="on", shared_buffers="128MB")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for index in range(files):
            keys = f"credentials: {{api_key: {{env: KEY_{index}}}, api_secret: {{env: SECRET_{index}}}}}\n"
            phones = "".join(f"  010{numbers * index + offset:08}: ACTIVE\n" for offset in range(numbers))
            part = folder / f"{index // 1000:03}"
            part.mkdir(exist_ok=True)
            text = f"version: 1\naccount: shop{index:06}\n{keys}numbers:\n{phones}"
            (part / f"shop{index:06}.yaml").write_text(text)
        environment = os.environ | {"SENDERID_LEDGER__URL": server.url("postgres"), "HOME": name}
        try:
            publish(folder, environment, f"{files:,} new files")
            publish(folder, environment, "unchanged")
            changed = folder / "000" / "shop000000.yaml"
            changed.write_text(changed.read_text().replace("ACTIVE", "INACTIVE", 1))
            publish(folder, environment, "one changed")
        finally:
            server.remove()


def main() -> None:
    """Read the options and measure."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--numbers", type=int, default=10)
    options = parser.parse_args()
    measure(options.files, options.numbers)


if __name__ == "__main__":
    main()
