"""Change the code in thousands of places, one at a time, and check that tests fail.

Without arguments it checks the functions that differ from the merge base of HEAD and main, committed or not.
Verdicts are kept in mutants/ until the function, its module's constants, or a test that runs it changes.
"""

import argparse
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from hashlib import sha256
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Final

from mutmut.__main__ import CatchOutput, create_mutants
from mutmut.configuration import config
from mutmut.mutation.data import SourceFileMutationData
from mutmut.mutation.file_mutation import compute_function_hashes
from mutmut.mutation.trampoline import set_mutant_under_test
from mutmut.state import state
from mutmut.stats import save_stats
from mutmut.utils.file_utils import copy_also_copy_files, copy_src_dir, setup_source_paths, walk_mutatable_files
from mutmut.utils.format_utils import get_mutant_name
from mutmut.workers.isolation import ForkServerRunner

from tests.tools.mutation.digests import digest_outside_functions, find_importing_tests
from tests.tools.mutation.report import report
from tests.tools.mutation.runner import FOLDER, Runner
from tests.tools.mutation.verdicts import (
    Dependencies,
    covering,
    discard_damaged_verdicts,
    function_of,
    load_verdicts,
    nearest,
    save_verdicts,
)

Mutants = list[tuple[SourceFileMutationData, str]]

_MAX_CPU_SECONDS: Final = 1200
"""The last limit of a mutant, twice that of its duration. Each test has one of its own, which load does not reach."""


def main(arguments: Sequence[str]) -> int:
    """Check the mutants that `arguments` choose, and return the status of the report."""
    options = _parse(arguments)
    os.environ["HYPOTHESIS_PROFILE"] = "mutation"
    chosen = _choose(options)
    if not chosen:
        sys.stdout.write(f"No function differs from {options.base}. To check every module: make mutate ALL=1\n")
        return 0
    config().only_mutate = [str(path) for path in chosen]
    tests = config().pytest_add_cli_args_test_selection
    config().pytest_add_cli_args_test_selection = find_importing_tests(chosen, tests) or tests
    tested = Runner()
    runner = ForkServerRunner(options.jobs, test_runner_class=lambda: tested, test_runner_args={})  # type: ignore[arg-type]
    _update(tested, runner, options.jobs)
    mutants = _mutants(chosen, options.sample)
    todo = [(data, mutant) for data, mutant in mutants if data.exit_code_by_key[mutant] is None]
    sys.stdout.write(f"{len(mutants)} mutants, {len(todo)} of them without a verdict\n")
    sys.stdout.flush()
    if todo:
        _run(runner, todo)
    return report(mutants)


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make mutate", description=__doc__)
    parser.add_argument("--base", help="a commit to compare with, instead of the merge base of HEAD and main")
    parser.add_argument("--all", action="store_true", help="check every module")
    parser.add_argument("--sample", type=int, help="check at most this many mutants of each module, the same each time")
    parser.add_argument(
        "--jobs",
        type=int,
        default=2 * (os.cpu_count() or 1),
        help="processes, by default two for each core: some mutants only wait",
    )
    parser.add_argument("paths", nargs="*", type=Path, help="folders and files to check whole")
    options = parser.parse_args(arguments)
    options.base = (options.base or _git("merge-base", "HEAD", "main") or "HEAD").strip()
    return options


def _choose(options: argparse.Namespace) -> dict[Path, set[str] | None]:
    """Return the modules to check with mutmut's names of their functions to check, or None for all functions."""
    chosen: dict[Path, set[str] | None] = {}
    for path in walk_mutatable_files():
        if options.all or any(path.is_relative_to(folder) for folder in options.paths):
            chosen[path] = None
        elif not options.paths:
            functions = _changed_functions(path, options.base)
            if functions is None or functions:
                chosen[path] = functions
    return chosen


def _update(tested: Runner, runner: ForkServerRunner, jobs: int) -> None:
    """Update the copy of the project, the traces of tests and the stored verdicts."""
    set_mutant_under_test("mutant_generation")
    FOLDER.mkdir(exist_ok=True)
    discard_damaged_verdicts()
    dependencies = Dependencies()
    with CatchOutput(spinner_title="Generating mutants"):
        _mirror()
        dependencies.load_traces()
        create_mutants(jobs)
    dependencies.forget_traces()
    set_mutant_under_test("list_all_tests")
    with CatchOutput(spinner_title="Collecting tests"):
        tests = tested.list_all_tests()
    tests.clear_out_obsolete_test_names()
    save_stats()
    dependencies.save_traces()
    _record(runner, tests.new_tests())
    dependencies.drop_verdicts()


def _record(runner: ForkServerRunner, tests: Iterable[str]) -> None:
    """Record which functions `tests` run, and save the record after each file."""
    set_mutant_under_test("stats")
    for file, names in groupby(sorted(tests), key=lambda test: test.partition("::")[0]):
        try:
            with CatchOutput(spinner_title=f"Recording {file}"):
                runner.collect_stats(names)
        except ChildProcessError as error:
            sys.stdout.write(f"Left out, as its process ended: {file}: {error}\n")
        save_stats()


def _mirror() -> None:
    """Copy the project to `mutants/` again. Keep the verdicts of modules that still exist."""
    for copied in config().also_copy:
        if (FOLDER / copied).is_dir():
            shutil.rmtree(FOLDER / copied)
    for copy in (FOLDER / "worker").rglob("*"):
        is_verdict = copy.suffix in {".meta", ".tests"} and copy.relative_to(FOLDER).with_suffix("").exists()
        if copy.is_file() and not is_verdict:
            copy.unlink()
    copy_src_dir()
    copy_also_copy_files()
    setup_source_paths()


def _mutants(chosen: Mapping[Path, set[str] | None], sample: int | None) -> Mutants:
    """Return the mutants of the chosen functions; those of a sample in an order that takes modules by turns."""
    ordered: list[tuple[int, SourceFileMutationData, str]] = []
    for data in load_verdicts():
        functions = chosen[Path(data.path)]
        mutants = [name for name in data.exit_code_by_key if functions is None or function_of(name) in functions]
        if sample is not None:
            mutants = sorted(mutants, key=lambda mutant: sha256(mutant.encode()).digest())[:sample]
        ordered += [(index, data, mutant) for index, mutant in enumerate(mutants)]
    if sample is not None:
        ordered.sort(key=itemgetter(0))
    return [(data, mutant) for _, data, mutant in ordered]


def _changed_functions(path: Path, base: str) -> set[str] | None:
    """Return mutmut's names of functions that differ from `base`, or None if constants do or the module is new."""
    before, now = _git("show", f"{base}:{path}"), path.read_text()
    if before == now:
        return set()
    if before is None or digest_outside_functions(before) != digest_outside_functions(now):
        return None
    old, new = compute_function_hashes(before), compute_function_hashes(now)
    return {get_mutant_name(path, name) for name, digest in new.items() if old.get(name) != digest}


def _git(*arguments: str) -> str | None:
    finished = subprocess.run(["git", *arguments], capture_output=True, text=True, check=False)  # noqa: S603, S607
    return finished.stdout if finished.returncode == 0 else None


def _run(runner: ForkServerRunner, todo: Mutants) -> None:
    """Get and save a verdict for each mutant. A package of which a function's tests fail without a mutant gets none."""
    tested = [(data, function_of(mutant)) for data, mutant in todo if covering(function_of(mutant))]
    controls = {str(Path(data.path).parent): function for data, function in tested}
    set_mutant_under_test("")
    runner.startup()
    try:
        broken = {package for package, status in _test(runner, controls) if status != 0}
        for package in broken:
            sys.stdout.write(f"Not checked, as tests fail without a mutant: {package}\n")
        places = {mutant: data for data, mutant in todo if str(Path(data.path).parent) not in broken}
        started = time.monotonic()
        for number, (mutant, status) in enumerate(_test(runner, {mutant: function_of(mutant) for mutant in places}), 1):
            data = places[mutant]
            data.exit_code_by_key[mutant] = status
            save_verdicts(data)
            if number % 100 == 0:
                sys.stdout.write(f"{number} of {len(places)} after {time.monotonic() - started:.0f} s\n")
                sys.stdout.flush()
    except BaseException:
        runner.stop_all_workers()
        raise
    finally:
        runner.shutdown()


def _test(runner: ForkServerRunner, functions: Mapping[str, str]) -> Iterator[tuple[str, int]]:
    """Yield the exit status of the tests of each mutant. `functions` lists the function that each mutant changes."""
    for mutant, function in functions.items():
        tests = nearest(function)
        seconds = sum(state().duration_by_test[test] for test in tests)
        while not runner.has_capacity():
            result = runner.wait_for_result()
            yield result.mutant_name, result.exit_code
        runner.submit(mutant, tests, _MAX_CPU_SECONDS, seconds)
    while runner.pending_count():
        result = runner.wait_for_result()
        yield result.mutant_name, result.exit_code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
