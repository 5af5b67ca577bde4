"""The number of modules that a number passes in an apply."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Final

HOPS: Final = Path(__file__).parents[3] / "benchmarks" / "hops.py"


def test_apply_stays_within_limits_of_packages_and_hops() -> None:
    """An apply of two numbers passes a number between modules at most 79 times, in at most 9 packages."""
    process = subprocess.run([sys.executable, HOPS, "--json"], capture_output=True, check=True)  # noqa: S603 - constant command
    figures = json.loads(process.stdout)
    assert figures["packages"] <= 9
    assert figures["hops"] <= 79
