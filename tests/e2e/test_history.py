"""`senderid history` after finished runs and a killed one."""

import json
import time
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from tests.e2e.conftest import Command, Serve, Served
from tests.support.pages import record_run
from worker.render.json_schema import schema
from worker.sandbox import Fault, SandboxAccount

A, B, C = "01000000001", "01000000002", "0223456789"
NUMBERS = {A: "INACTIVE", B: "ACTIVE", C: "ACTIVE"}
FILES = {"main.yaml": f"version: 1\naccount: main\nnumbers:\n  {A}: ACTIVE\n  {B}: INACTIVE\n"}


def _file(**statuses: str) -> str:
    numbers = "".join(f"  {phone[1:]}: {status}\n" for phone, status in statuses.items())
    return f"version: 1\naccount: main\nnumbers:\n{numbers}"


def _history(command: Command, *arguments: str) -> Any:
    """Return the document of `history`, which matches its schema."""
    result = command("history", "--format", "json", *arguments)
    assert result.returncode == 0, result.stderr
    document = json.loads(result.stdout)
    assert list(Draft202012Validator(schema("history")).iter_errors(document)) == []
    return document


def _apply(command: Command, *arguments: str) -> Any:
    result = command("apply", "-y", "-f", "main.yaml", "--format", "json", *arguments)
    return json.loads(result.stdout)


def test_history_is_empty_without_a_ledger(command: Command) -> None:
    """A run id is wrong usage then."""
    assert _history(command) == {"schema": "senderid.history/v1", "total": 0, "runs": []}
    result = command("history")
    assert (result.returncode, result.stdout) == (0, "No runs.\n")
    assert "no ledger yet" in result.stderr
    assert command("history", "2026").returncode == 64
    assert command("history", "--prune-older-than", "1d").stdout == "0 runs deleted.\n"
    assert not (command.folder / "state/senderid/ledger.db").exists()


def test_apply_is_listed_and_shown_in_full(command: Command, served: Served) -> None:
    served.sandbox.script(A, "PUT", [Fault.UNAVAILABLE])
    result = _apply(command)
    table = command("history").stdout
    assert table.startswith("WHEN (UTC)")
    assert result["run_id"] in table
    assert "2 changed" in table

    document = _history(command, result["run_id"][:16])
    (run,) = document["runs"]
    (account,) = run["accounts"]
    numbers = {number["phone"]: number for number in account["numbers"]}
    assert (run["run_id"], run["command"], run["outcome"]) == (result["run_id"], "apply", "converged")
    assert run["settings"]["endpoint"] == served.sandbox.url
    assert (account["source"], len(account["sha256"]), account["settled"]) == ("main.yaml", 64, True)
    assert (numbers[A]["before"], numbers[A]["after"], numbers[A]["outcome"]) == ("INACTIVE", "ACTIVE", "changed")
    states = [(attempt["state"], (attempt["error"] or {}).get("http_status")) for attempt in numbers[A]["attempts"]]
    assert states == [("lost", 503), ("verified", None)]
    assert sum(len(number["attempts"]) for number in numbers.values()) == len(served.writes)

    output = command("history", result["run_id"]).stdout
    assert f"Run {result['run_id']}: converged" in output
    assert "✓ changed  010-0000-0001  INACTIVE → ACTIVE" in output
    assert "attempt 1 at" in output
    assert "verified" in output


def test_killed_run_is_unfinished_until_the_next_apply(command: Command, serve: Serve) -> None:
    account = SandboxAccount.of({f"0100000{n:04}": "INACTIVE" for n in range(30)})
    served = serve(account, rate_limit=None)
    numbers = "".join(f"  {phone}: ACTIVE\n" for phone in account.statuses)
    command.at(served.sandbox, account).write("main.yaml", f"version: 1\nnumbers:\n{numbers}")
    command.environment["SENDERID_RATE_LIMIT__WRITES"] = "5"
    with command.popen("apply", "-y", "-f", "main.yaml") as process:
        deadline = time.monotonic() + 20
        while len(served.writes) < 5 and time.monotonic() < deadline:
            pass
        process.kill()
        process.communicate(timeout=10)
    (unfinished,) = _history(command)["runs"]
    assert (unfinished["outcome"], unfinished["finished_at"]) == ("unfinished", None)
    assert "it crashed" in command("history", unfinished["run_id"]).stdout
    refused = command("rollback", "-y", unfinished["run_id"])
    assert (refused.returncode, "senderid apply" in refused.stderr) == (64, True)

    command.environment["SENDERID_RATE_LIMIT__WRITES"] = "1000"
    assert _apply(command)["outcome"] == "converged"
    resumed, crashed = _history(command)["runs"]
    assert (resumed["outcome"], crashed["outcome"]) == ("converged", "crashed")
    (entry,) = _history(command, unfinished["run_id"])["runs"][0]["accounts"]
    outcomes = [number["outcome"] for number in entry["numbers"]]
    assert (len(outcomes), None in outcomes) == (30, False)
    assert outcomes.count("changed") + resumed["counts"]["changed"] == 30
    assert _history(command, "--outcome", "crashed")["total"] == 1

    undone = command("rollback", "-y", crashed["run_id"], "--allow", "all", "--format", "json")
    assert undone.returncode == 0
    inactive = [phone for phone, status in account.statuses.items() if status == "INACTIVE"]
    assert len(inactive) == outcomes.count("changed")


@pytest.mark.usefixtures("served")
def test_history_of_one_number_is_newest_first(command: Command) -> None:
    """Any spelling of the number is accepted."""
    _apply(command)
    command.write("main.yaml", _file(_01000000001="INACTIVE"))
    _apply(command)
    document = _history(command, "--phone", "+82 10-0000-0001")
    changes = [
        (number["phone"], number["before"], number["after"], len(number["attempts"]))
        for run in document["runs"]
        for account in run["accounts"]
        for number in account["numbers"]
    ]
    assert changes == [(A, "ACTIVE", "INACTIVE", 1), (A, "INACTIVE", "ACTIVE", 1)]
    output = command("history", "--phone", A).stdout
    assert output.index("ACTIVE → INACTIVE") < output.index("INACTIVE → ACTIVE")
    assert "2 runs with 010-0000-0001." in output
    assert command("history", "--phone", "01").returncode == 64


@pytest.mark.usefixtures("served")
def test_filters_and_limit(command: Command) -> None:
    first = _apply(command)["run_id"]
    command.write("main.yaml", _file(_01000000001="INACTIVE", _0223456789="INACTIVE"))
    refused = _apply(command)["run_id"]

    def ids(*arguments: str) -> list[str]:
        return [run["run_id"] for run in _history(command, *arguments)["runs"]]

    assert ids() == [refused, first]
    assert ids("--account", "main", "--outcome", "refused") == [refused]
    assert ids("--account", "other") == []
    assert ids("--since", "1h") == [refused, first]
    assert ids("--since", "2100-01-01") == []
    assert ids("--since", "999999w") == [refused, first]
    assert ids("--since", "2000-01-01T09:00+09:00", "--limit", "1") == [refused]
    assert _history(command, "--limit", "1")["total"] == 2
    assert "1 of 2 runs. To list all: --limit 0" in command("history", "--limit", "1").stdout
    assert command("history", "--since", "yesterday").returncode == 64
    assert command("history", "--limit", "-1").returncode == 64
    assert command("history", first, "--outcome", "failed").returncode == 64


def test_limit_of_runs(command: Command) -> None:
    """Twenty runs are shown by default, all with 0. A number's history is complete by default."""
    folder = command.folder / "state/senderid"
    folder.mkdir(parents=True)
    for index in range(21):
        record_run(folder, "main", run=f"20261124T0000{index:02}Z-000001", phones=[A])
    for arguments, count in (((), 20), (("--limit", "3"), 3), (("--limit", "0"), 21), (("--phone", A), 21)):
        document = _history(command, *arguments)
        assert (len(document["runs"]), document["total"]) == (count, 21), arguments


@pytest.mark.usefixtures("served")
def test_unknown_and_ambiguous_run_ids_are_wrong_usage(command: Command) -> None:
    runs = [_apply(command)["run_id"], _apply(command)["run_id"]]
    for name in ("nothing", "20"):
        result = command("history", name)
        assert result.returncode == 64
        assert all(run in result.stderr for run in runs)


def test_pruning_removes_old_runs_and_shrinks_the_file(command: Command, served: Served) -> None:
    _apply(command)
    assert command("history", "--prune-older-than", "1d").stdout == "0 runs deleted.\n"
    assert command("history", "--prune-older-than", "1d", "--account", "main").returncode == 64
    assert command("history", "--prune-older-than", "0s").stdout == "1 run deleted.\n"
    assert _history(command)["total"] == 0
    assert command("history").stdout == "No runs.\n"
    (account,) = served.sandbox.accounts.values()
    account.switch(A, "INACTIVE")
    drift = json.loads(command("drift", "-f", "main.yaml", "--format", "json").stdout)
    assert drift["accounts"][0]["changes"][0]["cause"] == "external_drift"


def test_damaged_ledger_is_an_error(command: Command) -> None:
    command.write("state/senderid/ledger.db", b"no ledger")
    for arguments in (("history",), ("history", "x"), ("history", "--prune-older-than", "1d"), ("rollback", "-y", "x")):
        result = command(*arguments)
        assert result.returncode == 1
        assert "SENDERID_LEDGER__PATH" in result.stderr
