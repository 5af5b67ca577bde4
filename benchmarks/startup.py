"""Compare the start of `senderid --version` and of `senderid validate` (ten numbers) with that of `python -c pass`."""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROUNDS = 15


def seconds(*command: str) -> float:
    """Return the duration of a command."""
    began = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def main() -> None:
    """Print medians. The three commands run in turn, so that noise affects them alike."""
    senderid = str(Path(sys.executable).with_name("senderid"))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "ten.yaml")
        file.write_text("version: 1\nnumbers:\n" + "".join(f"  010-1234-56{n:02}: ACTIVE\n" for n in range(10)))
        commands = {
            "python -c pass": (sys.executable, "-c", "pass"),
            "senderid --version": (senderid, "--version"),
            "senderid validate": (senderid, "validate", "-f", str(file)),
        }
        taken: dict[str, list[float]] = {name: [] for name in commands}
        for _ in range(ROUNDS):
            for name, command in commands.items():
                taken[name].append(seconds(*command))
    medians = {name: statistics.median(found) for name, found in taken.items()}
    base = medians["python -c pass"]
    if "--json" in sys.argv:
        print(json.dumps({name: {"ms": median * 1000, "times": median / base} for name, median in medians.items()}))
        return
    for name, median in medians.items():
        print(f"{name:<20}{median * 1000:>8.1f} ms{median / base:>8.2f} times")


if __name__ == "__main__":
    main()
