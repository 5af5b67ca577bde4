"""HTML reports of plans, results and runs."""

from base64 import b64encode
from hashlib import sha256

import pytest
from msgspec.structs import replace

from tests.support.records import account_record, attempt, history, number_record, run_record
from tests.support.reports import HOSTILE, ParsedReport, change_at, fleet_plan, throttled_run
from worker.model.credentials import CredentialsRef, SecretRef
from worker.model.errors import ErrorInfo, NumberError, Refusal
from worker.model.history import Ending
from worker.model.plans import AccountPlan, Action, Notice, NoticeKind, Plan, tally
from worker.model.results import AccountResult, NumberResult, Outcome, Requests, Result, RunOutcome
from worker.render import report
from worker.render.report.page import TableRow, capped, table
from worker.render.report.tables import numbers_table
from worker.render.view import plan_view
from worker.render.view.attention import notice_items
from worker.render.view.parts import Share

PHONE = "01012345678"
DOWN = NumberError("ServerError", "the API is down", 503)


def plan_of(*accounts: AccountPlan, at: str | None = None) -> Plan:
    """Return a plan of accounts."""
    return Plan(created_at="2026-11-24T09:00:00.000Z", at=at, fingerprint="f" * 64, accounts=accounts)


def result_of(*accounts: AccountResult, outcome: RunOutcome = RunOutcome.PARTIAL) -> Result:
    """Return a result of accounts."""
    return Result(
        run_id="20261124T090012Z-a1b2c3",
        started_at="2026-11-24T09:00:12.000Z",
        finished_at="2026-11-24T09:00:15.500Z",
        outcome=outcome,
        accounts=accounts,
    )


def account(*numbers: NumberResult, **overrides: object) -> AccountResult:
    """Return the result of one account."""
    counts = tally(Outcome, {number.outcome: 1 for number in numbers})
    fields = {"account": "main", "outcome": RunOutcome.PARTIAL, "counts": counts, "numbers": numbers} | overrides
    return AccountResult(**fields)  # type: ignore[arg-type]


def number_result(outcome: Outcome, error: NumberError | None = None, phone: str = PHONE) -> NumberResult:
    """Return the result of a number that should be activated."""
    after = "ACTIVE" if outcome is Outcome.CHANGED else None
    return NumberResult(phone, Action.ACTIVATE, "ACTIVE", "INACTIVE", after, outcome, 1, error, 250)


@pytest.mark.parametrize(
    "page",
    [
        report.plan(fleet_plan(3, 8)),
        report.result(result_of(account(number_result(Outcome.CHANGED)))),
        report.run(throttled_run()),
        report.runs(history(throttled_run())),
        report.number(PHONE, history(run_record(account_record(number_record())))),
    ],
    ids=["plan", "result", "run", "runs", "number"],
)
def test_report_loads_and_runs_nothing_external(page: str) -> None:
    """No element has a source, no attribute has code or style, and the policy allows only the inlined hashes."""
    read = ParsedReport(page)
    for name, attributes in read.elements:
        assert not {"src", "srcset", "style", "action", "data", "poster"} & set(attributes), name
        assert not [key for key in attributes if key.startswith("on")], name
        assert (attributes.get("href") or "#").startswith("#"), name
    assert not {"link", "iframe", "img", "object", "form", "base"} & {name for name, _attributes in read.elements}
    policy = read.policy()
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy
    hashes = [f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'" for text in read.styles + read.scripts]
    assert sorted(hashes) == sorted(part.rstrip(";") for part in policy.split() if part.startswith("'sha256-"))
    ids = [attributes["id"] for _name, attributes in read.elements if "id" in attributes]
    assert len(ids) == len(set(ids))


def test_plan_shows_changes_and_refusals() -> None:
    """A number has its change, cause, note and owner, an account its share, and a refusal its option."""
    page = report.plan(fleet_plan(3, 8))
    read = ParsedReport(page)
    assert "Plan: 6 to activate, 6 to deactivate" in read.visible
    assert "Refused by max-deactivations:" in read.visible
    assert "To allow it: --allow max-deactivations" in read.visible
    assert "AccountRejected: the API key is unknown: check SOLAPI_API_KEY." in read.visible
    assert read.line("010-0000-0001")[:3] == ["shop-0000", "010-0000-0001", "- deactivate"]
    line = read.line("010-0000-0001")
    assert line[3] == "ACTIVE → INACTIVE"
    assert line[-2:] == ["지점 1", "team-1"]
    assert read.line("12925149")[2] == "13 → 13 15 % deactivated"
    assert 'href="#what=blocked"' in page
    assert "a1b2" * 16 in read.visible


def test_account_as_desired_is_listed_by_name() -> None:
    """The report has no rows for this account."""
    account_as_desired = AccountPlan(account="quiet-one", counts=tally(Action, {Action.UNCHANGED: 3}))
    page = report.plan(plan_of(account_as_desired), drift=True)
    read = ParsedReport(page)
    assert "1 account is as desired" in read.visible
    assert "quiet-one" in read.visible
    assert read.rows == []
    assert "<title>Drift" in page
    assert 'data-tone="good"' in page


def test_plan_with_changes_only_is_not_a_warning() -> None:
    """A plan with attention items is a warning. A plan of another time names its time."""
    writes = AccountPlan(account="main", counts=tally(Action, {Action.ACTIVATE: 1}), changes=(change_at(0),))
    assert 'class="notice verdict" data-tone="info"' in report.plan(plan_of(writes))
    blocked = AccountPlan(account="main", counts=tally(Action, {Action.BLOCKED: 1}), changes=(change_at(2),))
    page = report.plan(plan_of(blocked, at="2026-12-01T00:00:00.000Z"))
    assert 'class="notice verdict" data-tone="warn"' in page
    assert "This is the plan for" in page
    assert 'datetime="2026-12-01T00:00:00.000Z"' in page


def test_blocked_numbers_with_many_reasons_share_an_item() -> None:
    """The item has the count of other reasons."""
    changes = tuple(replace(change_at(2), phone=f"010{index:08d}", reason=f"reason {index}") for index in range(40))
    page = report.plan(
        plan_of(AccountPlan(account="main", counts=tally(Action, {Action.BLOCKED: 40}), changes=changes))
    )
    assert "reason 0 There are 39 other reasons: see below." in page
    assert "40 blocked:" in page


def test_notices_are_shown_once() -> None:
    """The notice of a blocked number is omitted, and equal notices are grouped."""
    notices = (
        Notice(NoticeKind.PENDING, "it waits", change_at(2).phone),
        Notice(NoticeKind.EXPIRING, "it ends on 2026-12-24", PHONE),
        Notice(NoticeKind.LIMIT, "the account is nearly full", None),
    )
    counts = tally(Action, {Action.BLOCKED: 1})
    page = report.plan(plan_of(AccountPlan(account="main", counts=counts, changes=(change_at(2),), notices=notices)))
    assert "it waits" not in page
    assert "it ends on 2026-12-24" in page
    assert "the account is nearly full" in page
    items_of_notices = notice_items(("main", Notice(NoticeKind.LIMIT, f"text {index}", None)) for index in range(103))
    items = list(capped(items_of_notices))
    assert len(items) == 101
    assert items[-1].text == "3 more: --format json"


def test_long_table_keeps_rows_that_need_attention() -> None:
    """A table over its limit counts the omitted rows, and stays in order, as rows of one account have one heading."""
    sampled = table("numbers", "Numbers", (), _rows(12), limit=5)
    assert [row.needs_attention for row in sampled.rows] == [False, False, True, True, True]
    assert sampled.omitted == (
        "7 more rows are not in this file (3 deactivate, 3 protected, 1 activate). "
        "All of them: --format json. One account in full: --account NAME."
    )


def _rows(number: int) -> tuple[TableRow, ...]:
    return numbers_table(plan_view(fleet_plan(1, number)).accounts, is_plan=True).rows


def test_numbers_of_an_account_have_a_heading() -> None:
    """The heading has the name, the id, the counts, and a verdict that is not good.

    The parts of a long account have one, too.
    """
    read = ParsedReport(report.plan(fleet_plan(2, 300)))
    headings = [row for row in read.rows if len(row) == 1]
    counts = "75 to activate, 75 to deactivate, 75 blocked, 75 protected"
    assert [" ".join(cell.split()) for (cell,) in headings] == [
        f"shop-0001 12925150 x refused {counts}",
        f"shop-0000 12925149 {counts}",
    ]
    bodies = list(numbers_table(plan_view(fleet_plan(2, 300)).accounts, is_plan=True).bodies)
    assert [(body.group is not None, len(body.rows), body.is_late) for body in bodies] == [
        (True, 200, False),
        (False, 100, True),
        (True, 100, True),
        (False, 200, True),
    ]
    assert 'class="cards grouped"' not in report.runs(history(throttled_run()))


@pytest.mark.parametrize(
    ("page", "filters"),
    [
        (report.plan(fleet_plan(3, 8)), ["Verdict", "Account", "Action", "Owner"]),
        (
            report.result(result_of(account(number_result(Outcome.CHANGED)))),
            ["Outcome of each account", "Account", "Outcome of each number"],
        ),
        (report.run(throttled_run()), ["Outcome of each account", "Account", "Outcome of each number"]),
    ],
    ids=["plan", "result", "run"],
)
def test_filters_have_distinct_names(page: str, filters: list[str]) -> None:
    """Two filters of a report never have the same name."""
    assert [cell["data-facet"] for cell in ParsedReport(page).named("th") if "data-facet" in cell] == filters


def test_table_has_no_empty_columns() -> None:
    """A column of zeros is empty too."""
    counts = tally(Action, {Action.ACTIVATE: 1, Action.UNCHANGED: 3})
    page = report.plan(plan_of(AccountPlan(account="main", counts=counts, changes=(change_at(0),))))
    titles = [cell["data-key"] for cell in ParsedReport(page).named("th") if "data-key" in cell]
    assert titles == [
        "account",
        "ended",
        "on",
        "same",
        "account",
        "phone",
        "what",
        "status",
        "why",
        "cause",
        "note",
        "owner",
    ]


def test_fingerprint_is_short_and_can_be_copied() -> None:
    """A script hides the rest of a fingerprint, and copies all of it."""
    page = report.plan(plan_of())
    assert f'<code class="copied">{"f" * 12}<span class="rest">{"f" * 52}</span></code>' in page
    assert page.count('<button type="button" class="copy"') == 1


def test_result_has_notes_and_owners() -> None:
    """Notes and owners come from the desired-state file."""
    changed = replace(number_result(Outcome.CHANGED), note="old head office", owner="marketing")
    line = ParsedReport(report.result(result_of(account(changed)))).line("010-1234-5678")
    assert line[4:6] == ["old head office", "marketing"]


def test_percentage_is_not_rounded_to_zero() -> None:
    """One of a thousand numbers is one percent. Without numbers there is no percentage."""
    assert (Share(1000, 0, 1).percent, Share(1000, 0, 1).after) == (1, 999)
    assert [Share(6, 0, off).percent for off in (0, 2, 4, 6)] == [0, 33, 67, 100]
    assert Share(1000, 0, 999).percent == 99
    assert (Share(0, 2, 0).percent, Share(0, 2, 0).after) == (0, 2)
    page = report.plan(plan_of(AccountPlan(account="a", counts=tally(Action, {}), changes=(change_at(2),), active=0)))
    assert "% deactivated" not in page


def test_item_links_to_its_rows() -> None:
    """The link of an item about numbers filters the table by its word. Other items have no link."""
    numbers = account(number_result(Outcome.NOT_ATTEMPTED, DOWN), error=ErrorInfo("CircuitOpen", "down"))
    page = report.result(result_of(numbers))
    assert page.count('class="live"') == 1
    assert 'href="#what=not%20attempted"' in page


def test_result_shows_outcomes_and_advice() -> None:
    """The most severe account comes first, each outcome has its advice, and the command for the chart is shown."""
    numbers = (
        number_result(Outcome.CHANGED),
        number_result(Outcome.FAILED, DOWN, "0211"),
        number_result(Outcome.BLOCKED, None, "0212"),
    )
    failed = account(*numbers, requests=Requests(2, 3, 1), error=ErrorInfo("CircuitOpen", "the API stays down"))
    page = report.result(
        result_of(
            AccountResult(account="calm", outcome=RunOutcome.CONVERGED, counts=tally(Outcome, {Outcome.UNCHANGED: 2})),
            failed,
            account(
                account="barred",
                outcome=RunOutcome.REFUSED,
                refusals=(Refusal("min-active", "it leaves 0 ACTIVE numbers."),),
                error=ErrorInfo("PolicyRefusal", "refused"),
                notices=(Notice(NoticeKind.LIMIT, "nearly full", None),),
            ),
        ),
        " Saved:\n there\n",
    )
    read = ParsedReport(page)
    assert "Partial: 1 changed, 1 failed" in read.visible
    assert "Stopped: CircuitOpen: the API stays down." in read.visible
    assert "PolicyRefusal" not in ParsedReport(page.split('<h2 id="attention">')[1].split("</section>")[0]).visible
    assert "Refused by min-active:" in read.visible
    assert "ServerError (503): the API is down." in read.visible
    assert "Saved: there" in read.visible
    assert "senderid history 20261124T090012Z-a1b2c3 --format html" in read.visible
    assert read.line("0211")[:3] == ["main", "0211", "x failed"]
    assert "nearly full" in read.visible
    assert "1 account is as desired" in read.visible


def test_account_error_is_not_repeated_for_numbers() -> None:
    """Numbers with the error of their account are in the table only."""
    error = NumberError("CircuitOpen", "the API stays down")
    page = report.result(
        result_of(account(number_result(Outcome.NOT_ATTEMPTED, error), error=ErrorInfo(error.code, error.message)))
    )
    assert "1 not attempted:" not in page
    assert "Nothing was sent" not in page
    assert "senderid history" not in page


def test_run_has_a_chart_of_its_writes_against_the_quota() -> None:
    """The chart has a text alternative. It shows retries, refusals and the pause, as does the table."""
    read = ParsedReport(report.run(throttled_run()))
    summary = "64 writes; at most 31 in any 5 s; the quota is 45; 2 retries; 2 refused by the vendor's quota; 1 pause."
    (drawing,) = [attributes for attributes in read.named("svg") if attributes.get("role") == "img"]
    assert drawing["aria-label"] == summary
    assert summary in read.visible
    classes = [attributes.get("class") for name, attributes in read.elements if name in {"line", "rect"}]
    assert {"limit", "again", "refused", "band"} <= set(classes)
    assert "waited 9.1 s: the API reported that the quota was used up" in read.visible
    spans = [row for row in read.rows if row and row[0].startswith("09:00:")]
    assert sum(int(row[1]) for row in spans) == 64
    assert "2. ACTIVE: verified" in read.visible
    assert "rate_limit.writes" in read.visible


def test_run_names_the_plan_file_that_it_applied() -> None:
    """The page has the id of the plan file. A run without a plan file has no such row."""
    page = report.run(run_record(plan="5f1c"))
    assert "Plan file" in page
    assert "5f1c" in page
    assert "Plan file" not in report.run(run_record())


def test_run_without_a_quota_or_writes_has_no_limit_or_chart() -> None:
    """Without settings there is no limit, and without attempts no chart. An unfinished run is explained."""
    run_without_settings = run_record(account_record(number_record()), settings=None)
    assert "at most 1 in any 5 s." in report.run(run_without_settings)
    assert 'class="limit"' not in report.run(run_without_settings)
    unfinished_account = account_record(
        number_record(outcome=None, after=None, attempts=()),
        outcome=Ending.UNFINISHED,
        counts={"activate": 1},
        finished_at=None,
    )
    page = report.run(
        run_record(unfinished_account, outcome=Ending.UNFINISHED, finished_at=None, counts={"activate": 1})
    )
    assert "The run is in progress or it crashed" in page
    assert "<figure" not in page
    assert "… unfinished" in " ".join(ParsedReport(page).visible.split())


def test_pause_without_a_refusal_has_no_wait() -> None:
    """The chart shows the pause without responses only."""
    later_attempt = attempt(intended_at="2026-11-24T09:01:12.120Z")
    page = report.run(run_record(account_record(number_record(), number_record("0211", attempts=(later_attempt,)))))
    assert "no responses for 60.0 s" in page
    assert "waited" not in page


def test_each_api_key_has_its_own_chart() -> None:
    """Quotas belong to API keys. The busiest keys have a chart; the others are counted."""
    accounts = [
        account_record(
            number_record(attempts=(attempt(answered_at="2026-11-24T09:00:13.000Z"),) * (index + 1)),
            account=f"a{index}",
            credentials=CredentialsRef(SecretRef(env=f"KEY_{index}"), SecretRef(env=f"SECRET_{index}")),
            error=ErrorInfo("CircuitOpen", "down") if index == 0 else None,
            outcome=Ending.FAILED if index == 0 else Ending.CONVERGED,
        )
        for index in range(7)
    ]
    page = report.run(run_record(*accounts))
    assert page.count("<figure") == 5
    titles = [text.split("</figcaption>")[0] for text in page.split("<figcaption")[1:]]
    assert "<strong><bdi>a6</bdi></strong>" in titles[0]
    assert "credentials from $KEY_6 and $SECRET_6" in titles[0]
    assert "2 more API keys without a chart had 3 writes." in page
    assert "Stopped:</strong> CircuitOpen: down." in page


def test_runs_and_number_history_are_tables() -> None:
    """Each run is a row with its id. A list that is shortened says so."""
    accounts = tuple(account_record(account=f"a{index}") for index in range(7))
    page = report.runs(history(run_record(*accounts), run_record(outcome=Ending.UNFINISHED, finished_at=None), total=9))
    read = ParsedReport(page)
    assert "2 of 9 runs. To list all: --limit 0" in read.visible
    assert "+2" in read.line("20261124T090012Z-a1b2c3")[5]
    assert "2 runs." in ParsedReport(report.runs(history(run_record(), run_record()))).visible
    page = report.number(PHONE, history(run_record(account_record(number_record()), account_record(numbers=None))))
    assert "1 run with this number." in page
    assert ParsedReport(page).line("20261124T090012Z-a1b2c3")[2:4] == ["main 12925149", "✓ changed"]
    assert ParsedReport(report.runs(history())).rows == []


def test_hostile_text_does_not_add_markup() -> None:
    """Markup in untrusted fields adds no element, and bidirectional characters are replaced."""
    harmless, hostile = (
        ParsedReport(report.plan(fleet_plan(3, 8))),
        ParsedReport(report.plan(fleet_plan(3, 8, HOSTILE))),
    )
    assert {name for name, _ in hostile.elements} == {name for name, _ in harmless.elements}
    assert len(hostile.scripts) == len(harmless.scripts)
    assert "<script>alert(1)</script><img src=x onerror=alert(2)>" in hostile.visible
    assert "49" not in hostile.line("alert(1)")
    assert not [char for char in "\u202e\x1b\x00" if char in hostile.visible]
