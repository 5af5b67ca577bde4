"""Responses that are not an account document: no write, export or baseline depends on them."""

import json
from pathlib import Path
from typing import Final

import pytest
import yaml
from jsonschema import Draft202012Validator

from tests.e2e.conftest import Command, Serve, Served
from worker.render.json_schema import schema
from worker.sandbox import Fault, SandboxAccount

PHONES: Final = [f"010{index:08}" for index in range(10)]
_SHAPES: Final = {
    Fault.NO_ACCOUNT_ID: "keys are missing: accountId",
    Fault.NO_NUMBER_LIST: "keys are missing: senderIds",
    Fault.NULL_NUMBER_LIST: "keys are missing: senderIds",
    Fault.OTHER_JSON: "not an account document",
    Fault.HTML: "HTML page",
}
_PINNED: Final = _SHAPES | {Fault.EMPTY_OBJECT: "account_id 12925149 is not confirmed"}
NUMBERS = dict.fromkeys(PHONES, "ACTIVE")
ENVIRONMENT = {"SENDERID_RETRY__ATTEMPTS": "1"}


def _desired(command: Command, *, pin: str = 'account_id: "12925149"\n') -> Path:
    numbers = dict.fromkeys(PHONES, "ACTIVE") | {PHONES[0]: "INACTIVE"}
    listed = "".join(f'  "{phone}": {status}\n' for phone, status in numbers.items())
    return command.write("d.yaml", f"version: 1\n{pin}numbers:\n{listed}")


@pytest.mark.parametrize("verb", ["plan", "apply", "drift"])
@pytest.mark.parametrize("fault", _PINNED)
def test_invalid_response_plans_and_writes_nothing(command: Command, served: Served, fault: Fault, verb: str) -> None:
    _desired(command)
    served.sandbox.script(None, "GET", [fault] * 3)
    result = command(verb, "-f", "d.yaml", *(["--yes"] if verb == "apply" else []))
    assert result.returncode == 1
    assert _PINNED[fault] in " ".join(result.stdout.split())
    assert served.writes == []


@pytest.mark.parametrize("fault", _PINNED)
def test_invalid_response_fails_a_saved_plan(command: Command, served: Served, fault: Fault) -> None:
    _desired(command, pin="")
    assert command("plan", "-f", "d.yaml", "--out", "p.json").returncode == 0
    served.sandbox.script(None, "GET", [fault] * 3)
    result = command("apply", "p.json", "--yes")
    assert result.returncode == 1
    assert _PINNED[fault] in " ".join(result.stdout.split())
    assert served.writes == []


@pytest.mark.parametrize("fault", [*_SHAPES, Fault.EMPTY_OBJECT])
def test_invalid_response_does_not_replace_an_exported_file(command: Command, served: Served, fault: Fault) -> None:
    file = _desired(command)
    original = file.read_bytes()
    served.sandbox.script(None, "GET", [fault] * 2)
    result = command("export", "--output", "d.yaml", "--force")
    assert (result.returncode, result.stdout) == (1, "")
    assert _SHAPES.get(fault, "an empty object, which does not prove that the account has no numbers") in result.stderr
    assert file.read_bytes() == original
    assert [path.name for path in command.folder.glob("*.json")] == []


def test_export_rereads_when_numbers_of_its_file_are_missing(command: Command, served: Served) -> None:
    _desired(command)
    served.sandbox.script(None, "GET", [Fault.SHRUNKEN])
    assert command("export", "--output", "d.yaml", "--force").returncode == 0
    assert len(yaml.safe_load((command.folder / "d.yaml").read_text())["numbers"]) == len(PHONES)
    assert len(served.sandbox.wire) == 2


@pytest.mark.parametrize(("faults", "exported"), [([Fault.SHRUNKEN], 10), ([Fault.SHRUNKEN] * 2, 5)])
def test_export_rereads_when_numbers_of_the_last_run_are_missing(
    command: Command, served: Served, faults: list[Fault], exported: int
) -> None:
    """A second response without the numbers is exported."""
    _desired(command)
    assert command("apply", "-f", "d.yaml", "--yes").returncode == 0
    served.sandbox.script(None, "GET", faults)
    result = command("export")
    assert len(yaml.safe_load(result.stdout)["numbers"]) == exported


@pytest.mark.usefixtures("served")
def test_export_warns_of_an_unreadable_ledger(command: Command) -> None:
    command.environment["SENDERID_LEDGER__PATH"] = str(command.write("broken.db", "no database"))
    result = command("export")
    assert result.returncode == 0
    assert len(yaml.safe_load(result.stdout)["numbers"]) == len(PHONES)
    assert "warning:" in result.stderr


def test_empty_object_is_exported_only_without_loss(command: Command, served: Served) -> None:
    """An empty object is exported to a new file, or over a file without numbers."""
    for _ in range(2):
        served.sandbox.script(None, "GET", [Fault.EMPTY_OBJECT])
        result = command("export", "--output", "new.yaml", "--force")
        assert result.returncode == 0
        assert "The response is an empty object" in result.stderr
        assert yaml.safe_load((command.folder / "new.yaml").read_text())["numbers"] == {}
    command.write("new.yaml", "written by hand")
    served.sandbox.script(None, "GET", [Fault.EMPTY_OBJECT])
    assert command("export", "--output", "new.yaml", "--force").returncode == 1
    assert (command.folder / "new.yaml").read_text() == "written by hand"


def test_export_of_an_empty_number_list_confirms_the_pin(command: Command, serve: Serve) -> None:
    account = SandboxAccount(named_when_empty=True)
    command.at(serve(account).sandbox, account)
    _desired(command)
    assert command("export", "--output", "d.yaml", "--force").returncode == 0
    assert yaml.safe_load((command.folder / "d.yaml").read_text())["account_id"] == "12925149"
    assert command("plan", "-f", "d.yaml", "--detailed-exitcode").returncode == 0


@pytest.mark.parametrize("fault", _SHAPES)
def test_doctor_fails_on_an_invalid_response(command: Command, served: Served, fault: Fault) -> None:
    served.sandbox.script(None, "GET", [fault])
    result = command("doctor", "--format", "json")
    assert result.returncode == 1
    (row,) = [check for check in json.loads(result.stdout)["checks"] if check["status"] == "fail"]
    assert row["name"] == "signature"
    assert _SHAPES[fault] in row["detail"]


def test_doctor_warns_of_an_empty_object(command: Command, served: Served) -> None:
    served.sandbox.script(None, "GET", [Fault.EMPTY_OBJECT])
    result = command("doctor", "--format", "json")
    assert result.returncode == 0
    document = json.loads(result.stdout)
    Draft202012Validator(schema("doctor")).validate(document)
    rows = {check["name"]: check for check in document["checks"]}
    assert rows["signature"]["status"] == "warn"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"senderIds": []}', "keys are missing: accountId"),
        ('{"accountId": "1"}', "keys are missing: senderIds"),
        ('{"accountId": null, "senderIds": null}', "keys are missing: accountId, senderIds"),
        ('{"data": {"accountId": "1", "senderIds": []}}', "keys are missing: accountId, senderIds"),
        ('["01012345678"]', "Expected `object`, got `array`"),
        ("<html>Log in</html>", "it is an HTML page"),
        ("\ufeff<html>Log in</html>", "it is an HTML page"),
        ("{}", "an empty object, which does not prove that the account has no numbers; d.yaml was not changed"),
    ],
)
def test_import_refuses_an_invalid_document(command: Command, text: str, reason: str) -> None:
    file = _desired(command)
    original = file.read_bytes()
    command.write("response.json", text)
    result = command("import", "response.json", "--output", "d.yaml", "--force")
    assert (result.returncode, result.stdout) == (65, "")
    assert result.stderr.startswith("response.json:1:1: ")
    assert reason in result.stderr
    assert file.read_bytes() == original


@pytest.mark.parametrize("fault", [Fault.SHRUNKEN, Fault.EMPTY_OBJECT])
def test_numbers_missing_from_one_read_do_not_change_the_plan(command: Command, served: Served, fault: Fault) -> None:
    _desired(command, pin="")
    served.sandbox.script(None, "GET", [fault])
    result = command("plan", "-f", "d.yaml", "--format", "json", "--log-format", "json")
    (planned,) = json.loads(result.stdout)["accounts"]
    assert (planned["counts"]["missing"], planned["counts"]["deactivate"]) == (0, 1)
    assert [line["reason"] for line in map(json.loads, result.stderr.splitlines()) if line["event"] == "account.reread"]
    # the fault affects the plan, the second read before the writes and the verification read
    initial_count = len(served.sandbox.wire)
    served.sandbox.script(None, "GET", [fault, None, fault, None, fault, None])
    result = command("apply", "-f", "d.yaml", "--yes", "--format", "json")
    assert result.returncode == 0
    (applied,) = json.loads(result.stdout)["accounts"]
    assert (applied["counts"]["changed"], applied["counts"]["missing"]) == (1, 0)
    assert served.writes == [(PHONES[0], "INACTIVE")]
    assert applied["requests"]["reads"] == len(served.sandbox.wire) - initial_count - 1 == 6


def test_numbers_missing_from_two_reads_are_missing(command: Command, served: Served) -> None:
    _desired(command)
    served.sandbox.script(None, "GET", [Fault.SHRUNKEN] * 2)
    result = command("plan", "-f", "d.yaml", "--format", "json")
    (planned,) = json.loads(result.stdout)["accounts"]
    assert planned["counts"]["missing"] == 5
    assert served.writes == []
    assert len(served.sandbox.wire) == 2


def test_read_is_compared_with_the_last_apply(command: Command, served: Served, account: SandboxAccount) -> None:
    """Unlisted numbers count too. A plan rereads but records nothing."""
    command.write("d.yaml", f'version: 1\nnumbers: {{"{PHONES[0]}": ACTIVE}}\n')
    assert command("apply", "-f", "d.yaml", "--yes").returncode == 0
    for phone in PHONES[6:]:
        account.remove(phone)
    for verb, reads in (("plan", 2), ("plan", 2), ("apply", 2), ("plan", 1)):
        initial_count = len(served.sandbox.wire)
        assert command(verb, "-f", "d.yaml", *(["--yes"] if verb == "apply" else [])).returncode == 0
        assert len(served.sandbox.wire) - initial_count == reads
