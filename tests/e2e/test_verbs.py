"""The smaller commands: version, help, validate, export, doctor, schema, sandbox and demo."""

import json
import re
import signal
import time
from collections.abc import Sequence

import pytest
import yaml
from jsonschema import Draft202012Validator

from tests.e2e.conftest import Command, Serve, Served
from worker import __version__
from worker.cli.main import COMMANDS
from worker.render.json_schema import NAMES
from worker.sandbox import Fault, SandboxAccount, generate

A, B, C = "01000000001", "0212345678", "15881234"
NUMBERS = {A: "INACTIVE", B: "ACTIVE", C: "PENDING"}


def test_version_is_printed(command: Command) -> None:
    assert command("--version").stdout == f"senderid {__version__}\n"


@pytest.mark.parametrize("verb", [*COMMANDS, "--help"])
def test_every_command_has_help(command: Command, verb: str) -> None:
    result = command(*([verb] if verb == "--help" else [verb, "--help"]))
    assert result.returncode == 0
    assert "Usage: senderid" in result.stdout
    if verb == "--help":
        assert all(f"  {name}" in result.stdout for name in (*COMMANDS, "129", "130"))


def test_no_command_shows_the_help_and_is_wrong_usage(command: Command) -> None:
    result = command()
    assert result.returncode == 64
    assert "validate" in result.stdout + result.stderr


def _keys(name: str) -> str:
    """Return credentials of another account."""
    return f"credentials: {{api_key: {{env: {name}_KEY}}, api_secret: {{env: {name}_SECRET}}}}\n"


def test_validate_reads_files_folders_and_stdin(command: Command) -> None:
    command.write("a.yaml", f"version: 1\nnumbers: {{{A}: ACTIVE}}\n")
    command.write("more/b.yml", f"version: 1\n{_keys('B')}numbers: [{{phone: {B}, status: inactive}}]\n")
    arguments = f"version: 1\n{_keys('C')}numbers: {{}}\n"
    result = command("validate", "-f", "a.yaml", "-f", "more", "-f", "-", stdin=arguments)
    assert (result.returncode, result.stdout) == (0, "OK: 3 accounts, 2 numbers.\n")


def test_implausible_number_is_a_warning(command: Command) -> None:
    command.write("a.yaml", "version: 1\nnumbers:\n  031-123-4567: ACTIVE\n")
    result = command("validate", "-f", "a.yaml")
    assert result.returncode == 0
    assert "a.yaml:3:3: warning: " in result.stderr


def test_planning_an_export_shows_no_change(command: Command, served: Served) -> None:
    result = command("export", "--account", "shop")
    assert result.returncode == 0
    document = yaml.safe_load(result.stdout)
    assert (document["account"], document["account_id"]) == ("shop", "12925149")
    command.write("d.yaml", result.stdout)
    assert command("validate", "-f", "d.yaml").returncode == 0
    assert command("plan", "-f", "d.yaml", "--detailed-exitcode").returncode == 0
    assert served.writes == []


@pytest.mark.parametrize("seed", [1, 2])
def test_planning_a_large_export_shows_no_change(command: Command, serve: Serve, seed: int) -> None:
    account = generate(400, seed=seed)
    served = serve(account)
    assert command.at(served.sandbox, account)("export", "--output", "d.yaml").returncode == 0
    result = command("plan", "-f", "d.yaml", "--detailed-exitcode", "--format", "json")
    assert result.returncode == 0
    assert json.loads(result.stdout)["accounts"][0]["counts"]["activate"] == 0


def test_export_of_an_empty_account_is_valid(command: Command, serve: Serve) -> None:
    account = SandboxAccount.of({})
    served = serve(account)
    result = command.at(served.sandbox, account)("export")
    assert result.returncode == 0
    assert command("validate", "-f", "-", stdin=result.stdout).returncode == 0


def test_doctor_passes(command: Command, served: Served) -> None:
    result = command("doctor")
    assert result.returncode == 0
    names = ["credentials", "network", "tls", "signature", "clock", "rate limit", "ledger"]
    assert [re.split(r"\s{2,}", line)[1] for line in result.stdout.splitlines()] == names
    document = json.loads(command("doctor", "--format", "json").stdout)
    assert document["schema"] == "senderid.doctor/v1"
    assert [check["name"] for check in document["checks"]] == names
    assert {check["status"] for check in document["checks"]} == {"ok", "skip"}
    assert served.writes == []


def _checks(command: Command) -> dict[str, str]:
    result = command("doctor", "--format", "json")
    checks = {check["name"]: check["status"] for check in json.loads(result.stdout)["checks"]}
    assert result.returncode == (1 if "fail" in checks.values() else 0)
    return checks


def test_doctor_fails_the_broken_row(command: Command, served: Served) -> None:
    right = dict(command.environment)
    del command.environment["SOLAPI_API_SECRET"]
    assert _checks(command)["credentials"] == "fail"
    command.environment |= {"SOLAPI_API_SECRET": "WRONGWRONGWRONG"}
    assert _checks(command)["signature"] == "fail"
    command.environment |= right | {"SENDERID_ENDPOINT": "http://127.0.0.1:9"}
    assert _checks(command)["network"] == "fail"
    command.environment |= right | {"SENDERID_ENDPOINT": served.sandbox.url.replace("http:", "https:")}
    assert _checks(command)["tls"] == "fail"
    command.environment |= right
    command.write("file", "in the way")
    command.environment["SENDERID_LEDGER__PATH"] = "file/ledger.db"
    assert _checks(command)["ledger"] == "fail"


@pytest.mark.parametrize(("ahead", "status"), [(30, "ok"), (-400, "warn"), (4000, "ok")])
def test_doctor_measures_the_clock(command: Command, serve: Serve, ahead: float, status: str) -> None:
    account = SandboxAccount.of({A: "ACTIVE"})
    served = serve(account, clock=lambda: time.time() + ahead)
    checks = _checks(command.at(served.sandbox, account))
    assert checks["signature"] == "ok"
    assert checks["clock"] == ("warn" if abs(ahead) > 900 else status)


def test_doctor_retries_a_failed_read(command: Command, served: Served) -> None:
    served.sandbox.script(None, "GET", [Fault.UNAVAILABLE])
    assert _checks(command)["signature"] == "ok"


@pytest.mark.parametrize("arguments", [("export",), ("status", "d.yaml"), ("import", "n.csv")])
def test_output_into_a_missing_folder_names_the_folder(
    command: Command, served: Served, arguments: Sequence[str]
) -> None:
    command.write("d.yaml", f"version: 1\nnumbers: {{{A}: ACTIVE}}\n")
    command.write("n.csv", f"phone,status\n{A},ACTIVE\n")
    result = command(*arguments, "--output", "none/x")
    assert (result.returncode, result.stdout) == (1, "")
    assert "none/x: the folder none does not exist; create it first" in result.stderr
    assert served.writes == []


def test_wrong_key_is_one_warning_for_the_account(command: Command, served: Served) -> None:
    """The numbers of the account are logged at level info, one line each."""
    command.environment["SOLAPI_API_SECRET"] = "WRONGWRONGWRONG"
    command.write("d.yaml", f"version: 1\nnumbers: {{{A}: ACTIVE, {C}: ACTIVE}}\n")
    for level, expected in (("warning", ["account.failed"]), ("info", ["account.failed", "number", "number"])):
        result = command("apply", "-y", "-f", "d.yaml", "--log-level", level)
        assert result.returncode == 1
        lines = [json.loads(line) for line in result.stderr.splitlines()]
        assert [line["event"] for line in lines if "error_code" in line] == expected
    assert served.writes == []


def test_apply_of_a_folder_names_the_option(command: Command, served: Served) -> None:
    """A path is not applied as desired state by guessing."""
    command.write("d/d.yaml", f"version: 1\nnumbers: {{{A}: ACTIVE}}\n")
    result = command("apply", "-y", "d")
    assert (result.returncode, result.stdout) == (65, "")
    assert "d is a folder, not a plan file; desired state goes with -f d" in result.stderr
    assert served.sandbox.wire == []


def test_doctor_checks_every_account_of_the_files(command: Command, serve: Serve) -> None:
    """Each has one row. An account with bad credentials stops no other, and an endpoint is connected to once."""
    accounts = [SandboxAccount.of({A: "ACTIVE"}, account_id=f"{n}", api_key=f"NCS{n:013}") for n in range(4)]
    served = serve(*accounts)
    command.at(served.sandbox, accounts[0])
    command.environment |= {f"KEY{n}": account.api_key for n, account in enumerate(accounts)}
    command.environment |= {"SECRET": accounts[0].api_secret, "WRONG": "wrong-secret-0123456789"}
    for name, key, secret, more in (
        ("right", "KEY0", "SECRET", ""),
        ("pinned", "KEY1", "SECRET", 'account_id: "999"\n'),
        ("wrong", "KEY2", "WRONG", ""),
        ("unset", "NONE", "SECRET", ""),
        ("closed", "KEY3", "SECRET", "endpoint: http://127.0.0.1:9\n"),
    ):
        credentials = f"{{api_key: {{env: {key}}}, api_secret: {{env: {secret}}}}}"
        command.write(f"d/{name}.yaml", f"version: 1\n{more}credentials: {credentials}\nnumbers: {{}}\n")
    result = command("doctor", "-f", "d")
    rows = {line.split()[1]: line for line in result.stdout.splitlines()}
    assert result.returncode == 1
    assert list(rows) == ["closed", "pinned", "right", "unset", "wrong", "ledger"]
    assert rows["right"].startswith("ok    right   accepted; account 0: 1 number, 1 ACTIVE; clock in sync; ")
    assert "x-ratelimit-limit: " in rows["right"]
    assert "fail  closed  network: cannot connect to 127.0.0.1:9" in rows["closed"]
    assert "credentials: the API key is missing: " in rows["unset"]
    assert rows["wrong"].startswith("fail  wrong   signature: SignatureDoesNotMatch: ")
    assert rows["pinned"].startswith("fail  pinned  signature: ")
    assert served.writes == []
    one = command("doctor", "d", "--account", "right", "-o", "json")
    (checked,) = json.loads(one.stdout)["accounts"]
    assert (one.returncode, checked["account"]) == (0, "right")
    assert {check["name"] for check in checked["checks"]} >= {
        "credentials",
        "network",
        "signature",
        "clock",
        "rate limit",
    }


def test_doctor_warns_of_one_account(command: Command, serve: Serve) -> None:
    account = SandboxAccount.of({A: "ACTIVE"})
    served = serve(account, clock=lambda: time.time() - 400)
    command.at(served.sandbox, account).write("d.yaml", f"version: 1\nnumbers: {{{A}: ACTIVE}}\n")
    result = command("doctor", "-f", "d.yaml")
    assert result.returncode == 0
    assert re.match(r"warn  d       clock: the clock is 4\d\d s fast; ", result.stdout)


def test_schemas_are_valid(command: Command) -> None:
    everything = json.loads(command("schema").stdout)
    assert list(everything) == list(NAMES)
    for name in NAMES:
        alone = json.loads(command("schema", name).stdout)
        assert alone == everything[name]
        Draft202012Validator.check_schema(alone)


def test_sandbox_serves_until_stopped(command: Command) -> None:
    process = command.popen("sandbox", "--numbers", "5", "--seed", "3", "--api-key", "NCSMINE", "--api-secret", "hush")
    assert process.stdout is not None
    ready = json.loads(process.stdout.readline())
    try:
        assert (ready["api_key"], ready["api_secret"]) == ("NCSMINE", "hush")
        command.environment |= {
            "SENDERID_ENDPOINT": ready["url"],
            "SOLAPI_API_KEY": ready["api_key"],
            "SOLAPI_API_SECRET": ready["api_secret"],
        }
        file = command("export").stdout.replace("INACTIVE", "ACTIVE")
        command.write("d.yaml", file)
        assert command("apply", "-y", "-f", "d.yaml").returncode == 0
        assert command("plan", "-f", "d.yaml", "--detailed-exitcode").returncode == 0
    finally:
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=20)
    assert (process.returncode, err) == (130, "")


def test_sandbox_serves_a_given_state(command: Command) -> None:
    rows = [{"phoneNumber": A, "status": "ACTIVE"}, {"phoneNumber": B, "status": "EXPIRED"}]
    command.write("state.json", json.dumps({"accountId": "77", "senderIds": rows}))
    process = command.popen("sandbox", "--state", "state.json")
    assert process.stdout is not None
    ready = json.loads(process.stdout.readline())
    try:
        command.environment |= {
            "SENDERID_ENDPOINT": ready["url"],
            "SOLAPI_API_KEY": ready["api_key"],
            "SOLAPI_API_SECRET": ready["api_secret"],
        }
        document = yaml.safe_load(command("export").stdout)
        assert ready["accounts"] == [
            {"account_id": "77", "api_key": ready["api_key"], "api_secret": ready["api_secret"]}
        ]
    finally:
        process.terminate()
        process.communicate(timeout=20)
    assert (document["account_id"], document["numbers"]) == ("77", {"010-0000-0001": "ACTIVE"})


@pytest.mark.parametrize("seed", ["7", "11"])
def test_demo_plans_applies_and_verifies(command: Command, seed: str) -> None:
    """The demo takes less than 20 seconds."""
    result = command("demo", "--seed", seed, timeout=20)
    assert result.returncode == 0, result.stdout
    output = result.stdout
    steps = ["1. The desired state", "2. senderid plan", "3. senderid apply", "4. senderid plan, again", "Verified by"]
    assert [output.index(step) for step in steps] == sorted(output.index(step) for step in steps)
    assert "Converged:" in output
    assert "No changes" in output
    assert "0 changes are pending now" in output
    assert "senderid export" in output
    (arrived, met) = re.search(r"(\d+) requests arrived, (\d+) of them had an injected fault", output).groups()  # type: ignore[union-attr]
    assert int(arrived) > int(met) > 0


def test_output_without_a_terminal_has_no_colours(command: Command, served: Served) -> None:
    command.write("d.yaml", f"version: 1\nnumbers: {{{A}: ACTIVE}}\n")
    assert "\x1b" not in command("plan", "-f", "d.yaml").stdout
    assert served.writes == []
