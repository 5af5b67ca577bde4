"""Values: secrets, statuses, accounts, and the keys of JSON documents."""

import logging
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from worker.model.accounts import Desired, DesiredAccount, IdleNumber, Observed, ObservedAccount, Schedule, Status
from worker.model.credentials import Credentials, CredentialsRef, Secret, SecretRef
from worker.model.errors import ErrorInfo, NumberError, Refusal
from worker.model.plans import AccountPlan, Action, Change, Plan, Verdict, tally
from worker.model.results import AccountResult, NumberResult, Outcome, Requests, Result, RunOutcome

CANARY = "canary-7f3a"


@pytest.mark.parametrize(
    ("api_key", "api_secret", "has_command"),
    [
        (SecretRef(env="KEY"), SecretRef(file="/run/s"), False),
        (SecretRef(command=("pass", "key")), SecretRef(env="S"), True),
        (SecretRef(env="KEY"), SecretRef(command=("pass", "secret")), True),
    ],
)
def test_credentials_know_whether_a_command_prints_them(
    api_key: SecretRef,
    api_secret: SecretRef,
    has_command: bool,  # noqa: FBT001 - as pytest passes it
) -> None:
    assert CredentialsRef(api_key, api_secret).has_command is has_command


@pytest.mark.parametrize(
    "show",
    [
        repr,
        str,
        "{}".format,
        "{!r:>40}".format,
        lambda secret: f"{secret}",
        lambda secret: "%s %r" % (secret, secret),  # noqa: UP031 - logging formats this way
        lambda secret: repr(Credentials("key", secret)),
        lambda secret: repr([secret, {secret: secret}]),
        lambda secret: logging.makeLogRecord({"msg": "%s", "args": (secret,)}).getMessage(),
    ],
)
def test_secret_is_hidden_in_any_text(show: Callable[[Secret], str]) -> None:
    assert CANARY not in show(Secret(CANARY))
    assert "Secret(…)" in show(Secret(CANARY))


def test_secret_is_shown_as_a_placeholder() -> None:
    assert repr(Secret(CANARY)) == "Secret(…)"


def test_secret_cannot_be_encoded() -> None:
    with pytest.raises(TypeError) as error:
        msgspec.json.encode(Credentials("key", Secret(CANARY)))
    assert CANARY not in str(error.value)


def test_secret_is_revealed_on_request() -> None:
    assert Secret(CANARY).reveal() == CANARY


def test_secrets_compare_by_text() -> None:
    """A secret does not equal plain text."""
    assert Secret("a") == Secret("a")
    assert hash(Secret("a")) == hash(Secret("a"))
    assert len({hash(Secret(text)) for text in "abcdefgh"}) > 1
    assert Secret("a") != Secret("b")
    assert Secret("a") != "a"


@pytest.mark.parametrize("text", ["FROZEN", "active", ""])
def test_unknown_status_keeps_its_text_and_is_not_writable(text: str) -> None:
    status = msgspec.json.decode(msgspec.json.encode(text), type=Status)
    assert status == text
    assert status.value == text
    assert status == Status(text)
    assert {status: 1}[Status(text)] == 1
    assert msgspec.json.encode(status) == msgspec.json.encode(text)
    assert not status.is_writable


def test_unknown_status_is_not_added_to_the_enum() -> None:
    Status("FROZEN")
    assert "FROZEN" not in Status.__members__


def test_status_must_be_text() -> None:
    with pytest.raises(ValueError, match="7"):
        Status(7)  # type: ignore[arg-type]  # as untyped callers might


def test_only_active_and_inactive_are_writable() -> None:
    assert {status for status in Status if status.is_writable} == {Status.ACTIVE, Status.INACTIVE}


def test_only_activate_and_deactivate_write() -> None:
    assert {action for action in Action if action.writes} == {Action.ACTIVATE, Action.DEACTIVATE}


def test_numbers_with_lines_are_in_file_order() -> None:
    on, off = Desired(Status.ACTIVE), Desired(Status.INACTIVE)
    account = DesiredAccount("main", "main.yaml", {"0299": on, "0211": off}, [7, 4])
    assert list(account.numbers_with_lines()) == [("0299", on, 7), ("0211", off, 4)]


def test_active_counts_only_active_numbers() -> None:
    statuses = [Status.ACTIVE, Status.INACTIVE, Status.PENDING, Status("FROZEN"), Status.ACTIVE]
    numbers = {str(phone): Observed(str(phone), status) for phone, status in enumerate(statuses, 100)}
    assert ObservedAccount("1", numbers).active == 2


def test_writes_are_activations_and_deactivations_in_order() -> None:
    on = Change("0211", Action.ACTIVATE, "INACTIVE", "ACTIVE", "listed")
    missing = Change("0222", Action.MISSING, None, "ACTIVE", "missing")
    off = Change("0233", Action.DEACTIVATE, "ACTIVE", "INACTIVE", "listed")
    plan = AccountPlan(account="main", counts=tally(Action, {}), changes=(on, missing, off))
    assert plan.writes == (on, off)


def test_tally_has_every_member_in_order() -> None:
    counts = tally(Action, {Action.MISSING: 2})
    assert list(counts) == list(Action)
    assert counts == {action: 2 if action is Action.MISSING else 0 for action in Action}


def keys(document: Any, *path: str) -> set[str]:
    """Return the keys of the object at a path. Each list is represented by its first item."""
    for step in path:
        document = document[step]
        if isinstance(document, list):
            document = document[0]
    return set(document)


def test_plan_document_has_the_documented_keys() -> None:
    account = AccountPlan(
        account="main",
        verdict=Verdict.REFUSED,
        refusals=(Refusal("min-active", "too few"),),
        error=ErrorInfo("Oops", "said so"),
        counts=tally(Action, {}),
        changes=(Change("0211", Action.MISSING, None, "ACTIVE", "missing"),),
    )
    plan = Plan(created_at="2026-01-01T00:00:00Z", fingerprint="f", accounts=(account,))
    document = msgspec.json.decode(msgspec.json.encode(plan))
    assert document["schema"] == "senderid.plan/v1"
    assert keys(document) == {"schema", "created_at", "at", "fingerprint", "accounts"}
    assert keys(document, "accounts") == {
        "account",
        "account_id",
        "timezone",
        "verdict",
        "refusals",
        "error",
        "counts",
        "changes",
        "active",
        "notices",
    }
    assert keys(document, "accounts", "refusals") == {"rule", "message"}
    assert keys(document, "accounts", "error") == {"code", "message"}
    assert keys(document, "accounts", "counts") == {
        "activate",
        "deactivate",
        "blocked",
        "held",
        "missing",
        "protected",
        "acknowledged",
        "unmanaged",
        "unchanged",
    }
    required = {"phone", "action", "observed", "desired", "reason"}
    assert keys(document, "accounts", "changes") == required | {"note", "owner", "cause", "since", "until"}
    assert document["accounts"][0]["verdict"] == "refused"


def test_result_document_has_the_documented_keys() -> None:
    number = NumberResult(
        phone="0211",
        action=Action.ACTIVATE,
        desired="ACTIVE",
        before="INACTIVE",
        after=None,
        outcome=Outcome.FAILED,
        attempts=1,
        error=NumberError("Oops", "said so", 400),
    )
    account = AccountResult(
        account="main", outcome=RunOutcome.PARTIAL, counts=tally(Outcome, {Outcome.FAILED: 1}), numbers=(number,)
    )
    result = Result(
        run_id="r",
        started_at="2026-01-01T00:00:00Z",
        finished_at="2026-01-01T00:00:01Z",
        outcome=RunOutcome.PARTIAL,
        accounts=(account,),
    )
    document = msgspec.json.decode(msgspec.json.encode(result))
    assert document["schema"] == "senderid.result/v1"
    assert keys(document) == {"schema", "run_id", "started_at", "finished_at", "outcome", "prompt_ms", "accounts"}
    assert keys(document, "accounts") == {
        "account",
        "account_id",
        "outcome",
        "error",
        "refusals",
        "counts",
        "requests",
        "numbers",
        "notices",
    }
    assert keys(document, "accounts", "requests") == {"reads", "writes", "retries"}
    assert keys(document, "accounts", "counts") == {
        "changed",
        "unchanged",
        "failed",
        "blocked",
        "held",
        "missing",
        "protected",
        "acknowledged",
        "unmanaged",
        "conflict",
        "unverified",
        "not_attempted",
    }
    assert keys(document, "accounts", "numbers") == {
        "phone",
        "action",
        "desired",
        "before",
        "after",
        "outcome",
        "attempts",
        "error",
        "duration_ms",
        "note",
        "owner",
    }
    assert keys(document, "accounts", "numbers", "error") == {"code", "message", "http_status"}


def test_listed_includes_idle_and_scheduled_numbers() -> None:
    """A read must contain all of them."""
    desired = DesiredAccount(
        "main",
        "main.yaml",
        {"0211": Desired(Status.ACTIVE)},
        [1],
        idle={"0222": IdleNumber("no window is open")},
        schedules={"0233": Schedule(None, (), (), "Asia/Seoul")},
    )
    assert desired.listed == ("0211", "0222", "0233")


def test_numbers_are_counted_by_status() -> None:
    statuses = {"0211": Status.ACTIVE, "0222": Status.INACTIVE, "0233": Status.ACTIVE, "0244": Status("FROZEN")}
    observed = ObservedAccount("1", {phone: Observed(phone, status) for phone, status in statuses.items()})
    assert (observed.active, observed.active_phones) == (2, frozenset({"0211", "0233"}))
    assert observed.statuses == {Status.ACTIVE: 2, Status.INACTIVE: 1, Status("FROZEN"): 1}
    assert [status.is_writable for status in statuses.values()] == [True, True, True, False]


def test_requests_are_added_by_kind() -> None:
    assert Requests(1, 2, 3) + Requests(10, 20, 30) == Requests(11, 22, 33)
