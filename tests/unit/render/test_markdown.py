"""Plans, results and runs as Markdown comments: the order, the folding, and the shortening of long comments."""

import re
from collections import Counter

import pytest
from msgspec import structs

from tests.support.snapshots import snapshot
from worker.model.errors import ErrorInfo, NumberError, Refusal
from worker.model.history import AccountRecord, Attempt, AttemptState, Ending, NumberRecord, RunRecord
from worker.model.plans import AccountPlan, Action, Cause, Change, Notice, NoticeKind, Plan, Verdict, tally
from worker.model.results import AccountResult, NumberResult, Outcome, Requests, Result, RunOutcome
from worker.model.safety import Safety
from worker.render import markdown

NOW = "2026-11-25T00:00:00Z"
REFUSED = Refusal("max-deactivations", "3 of 4 ACTIVE numbers would be deactivated. To allow it, add --allow x")


def change(number: int, action: Action = Action.ACTIVATE, **fields: str | Cause | None) -> Change:
    """Return a change of one number."""
    observed = "INACTIVE" if action is Action.ACTIVATE else "ACTIVE"
    base = Change(f"010{number:08d}", action, observed, "ACTIVE" if action is Action.ACTIVATE else "INACTIVE", "listed")
    return structs.replace(base, **fields)


def account(name: str, *changes: Change, unchanged: int = 1, refused: bool = False, **fields: object) -> AccountPlan:
    """Return the plan of an account."""
    counts = tally(Action, Counter(change.action for change in changes))
    counts[Action.UNCHANGED] = unchanged
    account_plan = AccountPlan(account=name, account_id="12925149", counts=counts, changes=changes)
    if refused:
        account_plan = structs.replace(account_plan, verdict=Verdict.REFUSED, refusals=(REFUSED,))
    return structs.replace(account_plan, **fields)


def plan(*accounts: AccountPlan) -> str:
    """Return a plan as Markdown."""
    return markdown.plan(Plan(created_at=NOW, fingerprint="f", accounts=accounts))


def test_small_plan_is_shown_in_full() -> None:
    """Counts and verdict come first, then refusals with their options, then each number."""
    comment = plan(
        account(
            "main",
            change(1, note="본사", owner="@everyone", cause=Cause.EXTERNAL_DRIFT, since="2026-11-24T08:12:00Z"),
            change(2, Action.DEACTIVATE, cause=Cause.CONFIG_CHANGE, until="2026-12-01T00:00:00Z"),
            change(3, Action.BLOCKED, observed="PENDING", desired="ACTIVE", reason="wait for the vendor"),
            notices=(
                Notice(NoticeKind.EXPIRING, "it ends soon", "01000000001"),
                Notice(NoticeKind.BLOCKED, "said already", "01000000003"),
                Notice(NoticeKind.LIMIT, "nearly full"),
            ),
        ),
        account("branch", change(9, Action.DEACTIVATE), refused=True),
        account("calm"),
        AccountPlan(account="lost", verdict=Verdict.ERROR, error=ErrorInfo("Code", "no key"), counts={}),
    )
    assert comment == snapshot("markdown_small_plan.md", comment)


def test_plan_without_changes_is_one_line() -> None:
    assert plan(account("main")) == "### No changes. 1 number is as desired.\n"


def test_many_accounts_are_folded_below_attention_items() -> None:
    """Attention items of all accounts are listed first and not folded. The accounts are folded together, and each."""
    accounts = [account(f"a{index}", change(index, Action.MISSING, reason="register it")) for index in range(40)]
    comment = plan(*accounts)
    assert "- **40 missing** (`a0`, `a1`, `a2`, `a3`, `a4` and 35 more): register it\n" in comment
    assert comment.index("register it") < comment.index("<details>")
    assert comment.count("<details><summary><code>a") == 40
    assert comment.count("</details>") == 41
    assert "<details><summary><b>Changes by account</b>: 40 numbers, 40 accounts</summary>" in comment
    assert "| `a9` | 0 | 0 | 1 |\n| 30 more accounts | 0 | 0 | 30 |\n" in comment


def test_accounts_that_are_summed_up_hide_nothing() -> None:
    """The sum of the last accounts has their numbers that need attention, and their verdicts."""
    missing = [change(1, Action.MISSING, reason="register it")]
    refused = [account(f"a{index:02d}", change(index, Action.ACTIVATE), refused=True) for index in range(13)]
    assert "| 3 more accounts | 3 | 0 | refused |\n" in plan(*refused)
    others = [account(f"b{index}", *missing, change(index + 2, Action.ACTIVATE)) for index in range(2)]
    assert "| 5 more accounts | 5 | 0 | 2; refused: 3 accounts |\n" in plan(*refused, *others)


@pytest.mark.parametrize("spread", [1, 6, 30])
def test_thirty_changes_of_two_thousand_accounts_are_summed_up(spread: int) -> None:
    """What is not folded is short, whether the changes are in one account or in many."""
    changes = [change(index, Action.HELD if index % 10 == 0 else Action.ACTIVATE) for index in range(30)]
    changed = [account(f"shop-{index:04d}", *changes[index::spread]) for index in range(spread)]
    comment = plan(*changed, *(account(f"calm-{index:04d}") for index in range(2_000 - spread)))
    assert len(comment) < 65_536
    unfolded = re.sub(r"(?s)<details><summary>(.*?)</summary>.*?(?=\n\n<details><summary>|\Z)", r"\1", comment)
    assert len(list(filter(None, unfolded.splitlines()))) < 22
    assert comment.startswith("### Blocked: 3 numbers need attention.\n")
    assert comment.count("| `010-") == 30


def test_accounts_with_equal_changes_are_merged() -> None:
    """A change that many accounts share is shown once, with the count of accounts."""
    comment = plan(
        *(account(f"shop{index}", change(7, Action.DEACTIVATE)) for index in range(412)), account("b", change(8))
    )
    assert comment.count("010-0000-0007") == 1
    assert (
        "#### Same in 412 accounts: `shop0`, `shop1`, `shop2`, `shop3`, `shop4` and 407 more: 1 to deactivate"
        in comment
    )
    assert "`010-0000-0008`" in comment


def test_long_table_of_a_small_plan_is_folded() -> None:
    comment = plan(account("main", *map(change, range(25))))
    assert (
        "<details><summary><code>main</code> (<code>12925149</code>): 25 to activate</summary>\n\n| Action | Number"
        in comment
    )
    assert comment.count("| `010-") == 25


@pytest.mark.parametrize(("numbers", "expected_rows"), [(500, 500), (3000, 500)])
def test_table_over_the_size_limit_is_a_sample(numbers: int, expected_rows: int) -> None:
    """Tables are shortened by whole rows, and the range of omitted numbers is shown."""
    comment = plan(account("main", *map(change, range(numbers))))
    assert comment.count("| `010-") == expected_rows
    if numbers > expected_rows:
        assert f"and {numbers - expected_rows:,} more, from `010-0000-0500` to `010-0000-2999`" in comment
        assert f"{numbers - expected_rows:,} numbers are left out of the tables." in comment
        assert "--format json" in comment


def test_one_omitted_number_is_singular() -> None:
    character = "\U0001d41a"  # four bytes, one column: 101 such rows do not fit, and 100 do
    comment = plan(account("main", *(change(index, note=character * 72, owner=character * 71) for index in range(101))))
    assert "and 1 more, from `010-0000-0100` to `010-0000-0100`" in comment
    assert "1 number is left out of the tables." in comment


def test_accounts_over_the_size_limit_are_one_line_each() -> None:
    """If the tables of all accounts do not fit, accounts with the same counts share a line."""
    comment = plan(
        *(
            account(f"a{index}", *(change(index * 10 + offset) for offset in range(1 + index % 3)))
            for index in range(900)
        )
    )
    assert "<details>" not in comment
    assert "| to activate | 1,800 | 900 |" in comment
    assert "- 300 accounts (`a2`, `a5`, `a8`, `a11`, `a14` and 295 more): 3 to activate" in comment
    assert "1,800 numbers are not listed here." in comment


def test_omitted_numbers_of_merged_accounts_are_all_counted() -> None:
    """Two accounts with equal changes are one section. Its line counts the numbers of both."""
    pairs = [[account(f"{name}{index}", change(index, note="가" * 40)) for name in "ab"] for index in range(900)]
    comment = plan(*(change for pair in pairs for change in pair))
    assert "| to activate | 1,800 | 1,800 |" in comment
    assert "1,800 numbers are not listed here." in comment


def test_account_lines_over_the_size_limit_are_counted() -> None:
    """The most severe lines are shown and the others counted. The comment stays within its limit."""
    accounts = [
        structs.replace(account(f"{'가' * 30}{index}", change(index, note="n")), counts={Action.ACTIVATE: index + 1})
        for index in range(5000)
    ]
    comment = plan(*accounts)
    assert len(comment.encode()) <= markdown.CAP
    assert "- and 4,980 more like these\n" in comment
    assert "5,000 numbers are not listed here." in comment


def test_long_lists_are_limited_by_lines_and_size() -> None:
    """The first refusals, errors and notices are shown, with the count of the others."""
    failing = [
        AccountPlan(account=f"a{index}", verdict=Verdict.ERROR, error=ErrorInfo("Code", f"why {index}"), counts={})
        for index in range(30)
    ]
    long_notices = [Notice(NoticeKind.LIMIT, "→" * 420 + str(index)) for index in range(21)]
    assert "- and 10 more like these\n" in plan(*failing, account("b"))
    assert re.search(r"- and \d+ more like these\n", plan(account("b", notices=tuple(long_notices))))
    assert " more like these" not in plan(*failing[:21], account("b"))
    expiring = tuple(Notice(NoticeKind.EXPIRING, "soon", f"010{index:08d}") for index in range(12))
    assert "`010-0000-0009` and 2 more: soon\n" in plan(account("b", notices=expiring))


def test_accounts_with_the_same_error_are_grouped() -> None:
    failed = [
        AccountPlan(account=f"a{index}", verdict=Verdict.ERROR, error=ErrorInfo("Code", "why"), counts={})
        for index in range(3)
    ]
    assert "- 3 accounts: `a0`, `a1`, `a2`: Code: why\n" in plan(*failed)


def result(*accounts: AccountResult, remark: str = "") -> str:
    """Return a result as Markdown."""
    return markdown.result(
        Result(run_id="r", started_at=NOW, finished_at=NOW, outcome=RunOutcome.PARTIAL, accounts=accounts), remark
    )


def account_result(name: str, outcome: RunOutcome, *numbers: NumberResult, **fields: object) -> AccountResult:
    """Return the result of an account."""
    counts = tally(Outcome, Counter(item.outcome for item in numbers))
    base = AccountResult(account=name, outcome=outcome, counts=counts, requests=Requests(1, 1, 0), numbers=numbers)
    return structs.replace(base, **fields)


def number(index: int, outcome: Outcome, error: NumberError | None = None) -> NumberResult:
    """Return the result of a number."""
    after = "ACTIVE" if outcome is Outcome.CHANGED else "INACTIVE"
    return NumberResult(f"010{index:08d}", Action.ACTIVATE, "ACTIVE", "INACTIVE", after, outcome, 1, error)


def test_result_shows_failures_first() -> None:
    """Failures and their advice come first, then changes, then notices."""
    comment = result(
        account_result("fine", RunOutcome.CONVERGED, number(1, Outcome.CHANGED)),
        account_result(
            "bad",
            RunOutcome.PARTIAL,
            number(2, Outcome.CHANGED),
            number(3, Outcome.FAILED, NumberError("Code", "no", 400)),
            number(4, Outcome.BLOCKED, NumberError("Blocked", "ask them")),
            notices=(Notice(NoticeKind.BLOCKED, "said already", "01000000004"),),
        ),
        account_result("refused", RunOutcome.REFUSED, refusals=(REFUSED,), error=ErrorInfo("PolicyRefusal", "no")),
        account_result("held", RunOutcome.LOCKED, error=ErrorInfo("AccountBusy", "another run has it")),
        account_result("quiet", RunOutcome.CONVERGED),
        remark="\nThe desired state\nstill asks.\n",
    )
    assert comment == snapshot("markdown_result.md", comment)


def test_large_result_lists_failures_above_folded_accounts() -> None:
    error = NumberError("Code", "no", 400)
    comment = result(
        *(
            account_result(
                f"a{index}",
                RunOutcome.PARTIAL,
                number(index, Outcome.FAILED, error),
                number(100 + index, Outcome.CHANGED),
            )
            for index in range(20)
        )
    )
    assert (
        "- **20 failed** (`a0`, `a1`, `a2`, `a3`, `a4` and 15 more): Code (400): no. The status is unchanged" in comment
    )
    assert comment.count("<details>") == 21


def test_run_shows_attempts() -> None:
    """A run has its user, its files and the attempts of each number. An unfinished run is marked."""
    attempt = Attempt(1, "ACTIVE", AttemptState.OK, NOW)
    account = AccountRecord(
        account="main",
        account_id="12925149",
        outcome=Ending.UNFINISHED,
        started_at=NOW,
        finished_at=None,
        endpoint="solapi",
        safety=Safety(),
        source="d.yaml",
        fingerprint="f" * 64,
        counts={"activate": 1, "failed": 1, "held": 0},
        settled=False,
        numbers=(
            NumberRecord(
                phone="01000000001",
                action=Action.ACTIVATE,
                desired="ACTIVE",
                before="INACTIVE",
                after="INACTIVE",
                outcome=Outcome.FAILED,
                error=NumberError("Code", "no", 400),
                attempts=(attempt, attempt),
            ),
            NumberRecord(
                phone="01000000002", action=Action.ACTIVATE, desired="ACTIVE", before="INACTIVE", attempts=(attempt,)
            ),
        ),
    )
    record = RunRecord(
        run_id="20261125T000000Z-abcdef",
        command="apply",
        outcome=Ending.UNFINISHED,
        started_at=NOW,
        started_by="me",
        host="here",
        pid=1,
        version="0",
        counts={"activate": 1, "failed": 1, "held": 0},
        accounts=(account,),
    )
    comment = markdown.run(record)
    assert comment.startswith("### Run `20261125T000000Z-abcdef`: unfinished\n\n**The run is in progress or it crashed")
    assert "#### `main` (`12925149`): unfinished, 1 to activate, 1 failed\n" in comment
    assert "\n`from d.yaml`\n" in comment
    assert "| x\u00a0failed | `010-0000-0001` | INACTIVE, not ACTIVE | Code (400): no | 1: ok, 1: ok |" in comment
    assert "| …\u00a0unfinished | `010-0000-0002` |" in comment
    assert comment.endswith("`apply by me@here, 2026-11-25 00:00:00 UTC, senderid 0`\n")
    failed_run = structs.replace(
        record, outcome=Ending.FAILED, accounts=(structs.replace(account, numbers=None, error=ErrorInfo("Code", "no")),)
    )
    assert "- `main`: Code: no\n" in markdown.run(failed_run)
    large_run = structs.replace(
        record,
        accounts=tuple(
            structs.replace(account, account=f"a{index}", source=f"{index}.yaml", numbers=(account.numbers or ()) * 20)
            for index in range(60)
        ),
    )
    assert "| to activate | 1 | 60 |" in markdown.run(large_run)
    assert "| --- |" not in markdown.run(structs.replace(large_run, counts={}))


def _change(action: Action, phone: str) -> Change:
    observed, desired = ("INACTIVE", "ACTIVE") if action is Action.ACTIVATE else ("ACTIVE", "INACTIVE")
    return Change(phone, action, observed, desired, "why")


@pytest.mark.parametrize(
    ("accounts", "verdict"),
    [
        ([("a", Verdict.OK, [Action.ACTIVATE])], "Safe to merge."),
        ([("a", Verdict.OK, [Action.HELD])], "Blocked: 1 number needs attention."),
        ([("a", Verdict.OK, [Action.HELD, Action.HELD])], "Blocked: 2 numbers need attention."),
        (
            [("a", Verdict.REFUSED, [Action.DEACTIVATE]), ("b", Verdict.OK, [Action.ACTIVATE])],
            "Blocked: 1 account cannot be applied.",
        ),
    ],
)
def test_plan_starts_with_its_verdict(accounts: list[tuple[str, Verdict, list[Action]]], verdict: str) -> None:
    """Several accounts are summed up in a table."""
    plans = tuple(
        AccountPlan(
            account=name,
            verdict=of,
            refusals=(Refusal("min-active", "few"),) if of is Verdict.REFUSED else (),
            counts=Counter(actions),
            changes=tuple(_change(action, f"0100000000{index}") for index, action in enumerate(actions)),
        )
        for name, of, actions in accounts
    )
    text = markdown.plan(Plan(created_at="2026-11-24T00:00:00Z", at=None, fingerprint="f", accounts=plans))
    assert text.splitlines()[0] == f"### {verdict}"
    assert ("| Account | + | - | Needs attention |" in text) is (len(accounts) > 1)
    assert ("| `a` | 0 | 1 | refused |" in text) is (len(accounts) > 1)
