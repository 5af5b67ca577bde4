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


def planned(*accounts: AccountPlan, at: str | None = None) -> Plan:
    """A plan of some accounts."""
    return Plan(created_at="2026-11-24T09:00:00.000Z", at=at, fingerprint="f" * 64, accounts=accounts)


def done(*accounts: AccountResult, outcome: RunOutcome = RunOutcome.PARTIAL) -> Result:
    """A result of some accounts."""
    return Result(
        run_id="20261124T090012Z-a1b2c3",
        started_at="2026-11-24T09:00:12.000Z",
        finished_at="2026-11-24T09:00:15.500Z",
        outcome=outcome,
        accounts=accounts,
    )


def account(*numbers: NumberResult, **more: object) -> AccountResult:
    """What became of one account."""
    counts = tally(Outcome, {each.outcome: 1 for each in numbers})
    given = {"account": "main", "outcome": RunOutcome.PARTIAL, "counts": counts, "numbers": numbers} | more
    return AccountResult(**given)  # type: ignore[arg-type]


def ended(outcome: Outcome, error: NumberError | None = None, phone: str = PHONE) -> NumberResult:
    """A number that was to be switched on."""
    after = "ACTIVE" if outcome is Outcome.CHANGED else None
    return NumberResult(phone, Action.ACTIVATE, "ACTIVE", "INACTIVE", after, outcome, 1, error, 250)


@pytest.mark.parametrize(
    "page",
    [
        report.plan(fleet_plan(3, 8)),
        report.result(done(account(ended(Outcome.CHANGED)))),
        report.run(throttled_run()),
        report.runs(history(throttled_run())),
        report.number(PHONE, history(run_record(account_record(number_record())))),
    ],
    ids=["plan", "result", "run", "runs", "number"],
)
def test_a_report_asks_for_nothing_and_runs_nothing_else(page: str) -> None:
    """No element names a source, no attribute holds code or style, and the policy allows exactly what stands there."""
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


def test_a_plan_shows_changes_and_refusals() -> None:
    """Each number has its change, cause, note and owner; each account its share; each refusal the option for it."""
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
    assert read.line("12925149")[2] == "13 → 13 16 % deactivated"
    assert 'href="#what=blocked"' in page
    assert "a1b2" * 16 in read.visible


def test_a_quiet_account_is_a_name() -> None:
    """Accounts that are as desired are named, and have no rows."""
    quiet = AccountPlan(account="quiet-one", counts=tally(Action, {Action.UNCHANGED: 3}))
    page = report.plan(planned(quiet), drift=True)
    read = ParsedReport(page)
    assert "1 account is as desired" in read.visible
    assert "quiet-one" in read.visible
    assert read.rows == []
    assert "<title>Drift" in page
    assert 'data-tone="good"' in page


def test_a_plan_of_changes_alone_is_no_warning() -> None:
    """Changes alone are no warning, what needs attention is one; a plan of another time names it."""
    writes = AccountPlan(account="main", counts=tally(Action, {Action.ACTIVATE: 1}), changes=(change_at(0),))
    assert 'class="notice verdict" data-tone="info"' in report.plan(planned(writes))
    blocked = AccountPlan(account="main", counts=tally(Action, {Action.BLOCKED: 1}), changes=(change_at(2),))
    page = report.plan(planned(blocked, at="2026-12-01T00:00:00.000Z"))
    assert 'class="notice verdict" data-tone="warn"' in page
    assert "This is the plan for" in page
    assert 'datetime="2026-12-01T00:00:00.000Z"' in page


def test_many_reasons_share_an_item() -> None:
    """Numbers that are blocked for many reasons are one task, which says so."""
    many = tuple(replace(change_at(2), phone=f"010{place:08d}", reason=f"reason {place}") for place in range(40))
    page = report.plan(planned(AccountPlan(account="main", counts=tally(Action, {Action.BLOCKED: 40}), changes=many)))
    assert "reason 0 There are 39 other reasons: see below." in page
    assert "40 blocked:" in page


def test_notices_are_shown_once() -> None:
    """What the status of a blocked number says already is no notice; of the others the alike stand together."""
    notices = (
        Notice(NoticeKind.PENDING, "it waits", change_at(2).phone),
        Notice(NoticeKind.EXPIRING, "it ends on 2026-12-24", PHONE),
        Notice(NoticeKind.LIMIT, "the account is nearly full", None),
    )
    counts = tally(Action, {Action.BLOCKED: 1})
    page = report.plan(planned(AccountPlan(account="main", counts=counts, changes=(change_at(2),), notices=notices)))
    assert "it waits" not in page
    assert "it ends on 2026-12-24" in page
    assert "the account is nearly full" in page
    many = notice_items(("main", Notice(NoticeKind.LIMIT, f"text {place}", None)) for place in range(103))
    items = list(capped(many))
    assert len(items) == 101
    assert items[-1].text == "3 more: --format json"


def test_more_rows_than_a_browser_opens_are_counted() -> None:
    """A table that is too long keeps rows that need attention, and counts what it leaves out."""
    sampled = table("numbers", "Numbers", (), _rows(12), limit=5)
    assert [row.needs_attention for row in sampled.rows] == [True, True, True, False, False]
    assert sampled.omitted == (
        "7 more rows are not in this file (3 deactivate, 3 protected, 1 activate). "
        "All of them: --format json. One account in full: --account NAME."
    )


def _rows(number: int) -> tuple[TableRow, ...]:
    return numbers_table(plan_view(fleet_plan(1, number)).accounts, is_plan=True).rows


def test_a_share_is_never_rounded_to_nothing() -> None:
    """One number of a thousand is one percent that goes; of nothing nothing goes."""
    assert (Share(1000, 0, 1).percent, Share(1000, 0, 1).after) == (1, 999)
    assert (Share(0, 2, 0).percent, Share(0, 2, 0).after) == (0, 2)
    page = report.plan(planned(AccountPlan(account="a", counts=tally(Action, {}), changes=(change_at(2),), active=0)))
    assert "% deactivated" not in page


def test_an_item_links_to_its_rows() -> None:
    """The link of an item about numbers filters the table by their word; other items have none."""
    numbers = account(ended(Outcome.NOT_ATTEMPTED, DOWN), error=ErrorInfo("CircuitOpen", "down"))
    page = report.result(done(numbers))
    assert page.count('class="live"') == 1
    assert 'href="#what=not%20attempted"' in page


def test_a_result_shows_outcomes_and_advice() -> None:
    """The gravest account comes first, each outcome has its advice, and the drawing is a command away."""
    numbers = (ended(Outcome.CHANGED), ended(Outcome.FAILED, DOWN, "0211"), ended(Outcome.BLOCKED, None, "0212"))
    failed = account(*numbers, requests=Requests(2, 3, 1), error=ErrorInfo("CircuitOpen", "the API stays down"))
    page = report.result(
        done(
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


def test_errors_of_accounts_are_not_repeated_for_numbers() -> None:
    """Numbers with their account's own error are in the table, and no task of their own."""
    error = NumberError("CircuitOpen", "the API stays down")
    page = report.result(done(account(ended(Outcome.NOT_ATTEMPTED, error), error=ErrorInfo(error.code, error.message))))
    assert "1 not attempted:" not in page
    assert "Nothing was sent" not in page
    assert "senderid history" not in page


def test_a_run_draws_its_writes_against_the_quota() -> None:
    """The chart says in words what it shows; retries, refusals and the pause are drawn; the same stands in a table."""
    read = ParsedReport(report.run(throttled_run()))
    summary = "64 writes; at most 31 in any 5 s; the quota is 45; 2 retries; 2 refused by the vendor's quota; 1 pause."
    (drawing,) = [each for each in read.named("svg") if each.get("role") == "img"]
    assert drawing["aria-label"] == summary
    assert summary in read.visible
    classes = [each.get("class") for name, each in read.elements if name in {"line", "rect"}]
    assert {"limit", "again", "refused", "band"} <= set(classes)
    assert "waited 9.1 s: the API reported that the quota was used up" in read.visible
    spans = [row for row in read.rows if row and row[0].startswith("09:00:")]
    assert sum(int(row[1]) for row in spans) == 64
    assert "2. ACTIVE: verified" in read.visible
    assert "rate_limit.writes" in read.visible


def test_a_run_names_the_plan_file_that_it_carried_out() -> None:
    """Among its facts, by the file's id; a run without one has no such fact."""
    page = report.run(run_record(plan="5f1c"))
    assert "Plan file" in page
    assert "5f1c" in page
    assert "Plan file" not in report.run(run_record())


def test_run_without_a_quota_or_writes_draws_the_rest() -> None:
    """Without settings there is no limit to draw, without attempts no chart; an unfinished run says what to expect."""
    bare = run_record(account_record(number_record()), settings=None)
    assert "at most 1 in any 5 s." in report.run(bare)
    assert 'class="limit"' not in report.run(bare)
    open_ = account_record(
        number_record(outcome=None, after=None, attempts=()),
        outcome=Ending.UNFINISHED,
        counts={"activate": 1},
        finished_at=None,
    )
    page = report.run(run_record(open_, outcome=Ending.UNFINISHED, finished_at=None, counts={"activate": 1}))
    assert "It is still running or it crashed" in page
    assert "<figure" not in page
    assert "… unfinished" in " ".join(ParsedReport(page).visible.split())


def test_a_pause_without_a_refusal() -> None:
    """A pause without a refusal before it is shown as a plain pause."""
    later = attempt(intended_at="2026-11-24T09:01:12.120Z")
    page = report.run(run_record(account_record(number_record(), number_record("0211", attempts=(later,)))))
    assert "no responses for 60.0 s" in page
    assert "waited" not in page


def test_each_api_key_has_a_chart_of_its_own() -> None:
    """Quotas are of API keys: the busiest are drawn, the others are counted."""
    accounts = [
        account_record(
            number_record(attempts=(attempt(answered_at="2026-11-24T09:00:13.000Z"),) * (place + 1)),
            account=f"a{place}",
            credentials=CredentialsRef(SecretRef(env=f"KEY_{place}"), SecretRef(env=f"SECRET_{place}")),
            error=ErrorInfo("CircuitOpen", "down") if place == 0 else None,
            outcome=Ending.FAILED if place == 0 else Ending.CONVERGED,
        )
        for place in range(7)
    ]
    page = report.run(run_record(*accounts))
    assert page.count("<figure") == 5
    assert "2 more API keys without a chart had 3 writes." in page
    assert "Stopped:</strong> CircuitOpen: down." in page


def test_runs_and_a_number_are_tables() -> None:
    """Each run has its row with its id; a number's history has one for each run; a list that is cut says so."""
    many = tuple(account_record(account=f"a{place}") for place in range(7))
    page = report.runs(history(run_record(*many), run_record(outcome=Ending.UNFINISHED, finished_at=None), total=9))
    read = ParsedReport(page)
    assert "2 of 9 runs. All of them: --limit 0" in read.visible
    assert "+2" in read.line("20261124T090012Z-a1b2c3")[5]
    assert "2 runs." in ParsedReport(report.runs(history(run_record(), run_record()))).visible
    page = report.number(PHONE, history(run_record(account_record(number_record()), account_record(numbers=None))))
    assert "1 run with this number." in page
    assert ParsedReport(page).line("20261124T090012Z-a1b2c3")[2:4] == ["main 12925149", "+ changed"]
    assert ParsedReport(report.runs(history())).rows == []


def test_hostile_texts_are_text() -> None:
    """Markup in every foreign field adds no element to a report, and what turns a text around is shown as harmless."""
    plain, hostile = ParsedReport(report.plan(fleet_plan(3, 8))), ParsedReport(report.plan(fleet_plan(3, 8, HOSTILE)))
    assert {name for name, _ in hostile.elements} == {name for name, _ in plain.elements}
    assert len(hostile.scripts) == len(plain.scripts)
    assert "<script>alert(1)</script><img src=x onerror=alert(2)>" in hostile.visible
    assert "49" not in hostile.line("alert(1)")
    assert not [char for char in "\u202e\x1b\x00" if char in hostile.visible]
