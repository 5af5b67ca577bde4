"""What became of the mutants of `make mutate`: a line a module, the survivors by name, and a status for scripts.

A module is what the floors call one: `worker/plan/diff.py`, or a package such as `worker/desired/` as a whole.
"""

import json
import sys
from collections import Counter, defaultdict
from pathlib import Path
from typing import Final

from mutmut.stats import status_by_exit_code

_LEAST: Final = 90.0
"""Per cent of each module's mutants that the tests must kill."""

_KILLED: Final = {"killed", "timeout"}
_PACKAGES: Final = {"desired", "ledger"}


def main(folder: Path) -> int:
    """Print the table of the mutants under `folder`; 1 where a module has too few killed, or none at all."""
    counts: defaultdict[str, Counter[bool]] = defaultdict(Counter)
    survivors: list[str] = []
    for verdicts in sorted(folder.glob("worker/**/*.meta")):
        path = verdicts.relative_to(folder).with_suffix("")
        module = str(path.parent) + "/" if path.parent.name in _PACKAGES else str(path)
        for mutant, exit_code in json.loads(verdicts.read_bytes())["exit_code_by_key"].items():
            verdict = status_by_exit_code[exit_code]
            counts[module][verdict in _KILLED] += 1
            if verdict not in _KILLED:
                survivors.append(f"{verdict}: {mutant}")
    lines = [f"{'module':26}{'mutants':>8}{'killed':>8}{'survived':>10}{'rate':>8}"]
    low = []
    for module, count in counts.items():
        rate = 100 * count[True] / count.total()
        lines.append(f"{module:26}{count.total():8}{count[True]:8}{count[False]:10}{rate:7.1f}%")
        if rate < _LEAST:
            low.append(module)
    lines += ["", *survivors, "", "See a mutant with: .venv/bin/mutmut show NAME"]
    lines += [f"Fewer than {_LEAST:.0f} % killed: {module}" for module in low]
    sys.stdout.write("\n".join(lines) + "\n")
    return 1 if low or not counts else 0


if __name__ == "__main__":
    sys.exit(main(Path("mutants")))
