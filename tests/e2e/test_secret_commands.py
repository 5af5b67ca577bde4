"""Secrets that commands print: used for runs, never run for the files or plans of strangers."""

import json
from datetime import UTC, datetime

import pytest
from msgspec.structs import replace

from tests.e2e.conftest import Command
from worker.model.credentials import CredentialsRef, SecretRef
from worker.plan.planfile import seal, unseal
from worker.sandbox import SandboxAccount

A = "01000000001"
NUMBERS = {A: "ACTIVE", "01000000002": "ACTIVE", "01000000003": "ACTIVE"}
_CREDENTIALS = "credentials: {{api_key: {{command: [{}]}}, api_secret: {{command: [{}]}}}}\n"
_PRINTED = _CREDENTIALS.format("printenv, SOLAPI_API_KEY", "printenv, SOLAPI_API_SECRET")
_MARKED = _CREDENTIALS.format("touch, ran", "touch, ran")


pytestmark = pytest.mark.usefixtures("served")


def _write(command: Command, credentials: str) -> None:
    command.write("config/desired/main.yaml", f"version: 1\n{credentials}numbers: {{{A}: INACTIVE}}\n")


def _ran(command: Command) -> bool:
    return (command.folder / "ran").exists()


def test_account_is_written_with_printed_secrets(command: Command, account: SandboxAccount) -> None:
    _write(command, _PRINTED)
    result = command("apply", "--yes", "--format", "json", "--log-level", "debug")
    assert result.returncode == 0, result.stderr
    assert account.statuses[A] == "INACTIVE"
    assert command.environment["SOLAPI_API_SECRET"] not in result.stdout + result.stderr
    history = command("history", json.loads(result.stdout)["run_id"])
    assert "credentials from the command printenv and the command printenv" in " ".join(history.stdout.split())
    assert command("validate").returncode == 0


@pytest.mark.parametrize("how", ["option", "environment", "file"])
def test_no_command_is_run_if_that_is_forbidden(command: Command, how: str) -> None:
    """An option or a variable also overrides a settings file, which a stranger may have written."""
    _write(command, _MARKED)
    command.write("config/worker.yaml", f"secrets: {{commands: {str(how != 'file').lower()}}}\n")
    if how == "environment":
        command.environment["SENDERID_SECRETS__COMMANDS"] = "false"
    for arguments in (("plan",), ("apply", "--yes"), ("drift",), ("status",)):
        result = command(*arguments, *(["--no-commands"] if how == "option" else []))
        assert result.returncode == 1
        assert "commands are not run, by --no-commands or secrets.commands" in " ".join(
            (result.stdout + result.stderr).split()
        )
    assert not _ran(command)


def test_files_are_checked_without_their_commands(command: Command) -> None:
    _write(command, _MARKED)
    assert command("validate").returncode == 0
    assert not _ran(command)
    assert command("plan").returncode == 1
    assert _ran(command)


@pytest.mark.parametrize("arguments", [(), ("--no-files",), ("--files", ".")])
def test_plan_file_does_not_choose_commands(
    command: Command, account: SandboxAccount, arguments: tuple[str, ...]
) -> None:
    """A seal does not prove who wrote a plan file."""
    _write(command, "")
    assert command("plan", "--out", "p.json").returncode == 0
    path = command.folder / "p.json"
    plan = unseal(path.read_bytes(), now=datetime.now(UTC))
    touch = SecretRef(command=("touch", "ran"))
    forged = replace(plan, accounts=(replace(plan.accounts[0], credentials=CredentialsRef(touch, touch)),))
    path.write_bytes(seal(forged))
    result = command("apply", "p.json", *arguments)
    assert result.returncode == 65
    assert "credentials from a command that its desired-state file does not name" in result.stderr
    assert not _ran(command)
    assert account.statuses[A] == "ACTIVE"


def test_plan_file_with_the_commands_of_its_files_is_applied(command: Command, account: SandboxAccount) -> None:
    _write(command, _PRINTED)
    assert command("plan", "--out", "p.json").returncode == 0
    assert command("apply", "p.json", "--no-files").returncode == 65
    result = command("apply", "p.json")
    assert result.returncode == 0, result.stderr
    assert account.statuses[A] == "INACTIVE"
