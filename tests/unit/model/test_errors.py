"""The error tree, as its picture says and as callers rely on it."""

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
    """Every public error by its name."""
    everything = {name: getattr(worker.model.errors, name) for name in worker.model.errors.__all__}
    return {name: kind for name, kind in everything.items() if issubclass(kind, WorkerError)}


def public_parent(kind: type[WorkerError]) -> str:
    """The nearest base that has a public name."""
    return next(base.__name__ for base in kind.__mro__[1:] if not base.__name__.startswith("_"))


def made(kind: type[WorkerError]) -> WorkerError:
    """An instance of any error."""
    if issubclass(kind, DesiredStateError | SettingsError):
        return kind([Problem("main.yaml", 3, 5, "no such status")])
    if issubclass(kind, PolicyRefusal):
        return kind([Refusal("min-active", "too few")])
    return kind("said so")


def test_picture_is_the_tree() -> None:
    """The tree drawn at the top of the module names every public error under its real parent, and nothing else."""
    drawn: dict[str, str] = {}
    path = ["Exception"]
    for line in (inspect.getdoc(worker.model.errors) or "").splitlines():
        if found := re.match(r"^([│├└─ ]*)(\w+)( {2,}\S|$)", line):
            depth = len(found[1]) // 4 + 1
            path[depth:] = [found[2]]
            drawn[found[2]] = path[depth - 1]
    assert drawn == {name: public_parent(kind) for name, kind in public_errors().items()}


def test_every_error_is_exported() -> None:
    """No error class of the module is missing from its public names."""
    classes = {name for name, kind in vars(worker.model.errors).items() if inspect.isclass(kind) and name[0] != "_"}
    own = {name for name in classes if getattr(worker.model.errors, name).__module__ == "worker.model.errors"}
    assert own == set(worker.model.errors.__all__)


@pytest.mark.parametrize("kind", public_errors().values())
def test_every_error_has_a_code_and_info(kind: type[WorkerError]) -> None:
    """Any error can stand in a document: its code is its class's name and its message is not empty."""
    error = made(kind)
    assert error.code == kind.__name__
    assert error.info == ErrorInfo(kind.__name__, str(error))
    assert str(error)


def test_problem_reads_as_a_place() -> None:
    """A problem reads as file, line, column and message, the form that editors jump to."""
    assert str(Problem("config/main.yaml", 12, 3, "no such status")) == "config/main.yaml:12:3: no such status"


def test_problems_are_kept_and_listed() -> None:
    """An error made of problems keeps each of them and lists one a line."""
    problems = [Problem("a.yaml", 1, 1, "first"), Problem("b.yaml", 2, 2, "second")]
    error = DesiredStateError(problems)
    assert error.problems == tuple(problems)
    assert str(error) == "a.yaml:1:1: first\nb.yaml:2:2: second"


def test_problems_sort_by_place() -> None:
    """Problems sort by file and then by line as a number."""
    late, early = Problem("a.yaml", 10, 1, "late"), Problem("a.yaml", 9, 1, "early")
    assert sorted([late, early]) == [early, late]


def test_refusal_names_every_rule() -> None:
    """A policy refusal keeps its refusals and says all of their messages."""
    refusals = [Refusal("max-deactivations", "too many"), Refusal("min-active", "too few")]
    error = PolicyRefusal(refusals)
    assert error.refusals == tuple(refusals)
    assert str(error) == "too many; too few"


def test_api_code_wins() -> None:
    """An error that the API named carries the API's code, for the account and for the number."""
    error = ApiError("not yours", http_status=400, api_code="InvalidSenderId")
    assert error.info == ErrorInfo("InvalidSenderId", "not yours")
    assert error.number_error == NumberError("InvalidSenderId", "not yours", 400)


def test_rate_limit_keeps_its_wait() -> None:
    """A rate-limit error knows its status and how long the server asked to wait, if it did."""
    assert (RateLimited("slow down", retry_after=2.5).retry_after, RateLimited("slow down").retry_after) == (2.5, None)
    assert RateLimited("slow down").http_status == 429
