"""Numbers outside the numbering plan: accepted if the account has them, otherwise refused before any write."""

import json

import pytest

from tests.e2e.conftest import Command, Serve, Served
from worker.sandbox import SandboxAccount

A, B = "01000000001", "01000000002"
ODD = ("050712345678", "0101234567", "16001")
NUMBERS = {A: "INACTIVE", **dict.fromkeys(ODD, "ACTIVE")}


def _file(*lines: str, unmanaged: str = "deactivate") -> str:
    safety = "safety: {max_deactivations: 100%, min_active: 0}"
    numbers = "".join(f'  "{phone}": {status}\n' for phone, _, status in (line.partition(" ") for line in lines))
    return f"version: 1\naccount: main\nunmanaged: {unmanaged}\n{safety}\nnumbers:\n{numbers}"


def test_registered_implausible_number_is_managed(command: Command, served: Served, account: SandboxAccount) -> None:
    spelt = ("0507-1234-5678 ACTIVE", "010-1234-567 {status: INACTIVE, protected: true}", "16001 INACTIVE")
    command.write("config/desired/main.yaml", _file(f"{A} ACTIVE", *spelt))
    checked = command("validate")
    assert checked.returncode == 0
    assert "config/desired/main.yaml:7:3: warning: '0507-1234-5678': 050 numbers forward calls" in checked.stderr
    result = command("apply", "--yes", "--format", "json")
    assert result.returncode == 0, result.stderr
    assert account.statuses == {A: "ACTIVE", "050712345678": "ACTIVE", "0101234567": "ACTIVE", "16001": "INACTIVE"}
    assert served.writes == [(A, "ACTIVE"), ("16001", "INACTIVE")]
    (planned,) = json.loads(result.stdout)["accounts"]
    assert planned["counts"]["protected"] == 1
    searched = command("history", "--phone", "1600-1")
    assert searched.returncode == 0
    assert "16001" in searched.stdout


def test_registered_implausible_number_is_selected_and_excluded(
    command: Command, served: Served, account: SandboxAccount
) -> None:
    command.write("config/desired/main.yaml", _file(f"{A} ACTIVE", "0507-1234-5678 INACTIVE"))
    assert command("apply", "--yes", "--only", "0507-1234-5678").returncode == 0
    assert served.writes == [("050712345678", "INACTIVE")]
    account.switch("050712345678", "ACTIVE")
    assert command("apply", "--yes", "--exclude", "+82 507-1234-5678", "--exclude", "16001").returncode == 0
    assert served.writes[1:] == [(A, "ACTIVE"), ("0101234567", "INACTIVE")]


@pytest.mark.parametrize("output_format", ["text", "json"])
@pytest.mark.parametrize("verb", [("plan",), ("apply", "--yes"), ("drift",)])
def test_nothing_is_written_if_an_implausible_number_is_not_registered(
    command: Command, served: Served, account: SandboxAccount, verb: tuple[str, ...], output_format: str
) -> None:
    """A typing error must not make the registered number unmanaged."""
    command.write("config/desired/main.yaml", _file(f"{A} ACTIVE", "0507-1234-567 ACTIVE", "0109999999 ACTIVE"))
    result = command(*verb, "--format", output_format)
    assert result.returncode == 1
    message = (
        "config/desired/main.yaml:7:1: 05071234567 is not registered on this account, and 050 numbers forward calls"
    )
    output = " ".join((result.stdout if output_format == "json" else result.stderr + result.stdout).split())
    assert message in output
    assert "list the number behind it, or remove it from the file; likewise 0109999999 (:8)" in output
    assert not served.writes
    assert account.statuses == {A: "INACTIVE", **dict.fromkeys(ODD, "ACTIVE")}


def test_number_that_no_file_can_list_is_not_unmanaged(command: Command, serve: Serve) -> None:
    account = SandboxAccount.of({"821012345678": "ACTIVE", B: "ACTIVE"})
    served = serve(account)
    command.at(served.sandbox, account).write("config/desired/main.yaml", _file(f"{B} ACTIVE"))
    result = command("apply", "--yes", "--format", "json")
    assert (result.returncode, served.writes) == (0, [])
    (number,) = json.loads(result.stdout)["accounts"][0]["numbers"]
    assert (number["phone"], number["outcome"]) == ("821012345678", "unmanaged")


@pytest.mark.parametrize("written", ["01000000001.0", "01000000001.00", "0100000000.", "1000000001", "1.000000001E9"])
def test_decimal_is_refused_offline(command: Command, written: str, served: Served) -> None:
    """Spreadsheets turn numbers into decimals."""
    command.write("config/desired/main.yaml", _file(f"{written} ACTIVE"))
    result = command("apply", "--yes")
    assert result.returncode == 65
    assert f"config/desired/main.yaml:6:3: '{written}': " in result.stderr
    command.write("config/desired/main.yaml", _file(f"{A} ACTIVE"))
    for option in ("--only", "--exclude"):
        assert command("apply", "--yes", option, written).returncode == 64
    assert not served.sandbox.wire
