"""`status --explain`: the values in force for a number, and where each comes from."""

import json

import pytest
from jsonschema import Draft202012Validator

from tests.e2e.conftest import Command
from worker.render.json_schema import schema

A, B = "01000000001", "01000000002"
NUMBERS = {A: "ACTIVE", B: "ACTIVE"}
FILES = {
    "config/desired/senderid.yaml": "version: 1\ndefaults: {owner: sales}\n",
    "config/desired/main.yaml": f"version: 1\ndefaults:\n  status: INACTIVE\nnumbers:\n  {A}: {{note: front desk}}\n",
}
pytestmark = pytest.mark.usefixtures("served")


def test_values_in_force_have_their_places(command: Command) -> None:
    result = command("status", "--explain", "010-0000-0001")
    assert result.returncode == 0, result.stderr
    lines = [line.strip() for line in result.stdout.splitlines()]
    assert lines[2].split()[:4] == ["010-0000-0001", "ACTIVE", "INACTIVE", "*"]
    assert lines[3:6] == [
        "status  INACTIVE  (config/desired/main.yaml:3, by default)",
        "owner   sales  (config/desired/senderid.yaml:2, by default)",
        "note    front desk  (config/desired/main.yaml:5)",
    ]
    document = json.loads(command("status", "--explain", A, "--format", "json").stdout)
    Draft202012Validator(schema("status")).validate(document)
    (number,) = document["accounts"][0]["numbers"]
    assert number["phone"] == A
    assert number["origins"][0] == {
        "field": "status",
        "value": "INACTIVE",
        "location": "config/desired/main.yaml:3",
        "by_default": True,
    }


def test_unlisted_number_has_no_places(command: Command) -> None:
    result = command("status", "--explain", B, "--format", "json")
    (number,) = json.loads(result.stdout)["accounts"][0]["numbers"]
    assert (number["listed"], number["origins"]) == (False, [])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--explain", "x"), "--explain 'x'"),
        (("--explain", A, "--format", "csv"), "cannot be combined with --format csv"),
    ],
)
def test_wrong_usage_is_named(command: Command, arguments: tuple[str, ...], message: str) -> None:
    result = command("status", *arguments)
    assert (result.returncode, message in result.stderr) == (64, True)
