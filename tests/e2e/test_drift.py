"""Drift and its causes, on a sandbox that changes between runs."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from tests.e2e.conftest import Command, Served
from worker.render.json_schema import schema
from worker.sandbox import SandboxAccount

A, B, C, D = "01000000001", "01000000002", "0223456789", "15881234"
WHEN = datetime(2026, 11, 20, 9, 0, tzinfo=UTC)
NUMBERS = {A: "INACTIVE", B: "ACTIVE", C: "ACTIVE", D: "ACTIVE"}


@pytest.fixture(autouse=True)
def applied(served: Served, command: Command) -> None:
    """Apply changes of A and B."""
    _write_file(command, {A: "ACTIVE", B: "INACTIVE", C: "ACTIVE"})
    assert command("apply", "-y", "-f", "main.yaml").returncode == 0
    served.sandbox.wire.clear()


def _write_file(command: Command, statuses: dict[str, str], more: str = "") -> None:
    numbers = "".join(f"  {phone}: {status}\n" for phone, status in statuses.items())
    command.write("main.yaml", f"version: 1\n{more}numbers:\n{numbers}")


def _drift(command: Command, status: int, *arguments: str) -> dict[str, Any]:
    """Return the drifted numbers by phone from a document that matches the schema of plans."""
    result = command("drift", "-f", "main.yaml", "--format", "json", *arguments)
    assert result.returncode == status, result.stderr
    document = json.loads(result.stdout)
    assert list(Draft202012Validator(schema("plan")).iter_errors(document)) == []
    return {change["phone"]: change for change in document["accounts"][0]["changes"]}


def test_no_drift_takes_one_read(command: Command, served: Served) -> None:
    """An unmanaged number is not drift."""
    assert _drift(command, 0) == {}
    assert [request.method for request in served.sandbox.wire] == ["GET"]
    assert "No drift. 3 numbers are as desired." in command("drift", "-f", "main.yaml").stdout


@pytest.mark.usefixtures("served")
def test_file_change_is_not_drift(command: Command) -> None:
    _write_file(command, {A: "INACTIVE", B: "INACTIVE", C: "ACTIVE"})
    assert _drift(command, 0) == {}
    result = command("plan", "-f", "main.yaml", "--format", "json")
    causes = {change["phone"]: change["cause"] for change in json.loads(result.stdout)["accounts"][0]["changes"]}
    assert causes[A] == "config_change"
    assert "outside" not in command("plan", "-f", "main.yaml").stdout
    lines = [json.loads(line) for line in command("drift", "-f", "main.yaml").stderr.splitlines()]
    assert A not in [line.get("phone") for line in lines]


def test_external_change_is_drift_with_its_time(command: Command, served: Served, account: SandboxAccount) -> None:
    account.switch(A, "INACTIVE", WHEN)
    change = _drift(command, 2)[A]
    assert (change["cause"], change["since"]) == ("external_drift", "2026-11-20T09:00:00Z")
    for verb in ("drift", "plan"):
        assert "changed externally on 2026-11-20 09:00 UTC" in command(verb, "-f", "main.yaml").stdout
    assert served.writes == []


@pytest.mark.usefixtures("served")
def test_change_of_file_and_account_is_drift(command: Command, account: SandboxAccount) -> None:
    _write_file(command, {A: "INACTIVE", B: "INACTIVE", C: "ACTIVE"})
    account.switch(A, "PENDING", WHEN)
    assert _drift(command, 3)[A]["cause"] == "both"
    assert "changed externally on 2026-11-20 09:00 UTC, and in the file" in command("drift", "-f", "main.yaml").stdout


@pytest.mark.usefixtures("served")
def test_number_without_history_is_shown_without_cause(command: Command, account: SandboxAccount) -> None:
    account.switch(C, "INACTIVE")
    assert _drift(command, 2)[C]["cause"] is None
    (command.folder / "state/senderid/ledger.db").unlink()
    _write_file(command, {A: "INACTIVE", B: "INACTIVE", C: "ACTIVE"})
    assert set(_drift(command, 2)) == {A, C}


@pytest.mark.usefixtures("served")
def test_protected_number_drifts(command: Command, account: SandboxAccount) -> None:
    account.switch(C, "INACTIVE")
    _write_file(command, {A: "ACTIVE", B: "INACTIVE", C: "{status: ACTIVE, protected: true}"})
    assert _drift(command, 2)[C]["action"] == "protected"
    assert "Drift: 1 protected. 2 numbers are as desired." in command("drift", "-f", "main.yaml").stdout


@pytest.mark.usefixtures("served")
def test_safety_rules_count_drift_only(command: Command) -> None:
    """An unreadable account is an error."""
    _write_file(
        command, {A: "INACTIVE", B: "INACTIVE", C: "INACTIVE", D: "INACTIVE"}, "safety: {max_deactivations: 1}\n"
    )
    assert command("plan", "-f", "main.yaml").returncode == 4
    assert set(_drift(command, 4)) == {C, D}
    assert set(_drift(command, 2, "--allow", "all")) == {C, D}
    assert set(_drift(command, 2, "--only", D)) == {D}
    command.environment["SOLAPI_API_SECRET"] = "another"
    assert command("drift", "-f", "main.yaml").returncode == 1


@pytest.mark.usefixtures("served")
def test_acknowledged_drift_is_shown_and_left(command: Command, account: SandboxAccount) -> None:
    """Neither `drift` nor `apply` fails because of it, and `apply` does not write it."""
    account.switch(A, "INACTIVE", WHEN)
    known = "{status: ACTIVE, acknowledge: {reason: line under repair, until: 2999-01-01}}"
    _write_file(command, {A: known, B: "INACTIVE", C: "ACTIVE"})
    assert _drift(command, 0)[A]["action"] == "acknowledged"
    assert "No drift: 1 acknowledged. 2 numbers are as desired." in command("drift", "-f", "main.yaml").stdout
    applied = command("apply", "-y", "-f", "main.yaml")
    assert (applied.returncode, account.statuses[A]) == (0, "INACTIVE")
    assert "acknowledged until 2999-01-01 00:00 KST: line under repair" in applied.stdout
