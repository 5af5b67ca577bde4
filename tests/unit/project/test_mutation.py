"""Results of mutation tests are reused while they are valid."""

import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Set as AbstractSet
from pathlib import Path
from textwrap import dedent

import pytest
from mutmut.state import state

from tests.tools.mutation.digests import digest_outside_functions, digest_tests, find_importing_tests
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


def _write_files(files: dict[str, str]) -> None:
    """Write files, given by path, with their folders."""
    for name, text in files.items():
        path = Path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def test_every_module_in_scope_exists() -> None:
    """A renamed module would silently leave the scope."""
    patterns = tomllib.loads(Path("pyproject.toml").read_text())["tool"]["mutmut"]["only_mutate"]
    assert [pattern for pattern in patterns if not list(Path().glob(pattern))] == []


@pytest.mark.parametrize(
    ("killed", "before", "now", "is_valid"),
    [
        (True, {"a", "b"}, {"a", "b"}, True),
        (True, {"a", "b"}, {"a", "b", "new"}, True),
        (True, {"a", "b"}, {"a", "changed"}, False),
        (True, {"a", "b"}, {"a"}, False),
        (False, {"a", "b"}, {"a", "b"}, True),
        (False, {"a", "b"}, {"a", "b", "new"}, False),
        (False, {"a", "b"}, {"a", "changed"}, False),
        (False, {"a", "b"}, {"a"}, False),
    ],
)
def test_result_is_valid_until_a_test_that_could_change_it_changes(
    *, killed: bool, before: AbstractSet[str], now: AbstractSet[str], is_valid: bool
) -> None:
    """A new test may kill a survivor, but does not revive a killed mutant."""
    assert is_kept(killed=killed, before=before, now=now) is is_valid


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
    _write_files(
        {
            "tests/unit/test_x.py": TESTS,
            "tests/support/helper.py": "from tests.support import deeper\ndef help(): return True\n",
            "tests/support/deeper.py": "one = 1\n",
            "tests/support/other.py": "one = 1\n",
            "tests/conftest.py": "one = 1\n",
        }
    )
    before = digest_tests(["tests/unit"])
    Path(file).write_text(Path(file).read_text().replace(*edit))
    after = digest_tests(["tests/unit"])
    assert before.keys() == after.keys() == {f"tests/unit/test_x.py::{name}" for name in ("test_a", "test_b")}
    assert {name.rpartition("::")[2] for name in before if before[name] != after[name]} == changed


@pytest.mark.parametrize(
    ("module", "importing"),
    [
        ("worker/plan/diff.py", ["diff", "main"]),
        ("worker/plan/model.py", ["diff", "main"]),
        ("worker/plan/__init__.py", ["diff", "main"]),
        ("worker/cli/commands/plan.py", ["main"]),
        ("worker/ledger/store.py", ["ledger"]),
        ("worker/ledger/unused.py", []),
    ],
)
def test_only_tests_that_import_a_module_may_run_it(
    module: str, importing: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Imports of packages, inside functions, in support modules, in conftest files and by computed names count."""
    monkeypatch.chdir(tmp_path)
    _write_files(
        {
            "worker/plan/__init__.py": "import worker.plan.model",
            "worker/plan/model.py": "",
            "worker/plan/diff.py": "",
            "worker/cli/main.py": "def run(name): return import_module(f'worker.cli.commands.{name}')",
            "worker/cli/commands/plan.py": "from worker.plan import diff",
            "worker/ledger/store.py": "",
            "worker/ledger/unused.py": "",
            "tests/unit/test_diff.py": "from tests.support.helper import compare",
            "tests/unit/test_main.py": "from worker.cli.main import run",
            "tests/unit/ledger/conftest.py": "import worker.ledger.store",
            "tests/unit/ledger/test_ledger.py": "import worker",
            "tests/support/helper.py": "def compare():\n    from worker.plan.diff import compare",
        }
    )
    found = [Path(file).stem.removeprefix("test_") for file in find_importing_tests({Path(module)}, ["tests/unit"])]
    assert sorted(found) == importing


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
    monkeypatch.setattr(mutation_state, "duration_by_test", dict.fromkeys(fast_tests | set(expected), 0.1))
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
    monkeypatch.setattr(
        mutation_state, "duration_by_test", dict.fromkeys(parameters, 0.01) | dict.fromkeys(others, 0.1)
    )
    monkeypatch.setattr(mutation_state, "tests_by_mangled_function_name", {function: parameters | others})
    assert others < set(nearest(function))
    assert len(nearest(function)) == 200


def test_tests_of_a_mutant_are_limited_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A survivor passes all its tests, which take minutes if each waits for a database."""
    function, mutation_state = "worker.ledger.leases.x_take", state()
    tests = [f"tests/unit/ledger/test_leases.py::test_{number}" for number in range(9)]
    monkeypatch.setattr(mutation_state, "duration_by_test", dict.fromkeys(tests, 12.0))
    monkeypatch.setattr(mutation_state, "tests_by_mangled_function_name", {function: set(tests)})
    assert nearest(function) == tests[:3]


_PROJECT = {
    "pyproject.toml": """
        [tool.mutmut]
        source_paths = ["worker"]
        only_mutate = ["worker/*/*.py"]
        timeout_constant = 0.1
        timeout_multiplier = 5.0
        pytest_add_cli_args_test_selection = ["tests"]
        """,
    "worker/__init__.py": "",
    "worker/loops/__init__.py": "",
    "worker/loops/steps.py": """
        def count(limit: int) -> int:
            number = 0
            while number < limit:
                number += 1
            return number
        """,
    "worker/loops/other.py": """
        def double(number: int) -> int:
            return number + number
        """,
    "tests/test_steps.py": """
        from worker.loops.steps import count

        def test_count() -> None:
            assert (count(3), count(0)) == (3, 0)
        """,
}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for name, text in _PROJECT.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(dedent(text))
    return tmp_path


def _mutate(project: Path, *arguments: str) -> tuple[int, str]:
    """Run the tool on a project, and return its exit status and its output."""
    environment = os.environ | {"PYTHONPATH": str(Path.cwd()), "PYTHONDONTWRITEBYTECODE": "1"}
    finished = subprocess.run(  # noqa: S603 - our own
        [sys.executable, "-m", "tests.tools.mutation", *arguments],
        cwd=project,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    return finished.returncode, finished.stdout + finished.stderr


def test_interrupted_run_is_resumed(project: Path) -> None:
    """Verdicts are kept in a folder whose other files are stale or cut short. A loop that never ends is stopped."""
    status, output = _mutate(project, "worker/loops/steps.py")
    assert "6 mutants, 6 of them without a verdict" in output
    assert (status, re.findall(r"worker/loops/steps.py +(\d+) +(\d+) +(\d+)", output)) == (0, [("6", "6", "2")])
    mutants = project / "mutants"
    (mutants / "worker/loops/steps.py").write_text("cut sh")
    (mutants / "worker/loops/deleted.py").write_text("raise SystemExit")
    (mutants / "mutmut-stats.json").write_text('{"tests_by')
    assert "6 mutants, 0 of them without a verdict" in _mutate(project, "worker/loops/steps.py")[1]
    (mutants / "worker/loops/steps.py.meta").write_text('{"exit_code')
    status, output = _mutate(project, "worker/loops/steps.py", "worker/loops/other.py")
    assert "Discarded damaged verdicts: mutants/worker/loops/steps.py.meta" in output
    assert "7 mutants, 7 of them without a verdict" in output
    assert "no tests: worker.loops.other.x_double__mutmut_1" in output
    assert status == 1


def test_tests_that_cannot_be_collected_are_reported(project: Path) -> None:
    (project / "tests/test_steps.py").write_text("import no_such_module")
    status, output = _mutate(project, "worker/loops/steps.py")
    assert status == 1
    assert "Tests cannot be collected" in output
    assert "No module named 'no_such_module'" in output
