"""Swaps whose successor cannot be activated: plans, applies, saved plans and rollbacks."""

import json
from typing import Any

import pytest

from tests.e2e.conftest import Command, Served
from worker.sandbox import Fault, SandboxAccount

OLD, NEW, OTHER = "0223124567", "01012345678", "15881234"
FILE = f"version: 1\nnumbers: {{{OLD}: INACTIVE, {NEW}: ACTIVE, {OTHER}: ACTIVE}}\n"
HELD = f"held by safety.pair_swaps: cannot activate {NEW} "
NUMBERS = {OLD: "ACTIVE", NEW: "PENDING", OTHER: "ACTIVE"}
ENVIRONMENT = {"SENDERID_RETRY__BASE_SECONDS": "0.01"}
FILES = {"main.yaml": FILE}


def _outcomes(document: str) -> dict[str, str]:
    result: Any = json.loads(document)
    return {number["phone"]: number["outcome"] for account in result["accounts"] for number in account["numbers"]}


def _swaps(document: str) -> list[str]:
    parsed: Any = json.loads(document)
    return [
        notice["message"] for account in parsed["accounts"] for notice in account["notices"] if notice["kind"] == "swap"
    ]


def _flat(text: str) -> str:
    return " ".join(text.split())


def test_warn_writes_and_every_format_shows_the_notice(
    served: Served, command: Command, account: SandboxAccount
) -> None:
    plan = command("plan", "-f", "main.yaml", "--format", "json")
    (message,) = _swaps(plan.stdout)
    assert message == (
        f"the plan cannot activate {NEW} (PENDING), but would deactivate {OLD}; "
        "fix the activation first, or set safety.pair_swaps to hold"
    )
    for kind in ("text", "markdown", "html"):
        output = command("plan", "-f", "main.yaml", "--format", kind)
        assert (output.returncode, message in _flat(output.stdout)) == (0, True), output.stdout
    logged = [
        json.loads(line) for line in command("plan", "-f", "main.yaml", "--log-format", "json").stderr.splitlines()
    ]
    assert [line["message"] for line in logged if line["event"] == "notice" and line["kind"] == "swap"] == [message]
    result = command("apply", "-y", "-f", "main.yaml", "--format", "json")
    assert (result.returncode, _outcomes(result.stdout)) == (3, {OLD: "changed", NEW: "blocked"}), result.stderr
    (message,) = _swaps(result.stdout)
    assert message.startswith(f"the run deactivated {OLD}, but did not confirm {NEW} (blocked) as ACTIVE; ")
    assert served.writes == [(OLD, "INACTIVE")]
    assert account.statuses[OLD] == "INACTIVE"


@pytest.mark.usefixtures("served")
def test_notice_is_korean_and_masked(command: Command) -> None:
    output = command("--lang", "ko", "plan", "-f", "main.yaml", "--mask", "010****5678")
    assert "활성화할 수 없는 번호: 010****5678 (PENDING)" in _flat(output.stdout)
    assert NEW not in output.stdout
    assert OLD not in output.stdout


@pytest.mark.parametrize("option", ["environment", "settings", "file"])
def test_hold_writes_nothing_of_an_impossible_swap(
    served: Served, command: Command, account: SandboxAccount, option: str
) -> None:
    if option == "environment":
        command.environment["SENDERID_SAFETY__PAIR_SWAPS"] = "hold"
    elif option == "settings":
        command.write("config/worker.yaml", "safety: {pair_swaps: hold}\n")
    else:
        command.write("main.yaml", f"{FILE}safety: {{pair_swaps: hold}}\n")
    output = command("plan", "-f", "main.yaml", "--detailed-exitcode")
    assert (output.returncode, f"{HELD}(PENDING); " in _flat(output.stdout)) == (3, True), output.stdout
    result = command("apply", "-y", "-f", "main.yaml", "--format", "json", "--allow", "all")
    assert (result.returncode, _outcomes(result.stdout)) == (3, {OLD: "held", NEW: "blocked"}), result.stderr
    assert (served.writes, account.statuses[OLD]) == ([], "ACTIVE")
    assert _swaps(result.stdout) == []


def test_hold_ends_when_the_successor_is_ready_or_unlisted(
    served: Served, command: Command, account: SandboxAccount
) -> None:
    command.environment["SENDERID_SAFETY__PAIR_SWAPS"] = "hold"
    excluded = command("plan", "-f", "main.yaml", "--exclude", NEW)
    assert "1 to deactivate" in excluded.stdout
    account.switch(NEW, "INACTIVE")
    result = command("apply", "-y", "-f", "main.yaml", "--format", "json")
    assert (result.returncode, served.writes) == (0, [(NEW, "ACTIVE"), (OLD, "INACTIVE")]), result.stderr
    wire = [request.phone or "read" for request in served.sandbox.wire]
    assert "read" in wire[wire.index(NEW) : wire.index(OLD)]


@pytest.mark.parametrize(("mode", "outcome"), [("hold", "held"), ("warn", "changed")])
def test_refused_activation_holds_the_old_number_or_adds_a_swap_notice(
    served: Served, command: Command, account: SandboxAccount, mode: str, outcome: str
) -> None:
    """`hold` keeps the old number ACTIVE. `warn` reports the incomplete swap."""
    account.switch(NEW, "INACTIVE")
    served.sandbox.script(NEW, "PUT", [Fault.NOT_WRITABLE])
    command.environment["SENDERID_SAFETY__PAIR_SWAPS"] = mode
    result = command("apply", "-y", "-f", "main.yaml", "--format", "json")
    assert (result.returncode, _outcomes(result.stdout)) == (3, {OLD: outcome, NEW: "blocked"}), result.stderr
    assert account.statuses[OLD] == ("ACTIVE" if mode == "hold" else "INACTIVE")
    assert bool(_swaps(result.stdout)) == (mode == "warn")
    if mode == "hold":
        (number,) = (row for row in json.loads(result.stdout)["accounts"][0]["numbers"] if row["phone"] == OLD)
        assert number["error"]["message"].startswith(f"{HELD}(INACTIVE); ")
        run = json.loads(result.stdout)["run_id"]
        assert "pair_swaps hold" in command("history", run).stdout


def test_saved_plan_holds_when_the_successor_is_blocked(
    served: Served, command: Command, account: SandboxAccount
) -> None:
    account.switch(NEW, "INACTIVE")
    command.environment["SENDERID_SAFETY__PAIR_SWAPS"] = "hold"
    assert command("plan", "-f", "main.yaml", "--out", "plan.json").returncode == 0
    account.switch(NEW, "BLOCKED")
    command.environment["SENDERID_SAFETY__PAIR_SWAPS"] = "warn"
    result = command("apply", "plan.json", "--format", "json")
    assert (result.returncode, _outcomes(result.stdout)) == (3, {OLD: "held", NEW: "conflict"}), result.stderr
    assert (served.writes, account.statuses[OLD]) == ([], "ACTIVE")


def test_rollback_holds_when_the_old_number_is_blocked(
    served: Served, command: Command, account: SandboxAccount
) -> None:
    """Undoing the swap would leave neither number ACTIVE."""
    account.switch(NEW, "INACTIVE")
    command.environment["SENDERID_SAFETY__PAIR_SWAPS"] = "hold"
    run = json.loads(command("apply", "-y", "-f", "main.yaml", "--format", "json").stdout)["run_id"]
    account.switch(OLD, "BLOCKED")
    initial_count = len(served.writes)
    output = command("rollback", run, "--dry-run")
    assert f"cannot activate {OLD} (BLOCKED)" in _flat(output.stdout)
    result = command("rollback", run, "-y", "--format", "json")
    assert (result.returncode, _outcomes(result.stdout)[NEW]) == (3, "held"), result.stderr
    assert (len(served.writes), account.statuses[NEW]) == (initial_count, "ACTIVE")
