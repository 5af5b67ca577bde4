"""Notices of a plan or a result as text."""

from worker.model.plans import AccountPlan, Action, Change, Notice, NoticeKind, Plan, tally
from worker.model.results import AccountResult, Outcome, Result, RunOutcome
from worker.render import text


def _text_with_notices(*notices: Notice, blocked: str = "") -> str:
    changes = (Change(blocked, Action.BLOCKED, "PENDING", "ACTIVE", "PENDING: wait"),) if blocked else ()
    action_counts = {Action.BLOCKED: len(changes), Action.UNCHANGED: 1}
    account = AccountPlan(account="main", counts=tally(Action, action_counts), changes=changes, notices=notices)
    plan = Plan(created_at="2026-03-01T12:00:00.000Z", fingerprint="f" * 64, accounts=(account,))
    return text.plan(plan, color=False)


def test_notices_have_their_own_heading() -> None:
    """Numbers with the same message share it, notices of the account follow, and blocked numbers are not repeated."""
    end, wait = "its registration ends on 2026-12-24", "PENDING: finish its documents"
    page = _text_with_notices(
        Notice(NoticeKind.EXPIRING, end, "01012345678"),
        Notice(NoticeKind.EXPIRING, end, "01012345679"),
        Notice(NoticeKind.PENDING, wait, "0212345678"),
        Notice(NoticeKind.PENDING, wait, "0311234567"),
        Notice(NoticeKind.LIMIT, "4 of the 4 numbers are registered"),
        blocked="0311234567",
    )
    assert page[page.index("  Notices") :] == (
        "  Notices\n"
        "  i expiring  010-1234-5678\n"
        "  i expiring  010-1234-5679\n"
        "              its registration ends on 2026-12-24\n"
        "  i pending   02-1234-5678\n"
        "              PENDING: finish its documents\n"
        "  i 4 of the 4 numbers are registered\n"
        "\n"
        "No changes: 1 cannot converge. 1 number is as desired.\n"
    )
    assert "Notices" not in _text_with_notices(Notice(NoticeKind.PENDING, wait, "0311234567"), blocked="0311234567")


def test_many_notices_are_a_sample_and_a_count() -> None:
    phones = [f"0101234{n:04}" for n in range(1000)]
    page_of_equal = _text_with_notices(*(Notice(NoticeKind.EXPIRING, "soon", phone) for phone in phones))
    assert "and 990 more, from 010-1234-0010 to 010-1234-0999" in page_of_equal
    page_of_different = _text_with_notices(*(Notice(NoticeKind.EXPIRING, f"on {phone}", phone) for phone in phones))
    assert "  980 more notices: --show-all\n" in page_of_different
    assert len(page_of_different.splitlines()) < 60


def test_notices_that_share_a_message_count_once_each() -> None:
    """Three numbers of the last message are left out, and counted as three."""
    notices = [Notice(NoticeKind.EXPIRING, f"on day {day}", f"0101234{day:04}") for day in range(20)]
    notices += [Notice(NoticeKind.EXPIRING, "on day 20", f"0105678{n:04}") for n in range(3)]
    assert "  3 more notices: --show-all\n" in _text_with_notices(*notices)


def test_account_without_changes_shows_its_notices() -> None:
    """A result without changes shows notices, and untrusted text is escaped."""
    account_notices = (Notice(NoticeKind.IN_USE, "why\x1b[2J"),)
    accounts = tuple(
        AccountResult(account=name, outcome=RunOutcome.CONVERGED, counts=tally(Outcome, {}), notices=notices)
        for name, notices in (("main", account_notices), ("other", ()))
    )
    result = Result(
        run_id="r",
        started_at="2026-03-01T12:00:00.000Z",
        finished_at="2026-03-01T12:00:03.400Z",
        outcome=RunOutcome.CONVERGED,
        accounts=accounts,
    )
    page = text.result(result, color=False)
    assert "  i why\ufffd[2J\n" in page
    assert "1 account is as desired: other" in page
