"""Plan and apply, at a terminal and in a pipeline, verified against the sandbox."""

import json
import os
import pty
import signal
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from msgspec.structs import replace

from tests.e2e.conftest import Command, Serve, Served, pid_of
from worker.plan.planfile import seal, unseal
from worker.render.json_schema import schema
from worker.sandbox import SandboxAccount

A, B, C, D = "01000000001", "01000000002", "0212345678", "15881234"

_FILE = f"version: 1\naccount: main\nnumbers:\n  {A}: ACTIVE\n  010-0000-0002: INACTIVE\n  02-1234-5678: ACTIVE\n"
NUMBERS = {A: "INACTIVE", B: "ACTIVE", C: "ACTIVE", D: "ACTIVE"}
FILES = {"config/desired/main.yaml": _FILE}


def _account(**more: Any) -> SandboxAccount:
    return SandboxAccount.of({A: "INACTIVE", B: "ACTIVE", C: "ACTIVE", D: "ACTIVE"}, **more)


def _lines(stderr: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stderr.splitlines() if line.startswith("{")]


def test_plan_takes_one_read_and_writes_nothing(command: Command, served: Served) -> None:
    result = command("plan")
    assert result.returncode == 0
    assert "010-0000-0001" in result.stdout
    assert "1 to activate, 1 to deactivate" in result.stdout
    assert [request.method for request in served.sandbox.wire] == ["GET"]


def test_detailed_exitcode_distinguishes_pending_and_blocked_changes(
    command: Command, served: Served, account: SandboxAccount
) -> None:
    """2: changes are pending. 3: some cannot converge. 0: no changes."""
    assert command("plan", "--detailed-exitcode").returncode == 2
    assert command("apply", "--yes").returncode == 0
    assert command("plan", "--detailed-exitcode").returncode == 0
    account.switch(A, "PENDING")
    assert command("plan", "--detailed-exitcode").returncode == 3
    assert command("plan").returncode == 0
    assert served.writes


def test_apply_converges_and_verifies(command: Command, served: Served, account: SandboxAccount) -> None:
    """A second run writes nothing."""
    process = command("apply", "--yes", "--format", "json")
    assert process.returncode == 0, process.stderr
    assert account.statuses == {A: "ACTIVE", B: "INACTIVE", C: "ACTIVE", D: "ACTIVE"}
    assert served.writes == [(A, "ACTIVE"), (B, "INACTIVE")]
    result = json.loads(process.stdout)
    Draft202012Validator(schema("result")).validate(result)
    assert result["outcome"] == "converged"
    assert {number["phone"]: number["outcome"] for number in result["accounts"][0]["numbers"]} == {
        A: "changed",
        B: "changed",
        D: "unmanaged",
    }
    assert command("apply", "--yes").returncode == 0
    assert len(served.writes) == 2


def test_plan_document_matches_the_contract(command: Command, served: Served) -> None:
    result = command("plan", "--format", "json")
    plan = json.loads(result.stdout)
    Draft202012Validator(schema("plan")).validate(plan)
    (account,) = plan["accounts"]
    assert plan["schema"] == "senderid.plan/v1"
    assert (account["account"], account["account_id"], account["verdict"]) == ("main", "12925149", "ok")
    assert account["counts"]["unchanged"] == 1
    assert [(c["phone"], c["action"], c["observed"], c["desired"]) for c in account["changes"]] == [
        (A, "activate", "INACTIVE", "ACTIVE"),
        (B, "deactivate", "ACTIVE", "INACTIVE"),
        (D, "unmanaged", "ACTIVE", "ACTIVE"),
    ]
    assert served.writes == []


def test_every_number_has_one_closing_log_line(command: Command, served: Served) -> None:
    result = command("apply", "--yes")
    lines = _lines(result.stderr)
    validator = Draft202012Validator(schema("log"))
    for line in lines:
        validator.validate(line)
    closing = sorted((line["phone"], line["outcome"]) for line in lines if line["event"] == "number")
    assert closing == sorted([(A, "changed"), (B, "changed"), (C, "unchanged"), (D, "unmanaged")])
    events = [line["event"] for line in lines]
    assert (events[0], events[-1]) == ("run.started", "run.finished")
    assert len({line["run_id"] for line in lines}) == 1
    assert lines[-1]["writes"] == len(served.writes) == 2


def test_every_planned_number_has_one_log_line(command: Command, served: Served) -> None:
    lines = _lines(command("plan").stderr)
    planned = sorted((line["phone"], line["action"]) for line in lines if line["event"] == "number.planned")
    assert planned == sorted([(A, "activate"), (B, "deactivate"), (C, "unchanged"), (D, "unmanaged")])
    assert served.writes == []


def test_apply_without_terminal_and_yes_sends_nothing(command: Command, served: Served) -> None:
    result = command("apply")
    assert result.returncode == 64
    assert "--yes" in result.stderr
    assert served.sandbox.wire == []


def test_dry_run_is_a_plan(command: Command, served: Served) -> None:
    result = command("apply", "--dry-run")
    assert result.returncode == 0
    assert "1 to activate" in result.stdout
    assert [request.method for request in served.sandbox.wire] == ["GET"]


def _on_a_terminal(command: Command, input_line: bytes, *arguments: str) -> tuple[int, str]:
    master, slave = pty.openpty()
    try:
        process = command.popen(*arguments, stdin=slave)
        os.write(master, input_line)
        out, err = process.communicate(timeout=60)
    finally:
        os.close(slave)
        os.close(master)
    return process.returncode, out + err


def test_yes_on_a_terminal_applies(command: Command, served: Served) -> None:
    status, output = _on_a_terminal(command, b"yes\n", "apply")
    assert status == 0
    assert output.index("1 to activate") < output.index("Converged: 2 changed")
    assert "Type 'yes' to continue: " in output
    assert len(served.writes) == 2


@pytest.mark.parametrize("input_line", [b"no\n", b"y\n", b"\n", b"\x04"])
def test_anything_but_yes_on_a_terminal_writes_nothing(command: Command, served: Served, input_line: bytes) -> None:
    status, output = _on_a_terminal(command, input_line, "apply")
    assert status == 4
    assert "Declined" in output
    assert ("continue: \n" in output) == (input_line == b"\x04"), "the end of input, unlike an answer, ends no line"
    assert served.writes == []


def test_question_goes_to_stderr(command: Command, served: Served) -> None:
    master, slave = pty.openpty()
    try:
        with command.popen("apply", "--format", "json", stdin=slave) as process:
            os.write(master, b"yes\n")
            out, err = process.communicate(timeout=60)
    finally:
        os.close(slave)
        os.close(master)
    assert "1 to activate" in err
    assert json.loads(out)["outcome"] == "converged"
    assert len(served.writes) == 2


def test_refused_plan_names_the_option(command: Command, serve: Serve) -> None:
    phones = [f"0100000{n:04}" for n in range(20)]
    account = SandboxAccount.of(dict.fromkeys(phones, "ACTIVE"))
    served = serve(account)
    command.at(served.sandbox, account).write(
        "config/desired/main.yaml", "version: 1\nnumbers:\n" + "".join(f"  {phone}: INACTIVE\n" for phone in phones[:9])
    )
    result = command("apply", "--yes")
    assert result.returncode == 4
    assert "9 to deactivate" in result.stdout
    assert "--allow max-deactivations" in result.stdout
    assert served.writes == []
    assert command("plan").returncode == 4
    assert command("apply", "--yes", "--allow", "min-active").returncode == 4
    assert command("apply", "--yes", "--allow", "max-deactivations").returncode == 0
    assert len(served.writes) == 9


def test_min_active_keeps_the_last_active_number(command: Command, serve: Serve) -> None:
    account = SandboxAccount.of({A: "ACTIVE"})
    served = serve(account)
    command.at(served.sandbox, account).write("d.yaml", f"version: 1\nnumbers: {{{A}: INACTIVE}}\n")
    result = json.loads(command("apply", "-y", "-f", "d.yaml", "--format", "json").stdout)
    assert result["outcome"] == "refused"
    assert [refusal["rule"] for refusal in result["accounts"][0]["refusals"]] == ["min-active"]
    assert account.statuses == {A: "ACTIVE"}
    assert served.writes == []


def test_only_and_exclude(command: Command, served: Served) -> None:
    assert command("apply", "-y", "--only", "+82 10-0000-0001").returncode == 0
    assert served.writes == [(A, "ACTIVE")]
    assert command("apply", "-y", "--exclude", "010 0000 0002").returncode == 0
    assert served.writes == [(A, "ACTIVE")]
    assert command("plan", "--only", "010-9999-9999").returncode == 64
    assert command("plan", "--only", "abc").returncode == 64
    assert command("plan", "--account", "nobody").returncode == 64


def test_rejected_credentials_cost_two_requests(command: Command, serve: Serve, account: SandboxAccount) -> None:
    served = serve(account)
    command.at(served.sandbox, account).write("config/desired/main.yaml", _FILE)
    for name in ("SOLAPI_API_KEY", "SOLAPI_API_SECRET"):
        initial_count = len(served.sandbox.wire)
        right = command.environment[name]
        command.environment[name] = "WRONGWRONGWRONG"
        result = command("apply", "--yes")
        command.environment[name] = right
        assert result.returncode == 1
        assert len(served.sandbox.wire) - initial_count <= 2
        assert "WRONGWRONG" not in result.stderr
    assert served.writes == []


def test_missing_credentials_send_nothing(command: Command, served: Served) -> None:
    del command.environment["SOLAPI_API_SECRET"]
    result = command("plan")
    assert result.returncode == 1
    assert "SOLAPI_API_SECRET" in result.stdout
    assert served.sandbox.wire == []


def test_another_account_than_pinned_is_an_error(command: Command, served: Served) -> None:
    command.write("config/desired/main.yaml", _FILE.replace("account: main", 'account: main\naccount_id: "1"'))
    result = command("apply", "--yes")
    assert result.returncode == 1
    assert "WrongAccount" in result.stdout
    assert served.writes == []


def test_failed_account_does_not_stop_the_others(command: Command, serve: Serve) -> None:
    accounts = [
        SandboxAccount.of({f"0100000000{n}": "INACTIVE"}, api_key=f"NCS{n}", account_id=f"{n}", api_secret="s" * 30)
        for n in range(3)
    ]
    served = serve(*accounts)
    command.at(served.sandbox, accounts[0])
    for number in range(3):
        command.write(
            f"config/desired/a{number}.yaml",
            f"version: 1\ncredentials: {{api_key: {{env: KEY{number}}}, api_secret: {{env: SECRET}}}}\n"
            f"numbers: {{0100000000{number}: ACTIVE}}\n",
        )
    command.environment |= {"KEY0": "NCS0", "KEY2": "NCS2", "SECRET": "s" * 30}
    result = command("apply", "--yes", "--format", "json")
    assert result.returncode == 1
    outcomes = {account["account"]: account["outcome"] for account in json.loads(result.stdout)["accounts"]}
    assert outcomes == {"a0": "converged", "a1": "failed", "a2": "converged"}
    assert sorted(served.writes) == [("01000000000", "ACTIVE"), ("01000000002", "ACTIVE")]


def test_stale_plan_is_refused(command: Command, served: Served) -> None:
    """The account changes between the plan and the read before the writes."""
    status, output = _edit_during_the_prompt(command, served)
    assert status == 4
    assert "changed since" in output
    assert served.writes == []


def _edit_during_the_prompt(command: Command, served: Served) -> tuple[int, str]:
    master, slave = pty.openpty()
    try:
        with command.popen("apply", stdin=slave, stderr=slave) as process:
            prompt = b""
            while b"Type 'yes'" not in prompt:
                prompt += os.read(master, 1024)
            (account,) = served.sandbox.accounts.values()
            account.switch(A, "ACTIVE")
            os.write(master, b"yes\n")
            output, _ = process.communicate(timeout=60)
            return process.returncode, output
    finally:
        os.close(slave)
        os.close(master)


def test_blocked_and_missing_numbers_do_not_stop_the_others(command: Command, serve: Serve) -> None:
    account = SandboxAccount.of({A: "INACTIVE", B: "PENDING"})
    served = serve(account)
    command.at(served.sandbox, account).write(
        "d.yaml", f"version: 1\nnumbers: {{{A}: ACTIVE, {B}: ACTIVE, {C}: ACTIVE}}\n"
    )
    result = command("apply", "-y", "-f", "d.yaml", "--format", "json")
    assert result.returncode == 3
    numbers = json.loads(result.stdout)["accounts"][0]["numbers"]
    assert {number["phone"]: number["outcome"] for number in numbers} == {A: "changed", B: "blocked", C: "missing"}
    assert served.writes == [(A, "ACTIVE")]


def test_saved_plan_writes_exactly_what_was_reviewed(command: Command, served: Served, account: SandboxAccount) -> None:
    assert command("plan", "--out", "plan.json").returncode == 0
    assert (command.folder / "plan.json").stat().st_mode & 0o777 == 0o600
    assert account.api_secret not in (command.folder / "plan.json").read_text()
    command.write("config/desired/main.yaml", "version: 1\nnumbers: {}\n")
    account.switch(A, "BLOCKED")
    result = command("apply", "plan.json", "--no-files", "--format", "json")
    assert result.returncode == 3, result.stderr
    numbers = {number["phone"]: number["outcome"] for number in json.loads(result.stdout)["accounts"][0]["numbers"]}
    assert numbers == {A: "conflict", B: "changed"}
    assert served.writes == [(B, "INACTIVE")]


def test_saved_plan_keeps_what_cannot_converge(command: Command, serve: Serve) -> None:
    account = SandboxAccount.of({A: "INACTIVE", B: "PENDING", C: "ACTIVE"})
    served = serve(account)
    command.at(served.sandbox, account).write(
        "d/main.yaml", f"version: 1\nnumbers: {{{A}: ACTIVE, {B}: ACTIVE, {D}: ACTIVE}}\n"
    )
    command.write("d/other.yaml", "version: 1\ncredentials: {api_key: {env: NO}, api_secret: {env: NO}}\nnumbers: {}\n")
    assert command("plan", "-f", "d", "--out", "plan.json").returncode == 1
    account.switch(B, "INACTIVE")
    result = command("apply", "plan.json", "--format", "json")
    assert result.returncode == 1
    main, other = json.loads(result.stdout)["accounts"]
    assert {number["phone"]: number["outcome"] for number in main["numbers"]} == {
        A: "changed",
        B: "conflict",
        D: "missing",
    }
    assert (main["outcome"], other["outcome"], other["error"]["code"]) == ("partial", "failed", "CredentialsMissing")
    assert served.writes == [(A, "ACTIVE")]


def test_saved_refused_account_stays_refused(command: Command, serve: Serve) -> None:
    account = SandboxAccount.of({A: "ACTIVE"})
    served = serve(account)
    command.at(served.sandbox, account).write("d.yaml", f"version: 1\nnumbers: {{{A}: INACTIVE}}\n")
    assert command("plan", "-f", "d.yaml", "--out", "plan.json").returncode == 4
    result = command("apply", "plan.json", "--allow", "all")
    assert result.returncode == 4
    assert "the saved plan has no writes for this account; plan again: 0 of 1 ACTIVE" in " ".join(result.stdout.split())
    assert served.writes == []


def test_edited_plan_file_is_refused(command: Command, served: Served) -> None:
    command("plan", "--out", "plan.json")
    path = command.folder / "plan.json"
    path.write_text(path.read_text().replace(A, D))
    initial_count = len(served.sandbox.wire)
    assert command("apply", "plan.json").returncode == 65
    assert command("apply", "config/desired/main.yaml").returncode == 65
    assert command("apply", "nowhere.json").returncode == 65
    assert command("apply", "plan.json", "--only", A).returncode == 64
    assert len(served.sandbox.wire) == initial_count


@pytest.mark.parametrize("endpoint", ["https://evil.example", "http://evil.example", "nowhere"])
def test_plan_file_cannot_choose_a_foreign_endpoint(command: Command, served: Served, endpoint: str) -> None:
    command("plan", "--out", "plan.json")
    saved = unseal((command.folder / "plan.json").read_bytes(), now=datetime.now(UTC))
    (account,) = saved.accounts
    forged = replace(saved, accounts=(replace(account, endpoint=endpoint),))
    command.write("plan.json", seal(forged))
    initial_count = len(served.sandbox.wire)
    result = command("apply", "plan.json")
    assert result.returncode == 65
    assert "plan.json: account 'main'" in result.stderr
    assert len(served.sandbox.wire) == initial_count


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_sigterm_drains_and_reports(command: Command, serve: Serve, number: signal.Signals, status: int) -> None:
    phones = [f"0100000{n:04}" for n in range(30)]
    account = SandboxAccount.of(dict.fromkeys(phones, "INACTIVE"))
    served = serve(account, rate_limit=None)
    command.at(served.sandbox, account).write(
        "d.yaml", "version: 1\nnumbers:\n" + "".join(f"  {phone}: ACTIVE\n" for phone in phones)
    )
    command.environment["SENDERID_RATE_LIMIT__WRITES"] = "5"
    process = command.popen("apply", "-y", "-f", "d.yaml", "--format", "json")
    _until(lambda: len(served.writes) >= 5)
    process.send_signal(number)
    out, err = process.communicate(timeout=40)
    assert process.returncode == status, err
    result = json.loads(out)
    counts = result["accounts"][0]["counts"]
    assert result["outcome"] == "interrupted"
    assert (counts["changed"], counts["not_attempted"]) == (5, 25)
    assert len(served.writes) == 5


def test_second_run_is_locked_and_names_the_holder(command: Command, serve: Serve) -> None:
    account = SandboxAccount.of({f"0100000{n:04}": "INACTIVE" for n in range(30)})
    served = serve(account, rate_limit=None)
    command.at(served.sandbox, account).write(
        "d.yaml", "version: 1\nnumbers:\n" + "".join(f"  {phone}: ACTIVE\n" for phone in account.numbers)
    )
    command.environment["SENDERID_RATE_LIMIT__WRITES"] = "5"
    first = command.popen("apply", "-y", "-f", "d.yaml")
    _until(lambda: len(served.writes) >= 5)
    second = command("apply", "-y", "-f", "d.yaml", "--format", "json")
    assert second.returncode == 5
    result = json.loads(second.stdout)
    assert result["outcome"] == "locked"
    assert f"process {pid_of(first)}" in result["accounts"][0]["error"]["message"]
    first.terminate()
    first.communicate(timeout=40)
    assert first.returncode == 143


def _until(condition: Callable[[], bool]) -> None:
    """Wait for a condition that another process fulfils."""
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)
