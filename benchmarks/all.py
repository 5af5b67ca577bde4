"""Measure every figure of docs/figures.md, one script after the other."""

import subprocess
import sys
from pathlib import Path

SCRIPTS = ("startup.py", "load.py", "memory.py", "writes.py", "intents.py", "reads.py")


def main() -> None:
    """Run the scripts, and stop at the first that fails."""
    for script in SCRIPTS:
        print(f"\n== {script}", flush=True)
        subprocess.run([sys.executable, str(Path(__file__).with_name(script))], check=True)


if __name__ == "__main__":
    main()
