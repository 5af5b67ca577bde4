"""The options `--format markdown` and `--mask`."""

import json
import os
import pty
import re

import pytest

from tests.e2e.conftest import Command, Served
from worker.sandbox import SandboxAccount

A, B, SHORT = "01012345678", "0232345678", "1335"
FILE = f"version: 1\nnumbers: {{{A}: {{status: ACTIVE, note: was +82-2-3234-5678}}, {B}: ACTIVE, {SHORT}: ACTIVE}}\n"
MASK = ("--mask", "010****5678")
_FULL = re.compile(r"1234\D{0,2}5678|3234\D{0,2}5678")
NUMBERS = {A: "INACTIVE", B: "ACTIVE", SHORT: "ACTIVE"}
FILES = {"d.yaml": FILE}


def test_every_command_prints_markdown(command: Command, served: Served) -> None:
    markdown = ("--format", "markdown")
    planned = command("plan", "-f", "d.yaml", *markdown, "--detailed-exitcode")
    assert planned.returncode == 2
    assert planned.stdout.startswith("### Safe to merge.\n\n**Plan: 1 to activate, 0 to deactivate. 2 unchanged.**\n")
    drifted = command("drift", "-f", "d.yaml", *markdown)
    assert (drifted.returncode, drifted.stdout[:10]) == (2, "### Drift:")
    applied = command("apply", "-y", "-f", "d.yaml", *markdown, "--output", "done.md")
    assert (applied.returncode, applied.stdout) == (0, "")
    assert (command.folder / "done.md").read_text().startswith("### Converged: 1 changed, 2 unchanged.")
    run = json.loads(command("history", "--format", "json").stdout)["runs"][0]["run_id"]
    assert command("history", run, *markdown).stdout.startswith(f"### Run `{run}`: converged\n")
    previewed = command("rollback", run, "--dry-run", *markdown)
    assert f"as before run {run}" in previewed.stdout
    back = command("rollback", run, "--yes", *markdown, "--allow", "all")
    assert back.returncode == 0
    assert "change it there, too, or the next apply undoes this rollback" in back.stdout
    assert served.writes == [(A, "ACTIVE"), (A, "INACTIVE")]


def test_mask_hides_numbers_in_every_format(command: Command, served: Served, account: SandboxAccount) -> None:
    run = json.loads(command("apply", "-y", "-f", "d.yaml", "--format", "json").stdout)["run_id"]
    texts = []
    for output_format in ("text", "markdown", "html"):
        for verb in (
            ("plan", "-f", "d.yaml", "--log-level", "debug"),
            ("drift", "-f", "d.yaml", "--log-format", "console", "--log-level", "debug"),
            ("apply", "-y", "-f", "d.yaml"),
            ("history", run),
            ("rollback", run, "--dry-run"),
        ):
            if verb[0] != "rollback":
                account.switch(A, "INACTIVE")
            result = command(*verb, "--format", output_format, *MASK)
            texts.append(result.stdout + result.stderr)
            assert "*" in result.stdout + result.stderr
    texts += [
        command(*arguments).stdout
        for arguments in (("history", *MASK), ("history", "--phone", A, "--format", "html", *MASK))
    ]
    assert "010****5678" in texts[-1]
    assert served.writes == [(A, "ACTIVE")] * 4
    assert [text for text in texts if _FULL.search(text) or '"phone":"1335"' in text] == []


def test_mask_hides_numbers_in_errors(command: Command, served: Served) -> None:
    command.write("bad.yaml", f"version: 1\nnumbers: {{{A}: ACTIVE, +82 10-1234-5678: ON}}\n")
    broken = command("plan", "-f", "bad.yaml", *MASK)
    assert broken.returncode == 65
    assert "010****5678 is a duplicate of line 2" in broken.stderr
    elsewhere = command("plan", "-f", "d.yaml", "--only", "010-1234-56789", *MASK)
    assert elsewhere.returncode == 64
    wrong = command("plan", "--format", "x010-1234-5678", *MASK)
    assert wrong.returncode == 64
    invalid = command("validate", "bad.yaml", *MASK)
    assert invalid.returncode == 65
    for result in (broken, elsewhere, wrong, invalid):
        assert not _FULL.search(result.stdout + result.stderr)
    assert served.sandbox.wire == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("plan", "--mask", "0101234"), "a mask is a number with stars"),
        (("apply", "-y", "--mask", "010*2345678"), "a mask hides 3 digits or more"),
        (("apply", "-y", "--format", "json", *MASK), "--mask cannot be combined with --format json"),
        (("apply", "-y", *MASK, "--format", "json"), "--mask cannot be combined with --format json"),
        (("history", "--format", "markdown"), "senderid history RUN --format markdown"),
    ],
)
def test_invalid_mask_is_wrong_usage(
    command: Command, served: Served, arguments: tuple[str, ...], message: str
) -> None:
    result = command(*arguments)
    assert result.returncode == 64
    assert message in result.stderr
    assert served.sandbox.wire == []


def test_mask_hides_numbers_in_the_question(command: Command, served: Served) -> None:
    command.environment |= {"TERM": "dumb"}
    master, slave = pty.openpty()
    with command.popen("apply", "-f", "d.yaml", *MASK, stdin=slave, stdout=slave, stderr=slave) as process:
        os.close(slave)
        output = ""
        while "to continue: " not in output:
            output += os.read(master, 65536).decode()
        os.write(master, b"no\n")
        assert process.wait(60) == 4
    os.close(master)
    assert "010****5678" in output
    assert not _FULL.search(output)
    assert served.writes == []


def test_validate_takes_files_as_arguments(command: Command) -> None:
    command.write("a.yaml", f"version: 1\nnumbers: {{{A}: ACTIVE}}\n")
    credentials = "credentials: {api_key: {env: B_KEY}, api_secret: {env: B_SECRET}}"
    command.write("b.yaml", f"version: 1\n{credentials}\nnumbers: {{{B}: ACTIVE}}\n")
    assert command("validate", "a.yaml", "b.yaml").stdout == "OK: 2 accounts, 2 numbers.\n"
    assert command("validate", "-f", "a.yaml", "b.yaml").stdout == "OK: 2 accounts, 2 numbers.\n"
