"""What every format of a plan, a result or a run shows: text, Markdown and HTML."""

import re
from collections import Counter
from collections.abc import Callable
from typing import Final

import pytest
from msgspec import structs

from tests.support.records import account_record, number_record, run_record
from tests.support.reports import ParsedReport
from worker.model.errors import ErrorInfo, NumberError, Refusal
from worker.model.history import RunRecord
from worker.model.plans import AccountPlan, Action, Change, Notice, NoticeKind, Plan, Verdict, tally
from worker.model.results import AccountResult, NumberResult, Outcome, Requests, Result, RunOutcome
from worker.render import markdown, report, text
from worker.render.text import history
from worker.render.view import plan_view

STAMP: Final = "2026-11-24T09:00:00.000Z"

PLANS: Final[dict[str, Callable[..., str]]] = {
    "text": lambda plan, **more: text.plan(plan, color=False, **more),
    "markdown": markdown.plan,
    "html": lambda plan, **more: ParsedReport(report.plan(plan, **more)).visible,
}
RESULTS: Final[dict[str, Callable[[Result], str]]] = {
    "text": lambda result: text.result(result, color=False),
    "markdown": markdown.result,
    "html": lambda result: ParsedReport(report.result(result)).visible,
}
RUNS: Final[dict[str, Callable[[RunRecord], str]]] = {
    "text": lambda run: history.run(run, color=False),
    "html": lambda run: ParsedReport(report.run(run)).visible,
}

every_plan = pytest.mark.parametrize("output_format", PLANS)
every_result = pytest.mark.parametrize("output_format", RESULTS)


def change(index: int, **fields: str) -> Change:
    """Return a change that activates one number."""
    return structs.replace(Change(f"010{index:08}", Action.ACTIVATE, "INACTIVE", "ACTIVE", "listed"), **fields)


def account(name: str, *changes: Change, **fields: object) -> AccountPlan:
    """Return the plan of an account with three unchanged numbers."""
    counts = tally(Action, Counter(change.action for change in changes) | {Action.UNCHANGED: 3})
    return structs.replace(AccountPlan(account=name, counts=counts, changes=changes), **fields)


def shown(page: str) -> str:
    """Return a page without its line breaks and code marks."""
    return " ".join(page.replace("`", "").split())


def plan(output_format: str, *accounts: AccountPlan, **more: bool) -> str:
    """Return a plan in a format."""
    return shown(PLANS[output_format](Plan(created_at=STAMP, fingerprint="f", accounts=accounts), **more))


def account_result(name: str, outcome: RunOutcome, *numbers: NumberResult, **fields: object) -> AccountResult:
    """Return the result of an account."""
    counts = tally(Outcome, Counter(number.outcome for number in numbers))
    return structs.replace(AccountResult(account=name, outcome=outcome, counts=counts, numbers=numbers), **fields)


def result(*accounts: AccountResult) -> Result:
    """Return a partial result."""
    return Result(run_id="r", started_at=STAMP, finished_at=STAMP, outcome=RunOutcome.PARTIAL, accounts=accounts)


@every_plan
def test_drift_is_not_called_a_plan(output_format: str) -> None:
    drift = plan(output_format, account("main", change(1)), drift=True)
    assert ("Drift: 1 to activate" in drift, "Plan:" in drift) == (True, False)
    assert "Plan: 1 to activate" in plan(output_format, account("main", change(1)))


@every_plan
def test_every_account_is_shown_or_named(output_format: str) -> None:
    """Accounts with changes, accounts as desired, and accounts that could not be read are in one plan."""
    failed = account("lost", verdict=Verdict.ERROR, error=ErrorInfo("Code", "no key"), counts=tally(Action, {}))
    page = plan(output_format, account("main", change(1)), account("calm"), account("still"), failed)
    assert [name for name in ("main", "calm", "still", "lost") if name not in page] == []


def test_reasons_of_most_accounts_come_first() -> None:
    """Two accounts share a refusal and two an error. Others come before them in the plan."""
    refusals = {"a": "one", "b": "two", "c": "two"}
    errors = {"d": "three", "e": "four", "f": "four"}
    accounts = [
        *(
            account(name, change(1), verdict=Verdict.REFUSED, refusals=(Refusal("min-active", text),))
            for name, text in refusals.items()
        ),
        *(account(name, verdict=Verdict.ERROR, error=ErrorInfo("Code", text)) for name, text in errors.items()),
    ]
    view = plan_view(Plan(created_at=STAMP, fingerprint="f", accounts=tuple(accounts)))
    assert [item.accounts for item in view.attention] == [("b", "c"), ("a",), ("e", "f"), ("d",)]


@every_plan
def test_equal_changes_in_two_time_zones_have_their_own_times(output_format: str) -> None:
    changes = change(1, until="2026-12-21T15:00:00Z")
    page = plan(output_format, account("seoul", changes), account("berlin", changes, timezone="Europe/Berlin"))
    assert ("2026-12-22 00:00 KST" in page, "2026-12-21 16:00 CET" in page) == (True, True)


@every_plan
@pytest.mark.parametrize("count", [5, 6, 25, 800])
def test_numbers_of_a_notice_are_shown_or_counted(output_format: str, count: int) -> None:
    notices = [Notice(NoticeKind.EXPIRING, "it ends soon", f"010{index:08}") for index in range(count)]
    page = plan(output_format, account("main", notices=tuple(notices)))
    listed, *others = re.split(r"and ([\d,]+) more", page)
    omitted_count = int(others[0].replace(",", "")) if others else 0
    assert len(set(re.findall(r"010-\d{4}-\d{4}", listed))) + omitted_count == count


@every_result
@pytest.mark.parametrize("unread", [(0,), (1,), (0, 1)])
def test_status_of_an_unread_number_is_not_called_unchanged(output_format: str, unread: tuple[int, ...]) -> None:
    """The same error stopped two numbers. Not all of them were read after it."""
    error = NumberError("ServerError", "the server failed", 502)
    numbers = [
        NumberResult(
            f"010{index:08}",
            Action.ACTIVATE,
            "ACTIVE",
            "INACTIVE",
            None if index in unread else "INACTIVE",
            Outcome.FAILED,
            1,
            error,
        )
        for index in range(2)
    ]
    page = shown(RESULTS[output_format](result(account_result("main", RunOutcome.PARTIAL, *numbers))))
    assert ("The status is unchanged" in page, "Plan again to read the current status" in page) == (False, True)


@pytest.mark.parametrize("output_format", RUNS)
def test_settings_of_a_run_include_zeros(output_format: str) -> None:
    settings = {"canary": {"accounts": 0}, "safety": {"min_active": 0, "pair_swaps": None}, "strict": False}
    page = shown(RUNS[output_format](run_record(account_record(number_record()), settings=settings)))
    assert "canary.accounts 0, safety.min_active 0, strict False" in page
    assert "pair_swaps None" not in page


@pytest.mark.parametrize("outcome", RunOutcome)
def test_account_needs_attention_unless_it_converged(outcome: RunOutcome) -> None:
    """A report can be filtered by what needs attention. An account without numbers may need it, too."""
    page = ParsedReport(report.result(result(account_result("main", outcome, error=ErrorInfo("Code", "why")))))
    is_marked = any("data-attention" in row for row in page.named("tr"))
    assert is_marked is (outcome is not RunOutcome.CONVERGED)


def test_requests_of_a_result_are_counted() -> None:
    changed = NumberResult("01000000001", Action.ACTIVATE, "ACTIVE", "INACTIVE", "ACTIVE", Outcome.CHANGED, 1)
    outcome = result(account_result("main", RunOutcome.CONVERGED, changed, requests=Requests(2, 3, 4)))
    assert "(2 reads, 3 writes, 4 retried)" in RESULTS["text"](outcome)
    titles, row = ([cell.split() for cell in row] for row in ParsedReport(report.result(outcome)).rows[:2])
    cells = {title[0]: cell[:1] for title, cell in zip(titles, row, strict=True)}
    assert (cells["Reads"], cells["Writes"], cells["Retries"]) == (["2"], ["3"], ["4"])
