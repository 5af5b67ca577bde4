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
from worker.model.plans import AccountPlan, Action, Cause, Change, Plan, Verdict, tally
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
SERVER = NumberError("ServerError", "the server failed", 502)


def planned(
    name: str, wanted: Mapping[str, Desired], seen: Mapping[str, str], unmanaged: Unmanaged = Unmanaged.REPORT
) -> AccountPlan:
    """An account's plan as the worker makes it."""
    desired = DesiredAccount(name, f"{name}.yaml", dict(wanted), [1] * len(wanted), unmanaged=unmanaged)
    observed = ObservedAccount("12925149", {phone: Observed(phone, Status(status)) for phone, status in seen.items()})
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


def of(name: str, *changes: Change, unchanged: int = 0) -> AccountPlan:
    """An account's plan of these changes."""
    found = Counter(change.action for change in changes) | {Action.UNCHANGED: unchanged}
    return AccountPlan(account=name, account_id="12925149", counts=tally(Action, found), changes=changes)


def unread(name: str, error: ErrorInfo = NO_KEY) -> AccountPlan:
    """The plan of an account that could not be read."""
    return AccountPlan(account=name, verdict=Verdict.ERROR, error=error, counts=tally(Action, {}))


def page(*accounts: AccountPlan, color: bool = False, width: int = 80, drift: bool = False) -> str:
    """A plan as text."""
    plan = Plan(created_at="2026-03-01T12:00:00.000Z", fingerprint="f" * 64, accounts=accounts)
    return text.plan(plan, color=color, width=width, drift=drift)


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
    """What became of one number; by default of one that should be switched off."""
    return NumberResult(phone, action, desired, before, after, outcome, 1, error)


CHANGED = number("01012345678", Outcome.CHANGED, "INACTIVE", "ACTIVE", desired="ACTIVE", action=Action.ACTIVATE)


def ended(
    name: str,
    outcome: RunOutcome,
    *numbers: NumberResult,
    unchanged: int = 0,
    error: PolicyRefusal | ErrorInfo | None = None,
    requests: Requests = SENT,
) -> AccountResult:
    """What became of one account."""
    found = Counter(number.outcome for number in numbers) | {Outcome.UNCHANGED: unchanged}
    return AccountResult(
        account=name,
        account_id="12925149",
        outcome=outcome,
        error=error.info if isinstance(error, PolicyRefusal) else error,
        refusals=error.refusals if isinstance(error, PolicyRefusal) else (),
        counts=tally(Outcome, found),
        requests=requests,
        numbers=numbers,
    )


def finished(outcome: RunOutcome, *accounts: AccountResult, color: bool = False, width: int = 80) -> str:
    """A result as text."""
    result = Result(
        run_id="r",
        started_at="2026-03-01T12:00:00.000Z",
        finished_at="2026-03-01T12:00:03.400Z",
        outcome=outcome,
        accounts=accounts,
    )
    return text.result(result, color=color, width=width)


def golden(expected: str) -> str:
    r"""A page as it stands in this file; `\e` is an escape character there."""
    return dedent(expected).lstrip("\n").replace("\\e", "\x1b")


def everything() -> AccountPlan:
    """A plan with every action."""
    wanted = {
        "01012345678": ON,
        "023124567": Desired(Status.INACTIVE, note="old head office", owner="facilities"),
        "15881234": Desired(Status.ACTIVE, note="고객센터", protected=True),
        "01022223333": ON,
        "01033334444": ON,
        "01044445555": ON,
        "01055556666": ON,
        "01077778888": ON,
    }
    seen = {
        "01012345678": "INACTIVE",
        "023124567": "ACTIVE",
        "15881234": "INACTIVE",
        "01022223333": "ACTIVE",
        "01033334444": "PENDING",
        "01055556666": "EXPIRED",
        "01066667777": "ACTIVE",
        "01077778888": "ACTIVE",
    }
    return planned("main", wanted, seen)


def test_plan_with_every_action() -> None:
    """Changes come first, then what needs attention with what to do, and unchanged numbers only as a count."""
    shown = page(everything())
    assert shown == snapshot("plan_with_every_action.txt", shown)


def test_plan_in_colour() -> None:
    """Colours mark what is done and stand around words only, so that the columns are those without colours."""
    down = Change("023124567", Action.DEACTIVATE, "ACTIVE", "INACTIVE", "listed as INACTIVE", "old", "ops")
    shown = page(of("main", UP, down, unchanged=3), color=True)
    assert shown == snapshot("plan_in_colour.txt", shown)


def test_colour_changes_nothing_else() -> None:
    """A coloured page without its colours is the plain page, whatever stands on it."""
    accounts = (everything(), many_refused(), unread("shop"))
    assert re.sub(r"\x1b\[\d+m", "", page(*accounts, color=True)) == page(*accounts)


def many_refused() -> AccountPlan:
    """A plan of 60 deactivations."""
    phones = [f"010{n:08}" for n in range(60)]
    return planned("big", dict.fromkeys(phones, OFF), dict.fromkeys(phones, "ACTIVE"))


def test_refused_plan_with_many_changes() -> None:
    """Many alike are a sample and a count; each broken rule has its option on one line; the verdict comes last."""
    shown = page(many_refused())
    assert shown == snapshot("refused_plan_with_many_changes.txt", shown)


@pytest.mark.parametrize("columns", [*range(29, 100), 1000])
def test_option_can_be_copied(columns: int) -> None:
    """On a page wide enough for it, the option that allows a plan is on one line."""
    lines = page(many_refused(), width=columns).splitlines()
    for option in ("--allow max-deactivations", "--allow min-active"):
        assert sum(option in line for line in lines) == 1


def test_refusal_without_option_gets_one() -> None:
    """A rule whose message names no option is shown with it."""
    account = AccountPlan(
        account="main",
        verdict=Verdict.REFUSED,
        refusals=(Refusal("new-rule", "too much"),),
        counts=tally(Action, {Action.DEACTIVATE: 1}),
        changes=(DOWN,),
    )
    assert "  Refused by new-rule: too much To allow it: --allow new-rule\n" in page(account)


@pytest.mark.parametrize(("number", "sampled"), [(20, False), (21, True)])
def test_sample_begins_where_rows_are_many(number: int, *, sampled: bool) -> None:
    """Twenty of a kind are shown whole; from the twenty-first on ten of them stand for all."""
    phones = [f"010{n:08}" for n in range(number)]
    shown = page(planned("main", dict.fromkeys(phones, ON), dict.fromkeys(phones, "INACTIVE")))
    assert shown.count(" activate    010") + shown.count("+ activate  010") == (10 if sampled else number)
    assert ("and 11 more, from 010-0000-0010 to 010-0000-0020" in shown) is sampled


def test_reasons_of_deactivations_are_separate() -> None:
    """Deactivations of unlisted numbers are counted apart from those listed as INACTIVE."""
    seen = {"023124567": "ACTIVE", "01099990001": "ACTIVE", "01012345678": "ACTIVE"}
    shown = page(planned("main", {"023124567": OFF, "01012345678": ON}, seen, Unmanaged.DEACTIVATE))
    assert shown == snapshot("reasons_of_deactivations.txt", shown)


@pytest.mark.parametrize(
    ("accounts", "closing"),
    [
        ([of("main", unchanged=1)], "No changes. 1 number is as desired.\n"),
        ([of("main", unchanged=1234)], "No changes. 1,234 numbers are as desired.\n"),
        ([of("main")], "No changes. There are no numbers.\n"),
        ([], "No changes. There are no numbers.\n"),
    ],
)
def test_nothing_to_do_is_one_line(accounts: list[AccountPlan], closing: str) -> None:
    """A plan without changes is one sentence."""
    assert page(*accounts) == closing


def test_nothing_can_be_done_is_no_success() -> None:
    """A plan without writes says how many numbers cannot converge before it says what is in order."""
    gone = Change("0211", Action.MISSING, None, "ACTIVE", "not registered")
    extra = Change("0222", Action.UNMANAGED, "ACTIVE", "ACTIVE", "not listed")
    shown = page(of("main", gone, extra, unchanged=2))
    assert shown.endswith("\nNo changes: 1 cannot converge, 1 not listed. 2 numbers are as desired.\n")


def test_account_without_id() -> None:
    """An account without a known id shows none."""
    assert page(AccountPlan(account="main", counts=tally(Action, {}), changes=(UP,))).startswith("main\n  no numbers\n")


def test_one_account_that_cannot_be_read() -> None:
    """An account that could not be read is shown with its error, and the page says that there is no plan."""
    assert page(unread("main")) == golden("""
        main
          AccountRejected: the API key is unknown: check SOLAPI_API_KEY

        No plan: the account could not be planned.
        """)


def test_accounts_of_every_kind() -> None:
    """Refused accounts come first, then changes, then errors grouped by what is wrong, then what is in order."""
    off = AccountPlan(
        account="shop",
        account_id="777",
        verdict=Verdict.REFUSED,
        refusals=guard([DOWN], 1, Safety(0), frozenset()),
        counts=tally(Action, {Action.DEACTIVATE: 1}),
        changes=(DOWN,),
    )
    quiet = [of(f"quiet-{n}", unchanged=2) for n in range(7)]
    other = ErrorInfo("ConnectionFailed", "no route to host")
    shown = page(of("main", UP), *quiet, off, unread("a"), unread("b"), unread("c", other))
    assert shown == snapshot("accounts_of_every_kind.txt", shown)


def test_one_quiet_account_of_two() -> None:
    """One quiet account is in the singular."""
    assert "\n1 account is as desired: quiet\n" in page(of("main", UP), of("quiet", unchanged=1))


@pytest.mark.parametrize(
    ("accounts", "closing"),
    [
        ([unread("a"), unread("b")], "\nNo plan: none of the 2 accounts could be planned.\n"),
        ([many_refused(), unread("b")], "\nRefused: nothing will be written.\nCould not be planned: 1 account.\n"),
        ([many_refused(), of("main", unchanged=1)], "\nRefused: 1 account.\n"),
    ],
)
def test_closing_says_what_will_not_happen(accounts: list[AccountPlan], closing: str) -> None:
    """The last lines say whether nothing at all, or only something, cannot be done."""
    assert page(*accounts).endswith(closing)


def test_fleet_of_accounts_is_a_sample_and_counts() -> None:
    """Twenty accounts with most changes are shown in full; the rest are counted by what they have in common."""
    alike = [of(f"branch-{n:03}", UP) for n in range(50)]
    others = [of(f"other-{n}", UP, DOWN) for n in range(2)]
    shown = page(*alike[:20], *others, *alike[20:])
    assert shown.count("(account 12925149)") == 20
    assert shown.endswith(
        golden("""
        32 more accounts: 1 to activate (branch-018, branch-019, branch-020,
          branch-021, branch-022 and 27 more)
        One account in full: --account NAME. All of them: --format json.

        Plan: 52 to activate, 2 to deactivate. 0 unchanged.
        """)
    )


def test_fleet_that_differs_in_every_account() -> None:
    """Where even the kinds of accounts are many, the page stays short and says how many are not on it."""

    def kind(size: int) -> AccountPlan:
        phones = [f"010{n:08}" for n in range(size + 1)]
        return planned(f"a{size}", dict.fromkeys(phones, ON), dict.fromkeys(phones, "INACTIVE"))

    shown = page(*map(kind, range(50)))
    assert "\n10 more accounts of 10 other kinds\nOne account in full:" in shown
    assert "\n1 more account of 1 other kind\n" in page(*map(kind, range(41)))


def test_fleet_of_refused_accounts() -> None:
    """Refused accounts that are only counted are still called refused."""
    assert ": refused, 60 to deactivate (big, " in page(*[many_refused()] * 25)


def test_errors_of_many_kinds_are_brief() -> None:
    """Where accounts fail for many different reasons, the reasons beyond the first twenty are grouped by their code."""
    shown = page(*(unread(f"a{n}", ErrorInfo("ServerError", f"failed {n}")) for n in range(30)))
    assert "\n10 more accounts: ServerError (a20, a21, a22, a23, a24 and 5 more)\n" in shown
    assert "failed 19" in shown
    assert "failed 20" not in shown


def test_note_is_beside_or_below() -> None:
    """A note is one line: beside its number if it fits, else below it, and if it is too long there too, cut."""

    def noted(note: str, owner: str | None = None) -> list[str]:
        change = Change("01012345678", Action.ACTIVATE, "INACTIVE", "ACTIVE", "listed", note, owner)
        return page(of("main", change)).splitlines()[3:-2]

    row = "  + activate  010-1234-5678  INACTIVE → ACTIVE"
    below = " " * 14
    assert noted("n" * 32) == [f"{row}  {'n' * 32}", f"{below}listed"]
    assert noted("n" * 33) == [row, below + "n" * 33, f"{below}listed"]
    assert noted("a\n\n  b\t", " \u3000 ") == [f"{row}  a b", f"{below}listed"]
    assert noted("가" * 400, "o" * 400) == [row, f"{below}{'가' * 29}… · {'o' * 3}…", f"{below}listed"]


def test_foreign_text_obeys_us() -> None:
    """Escape codes, line ends and overrides in names, notes and messages of others reach no terminal."""
    evil = "\x1b[31mred\n\u202e\ud800\x9b"
    change = Change("0211", Action.BLOCKED, evil, evil, evil, evil, evil)
    account = AccountPlan(account=evil, account_id=evil, counts=tally(Action, {}), changes=(change,))
    shown = page(account, unread(evil, ErrorInfo(evil, evil)))
    assert {char for char in shown if not char.isprintable()} == {"\n"}
    assert shown.startswith("�[31mred ��� (account �[31mred ���)\n")


def test_plan_on_a_narrow_page() -> None:
    """On a narrow page text is wrapped, and only rows of numbers, which would be useless in pieces, are wider."""
    lines = page(everything(), width=40).splitlines()
    wide = [line for line in lines if width(line) > 40]
    assert len(wide) == 6
    assert all(re.search(r"\d-\d{4} ", line) for line in wide)


def every_outcome() -> tuple[NumberResult, ...]:
    """A number of every outcome, in no order."""
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
            error=NumberError("Conflict", "the number was changed by someone else in the meantime: it is PENDING"),
        ),
        number("023124567", Outcome.FAILED, error=SERVER),
    )


def test_result_with_every_outcome() -> None:
    """What went wrong comes first, with what happened and what to do; what is in order is a row or a count."""
    late = ErrorInfo("DeadlineExceeded", "the account's 900 seconds were over; run again to continue")
    account = ended("main", RunOutcome.PARTIAL, *every_outcome(), unchanged=2, error=late, requests=Requests(3, 9, 4))
    shown = finished(RunOutcome.PARTIAL, account)
    assert shown == snapshot("result_with_every_outcome.txt", shown)


def test_result_in_colour() -> None:
    """The colour of a result's end is that of how the run ended."""
    failed = number("023124567", Outcome.FAILED, error=SERVER)
    account = ended("main", RunOutcome.PARTIAL, CHANGED, failed, unchanged=1)
    shown = finished(RunOutcome.PARTIAL, account, color=True)
    assert shown == snapshot("result_in_colour.txt", shown)


def test_result_colours_change_nothing_else() -> None:
    """A coloured result without its colours is the plain one, over several lines too."""
    account = ended("main", RunOutcome.PARTIAL, *every_outcome(), error=NO_KEY)
    plain = finished(RunOutcome.PARTIAL, account)
    assert re.sub(r"\x1b\[\d+m", "", finished(RunOutcome.PARTIAL, account, color=True)) == plain


def test_converged_results() -> None:
    """One account that converged without a change is one line."""
    assert finished(RunOutcome.CONVERGED, ended("main", RunOutcome.CONVERGED, unchanged=2, requests=Requests(1))) == (
        "Converged: 2 unchanged. 1 request in 3.4 s.\n"
    )
    assert finished(RunOutcome.CONVERGED) == "Converged: no numbers. 0 requests in 3.4 s.\n"


def test_result_without_requests() -> None:
    """An account without requests shows none."""
    busy = ErrorInfo("AccountBusy", "another run holds the account")
    waiting = number(
        "023124567",
        Outcome.NOT_ATTEMPTED,
        None,
        None,
        action=None,
        error=NumberError("AccountBusy", "another run holds the account"),
    )
    account = ended("main", RunOutcome.LOCKED, waiting, error=busy, requests=Requests())
    assert finished(RunOutcome.LOCKED, account) == golden("""
        main (account 12925149): locked
          1 not attempted
          AccountBusy: another run holds the account

          . not attempted  02-312-4567  desired INACTIVE

        Locked: 1 not attempted. 0 requests in 3.4 s.
        """)


def test_account_that_failed_without_numbers() -> None:
    """An account that failed is shown with its error even where it has no numbers."""
    account = ended("main", RunOutcome.FAILED, error=NO_KEY, requests=Requests(1))
    assert finished(RunOutcome.FAILED, account) == golden("""
        main (account 12925149): failed
          no numbers (1 read)
          AccountRejected: the API key is unknown: check SOLAPI_API_KEY

        Failed: no numbers. 1 request in 3.4 s.
        """)


def test_refused_result() -> None:
    """A refused account shows its rules with their options in place of the error that says the same."""
    refusal = PolicyRefusal(many_refused().refusals[:1])
    error = NumberError(refusal.code, str(refusal))
    account = ended("big", RunOutcome.REFUSED, number("023124567", Outcome.NOT_ATTEMPTED, error=error), error=refusal)
    shown = finished(RunOutcome.REFUSED, account)
    assert shown == snapshot("refused_result.txt", shown)


@pytest.mark.parametrize(
    ("outcome", "after", "shown"),
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
def test_unread_statuses_are_not_claimed(outcome: Outcome, after: str | None, shown: str) -> None:
    """A number that was not read since is not called unregistered or unchanged."""
    account = ended("main", RunOutcome.PARTIAL, number("023124567", outcome, after=after, error=SERVER))
    assert f"02-312-4567  {shown}\n" in finished(RunOutcome.PARTIAL, account)


@pytest.mark.parametrize(
    ("outcome", "after", "advice"),
    [
        (Outcome.FAILED, "ACTIVE", "Its status is unchanged; fix the cause and apply again."),
        (Outcome.FAILED, None, "Plan again to read its current status."),
        (Outcome.UNVERIFIED, None, "Plan again to read its current status."),
        (Outcome.CONFLICT, "PENDING", "Plan again to decide from its current status."),
        (Outcome.NOT_ATTEMPTED, "ACTIVE", "No request was sent; fix the cause and apply again."),
    ],
)
def test_advice_fits_the_outcome(outcome: Outcome, after: str | None, advice: str) -> None:
    """Each outcome that needs attention says what to do; an unchanged status is claimed only if it was read."""
    account = ended("main", RunOutcome.PARTIAL, number("023124567", outcome, after=after, error=SERVER))
    shown = " ".join(finished(RunOutcome.PARTIAL, account).split())
    assert f"ServerError (502): the server failed. {advice}" in shown


def test_advice_is_not_given_twice() -> None:
    """An error that says itself to plan again is not followed by the same advice."""
    error = NumberError("Conflict", "it is PENDING now: plan again")
    account = ended("main", RunOutcome.PARTIAL, number("023124567", Outcome.CONFLICT, after="PENDING", error=error))
    assert "Conflict: it is PENDING now: plan again.\n" in finished(RunOutcome.PARTIAL, account)


def test_outcome_without_error_has_no_advice() -> None:
    """A number without an error is a row and nothing more."""
    account = ended("main", RunOutcome.PARTIAL, number("023124567", Outcome.FAILED))
    assert "ACTIVE, not INACTIVE\n\nPartial: 1 failed." in finished(RunOutcome.PARTIAL, account)


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
    """Numbers that failed alike are one group; where reasons are too many, those with one code, or all of them."""
    numbers = [number(f"010{n:08}", Outcome.FAILED, error=error) for n, error in enumerate(errors)]
    shown = finished(RunOutcome.PARTIAL, ended("main", RunOutcome.PARTIAL, *numbers))
    assert " ".join(shown.split()).count("Its status is unchanged; fix") == groups
    assert len(shown.splitlines()) < 80


@pytest.mark.parametrize(
    ("outcome", "advice"),
    [
        (Outcome.FAILED, "E0: reason 0 (29 other reasons: --format json). Its status is unchanged;"),
        (Outcome.BLOCKED, "reason 0 (29 other reasons: --format json) Partial: 30 blocked."),
    ],
)
def test_one_reason_does_not_speak_for_all(outcome: Outcome, advice: str) -> None:
    """Where numbers of many reasons are one group, the one that is shown is called one of many."""
    numbers = [number(f"010{n:08}", outcome, error=NumberError(f"E{n}", f"reason {n}")) for n in range(30)]
    shown = finished(RunOutcome.PARTIAL, ended("main", RunOutcome.PARTIAL, *numbers))
    assert advice in " ".join(shown.split())


def test_accounts_of_a_result_by_gravity() -> None:
    """Accounts that ended badly come first; those that had nothing to do are only counted."""
    outcomes = list(RunOutcome)
    accounts = [ended(f"a-{outcome}", outcome, CHANGED) for outcome in outcomes]
    quiet = [ended(f"q{n}", RunOutcome.CONVERGED, unchanged=1) for n in range(3)]
    shown = finished(RunOutcome.FAILED, *accounts, *quiet)
    assert re.findall(r"^a-(\w+)", shown, re.MULTILINE) == [
        "interrupted",
        "locked",
        "failed",
        "refused",
        "partial",
        "converged",
    ]
    assert "\n3 accounts are as desired: q0, q1, q2\n\nFailed: 6 changed, 3 unchanged. 27 requests in 3.4 s.\n" in shown


@pytest.mark.parametrize(("held", "line"), [(1, "1 account not started."), (30, "30 accounts not started.")])
def test_a_canary_that_failed_is_the_last_line(held: int, line: str) -> None:
    """However many accounts a canary holds back, one line says how many; nothing else is about a canary."""
    error = ErrorInfo("CanaryFailed", "too much of the first account failed")
    accounts = [ended(f"b{n}", RunOutcome.PARTIAL, CHANGED, error=error) for n in range(held)]
    assert finished(RunOutcome.PARTIAL, *accounts, ended("a", RunOutcome.PARTIAL, CHANGED)).endswith(
        f" s.\nThe canary failed: {line}\n"
    )
    assert "canary" not in finished(RunOutcome.PARTIAL, ended("a", RunOutcome.PARTIAL, CHANGED)).lower()


def test_fleet_of_results_is_a_sample_and_counts() -> None:
    """Twenty accounts are shown in full, the rest by what they have in common."""
    shown = finished(RunOutcome.CONVERGED, *(ended(f"b{n}", RunOutcome.CONVERGED, CHANGED) for n in range(30)))
    assert shown.endswith(
        golden("""
        10 more accounts: converged, 1 changed (b20, b21, b22, b23, b24 and 5 more)
        One account in full: --account NAME. All of them: --format json.

        Converged: 30 changed. 90 requests in 3.4 s.
        """)
    )


def test_long_names_leave_room() -> None:
    """A name of any length is cut so that the account's line fits the page."""
    account = ended("a" + "가" * 64, RunOutcome.INTERRUPTED, CHANGED)
    first = finished(RunOutcome.INTERRUPTED, account).splitlines()[0]
    assert first == "a" + "가" * 23 + "… (account 12925149): interrupted"
    assert width(first) == 80


def test_who_changed_a_number_is_a_remark() -> None:
    """An external change is shown with its time, before note and owner; the numbers stay one group."""
    since = "2026-11-20T09:00:00Z"
    changes = (
        replace(UP, phone="01000000001", cause=Cause.EXTERNAL_DRIFT, since=since, note="shop"),
        replace(UP, phone="01000000002", cause=Cause.BOTH, since=since),
        replace(UP, phone="01000000003", cause=Cause.EXTERNAL_DRIFT),
        replace(UP, phone="01000000004", cause=Cause.CONFIG_CHANGE),
        replace(UP, phone="01000000005"),
    )
    shown = page(of("main", *changes), width=100)
    assert shown == snapshot("who_changed_a_number_is_a_remark.txt", shown)


@pytest.mark.parametrize(
    ("account", "closing"),
    [
        (of("a", UP, unchanged=2), "Drift: 1 to activate, 0 to deactivate. 2 unchanged."),
        (of("a", replace(UP, action=Action.PROTECTED), unchanged=1), "Drift: 1 protected. 1 number is as desired."),
        (of("a", unchanged=2), "No drift. 2 numbers are as desired."),
        (of("a"), "No drift. There are no numbers."),
    ],
)
def test_drift_has_its_own_closing_sentence(account: AccountPlan, closing: str) -> None:
    """A page of what drifted never says that there are no changes: the file may have some."""
    assert page(account, drift=True).endswith(f"{closing}\n")


def test_times_of_a_schedule_use_the_time_zone_of_the_file() -> None:
    """Until when a change is wanted stands beside it, and below a plan of another time that it is one."""
    until = Change(
        "01012345678", Action.ACTIVATE, "INACTIVE", "ACTIVE", "scheduled ACTIVE: sale", until="2026-12-21T15:00:00Z"
    )
    accounts = (of("a", until), replace(of("b", until), timezone="Europe/Berlin"), unread("c"))
    plan = Plan(created_at="2026-03-01T12:00:00.000Z", fingerprint="f", accounts=accounts)
    shown = text.plan(plan, color=False)
    assert "until 2026-12-22 00:00 KST" in shown
    assert "until 2026-12-21 16:00 CET" in shown
    assert "scheduled ACTIVE: sale" in shown
    assert "This is the plan for" not in shown
    shown = text.plan(replace(plan, at="2026-12-01T00:00:00Z"), color=False)
    expected = "This is the plan for 2026-12-01 01:00 CET, 2026-12-01 09:00 KST; apply uses the desired state"
    assert expected in " ".join(shown.split())
