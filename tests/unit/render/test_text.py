"""Plans and results as text."""

import re
from collections import Counter
from collections.abc import Mapping
from textwrap import dedent

import pytest
from msgspec.structs import replace

from tests.support.snapshots import snapshot
from worker.model.accounts import Desired, DesiredAccount, Observed, ObservedAccount, Status, Unmanaged
from worker.model.errors import ErrorInfo, NumberError, PolicyRefusal, Refusal
from worker.model.plans import AccountPlan, Action, Cause, Change, Notice, NoticeKind, Plan, Verdict, tally
from worker.model.results import AccountResult, NumberResult, Outcome, Requests, Result, RunOutcome
from worker.model.safety import Safety
from worker.plan.build import count_actions
from worker.plan.diff import diff
from worker.plan.policy import adopt
from worker.plan.safety import guard
from worker.render import text
from worker.render.terminal import width

ON, OFF = Desired(Status.ACTIVE), Desired(Status.INACTIVE)
UP = Change("01012345678", Action.ACTIVATE, "INACTIVE", "ACTIVE", "listed as ACTIVE")
DOWN = Change("023124567", Action.DEACTIVATE, "ACTIVE", "INACTIVE", "listed as INACTIVE")
NO_KEY = ErrorInfo("AccountRejected", "the API key is unknown: check SOLAPI_API_KEY")
SENT = Requests(2, 1)
DOCTOR = "To check every account: senderid doctor -f PATH\n"
SERVER = NumberError("ServerError", "the server failed", 502)


def build_plan(
    name: str,
    desired_numbers: Mapping[str, Desired],
    statuses: Mapping[str, str],
    unmanaged: Unmanaged = Unmanaged.REPORT,
) -> AccountPlan:
    """Return the plan of an account as the worker builds it."""
    desired = DesiredAccount(
        name, f"{name}.yaml", dict(desired_numbers), [1] * len(desired_numbers), unmanaged=unmanaged
    )
    observed = ObservedAccount(
        "12925149", {phone: Observed(phone, Status(status)) for phone, status in statuses.items()}
    )
    numbers = adopt(desired, observed)
    changes = diff(numbers, observed.numbers)
    refusals = guard(changes, observed.active, Safety(), frozenset())
    return AccountPlan(
        account=name,
        account_id=observed.account_id,
        verdict=Verdict.REFUSED if refusals else Verdict.OK,
        refusals=refusals,
        counts=count_actions(changes, unchanged_count=len(numbers) - len(changes)),
        changes=changes,
    )


def plan_of(name: str, *changes: Change, unchanged: int = 0) -> AccountPlan:
    """Return the plan of an account with these changes."""
    action_counts = Counter(change.action for change in changes) | {Action.UNCHANGED: unchanged}
    return AccountPlan(account=name, account_id="12925149", counts=tally(Action, action_counts), changes=changes)


def unread(name: str, error: ErrorInfo = NO_KEY) -> AccountPlan:
    """Return the plan of an account that could not be read."""
    return AccountPlan(account=name, verdict=Verdict.ERROR, error=error, counts=tally(Action, {}))


def page(*accounts: AccountPlan, color: bool = False, width: int = 80, **options: bool) -> str:
    """Return a plan as text."""
    plan = Plan(created_at="2026-03-01T12:00:00.000Z", fingerprint="f" * 64, accounts=accounts)
    return text.plan(plan, color=color, width=width, **options)


def number(
    phone: str,
    outcome: Outcome,
    before: str | None = "ACTIVE",
    after: str | None = "ACTIVE",
    *,
    desired: str = "INACTIVE",
    action: Action | None = Action.DEACTIVATE,
    error: NumberError | None = None,
) -> NumberResult:
    """Return the result of a number, by default of one that should be deactivated."""
    return NumberResult(phone, action, desired, before, after, outcome, 1, error)


CHANGED = number("01012345678", Outcome.CHANGED, "INACTIVE", "ACTIVE", desired="ACTIVE", action=Action.ACTIVATE)


def account_result(
    name: str,
    outcome: RunOutcome,
    *numbers: NumberResult,
    unchanged: int = 0,
    error: PolicyRefusal | ErrorInfo | None = None,
    requests: Requests = SENT,
) -> AccountResult:
    """Return the result of an account."""
    outcome_counts = Counter(number.outcome for number in numbers) | {Outcome.UNCHANGED: unchanged}
    return AccountResult(
        account=name,
        account_id="12925149",
        outcome=outcome,
        error=error.info if isinstance(error, PolicyRefusal) else error,
        refusals=error.refusals if isinstance(error, PolicyRefusal) else (),
        counts=tally(Outcome, outcome_counts),
        requests=requests,
        numbers=numbers,
    )


def result_page(
    outcome: RunOutcome, *accounts: AccountResult, color: bool = False, width: int = 80, show_all: bool = False
) -> str:
    """Return a result as text."""
    result = Result(
        run_id="r",
        started_at="2026-03-01T12:00:00.000Z",
        finished_at="2026-03-01T12:00:03.400Z",
        outcome=outcome,
        accounts=accounts,
    )
    return text.result(result, color=color, width=width, show_all=show_all)


def golden(expected: str) -> str:
    r"""Return an expected page without the indentation of this file; `\e` stands for an escape character."""
    return dedent(expected).lstrip("\n").replace("\\e", "\x1b")


def plan_with_every_action() -> AccountPlan:
    """Return a plan with every action."""
    desired_numbers = {
        "01012345678": ON,
        "023124567": Desired(Status.INACTIVE, note="old head office", owner="facilities"),
        "15881234": Desired(Status.ACTIVE, note="고객센터", protected=True),
        "01022223333": ON,
        "01033334444": ON,
        "01044445555": ON,
        "01055556666": ON,
        "01077778888": ON,
    }
    statuses = {
        "01012345678": "INACTIVE",
        "023124567": "ACTIVE",
        "15881234": "INACTIVE",
        "01022223333": "ACTIVE",
        "01033334444": "PENDING",
        "01055556666": "EXPIRED",
        "01066667777": "ACTIVE",
        "01077778888": "ACTIVE",
    }
    return build_plan("main", desired_numbers, statuses)


def test_plan_with_every_action() -> None:
    """Changes come first, then attention items with advice. Unchanged numbers are counted."""
    output = page(plan_with_every_action())
    assert output == snapshot("plan_with_every_action.txt", output)


def test_plan_in_colour() -> None:
    """Colours surround words only, so that columns align as without colours."""
    deactivation = Change("023124567", Action.DEACTIVATE, "ACTIVE", "INACTIVE", "listed as INACTIVE", "old", "ops")
    output = page(plan_of("main", UP, deactivation, unchanged=3), color=True)
    assert output == snapshot("plan_in_colour.txt", output)


def test_colours_change_only_escape_codes() -> None:
    accounts = (plan_with_every_action(), many_refused(), unread("shop"))
    assert re.sub(r"\x1b\[\d+m", "", page(*accounts, color=True)) == page(*accounts)


def many_refused() -> AccountPlan:
    """Return a refused plan of 60 deactivations."""
    phones = [f"010{n:08}" for n in range(60)]
    return build_plan("big", dict.fromkeys(phones, OFF), dict.fromkeys(phones, "ACTIVE"))


def test_refused_plan_with_many_changes() -> None:
    """Many equal changes are a sample and a count. Each rule has its option on one line, and the verdict comes last."""
    output = page(many_refused())
    assert output == snapshot("refused_plan_with_many_changes.txt", output)


@pytest.mark.parametrize("columns", [*range(29, 100), 1000])
def test_option_is_on_one_line(columns: int) -> None:
    """The option can be copied if the page is wide enough."""
    lines = page(many_refused(), width=columns).splitlines()
    for option in ("--allow max-deactivations", "--allow min-active"):
        assert sum(option in line for line in lines) == 1


def test_refusal_without_an_option_gets_one() -> None:
    account = AccountPlan(
        account="main",
        verdict=Verdict.REFUSED,
        refusals=(Refusal("new-rule", "too much"),),
        counts=tally(Action, {Action.DEACTIVATE: 1}),
        changes=(DOWN,),
    )
    assert "  Refused by new-rule: too much To allow it: --allow new-rule\n" in page(account)


@pytest.mark.parametrize(("number", "sampled"), [(20, False), (21, True)])
def test_more_than_twenty_rows_are_sampled(number: int, *, sampled: bool) -> None:
    """Up to twenty rows of a kind are shown. From the twenty-first on, ten are shown and the others counted."""
    phones = [f"010{n:08}" for n in range(number)]
    output = page(build_plan("main", dict.fromkeys(phones, ON), dict.fromkeys(phones, "INACTIVE")))
    assert output.count(" activate    010") + output.count("+ activate  010") == (10 if sampled else number)
    assert ("and 11 more, from 010-0000-0010 to 010-0000-0020" in output) is sampled


def test_show_all_lists_every_number_account_and_notice() -> None:
    phones = [f"010{n:08}" for n in range(30)]
    account = replace(
        build_plan("main", dict.fromkeys(phones, ON), dict.fromkeys(phones, "INACTIVE")),
        notices=tuple(Notice(NoticeKind.EXPIRING, f"ends on day {phone}", phone) for phone in phones),
    )
    accounts = [replace(account, account=f"branch-{n}") for n in range(25)]
    short, full = page(*accounts), page(*accounts, show_all=True)
    assert "--show-all" in short
    assert "--show-all" not in full
    assert (short.count("(account "), full.count("(account ")) == (20, 25)
    assert full.count("+ activate") == full.count("ends on day") == 25 * 30


def test_show_all_of_a_result_lists_every_number() -> None:
    numbers = tuple(replace(CHANGED, phone=f"010{n:08}") for n in range(30))
    account = account_result("main", RunOutcome.CONVERGED, *numbers)
    assert result_page(RunOutcome.CONVERGED, account, show_all=True).count("✓ changed") == 30


def test_declined_run_is_cancelled() -> None:
    """A run that a rule refuses as well keeps its own word."""
    declined = account_result("a", RunOutcome.REFUSED, error=ErrorInfo("Declined", "Cancelled"))
    output = result_page(RunOutcome.REFUSED, declined)
    assert re.match(r"a( \(.*\))?: cancelled\n", output)
    assert "\nCancelled: " in output
    refused = replace(declined, account="b", error=ErrorInfo("PolicyRefusal", "too many"))
    output = result_page(RunOutcome.REFUSED, declined, refused)
    assert re.search(r"b( \(.*\))?: refused\n", output)
    assert "\nRefused: " in output


def test_time_at_the_prompt_is_not_that_of_the_run() -> None:
    document = Result(
        run_id="r",
        started_at="2026-11-30T12:00:00.000Z",
        finished_at="2026-11-30T12:00:12.400Z",
        outcome=RunOutcome.CONVERGED,
        prompt_ms=10_100,
        accounts=(),
    )
    assert text.result(document, color=False).endswith("0 requests in 2.3 s.\n")


def test_deactivations_are_grouped_by_reason() -> None:
    """Unlisted numbers are counted separately from numbers listed as INACTIVE."""
    statuses = {"023124567": "ACTIVE", "01099990001": "ACTIVE", "01012345678": "ACTIVE"}
    output = page(build_plan("main", {"023124567": OFF, "01012345678": ON}, statuses, Unmanaged.DEACTIVATE))
    assert output == snapshot("reasons_of_deactivations.txt", output)


@pytest.mark.parametrize(
    ("accounts", "closing"),
    [
        ([plan_of("main", unchanged=1)], "No changes. 1 number is as desired.\n"),
        ([plan_of("main", unchanged=1234)], "No changes. 1,234 numbers are as desired.\n"),
        ([plan_of("main")], "No changes. There are no numbers.\n"),
        ([], "No changes. There are no numbers.\n"),
    ],
)
def test_plan_without_changes_is_one_sentence(accounts: list[AccountPlan], closing: str) -> None:
    assert page(*accounts) == closing


def test_plan_without_writes_counts_numbers_that_cannot_converge() -> None:
    """The numbers that cannot converge come before those that are as desired."""
    missing = Change("0211", Action.MISSING, None, "ACTIVE", "not registered")
    unmanaged = Change("0222", Action.UNMANAGED, "ACTIVE", "ACTIVE", "not listed")
    output = page(plan_of("main", missing, unmanaged, unchanged=2))
    assert output.endswith("\nNo changes: 1 cannot converge, 1 not listed. 2 numbers are as desired.\n")


def test_account_without_id_shows_none() -> None:
    assert page(AccountPlan(account="main", counts=tally(Action, {}), changes=(UP,))).startswith("main\n  no numbers\n")


def test_unreadable_account_shows_its_error() -> None:
    """The page says that there is no plan."""
    assert page(unread("main")) == golden("""
        main
          AccountRejected: the API key is unknown: check SOLAPI_API_KEY

        No plan: the account could not be planned.
        To check every account: senderid doctor -f PATH
        """)


def test_accounts_are_ordered_by_urgency() -> None:
    """Refused accounts come first, then changes, then grouped errors, then accounts as desired."""
    refused = AccountPlan(
        account="shop",
        account_id="777",
        verdict=Verdict.REFUSED,
        refusals=guard([DOWN], 1, Safety(0), frozenset()),
        counts=tally(Action, {Action.DEACTIVATE: 1}),
        changes=(DOWN,),
    )
    unchanged_accounts = [plan_of(f"quiet-{n}", unchanged=2) for n in range(7)]
    connection_error = ErrorInfo("ConnectionFailed", "no route to host")
    output = page(
        plan_of("main", UP), *unchanged_accounts, refused, unread("a"), unread("b"), unread("c", connection_error)
    )
    assert output == snapshot("accounts_of_every_kind.txt", output)


def test_single_account_as_desired_is_singular() -> None:
    assert "\n1 account is as desired: quiet\n" in page(plan_of("main", UP), plan_of("quiet", unchanged=1))


@pytest.mark.parametrize(
    ("accounts", "closing"),
    [
        ([unread("a"), unread("b")], f"\nNo plan: none of the 2 accounts could be planned.\n{DOCTOR}"),
        (
            [many_refused(), unread("b")],
            f"\nRefused: nothing will be written.\nCould not be planned: 1 account.\n{DOCTOR}",
        ),
        ([many_refused(), plan_of("main", unchanged=1)], "\nRefused: 1 account.\n"),
    ],
)
def test_closing_says_what_is_not_applied(accounts: list[AccountPlan], closing: str) -> None:
    """The last lines say whether all accounts or some are refused or could not be planned."""
    assert page(*accounts).endswith(closing)


def test_many_accounts_are_a_sample_and_counts() -> None:
    """The twenty accounts with most changes are shown in full, the others by their counts."""
    equal_accounts = [plan_of(f"branch-{n:03}", UP) for n in range(50)]
    other_accounts = [plan_of(f"other-{n}", UP, DOWN) for n in range(2)]
    output = page(*equal_accounts[:20], *other_accounts, *equal_accounts[20:])
    assert output.count("(account 12925149)") == 20
    assert output.endswith(
        golden("""
        32 more accounts: 1 to activate (branch-018, branch-019, branch-020,
          branch-021, branch-022 and 27 more)
        One account in full: --account NAME. All accounts: --show-all.

        Plan: 52 to activate, 2 to deactivate. 0 unchanged.
        """)
    )


def test_many_kinds_of_accounts_are_counted() -> None:
    """The page stays short and counts the accounts that it omits."""

    def account_of_size(size: int) -> AccountPlan:
        phones = [f"010{n:08}" for n in range(size + 1)]
        return build_plan(f"a{size}", dict.fromkeys(phones, ON), dict.fromkeys(phones, "INACTIVE"))

    output = page(*map(account_of_size, range(50)))
    assert "\n10 more accounts of 10 other kinds\nOne account in full:" in output
    assert "\n1 more account of 1 other kind\n" in page(*map(account_of_size, range(41)))


def test_summarised_refused_accounts_are_marked_as_refused() -> None:
    assert ": refused, 60 to deactivate (big, " in page(*[many_refused()] * 25)


def test_errors_of_many_kinds_are_grouped_by_code() -> None:
    """Errors after the first twenty are grouped."""
    output = page(*(unread(f"a{n}", ErrorInfo("ServerError", f"failed {n}")) for n in range(30)))
    assert "\n10 more accounts: ServerError (a20, a21, a22, a23, a24 and 5 more)\n" in output
    assert "failed 19" in output
    assert "failed 20" not in output


def test_note_is_beside_or_below_its_number() -> None:
    """A note is one line below the number if it does not fit beside it, and is truncated if it is too long."""

    def lines_with_note(note: str, owner: str | None = None) -> list[str]:
        change = Change("01012345678", Action.ACTIVATE, "INACTIVE", "ACTIVE", "listed", note, owner)
        return page(plan_of("main", change)).splitlines()[3:-2]

    row = "  + activate  010-1234-5678  INACTIVE → ACTIVE"
    indent = " " * 14
    assert lines_with_note("n" * 32) == [f"{row}  {'n' * 32}", f"{indent}listed"]
    assert lines_with_note("n" * 33) == [row, indent + "n" * 33, f"{indent}listed"]
    assert lines_with_note("a\n\n  b\t", " \u3000 ") == [f"{row}  a b", f"{indent}listed"]
    assert lines_with_note("가" * 400, "o" * 400) == [row, f"{indent}{'가' * 29}… · {'o' * 3}…", f"{indent}listed"]


def test_untrusted_text_does_not_control_a_terminal() -> None:
    """Escape codes, newlines and bidirectional overrides in names, notes and messages are replaced."""
    hostile = "\x1b[31mred\n\u202e\ud800\x9b"
    change = Change("0211", Action.BLOCKED, hostile, hostile, hostile, hostile, hostile)
    account = AccountPlan(account=hostile, account_id=hostile, counts=tally(Action, {}), changes=(change,))
    output = page(account, unread(hostile, ErrorInfo(hostile, hostile)))
    assert {char for char in output if not char.isprintable()} == {"\n"}
    assert output.startswith("�[31mred ��� (account �[31mred ���)\n")


def test_text_is_wrapped_on_a_narrow_page() -> None:
    """Rows of numbers are not wrapped."""
    lines = page(plan_with_every_action(), width=40).splitlines()
    wide_lines = [line for line in lines if width(line) > 40]
    assert len(wide_lines) == 6
    assert all(re.search(r"\d-\d{4} ", line) for line in wide_lines)


def every_outcome() -> tuple[NumberResult, ...]:
    """Return a number of each outcome, unordered."""
    missing = "not registered on this account; register it with the vendor, or remove it from the file"
    return (
        CHANGED,
        number("01066667777", Outcome.UNMANAGED, desired="ACTIVE", action=Action.UNMANAGED),
        number("15881234", Outcome.PROTECTED, "INACTIVE", "INACTIVE", desired="ACTIVE", action=Action.PROTECTED),
        number(
            "01044445555",
            Outcome.MISSING,
            None,
            None,
            desired="ACTIVE",
            action=Action.MISSING,
            error=NumberError("Missing", missing),
        ),
        number(
            "01033334444",
            Outcome.BLOCKED,
            "EXPIRED",
            "EXPIRED",
            desired="ACTIVE",
            action=Action.BLOCKED,
            error=NumberError("Blocked", "EXPIRED: verify the number again in the console"),
        ),
        number(
            "023124560",
            Outcome.NOT_ATTEMPTED,
            error=NumberError("DeadlineExceeded", "the account's 900 seconds were over; run again to continue"),
        ),
        number(
            "023124569",
            Outcome.UNVERIFIED,
            after=None,
            error=NumberError("Unproven", "the account could not be read after the write; plan again"),
        ),
        number(
            "023124568",
            Outcome.CONFLICT,
            after="PENDING",
            error=NumberError("Conflict", "the number was changed outside this run: it is now PENDING"),
        ),
        number("023124567", Outcome.FAILED, error=SERVER),
    )


def test_result_lists_failures_first() -> None:
    """Each failure has its cause and advice. Numbers as desired are a row or a count."""
    deadline = ErrorInfo("DeadlineExceeded", "the account's 900 seconds were over; run again to continue")
    account = account_result(
        "main", RunOutcome.PARTIAL, *every_outcome(), unchanged=2, error=deadline, requests=Requests(3, 9, 4)
    )
    output = result_page(RunOutcome.PARTIAL, account)
    assert output == snapshot("result_with_every_outcome.txt", output)


def test_last_line_is_coloured_by_the_outcome_of_the_run() -> None:
    failed = number("023124567", Outcome.FAILED, error=SERVER)
    account = account_result("main", RunOutcome.PARTIAL, CHANGED, failed, unchanged=1)
    output = result_page(RunOutcome.PARTIAL, account, color=True)
    assert output == snapshot("result_in_colour.txt", output)


def test_result_colours_change_only_escape_codes() -> None:
    """Texts of several lines are compared too."""
    account = account_result("main", RunOutcome.PARTIAL, *every_outcome(), error=NO_KEY)
    uncoloured = result_page(RunOutcome.PARTIAL, account)
    assert re.sub(r"\x1b\[\d+m", "", result_page(RunOutcome.PARTIAL, account, color=True)) == uncoloured


def test_converged_result_is_one_line() -> None:
    assert result_page(
        RunOutcome.CONVERGED, account_result("main", RunOutcome.CONVERGED, unchanged=2, requests=Requests(1))
    ) == ("Converged: 2 unchanged. 1 request in 3.4 s.\n")
    assert result_page(RunOutcome.CONVERGED) == "Converged: no numbers. 0 requests in 3.4 s.\n"


def test_result_without_requests_shows_none() -> None:
    account_error = ErrorInfo("AccountBusy", "another run holds the account")
    unattempted = number(
        "023124567",
        Outcome.NOT_ATTEMPTED,
        None,
        None,
        action=None,
        error=NumberError("AccountBusy", "another run holds the account"),
    )
    account = account_result("main", RunOutcome.LOCKED, unattempted, error=account_error, requests=Requests())
    assert result_page(RunOutcome.LOCKED, account) == golden("""
        main (account 12925149): locked
          1 not attempted
          AccountBusy: another run holds the account

          . not attempted  02-312-4567  desired INACTIVE

        Locked: 1 not attempted. 0 requests in 3.4 s.
        """)


def test_failed_account_without_numbers_shows_its_error() -> None:
    account = account_result("main", RunOutcome.FAILED, error=NO_KEY, requests=Requests(1))
    assert result_page(RunOutcome.FAILED, account) == golden("""
        main (account 12925149): failed
          no numbers (1 read)
          AccountRejected: the API key is unknown: check SOLAPI_API_KEY

        Failed: no numbers. 1 request in 3.4 s.
        """)


def test_refused_result_shows_rules_and_options() -> None:
    """The rules replace an error with the same text."""
    refusal = PolicyRefusal(many_refused().refusals[:1])
    error = NumberError(refusal.code, str(refusal))
    account = account_result(
        "big", RunOutcome.REFUSED, number("023124567", Outcome.NOT_ATTEMPTED, error=error), error=refusal
    )
    output = result_page(RunOutcome.REFUSED, account)
    assert output == snapshot("refused_result.txt", output)


@pytest.mark.parametrize(
    ("outcome", "after", "expected"),
    [
        (Outcome.FAILED, "ACTIVE", "ACTIVE, not INACTIVE"),
        (Outcome.FAILED, None, "was ACTIVE, desired INACTIVE"),
        (Outcome.UNVERIFIED, "ACTIVE", "was ACTIVE, desired INACTIVE"),
        (Outcome.UNVERIFIED, None, "was ACTIVE, desired INACTIVE"),
        (Outcome.BLOCKED, "PENDING", "PENDING, not INACTIVE"),
        (Outcome.BLOCKED, None, "was ACTIVE, desired INACTIVE"),
        (Outcome.CONFLICT, "FROZEN", "FROZEN, not INACTIVE"),
        (Outcome.CONFLICT, None, "not registered"),
    ],
)
def test_unread_status_is_not_claimed(outcome: Outcome, after: str | None, expected: str) -> None:
    """A number that was not read after the write is not reported as unregistered or unchanged."""
    account = account_result("main", RunOutcome.PARTIAL, number("023124567", outcome, after=after, error=SERVER))
    assert f"02-312-4567  {expected}\n" in result_page(RunOutcome.PARTIAL, account)


@pytest.mark.parametrize(
    ("outcome", "after", "advice"),
    [
        (Outcome.FAILED, "ACTIVE", "The status is unchanged. Fix the cause, then apply again."),
        (Outcome.FAILED, None, "Plan again to read the current status."),
        (Outcome.UNVERIFIED, None, "Plan again to read the current status."),
        (Outcome.CONFLICT, "PENDING", "The number was changed elsewhere. Plan again."),
        (Outcome.NOT_ATTEMPTED, "ACTIVE", "No request was sent. Fix the cause, then apply again."),
    ],
)
def test_advice_depends_on_the_outcome(outcome: Outcome, after: str | None, advice: str) -> None:
    """An unchanged status is claimed only if it was read."""
    account = account_result("main", RunOutcome.PARTIAL, number("023124567", outcome, after=after, error=SERVER))
    output = " ".join(result_page(RunOutcome.PARTIAL, account).split())
    assert f"ServerError (502): the server failed. {advice}" in output


def test_advice_is_not_repeated() -> None:
    """An error that already says to plan again has no further advice."""
    error = NumberError("Conflict", "it is PENDING now: plan again")
    account = account_result(
        "main", RunOutcome.PARTIAL, number("023124567", Outcome.CONFLICT, after="PENDING", error=error)
    )
    assert "Conflict: it is PENDING now: plan again.\n" in result_page(RunOutcome.PARTIAL, account)


def test_outcome_without_error_has_no_advice() -> None:
    account = account_result("main", RunOutcome.PARTIAL, number("023124567", Outcome.FAILED))
    assert "ACTIVE, not INACTIVE\n\nPartial: 1 failed." in result_page(RunOutcome.PARTIAL, account)


@pytest.mark.parametrize(
    ("errors", "groups"),
    [
        ([NumberError("E", "alike")] * 30, 1),
        ([NumberError("E", f"reason {n}") for n in range(20)], 20),
        ([NumberError(f"E{n % 2}", f"reason {n}") for n in range(30)], 2),
        ([NumberError(f"E{n}", "reason") for n in range(30)], 1),
        ([None] * 21 + [NumberError(f"E{n}", "r") for n in range(3)], 3),
        ([None, *(NumberError("E", f"reason {n}") for n in range(30))], 1),
        ([None, *(NumberError(f"E{n}", f"reason {n}") for n in range(30))], 1),
    ],
)
def test_errors_of_numbers_are_grouped(errors: list[NumberError | None], groups: int) -> None:
    """Equal errors are one group. Many different reasons are grouped by code, or into one group."""
    numbers = [number(f"010{n:08}", Outcome.FAILED, error=error) for n, error in enumerate(errors)]
    output = result_page(RunOutcome.PARTIAL, account_result("main", RunOutcome.PARTIAL, *numbers))
    assert " ".join(output.split()).count("The status is unchanged. Fix") == groups
    assert len(output.splitlines()) < 80


@pytest.mark.parametrize(
    ("outcome", "advice"),
    [
        (Outcome.FAILED, "E0: reason 0 (29 other reasons: --format json). The status is unchanged."),
        (Outcome.BLOCKED, "reason 0 (29 other reasons: --format json) Partial: 30 blocked."),
    ],
)
def test_group_with_many_reasons_says_so(outcome: Outcome, advice: str) -> None:
    """The reason that is shown has the count of other reasons."""
    numbers = [number(f"010{n:08}", outcome, error=NumberError(f"E{n}", f"reason {n}")) for n in range(30)]
    output = result_page(RunOutcome.PARTIAL, account_result("main", RunOutcome.PARTIAL, *numbers))
    assert advice in " ".join(output.split())


def test_accounts_of_a_result_are_ordered_by_severity() -> None:
    """Accounts without changes are only counted."""
    outcomes = list(RunOutcome)
    accounts = [account_result(f"a-{outcome}", outcome, CHANGED) for outcome in outcomes]
    unchanged_accounts = [account_result(f"q{n}", RunOutcome.CONVERGED, unchanged=1) for n in range(3)]
    output = result_page(RunOutcome.FAILED, *accounts, *unchanged_accounts)
    assert re.findall(r"^a-(\w+)", output, re.MULTILINE) == [
        "interrupted",
        "locked",
        "failed",
        "refused",
        "partial",
        "converged",
    ]
    assert (
        "\n3 accounts are as desired: q0, q1, q2\n\nFailed: 6 changed, 3 unchanged. 27 requests in 3.4 s.\n" in output
    )


@pytest.mark.parametrize(("held", "line"), [(1, "1 account not started."), (30, "30 accounts not started.")])
def test_failed_canary_is_the_last_line(held: int, line: str) -> None:
    """One line has the count of accounts that were not started."""
    error = ErrorInfo("CanaryFailed", "too much of the first account failed")
    accounts = [account_result(f"b{n}", RunOutcome.PARTIAL, CHANGED, error=error) for n in range(held)]
    assert result_page(RunOutcome.PARTIAL, *accounts, account_result("a", RunOutcome.PARTIAL, CHANGED)).endswith(
        f" s.\nThe canary failed: {line}\n"
    )
    assert "canary" not in result_page(RunOutcome.PARTIAL, account_result("a", RunOutcome.PARTIAL, CHANGED)).lower()


def test_many_results_are_a_sample_and_counts() -> None:
    """Twenty accounts are shown in full, the others by their counts."""
    output = result_page(
        RunOutcome.CONVERGED, *(account_result(f"b{n}", RunOutcome.CONVERGED, CHANGED) for n in range(30))
    )
    assert output.endswith(
        golden("""
        10 more accounts: converged, 1 changed (b20, b21, b22, b23, b24 and 5 more)
        One account in full: --account NAME. All accounts: --show-all.

        Converged: 30 changed. 90 requests in 3.4 s.
        """)
    )


def test_long_account_name_is_truncated() -> None:
    """The line of the account fits the page."""
    account = account_result("a" + "가" * 64, RunOutcome.INTERRUPTED, CHANGED)
    first_line = result_page(RunOutcome.INTERRUPTED, account).splitlines()[0]
    assert first_line == "a" + "가" * 23 + "… (account 12925149): interrupted"
    assert width(first_line) == 80


def test_external_change_is_shown_with_its_time() -> None:
    """The time precedes note and owner. The numbers stay in one group."""
    since = "2026-11-20T09:00:00Z"
    changes = (
        replace(UP, phone="01000000001", cause=Cause.EXTERNAL_DRIFT, since=since, note="shop"),
        replace(UP, phone="01000000002", cause=Cause.BOTH, since=since),
        replace(UP, phone="01000000003", cause=Cause.EXTERNAL_DRIFT),
        replace(UP, phone="01000000004", cause=Cause.CONFIG_CHANGE),
        replace(UP, phone="01000000005"),
    )
    output = page(plan_of("main", *changes), width=100)
    assert output == snapshot("external_changes.txt", output)


@pytest.mark.parametrize(
    ("account", "closing"),
    [
        (plan_of("a", UP, unchanged=2), "Drift: 1 to activate, 0 to deactivate. 2 unchanged."),
        (
            plan_of("a", replace(UP, action=Action.PROTECTED), unchanged=1),
            "Drift: 1 protected. 1 number is as desired.",
        ),
        (
            plan_of("a", replace(UP, action=Action.ACKNOWLEDGED), unchanged=1),
            "No drift: 1 acknowledged. 1 number is as desired.",
        ),
        (plan_of("a", unchanged=2), "No drift. 2 numbers are as desired."),
        (plan_of("a"), "No drift. There are no numbers."),
    ],
)
def test_drift_has_its_own_closing_sentence(account: AccountPlan, closing: str) -> None:
    """The sentence does not say that there are no changes, because the file may have some."""
    assert page(account, drift=True).endswith(f"{closing}\n")


def test_account_without_drift_is_not_as_desired() -> None:
    """The file may have a change that is still to be applied."""
    output = page(plan_of("a", UP), plan_of("b", unchanged=1), plan_of("c", unchanged=1), drift=True)
    assert "\n2 accounts have no drift: b, c\n" in output
    assert "\n1 account has no drift: b\n" in page(plan_of("a", UP), plan_of("b", unchanged=1), drift=True)


def test_times_of_a_schedule_use_the_time_zone_of_the_file() -> None:
    """A change has the end of its desired status. The plan of another time names that time."""
    change = Change(
        "01012345678", Action.ACTIVATE, "INACTIVE", "ACTIVE", "scheduled ACTIVE: sale", until="2026-12-21T15:00:00Z"
    )
    accounts = (plan_of("a", change), replace(plan_of("b", change), timezone="Europe/Berlin"), unread("c"))
    plan = Plan(created_at="2026-03-01T12:00:00.000Z", fingerprint="f", accounts=accounts)
    output = text.plan(plan, color=False)
    assert "until 2026-12-22 00:00 KST" in output
    assert "until 2026-12-21 16:00 CET" in output
    assert "scheduled ACTIVE: sale" in output
    assert "This is the plan for" not in output
    output = text.plan(replace(plan, at="2026-12-01T00:00:00Z"), color=False)
    expected = "This is the plan for 2026-12-01 01:00 CET, 2026-12-01 09:00 KST; apply uses the current desired state"
    assert expected in " ".join(output.split())
