"""Log lines on a console: short, one line for each event, and limited to the events of interest during a run."""

from typing import Any

import pytest

from worker.model.plans import Action
from worker.model.results import Outcome
from worker.render.log_lines import LogEvent, console_line
from worker.render.terminal import Paint

NUMBER: dict[str, Any] = {
    "event": "number",
    "phone": "01012345678",
    "action": "activate",
    "before": "INACTIVE",
    "after": "ACTIVE",
    "desired": "ACTIVE",
    "outcome": "changed",
}


def console(*, color: bool = False, show_all: bool = False, **fields: Any) -> str | None:
    """Return the console line of an event, or None if it is hidden."""
    line = {"timestamp": "2026-03-01T12:00:00.123Z", "level": "info", "run_id": "20260301T120000Z-abc"} | fields
    return console_line(line, Paint(color=color), show_all=show_all)


@pytest.mark.parametrize(
    ("fields", "line"),
    [
        (
            NUMBER | {"account": "main", "attempts": 2, "duration_ms": 70},
            (
                "12:00:00Z info    main         number 010-1234-5678 activate changed INACTIVE → ACTIVE "
                "attempts=2 duration_ms=70\n"
            ),
        ),
        (
            NUMBER
            | {"level": "warning", "outcome": "failed", "after": "INACTIVE"}
            | {"http_status": 502, "error_code": "ServerError", "error_message": "it failed"},
            (
                "12:00:00Z warning              number 010-1234-5678 activate failed INACTIVE → INACTIVE "
                "ServerError (502): it failed\n"
            ),
        ),
        (
            {"event": "account.failed", "level": "error", "account": "a-very-long-name", "error_code": "Bug"},
            "12:00:00Z error   a-very-long-name account.failed Bug:\n",
        ),
        (
            {"event": "request.retried", "account": "본사", "attempts": 1, "duration_ms": 500.5, "error_code": "E"},
            "12:00:00Z info    본사         request.retried attempts=1 duration_ms=500.5 E:\n",
        ),
        (
            {"event": "rate_limit.held", "duration_ms": 5000, "http_status": 429},
            "12:00:00Z info                 rate_limit.held duration_ms=5000\n",
        ),
    ],
)
def test_line_has_time_level_account_and_event(fields: dict[str, Any], line: str) -> None:
    """Number, outcome and error follow."""
    assert console(**fields) == line


def test_level_and_event_are_coloured() -> None:
    assert console(color=True, event="account.failed", level="error", error_code="E", error_message="m") == (
        "12:00:00Z \x1b[31merror  \x1b[0m              \x1b[1maccount.failed\x1b[0m E: m\n"
    )


@pytest.mark.parametrize("outcome", Outcome)
def test_only_changes_and_failures_are_shown_during_a_run(outcome: Outcome) -> None:
    """Other outcomes are in the result."""
    line = console(**NUMBER | {"outcome": outcome})
    shown_outcomes = {Outcome.CHANGED, Outcome.FAILED, Outcome.CONFLICT, Outcome.UNVERIFIED}
    assert (line is not None) is (outcome in shown_outcomes)
    assert console(show_all=True, **NUMBER | {"outcome": outcome}) is not None


@pytest.mark.parametrize("event", LogEvent)
def test_events_that_the_result_repeats_are_hidden(event: LogEvent) -> None:
    """All events are shown if requested."""
    hidden = {
        LogEvent.RUN_STARTED,
        LogEvent.RUN_FINISHED,
        LogEvent.ACCOUNT_OBSERVED,
        LogEvent.NUMBER_PLANNED,
        LogEvent.NUMBER,
    }
    hidden |= {LogEvent.NOTICE}
    assert (console(event=event) is None) is (event in hidden)
    assert console(event=event, show_all=True) == f"12:00:00Z info                 {event}\n"


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"event": "number", "before": "ACTIVE", "after": "INACTIVE", "desired": "INACTIVE"}, "INACTIVE"),
        ({"event": "number", "before": "ACTIVE", "desired": "INACTIVE"}, "?"),
        ({"event": "number.planned", "before": "ACTIVE", "desired": "INACTIVE"}, "INACTIVE"),
        ({"event": "number.planned", "before": "ACTIVE"}, "?"),
    ],
)
def test_status_is_shown_only_if_known(fields: dict[str, Any], expected: str) -> None:
    """The status after a run is shown only if it was read, and the desired status only for a plan."""
    assert f"ACTIVE → {expected}\n" in (console(show_all=True, **fields) or "")


def test_counts_are_listed_without_zeros() -> None:
    line = console(event="run.finished", show_all=True, counts={Action.ACTIVATE: 1200, Action.BLOCKED: 0, "x\ny": 1})
    assert line == "12:00:00Z info                 run.finished 1,200 activate, 1 x y\n"


def test_other_fields_are_shown_by_name() -> None:
    """A field without a fixed position is shown with its name."""
    line = console(event="some.thing", numbers=5, raised_at=["a.py:1 f"], note="two\nlines\x1b")
    assert line == "12:00:00Z info                 some.thing numbers=5 raised_at=['a.py:1 f'] note=two lines\ufffd\n"


def test_untrusted_text_stays_on_its_line() -> None:
    """A line has no control characters, whatever its fields contain."""
    hostile = "\x1b[2J\r\n\u2028\u202e\ud800" + "x" * 10_000
    names = ("event", "account", "phone", "action", "outcome", "before", "after", "http_status", "error_code", "other")
    fields: dict[str, Any] = dict.fromkeys(names, hostile)
    line = console(show_all=True, counts={hostile: 1}, **fields)
    assert line is not None
    assert {char for char in line if not char.isprintable()} == {"\n"}
    assert line.index("\n") == len(line) - 1
    assert len(line) < 13_000


def test_phone_of_another_type_is_shown() -> None:
    """A phone that is not text does not raise an error."""
    assert "1012345678" in (console(event="some.thing", phone=1012345678) or "")


def test_message_without_a_code_is_shown() -> None:
    """Warnings such as `traces.failed` have a message only."""
    line = console(event="traces.failed", level="warning", error_message="no traces")
    assert line == "12:00:00Z warning              traces.failed no traces\n"
