"""Invalid files, rejected credentials and broken servers: each gives a message and an exit status, and no write."""

import json
import re
import ssl
from pathlib import Path

import pytest
import trustme

from tests.e2e.conftest import SENDERID, Command, Serve, Served
from worker.sandbox import Fault, SandboxAccount

A, B = "01000000001", "01000000002"

_LOCATION = re.compile(r"^[^:\n]+:\d+:\d+: \S", re.MULTILINE)
NUMBERS = {A: "INACTIVE", B: "ACTIVE"}
FILES = {"d.yaml": f"version: 1\nnumbers:\n  {A}: ACTIVE\n  {B}: ACTIVE\n"}


def _numbers(lines: str) -> str:
    return f"version: 1\nnumbers:\n{lines}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (_numbers("  010-0000-0001: ACTIVE\n  +82 10 0000 0001: INACTIVE\n"), "bad.yaml:4:3: 01000000001 .* line 3"),
        (_numbers(f"  {A}: yes\n"), "bad.yaml:3:16: .*'yes'"),
        (_numbers(f"  {A}: on\n"), "ACTIVE or INACTIVE, not 'on'"),
        (_numbers(f"  {A}: null\n  {B}:\n"), "bad.yaml:4:15: .*nothing"),
        (_numbers(f"  {A}: {{state: ACTIVE}}\n"), "did you mean 'status'"),
        ("version: 1\nnumber:\n  x: y\n", "did you mean 'numbers'"),
        (_numbers(f"  {A}: !!str ACTIVE\n"), "tags"),
        (_numbers(f"  {A}: &x ACTIVE\n  {B}: *x\n"), "anchors"),
        (_numbers(f"  <<: {{{A}: ACTIVE}}\n"), "merge keys"),
        ("version: 1\nnumbers:\n\t01000000001: ACTIVE\n", "bad.yaml:3:1: .*tab"),
        ("[" * 6000, "nested deeper"),
        (b"version: 1\nnumbers:\n  0100\x00: ACTIVE\n", "bad.yaml:3:7: .*NUL"),
        (_numbers(f"  {A}: ACTIVE\n").encode("utf-16"), "UTF-16"),
        (_numbers(f"  {A}: {{status: ACTIVE, note: 본사}}\n").encode("cp949"), "bad.yaml:3:39: .*UTF-8"),
        ("", "empty"),
        ("# nothing here\n", "empty"),
        (_numbers("  ../../../etc/passwd: ACTIVE\n"), "bad.yaml:3:3: "),
        (_numbers("  010%2F00000001: ACTIVE\n"), "bad.yaml:3:3: "),
        (_numbers("  \uff10\uff11\uff1000000001: ACTIVE\n"), "plain ASCII"),
        (_numbers(f"  {A}: ACTIVE\n") + "credentials: {api_key: NCSLITERAL, api_secret: LITERALSECRET}\n", "reference"),
        (_numbers(f"  {A}: ACTIVE\n") + "endpoint: http://api.example.com\n", "plain http"),
    ],
)
def test_invalid_file_reports_its_line_and_sends_nothing(
    command: Command, served: Served, text: str | bytes, message: str
) -> None:
    command.write("bad.yaml", text)
    for verb in (("validate",), ("plan",), ("apply", "--yes")):
        result = command(*verb, "-f", "bad.yaml")
        assert result.returncode == 65
        assert re.search(message, result.stderr), result.stderr
        assert _LOCATION.search(result.stderr)
        assert "LITERAL" not in result.stderr
        assert result.stdout == ""
    assert served.sandbox.wire == []


def test_all_problems_of_all_files_are_reported(command: Command) -> None:
    command.write("d/a.yaml", _numbers("  abc: ACTIVE\n  10-1234-5678: ACTIVE\n"))
    command.write("d/sub/b.yml", "version: 2\nnumbers: {}\n")
    result = command("validate", "-f", "d")
    assert result.returncode == 65
    assert [line.split(": ")[0] for line in result.stderr.splitlines()[:3]] == [
        "d/a.yaml:3:3",
        "d/a.yaml:4:3",
        "d/sub/b.yml:1:10",
    ]


def test_missing_and_unreadable_files_send_nothing(command: Command, served: Served) -> None:
    (command.folder / "empty").mkdir()
    (command.folder / "dangling.yaml").symlink_to("nowhere")
    for path in ("empty", "nowhere.yaml", "dangling.yaml", "/dev/zero"):
        result = command("plan", "-f", path)
        assert result.returncode == 65
        assert path in result.stderr
    assert served.sandbox.wire == []


def test_unquoted_number_keeps_its_leading_zero(command: Command, serve: Serve) -> None:
    """YAML 1.1 reads the number as octal."""
    account = SandboxAccount.of({"01000000000": "INACTIVE"})
    served = serve(account)
    command.at(served.sandbox, account).write("d.yaml", _numbers("  01000000000: ACTIVE\n"))
    assert command("apply", "-y", "-f", "d.yaml").returncode == 0
    assert served.writes == [("01000000000", "ACTIVE")]


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("SENDERID_ENDPOINT", "http://api.example.com", "plain http"),
        ("SENDERID_ENDPOINT", "solapy", "solapi"),
        ("SENDERID_CONCURENCY", "4", "did you mean 'SENDERID_CONCURRENCY'"),
        ("SENDERID_RATE_LIMIT__WRITES", "0", "from 1 to"),
        ("SENDERID_SAFETY__MAX_DEACTIVATIONS", "lots", "percentage"),
    ],
)
def test_invalid_setting_names_its_variable_and_sends_nothing(
    command: Command, served: Served, variable: str, value: str, message: str
) -> None:
    command.environment[variable] = value
    result = command("plan", "-f", "d.yaml")
    assert result.returncode == 65
    assert variable in result.stderr
    assert message in result.stderr
    assert served.sandbox.wire == []


def test_invalid_settings_file_reports_line_and_suggestion(command: Command, served: Served) -> None:
    command.write("config/worker.yaml", "retry:\n  atempts: 3\n")
    result = command("plan", "-f", "d.yaml")
    assert result.returncode == 65
    assert "config/worker.yaml:2:3: " in result.stderr
    assert "attempts" in result.stderr
    assert served.sandbox.wire == []


@pytest.mark.parametrize(
    "arguments",
    [
        ("plan", "--format", "pdf"),
        ("plan", "--nonsense"),
        ("aply",),
        ("apply", "--allow", "everything", "-y", "-f", "d.yaml"),
        ("plan", "-f", "d.yaml", "--account", "other"),
        ("sandbox", "--rate-limit", "fast"),
        ("sandbox", "--state", "nowhere.json"),
        ("sandbox", "--port", "70000"),
        ("sandbox", "--state", "d.yaml"),
        ("sandbox", "--state", "d.yaml", "--numbers", "3"),
        ("schema", "everything"),
    ],
)
def test_wrong_usage_is_64(command: Command, served: Served, arguments: tuple[str, ...]) -> None:
    result = command(*arguments)
    assert result.returncode == 64
    assert result.stderr
    assert served.sandbox.wire == []


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (Fault.HTML, "not an account document: it is an HTML page"),
        (Fault.GARBAGE, "not an account document"),
        (Fault.TRUNCATED, "ended early"),
        (Fault.OTHER_JSON, "not an account document"),
        (Fault.NO_CONTENT, "cannot be read"),
        (Fault.NOT_GZIP, "claims to be gzip"),
        (Fault.INTERNAL_ERROR, "InternalError"),
        (Fault.BAD_GATEWAY, "HTTP 502"),
        (Fault.RESET_BEFORE, "connection broke"),
        (Fault.REDIRECT, "redirects"),
        (Fault.FORBIDDEN, "Forbidden"),
        (Fault.FLOOD, "claims to be gzip"),
        (Fault.BOMB, "not an account document"),
        (Fault.ESCAPES, "Evil"),
    ],
)
def test_unreadable_account_is_an_error(
    command: Command, served: Served, account: SandboxAccount, fault: Fault, message: str
) -> None:
    command.environment["SENDERID_RETRY__BASE_SECONDS"] = "0.001"
    command.environment["SENDERID_RETRY__ATTEMPTS"] = "2"
    served.sandbox.script(None, "GET", [fault, fault])
    result = command("apply", "--yes", "-f", "d.yaml")
    assert result.returncode == 1
    assert message in " ".join(result.stdout.split())
    assert "\x1b" not in result.stdout + result.stderr
    assert served.writes == []
    assert account.statuses == {A: "INACTIVE", B: "ACTIVE"}


def test_unknown_status_is_blocked_and_others_converge(
    command: Command, served: Served, account: SandboxAccount
) -> None:
    account.switch(B, "HIBERNATING")
    result = command("apply", "--yes", "-f", "d.yaml")
    assert result.returncode == 3
    assert "HIBERNATING" in result.stdout
    assert served.writes == [(A, "ACTIVE")]


def test_unverified_certificate_sends_nothing(command: Command, serve: Serve) -> None:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    account = SandboxAccount.of({A: "INACTIVE"})
    served = serve(account, ssl_context=context)
    command.at(served.sandbox, account).write("d.yaml", _numbers(f"  {A}: ACTIVE\n"))
    result = command("apply", "--yes", "-f", "d.yaml")
    assert result.returncode == 1
    assert "certificate" in result.stdout
    assert served.sandbox.wire == []
    authority.cert_pem.write_to_path(str(command.folder / "ca.pem"))
    command.environment["SSL_CERT_FILE"] = str(command.folder / "ca.pem")
    assert command("apply", "--yes", "-f", "d.yaml").returncode == 0
    assert account.statuses == {A: "ACTIVE"}


def test_refused_connection_names_the_address(command: Command, served: Served) -> None:
    command.environment["SENDERID_ENDPOINT"] = "http://127.0.0.1:9"
    command.environment["SENDERID_RETRY__ATTEMPTS"] = "2"
    command.environment["SENDERID_RETRY__BASE_SECONDS"] = "0.001"
    result = command("plan", "-f", "d.yaml")
    assert result.returncode == 1
    assert "127.0.0.1:9 (Connection refused)" in result.stdout
    assert served.sandbox.wire == []


@pytest.mark.usefixtures("served")
def test_full_stdout_is_an_error_and_the_log_is_complete(command: Command, account: SandboxAccount) -> None:
    with Path("/dev/full").open("w") as full:
        process = command.popen("apply", "--yes", "-f", "d.yaml", "--format", "json", stdout=full)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "No space left on device; the run is finished: see its result with `senderid history 2" in err
    outcomes = [json.loads(line) for line in err.splitlines() if '"event":"number"' in line]
    assert {line["phone"]: line["outcome"] for line in outcomes} == {A: "changed", B: "unchanged"}
    assert account.statuses[A] == "ACTIVE"


def test_unprintable_plan_is_not_applied(command: Command, served: Served) -> None:
    with Path("/dev/full").open("w") as full:
        process = command.popen("apply", "--yes", "-f", "d.yaml", stdout=full)
        process.communicate(timeout=60)
    assert process.returncode == 1
    assert served.writes == []


@pytest.mark.usefixtures("served")
def test_full_stderr_drops_log_lines_only(command: Command, account: SandboxAccount) -> None:
    with Path("/dev/full").open("w") as full:
        process = command.popen("apply", "--yes", "-f", "d.yaml", stderr=full)
        out, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "Converged" in out
    assert account.statuses[A] == "ACTIVE"


@pytest.mark.usefixtures("served")
@pytest.mark.parametrize(
    ("closed", "status"), [("<&-", 0), (">&-", 1), ("2>&-", 0), ("<&- >&- 2>&-", 1)], ids=["in", "out", "err", "all"]
)
def test_closed_streams_fail_only_the_document(command: Command, closed: str, status: int) -> None:
    """No socket may get the descriptor of a closed standard stream."""
    process = command.popen("plan", "-f", "d.yaml", program=("sh", "-c", f'exec "$@" {closed}', "sh", SENDERID))
    out, err = process.communicate(timeout=60)
    assert process.returncode == status
    assert ("Plan: 1 to activate" in out) == (status == 0)
    assert ("senderid: output: Bad file descriptor" in err) == (closed == ">&-")


@pytest.mark.parametrize("asked", ["--version", "--help", "schema"])
def test_full_stdout_fails_every_command(command: Command, asked: str) -> None:
    with Path("/dev/full").open("w") as full:
        process = command.popen(asked, stdout=full)
        _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (1, "senderid: output: No space left on device\n")


def test_output_file_is_written_atomically(command: Command, served: Served) -> None:
    assert command("plan", "-f", "d.yaml", "--format", "json", "--output", "plan.json").returncode == 0
    assert json.loads((command.folder / "plan.json").read_text())["schema"] == "senderid.plan/v1"
    result = command("plan", "-f", "d.yaml", "--output", "nowhere/plan.txt")
    assert result.returncode == 1
    assert "nowhere/plan.txt" in result.stderr
    assert sorted(path.name for path in command.folder.iterdir()) == ["d.yaml", "plan.json"]
    assert served.writes == []


def test_nothing_is_written_if_the_state_folder_is_unusable(command: Command, served: Served) -> None:
    command.write("state", "a file where a folder should be")
    result = command("apply", "--yes", "-f", "d.yaml")
    assert result.returncode == 1
    assert "ledger.path" in result.stdout + result.stderr
    assert served.writes == []


def test_sandbox_reports_a_port_in_use(command: Command, served: Served) -> None:
    result = command("sandbox", "--port", served.sandbox.url.rpartition(":")[2])
    assert result.returncode == 64
    assert "cannot listen on --port" in result.stderr
