"""Keep verdicts and traces of tests between runs, and drop those that a change of code or tests may have changed."""

import json
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from importlib.metadata import version
from itertools import accumulate
from pathlib import Path
from typing import Any, Final, cast

from mutmut.configuration import config
from mutmut.mutation.data import SourceFileMutationData
from mutmut.state import state
from mutmut.stats import load_stats, status_by_exit_code
from mutmut.utils.file_utils import walk_mutatable_files, walk_source_files
from mutmut.utils.format_utils import mangled_name_from_mutant_name

from tests.tools.mutation.digests import digest, digest_outside_functions, digest_tests
from tests.tools.mutation.runner import FOLDER

__all__ = [
    "KILLED",
    "Dependencies",
    "covering",
    "discard_damaged_verdicts",
    "function_of",
    "is_kept",
    "load_verdicts",
    "nearest",
    "save_verdicts",
]

KILLED: Final = frozenset({"killed", "timeout"})

_MAX_TESTS: Final = 200
"""Tests for one mutant. Hundreds run a common function, and a survivor would pass them all."""
_MAX_SECONDS: Final = 30.0
"""Duration of the tests for one mutant, by the record. Tests with a database take minutes together."""
_FEW_PARAMETERS: Final = 3
_MAX_PARAMETERS: Final = 20
"""Parameters of one test for a mutant, while there are other tests: as near, or at all."""
_TRACES: Final = FOLDER / "traces.json"


def function_of(mutant: str) -> str:
    """Return mutmut's name of the function that a mutant changes."""
    return mangled_name_from_mutant_name(mutant)


def covering(function: str) -> set[str]:
    """Return the tests that run a function."""
    return state().tests_by_mangled_function_name.get(function, set())


def nearest(function: str) -> list[str]:
    """Return the tests that decide on the mutants of a function: the nearest of those that run it.

    The nearest tests are in a file with the name of the module or its folder, then in its package, then in the property
    tests. Of equally near tests, a few parameters of each test come first, then fast ones. Too many or too slow tests
    are cut off.
    """
    _, package, *folders, module = function.rpartition(".")[0].split(".")
    namesakes = tuple(f"/test_{name}" for name in (module, *folders))

    def distance(test: str) -> tuple[bool, bool, bool]:
        is_near = test.startswith(f"tests/unit/{package}/")
        return (
            not any(name in test for name in namesakes) or not is_near,
            not is_near,
            not test.startswith("tests/property/"),
        )

    counts: Counter[str] = Counter()
    ranked: list[tuple[bool, bool, bool, bool, bool, float, str]] = []
    durations = state().duration_by_test
    for test in sorted(covering(function), key=lambda test: (durations[test], test)):
        name = _without_parameters(test)
        too_many, many = counts[name] >= _MAX_PARAMETERS, counts[name] >= _FEW_PARAMETERS
        ranked.append((too_many, *distance(test), many, durations[test], test))
        counts[name] += 1
    tests = [test for *_, test in sorted(ranked)][:_MAX_TESTS]
    starts = accumulate((durations[test] for test in tests), initial=0.0)
    return [test for test, start in zip(tests, starts, strict=False) if start < _MAX_SECONDS]


def is_kept(*, killed: bool, before: AbstractSet[str], now: AbstractSet[str]) -> bool:
    """Return True if the verdict of a function's mutant still holds.

    Args:
        killed: whether a test failed.
        before: digests of the tests that ran the function when the verdict was found.
        now: digests of the tests that run it now. New ones may kill what survived, and do not revive what was killed.
    """
    return before <= now if killed else before == now


def _without_parameters(test: str) -> str:
    return test.partition("[")[0]


def load_verdicts() -> Iterator[SourceFileMutationData]:
    """Return the verdicts of each chosen module."""
    for path in walk_mutatable_files():
        data = SourceFileMutationData(path=path)
        data.load()
        yield data


def save_verdicts(data: SourceFileMutationData) -> None:
    """Save the verdicts of a module. A run that is killed leaves the earlier ones."""
    place = data.meta_path
    data.meta_path = place.with_suffix(".new")
    data.save()
    data.meta_path.replace(place)
    data.meta_path = place


def discard_damaged_verdicts() -> None:
    """Delete files of verdicts that a killed run cut short, or that another version of mutmut saved."""
    for path in walk_mutatable_files():
        data = SourceFileMutationData(path=path)
        try:
            data.load()
        except (ValueError, KeyError, AssertionError):
            data.meta_path.unlink()
            sys.stdout.write(f"Discarded damaged verdicts: {data.meta_path}\n")


class Dependencies:
    """What verdicts and traces depend on besides the mutated functions: now, and when they were found."""

    def __init__(self) -> None:
        self._tests = digest_tests(config().pytest_add_cli_args_test_selection)
        self._arguments = digest(*config().pytest_add_cli_args)
        chosen = set(walk_mutatable_files())
        self._outside = {path: digest_outside_functions(path.read_text()) for path in chosen}
        others = [path for path in walk_source_files() if path not in chosen]
        self._untraced = digest(
            version("mutmut"),
            self._arguments,
            *(f"{path} {self._outside[path]}" for path in sorted(chosen)),
            *(f"{path} {path.read_text()}" for path in sorted(others)),
        )

    def load_traces(self) -> None:
        """Load the traces of tests, unless something that is not traced itself has changed since."""
        if _load(_TRACES).get("untraced") == self._untraced:
            load_stats()

    def forget_traces(self) -> None:
        """Have changed tests traced again, and tests of changed functions: these may call other functions now."""
        before = _load(_TRACES).get("tests", {})
        old, new = state().old_function_hashes, state().current_function_hashes
        functions = {name for name in old.keys() | new.keys() if old.get(name) != new.get(name)}
        tests = {test for name in functions for test in covering(name)}
        for test in state().duration_by_test:
            name = _without_parameters(test)
            if before.get(name) != self._tests.get(name):
                tests.add(test)
        for test in tests:
            state().duration_by_test.pop(test, None)
        for names in state().tests_by_mangled_function_name.values():
            names.difference_update(tests)

    def save_traces(self) -> None:
        """Save what the remaining traces, and those that mutmut saves from now on, depend on."""
        _save(_TRACES, {"untraced": self._untraced, "tests": self._tests})

    def drop_verdicts(self) -> None:
        """Drop the verdicts of the chosen modules that no longer hold, and save what the others depend on."""
        for data in load_verdicts():
            place = data.meta_path.with_suffix(".tests")
            saved = _load(place)
            outside = [self._arguments, self._outside[Path(data.path)]]
            before: dict[str, list[str]] = saved.get("tests", {}) if saved.get("outside") == outside else {}
            functions = {function_of(mutant) for mutant in data.exit_code_by_key}
            now = {name: {self._tests[_without_parameters(test)] for test in covering(name)} for name in functions}
            for mutant, code in data.exit_code_by_key.items():
                name = function_of(mutant)
                killed = status_by_exit_code[code] in KILLED
                if name not in before or not is_kept(killed=killed, before=set(before[name]), now=now[name]):
                    data.exit_code_by_key[mutant] = None
            save_verdicts(data)
            _save(place, {"outside": outside, "tests": {name: sorted(tests) for name, tests in now.items()}})


def _load(path: Path) -> dict[str, Any]:
    """Return the content of a JSON file, or nothing if it is missing or was cut short."""
    try:
        return cast("dict[str, Any]", json.loads(path.read_bytes()))
    except (FileNotFoundError, ValueError):
        return {}


def _save(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(content))
