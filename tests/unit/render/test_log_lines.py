"""Log lines for people: short, one line each, and only what is worth reading while a run goes on."""

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


def shown(*, color: bool = False, everything: bool = False, **fields: Any) -> str | None:
    """A line of a run on a console."""
    line = {"timestamp": "2026-03-01T12:00:00.123Z", "level": "info", "run_id": "20260301T120000Z-abc"} | fields
    return console_line(line, Paint(color=color), show_all=everything)


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
def test_line(fields: dict[str, Any], line: str) -> None:
    """A line begins with time, level and account, then says what happened, to which number and why."""
    assert shown(**fields) == line


def test_line_in_colour() -> None:
    """Level and event are what colours make out."""
    assert shown(color=True, event="account.failed", level="error", error_code="E", error_message="m") == (
        "12:00:00Z \x1b[31merror  \x1b[0m              \x1b[1maccount.failed\x1b[0m E: m\n"
    )


@pytest.mark.parametrize("outcome", Outcome)
def test_outcomes_that_are_shown(outcome: Outcome) -> None:
    """While a run is in progress, changes and failures are shown; the rest is in the result."""
    line = shown(**NUMBER | {"outcome": outcome})
    worth = {Outcome.CHANGED, Outcome.FAILED, Outcome.CONFLICT, Outcome.UNVERIFIED}
    assert (line is not None) is (outcome in worth)
    assert shown(everything=True, **NUMBER | {"outcome": outcome}) is not None


@pytest.mark.parametrize("event", LogEvent)
def test_events_that_are_shown(event: LogEvent) -> None:
    """What the result or the plan has anyway is left out, unless everything is requested."""
    silent = {
        LogEvent.RUN_STARTED,
        LogEvent.RUN_FINISHED,
        LogEvent.ACCOUNT_OBSERVED,
        LogEvent.NUMBER_PLANNED,
        LogEvent.NUMBER,
    }
    silent |= {LogEvent.NOTICE}
    assert (shown(event=event) is None) is (event in silent)
    assert shown(event=event, everything=True) == f"12:00:00Z info                 {event}\n"


@pytest.mark.parametrize(
    ("fields", "then"),
    [
        ({"event": "number", "before": "ACTIVE", "after": "INACTIVE", "desired": "INACTIVE"}, "INACTIVE"),
        ({"event": "number", "before": "ACTIVE", "desired": "INACTIVE"}, "?"),
        ({"event": "number.planned", "before": "ACTIVE", "desired": "INACTIVE"}, "INACTIVE"),
        ({"event": "number.planned", "before": "ACTIVE"}, "?"),
    ],
)
def test_status_is_not_made_up(fields: dict[str, Any], then: str) -> None:
    """What a number has after a run is shown only if it was seen, and what a plan wants only in a plan."""
    assert f"ACTIVE → {then}\n" in (shown(everything=True, **fields) or "")


def test_counts_are_words() -> None:
    """Counts read as a sentence, without zeros."""
    line = shown(event="run.finished", everything=True, counts={Action.ACTIVATE: 1200, Action.BLOCKED: 0, "x\ny": 1})
    assert line == "12:00:00Z info                 run.finished 1,200 activate, 1 x y\n"


def test_other_fields_are_shown_by_name() -> None:
    """A field that has no place of its own is shown with its name."""
    line = shown(event="some.thing", numbers=5, raised_at=["a.py:1 f"], note="two\nlines\x1b")
    assert line == "12:00:00Z info                 some.thing numbers=5 raised_at=['a.py:1 f'] note=two lines\ufffd\n"


def test_foreign_text_stays_on_its_line() -> None:
    """Whatever a field holds, a line is one line without anything that a terminal obeys."""
    evil = "\x1b[2J\r\n\u2028\u202e\ud800" + "x" * 10_000
    names = ("event", "account", "phone", "action", "outcome", "before", "after", "http_status", "error_code", "other")
    fields: dict[str, Any] = dict.fromkeys(names, evil)
    line = shown(everything=True, counts={evil: 1}, **fields)
    assert line is not None
    assert {char for char in line if not char.isprintable()} == {"\n"}
    assert line.index("\n") == len(line) - 1
    assert len(line) < 13_000


def test_phone_may_be_anything() -> None:
    """A phone that is no text is shown rather than an error raised."""
    assert "1012345678" in (shown(event="some.thing", phone=1012345678) or "")


def test_a_message_without_a_code_is_shown() -> None:
    """A warning such as `traces.failed` says what is wrong."""
    line = shown(event="traces.failed", level="warning", error_message="no traces")
    assert line == "12:00:00Z warning              traces.failed no traces\n"
