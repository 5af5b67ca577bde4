"""The in-use guard in every run that would deactivate numbers, and its notices."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.e2e.conftest import Command, Serve, Served
from worker.sandbox import SandboxAccount, SandboxNumber

BUSY, IDLE, AHEAD, STAYS = "0223124567", "01012345678", "15881234", "0311234567"
FILE = f"""\
version: 1
in_use: {{hours: 48}}
numbers: {{{BUSY}: INACTIVE, {IDLE}: INACTIVE, {AHEAD}: INACTIVE, {STAYS}: ACTIVE}}
"""
FILES = {"main.yaml": FILE}
SANDBOX = {"rate_limit": None}
ENVIRONMENT = {"SENDERID_SAFETY__MAX_DEACTIVATIONS": "100%", "SENDERID_RETRY__BASE_SECONDS": "0.01"}


@pytest.fixture
def account() -> SandboxAccount:
    """Return an account: one number sent yesterday, one has a message scheduled for tomorrow, two are idle."""
    account = SandboxAccount.of(dict.fromkeys((BUSY, IDLE, AHEAD, STAYS), "ACTIVE"))
    now = datetime.now(UTC)
    account.add_sent(BUSY, now - timedelta(hours=30))
    account.add_scheduled(now + timedelta(hours=30), AHEAD)
    return account


def _message_reads(served: Served) -> int:
    return sum(request.path.startswith("/messages/") for request in served.sandbox.wire)


def _outcomes(result: Any) -> dict[str, str]:
    (account,) = json.loads(result.stdout)["accounts"]
    return {number["phone"]: number["outcome"] for number in account["numbers"]}


@pytest.mark.usefixtures("served")
def test_plan_holds_numbers_in_use(command: Command) -> None:
    result = command("plan", "-f", "main.yaml", "--detailed-exitcode")
    assert result.returncode == 3
    assert "held" in result.stdout
    output = " ".join(result.stdout.split())
    assert "in use: it has sent messages in the last 48 hours, one of them at 20" in output
    assert "in use: it is the sender of messages scheduled for 20" in output
    assert "add --allow in-use" in output
    assert "1 to deactivate, 2 held" in output


def test_apply_writes_idle_numbers_and_reads_messages_once(
    served: Served, command: Command, account: SandboxAccount
) -> None:
    result = command("apply", "-y", "-f", "main.yaml", "--format", "json")
    assert (result.returncode, _outcomes(result)) == (3, {IDLE: "changed", BUSY: "held", AHEAD: "held"})
    assert served.writes == [(IDLE, "INACTIVE")]
    assert account.statuses[BUSY] == account.statuses[AHEAD] == "ACTIVE"
    assert _message_reads(served) == 4


def test_messages_are_not_read_with_allow_in_use(served: Served, command: Command, account: SandboxAccount) -> None:
    result = command("apply", "-y", "-f", "main.yaml", "--allow", "in-use", "--format", "json")
    assert result.returncode == 0, result.stderr
    assert {phone for phone, status in account.statuses.items() if status == "ACTIVE"} == {STAYS}
    assert _message_reads(served) == 0


def test_guard_is_off_by_default(served: Served, command: Command) -> None:
    command.write("main.yaml", FILE.replace("in_use: {hours: 48}\n", ""))
    assert command("plan", "-f", "main.yaml", "--detailed-exitcode").returncode == 2
    assert _message_reads(served) == 0
    command.environment["SENDERID_IN_USE__ENABLED"] = "true"
    assert "it is the sender of messages scheduled" in command("plan", "-f", "main.yaml").stdout
    reads = _message_reads(served)
    assert reads > 0
    command.write("main.yaml", FILE.replace("hours: 48", "enabled: false"))
    assert command("plan", "-f", "main.yaml", "--detailed-exitcode").returncode == 2
    assert _message_reads(served) == reads


@pytest.mark.parametrize(("fate", "outcome", "status"), [("hold", "held", 3), ("allow", "changed", 0)])
def test_missing_scope_is_a_notice(  # noqa: PLR0917 - a case and its fixtures
    served: Served, command: Command, account: SandboxAccount, fate: str, outcome: str, status: int
) -> None:
    """`on_unknown` decides if the numbers are held."""
    account.mailbox.can_read_messages = False
    command.write("main.yaml", FILE.replace("hours: 48", f"on_unknown: {fate}"))
    output = " ".join(command("plan", "-f", "main.yaml").stdout.split())
    assert "Notices" in output
    assert "the use of 3 numbers is unknown" in output
    reads = _message_reads(served)
    result = command("apply", "-y", "-f", "main.yaml", "--format", "json")
    assert (result.returncode, _outcomes(result)) == (status, dict.fromkeys((IDLE, BUSY, AHEAD), outcome))
    assert _message_reads(served) - reads == 1
    (notice,) = json.loads(result.stdout)["accounts"][0]["notices"]
    lines = [json.loads(line) for line in result.stderr.splitlines() if '"notice"' in line]
    assert [(line["kind"], line["message"]) for line in lines] == [("in_use", notice["message"])]
    assert "Forbidden" in notice["message"]


def test_saved_plan_reads_messages_again(served: Served, command: Command, account: SandboxAccount) -> None:
    assert command("plan", "-f", "main.yaml", "--out", "plan.json").returncode == 0
    account.mailbox.scheduled.clear()
    account.add_sent(IDLE, datetime.now(UTC))
    result = command("apply", "plan.json", "--format", "json")
    assert (result.returncode, _outcomes(result)) == (3, dict.fromkeys((IDLE, BUSY, AHEAD), "held"))
    assert not served.writes
    assert command("apply", "plan.json", "--allow", "in-use").returncode == 3
    assert served.writes == [(IDLE, "INACTIVE")]


def test_rollback_holds_numbers_in_use(served: Served, command: Command, account: SandboxAccount) -> None:
    account.switch(IDLE, "INACTIVE")
    command.write("main.yaml", f"version: 1\nin_use: {{hours: 48}}\nnumbers: {{{IDLE}: ACTIVE}}\n")
    result = command("apply", "-y", "-f", "main.yaml", "--format", "json")
    assert (result.returncode, _message_reads(served)) == (0, 0)
    account.add_sent(IDLE, datetime.now(UTC))
    run = json.loads(result.stdout)["run_id"]
    undone = command("rollback", run, "-y", "--format", "json")
    assert (undone.returncode, _outcomes(undone)) == (3, {IDLE: "held"})
    assert _message_reads(served) == 3
    assert command("rollback", run, "-y", "--allow", "in-use").returncode == 0
    assert account.statuses[IDLE] == "INACTIVE"


def test_drift_does_not_read_messages(served: Served, command: Command) -> None:
    assert "3 to deactivate" in command("drift", "-f", "main.yaml").stdout
    assert _message_reads(served) == 0


def test_invalid_guard_reports_its_line(served: Served, command: Command) -> None:
    command.write("main.yaml", "version: 1\nin_use: {hours: 0, until: now}\nnumbers: {}\n")
    result = command("plan", "-f", "main.yaml")
    assert result.returncode == 65
    assert "main.yaml:2:17: hours must be a whole number from 1 to 8,784, not '0'" in result.stderr
    assert "main.yaml:2:20:" in result.stderr
    assert not served.sandbox.wire


def test_notices_are_in_plan_result_and_log(serve: Serve, command: Command) -> None:
    soon = (datetime.now(UTC) + timedelta(days=10)).isoformat()
    account = SandboxAccount(
        {
            IDLE: SandboxNumber(IDLE, "ACTIVE", expire_at=soon),
            STAYS: SandboxNumber(STAYS, "ACTIVE", expire_at=soon, auto_extension=True),
            BUSY: SandboxNumber(BUSY, "PENDING", necessary_measures=["BUSINESS_DOCUMENTS"]),
            AHEAD: SandboxNumber(AHEAD, "DUPLICATED"),
        },
        limit=4,
    )
    command.at(serve(account).sandbox, account)
    command.write("main.yaml", f"version: 1\nunmanaged: ignore\nnumbers: {{{IDLE}: ACTIVE, {BUSY}: ACTIVE}}\n")
    text = command("plan", "-f", "main.yaml").stdout
    assert text.count("02-2312-4567") == 1
    assert "BUSINESS_DOCUMENTS" not in text
    assert "1588-1234" in text
    assert f"its registration ends on {soon[:10]}" in " ".join(text.split())
    assert "4 of 4 registration slots used" in " ".join(text.split())
    result = command("apply", "-y", "-f", "main.yaml", "--format", "json")
    document = json.loads(result.stdout)["accounts"][0]["notices"]
    assert [(notice["kind"], notice["phone"]) for notice in document] == [
        ("expiring", IDLE),
        ("pending", BUSY),
        ("duplicated", AHEAD),
        ("limit", None),
    ]
    assert "BUSINESS_DOCUMENTS" in document[1]["message"]
    lines = [json.loads(line) for line in result.stderr.splitlines() if '"event":"notice"' in line]
    assert [line["kind"] for line in lines] == [notice["kind"] for notice in document]
