"""Results of mutation tests are reused while they are valid."""

import tomllib
from collections.abc import Set as AbstractSet
from pathlib import Path

import pytest
from mutmut.state import state

from tests.tools.mutation.digests import digest_outside_functions, digest_tests
from tests.tools.mutation.verdicts import is_kept, nearest

MODULE = '''"""A module."""
import os
LIMIT = 3
class Line:
    length: int = 4
    @property
    def end(self): return 1
    def start(self): return 2
def double(x): return 2 * x
'''
TESTS = """from tests.support.helper import help
LIMIT = 3
def test_a(): assert help()
def test_b(): assert LIMIT
"""


def test_every_module_in_scope_exists() -> None:
    """A renamed module would silently leave the scope."""
    patterns = tomllib.loads(Path("pyproject.toml").read_text())["tool"]["mutmut"]["only_mutate"]
    assert [pattern for pattern in patterns if not list(Path().glob(pattern))] == []


@pytest.mark.parametrize(
    ("killed", "changed", "added", "is_valid"),
    [
        (True, set(), set(), True),
        (True, {"test_a"}, set(), False),
        (True, set(), {"test_a"}, True),
        (True, {"test_other"}, {"test_other"}, True),
        (False, set(), set(), True),
        (False, {"test_a"}, set(), False),
        (False, set(), {"test_a"}, False),
        (False, {"test_other"}, {"test_other"}, True),
    ],
)
def test_result_is_valid_until_a_test_that_could_change_it_changes(
    *, killed: bool, changed: AbstractSet[str], added: AbstractSet[str], is_valid: bool
) -> None:
    """A new test may kill a survivor, but does not revive a killed mutant."""
    tests = ["test_a[1-[2]]", "test_b"]
    assert is_kept(killed=killed, tests=tests, changed=changed, added=added) is is_valid


@pytest.mark.parametrize(
    ("old", "new", "same"),
    [
        ("LIMIT = 3", "LIMIT = 4", False),
        ("length: int = 4", "length: int = 5", False),
        ("end(self): return 1", "end(self): return 2", False),
        ("class Line", "class Row", False),
        ("start(self): return 2", "start(self): return 3", True),
        ("return 2 * x", "return 3 * x", True),
        ("import os", "import sys", True),
        ("A module", "The module", True),
    ],
)
def test_constants_fields_and_properties_are_outside_functions(old: str, new: str, *, same: bool) -> None:
    assert (digest_outside_functions(MODULE) == digest_outside_functions(MODULE.replace(old, new))) is same


@pytest.mark.parametrize(
    ("file", "edit", "changed"),
    [
        ("tests/unit/test_x.py", ("assert help()", "assert not help()"), {"test_a"}),
        ("tests/unit/test_x.py", ("LIMIT = 3", "LIMIT = 4"), {"test_a", "test_b"}),
        ("tests/unit/test_x.py", ("assert help()", "assert help()  # a comment"), set()),
        ("tests/support/helper.py", ("True", "False"), {"test_a", "test_b"}),
        ("tests/support/deeper.py", ("1", "2"), {"test_a", "test_b"}),
        ("tests/support/other.py", ("1", "2"), set()),
        ("tests/conftest.py", ("1", "2"), {"test_a", "test_b"}),
    ],
)
def test_digest_of_a_test_covers_its_imports(
    file: str, edit: tuple[str, str], changed: set[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, text in {
        "tests/unit/test_x.py": TESTS,
        "tests/support/helper.py": "from tests.support import deeper\ndef help(): return True\n",
        "tests/support/deeper.py": "one = 1\n",
        "tests/support/other.py": "one = 1\n",
        "tests/conftest.py": "one = 1\n",
    }.items():
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text(text)
    before = digest_tests(["tests/unit"])
    Path(file).write_text(Path(file).read_text().replace(*edit))
    after = digest_tests(["tests/unit"])
    assert before.keys() == after.keys() == {f"tests/unit/test_x.py::{name}" for name in ("test_a", "test_b")}
    assert {name.rpartition("::")[2] for name in before if before[name] != after[name]} == changed


def test_nearest_tests_come_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """Order: the file with the name of the module, its package, property tests, others. Faster tests come first."""
    expected = [
        "tests/unit/plan/test_diff.py::test_fast",
        "tests/unit/plan/test_diff.py::test_slow",
        "tests/unit/plan/test_policy.py::test_same_package",
        "tests/property/test_any.py::test_property",
        "tests/unit/cli/test_load.py::test_elsewhere",
        "tests/unit/reconcile/test_diff.py::test_namesake_elsewhere",
    ]
    mutation_state = state()
    durations = {test: 9.0 if "slow" in test else 1.0 for test in expected}
    monkeypatch.setattr(mutation_state, "duration_by_test", durations)
    monkeypatch.setattr(mutation_state, "tests_by_mangled_function_name", {"worker.plan.diff.x_compare": set(expected)})
    assert nearest("worker.plan.diff.x_compare") == expected
    assert nearest("worker.plan.diff.x_other") == []
    fast_tests = {f"tests/unit/plan/test_diff.py::test_fast[{number:03}]" for number in range(300)}
    monkeypatch.setattr(mutation_state, "duration_by_test", dict.fromkeys(fast_tests | set(expected), 1.0))
    monkeypatch.setattr(
        mutation_state, "tests_by_mangled_function_name", {"worker.plan.diff.x_compare": fast_tests | set(expected)}
    )
    nearest_tests = nearest("worker.plan.diff.x_compare")
    assert (len(nearest_tests), set(expected) - set(nearest_tests)) == (200, set())


def test_each_of_the_nearest_tests_takes_part(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a module in a folder, the file with the name of the folder counts as well."""
    parameters = {f"tests/unit/config/test_desired.py::test_fast[{number:03}]" for number in range(300)}
    others = {f"tests/unit/config/test_desired.py::test_{number:03}" for number in range(190)}
    function, mutation_state = "worker.config.desired.load.x_load", state()
    monkeypatch.setattr(mutation_state, "duration_by_test", dict.fromkeys(parameters, 0.1) | dict.fromkeys(others, 9.0))
    monkeypatch.setattr(mutation_state, "tests_by_mangled_function_name", {function: parameters | others})
    assert others < set(nearest(function))
    assert len(nearest(function)) == 200
