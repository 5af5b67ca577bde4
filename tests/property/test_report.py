"""A report of any plan, result or run is one document, and texts add no element to it."""

from collections.abc import Callable
from functools import cache
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from tests.support.examples import examples
from tests.support.records import account_record, attempt, history, number_record, run_record
from tests.support.reports import HOSTILE, ParsedReport, fleet_plan
from worker.model.errors import ErrorInfo, NumberError
from worker.model.history import AttemptState, Ending
from worker.model.plans import Action
from worker.model.results import AccountResult, NumberResult, Outcome, Result, RunOutcome
from worker.render import report
from worker.render.terminal import safe

_texts = st.one_of(
    st.text(min_size=1, max_size=40),
    st.text(st.characters(codec=None), min_size=1, max_size=40),
    st.sampled_from(
        ["<script>", "</script>", "</style>", "<!--", "-->", "\"'><b>", "&lt;", "{{x}}", "\ud800", "<b>" * 3_000]
    ),
)


def _plan(text: str) -> str:
    return report.plan(fleet_plan(2, 4, text))


def _result(text: str) -> str:
    error = NumberError(text, text, 500)
    number = NumberResult("0211", Action.ACTIVATE, text, text, None, Outcome.FAILED, 1, error, 1)
    account = AccountResult(
        account=text,
        account_id=text,
        outcome=RunOutcome.FAILED,
        counts={Outcome.FAILED: 1},
        numbers=(number,),
        error=ErrorInfo(text, f"{text}."),
    )
    return report.result(
        Result(
            run_id="20261124T090012Z-a1b2c3",
            started_at="2026-11-24T09:00:12.000Z",
            finished_at="2026-11-24T09:00:12.000Z",
            outcome=RunOutcome.FAILED,
            accounts=(account,),
        ),
        text,
    )


def _run(text: str) -> str:
    error = NumberError(text, text, 500)
    tried = attempt(1, AttemptState.REJECTED, error=error)
    number = number_record(outcome=Outcome.FAILED, before=text, after=text, error=error, attempts=(tried,))
    account = account_record(
        number, account=text, account_id=text, endpoint=text, source=text, outcome=Ending.FAILED, counts={"failed": 1}
    )
    run = run_record(account, started_by=text, host=text, version=text, command=text, settings={text: text})
    return report.run(run) + report.runs(history(run)) + report.number("0211", history(run))


def _elements(page: ParsedReport) -> list[tuple[str, dict[str, Any]]]:
    """Return the elements of a page with those attributes that contain no text of the input."""
    return [
        (name, {key: value for key, value in attributes.items() if key not in {"aria-label", "href"}})
        for name, attributes in page.elements
        if name not in {"meta", "br"}
    ]


@cache
def _expected_elements(report_of: Callable[[str], str]) -> list[tuple[str, dict[str, Any]]]:
    return _elements(ParsedReport(report_of("x")))


def _check_elements(report_of: Callable[[str], str], text: str) -> None:
    page = report_of(text)
    parsed = ParsedReport(page)
    assert _elements(parsed) == _expected_elements(report_of)
    visible_text = "".join(safe(text, 60).split())
    assert visible_text.rstrip("….") in "".join(parsed.visible.split())
    assert not set(page) & set("\x00\x1b\u202e\u2066\ud800")


@examples(40)
@given(_texts)
@example(HOSTILE)
def test_texts_do_not_add_elements_to_a_plan(text: str) -> None:
    """The elements equal those of the same plan with a harmless text, and the text is visible."""
    _check_elements(_plan, text)


@examples(40)
@given(_texts)
@example(HOSTILE)
def test_texts_do_not_add_elements_to_a_result(text: str) -> None:
    """The texts are errors, statuses and names."""
    _check_elements(_result, text)


@examples(40)
@given(_texts)
@example(HOSTILE)
def test_texts_do_not_add_elements_to_a_run(text: str) -> None:
    """The texts are those of a run in the ledger."""
    _check_elements(_run, text)
