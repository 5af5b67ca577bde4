"""A plan file is applied once, and only if its desired-state files still ask for its changes."""

import json
import signal
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from filelock import FileLock
from jsonschema import Draft202012Validator
from msgspec.structs import replace

from tests.e2e.conftest import Command, Served
from worker.plan.planfile import seal, unseal
from worker.render.json_schema import schema
from worker.sandbox import SandboxAccount

A, B, C, D = "01000000001", "01000000002", "0212345678", "15881234"
WRITES = [(A, "ACTIVE"), (B, "INACTIVE")]
FILE = f"version: 1\nnumbers:\n  {A}: ACTIVE\n  {B}: INACTIVE\n"
NUMBERS = {A: "INACTIVE", B: "ACTIVE", C: "ACTIVE", D: "ACTIVE"}
FILES = {"config/main.yaml": FILE}
OTHER = "version: 1\ncredentials: {api_key: {env: NONE}, api_secret: {env: NONE}}\nnumbers: {112: ACTIVE}\n"
Done = subprocess.CompletedProcess[str]


@pytest.fixture(autouse=True)
def saved(served: Served, command: Command) -> None:  # noqa: ARG001 - the command talks to it
    """Save a plan of two writes."""
    _plan(command)


def _plan(command: Command, name: str = "p.json", *more: str) -> None:
    assert command("plan", "-f", "config/main.yaml", "--out", name, *more).returncode == 0


def _result(result: Done) -> dict[str, str]:
    (account,) = json.loads(result.stdout)["accounts"]
    return {number["phone"]: number["outcome"] for number in account["numbers"]}


def _reasons(result: Done) -> dict[str, str]:
    (account,) = json.loads(result.stdout)["accounts"]
    return {number["phone"]: number["error"]["message"] for number in account["numbers"] if number["error"]}


def _refused(result: Done, run: str) -> str:
    """Check a refused replay: it names the run and attempts no number. Return its message."""
    assert result.returncode == 4, result.stderr
    (account,) = json.loads(result.stdout)["accounts"]
    (refusal,) = account["refusals"]
    assert (account["outcome"], refusal["rule"]) == ("refused", "replay")
    assert {number["outcome"] for number in account["numbers"]} <= {"not_attempted"}
    message: str = refusal["message"]
    assert f"run {run} " in message
    assert "--allow replay" in message
    return message


def _run_id(result: Done) -> str:
    run_id: str = json.loads(result.stdout)["run_id"]
    return run_id


def _apply(command: Command, *more: str) -> Done:
    return command("apply", "p.json", "--format", "json", *more)


def test_replay_is_refused_and_names_the_run(served: Served, command: Command) -> None:
    first = _apply(command)
    assert first.returncode == 0, first.stderr
    served.sandbox.wire.clear()
    message = _refused(_apply(command), _run_id(first))
    assert "already applied this plan" in message
    assert _run_id(first) in " ".join(command("apply", "p.json").stdout.split())
    assert served.sandbox.wire == []
    run = json.loads(command("history", _run_id(first), "--format", "json").stdout)["runs"][0]
    assert run["plan"] == json.loads((command.folder / "p.json").read_text())["id"]
    for output_format in ("text", "markdown", "html"):
        assert run["plan"] in command("history", _run_id(first), "--format", output_format).stdout
    assert command("apply", "-y", "-f", "config/main.yaml").returncode == 0


def test_apply_allows_the_rules_that_the_plan_was_saved_with(served: Served, command: Command) -> None:
    """An allowed and approved plan is not refused later. Another plan with as many deactivations is."""
    text = f"version: 1\nnumbers:\n  {B}: INACTIVE\n  {C}: INACTIVE\n  {D}: INACTIVE\n"
    command.write("config/main.yaml", text)
    refused = command("plan", "-f", "config/main.yaml")
    assert (refused.returncode, "max-deactivations" in refused.stdout) == (4, True)
    _plan(command, "p.json", "--allow", "max-deactivations", "--allow", "min-active")
    applied = _apply(command)
    assert (applied.returncode, set(_result(applied).values())) == (0, {"changed"}), applied.stderr
    assert {phone for phone, _ in served.writes} == {B, C, D}


def test_plan_has_the_endpoint_of_each_account(served: Served, command: Command) -> None:
    """The endpoint of the file wins over that of the settings."""
    own = served.sandbox.url.replace("127.0.0.1", "localhost")
    command.write("config/main.yaml", f"{FILE}endpoint: {own}\n")
    _plan(command, "own.json")
    endpoints = {
        name: [account["endpoint"] for account in json.loads((command.folder / name).read_text())["accounts"]]
        for name in ("own.json", "p.json")
    }
    assert endpoints == {"own.json": [own], "p.json": [served.sandbox.url]}


def test_replay_does_not_undo_a_rollback(served: Served, command: Command) -> None:
    first = _apply(command)
    assert command("rollback", _run_id(first), "-y").returncode == 0
    served.sandbox.wire.clear()
    _refused(_apply(command), _run_id(first))
    assert served.sandbox.wire == []


def test_plan_superseded_by_a_later_run_is_refused(served: Served, command: Command) -> None:
    """A run that wrote to other numbers does not supersede the plan."""
    command.write("other.yaml", f"version: 1\nnumbers: {{{C}: INACTIVE}}\n")
    assert command("apply", "-y", "-f", "other.yaml").returncode == 0
    command.write("same.yaml", f"version: 1\nnumbers: {{{B}: INACTIVE}}\n")
    second = command("apply", "-y", "-f", "same.yaml", "--format", "json")
    command.write("back.yaml", f"version: 1\nnumbers: {{{B}: ACTIVE}}\n")
    third = command("apply", "-y", "-f", "back.yaml", "--format", "json")
    assert (second.returncode, third.returncode) == (0, 0)
    served.sandbox.wire.clear()
    assert "after the plan was created" in _refused(_apply(command), _run_id(third))
    assert served.sandbox.wire == []
    _plan(command)
    assert _apply(command).returncode == 0


def test_write_before_the_plan_does_not_supersede_it(served: Served, command: Command) -> None:
    command.write("same.yaml", f"version: 1\nnumbers: {{{A}: ACTIVE}}\n")
    run = _run_id(command("apply", "-y", "-f", "same.yaml", "--format", "json"))
    assert command("rollback", run, "-y").returncode == 0
    _plan(command)
    served.sandbox.wire.clear()
    assert _apply(command).returncode == 0
    assert served.writes == WRITES


def test_run_without_writes_leaves_the_plan_usable(served: Served, command: Command) -> None:
    with FileLock(_lock(served, command)):
        assert command("apply", "p.json").returncode == 5
    secret = command.environment.pop("SOLAPI_API_SECRET")
    assert command("apply", "p.json").returncode == 1
    command.environment["SOLAPI_API_SECRET"] = secret
    command.write("config/main.yaml", f"version: 1\nnumbers: {{{A}: INACTIVE, {B}: ACTIVE}}\n")
    assert _apply(command).returncode == 3
    assert served.writes == []
    command.write("config/main.yaml", FILE)
    assert _apply(command).returncode == 0
    assert served.writes == WRITES


def _lock(served: Served, command: Command) -> Path:
    """Return the lease file of the account, left by an apply of a number that is not in the plan."""
    command.write("other.yaml", f"version: 1\nnumbers: {{{C}: INACTIVE}}\n")
    assert command("apply", "-y", "-f", "other.yaml").returncode == 0
    served.sandbox.wire.clear()
    (lock,) = (command.folder / "state" / "senderid" / "locks").iterdir()
    return lock


@pytest.mark.parametrize("rule", ["replay", "all"])
def test_allow_replay_keeps_the_preconditions(
    served: Served, command: Command, account: SandboxAccount, rule: str
) -> None:
    first = _apply(command)
    assert command("rollback", _run_id(first), "-y").returncode == 0
    account.switch(B, "BLOCKED")
    served.sandbox.wire.clear()
    second = _apply(command, "--allow", rule)
    assert (second.returncode, _result(second)) == (3, {A: "changed", B: "conflict"})
    assert served.writes == WRITES[:1]


@pytest.mark.parametrize("rule", ["replay", "all"])
def test_allow_of_the_plan_does_not_allow_a_replay(served: Served, command: Command, rule: str) -> None:
    _plan(command, "p.json", "--allow", rule)
    first = _apply(command)
    assert (first.returncode, served.writes) == (0, WRITES)
    _refused(_apply(command, "--allow", "max-deactivations"), _run_id(first))
    assert served.writes == WRITES


@pytest.mark.parametrize(
    ("point", "used_up"), [("after an intent's commit", True), ("before an intent", False), ("after the entry", False)]
)
def test_crashed_run_uses_the_plan_up_from_its_first_intent(
    served: Served, command: Command, point: str, *, used_up: bool
) -> None:
    died = command.popen("apply", "p.json", dies_at=(point, 1))
    died.communicate(timeout=60)
    assert died.returncode == -signal.SIGKILL
    second = _apply(command)
    if used_up:
        (run,) = json.loads(command("history", "--format", "json", "--limit", "0").stdout)["runs"][1:]
        _refused(second, run["run_id"])
    else:
        assert (second.returncode, served.writes) == (0, WRITES)


def test_concurrent_applies_write_once(served: Served, command: Command) -> None:
    both = [command.popen("apply", "p.json", "--lock-timeout", "30s") for _ in range(2)]
    for process in both:
        process.communicate(timeout=60)
    assert sorted(process.returncode for process in both) == [0, 4]
    assert sorted(served.writes) == sorted(WRITES)


def test_changed_desired_status_is_conflict(served: Served, command: Command) -> None:
    command.write("config/main.yaml", FILE.replace(f"{B}: INACTIVE", f"{B}: ACTIVE"))
    result = _apply(command)
    assert (result.returncode, _result(result)) == (3, {A: "changed", B: "conflict"})
    assert _reasons(result) == {B: "config/main.yaml:4 now desires ACTIVE: plan again"}
    assert served.writes == WRITES[:1]
    line = next(json.loads(line) for line in result.stderr.splitlines() if '"conflict"' in line)
    assert (line["phone"], line["error_message"]) == (B, _reasons(result)[B])


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (FILE.replace(f"  {A}: ACTIVE\n", ""), "this number is no longer listed in config/main.yaml: plan again"),
        (
            FILE.replace(f"{A}: ACTIVE", f"{A}: {{status: ACTIVE, protected: true}}"),
            "config/main.yaml:3 protects this number now: plan again",
        ),
        (
            FILE.replace(f"{A}: ACTIVE", f"{A}: {{status: ACTIVE, until: 2026-01-01}}"),
            "config/main.yaml:3 has no desired status at this time: plan again",
        ),
    ],
)
def test_number_that_is_no_longer_desired_is_conflict(served: Served, command: Command, text: str, reason: str) -> None:
    """The number is unlisted, protected, or after its window."""
    command.write("config/main.yaml", text)
    result = _apply(command)
    assert (result.returncode, _result(result), _reasons(result)) == (3, {A: "conflict", B: "changed"}, {A: reason})
    assert served.writes == WRITES[1:]


def test_ended_schedule_window_is_conflict(served: Served, command: Command) -> None:
    _schedule(command, datetime.now(UTC) + timedelta(days=3))
    _plan(command)
    _schedule(command, datetime.now(UTC) - timedelta(seconds=1))
    result = _apply(command)
    assert (result.returncode, _result(result)) == (3, {A: "conflict", B: "changed"})
    assert _reasons(result) == {A: "config/main.yaml:3 now desires INACTIVE: plan again"}
    assert served.writes == WRITES[1:]


def _schedule(command: Command, end: datetime) -> None:
    until = f"{end:%Y-%m-%dT%H:%M:%SZ}"
    entry = f"{{status: ACTIVE, until: '{until}', then: INACTIVE}}"
    command.write("config/main.yaml", FILE.replace(f"{A}: ACTIVE", f"{A}: {entry}"))


@pytest.mark.parametrize("key", ["account: other", "account_id: '999'", "endpoint: coolsms"])
def test_file_of_another_account_is_conflict(served: Served, command: Command, key: str) -> None:
    command.write("config/main.yaml", f"{key}\n{FILE}")
    result = _apply(command)
    assert (result.returncode, _result(result)) == (3, {A: "conflict", B: "conflict"})
    assert served.writes == []


def test_missing_file_is_a_notice(served: Served, command: Command) -> None:
    (command.folder / "config/main.yaml").unlink()
    result = _apply(command)
    assert (result.returncode, served.writes) == (0, WRITES)
    (notice,) = json.loads(result.stdout)["accounts"][0]["notices"]
    assert notice["kind"] == "files"
    assert "config/main.yaml not found, so the plan was not compared with the desired state" in notice["message"]
    (line,) = [json.loads(line) for line in result.stderr.splitlines() if '"notice"' in line]
    assert (line["kind"], line["message"]) == ("files", notice["message"])
    for output_format in ("text", "markdown", "html"):
        output = " ".join(command("apply", "p.json", "--allow", "replay", "--format", output_format).stdout.split())
        assert "not compared with" in output
        assert "--no-files" in output


@pytest.mark.parametrize(
    ("text", "status", "message"),
    [
        (FILE.replace(f"{A}: ACTIVE", f"{A}: INACTIVE"), 3, "config/main.yaml:3 now desires INACTIVE: plan again"),
        (FILE + "numbers: {}\n", 1, "config/main.yaml:5:1: "),
        (FILE + "# a note\n", 0, ""),
    ],
)
def test_files_are_compared_after_the_wait_for_the_lease(
    served: Served, command: Command, text: str, status: int, message: str
) -> None:
    with FileLock(_lock(served, command)):
        process = command.popen("apply", "p.json", "--lock-timeout", "60s", "--format", "json", "--log-format", "json")
        assert process.stderr is not None
        while '"run.started"' not in process.stderr.readline():
            pass
        command.write("config/main.yaml", text)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == status
    assert message in out
    assert served.writes == {0: WRITES, 1: [], 3: WRITES[1:]}[status]


def test_renamed_file_is_found_by_its_account(served: Served, command: Command) -> None:
    document = f"account: main\n{FILE}"
    command.write("config/main.yaml", document)
    _plan(command)
    (command.folder / "config/main.yaml").unlink()
    command.write("config/b.yaml", document.replace(f"{B}: INACTIVE", f"{B}: ACTIVE"))
    command.write("config/compose.yaml", "services: {}\n")
    result = _apply(command)
    assert (result.returncode, _reasons(result)) == (3, {B: "config/b.yaml:5 now desires ACTIVE: plan again"})
    assert "config/main.yaml not found" in json.loads(result.stdout)["accounts"][0]["notices"][0]["message"]
    assert served.writes == WRITES[:1]


def test_files_option_finds_moved_files(served: Served, command: Command) -> None:
    """A file is found by the longest suffix of its path that exists."""
    command.write("config/main.yaml", FILE.replace(f"{B}: INACTIVE", f"{B}: ACTIVE"))
    (command.folder / "config").rename(command.folder / "moved")
    result = _apply(command, "--files", "moved")
    assert (result.returncode, _reasons(result)) == (3, {B: "moved/main.yaml:4 now desires ACTIVE: plan again"})
    assert json.loads(result.stdout)["accounts"][0]["notices"] == []
    assert served.writes == WRITES[:1]


def test_no_files_compares_nothing(served: Served, command: Command) -> None:
    command.write("config/main.yaml", "broken")
    result = _apply(command, "--no-files")
    assert (result.returncode, served.writes) == (0, WRITES)
    assert json.loads(result.stdout)["accounts"][0]["notices"] == []


def test_plan_from_stdin_is_not_compared_with_files(served: Served, command: Command) -> None:
    assert command("plan", "-f", "-", "--out", "p.json", stdin=f"account: main\n{FILE}").returncode == 0
    result = _apply(command)
    (notice,) = json.loads(result.stdout)["accounts"][0]["notices"]
    assert notice["message"] == ("the plan was made from standard input, so it was not compared with the desired state")
    assert served.writes == WRITES


def test_invalid_file_sends_nothing(served: Served, command: Command) -> None:
    command.write("config/main.yaml", f"{FILE}  {A}: ACTIVE\n  12: ACTIVE\n")
    served.sandbox.wire.clear()
    result = _apply(command)
    assert (result.returncode, result.stdout) == (65, "")
    assert "config/main.yaml:5:3: " in result.stderr
    assert "config/main.yaml:6:3: " in result.stderr
    assert served.sandbox.wire == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("p.json", "--files", "config", "--no-files"), "--files and --no-files cannot be combined"),
        (("p.json", "--files", "nowhere"), "--files nowhere: no such folder"),
        (("p.json", "--files", "config/main.yaml"), "--files config/main.yaml: no such folder"),
        (("-y", "--files", "config"), "--files and --no-files require a saved plan: senderid apply PLANFILE"),
        (("-y", "--no-files"), "--files and --no-files require a saved plan: senderid apply PLANFILE"),
    ],
)
def test_conflicting_file_options_are_wrong_usage(
    served: Served, command: Command, arguments: tuple[str, ...], message: str
) -> None:
    served.sandbox.wire.clear()
    result = command("apply", *arguments)
    assert result.returncode == 64
    assert message in " ".join(result.stderr.split())
    assert served.sandbox.wire == []


def test_shared_defaults_of_the_folder_are_compared(command: Command) -> None:
    """A plan file names senderid.yaml, and a number that it protects since is a conflict."""
    command.write("config/senderid.yaml", "version: 1\ndefaults: {owner: sales}\n")
    _plan(command, "q.json")
    (account,) = json.loads((command.folder / "q.json").read_text())["accounts"]
    assert [part["source"] for part in account["parts"]] == ["config/senderid.yaml"]
    assert {change["owner"] for change in account["changes"]} == {"sales"}
    command.write("config/senderid.yaml", "version: 1\ndefaults: {protected: true}\n")
    for arguments in (("q.json",), ("p.json",), ("p.json", "--files", ".")):
        result = command("apply", *arguments, "--format", "json")
        assert (result.returncode, _result(result)) == (3, {A: "conflict", B: "conflict"})
        assert "config/main.yaml:3 protects this number now" in _reasons(result)[A]
    (command.folder / "config/senderid.yaml").unlink()
    result = command("apply", "q.json", "--format", "json")
    assert (result.returncode, _result(result)) == (0, {A: "changed", B: "changed"})
    assert "not found" not in result.stdout


def test_dry_run_shows_what_an_apply_would_write(command: Command, served: Served, account: SandboxAccount) -> None:
    """A number that would be a conflict is blocked, with the reason that the apply gives."""
    account.switch(A, "PENDING")
    command.write("config/main.yaml", FILE.replace(f"{B}: INACTIVE", f"{B}: ACTIVE"))
    result = command("apply", "p.json", "--dry-run", "--format", "json")
    assert result.returncode == 0, result.stderr
    (planned,) = json.loads(result.stdout)["accounts"]
    reasons = {change["phone"]: change["reason"] for change in planned["changes"]}
    assert {change["action"] for change in planned["changes"]} == {"blocked"}
    assert (served.writes, json.loads(command("history", "--format", "json").stdout)["runs"]) == ([], [])
    assert reasons == _reasons(command("apply", "p.json", "--format", "json"))


def test_dry_run_refuses_a_replay(command: Command, served: Served) -> None:
    assert command("apply", "p.json", "--dry-run").returncode == 0
    assert command("apply", "p.json").returncode == 0
    served.sandbox.wire.clear()
    result = command("apply", "p.json", "--dry-run")
    assert result.returncode == 4
    assert "already applied this plan" in result.stdout
    assert served.sandbox.wire == []
    allowed = command("apply", "p.json", "--dry-run", "--allow", "replay")
    assert (allowed.returncode, "2 numbers are as desired" in allowed.stdout) == (0, True)
    assert served.writes == WRITES[:0]


def test_show_prints_the_plan_of_a_file_offline(command: Command, served: Served) -> None:
    plan = command("plan", "-f", "config/main.yaml", "--out", "p.json", "--allow", "min-active", "--format", "json")
    served.sandbox.wire.clear()
    result = command("show", "p.json", "--format", "json")
    assert (result.returncode, result.stderr) == (0, "")
    document = json.loads(result.stdout)
    assert list(Draft202012Validator(schema("plan")).iter_errors(document)) == []
    (shown,), (planned,) = document["accounts"], json.loads(plan.stdout)["accounts"]
    assert shown["changes"] == [change for change in planned["changes"] if change["action"] != "unmanaged"]
    lines = command("show", "p.json").stdout.splitlines()
    assert lines[-3].startswith("Plan file p.json, created at 20")
    assert lines[-2] == "The plan allows: min-active."
    assert lines[-1].startswith("The plan can be applied until 20")
    assert lines[-1].endswith(" UTC: senderid apply p.json")
    assert served.sandbox.wire == []


def test_show_accepts_an_old_plan_but_no_changed_one(command: Command) -> None:
    saved = json.loads((command.folder / "p.json").read_text())
    old = datetime.now(UTC) - timedelta(days=400)
    plan = replace(unseal(json.dumps(saved).encode(), now=datetime.now(UTC)), created_at=f"{old:%Y-%m-%dT%H:%M:%SZ}")
    command.write("old.json", seal(plan))
    result = command("show", "old.json")
    assert (result.returncode, result.stdout.splitlines()[-1]) == (
        0,
        "The plan is too old to apply: plan again, or see --max-age of apply.",
    )
    command.write("changed.json", json.dumps(saved | {"allow": ["all"]}))
    changed = command("show", "changed.json")
    assert (changed.returncode, changed.stdout) == (65, "")
    assert "changed.json: the plan file was changed after it was written" in changed.stderr


def test_show_names_accounts_that_the_plan_left_out(command: Command) -> None:
    command.write("config/other.yaml", OTHER)
    assert command("plan", "-f", "config", "--out", "p.json").returncode == 1
    for arguments, status in ((("show", "p.json"), 0), (("apply", "p.json", "--dry-run"), 1)):
        result = command(*arguments)
        assert (result.returncode, "other\n  CredentialsMissing: " in result.stdout) == (status, True), result.stdout
