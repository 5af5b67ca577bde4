"""Notification state of an account after a pass, and the resulting notifications."""

import msgspec
import pytest
from msgspec.structs import replace

from worker.config.channels import Event
from worker.daemon.notify.changes import (
    Coverage,
    Notification,
    NotifiedAccount,
    NotifyState,
    WriteSummary,
    decode,
    notifications,
    start_notification,
    stop_notification,
    update_account,
    update_covered,
)
from worker.model.errors import ErrorInfo, NumberError, Refusal
from worker.model.plans import AccountPlan, Action, Cause, Change, Notice, NoticeKind, Verdict
from worker.model.results import AccountResult, NumberResult, Outcome, RunOutcome

A, B = "01011112222", "0212345678"
DRIFTED = Change(A, Action.DEACTIVATE, "ACTIVE", "INACTIVE", "listed", cause=Cause.EXTERNAL_DRIFT)
BOTH = Change(B, Action.ACTIVATE, "INACTIVE", "ACTIVE", "listed", cause=Cause.BOTH)
ASKED = Change(B, Action.ACTIVATE, "INACTIVE", "ACTIVE", "listed", cause=Cause.CONFIG_CHANGE)
HELD = Change(B, Action.HELD, "ACTIVE", "INACTIVE", "group support needs 1")
SOON = Notice(NoticeKind.EXPIRING, "ends on 2026-12-01", A)


def plan(*changes: Change, verdict: Verdict = Verdict.OK, **fields: object) -> AccountPlan:
    """Return a plan of account main."""
    return AccountPlan(account="main", verdict=verdict, counts={}, changes=changes, **fields)  # type: ignore[arg-type]


def number(change: Change, outcome: Outcome, error: NumberError | None = None) -> NumberResult:
    """Return the result of a change."""
    return NumberResult(change.phone, change.action, change.desired, change.observed, change.desired, outcome, 1, error)


def result(*numbers: NumberResult, outcome: RunOutcome = RunOutcome.CONVERGED, **fields: object) -> AccountResult:
    """Return a result of account main."""
    return AccountResult(account="main", outcome=outcome, counts={}, numbers=numbers, **fields)  # type: ignore[arg-type]


def notification_lines(previous: NotifiedAccount, current: NotifiedAccount) -> list[str]:
    """Return the notifications of account main with their lines."""
    return [
        " / ".join((notification.title, *notification.lines))
        for notification in notifications(
            NotifyState(accounts={"main": previous}), NotifyState(accounts={"main": current})
        )
    ]


def test_drift_and_its_end_are_each_reported_once() -> None:
    first = update_account(NotifiedAccount(), plan(DRIFTED, BOTH, ASKED), None, "r1")
    assert first.drift == {A: Cause.EXTERNAL_DRIFT, B: Cause.BOTH}
    assert notification_lines(NotifiedAccount(), first) == [
        f"2 numbers changed externally (1 of them also in the file) / {A} / {B}",
    ]
    second = update_account(first, plan(DRIFTED, BOTH), None, "r2")
    assert notification_lines(first, second) == []
    (line,) = notification_lines(second, update_account(second, plan(), None, "r3"))
    assert line == "external changes were reverted or acknowledged"


def test_acknowledged_drift_is_not_reported() -> None:
    """Drift ends when it is acknowledged."""
    known = replace(DRIFTED, action=Action.ACKNOWLEDGED)
    first = update_account(NotifiedAccount(), plan(known), None, "r1")
    assert first == NotifiedAccount()
    drifted = update_account(first, plan(DRIFTED), None, "r2")
    (line,) = notification_lines(drifted, update_account(drifted, plan(known), None, "r3"))
    assert line == "external changes were reverted or acknowledged"


def test_drift_reverted_by_the_same_pass_is_reported_as_reverted() -> None:
    """The state then contains no drift."""
    outcome = result(number(DRIFTED, Outcome.CHANGED), number(ASKED, Outcome.CHANGED))
    current = update_account(NotifiedAccount(), plan(DRIFTED, ASKED), outcome, "r1")
    assert current == NotifiedAccount(written=WriteSummary("r1", 1, 1, 1, (A,)))
    assert notification_lines(NotifiedAccount(), current) == [
        "1 activated, 1 deactivated (run r1)",
        f"1 number changed externally, reverted (run r1) / {A}",
    ]
    assert notification_lines(current, update_account(current, plan(), None, "r2")) == []


@pytest.mark.parametrize("outcome", list(Outcome))
def test_drift_ends_if_the_number_has_its_desired_status(outcome: Outcome) -> None:
    """The run may have changed nothing, because another client reverted the number first."""
    current = update_account(NotifiedAccount(), plan(DRIFTED), result(number(DRIFTED, outcome)), "r1")
    assert (current.drift == {}) == (outcome in {Outcome.CHANGED, Outcome.UNCHANGED})


def test_failed_read_keeps_drift_and_holds() -> None:
    previous = update_account(NotifiedAccount(), plan(DRIFTED, HELD, notices=(SOON,)), None, "r1")
    broken = plan(verdict=Verdict.ERROR, error=ErrorInfo("ServerError", "the server failed"))
    failing = update_account(previous, broken, None, "r2")
    assert (failing.drift, failing.held, failing.notices) == (previous.drift, previous.held, previous.notices)
    assert notification_lines(previous, failing) == ["failing: the server failed (ServerError)"]
    assert notification_lines(failing, update_account(failing, broken, None, "r3")) == []
    assert notification_lines(failing, update_account(failing, plan(DRIFTED, HELD, notices=(SOON,)), None, "r4")) == [
        "working again"
    ]


@pytest.mark.parametrize("outcome", [RunOutcome.LOCKED, RunOutcome.INTERRUPTED, RunOutcome.REFUSED])
def test_pass_that_could_not_run_is_not_reported(outcome: RunOutcome) -> None:
    """This covers a busy account, a stop and a stale plan."""
    previous = update_account(NotifiedAccount(), plan(DRIFTED), None, "r1")
    locked = result(outcome=outcome, error=ErrorInfo("AccountBusy", "another run holds it"))
    assert update_account(previous, plan(DRIFTED, HELD), locked, "r2") == previous


def test_account_not_read_because_of_a_stop_is_not_failing() -> None:
    previous = update_account(NotifiedAccount(), plan(DRIFTED), None, "r1")
    stopped = plan(verdict=Verdict.ERROR, error=ErrorInfo("Interrupted", "stopped by SIGTERM"))
    assert update_account(previous, stopped, None, "r2") == previous


def test_writes_before_a_stop_are_reported() -> None:
    stopped = result(number(ASKED, Outcome.CHANGED), outcome=RunOutcome.INTERRUPTED)
    assert notification_lines(NotifiedAccount(), update_account(NotifiedAccount(), plan(ASKED), stopped, "r1")) == [
        "1 activated (run r1)"
    ]


@pytest.mark.parametrize(
    ("summary", "line"),
    [
        (WriteSummary("r1", activated=1200), "1,200 activated (run r1)"),
        (WriteSummary("r1", deactivated=2), "2 deactivated (run r1)"),
        (WriteSummary("r1", activated=1, deactivated=2), "1 activated, 2 deactivated (run r1)"),
    ],
)
def test_writes_are_counted_by_direction(summary: WriteSummary, line: str) -> None:
    assert notification_lines(NotifiedAccount(), NotifiedAccount(written=summary)) == [line]


def test_account_with_failed_numbers_is_failing() -> None:
    """The notification has their count and the first reason."""
    error = NumberError("ServerError", "the server failed", 502)
    failed_result = result(
        number(DRIFTED, Outcome.FAILED, error), number(ASKED, Outcome.UNVERIFIED), outcome=RunOutcome.PARTIAL
    )
    current = update_account(NotifiedAccount(), plan(DRIFTED, ASKED), failed_result, "r1")
    assert current.failing == "2 numbers failed or are unverified: the server failed (ServerError)"
    assert current.drift == {A: Cause.EXTERNAL_DRIFT}
    unverified_result = result(number(ASKED, Outcome.UNVERIFIED), outcome=RunOutcome.PARTIAL)
    assert update_account(current, plan(ASKED), unverified_result, "r2").failing == "1 number failed or is unverified"


def test_account_whose_run_failed_is_failing() -> None:
    failed_result = result(
        number(ASKED, Outcome.NOT_ATTEMPTED), outcome=RunOutcome.FAILED, error=ErrorInfo("CircuitOpen", "no response")
    )
    current = update_account(NotifiedAccount(), plan(ASKED, notices=(SOON,)), failed_result, "r1")
    assert (current.failing, current.notices) == ("no response (CircuitOpen)", (SOON,))


def test_refusal_and_its_end_are_reported_by_rule() -> None:
    refused_plan = plan(ASKED, verdict=Verdict.REFUSED, refusals=(Refusal("min-active", "would leave none"),))
    current = update_account(NotifiedAccount(), refused_plan, None, "r1")
    assert notification_lines(NotifiedAccount(), current) == [
        "plan refused by min-active / min-active: would leave none"
    ]
    assert notification_lines(current, NotifiedAccount()) == ["no longer refused by min-active"]
    later_refusal = result(outcome=RunOutcome.REFUSED, refusals=(Refusal("max-deactivations", "takes 9"),))
    assert update_account(NotifiedAccount(), plan(), later_refusal, "r2").refused == {"max-deactivations": "takes 9"}


def test_held_deactivations_are_reported_with_their_reasons() -> None:
    """The first five are listed and the rest is counted."""
    changes = [Change(f"0101111000{index}", Action.HELD, "ACTIVE", "INACTIVE", "in use") for index in range(7)]
    current = update_account(NotifiedAccount(), plan(*changes), None, "r1")
    (line,) = notification_lines(NotifiedAccount(), current)
    assert line.startswith("7 deactivations held / 01011110000: in use / ")
    assert line.endswith("01011110004: in use / … and 2 more")
    held_result = result(number(DRIFTED, Outcome.HELD, NumberError("ActivationsFailed", "group support needs 1")))
    assert update_account(NotifiedAccount(), plan(DRIFTED), held_result, "r2").held == {A: "group support needs 1"}
    assert notification_lines(current, NotifiedAccount()) == ["no deactivation is held any more"]


def test_invalid_files_and_suspensions_are_reported_with_their_end() -> None:
    state = NotifyState(
        accounts={"b": NotifiedAccount(suspended="moving")}, broken={"a.yaml": "a.yaml:1:1: no"}, suspended="x"
    )
    assert notifications(NotifyState(), state) == (
        Notification(Event.FILE, None, "a.yaml is invalid; using its last valid version, if any", ("a.yaml:1:1: no",)),
        Notification(Event.SUSPENDED, None, "writes suspended: x"),
        Notification(Event.SUSPENDED, "b", "writes suspended: moving"),
    )
    assert [
        (notification.title, notification.is_end)
        for notification in notifications(state, NotifyState(accounts={"b": NotifiedAccount()}))
    ] == [
        ("a.yaml is valid again or was deleted", True),
        ("no longer suspended", True),
        ("no longer suspended", True),
    ]


def test_daemon_reports_its_start_and_end() -> None:
    assert start_notification(1, "1.0") == Notification(Event.DAEMON, None, "watching 1 account (senderid 1.0)")
    assert stop_notification("SIGTERM") == Notification(Event.DAEMON, None, "stopped watching: SIGTERM", is_end=True)


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b'{"accounts": 1}', b"\xff", b'{"accounts": {"a": {"drift": 1}}}'])
def test_invalid_saved_state_is_refused(data: bytes) -> None:
    assert decode(data) is None


def test_saved_state_of_another_version_is_read() -> None:
    """Unknown fields are ignored, and missing ones have their defaults."""
    assert decode(b'{"newer": 1, "accounts": {"a": {"failing": "x", "newer": []}}}') == NotifyState(
        accounts={"a": NotifiedAccount(failing="x")}
    )


def test_saved_count_of_reverted_numbers_has_the_key_put_right() -> None:
    """State of earlier versions has this key."""
    state = NotifyState(accounts={"a": NotifiedAccount(written=WriteSummary("r1", deactivated=1, reverted=1))})
    assert decode(b'{"accounts": {"a": {"written": {"run_id": "r1", "deactivated": 1, "put_right": 1}}}}') == state


FAILED = NotifiedAccount(failing="no response")
REFUSED = NotifiedAccount(refused={"min-active": "few", "fleet-wide": "many"})
MANY = [f"0101111000{index}" for index in range(6)]
MANY_DRIFTED = NotifiedAccount(drift=dict.fromkeys(MANY, Cause.EXTERNAL_DRIFT))
MANY_HELD = NotifiedAccount(held=dict.fromkeys(MANY, "in use"))
FIVE_HELD = NotifiedAccount(held=dict.fromkeys(MANY[:5], "in use"))
REVERTED = WriteSummary("r2", 0, 6, 6, tuple(MANY[:5]))
ENDS, BLOCKED = Notice(NoticeKind.EXPIRING, "ends soon", A), Notice(NoticeKind.BLOCKED, "blocked", A)
REVERTED_NOTES = [
    (Event.CHANGED, "6 deactivated (run r2)", (), False),
    (Event.DRIFT, "6 numbers changed externally, reverted (run r2)", (*MANY[:5], "… and 1 more"), True),
]


@pytest.mark.parametrize(
    ("previous", "current", "expected"),
    [
        (NotifiedAccount(), FAILED, [(Event.FAILING, "failing: no response", (), False)]),
        (FAILED, NotifiedAccount(), [(Event.FAILING, "working again", (), True)]),
        (FAILED, NotifiedAccount(failing="another reason"), []),
        (
            NotifiedAccount(refused={"min-active": "few"}),
            REFUSED,
            [(Event.REFUSED, "plan refused by fleet-wide", ("fleet-wide: many",), False)],
        ),
        (REFUSED, NotifiedAccount(refused={"min-active": "fewer"}), []),
        (REFUSED, NotifiedAccount(), [(Event.REFUSED, "no longer refused by min-active, fleet-wide", (), True)]),
        (
            NotifiedAccount(),
            MANY_DRIFTED,
            [(Event.DRIFT, "6 numbers changed externally", (*MANY[:5], "… and 1 more"), False)],
        ),
        (
            MANY_DRIFTED,
            NotifiedAccount(drift={**MANY_DRIFTED.drift, MANY[1]: Cause.BOTH}),
            [(Event.DRIFT, "1 number changed externally (1 of them also in the file)", (MANY[1],), False)],
        ),
        (MANY_DRIFTED, NotifiedAccount(drift={MANY[0]: Cause.EXTERNAL_DRIFT}), []),
        (MANY_DRIFTED, NotifiedAccount(), [(Event.DRIFT, "external changes were reverted or acknowledged", (), True)]),
        (NotifiedAccount(), NotifiedAccount(written=REVERTED), REVERTED_NOTES),
        (MANY_DRIFTED, NotifiedAccount(drift=MANY_DRIFTED.drift, written=REVERTED), REVERTED_NOTES),
        (
            MANY_DRIFTED,
            NotifiedAccount(written=REVERTED),
            [(Event.DRIFT, "external changes were reverted or acknowledged", (), True), REVERTED_NOTES[0]],
        ),
        (
            NotifiedAccount(written=REVERTED),
            NotifiedAccount(written=REVERTED, failing="x"),
            [(Event.FAILING, "failing: x", (), False)],
        ),
        (
            NotifiedAccount(),
            MANY_HELD,
            [
                (
                    Event.HELD,
                    "6 deactivations held",
                    (*(f"{phone}: in use" for phone in MANY[:5]), "… and 1 more"),
                    False,
                )
            ],
        ),
        (FIVE_HELD, MANY_HELD, [(Event.HELD, "1 deactivation held", (f"{MANY[5]}: in use",), False)]),
        (MANY_HELD, FIVE_HELD, []),
        (MANY_HELD, NotifiedAccount(), [(Event.HELD, "no deactivation is held any more", (), True)]),
        (
            NotifiedAccount(),
            NotifiedAccount(notices=(ENDS, BLOCKED)),
            [(Event.EXPIRING, f"{A}: ends soon", (), False), (Event.NOTICE, f"{A}: blocked", (), False)],
        ),
        (
            NotifiedAccount(notices=(ENDS, BLOCKED)),
            NotifiedAccount(
                notices=(
                    msgspec.structs.replace(ENDS, message="ends sooner"),
                    msgspec.structs.replace(BLOCKED, message="still"),
                )
            ),
            [(Event.EXPIRING, f"{A}: ends sooner", (), False)],
        ),
    ],
)
def test_notification_has_its_event_and_marks_the_end_of_a_state(
    previous: NotifiedAccount, current: NotifiedAccount, expected: list[tuple[Event, str, tuple[str, ...], bool]]
) -> None:
    reported = notifications(NotifyState(accounts={"main": previous}), NotifyState(accounts={"main": current}))
    assert [
        (notification.event, notification.title, notification.lines, notification.is_end) for notification in reported
    ] == expected
    assert {notification.account for notification in reported} <= {"main"}


def test_pass_keeps_the_suspension_and_takes_the_notices_of_the_result() -> None:
    """Refusals of the plan and of the result are combined."""
    previous = NotifiedAccount(suspended="moving", notices=(ENDS,), written=REVERTED)
    refused_plan = plan(notices=(ENDS,), refusals=(Refusal("min-active", "few"),))
    outcome = result(notices=(BLOCKED,), refusals=(Refusal("fleet-wide", "many"),))
    assert update_account(previous, refused_plan, outcome, "r3") == NotifiedAccount(
        suspended="moving", notices=(BLOCKED,), refused={"min-active": "few", "fleet-wide": "many"}, written=REVERTED
    )


@pytest.mark.parametrize(
    ("coverage", "fields"),
    [
        ("account", {"failing", "refused", "drift", "held", "written"}),
        ("drift", {"failing", "drift"}),
        ("writes", {"failing", "written"}),
    ],
)
def test_run_updates_what_it_shows(coverage: Coverage, fields: set[str]) -> None:
    before = NotifiedAccount(suspended="audit")
    now = NotifiedAccount(
        failing="x",
        refused={"rule": "x"},
        drift={"01000000001": Cause.BOTH},
        held={"01000000001": "x"},
        suspended="audit",
        written=WriteSummary("run"),
    )
    after = update_covered(before, now, coverage)
    assert {name for name in after.__struct_fields__ if getattr(after, name) != getattr(before, name)} == fields
