"""Run tests for mutmut in one collected session. Starting pytest for each mutant takes longer than most tests."""

import gc
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from math import ceil
from pathlib import Path
from threading import Event, Thread
from typing import Any, Final, TextIO, cast

import pytest
from _pytest.config import _prepareconfig
from mutmut.configuration import config
from mutmut.runners.harness import ListAllTestsResult, PytestRunner
from mutmut.state import state
from mutmut.utils.file_utils import change_cwd

__all__ = ["FOLDER", "Runner"]

FOLDER: Final = Path("mutants")

_ABSOLUTE: Final = FOLDER.absolute()
_SUSPICIOUS: Final = 35
"""mutmut's status of a mutant that has no verdict after an error of the tool."""
_TIMEOUT: Final = 36
"""mutmut's status of a mutant that was stopped."""
_SETUP_SECONDS: Final = 60


class Runner(PytestRunner):
    """Run selected tests of one session. mutmut's fork server calls it in a new process for each mutant."""

    def __init__(self) -> None:
        super().__init__()
        self._session: pytest.Session | None = None
        self._failed: set[str] = set()
        self._errors: list[str] = []
        self._streams: list[TextIO] = []

    def warm_up(self) -> None:
        """Collect the tests once, for all processes that are forked from this one."""
        self._keep_streams()
        if self._session is not None:
            return
        with change_cwd(_ABSOLUTE):
            # to show the source of a failure, the other styles parse modules that contain thousands of mutants
            arguments = ["--rootdir=.", "-q", "--tb=native", "-p", "no:cacheprovider", *self._pytest_add_cli_args]
            configured = _prepareconfig([*arguments, *self._pytest_add_cli_args_test_selection], [self])
            configured._do_configure()
            self._session = session = pytest.Session.from_config(configured)
            configured.hook.pytest_sessionstart(session=session)
            configured.hook.pytest_collection(session=session)
        if session.testsfailed:
            sys.exit("Tests cannot be collected:\n" + "\n".join(self._errors))
        state()._stats.clear()  # no test runs the code that imports call
        gc.freeze()  # the garbage collections of each mutant would copy the memory of this process

    def _collected(self) -> pytest.Session:
        self.warm_up()
        return cast("pytest.Session", self._session)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Keep the reason why a file cannot be collected."""
        if report.failed:
            self._errors.append(report.longreprtext)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_setup(self) -> Generator[None, object, object]:
        """End the process of a mutant that does not end the fixtures of a test. They may start a database."""
        with self._limit(_SETUP_SECONDS):
            return (yield)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None, object, object]:
        """End the process of a mutant that does not end its test."""
        seconds = (state().duration_by_test[item.nodeid] + config().timeout_constant) * config().timeout_multiplier
        with self._limit(ceil(seconds)):
            return (yield)

    @contextmanager
    def _limit(self, seconds: int) -> Iterator[None]:
        """Limit the time of a part of a test, if a mutant is active."""
        if not self._collected().config.option.maxfail:
            yield
            return
        ended = Event()
        Thread(target=_exit_unless, args=(ended, seconds), daemon=True).start()
        try:
            yield
        finally:
            ended.set()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Record a failed test. Print the reason if no mutant is active."""
        if report.failed:
            self._failed.add(report.nodeid)
            if not self._collected().config.option.maxfail and sys.__stdout__:
                sys.__stdout__.write(
                    f"\nLeft out, as it fails without a mutant: {report.nodeid}\n{report.longreprtext}\n"
                )

    def execute_pytest(self, params: list[str], **options: Any) -> int:
        """Run the tests that `params` names, or all of them. Return 1 if one fails."""
        _restore_signals()
        self._keep_streams()
        session = self._collected()
        names = [name for name in params if "::" in name]
        if names:
            items = {item.nodeid: item for item in session.items}
            session.items = [items[name] for name in names]
        for plugin in options.get("plugins", ()):
            session.config.pluginmanager.register(plugin)
        scratch = tempfile.mkdtemp(prefix="mutant-")
        os.environ["PYTEST_DEBUG_TEMPROOT"] = scratch
        try:
            session.config.hook.pytest_runtestloop(session=session)
        except (session.Failed, session.Interrupted):
            return 1
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
        return 1 if session.testsfailed else 0

    def _keep_streams(self) -> None:
        # mutmut replaces them by files that it does not close, and pytest would warn of them
        self._streams += [sys.stdout, sys.stderr]

    def run_stats(self, *, tests: Iterable[str]) -> int:
        """Record which functions `tests` run. Leave out tests that fail."""
        self._collected().config.option.maxfail = 0
        super().run_stats(tests=tests)
        for test in self._failed:
            state().duration_by_test.pop(test, None)
        for names in state().tests_by_mangled_function_name.values():
            names.difference_update(self._failed)
        return 0

    def run_tests(self, *, mutant_name: str | None, tests: Iterable[str]) -> int:
        """Return 0 if all tests pass, 1 if one fails and 35 after an error."""
        self._collected().config.option.maxfail = 1 if mutant_name else 0
        try:
            return super().run_tests(mutant_name=mutant_name, tests=tests)
        except Exception:  # noqa: BLE001  mutmut takes the status of a crash for a kill
            return _SUSPICIOUS

    def list_all_tests(self) -> ListAllTestsResult:
        """Return the names of the collected tests."""
        return ListAllTestsResult(ids={item.nodeid for item in self._collected().items})


def _exit_unless(ended: Event, seconds: int) -> None:
    """Exit after some seconds without an event. Time during which this process is suspended does not count."""
    for _ in range(seconds):
        if ended.wait(1):
            return
    os._exit(_TIMEOUT)


def _restore_signals() -> None:
    """Restore the signal handlers that mutmut's fork server changes."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
