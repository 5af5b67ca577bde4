"""Rules over all accounts of a run: the fleet-wide limit and the canary."""

import json
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from tests.e2e.conftest import Command, Serve
from worker.render.json_schema import schema
from worker.sandbox import Fault, SandboxAccount


class Reseller:
    """Accounts a0, a1, … on one sandbox, each with a key and a file of its own."""

    def __init__(self, command: Command, serve: Serve, sizes: list[int], status: str = "INACTIVE") -> None:
        self.command = command
        self.accounts = [
            SandboxAccount.of(
                {self.phone(index, number): status for number in range(size)},
                account_id=f"{index}",
                api_key=f"NCS{index}",
                api_secret="s" * 30,
            )
            for index, size in enumerate(sizes)
        ]
        self.served = serve(*self.accounts)
        command.at(self.served.sandbox, self.accounts[0])
        command.environment |= {"SECRET": "s" * 30} | {f"KEY{index}": f"NCS{index}" for index in range(len(sizes))}

    @staticmethod
    def phone(account: int, number: int) -> str:
        """Return a number of an account."""
        return f"010{account:04}{number:04}"

    def write_file(self, index: int, status: str) -> None:
        """Write a file that desires all numbers of an account in one status."""
        numbers = ", ".join(f"{phone}: {status}" for phone in self.accounts[index].statuses)
        self.command.write(
            f"config/desired/a{index}.yaml",
            f"version: 1\ncredentials: {{api_key: {{env: KEY{index}}}, api_secret: {{env: SECRET}}}}\n"
            f"numbers: {{{numbers}}}\n",
        )

    def active(self) -> list[int]:
        """Return the number of ACTIVE numbers of each account on the sandbox."""
        return [list(account.statuses.values()).count("ACTIVE") for account in self.accounts]

    def run(self, *arguments: str, status: int) -> dict[str, Any]:
        """Return the JSON document of a command that ends with `status`."""
        result = self.command(*arguments, "--format", "json")
        assert result.returncode == status, result.stderr
        document: dict[str, Any] = json.loads(result.stdout)
        return document


def _rules(document: dict[str, Any]) -> list[list[str]]:
    return [[refusal["rule"] for refusal in account["refusals"]] for account in document["accounts"]]


@pytest.fixture
def reseller(command: Command, serve: Serve) -> Reseller:
    """Serve three accounts of 6, 6 and 2 INACTIVE numbers. The files desire 12 of 14 ACTIVE, and the limit is 10."""
    fleet = Reseller(command, serve, [6, 6, 2])
    command.environment["SENDERID_SAFETY__FLEET_WIDE"] = "10"
    for index, status in enumerate(("ACTIVE", "ACTIVE", "INACTIVE")):
        fleet.write_file(index, status)
    return fleet


def test_change_of_most_of_the_fleet_is_refused(reseller: Reseller) -> None:
    for verb in (("plan",), ("drift",), ("apply", "--yes")):
        assert _rules(reseller.run(*verb, status=4)) == [["fleet-wide"], ["fleet-wide"], []]
    output = reseller.command("apply", "--yes")
    assert output.returncode == 4
    assert "12 of the 14 numbers of all accounts would be activated" in " ".join(output.stdout.split())
    assert "--allow fleet-wide" in output.stdout
    assert reseller.served.writes == []


def test_default_limit_is_half_and_a_hundred_numbers(command: Command, serve: Serve) -> None:
    fleet = Reseller(command, serve, [101, 1])
    for index in (0, 1):
        fleet.write_file(index, "ACTIVE")
    assert _rules(fleet.run("plan", status=4)) == [["fleet-wide"], ["fleet-wide"]]
    excluded = [f"--exclude={Reseller.phone(0, number)}" for number in (0, 1)]
    fleet.run("apply", "--yes", *excluded, status=0)
    assert fleet.active() == [99, 1]


@pytest.mark.parametrize("rule", ["fleet-wide", "all"])
def test_allow_lets_the_fleet_change(reseller: Reseller, rule: str) -> None:
    assert reseller.run("apply", "--yes", "--allow", rule, status=0)["outcome"] == "converged"
    assert reseller.active() == [6, 6, 0]


def test_fleet_wide_is_a_setting(reseller: Reseller) -> None:
    reseller.command.environment["SENDERID_SAFETY__FLEET_WIDE"] = "half"
    wrong = reseller.command("apply", "--yes")
    assert wrong.returncode == 65
    assert "SENDERID_SAFETY__FLEET_WIDE:1:1: fleet_wide must be a whole number of 0 or more" in wrong.stderr
    assert reseller.served.sandbox.wire == []
    reseller.command.environment["SENDERID_SAFETY__FLEET_WIDE"] = "90%"
    reseller.run("apply", "--yes", status=0)
    assert reseller.active() == [6, 6, 0]


def test_selection_narrows_the_fleet(reseller: Reseller) -> None:
    excluded = [f"--exclude={Reseller.phone(index, number)}" for index in (0, 1) for number in (0, 1)]
    reseller.run("apply", "--yes", *excluded, status=0)
    assert reseller.active() == [4, 4, 0]
    reseller.run("apply", "--yes", "--account", "a0", status=0)
    assert reseller.active() == [6, 4, 0]


def test_saved_plan_omits_refused_accounts(reseller: Reseller) -> None:
    reseller.run("plan", "--out", "p.json", status=4)
    assert reseller.run("apply", "p.json", "--allow", "fleet-wide", status=4)["outcome"] == "refused"
    assert reseller.served.writes == []
    reseller.run("plan", "--out", "p.json", "--allow", "fleet-wide", status=0)
    reseller.run("apply", "p.json", status=0)
    assert reseller.active() == [6, 6, 0]


@pytest.fixture
def careful(command: Command, serve: Serve) -> Reseller:
    """Serve four accounts of 2 INACTIVE numbers that are all desired ACTIVE. The third account already is."""
    fleet = Reseller(command, serve, [2, 2, 2, 2])
    for index in range(4):
        fleet.write_file(index, "ACTIVE")
    for phone in fleet.accounts[2].statuses:
        fleet.accounts[2].switch(phone, "ACTIVE")
    return fleet


def _canary(stderr: str) -> list[tuple[str, int, int, dict[str, int]]]:
    lines = [json.loads(line) for line in stderr.splitlines()]
    for line in lines:
        Draft202012Validator(schema("log")).validate(line)
    return [
        (line["event"], line["accounts"], line["numbers"], line["counts"])
        for line in lines
        if line["event"].startswith("canary")
    ]


@pytest.mark.parametrize("saved", [False, True])
def test_failed_canary_stops_the_other_accounts(careful: Reseller, *, saved: bool) -> None:
    careful.served.sandbox.script(Reseller.phone(0, 1), "PUT", [Fault.NOT_WRITABLE])
    arguments = ("apply", "--yes", "--canary", "1")
    if saved:
        careful.run("plan", "--out", "p.json", status=0)
        arguments = ("apply", "p.json", "--canary", "1")
    result = careful.command(*arguments)
    assert result.returncode == 3
    assert careful.active() == [1, 0, 2, 0]
    assert {phone for phone, _ in careful.served.writes} == set(careful.accounts[0].statuses)
    assert "The canary failed: 2 accounts not started." in result.stdout
    assert "CanaryFailed: 1 of 2 numbers of the first account were not changed" in result.stdout
    assert _canary(result.stderr) == [("canary.failed", 1, 2, {"changed": 1, "blocked": 1})]


def test_refused_account_is_not_a_canary(careful: Reseller) -> None:
    """The canary is the first account that is written. A refused account proves nothing."""
    for phone in careful.accounts[0].statuses:
        careful.accounts[0].switch(phone, "ACTIVE")
    careful.write_file(0, "INACTIVE")
    careful.served.sandbox.script(Reseller.phone(1, 1), "PUT", [Fault.NOT_WRITABLE])
    result = careful.command("apply", "--yes", "--canary", "1")
    assert (result.returncode, careful.active()) == (4, [2, 1, 2, 0])
    assert _canary(result.stderr) == [("canary.failed", 1, 2, {"changed": 1, "blocked": 1})]


def test_failed_canary_is_in_result_and_history(careful: Reseller) -> None:
    careful.served.sandbox.script(Reseller.phone(0, 1), "PUT", [Fault.NOT_WRITABLE])
    result = careful.run("apply", "--yes", "--canary", "1", status=3)
    Draft202012Validator(schema("result")).validate(result)
    outcomes = [(account["outcome"], account["error"] and account["error"]["code"]) for account in result["accounts"]]
    behind = ("partial", "CanaryFailed")
    assert outcomes == [("partial", None), behind, ("converged", None), behind]
    numbers = [number for account in result["accounts"][1::2] for number in account["numbers"]]
    assert {(number["outcome"], number["error"]["code"]) for number in numbers} == {("not_attempted", "CanaryFailed")}
    (stored,) = careful.run("history", result["run_id"], status=0)["runs"]
    ended = {account["account"]: account["outcome"] for account in stored["accounts"]}
    assert ended == {"a0": "partial", "a1": "partial", "a3": "partial"}


def test_passed_canary_lets_the_others_follow(careful: Reseller) -> None:
    """The writes of the canary come first."""
    careful.command.environment["SENDERID_CANARY__ACCOUNTS"] = "2"
    result = careful.command("apply", "--yes")
    assert result.returncode == 0, result.stderr
    assert careful.active() == [2, 2, 2, 2]
    first = [phone for phone, _ in careful.served.writes[:4]]
    assert set(first) == {phone for index in (0, 1) for phone in careful.accounts[index].statuses}
    assert _canary(result.stderr) == [("canary.passed", 2, 4, {"changed": 4})]


def test_canary_tolerates_max_failed(careful: Reseller) -> None:
    careful.command.environment |= {"SENDERID_CANARY__ACCOUNTS": "1", "SENDERID_CANARY__MAX_FAILED": "50%"}
    careful.served.sandbox.script(Reseller.phone(0, 1), "PUT", [Fault.NOT_WRITABLE])
    careful.run("apply", "--yes", status=3)
    assert careful.active() == [1, 2, 2, 2]
    assert _canary(careful.command("apply", "--yes", "--canary", "0").stderr) == []


def test_shared_defaults_of_a_folder_are_fleet_wide(command: Command, serve: Serve) -> None:
    """One line of senderid.yaml that changes all accounts is refused like a change of all files."""
    reseller = Reseller(command, serve, [40, 40, 40])
    for index, account in enumerate(reseller.accounts):
        command.write(
            f"config/desired/a{index}.yaml",
            f"version: 1\ncredentials: {{api_key: {{env: KEY{index}}}, api_secret: {{env: SECRET}}}}\n"
            f"numbers: [{', '.join(account.statuses)}]\n",
        )
    command.write("config/desired/senderid.yaml", "version: 1\ndefaults: {status: ACTIVE}\n")
    document = reseller.run("apply", "--yes", status=4)
    assert _rules(document) == [["fleet-wide"]] * 3
    assert reseller.active() == [0, 0, 0]
