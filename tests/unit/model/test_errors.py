"""Error classes: hierarchy, codes and messages."""

import inspect
import re

import pytest

import worker.model.errors
from worker.model.errors import (
    ApiError,
    DesiredStateError,
    ErrorInfo,
    NumberError,
    PolicyRefusal,
    Problem,
    RateLimited,
    Refusal,
    SettingsError,
    WorkerError,
)


def public_errors() -> dict[str, type[WorkerError]]:
    """Return each public error by its name."""
    exported = {name: getattr(worker.model.errors, name) for name in worker.model.errors.__all__}
    return {name: kind for name, kind in exported.items() if issubclass(kind, WorkerError)}


def public_parent(kind: type[WorkerError]) -> str:
    """Return the nearest base class with a public name."""
    return next(base.__name__ for base in kind.__mro__[1:] if not base.__name__.startswith("_"))


def make_error(kind: type[WorkerError]) -> WorkerError:
    """Return an instance of an error class."""
    if issubclass(kind, DesiredStateError | SettingsError):
        return kind([Problem("main.yaml", 3, 5, "no such status")])
    if issubclass(kind, PolicyRefusal):
        return kind([Refusal("min-active", "too few")])
    return kind("said so")


def test_documented_hierarchy_matches_the_classes() -> None:
    """The module docstring draws each public error under its base class."""
    documented: dict[str, str] = {}
    path = ["Exception"]
    for line in (inspect.getdoc(worker.model.errors) or "").splitlines():
        if match := re.match(r"^([│├└─ ]*)(\w+)( {2,}\S|$)", line):
            depth = len(match[1]) // 4 + 1
            path[depth:] = [match[2]]
            documented[match[2]] = path[depth - 1]
    assert documented == {name: public_parent(kind) for name, kind in public_errors().items()}


def test_every_error_is_exported() -> None:
    classes = {name for name, kind in vars(worker.model.errors).items() if inspect.isclass(kind) and name[0] != "_"}
    defined_here = {name for name in classes if getattr(worker.model.errors, name).__module__ == "worker.model.errors"}
    assert defined_here == set(worker.model.errors.__all__)


@pytest.mark.parametrize("kind", public_errors().values())
def test_every_error_has_a_code_and_info(kind: type[WorkerError]) -> None:
    error = make_error(kind)
    assert error.code == kind.__name__
    assert error.info == ErrorInfo(kind.__name__, str(error))
    assert str(error)


def test_problem_is_formatted_as_file_line_column() -> None:
    """Editors parse this format."""
    assert str(Problem("config/main.yaml", 12, 3, "no such status")) == "config/main.yaml:12:3: no such status"


def test_error_lists_each_problem_on_a_line() -> None:
    problems = [Problem("a.yaml", 1, 1, "first"), Problem("b.yaml", 2, 2, "second")]
    error = DesiredStateError(problems)
    assert error.problems == tuple(problems)
    assert str(error) == "a.yaml:1:1: first\nb.yaml:2:2: second"
    longer = DesiredStateError(problems, 1_500)
    assert str(longer) == "a.yaml:1:1: first\nb.yaml:2:2: second\n… and 1,500 more"
    assert (error.omitted_count, longer.omitted_count) == (0, 1_500)


def test_problems_sort_by_file_and_line_number() -> None:
    line_10, line_9 = Problem("a.yaml", 10, 1, "late"), Problem("a.yaml", 9, 1, "early")
    assert sorted([line_10, line_9]) == [line_9, line_10]


def test_policy_refusal_joins_its_messages() -> None:
    refusals = [Refusal("max-deactivations", "too many"), Refusal("min-active", "too few")]
    error = PolicyRefusal(refusals)
    assert error.refusals == tuple(refusals)
    assert str(error) == "too many; too few"


def test_api_code_replaces_the_class_name() -> None:
    error = ApiError("not yours", http_status=400, api_code="InvalidSenderId")
    assert error.info == ErrorInfo("InvalidSenderId", "not yours")
    assert error.number_error == NumberError("InvalidSenderId", "not yours", 400)


def test_rate_limit_has_status_and_retry_after() -> None:
    assert (RateLimited("slow down", retry_after=2.5).retry_after, RateLimited("slow down").retry_after) == (2.5, None)
    error = RateLimited("slow down", api_code="TooManyRequests")
    assert (str(error), error.code, error.http_status) == ("slow down", "TooManyRequests", 429)


def test_error_is_not_a_timeout_by_default() -> None:
    assert [ApiError("late", timed_out=late).timed_out for late in (False, True)] == [False, True]
    assert ApiError("no").timed_out is False
