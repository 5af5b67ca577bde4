"""Rollback of a run, verified against the sandbox."""

import json
import os
import pty
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from tests.e2e.conftest import Command, Serve, Served
from worker.render.json_schema import schema
from worker.sandbox import SandboxAccount

A, B, C, D = "01000000001", "01000000002", "0223456789", "15881234"
BEFORE = {A: "INACTIVE", B: "ACTIVE", C: "ACTIVE", D: "ACTIVE"}
AFTER = BEFORE | {A: "ACTIVE", B: "INACTIVE"}
NUMBERS = {A: "INACTIVE", B: "ACTIVE", C: "ACTIVE", D: "ACTIVE"}
FILES = {"main.yaml": f"version: 1\nnumbers: {{{A}: ACTIVE, {B}: INACTIVE}}\n"}


def _apply(command: Command, *arguments: str) -> str:
    result = command("apply", "-y", "-f", "main.yaml", "--format", "json", *arguments)
    run: str = json.loads(result.stdout)["run_id"]
    return run


def _rollback(command: Command, *arguments: str, status: int = 0) -> Any:
    """Return the document of a rollback, which matches the schema of results."""
    result = command("rollback", "-y", "--format", "json", *arguments)
    assert result.returncode == status, result.stderr
    document = json.loads(result.stdout)
    assert list(Draft202012Validator(schema("result")).iter_errors(document)) == []
    return document


def _outcomes(result: Any) -> dict[str, str]:
    return {number["phone"]: number["outcome"] for account in result["accounts"] for number in account["numbers"]}


@pytest.mark.usefixtures("served")
def test_rollback_of_a_run_and_of_the_rollback(command: Command, account: SandboxAccount) -> None:
    run = _apply(command)
    assert account.statuses == AFTER
    first = _rollback(command, run)
    assert (account.statuses, _outcomes(first)) == (BEFORE, {A: "changed", B: "changed"})
    second = _rollback(command, first["run_id"])
    assert (account.statuses, second["outcome"]) == (AFTER, "converged")
    runs = json.loads(command("history", "--format", "json").stdout)["runs"]
    assert [run["command"] for run in runs] == [f"rollback {first['run_id']}", f"rollback {run}", "apply"]


@pytest.mark.usefixtures("served")
def test_text_shows_plan_result_and_file_reminder(command: Command) -> None:
    run = _apply(command)
    output = command("rollback", "-y", run).stdout
    assert output.index("Plan: 1 to activate, 1 to deactivate") < output.index("Converged: 2 changed")
    assert f"as before run {run}" in output
    assert "main.yaml" in output[output.index("Converged") :]
    assert "the next apply undoes this rollback" in output


def test_number_changed_since_is_conflict(command: Command, served: Served, account: SandboxAccount) -> None:
    run = _apply(command)
    account.switch(A, "PENDING")
    dry = command("rollback", run, "--dry-run")
    assert (dry.returncode, "! blocked" in dry.stdout, "not rolled back" in dry.stdout) == (0, True, True)
    served.sandbox.wire.clear()
    result = _rollback(command, run, status=3)
    assert _outcomes(result) == {A: "conflict", B: "changed"}
    assert (account.statuses[A], account.statuses[B]) == ("PENDING", "ACTIVE")
    assert served.writes == [(B, "ACTIVE")]


@pytest.mark.usefixtures("served")
def test_reverted_number_is_unchanged(command: Command, account: SandboxAccount) -> None:
    run = _apply(command)
    account.switch(A, "INACTIVE")
    result = _rollback(command, run)
    assert (_outcomes(result), result["accounts"][0]["counts"]["unchanged"]) == ({B: "changed"}, 1)


def test_dry_run_writes_nothing(command: Command, served: Served) -> None:
    run = _apply(command)
    served.sandbox.wire.clear()
    result = command("rollback", run, "--dry-run", "--format", "json")
    document = json.loads(result.stdout)
    assert list(Draft202012Validator(schema("plan")).iter_errors(document)) == []
    planned = {change["phone"]: change["action"] for change in document["accounts"][0]["changes"]}
    assert (result.returncode, planned) == (0, {A: "deactivate", B: "activate"})
    assert [request.method for request in served.sandbox.wire] == ["GET"]
    assert len(json.loads(command("history", "--format", "json").stdout)["runs"]) == 1


def test_safety_rule_refuses_a_rollback(command: Command, serve: Serve) -> None:
    account = SandboxAccount.of({f"0100000{n:04}": "INACTIVE" if n < 8 else "ACTIVE" for n in range(10)})
    served = serve(account)
    previous = dict(account.statuses)
    numbers = "".join(f"  {phone}: ACTIVE\n" for phone in previous)
    command.at(served.sandbox, account).write("main.yaml", f"version: 1\nnumbers:\n{numbers}")
    run = _apply(command)
    served.sandbox.wire.clear()
    output = command("rollback", "-y", run)
    assert output.returncode == 4
    assert "--allow max-deactivations" in output.stdout
    assert "undoes this rollback" not in output.stdout
    assert command("rollback", "--dry-run", run).returncode == 4
    assert command("rollback", "--dry-run", run, "--allow", "max-deactivations").returncode == 0
    result = _rollback(command, run, status=4)
    assert (result["outcome"], set(_outcomes(result).values())) == ("refused", {"not_attempted"})
    assert served.writes == []
    assert _rollback(command, run, "--allow", "max-deactivations")["outcome"] == "converged"
    assert account.statuses == previous


def test_run_without_changes_cannot_be_rolled_back(command: Command, served: Served) -> None:
    _apply(command)
    run = _apply(command)
    served.sandbox.wire.clear()
    result = command("rollback", "-y", run)
    assert (result.returncode, result.stdout) == (0, f"Run {run} changed nothing: there is nothing to roll back.\n")
    assert _rollback(command, run)["accounts"] == []
    dry = command("rollback", "--dry-run", "--format", "json", run)
    assert (dry.returncode, json.loads(dry.stdout)["accounts"]) == (0, [])
    assert served.sandbox.wire == []
    assert len(json.loads(command("history", "--format", "json").stdout)["runs"]) == 2


@pytest.mark.usefixtures("served")
def test_last_is_the_newest_run(command: Command, account: SandboxAccount) -> None:
    """Rolled back twice, it restores what the first rollback undid."""
    run = _apply(command)
    assert json.loads(command("history", "last", "--format", "json").stdout)["runs"][0]["run_id"] == run
    for expected in (BEFORE, AFTER):
        _rollback(command, "last")
        assert account.statuses == expected


def test_last_run_without_changes_names_the_last_one_with_changes(command: Command, served: Served) -> None:
    """The run with changes is not rolled back: the user did not name it."""
    missing = command("rollback", "-y", "last")
    assert (missing.returncode, "there is no ledger yet" in missing.stderr) == (64, True)
    command.write("other.yaml", f"version: 1\nnumbers: {{{A}: INACTIVE}}\n")
    assert command("apply", "-y", "-f", "other.yaml").returncode == 0
    assert len(command("rollback", "-y", "last").stdout.splitlines()) == 1
    run = _apply(command)
    idle = _apply(command)
    served.sandbox.wire.clear()
    result = command("rollback", "-y", "last")
    assert result.stdout.splitlines() == [
        f"Run {idle} changed nothing: there is nothing to roll back.",
        f"The last run that changed numbers: senderid rollback {run}",
    ]
    assert served.sandbox.wire == []


def test_wrong_usage_sends_nothing(command: Command, served: Served) -> None:
    assert "there is no ledger yet" in command("rollback", "-y", "x").stderr
    run = _apply(command)
    served.sandbox.wire.clear()
    for arguments, message in (((run,), "--dry-run"), (("-y", "x"), run), ((), "RUN")):
        result = command("rollback", *arguments)
        assert (result.returncode, message in result.stderr) == (64, True)
    assert served.sandbox.wire == []


@pytest.mark.usefixtures("served")
@pytest.mark.parametrize(("input_line", "status", "expected"), [(b"yes\n", 0, BEFORE), (b"no\n", 4, AFTER)])
def test_only_yes_on_a_terminal_rolls_back(
    command: Command, account: SandboxAccount, input_line: bytes, status: int, expected: dict[str, str]
) -> None:
    run = _apply(command)
    master, slave = pty.openpty()
    try:
        with command.popen("rollback", run, stdin=slave) as process:
            os.write(master, input_line)
            out, err = process.communicate(timeout=60)
    finally:
        os.close(slave)
        os.close(master)
    assert (process.returncode, account.statuses) == (status, expected)
    assert "Plan: 1 to activate" in out
    assert "Type 'yes'" in err


def test_unreadable_account_does_not_stop_the_others(command: Command, serve: Serve) -> None:
    accounts = [
        SandboxAccount.of({A: "INACTIVE"}, account_id="1", api_key="NCS0000000000001", api_secret="secret-1"),
        SandboxAccount.of({B: "INACTIVE"}, account_id="2", api_key="NCS0000000000002", api_secret="secret-2"),
    ]
    served = serve(*accounts)
    command.at(served.sandbox, accounts[0])
    for account, phone in zip(accounts, (A, B), strict=True):
        name = f"S{account.account_id}"
        command.environment |= {f"{name}_KEY": account.api_key, f"{name}_SECRET": account.api_secret}
        credentials = f"{{api_key: {{env: {name}_KEY}}, api_secret: {{env: {name}_SECRET}}}}"
        command.write(
            f"files/{name}.yaml",
            f"version: 1\naccount: {name}\ncredentials: {credentials}\nnumbers: {{{phone}: ACTIVE}}\n",
        )
    process = command("apply", "-y", "-f", "files", "--format", "json")
    assert process.returncode == 0, process.stderr
    run = json.loads(process.stdout)["run_id"]
    del command.environment["S1_SECRET"]
    result = _rollback(command, run, "--allow", "all", status=1)
    assert _outcomes(result) == {A: "not_attempted", B: "changed"}
    assert [account["outcome"] for account in result["accounts"]] == ["failed", "converged"]
    assert [dict(account.statuses) for account in accounts] == [{A: "ACTIVE"}, {B: "INACTIVE"}]
