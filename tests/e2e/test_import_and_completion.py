"""Import of tables, schemas for editors, and completion for shells."""

import json
import shutil
import subprocess

import pytest
import yaml
from jsonschema import Draft202012Validator

from tests.e2e.conftest import Command, Serve
from worker.cli.main import COMMANDS
from worker.sandbox import SandboxAccount

MODELINE = "# yaml-language-server: $schema="


def test_export_writes_its_schema_beside_it(command: Command, serve: Serve) -> None:
    account = SandboxAccount.of({"01012345678": "ACTIVE", "0212345678": "INACTIVE"})
    command.at(serve(account).sandbox, account)
    result = command("export", "--output", "main.yaml")
    assert (result.returncode, result.stderr.splitlines()[-1]) == (
        0,
        "The schema for editors is in senderid.schema.json.",
    )
    text = (command.folder / "main.yaml").read_text()
    assert text.startswith(f"{MODELINE}senderid.schema.json\n")
    schema = json.loads((command.folder / "senderid.schema.json").read_text())
    Draft202012Validator(schema).validate(yaml.safe_load(text))
    command.write("main.yaml", f"{text}# by hand\n")
    refused = command("export", "--output", "main.yaml")
    assert (refused.returncode, "--force" in refused.stderr) == (64, True)
    assert (command.folder / "main.yaml").read_text().endswith("# by hand\n")
    assert command("export", "--output", "main.yaml", "--force").returncode == 0
    assert command("plan", "-f", "main.yaml", "--detailed-exitcode").returncode == 0


def test_export_does_not_replace_another_file_by_its_schema(command: Command) -> None:
    command.write("senderid.schema.json", "{}")
    command.write("t.csv", "phone,status\n01012345678,ACTIVE\n")
    result = command("import", "t.csv", "--output", "main.yaml")
    assert result.returncode == 0
    assert "was not overwritten" in result.stderr
    assert (command.folder / "senderid.schema.json").read_text() == "{}"
    command.write("senderid.schema.json", b"\xff")
    assert "was not overwritten" in command("import", "t.csv", "--output", "main.yaml", "--force").stderr
    result = command("import", "t.csv", "--output", "other.yaml", "--schema", "https://example.com/s.json")
    assert (result.returncode, result.stderr) == (0, "Wrote 1 number to other.yaml: 1 ACTIVE, 0 INACTIVE.\n")
    assert (command.folder / "other.yaml").read_text().startswith(f"{MODELINE}https://example.com/s.json\n")


def test_imported_table_can_be_planned(command: Command) -> None:
    table = "발신번호,상태,담당자,색\n010-1234-5678,활성,영업팀,빨강\n"
    command.write("t.csv", table.encode("cp949"))
    result = command("import", "t.csv", "--account", "본점")
    message = "t.csv:1:13: unknown column '색': rename it or use --skip-column"
    columns = "'발신번호' = phone, '상태' = status, '담당자' = owner, '색' = unknown"
    assert (result.returncode, result.stderr.splitlines()[0]) == (65, f"{message}; columns: {columns}")
    result = command("import", "t.csv", "--account", "본점", "--skip-column", "색")
    assert result.returncode == 0
    assert yaml.safe_load(result.stdout) == {
        "version": 1,
        "account": "본점",
        "numbers": {"010-1234-5678": {"status": "ACTIVE", "owner": "영업팀"}},
    }
    assert command("import", "-", "--account", "본점", "--skip-column", "색", stdin=table).stdout == result.stdout
    assert command("validate", "-f", "-", stdin=result.stdout).returncode == 0


def test_table_from_a_spreadsheet_is_imported(command: Command) -> None:
    head = ["sep=;", "2026년 발신번호 현황;;", "발신번호(필수);사용여부;비고"]
    table = "\r\n".join([*head, "010-1234-5678;Y;본점", "02-312-4567;N;", "※ 끝;;"])
    command.write("t.csv", table.encode("cp949"))
    result = command("import", "t.csv", "--output", "main.yaml")
    assert (result.returncode, result.stdout) == (0, "")
    assert result.stderr.splitlines() == [
        "t.csv:2:1: warning: ignored above the column names: '2026년 발신번호 현황'",
        "t.csv:6:1: warning: ignored below the last number: '※ 끝'",
        "The schema for editors is in senderid.schema.json.",
        "Wrote 2 numbers to main.yaml: 1 ACTIVE, 1 INACTIVE.",
    ]
    assert yaml.safe_load((command.folder / "main.yaml").read_text())["numbers"] == {
        "010-1234-5678": {"status": "ACTIVE", "note": "본점"},
        "02-312-4567": "INACTIVE",
    }
    assert command("validate", "-f", "main.yaml").returncode == 0


def test_account_document_is_imported(command: Command) -> None:
    rows = [{"phoneNumber": "01012345678", "status": "ACTIVE"}, {"phoneNumber": "0212345678", "status": "PENDING"}]
    command.write("response.json", json.dumps({"accountId": "12925149", "senderIds": rows}))
    result = command("import", "response.json")
    assert result.returncode == 0
    assert yaml.safe_load(result.stdout)["numbers"] == {"010-1234-5678": "ACTIVE"}
    assert yaml.safe_load(result.stdout)["account_id"] == "12925149"
    assert "#   02-1234-5678: PENDING" in result.stdout


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-be"])
def test_account_document_may_have_a_byte_order_mark(command: Command, encoding: str) -> None:
    """PowerShell saves responses in these encodings."""
    text = json.dumps({"accountId": "1", "senderIds": [{"phoneNumber": "01012345678", "status": "ACTIVE"}]})
    mark = "\ufeff" if encoding == "utf-16-be" else ""
    command.write("response.json", f"{mark}{text}".encode(encoding))
    for arguments in ((), ("--from", "json")):
        result = command("import", "response.json", *arguments)
        assert (result.returncode, result.stderr) == (0, "")
        assert yaml.safe_load(result.stdout)["numbers"] == {"010-1234-5678": "ACTIVE"}


@pytest.mark.parametrize(
    ("text", "arguments", "message"),
    [
        ("phone,status\n1012345678,ACTIVE\n", (), "t.txt:2:1: '1012345678': missing leading 0"),
        ('{"senderIds": 5}', (), "t.txt:1:1: not an account document: Expected `array | null`"),
        ('{"senderIds"', (), "t.txt:1:1: not an account document: Input data was truncated"),
        ("phone,status\n", ("--from", "json"), "t.txt:1:1: not an account document: JSON is malformed"),
        ("", (), "t.txt:1:1: the file is empty"),
    ],
)
def test_invalid_table_is_not_written_to_a_file(
    command: Command, text: str, arguments: tuple[str, ...], message: str
) -> None:
    command.write("t.txt", text)
    result = command("import", "t.txt", *arguments, "--output", "main.yaml")
    assert (result.returncode, result.stdout) == (65, "")
    assert message in result.stderr
    assert not (command.folder / "main.yaml").exists()


def test_import_keeps_an_existing_file_without_force(command: Command) -> None:
    command.write("t.csv", "phone,status\n01012345678,ACTIVE\n")
    command.write("main.yaml", "by hand")
    result = command("import", "t.csv", "--output", "main.yaml")
    assert result.returncode == 64
    assert "--force" in result.stderr
    assert (command.folder / "main.yaml").read_text() == "by hand"


def test_import_of_a_missing_file_names_it(command: Command) -> None:
    result = command("import", "nowhere.csv")
    assert (result.returncode, result.stderr.splitlines()[0]) == (
        65,
        "nowhere.csv:1:1: cannot be read: No such file or directory",
    )


_BASH = """
source <(senderid completion bash)
COMP_WORDS=({words} "{last}")
COMP_CWORD=$(( ${{#COMP_WORDS[@]}} - 1 ))
_senderid_completion senderid
printf '%s\\n' "${{COMPREPLY[@]}}"
"""
_FISH = 'senderid completion fish | source; complete --do-complete "{words} {last}" | cut -f 1'
_ZSH = """
compdef() {{ :; }}
source <(senderid completion zsh)
compadd() {{ print -rl -- "${{(@P)argv[-1]}}"; }}
_describe() {{ print -rl -- "${{(@P)argv[-2]%%:*}}"; }}
words=({words} "{last}")
CURRENT=${{#words}}
_senderid_completion
"""


def _completed(command: Command, shell: str, words: str, last: str) -> list[str]:
    program = shutil.which(shell)
    if program is None:
        pytest.skip(f"there is no {shell}")
    script = {"bash": _BASH, "fish": _FISH, "zsh": _ZSH}[shell].format(words=words, last=last)
    path = f"{command.quick}:{command.environment['PATH']}"
    flags = ["-f"] if shell == "zsh" else ["--no-config"] if shell == "fish" else ["--norc"]
    result = subprocess.run(  # noqa: S603 - a shell, with our own script
        [program, *flags, "-c", script],
        cwd=command.folder,
        env={**command.environment, "PATH": path, "TERM": "dumb"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.stderr == ""
    return [line for line in result.stdout.splitlines() if line]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_complete_commands_options_and_values(command: Command, serve: Serve, shell: str) -> None:
    account = SandboxAccount.of({"01012345678": "INACTIVE"})
    command.at(serve(account).sandbox, account)
    command.write(
        "config/desired/here.yaml",
        "version: 1\naccount: here\nnumbers: {01012345678: {status: ACTIVE, owner: Sales}}\n",
    )
    assert command("apply", "--yes").returncode == 0
    (run,) = json.loads(command("history", "--format", "json").stdout)["runs"]
    for words, last, expected in (
        ("senderid", "va", {"validate"}),
        ("senderid plan", "--detailed", {"--detailed-exitcode"}),
        ("senderid plan --allow", "m", {"max-deactivations", "min-active"}),
        ("senderid plan --account", "", {"here"}),
        ("senderid plan -f - -f config/desired --account", "", {"here"}),
        ("senderid plan config/desired --account", "", {"here"}),
        ("senderid plan --owner", "", {"Sales"}),
        ("senderid history", "", {run["run_id"], "last"}),
        ("senderid watch --timezone", "Asia/Seo", {"Asia/Seoul"}),
        ("senderid watch --timezone", "Eur", {"Europe/"}),
        ("senderid schema", "des", {"desired"}),
    ):
        assert set(_completed(command, shell, words, last)) == expected, (words, last)


def test_every_command_is_offered(command: Command) -> None:
    assert _completed(command, "bash", "senderid", "") == list(COMMANDS)


def test_name_with_shell_syntax_is_not_offered(command: Command) -> None:
    text = "version: 1\naccount: {}\nnumbers: {{}}\n---\n"
    names = ("$(touch x)", "`x`", "a;b", "본점", "a b", "plain")
    command.write(
        "config/desired/all.yaml", "".join(text.format(json.dumps(name)) for name in names).removesuffix("---\n")
    )
    assert _completed(command, "bash", "senderid plan --account", "") == ["본점", "plain"]


def test_completion_is_silent_on_errors(command: Command) -> None:
    assert _completed(command, "bash", "senderid history", "") == []
    assert _completed(command, "bash", "senderid plan --account", "") == []
    command.write("config/desired/here.yaml", "\x00")
    command.write("state/senderid/ledger.db", "no ledger")
    assert _completed(command, "bash", "senderid rollback", "") == []
    assert _completed(command, "bash", "senderid plan --account", "") == []


def test_completion_does_not_read_large_files(command: Command) -> None:
    """The names of the files replace those of the accounts."""
    command.write("config/desired/large.yaml", "#" * (3 << 20))
    assert _completed(command, "bash", "senderid plan --account", "l") == ["large"]
    assert _completed(command, "bash", "senderid plan --owner", "") == []
