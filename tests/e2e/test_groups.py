"""Groups of interchangeable numbers in plans, applies, saved plans and rollbacks."""

import json
from typing import Any

import pytest

from tests.e2e.conftest import Command, Served
from worker.sandbox import Fault, SandboxAccount

OLD, NEW, OTHER = "0223124567", "01012345678", "15881234"
FILE = """\
version: 1
groups:
  support: {{members: [{old}, {new}]}}
numbers: {{{old}: {first}, {new}: {second}, {other}: INACTIVE}}
"""
NUMBERS = {OLD: "ACTIVE", NEW: "INACTIVE", OTHER: "ACTIVE"}
ENVIRONMENT = {"SENDERID_SAFETY__MIN_ACTIVE": "0", "SENDERID_RETRY__BASE_SECONDS": "0.01"}


def _file(first: str, second: str) -> str:
    return FILE.format(old=OLD, new=NEW, other=OTHER, first=first, second=second)


def _numbers(result: Any) -> dict[str, str]:
    return {number["phone"]: number["outcome"] for account in result["accounts"] for number in account["numbers"]}


def test_successor_is_verified_before_the_old_number_is_deactivated(
    served: Served, command: Command, account: SandboxAccount
) -> None:
    command.write("main.yaml", _file("INACTIVE", "ACTIVE"))
    result = command("apply", "-y", "-f", "main.yaml", "--format", "json")
    assert result.returncode == 0, result.stderr
    assert account.statuses == {OLD: "INACTIVE", NEW: "ACTIVE", OTHER: "INACTIVE"}
    wire = [request.phone or "read" for request in served.sandbox.wire]
    assert "read" in wire[wire.index(NEW) : wire.index(OLD)]


def test_failed_successor_holds_the_old_number(served: Served, command: Command, account: SandboxAccount) -> None:
    served.sandbox.script(NEW, "PUT", [Fault.INTERNAL_ERROR] * 9)
    command.write("main.yaml", _file("INACTIVE", "ACTIVE"))
    process = command("apply", "-y", "-f", "main.yaml", "--format", "json")
    result = json.loads(process.stdout)
    assert (process.returncode, _numbers(result)[OLD], _numbers(result)[OTHER]) == (3, "held", "changed")
    assert account.statuses[OLD] == "ACTIVE"
    (held,) = [number for number in result["accounts"][0]["numbers"] if number["phone"] == OLD]
    assert held["error"]["code"] == "Held"
    assert "group support" in held["error"]["message"]
    history = command("history", result["run_id"]).stdout
    assert "held" in history
    assert "group support" in history


@pytest.mark.usefixtures("served")
def test_group_minimum_holds_deactivations(command: Command, account: SandboxAccount) -> None:
    command.write("main.yaml", _file("INACTIVE", "INACTIVE"))
    output = command("plan", "-f", "main.yaml", "--detailed-exitcode")
    assert output.returncode == 3, output.stderr
    assert "1 held" in output.stdout
    assert "group support would keep 0 ACTIVE numbers" in " ".join(output.stdout.split())
    result = command("apply", "-y", "-f", "main.yaml", "--format", "json")
    assert (result.returncode, _numbers(json.loads(result.stdout))) == (3, {OLD: "held", OTHER: "changed"})
    assert account.statuses[OLD] == "ACTIVE"


@pytest.mark.usefixtures("served")
def test_saved_plan_keeps_its_groups(command: Command, account: SandboxAccount) -> None:
    command.write("main.yaml", _file("INACTIVE", "ACTIVE"))
    account.switch(NEW, "ACTIVE")
    assert command("plan", "-f", "main.yaml", "--out", "plan.json").returncode == 0
    account.switch(NEW, "INACTIVE")
    result = command("apply", "plan.json", "--format", "json")
    assert (result.returncode, _numbers(json.loads(result.stdout))[OLD]) == (3, "held"), result.stderr
    assert account.statuses[OLD] == "ACTIVE"


@pytest.mark.usefixtures("served")
def test_rollback_keeps_the_groups_of_its_run(command: Command, account: SandboxAccount) -> None:
    command.write("main.yaml", _file("INACTIVE", "ACTIVE"))
    run = json.loads(command("apply", "-y", "-f", "main.yaml", "--format", "json").stdout)["run_id"]
    account.switch(OLD, "BLOCKED")
    result = command("rollback", run, "-y", "--format", "json")
    assert (result.returncode, _numbers(json.loads(result.stdout))[NEW]) == (3, "held"), result.stderr
    assert account.statuses[NEW] == "ACTIVE"


@pytest.mark.usefixtures("served")
def test_group_below_its_minimum_is_a_notice(command: Command, account: SandboxAccount) -> None:
    account.switch(OLD, "INACTIVE")
    command.write("main.yaml", _file("INACTIVE", "INACTIVE"))
    plan = json.loads(command("plan", "-f", "main.yaml", "--format", "json").stdout)
    (notice,) = plan["accounts"][0]["notices"]
    assert notice["kind"] == "group"
    assert notice["message"].startswith("group support has 0 of 2 numbers ACTIVE")
