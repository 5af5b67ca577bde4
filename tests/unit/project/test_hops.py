"""The way of a number through the worker stays short."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Final

HOPS: Final = Path(__file__).parents[3] / "benchmarks" / "hops.py"


def test_one_apply_crosses_few_packages_and_modules() -> None:
    """An apply of two numbers passes a number between modules at most 79 times, in at most 9 packages."""
    done = subprocess.run([sys.executable, HOPS, "--json"], capture_output=True, check=True)  # noqa: S603 - our script
    figures = json.loads(done.stdout)
    assert figures["packages"] <= 9
    assert figures["hops"] <= 79
