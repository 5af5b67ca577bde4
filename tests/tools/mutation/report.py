"""Print the kill rate of each module and the mutants that survived."""

import sys
from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import Final

from mutmut.mutation.data import SourceFileMutationData
from mutmut.stats import status_by_exit_code

from tests.tools.mutation.verdicts import KILLED

__all__ = ["report"]

_MIN_RATE: Final = 90.0
"""Per cent of each module's mutants that tests must kill."""


def report(mutants: Iterable[tuple[SourceFileMutationData, str]]) -> int:
    """Print the verdicts of `mutants`. Return 1 if tests kill too few of a module."""
    counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
    survivors: list[str] = []
    for data, mutant in mutants:
        verdict = status_by_exit_code[data.exit_code_by_key[mutant]]
        counts[str(data.path)][verdict] += 1
        if verdict not in KILLED:
            survivors.append(f"{verdict}: {mutant}")
    lines = [f"{'module':42}{'mutants':>8}{'killed':>8}{'timeout':>8}{'survived':>10}{'rate':>8}"]
    low = []
    for module, count in sorted(counts.items()):
        total, killed = count.total(), sum(count[verdict] for verdict in KILLED)
        rate = 100 * killed / total
        lines.append(f"{module:42}{total:8}{killed:8}{count['timeout']:8}{total - killed:10}{rate:7.1f}%")
        if rate < _MIN_RATE:
            low.append(module)
    lines += ["", *survivors, "", "See a mutant with: .venv/bin/mutmut show NAME"]
    lines += [f"Fewer than {_MIN_RATE:.0f} % killed: {module}" for module in low]
    sys.stdout.write("\n".join(lines) + "\n")
    return 1 if low else 0
