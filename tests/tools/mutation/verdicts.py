"""Keep verdicts between runs, and drop those that a change of code or tests may have changed."""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Final

from mutmut.configuration import config
from mutmut.mutation.data import SourceFileMutationData
from mutmut.state import state
from mutmut.stats import status_by_exit_code
from mutmut.utils.file_utils import walk_mutatable_files
from mutmut.utils.format_utils import get_mutant_name, mangled_name_from_mutant_name

from tests.tools.mutation.digests import digest_outside_functions, digest_tests
from tests.tools.mutation.runner import FOLDER

__all__ = ["KILLED", "Dependencies", "covering", "function_of", "is_kept", "load_verdicts", "nearest", "save_verdicts"]

KILLED: Final = frozenset({"killed", "timeout"})

_MAX_TESTS: Final = 200
"""Tests for one mutant. Hundreds run a common function, and a survivor would pass them all."""
_FEW_PARAMETERS: Final = 3
_MAX_PARAMETERS: Final = 20
"""Parameters of one test for a mutant, while there are other tests: as near, or at all."""
_SAVED: Final = FOLDER / "dependencies.json"


def function_of(mutant: str) -> str:
    """Return mutmut's name of the function that a mutant changes."""
    return mangled_name_from_mutant_name(mutant)


def covering(function: str) -> set[str]:
    """Return the tests that run a function."""
    return state().tests_by_mangled_function_name.get(function, set())


def nearest(function: str) -> list[str]:
    """Return the tests that decide on the mutants of a function: the nearest of those that run it.

    The nearest tests are in a file with the name of the module or its folder, then in its package, then in the property
    tests. Of equally near tests, a few parameters of each test come first, then fast ones.
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
    return [test for *_, test in sorted(ranked)][:_MAX_TESTS]


def is_kept(*, killed: bool, tests: Iterable[str], changed: AbstractSet[str], added: AbstractSet[str]) -> bool:
    """Return True if the verdict of a function's mutant still holds.

    Args:
        killed: whether a test failed.
        tests: names of the tests that run the function, with parameters.
        changed: names, without parameters, of tests that changed or were deleted since the verdict.
        added: names of tests that are new since then. They may kill what survived, and do not revive what was killed.
    """
    names = {_without_parameters(test) for test in tests}
    return names.isdisjoint(changed if killed else changed | added)


def _without_parameters(test: str) -> str:
    return test.partition("[")[0]


def load_verdicts() -> Iterator[SourceFileMutationData]:
    """Return the verdicts of each module."""
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


class Dependencies:
    """The dependencies of verdicts besides the mutated function: now, and when they were found."""

    def __init__(self) -> None:
        saved = json.loads(_SAVED.read_bytes()) if _SAVED.exists() else {}
        before: dict[str, str] = saved.get("tests", {})
        self._tests = digest_tests(config().pytest_add_cli_args_test_selection)
        self._changed = {test for test, digest in before.items() if self._tests.get(test) != digest}
        self._added = self._tests.keys() - before.keys()
        modules: dict[str, str] = saved.get("modules", {})
        self._modules = {str(path): digest_outside_functions(path.read_text()) for path in walk_mutatable_files()}
        self._changed_modules = {path for path, digest in self._modules.items() if modules.get(path) != digest}
        self._arguments = config().pytest_add_cli_args
        self._is_new = saved.get("arguments") != self._arguments

    def drop_verdicts(self) -> None:
        """Drop the verdicts that no longer hold, of tests and modules that mutmut's record covers."""
        _drop(
            lambda data, mutant, killed: (
                self._is_new
                or str(data.path) in self._changed_modules
                or not is_kept(
                    killed=killed, tests=covering(function_of(mutant)), changed=self._changed, added=self._added
                )
            )
        )

    def forget_traces(self) -> None:
        """Have changed tests traced again, and tests of changed functions: these may call other functions now."""
        old, new = state().old_function_hashes, state().current_function_hashes
        functions = {name for name in old.keys() | new.keys() if old.get(name) != new.get(name)}
        modules = tuple(get_mutant_name(Path(path), "") for path in self._changed_modules)
        traces = state().tests_by_mangled_function_name
        functions |= {name for name in traces if name.startswith(modules)}
        tests = {test for name in functions for test in covering(name)}
        tests |= {test for test in state().duration_by_test if _without_parameters(test) in self._changed}
        for test in tests:
            state().duration_by_test.pop(test, None)
        for names in traces.values():
            names.difference_update(tests)

    def save(self) -> None:
        """Save the current dependencies as those of all verdicts."""
        _SAVED.write_text(
            json.dumps({"tests": self._tests, "modules": self._modules, "arguments": self._arguments}, indent=1)
        )


def _drop(is_stale: Callable[[SourceFileMutationData, str, bool], bool]) -> None:
    for data in load_verdicts():
        for mutant, code in data.exit_code_by_key.items():
            if code is not None and is_stale(data, mutant, status_by_exit_code[code] in KILLED):
                data.exit_code_by_key[mutant] = None
        save_verdicts(data)
