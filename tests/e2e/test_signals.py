"""SIGHUP, SIGINT and SIGTERM: every command drains, reports it, and ends with 129, 130 or 143."""

import fcntl
import json
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from tests.e2e.conftest import Command, Serve, Served
from worker.sandbox import Fault, SandboxAccount, generate

A, B = "01000000001", "01000000002"

_STATUS: Final = {signal.SIGHUP: 129, signal.SIGINT: 130, signal.SIGTERM: 143}

_SENDERID: Final = """
import signal, sys, worker.__main__
for number in (signal.SIGHUP, signal.SIGTERM):
    signal.signal(number, signal.SIG_DFL)
signal.signal(signal.SIGINT, signal.default_int_handler)
class Announcing:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name == "worker.cli.main":
            print("up", file=sys.stderr, flush=True)
sys.meta_path.insert(0, Announcing)
worker.__main__.main()
"""
"""The command, started with default signal handlers. It prints a line when its own are installed."""

_PROGRAM: Final = (sys.executable, "-c", _SENDERID)


def _until(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.002)


def _moment(seconds: float) -> None:
    end = time.monotonic() + seconds
    _until(lambda: time.monotonic() > end)


@contextmanager
def _full_pipe() -> Iterator[int]:
    """Create a pipe that is full, so that its writers wait."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    os.write(writer, bytes(4096))
    os.set_blocking(writer, True)
    try:
        yield writer
    finally:
        os.close(reader)
        os.close(writer)


def _is_writing(pid: int) -> bool:
    """Return True if a process is inside a system call on its stdout."""
    return Path(f"/proc/{pid}/syscall").read_text().split()[1:2] == ["0x1"]


def _to_activate(command: Command, serve: Serve, numbers: int) -> tuple[SandboxAccount, Served]:
    """Serve an account of some numbers, with a file `d.yaml` that desires the INACTIVE ones ACTIVE."""
    account = generate(numbers, seed=1)
    served = serve(account, rate_limit=None)
    lines = "".join(f"  {phone}: ACTIVE\n" for phone, status in account.statuses.items() if status == "INACTIVE")
    command.at(served.sandbox, account).write("d.yaml", f"version: 1\nnumbers:\n{lines}")
    return account, served


def _interrupt(process: subprocess.Popen[str], number: signal.Signals) -> str:
    """Send a signal. Return the stderr of the process after it ended with the status of the signal."""
    process.send_signal(number)
    _, err = process.communicate(timeout=30)
    assert process.returncode == _STATUS[number], err
    assert "Traceback" not in err
    return err


@pytest.mark.parametrize("number", _STATUS)
@pytest.mark.parametrize(
    "arguments",
    [
        ("validate", "-f", "-"),
        ("calendar", "-f", "-"),
        ("import", "-"),
        ("plan", "-f", "-"),
        ("history",),
        ("rollback", "x", "-y"),
        ("schema",),
        ("completion", "bash"),
        ("--help",),
    ],
    ids=lambda arguments: arguments[0],
)
def test_signal_ends_a_command_without_event_loop(
    command: Command, arguments: tuple[str, ...], number: signal.Signals
) -> None:
    """The signal arrives while the command waits for input, ledger or output, and right after its start."""
    command.environment["SENDERID_LEDGER__PATH"] = "fifo"
    os.mkfifo(command.folder / "fifo")
    for program in (_PROGRAM, ()):
        with (
            _full_pipe() as full,
            command.popen(*arguments, program=program, stdout=full, stdin=subprocess.PIPE) as process,
        ):
            assert process.stderr is not None
            if program:
                assert process.stderr.readline() == "up\n"
            else:
                _moment(0.5)
            _interrupt(process, number)


@pytest.mark.parametrize("number", _STATUS)
@pytest.mark.parametrize(
    "arguments",
    [
        ("export",),
        ("export", "--output", "x.yaml"),
        ("doctor",),
        ("plan", "-f", "d.yaml"),
        ("drift", "-f", "d.yaml"),
        ("apply", "-y", "-f", "d.yaml"),
        ("apply", "--dry-run", "-f", "d.yaml"),
    ],
    ids=" ".join,
)
def test_signal_ends_a_reading_command(
    command: Command, serve: Serve, arguments: tuple[str, ...], number: signal.Signals
) -> None:
    account = SandboxAccount.of({A: "INACTIVE"})
    served = serve(account)
    served.sandbox.script(None, "GET", [Fault.UNAVAILABLE] * 20)
    command.at(served.sandbox, account).write("d.yaml", f"version: 1\nnumbers: {{{A}: ACTIVE}}\n")
    command.environment |= {"SENDERID_RETRY__BASE_SECONDS": "60", "SENDERID_RETRY__CAP_SECONDS": "60"}
    with command.popen(*arguments) as process:
        _until(lambda: len(served.sandbox.wire) >= 1)
        err = _interrupt(process, number)
    assert f"stopped by {number.name}" in err or "run.stopping" in err
    assert served.writes == []
    assert not (command.folder / "x.yaml").exists()


@pytest.mark.parametrize("number", _STATUS)
@pytest.mark.parametrize("verb", ["plan", "export", "history"])
def test_full_pipe_does_not_delay_a_signal(command: Command, serve: Serve, verb: str, number: signal.Signals) -> None:
    account = SandboxAccount.of({A: "INACTIVE"})
    served = serve(account)
    command.at(served.sandbox, account).write("d.yaml", f"version: 1\nnumbers: {{{A}: ACTIVE}}\n")
    arguments = (verb, "-f", "d.yaml") if verb == "plan" else (verb,)
    with _full_pipe() as pipe, command.popen(*arguments, program=_PROGRAM, stdout=pipe) as process:
        _until(lambda: _is_writing(process.pid))
        assert _interrupt(process, number).endswith("Interrupted.\n")


@pytest.mark.parametrize("number", _STATUS)
def test_closed_pipe_keeps_the_status_of_the_signal(command: Command, serve: Serve, number: signal.Signals) -> None:
    """Ctrl-C also ends the `tee` that reads the result."""
    account = SandboxAccount.of({A: "INACTIVE"})
    served = serve(account)
    served.sandbox.script(A, "PUT", [Fault.SLOW])
    command.at(served.sandbox, account).write("d.yaml", f"version: 1\nnumbers: {{{A}: ACTIVE}}\n")
    with command.popen("apply", "-y", "-f", "d.yaml", "--format", "json") as process:
        _until(lambda: len(served.writes) == 1)
        assert process.stdout is not None
        process.stdout.close()
        process.send_signal(number)
        assert process.wait(30) == _STATUS[number]
    assert account.statuses == {A: "ACTIVE"}


@pytest.mark.parametrize("number", _STATUS)
def test_signal_ends_servers_silently(command: Command, number: signal.Signals) -> None:
    for arguments in (("sandbox",), ("serve", "--listen", "127.0.0.1:0")):
        with command.popen(*arguments) as process:
            assert process.stdout is not None
            assert process.stdout.readline()
            assert _interrupt(process, number) == ""


@pytest.mark.parametrize("number", _STATUS)
def test_signal_ends_the_demo(command: Command, number: signal.Signals) -> None:
    with command.popen("demo") as process:
        assert process.stdout is not None
        while "3. senderid apply" not in process.stdout.readline():
            pass
        _interrupt(process, number)


@pytest.mark.parametrize("number", _STATUS)
def test_signal_drains_an_apply(command: Command, serve: Serve, number: signal.Signals) -> None:
    account, served = _to_activate(command, serve, 60)
    command.environment |= {"SENDERID_RATE_LIMIT__WRITES": "3", "SENDERID_RATE_LIMIT__PER_SECONDS": "1"}
    with command.popen("apply", "-y", "-f", "d.yaml", "--format", "json") as process:
        _until(lambda: len(served.writes) >= 3)
        process.send_signal(number)
        out, err = process.communicate(timeout=30)
    assert process.returncode == _STATUS[number], err
    (result,) = json.loads(out)["accounts"]
    assert (json.loads(out)["outcome"], result["outcome"]) == ("interrupted", "interrupted")
    outcomes = {number["phone"]: number["outcome"] for number in result["numbers"] if number["action"] == "activate"}
    assert {phone for phone, outcome in outcomes.items() if outcome == "changed"} == {
        phone for phone, _ in served.writes
    }
    assert all(
        account.statuses[phone] == ("ACTIVE" if outcome == "changed" else "INACTIVE")
        for phone, outcome in outcomes.items()
    )
    assert "not_attempted" in outcomes.values()


@pytest.mark.parametrize("number", _STATUS)
def test_signal_at_any_moment_shows_no_traceback(command: Command, serve: Serve, number: signal.Signals) -> None:
    """The moments range from the first import to the last line."""
    _to_activate(command, serve, 12)
    statuses = set()
    for step in range(15):
        with command.popen("apply", "-y", "-f", "d.yaml", program=_PROGRAM) as process:
            assert process.stderr is not None
            assert process.stderr.readline() == "up\n"
            _moment(0.03 * step)
            process.send_signal(number)
            out, err = process.communicate(timeout=30)
        assert "Traceback" not in out + err
        # between two handlers the kernel ends the process, with the same status for a shell
        statuses.add(process.returncode if process.returncode >= 0 else 128 - process.returncode)
    assert statuses <= {0, _STATUS[number]}
    assert _STATUS[number] in statuses


@pytest.mark.parametrize("number", _STATUS)
def test_second_signal_ends_a_stalled_run(command: Command, serve: Serve, number: signal.Signals) -> None:
    account = SandboxAccount.of({A: "INACTIVE"})
    served = serve(account)
    served.sandbox.script(A, "PUT", [Fault.STALL])
    command.at(served.sandbox, account).write("d.yaml", f"version: 1\nnumbers: {{{A}: ACTIVE}}\n")
    with command.popen("apply", "-y", "-f", "d.yaml") as process:
        _until(lambda: len(served.writes) == 1)
        process.send_signal(signal.SIGTERM)
        assert process.stderr is not None
        while "run.stopping" not in process.stderr.readline():
            pass
        process.send_signal(number)
        assert process.wait(10) == _STATUS[number]


def test_repeated_sighup_drains(command: Command, serve: Serve) -> None:
    """The shell and the kernel each send a SIGHUP for one lost terminal."""
    account = SandboxAccount.of({A: "INACTIVE"})
    served = serve(account)
    served.sandbox.script(A, "PUT", [Fault.SLOW])
    command.at(served.sandbox, account).write("d.yaml", f"version: 1\nnumbers: {{{A}: ACTIVE}}\n")
    with command.popen("apply", "-y", "-f", "d.yaml", "--format", "json") as process:
        _until(lambda: len(served.writes) == 1)
        process.send_signal(signal.SIGHUP)
        assert process.stderr is not None
        while "run.stopping" not in process.stderr.readline():
            pass
        process.send_signal(signal.SIGHUP)
        out, _ = process.communicate(timeout=30)
    assert process.returncode == 129
    (result,) = json.loads(out)["accounts"]
    assert [(number["phone"], number["outcome"]) for number in result["numbers"]] == [(A, "changed")]


def test_repeated_sighup_before_the_run_is_dropped() -> None:
    """Any other second signal ends the process."""
    program = """
import signal
from worker.cli import signals
signals.install()
try:
    signal.raise_signal(signal.SIGHUP)
except signals.Interruption:
    signal.raise_signal(signal.SIGHUP)
    print("dropped", flush=True)
    signal.raise_signal(signal.SIGTERM)
"""
    result = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=30
    )
    assert (result.returncode, result.stdout, result.stderr) == (143, "dropped\n", "")


@pytest.mark.parametrize("number", _STATUS)
def test_interruption_replaced_by_another_error_is_not_a_bug(command: Command, number: signal.Signals) -> None:
    """C code replaces an exception of a signal handler, for example the import of `_ssl`."""
    program = f"""
import signal
class Replacing:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name == "worker.cli.commands.schema":
            try:
                signal.raise_signal({int(number)})
            except KeyboardInterrupt:
                pass
            raise ImportError("could not import module")
{_SENDERID.replace("Announcing", "Replacing").partition("class Replacing")[0]}
sys.meta_path.insert(0, Replacing)
worker.__main__.main()
"""
    with command.popen("schema", program=(sys.executable, "-c", program)) as process:
        out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (_STATUS[number], "", "Interrupted.\n")


def test_ignored_sighup_stays_ignored(command: Command, serve: Serve) -> None:
    account = SandboxAccount.of({A: "INACTIVE", B: "INACTIVE"})
    served = serve(account)
    command.at(served.sandbox, account).write("d.yaml", f"version: 1\nnumbers: {{{A}: ACTIVE, {B}: ACTIVE}}\n")
    command.environment |= {"SENDERID_RATE_LIMIT__WRITES": "1", "SENDERID_RATE_LIMIT__PER_SECONDS": "1"}
    nohup = ("nohup", sys.executable, "-m", "worker")
    command.environment["PYTHONPATH"] = str(Path(__file__).parents[2])
    with command.popen("apply", "-y", "-f", "d.yaml", program=nohup) as process:
        _until(lambda: len(served.writes) == 1)
        process.send_signal(signal.SIGHUP)
        assert process.wait(30) == 0
    assert set(account.statuses.values()) == {"ACTIVE"}
    with command.popen("import", "-", program=nohup, stdin=subprocess.PIPE) as process:
        _moment(0.5)
        process.send_signal(signal.SIGHUP)
        out, _ = process.communicate("phone,status\n01000000001,ACTIVE\n", timeout=30)
        assert process.returncode == 0
    assert '"010-0000-0001": ACTIVE' in out


def test_lost_terminal_interrupts_the_question(command: Command, serve: Serve) -> None:
    """The end of input arrives before the SIGHUP."""
    account = SandboxAccount.of({A: "INACTIVE"})
    served = serve(account)
    command.at(served.sandbox, account).write("d.yaml", f"version: 1\nnumbers: {{{A}: ACTIVE}}\n")
    master, slave = pty.openpty()
    terminal: dict[str, Any] = {"stdin": slave, "stdout": slave, "stderr": slave}
    with command.popen("apply", "-f", "d.yaml", program=_PROGRAM, **terminal) as process:
        os.close(slave)
        output = b""
        while b"'yes'" not in output:
            output += os.read(master, 1 << 16)
        os.close(master)
        assert process.wait(30) == 129
    (run,) = json.loads(command("history", "--format", "json").stdout)["runs"]
    assert (run["outcome"], served.writes) == ("interrupted", [])


def test_lost_terminal_drains_an_apply(command: Command, serve: Serve) -> None:
    account = SandboxAccount.of({f"0100000{n:04}": "INACTIVE" for n in range(20)})
    served = serve(account, rate_limit=None)
    lines = "".join(f"  {phone}: ACTIVE\n" for phone in account.statuses)
    command.at(served.sandbox, account).write("d.yaml", f"version: 1\nnumbers:\n{lines}")
    command.environment |= {"SENDERID_RATE_LIMIT__WRITES": "3", "SENDERID_RATE_LIMIT__PER_SECONDS": "1"}
    master, slave = pty.openpty()
    terminal: dict[str, Any] = {"stdin": slave, "stdout": slave, "stderr": slave}
    with command.popen("apply", "-y", "-f", "d.yaml", program=_PROGRAM, **terminal) as process:
        os.close(slave)
        _until(lambda: len(served.writes) >= 3)
        os.close(master)
        process.send_signal(signal.SIGHUP)
        assert process.wait(30) == 129
    (run,) = json.loads(command("history", "--format", "json").stdout)["runs"]
    assert (run["outcome"], run["counts"]["changed"]) == ("interrupted", len(served.writes))
