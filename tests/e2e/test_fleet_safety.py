"""What holds for all accounts of a run together, as a reseller and a pipeline meet it."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.e2e.conftest import Command, Served
from worker.sandbox import SandboxAccount

Serve = Callable[..., Served]


class Reseller:
    """Accounts a0, a1, … on one sandbox, each with a key and a file of its own."""

    def __init__(self, command: Command, serve: Serve, sizes: list[int], status: str = "INACTIVE") -> None:
        self.command = command
        self.accounts = [
            SandboxAccount.of(
                {self.phone(place, number): status for number in range(size)},
                account_id=f"{place}",
                api_key=f"NCS{place}",
                api_secret="s" * 30,
            )
            for place, size in enumerate(sizes)
        ]
        self.served = serve(*self.accounts)
        command.at(self.served.sandbox, self.accounts[0])
        command.environment |= {"SECRET": "s" * 30} | {f"KEY{place}": f"NCS{place}" for place in range(len(sizes))}

    @staticmethod
    def phone(account: int, number: int) -> str:
        """The digits of one number of an account."""
        return f"010{account:04}{number:04}"

    def wants(self, place: int, status: str) -> None:
        """All numbers of an account are to be so."""
        numbers = ", ".join(f"{phone}: {status}" for phone in self.accounts[place].statuses)
        self.command.write(
            f"config/desired/a{place}.yaml",
            f"version: 1\ncredentials: {{api_key: {{env: KEY{place}}}, api_secret: {{env: SECRET}}}}\n"
            f"numbers: {{{numbers}}}\n",
        )

    def active(self) -> list[int]:
        """How many numbers of each account are ACTIVE on the sandbox."""
        return [list(account.statuses.values()).count("ACTIVE") for account in self.accounts]

    def run(self, *arguments: str, status: int) -> dict[str, Any]:
        """The JSON document of a command that ends with `status`."""
        done = self.command(*arguments, "--format", "json")
        assert done.returncode == status, done.stderr
        document: dict[str, Any] = json.loads(done.stdout)
        return document


def _rules(document: dict[str, Any]) -> list[list[str]]:
    return [[refusal["rule"] for refusal in account["refusals"]] for account in document["accounts"]]


@pytest.fixture
def reseller(command: Command, serve: Serve) -> Reseller:
    """Three accounts of 6, 6 and 2 INACTIVE numbers: two of them are to be ACTIVE, 12 of 14 numbers."""
    made = Reseller(command, serve, [6, 6, 2])
    for place, status in enumerate(("ACTIVE", "ACTIVE", "INACTIVE")):
        made.wants(place, status)
    return made


def test_a_change_of_most_of_the_fleet_is_refused(reseller: Reseller) -> None:
    """12 of 14 numbers are too many at once: plan, drift and apply say so with 4, and nothing is written."""
    for verb in (("plan",), ("drift",), ("apply", "--yes")):
        assert _rules(reseller.run(*verb, status=4)) == [["fleet-wide"], ["fleet-wide"], []]
    shown = reseller.command("apply", "--yes")
    assert shown.returncode == 4
    assert "12 of the 14 numbers of all accounts would be activated" in " ".join(shown.stdout.split())
    assert "--allow fleet-wide" in shown.stdout
    assert reseller.served.writes == []


@pytest.mark.parametrize("rule", ["fleet-wide", "all"])
def test_a_person_may_allow_it_by_name(reseller: Reseller, rule: str) -> None:
    """With the rule's name, or all, the run converges."""
    assert reseller.run("apply", "--yes", "--allow", rule, status=0)["outcome"] == "converged"
    assert reseller.active() == [6, 6, 0]


def test_the_share_is_a_setting(reseller: Reseller) -> None:
    """A larger share lets the run pass, and a share that is none is refused with 65 before anything is sent."""
    reseller.command.environment["SENDERID_SAFETY__FLEET_WIDE"] = "half"
    wrong = reseller.command("apply", "--yes")
    assert wrong.returncode == 65
    assert "SENDERID_SAFETY__FLEET_WIDE:1:1: fleet_wide should be a whole number of 0 or more" in wrong.stderr
    assert reseller.served.sandbox.wire == []
    reseller.command.environment["SENDERID_SAFETY__FLEET_WIDE"] = "90%"
    reseller.run("apply", "--yes", status=0)
    assert reseller.active() == [6, 6, 0]


def test_a_selection_narrows_what_is_counted(reseller: Reseller) -> None:
    """Accounts and numbers that the run is not about are no part of the fleet: few are left, and they may change."""
    excluded = [f"--exclude={Reseller.phone(place, number)}" for place in (0, 1) for number in (0, 1)]
    reseller.run("apply", "--yes", *excluded, status=0)
    assert reseller.active() == [4, 4, 0]
    reseller.run("apply", "--yes", "--account", "a0", status=0)
    assert reseller.active() == [6, 4, 0]


def test_a_refused_account_is_left_out_of_a_saved_plan(reseller: Reseller) -> None:
    """`plan --out` keeps no write of what the rule refused, and applying the file says so."""
    reseller.run("plan", "--out", "p.json", status=4)
    assert reseller.run("apply", "p.json", "--allow", "fleet-wide", status=4)["outcome"] == "refused"
    assert reseller.served.writes == []
    reseller.run("plan", "--out", "p.json", "--allow", "fleet-wide", status=0)
    reseller.run("apply", "p.json", status=0)
    assert reseller.active() == [6, 6, 0]
