"""What wrong files, wrong credentials and a wrong server get: a sentence, the right status, and nothing written."""

import json
import re
import ssl
from pathlib import Path

import pytest
import trustme

from tests.e2e.conftest import SENDERID, Command, Serve, Served
from worker.sandbox import Fault, SandboxAccount

A, B = "01000000001", "01000000002"

_PLACE = re.compile(r"^[^:\n]+:\d+:\d+: \S", re.MULTILINE)
NUMBERS = {A: "INACTIVE", B: "ACTIVE"}
FILES = {"d.yaml": f"version: 1\nnumbers:\n  {A}: ACTIVE\n  {B}: ACTIVE\n"}


def _numbers(lines: str) -> str:
    return f"version: 1\nnumbers:\n{lines}"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (_numbers("  010-0000-0001: ACTIVE\n  +82 10 0000 0001: INACTIVE\n"), "bad.yaml:4:3: 01000000001 .* line 3"),
        (_numbers(f"  {A}: yes\n"), "bad.yaml:3:16: .*'yes'"),
        (_numbers(f"  {A}: on\n"), "ACTIVE or INACTIVE, not 'on'"),
        (_numbers(f"  {A}: null\n  {B}:\n"), "bad.yaml:4:15: .*nothing"),
        (_numbers(f"  {A}: {{state: ACTIVE}}\n"), "did you mean status"),
        ("version: 1\nnumber:\n  x: y\n", "did you mean numbers"),
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
def test_a_wrong_file_is_told_at_its_place_and_sends_nothing(
    command: Command, served: Served, text: str | bytes, told: str
) -> None:
    """Validate, plan and apply all exit 65 with file:line:column and what to do, and no request leaves."""
    command.write("bad.yaml", text)
    for verb in (("validate",), ("plan",), ("apply", "--yes")):
        done = command(*verb, "-f", "bad.yaml")
        assert done.returncode == 65
        assert re.search(told, done.stderr), done.stderr
        assert _PLACE.search(done.stderr)
        assert "LITERAL" not in done.stderr
        assert done.stdout == ""
    assert served.sandbox.wire == []


def test_every_problem_of_every_file_is_told_at_once(command: Command) -> None:
    """Nobody has to fix files one error at a time."""
    command.write("d/a.yaml", _numbers("  abc: ACTIVE\n  10-1234-5678: ACTIVE\n"))
    command.write("d/sub/b.yml", "version: 2\nnumbers: {}\n")
    done = command("validate", "-f", "d")
    assert done.returncode == 65
    assert [line.split(": ")[0] for line in done.stderr.splitlines()[:3]] == [
        "d/a.yaml:3:3",
        "d/a.yaml:4:3",
        "d/sub/b.yml:1:10",
    ]


def test_files_that_are_none(command: Command, served: Served) -> None:
    """A folder without files, a file that is not there, and one that is no file are told and send nothing."""
    (command.folder / "empty").mkdir()
    (command.folder / "dangling.yaml").symlink_to("nowhere")
    for path in ("empty", "nowhere.yaml", "dangling.yaml", "/dev/zero"):
        done = command("plan", "-f", path)
        assert done.returncode == 65
        assert path in done.stderr
    assert served.sandbox.wire == []


def test_an_unquoted_number_keeps_its_digits(command: Command, serve: Serve) -> None:
    """What YAML 1.1 takes for an octal number is the number that stands there."""
    account = SandboxAccount.of({"01000000000": "INACTIVE"})
    served = serve(account)
    command.at(served.sandbox, account).write("d.yaml", _numbers("  01000000000: ACTIVE\n"))
    assert command("apply", "-y", "-f", "d.yaml").returncode == 0
    assert served.writes == [("01000000000", "ACTIVE")]


@pytest.mark.parametrize(
    ("variable", "value", "told"),
    [
        ("SENDERID_ENDPOINT", "http://api.example.com", "plain http"),
        ("SENDERID_ENDPOINT", "solapy", "solapi"),
        ("SENDERID_CONCURENCY", "4", "did you mean SENDERID_CONCURRENCY"),
        ("SENDERID_RATE_LIMIT__WRITES", "0", "from 1 to"),
        ("SENDERID_SAFETY__MAX_DEACTIVATIONS", "lots", "percentage"),
    ],
)
def test_wrong_settings_are_told_and_send_nothing(
    command: Command, served: Served, variable: str, value: str, told: str
) -> None:
    """A setting that cannot be is invalid input, named by its variable."""
    command.environment[variable] = value
    done = command("plan", "-f", "d.yaml")
    assert done.returncode == 65
    assert variable in done.stderr
    assert told in done.stderr
    assert served.sandbox.wire == []


def test_a_wrong_settings_file_is_told_at_its_place(command: Command, served: Served) -> None:
    """A misspelt key of the settings file has its line and a suggestion."""
    command.write("config/worker.yaml", "retry:\n  atempts: 3\n")
    done = command("plan", "-f", "d.yaml")
    assert done.returncode == 65
    assert "config/worker.yaml:2:3: " in done.stderr
    assert "attempts" in done.stderr
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
    """What the command line does not know is wrong usage, and sends nothing."""
    done = command(*arguments)
    assert done.returncode == 64
    assert done.stderr
    assert served.sandbox.wire == []


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        (Fault.HTML, "not an account document: it is an HTML page"),
        (Fault.GARBAGE, "not an account document"),
        (Fault.HALF_AN_ANSWER, "broke off"),
        (Fault.OTHER_JSON, "not an account document"),
        (Fault.NO_CONTENT, "cannot be read"),
        (Fault.NOT_GZIP, "says gzip"),
        (Fault.INTERNAL_ERROR, "InternalError"),
        (Fault.BAD_GATEWAY, "HTTP 502"),
        (Fault.RESET_BEFORE, "connection broke"),
        (Fault.REDIRECT, "redirects"),
        (Fault.FORBIDDEN, "Forbidden"),
        (Fault.FLOOD, "says gzip"),
        (Fault.BOMB, "not an account document"),
        (Fault.ESCAPES, "Evil"),
    ],
)
def test_an_account_that_cannot_be_read_is_an_error(
    command: Command, served: Served, account: SandboxAccount, fault: Fault, told: str
) -> None:
    """Whatever is answered in place of the document is told in words; the exit status is 1 and nothing is written."""
    command.environment["SENDERID_RETRY__BASE_SECONDS"] = "0.001"
    command.environment["SENDERID_RETRY__ATTEMPTS"] = "2"
    served.sandbox.script(None, "GET", [fault, fault])
    done = command("apply", "--yes", "-f", "d.yaml")
    assert done.returncode == 1
    assert told in " ".join(done.stdout.split())
    assert "\x1b" not in done.stdout + done.stderr
    assert served.writes == []
    assert account.statuses == {A: "INACTIVE", B: "ACTIVE"}


def test_an_unknown_status_is_left_to_a_person(command: Command, served: Served, account: SandboxAccount) -> None:
    """A status that nobody has heard of is shown, never written, and the other numbers go on."""
    account.switch(B, "HIBERNATING")
    done = command("apply", "--yes", "-f", "d.yaml")
    assert done.returncode == 3
    assert "HIBERNATING" in done.stdout
    assert served.writes == [(A, "ACTIVE")]


def test_a_certificate_that_does_not_verify_ends_the_account(command: Command, serve: Serve) -> None:
    """TLS is always verified: with an unknown authority nothing is sent; with a known one all is well."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    account = SandboxAccount.of({A: "INACTIVE"})
    served = serve(account, ssl_context=context)
    command.at(served.sandbox, account).write("d.yaml", _numbers(f"  {A}: ACTIVE\n"))
    done = command("apply", "--yes", "-f", "d.yaml")
    assert done.returncode == 1
    assert "certificate" in done.stdout
    assert served.sandbox.wire == []
    authority.cert_pem.write_to_path(str(command.folder / "ca.pem"))
    command.environment["SSL_CERT_FILE"] = str(command.folder / "ca.pem")
    assert command("apply", "--yes", "-f", "d.yaml").returncode == 0
    assert account.statuses == {A: "ACTIVE"}


def test_nobody_listens(command: Command, served: Served) -> None:
    """An endpoint where nothing answers is an error with its address."""
    command.environment["SENDERID_ENDPOINT"] = "http://127.0.0.1:9"
    command.environment["SENDERID_RETRY__ATTEMPTS"] = "2"
    command.environment["SENDERID_RETRY__BASE_SECONDS"] = "0.001"
    done = command("plan", "-f", "d.yaml")
    assert done.returncode == 1
    assert "127.0.0.1:9 (Connection refused)" in done.stdout
    assert served.sandbox.wire == []


@pytest.mark.usefixtures("served")
def test_a_full_disk_under_stdout_loses_nothing(command: Command, account: SandboxAccount) -> None:
    """The document cannot be printed and that is told; the log still has what was done."""
    with Path("/dev/full").open("w") as full:
        process = command.popen("apply", "--yes", "-f", "d.yaml", "--format", "json", stdout=full)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "No space left on device; the run was carried out, and `senderid history 2" in err
    outcomes = [json.loads(line) for line in err.splitlines() if '"event":"number"' in line]
    assert {line["phone"]: line["outcome"] for line in outcomes} == {A: "changed", B: "unchanged"}
    assert account.statuses[A] == "ACTIVE"


def test_a_plan_that_cannot_be_shown_is_not_applied(command: Command, served: Served) -> None:
    """Where the plan cannot be printed, nothing is written: nobody could have seen it."""
    with Path("/dev/full").open("w") as full:
        process = command.popen("apply", "--yes", "-f", "d.yaml", stdout=full)
        process.communicate(timeout=60)
    assert process.returncode == 1
    assert served.writes == []


@pytest.mark.usefixtures("served")
def test_a_full_disk_under_the_log_stops_nothing(command: Command, account: SandboxAccount) -> None:
    """Log lines that cannot be written are dropped, and the run ends as it should."""
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
def test_closed_streams_change_nothing_else(command: Command, closed: str, status: int) -> None:
    """No socket takes the place of a closed standard stream; only a document that nobody gets is an error."""
    process = command.popen("plan", "-f", "d.yaml", program=("sh", "-c", f'exec "$@" {closed}', "sh", SENDERID))
    out, err = process.communicate(timeout=60)
    assert process.returncode == status
    assert ("Plan: 1 to activate" in out) == (status == 0)
    assert ("senderid: output: Bad file descriptor" in err) == (closed == ">&-")


@pytest.mark.parametrize("asked", ["--version", "--help", "schema"])
def test_an_answer_that_cannot_be_printed_is_an_error(command: Command, asked: str) -> None:
    """Also the shortest answers end with a sentence where the disk under stdout is full."""
    with Path("/dev/full").open("w") as full:
        process = command.popen(asked, stdout=full)
        _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (1, "senderid: output: No space left on device\n")


def test_an_output_file_is_whole_or_not_there(command: Command, served: Served) -> None:
    """A document goes to its file in one step; where that cannot be, exit 1 says why."""
    assert command("plan", "-f", "d.yaml", "--format", "json", "--output", "plan.json").returncode == 0
    assert json.loads((command.folder / "plan.json").read_text())["schema"] == "senderid.plan/v1"
    done = command("plan", "-f", "d.yaml", "--output", "nowhere/plan.txt")
    assert done.returncode == 1
    assert "nowhere/plan.txt" in done.stderr
    assert sorted(path.name for path in command.folder.iterdir()) == ["d.yaml", "plan.json"]
    assert served.writes == []


def test_a_state_folder_that_cannot_be_used_sends_nothing(command: Command, served: Served) -> None:
    """Without a place for locks no write is sent, and the way out is named."""
    command.write("state", "a file where a folder should be")
    done = command("apply", "--yes", "-f", "d.yaml")
    assert done.returncode == 1
    assert "ledger.path" in done.stdout + done.stderr
    assert served.writes == []


def test_a_port_that_is_taken_is_told(command: Command, served: Served) -> None:
    """A sandbox that cannot listen says so at once."""
    done = command("sandbox", "--port", served.sandbox.url.rpartition(":")[2])
    assert done.returncode == 64
    assert "cannot be listened on" in done.stderr
