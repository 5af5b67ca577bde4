"""The command under faults, interruptions, kills and external changes."""

import json
import os
import pty
import signal
import sys
import time
from collections.abc import Callable

import pytest

from tests.e2e.conftest import Command, Serve
from worker.sandbox import Fault, SandboxAccount, generate

A, B = "01000000001", "01000000002"

_HASTE = {
    "SENDERID_RETRY__BASE_SECONDS": "0.01",
    "SENDERID_RETRY__CAP_SECONDS": "0.1",
    "SENDERID_RETRY__ATTEMPTS": "10",
    "SENDERID_TIMEOUT__TOTAL_SECONDS": "0.5",
    "SENDERID_RATE_LIMIT__PER_SECONDS": "0.1",
}


def _all_active(account: SandboxAccount) -> str:
    """Return a file that desires every writable number ACTIVE."""
    lines = [f"  {phone}: ACTIVE" for phone, status in account.statuses.items() if status in {"ACTIVE", "INACTIVE"}]
    return "\n".join(["version: 1", "numbers:", *lines, ""])


def _until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)


@pytest.mark.parametrize("profile", ["flaky", "hostile"])
@pytest.mark.parametrize("seed", range(3))
def test_apply_converges_and_changed_is_true(command: Command, serve: Serve, profile: str, seed: int) -> None:
    """In every run, each `changed` number has its desired status at the API, and every signature is new."""
    account = SandboxAccount.of({f"0100000{n:04}": "INACTIVE" for n in range(60)})
    served = serve(account, faults=profile, seed=seed, rate_limit=None)
    command.at(served.sandbox, account).environment |= _HASTE
    command.write("d.yaml", _all_active(account))
    counted = runs = 0
    status = 3
    while status and runs < 12:
        runs += 1
        process = command("apply", "--yes", "-f", "d.yaml", "--format", "json")
        result = json.loads(process.stdout)
        (entry,) = result["accounts"]
        counted += entry["requests"]["reads"] + entry["requests"]["writes"]
        for number in entry["numbers"]:
            if number["outcome"] == "changed":
                assert account.statuses[number["phone"]] == number["desired"]
        status = process.returncode
        assert status in {0, 1, 3}
        assert (result["outcome"] == "converged") == (status == 0)
    assert set(account.statuses.values()) == {"ACTIVE"}
    assert counted == len(served.sandbox.wire)
    signatures = [request.signature for request in served.sandbox.wire]
    assert len(set(signatures)) == len(signatures)


def test_external_change_is_not_overwritten(command: Command, serve: Serve) -> None:
    account = SandboxAccount.of({A: "INACTIVE", B: "INACTIVE"})
    served = serve(account)
    served.sandbox.script(A, "PUT", [Fault.EDITED_BEFORE])
    command.at(served.sandbox, account).write("d.yaml", _all_active(account))
    result = command("apply", "--yes", "-f", "d.yaml", "--format", "json")
    outcomes = {number["phone"]: number["outcome"] for number in json.loads(result.stdout)["accounts"][0]["numbers"]}
    assert (result.returncode, outcomes) == (3, {A: "blocked", B: "changed"})
    assert account.statuses == {A: "BLOCKED", B: "ACTIVE"}


def test_reverted_write_is_unverified(command: Command, serve: Serve) -> None:
    account = SandboxAccount.of({A: "INACTIVE"})
    served = serve(account)
    served.sandbox.script(A, "PUT", [Fault.EDITED_AFTER])
    command.at(served.sandbox, account).write("d.yaml", _all_active(account))
    result = command("apply", "--yes", "-f", "d.yaml", "--format", "json")
    (number,) = json.loads(result.stdout)["accounts"][0]["numbers"]
    assert (result.returncode, number["outcome"], number["after"]) == (3, "unverified", "INACTIVE")
    assert len(served.writes) == 1


def test_killed_run_is_completed_by_the_next(command: Command, serve: Serve) -> None:
    account = SandboxAccount.of({f"0100000{n:04}": "INACTIVE" for n in range(30)})
    served = serve(account, rate_limit=None)
    command.at(served.sandbox, account).write("d.yaml", _all_active(account))
    command.environment["SENDERID_RATE_LIMIT__WRITES"] = "5"
    with command.popen("apply", "-y", "-f", "d.yaml") as process:
        _until(lambda: len(served.writes) >= 5)
        process.kill()
        process.communicate(timeout=10)
    command.environment["SENDERID_RATE_LIMIT__WRITES"] = "1000"
    assert command("apply", "-y", "-f", "d.yaml").returncode == 0
    assert set(account.statuses.values()) == {"ACTIVE"}
    assert len(served.writes) == 30


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_during_the_read_ends_the_run(command: Command, serve: Serve, number: signal.Signals) -> None:
    account = SandboxAccount.of({A: "INACTIVE"})
    served = serve(account)
    served.sandbox.script(None, "GET", [Fault.UNAVAILABLE] * 20)
    command.at(served.sandbox, account).write("d.yaml", _all_active(account))
    command.environment |= {"SENDERID_RETRY__BASE_SECONDS": "60", "SENDERID_RETRY__CAP_SECONDS": "60"}
    with command.popen("apply", "-y", "-f", "d.yaml") as process:
        _until(lambda: len(served.sandbox.wire) >= 1)
        process.send_signal(number)
        out, err = process.communicate(timeout=20)
    assert process.returncode == {signal.SIGINT: 130, signal.SIGTERM: 143}[number]
    assert "Traceback" not in out + err
    assert served.writes == []


def test_second_signal_ends_the_run_immediately(command: Command, serve: Serve) -> None:
    account = SandboxAccount.of({A: "INACTIVE"})
    served = serve(account)
    served.sandbox.script(A, "PUT", [Fault.STALL])
    command.at(served.sandbox, account).write("d.yaml", _all_active(account))
    with command.popen("apply", "-y", "-f", "d.yaml") as process:
        _until(lambda: len(served.writes) == 1)
        process.send_signal(signal.SIGINT)
        assert process.stderr is not None
        while json.loads(process.stderr.readline())["event"] != "run.stopping":
            pass
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 130


_ANNOUNCED = """
import signal, sys, worker.__main__
signal.signal(signal.SIGINT, signal.default_int_handler)  # who starts a job in the background may have it ignored
class Announcing:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name == "worker.cli.main":
            print("up", flush=True)
sys.meta_path.insert(0, Announcing)
worker.__main__.main()
"""
"""The command, with a line when it starts: it cannot handle an interruption of Python's own start."""


def test_ctrl_c_at_any_moment_shows_no_traceback(command: Command, serve: Serve) -> None:
    account = generate(12, seed=1)
    served = serve(account, rate_limit=None)
    command.at(served.sandbox, account).write("d.yaml", _all_active(account))
    statuses = set()
    for step in range(20):
        with command.popen("apply", "-y", "-f", "d.yaml", program=(sys.executable, "-c", _ANNOUNCED)) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "up\n"
            end = time.monotonic() + 0.02 * step
            _until(lambda: time.monotonic() > end)  # noqa: B023 - used immediately
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=30)
        assert "Traceback" not in out + err
        statuses.add(process.returncode)
    assert statuses <= {0, 130}
    assert 130 in statuses


def test_ctrl_c_in_an_uncatchable_callback_is_kept(command: Command) -> None:
    program = """
import signal, sys, weakref, worker.cli.main
from worker.__main__ import main
signal.signal(signal.SIGINT, signal.default_int_handler)
class Thing: pass
def run(arguments):
    thing = Thing()
    reference = weakref.ref(thing, lambda _: signal.raise_signal(signal.SIGINT))
    del thing
    signal.pause()
    return 0
worker.cli.main.run = run
main()
"""
    with command.popen(program=(sys.executable, "-c", program)) as process:
        out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (130, "", "")


def test_ctrl_c_at_the_question_writes_nothing(command: Command, serve: Serve) -> None:
    account = SandboxAccount.of({A: "INACTIVE"})
    served = serve(account)
    command.at(served.sandbox, account).write("d.yaml", _all_active(account))
    master, slave = pty.openpty()
    try:
        with command.popen("apply", "-f", "d.yaml", stdin=slave, stderr=slave) as process:
            requested = b""
            while b"Type 'yes'" not in requested:
                requested += os.read(master, 1024)
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=20)
    finally:
        os.close(slave)
        os.close(master)
    assert process.returncode == 130
    assert served.writes == []


def test_no_output_has_a_secret(command: Command, serve: Serve) -> None:
    secret = "CANARYSECRETCANARYSECRET12345678"
    account = SandboxAccount.of({A: "INACTIVE", B: "INACTIVE"}, api_secret=secret)
    served = serve(account, rate_limit=None)
    command.at(served.sandbox, account).environment |= _HASTE
    served.sandbox.script(A, "PUT", [Fault.RESET_AFTER, Fault.ESCAPES, Fault.HTML, Fault.DUPLICATED_SIGNATURE])
    served.sandbox.script(None, "GET", [Fault.CLOCK_SKEW, Fault.GARBAGE, None, Fault.RESET_BEFORE])
    command.write("d.yaml", _all_active(account))
    output = ""
    for arguments in (
        ("plan", "-f", "d.yaml", "--out", "plan.json", "--log-level", "debug"),
        ("apply", "plan.json", "--log-level", "debug"),
        ("apply", "-y", "-f", "d.yaml", "--format", "json", "--log-level", "debug"),
        ("doctor",),
        ("export",),
    ):
        result = command(*arguments)
        output += result.stdout + result.stderr
    command.environment["SOLAPI_API_KEY"] = "NCSWRONG"
    output += "".join(command("plan", "-f", "d.yaml").stderr)
    output += "".join(path.read_text("latin-1") for path in command.folder.rglob("*") if path.is_file())
    assert secret not in output
    assert not any(request.signature and request.signature in output for request in served.sandbox.wire)
    assert "salt=" not in output


def _on_a_terminal(command: Command, *arguments: str) -> str:
    """Return the output of a command on a terminal for stdout and stderr."""
    master, slave = pty.openpty()
    output = b""
    with command.popen(*arguments, stdout=slave, stderr=slave) as process:
        os.close(slave)
        while True:
            try:
                piece = os.read(master, 65536)
            except OSError:
                break
            if not piece:
                break
            output += piece
        process.wait(60)
    os.close(master)
    return output.decode()


def test_terminal_shows_colours_and_progress(command: Command, serve: Serve) -> None:
    account = SandboxAccount.of({f"0100000{n:04}": "INACTIVE" for n in range(40)})
    served = serve(account, rate_limit=None)
    command.at(served.sandbox, account).write("d.yaml", _all_active(account))
    command.environment |= {
        "TERM": "xterm-256color",
        "SENDERID_RATE_LIMIT__WRITES": "10",
        "SENDERID_RATE_LIMIT__PER_SECONDS": "0.5",
    }
    assert "\x1b[32m+ activate" in _on_a_terminal(command, "plan", "-f", "d.yaml")
    for plain in ({"NO_COLOR": "1"}, {"TERM": "dumb"}):
        previous = dict(command.environment)
        command.environment |= plain
        assert "\x1b[32m" not in _on_a_terminal(command, "plan", "-f", "d.yaml")
        command.environment = previous
    output = _on_a_terminal(command, "apply", "-y", "-f", "d.yaml")
    assert "writing" in output
    assert "/40" in output
    assert "40 changed" in output
    assert set(account.statuses.values()) == {"ACTIVE"}


def test_fleet_of_60_files_converges(command: Command, serve: Serve) -> None:
    """One account without credentials fails alone."""
    accounts = [
        SandboxAccount.of(
            {f"010{n:04}0001": "INACTIVE"}, api_key=f"NCS{n}", account_id=f"{n}", api_secret=f"{n:04}" * 8
        )
        for n in range(60)
    ]
    served = serve(*accounts, faults="flaky", seed=5)
    command.at(served.sandbox, accounts[0]).environment |= _HASTE
    for n, account in enumerate(accounts):
        command.environment |= {f"KEY{n}": account.api_key, f"SECRET{n}": account.api_secret}
        command.write(
            f"config/desired/{n % 7}/a{n}.yaml",
            f"version: 1\naccount_id: '{n}'\n"
            f"credentials: {{api_key: {{env: KEY{n}}}, api_secret: {{env: SECRET{n}}}}}\n"
            f"numbers: {{010{n:04}0001: ACTIVE}}\n",
        )
    del command.environment["SECRET33"]
    result = command("apply", "--yes", "--allow", "fleet-wide", "--format", "json")
    outcomes = {account["account"]: account["outcome"] for account in json.loads(result.stdout)["accounts"]}
    assert result.returncode == 1
    assert {name for name, outcome in outcomes.items() if outcome != "converged"} == {"a33"}
    assert [account.account_id for account in accounts if "ACTIVE" not in account.statuses.values()] == ["33"]
