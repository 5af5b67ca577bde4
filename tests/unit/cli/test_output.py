"""Documents on a terminal, in a pipe and in a file."""

import io
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from tests.support.records import account_record, number_record, run_record
from tests.support.reports import fleet_plan
from worker.cli import output
from worker.cli.options import OutputOptions
from worker.model.plans import Action
from worker.model.results import AccountResult, NumberResult, Outcome, Result, RunOutcome

STAMP: Final = "2026-11-24T09:00:00.000Z"
CHANGED: Final = NumberResult("01000000001", Action.ACTIVATE, "ACTIVE", "INACTIVE", "ACTIVE", Outcome.CHANGED, 1)
RESULT: Final = Result(
    run_id="r",
    started_at=STAMP,
    finished_at=STAMP,
    outcome=RunOutcome.CONVERGED,
    accounts=(AccountResult(account="main", outcome=RunOutcome.CONVERGED, counts={}, numbers=(CHANGED,)),),
)
DOCUMENTS: Final[dict[str, Callable[[OutputOptions], None]]] = {
    "plan": lambda options: output.plan(fleet_plan(1, 3), options),
    "result": lambda options: output.result(RESULT, options),
    "run": lambda options: output.run(run_record(account_record(number_record())), options),
}


class Stdout(io.TextIOWrapper):
    """A standard output that may be a terminal."""

    def __init__(self, *, is_terminal: bool) -> None:
        self.printed = io.BytesIO()
        super().__init__(self.printed, encoding="utf-8")
        self._is_terminal = is_terminal

    def isatty(self) -> bool:
        """Return True if it is a terminal."""
        return self._is_terminal


@pytest.mark.parametrize("document", DOCUMENTS)
@pytest.mark.parametrize("is_terminal", [True, False])
@pytest.mark.parametrize("no_color", [True, False])
@pytest.mark.parametrize("is_file", [True, False])
def test_only_a_terminal_gets_colours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, document: str, *, is_terminal: bool, no_color: bool, is_file: bool
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    stdout = Stdout(is_terminal=is_terminal)
    monkeypatch.setattr(sys, "stdout", stdout)
    path = tmp_path / "document"
    options = OutputOptions(output_format="text", output=str(path) if is_file else None, no_color=no_color)
    DOCUMENTS[document](options)
    printed = stdout.printed.getvalue()
    written = path.read_bytes() if is_file else printed
    assert (bool(written), bool(printed)) == (True, not is_file)
    assert (b"\x1b" in written) is (is_terminal and not no_color and not is_file)
