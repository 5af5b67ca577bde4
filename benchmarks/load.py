"""Measure the time and peak memory of loading 1,000,000 numbers, beside `yaml.load(…, CSafeLoader)`.

`python benchmarks/load.py [--json]`; each side runs in processes of its own, in turn, because a peak never falls.
"""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

NUMBERS = 1_000_000
ROUNDS = 3


def peak_mib() -> float:
    """Return the peak memory of this process in MiB."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def worker(path: str) -> int:
    """Load a file with the worker, and return the count of its numbers."""
    from worker.config import desired

    with Path(path).open("rb") as file:
        (account,) = desired.load([(path, file.read())]).accounts
    return len(account.numbers)


def plain(path: str) -> int:
    """Load a file with PyYAML, and return the count of its numbers."""
    import yaml

    with Path(path).open("rb") as file:
        return len(yaml.load(file, yaml.CSafeLoader)["numbers"])


def measured(side: str, path: str) -> tuple[float, float]:
    """Load a file in a new process, and return its seconds and peak MiB."""
    done = subprocess.run(
        [sys.executable, __file__, "--side", side, path], check=True, stdout=subprocess.PIPE, text=True
    )
    seconds, peak = json.loads(done.stdout)
    return seconds, peak


def main() -> None:
    """Print medians."""
    if sys.argv[1:2] == ["--side"]:
        side = {"worker": worker, "plain": plain}[sys.argv[2]]
        began = time.perf_counter()
        found = side(sys.argv[3])
        assert found == NUMBERS, found
        print(json.dumps([time.perf_counter() - began, peak_mib()]))
        return
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder, "million.yaml"))
        with Path(path).open("w") as file:
            file.write("version: 1\nnumbers:\n")
            file.writelines(f"  010-{n // 10_000:04}-{n % 10_000:04}: ACTIVE\n" for n in range(NUMBERS))
        rounds = [{side: measured(side, path) for side in ("plain", "worker")} for _ in range(ROUNDS)]
    figures = {
        "worker_s": statistics.median(each["worker"][0] for each in rounds),
        "plain_s": statistics.median(each["plain"][0] for each in rounds),
        "times_as_fast": statistics.median(each["plain"][0] / each["worker"][0] for each in rounds),
        "worker_mib": statistics.median(each["worker"][1] for each in rounds),
        "plain_mib": statistics.median(each["plain"][1] for each in rounds),
        "share_of_memory": statistics.median(each["worker"][1] / each["plain"][1] for each in rounds),
    }
    if "--json" in sys.argv:
        print(json.dumps(figures))
        return
    for name, value in figures.items():
        print(f"{name:<20}{value:>10.2f}")


if __name__ == "__main__":
    main()
