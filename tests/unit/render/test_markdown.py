"""Plans, results and runs as comments: what comes first, what is folded, and what is left out where it is much."""

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


def change(number: int, action: Action = Action.ACTIVATE, **more: str | Cause | None) -> Change:
    """A change of one number."""
    observed = "INACTIVE" if action is Action.ACTIVATE else "ACTIVE"
    made = Change(f"010{number:08d}", action, observed, "ACTIVE" if action is Action.ACTIVATE else "INACTIVE", "listed")
    return structs.replace(made, **more)


def account(name: str, *changes: Change, unchanged: int = 1, refused: bool = False, **more: object) -> AccountPlan:
    """The plan of an account."""
    counts = tally(Action, Counter(each.action for each in changes))
    counts[Action.UNCHANGED] = unchanged
    made = AccountPlan(account=name, account_id="12925149", counts=counts, changes=changes)
    if refused:
        made = structs.replace(made, verdict=Verdict.REFUSED, refusals=(REFUSED,))
    return structs.replace(made, **more)


def plan(*accounts: AccountPlan) -> str:
    """A plan of accounts as Markdown."""
    return markdown.plan(Plan(created_at=NOW, fingerprint="f", accounts=accounts))


def test_a_small_plan_is_shown_in_full() -> None:
    """Counts and verdict come first, then what is refused and by which option it passes, then every number."""
    shown = plan(
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
    assert shown == snapshot("markdown_small_plan.md", shown)


def test_a_plan_without_changes_is_a_line() -> None:
    """Where there is nothing to do that is all that is said."""
    assert plan(account("main")) == "### No changes. 1 number is as desired.\n"


def test_many_accounts_are_folded_and_what_they_need_is_not() -> None:
    """Beyond some rows accounts are folded; attention items stand above, for all of them together."""
    waiting = [account(f"a{index}", change(index, Action.MISSING, reason="register it")) for index in range(40)]
    shown = plan(*waiting)
    assert "- **40 missing** (`a0`, `a1`, `a2`, `a3`, `a4` and 35 more): register it\n" in shown
    assert shown.index("register it") < shown.index("<details>")
    assert shown.count("<details><summary><code>a") == 40
    assert shown.count("</details>") == 40


def test_accounts_with_the_same_changes_share_them() -> None:
    """The same change in many accounts is shown once, with their number."""
    shown = plan(
        *(account(f"shop{index}", change(7, Action.DEACTIVATE)) for index in range(412)), account("b", change(8))
    )
    assert shown.count("010-0000-0007") == 1
    assert (
        "#### Same in 412 accounts: `shop0`, `shop1`, `shop2`, `shop3`, `shop4` and 407 more: 1 to deactivate" in shown
    )
    assert "`010-0000-0008`" in shown


def test_a_long_table_of_a_small_plan_is_folded() -> None:
    """A table of more rows than are read at a glance is folded below its count."""
    shown = plan(account("main", *map(change, range(25))))
    assert "<details><summary><b>25 to activate</b></summary>\n\nlisted\n\n| Number" in shown
    assert shown.count("| `010-") == 25


@pytest.mark.parametrize(("numbers", "shown"), [(500, 500), (3000, 500)])
def test_a_table_that_does_not_fit_is_a_sample(numbers: int, shown: int) -> None:
    """Tables are shortened to what fits, never cut, and say which numbers they leave out."""
    text = plan(account("main", *map(change, range(numbers))))
    assert text.count("| `010-") == shown
    if numbers > shown:
        assert f"and {numbers - shown:,} more, from `010-0000-0500` to `010-0000-2999`" in text
        assert f"{numbers - shown:,} numbers are left out of the tables." in text
        assert "--format json" in text


def test_one_number_left_out_is_singular() -> None:
    """A single number that is left out is in the singular."""
    wide = "\U0001d41a"  # four bytes, one column: 101 such rows do not fit, and 100 do
    shown = plan(account("main", *(change(index, note=wide * 78, owner=wide * 71) for index in range(101))))
    assert "and 1 more, from `010-0000-0100` to `010-0000-0100`" in shown
    assert "1 number is left out of the tables." in shown


def test_accounts_that_do_not_fit_are_a_line_each() -> None:
    """Where tables of all accounts do not fit, each account is a line, and alike ones share it."""
    shown = plan(
        *(account(f"a{index}", *(change(index * 10 + more) for more in range(1 + index % 3))) for index in range(900))
    )
    assert "<details>" not in shown
    assert "| to activate | 1,800 | 900 |" in shown
    assert "- 300 accounts (`a2`, `a5`, `a8`, `a11`, `a14` and 295 more): 3 to activate" in shown
    assert "1,800 numbers are only counted here." in shown


def test_kinds_of_accounts_that_do_not_fit_are_counted() -> None:
    """Where even a line a kind does not fit, the worst are shown and the rest counted; the page still fits."""
    huge = [
        structs.replace(account(f"{'가' * 30}{index}", change(index, note="n")), counts={Action.ACTIVATE: index + 1})
        for index in range(5000)
    ]
    shown = plan(*huge)
    assert len(shown.encode()) <= markdown.CAP
    assert "- and 4,980 more like these\n" in shown
    assert "5,000 numbers are only counted here." in shown


def test_long_lists_are_cut_by_lines_and_by_size() -> None:
    """Of many refusals, errors and notices the first are shown, and how many more there are."""
    failing = [
        AccountPlan(account=f"a{index}", verdict=Verdict.ERROR, error=ErrorInfo("Code", f"why {index}"), counts={})
        for index in range(30)
    ]
    wide = [Notice(NoticeKind.LIMIT, "→" * 420 + str(index)) for index in range(21)]
    assert "- and 10 more like these\n" in plan(*failing, account("b"))
    assert re.search(r"- and \d+ more like these\n", plan(account("b", notices=tuple(wide))))
    assert " more like these" not in plan(*failing[:21], account("b"))
    many = tuple(Notice(NoticeKind.EXPIRING, "soon", f"010{index:08d}") for index in range(12))
    assert "`010-0000-0009` and 2 more: soon\n" in plan(account("b", notices=many))


def test_several_accounts_share_an_error() -> None:
    """Accounts with the same error are counted and named."""
    lost = [
        AccountPlan(account=f"a{index}", verdict=Verdict.ERROR, error=ErrorInfo("Code", "why"), counts={})
        for index in range(3)
    ]
    assert "- 3 accounts: `a0`, `a1`, `a2`: Code: why\n" in plan(*lost)


def result(*accounts: AccountResult, remark: str = "") -> str:
    """A result of accounts as Markdown."""
    return markdown.result(
        Result(run_id="r", started_at=NOW, finished_at=NOW, outcome=RunOutcome.PARTIAL, accounts=accounts), remark
    )


def done(name: str, outcome: RunOutcome, *numbers: NumberResult, **more: object) -> AccountResult:
    """The result of an account."""
    counts = tally(Outcome, Counter(each.outcome for each in numbers))
    made = AccountResult(account=name, outcome=outcome, counts=counts, requests=Requests(1, 1, 0), numbers=numbers)
    return structs.replace(made, **more)


def number(index: int, outcome: Outcome, error: NumberError | None = None) -> NumberResult:
    """What became of a number."""
    after = "ACTIVE" if outcome is Outcome.CHANGED else "INACTIVE"
    return NumberResult(f"010{index:08d}", Action.ACTIVATE, "ACTIVE", "INACTIVE", after, outcome, 1, error)


def test_a_result_shows_failures_first() -> None:
    """What went wrong comes first, with what to do, then what was changed, then remarks."""
    shown = result(
        done("fine", RunOutcome.CONVERGED, number(1, Outcome.CHANGED)),
        done(
            "bad",
            RunOutcome.PARTIAL,
            number(2, Outcome.CHANGED),
            number(3, Outcome.FAILED, NumberError("Code", "no", 400)),
            number(4, Outcome.BLOCKED, NumberError("Blocked", "ask them")),
            notices=(Notice(NoticeKind.BLOCKED, "said already", "01000000004"),),
        ),
        done("refused", RunOutcome.REFUSED, refusals=(REFUSED,), error=ErrorInfo("PolicyRefusal", "no")),
        done("held", RunOutcome.LOCKED, error=ErrorInfo("AccountBusy", "another run has it")),
        done("quiet", RunOutcome.CONVERGED),
        remark="\nThe desired state\nstill asks.\n",
    )
    assert shown == snapshot("markdown_result.md", shown)


def test_a_large_result_says_what_to_do_above_what_is_folded() -> None:
    """Where accounts are folded, failures are listed above them once."""
    error = NumberError("Code", "no", 400)
    shown = result(
        *(
            done(
                f"a{index}",
                RunOutcome.PARTIAL,
                number(index, Outcome.FAILED, error),
                number(100 + index, Outcome.CHANGED),
            )
            for index in range(20)
        )
    )
    assert (
        "- **20 failed** (`a0`, `a1`, `a2`, `a3`, `a4` and 15 more): Code (400): no. Its status is unchanged" in shown
    )
    assert shown.count("<details>") == 20


def test_a_run_shows_its_attempts() -> None:
    """A run shows who started it, its files and each number with its attempts; an unfinished one says so."""
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
    shown = markdown.run(record)
    assert shown.startswith("### Run `20261125T000000Z-abcdef`: unfinished\n\n**It is still running or it crashed")
    assert "#### `main` (`12925149`): unfinished, 1 to activate, 1 failed\n" in shown
    assert "\n`from d.yaml`\n" in shown
    assert "| `010-0000-0001` | INACTIVE, not ACTIVE | 1: ok, 1: ok | Code (400): no |" in shown
    assert "**1 unfinished**" in shown
    assert shown.endswith("`apply by me@here, 2026-11-25 00:00:00 UTC, senderid 0`\n")
    ended = structs.replace(
        record, outcome=Ending.FAILED, accounts=(structs.replace(account, numbers=None, error=ErrorInfo("Code", "no")),)
    )
    assert "- `main`: Code: no\n" in markdown.run(ended)
    crowded = structs.replace(
        record,
        accounts=tuple(
            structs.replace(account, account=f"a{index}", source=f"{index}.yaml", numbers=(account.numbers or ()) * 20)
            for index in range(60)
        ),
    )
    assert "| to activate | 1 | 60 |" in markdown.run(crowded)
    assert "| --- |" not in markdown.run(structs.replace(crowded, counts={}))
