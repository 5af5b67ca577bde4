"""Notices below a plan or a result."""

from worker.model.plans import AccountPlan, Action, Change, Notice, NoticeKind, Plan, tally
from worker.model.results import AccountResult, Outcome, Result, RunOutcome
from worker.render import text


def _noticed(*notices: Notice, blocked: str = "") -> str:
    changes = (Change(blocked, Action.BLOCKED, "PENDING", "ACTIVE", "PENDING: wait"),) if blocked else ()
    found = {Action.BLOCKED: len(changes), Action.UNCHANGED: 1}
    account = AccountPlan(account="main", counts=tally(Action, found), changes=changes, notices=notices)
    plan = Plan(created_at="2026-03-01T12:00:00.000Z", fingerprint="f" * 64, accounts=(account,))
    return text.plan(plan, color=False)


def test_notices_stand_below_a_heading_of_theirs() -> None:
    """Numbers with the same message share it, those of the account follow, and blocked numbers are not repeated."""
    end, wait = "its registration ends on 2026-12-24", "PENDING: finish its documents"
    shown = _noticed(
        Notice(NoticeKind.EXPIRING, end, "01012345678"),
        Notice(NoticeKind.EXPIRING, end, "01012345679"),
        Notice(NoticeKind.PENDING, wait, "0212345678"),
        Notice(NoticeKind.PENDING, wait, "0311234567"),
        Notice(NoticeKind.LIMIT, "4 of the 4 numbers are registered"),
        blocked="0311234567",
    )
    assert shown[shown.index("  Notices") :] == (
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
    assert "Notices" not in _noticed(Notice(NoticeKind.PENDING, wait, "0311234567"), blocked="0311234567")


def test_many_notices_are_a_sample_and_a_count() -> None:
    """Of many numbers with one message some are shown, of many messages the first, and how many more there are."""
    phones = [f"0101234{n:04}" for n in range(1000)]
    alike = _noticed(*(Notice(NoticeKind.EXPIRING, "soon", phone) for phone in phones))
    assert "and 990 more, from 010-1234-0010 to 010-1234-0999" in alike
    unlike = _noticed(*(Notice(NoticeKind.EXPIRING, f"on {phone}", phone) for phone in phones))
    assert "  980 more notices: --format json\n" in unlike
    assert len(unlike.splitlines()) < 60


def test_a_quiet_account_with_something_to_know_is_shown() -> None:
    """A result without changes still shows notices, and foreign text is harmless."""
    known = (Notice(NoticeKind.IN_USE, "why\x1b[2J"),)
    accounts = tuple(
        AccountResult(account=name, outcome=RunOutcome.CONVERGED, counts=tally(Outcome, {}), notices=notices)
        for name, notices in (("main", known), ("other", ()))
    )
    result = Result(
        run_id="r",
        started_at="2026-03-01T12:00:00.000Z",
        finished_at="2026-03-01T12:00:03.400Z",
        outcome=RunOutcome.CONVERGED,
        accounts=accounts,
    )
    shown = text.result(result, color=False)
    assert "  i why\ufffd[2J\n" in shown
    assert "1 account is as desired: other" in shown
