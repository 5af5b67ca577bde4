"""Errors of the command itself, output files, and the advice of `doctor`."""

import io
import os
import sys
from pathlib import Path

import pytest

from worker.cli import load
from worker.cli.commands.doctor import _clock, _failed_read
from worker.cli.exit_status import ExitStatus
from worker.cli.main import run
from worker.cli.output import emit
from worker.config.files import check_writable, replace
from worker.model.errors import (
    AccountRejected,
    ChannelUnusable,
    DesiredStateError,
    LedgerError,
    PlanFileError,
    PolicyRefusal,
    Problem,
    Refusal,
    ServerError,
    SettingsError,
    UsageError,
)

PROBLEM = Problem("a.yaml", 3, 1, "wrong")


@pytest.mark.parametrize(
    ("raised", "status", "message"),
    [
        (
            ZeroDivisionError("CANARY"),
            ExitStatus.ERROR,
            "senderid: this is a bug, please report it: ZeroDivisionError at ",
        ),
        (KeyboardInterrupt(), ExitStatus.SIGINT, "Interrupted."),
        (BrokenPipeError(), ExitStatus.ERROR, ""),
        (OSError(28, "No space left on device"), ExitStatus.ERROR, "senderid: output: No space left on device"),
        (OSError(2, "No such file", "x.json"), ExitStatus.ERROR, "senderid: x.json: No such file"),
        (LedgerError("the folder is gone"), ExitStatus.ERROR, "senderid: the folder is gone"),
        (PolicyRefusal([Refusal("min-active", "too few")]), ExitStatus.REFUSED, "senderid: too few"),
        (UsageError("no such option"), ExitStatus.USAGE, "senderid: no such option"),
        (PlanFileError("not a plan"), ExitStatus.INVALID, "senderid: not a plan"),
        (ChannelUnusable("not a URL"), ExitStatus.INVALID, "senderid: not a URL"),
        (SettingsError([PROBLEM]), ExitStatus.INVALID, "a.yaml:3:1: wrong\n1 problem; nothing was sent."),
        (
            DesiredStateError([PROBLEM], 1_233),
            ExitStatus.INVALID,
            "a.yaml:3:1: wrong\n… and 1,233 more\n1,234 problems; nothing was sent.",
        ),
    ],
)
def test_every_exception_becomes_exit_status_and_message(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    raised: BaseException,
    status: ExitStatus,
    message: str,
) -> None:
    """There is no traceback, and the text of an unexpected exception is not printed."""

    def fail(*_: object) -> None:
        raise raised

    monkeypatch.setattr(load, "load_settings", fail)
    assert run(["validate"]) == status
    out, err = capsys.readouterr()
    assert (out, err.strip().startswith(message), err.strip().count("\n")) == ("", True, message.count("\n"))
    assert "CANARY" not in err


@pytest.mark.parametrize(("arguments", "numbers"), [((), 20), (("--numbers", "0"), 0), (("--numbers", "5"), 5)])
def test_sandbox_has_the_given_count_of_numbers(
    monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], numbers: int
) -> None:
    accounts: list[tuple[int, int]] = []

    def generate(count: int, *, seed: int) -> None:
        accounts.append((count, seed))
        raise UsageError("not served")

    monkeypatch.setattr("worker.sandbox.generate", generate)
    assert run(["sandbox", *arguments]) == ExitStatus.USAGE
    assert accounts == [(numbers, 0)]


def test_closed_stderr_keeps_the_exit_status(monkeypatch: pytest.MonkeyPatch) -> None:
    class Closed(io.StringIO):
        def write(self, _: str) -> int:
            raise OSError(5, "gone")

    monkeypatch.setattr(sys, "stderr", Closed())
    assert run(["validate", "-f", "nowhere.yaml"]) == ExitStatus.INVALID
    assert run(["nowhere"]) == ExitStatus.USAGE


def test_failed_replacement_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "plan.json"
    replace(path, b"old", mode=0o600)

    def fail(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("worker.cli.runner.os.fsync", fail)
    with pytest.raises(OSError, match="No space left"):
        replace(path, b"new", mode=0o600)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_output_to_a_pipe_does_not_replace_it(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    check_writable(str(path))
    emit("document", str(path))
    assert os.read(reader, 100) == b"document"
    os.close(reader)
    assert path.is_fifo()


def test_output_to_a_symlink_replaces_its_target(tmp_path: Path) -> None:
    link, path = tmp_path / "latest", tmp_path / "plan.json"
    link.symlink_to(path.name)
    emit("document", str(link))
    assert link.is_symlink()
    assert path.read_text() == "document"


def test_doctor_suggests_a_fix() -> None:
    assert "check the API key" in _failed_read(AccountRejected("no", api_code="InvalidApiKey")).detail
    assert "try again" in _failed_read(ServerError("HTTP 502")).detail
    assert (_clock(None, is_refused=False).status, _clock(10.0, is_refused=False).status) == ("skip", "ok")
    assert str(_clock(-0.4, is_refused=False).detail) == "clock in sync"
    assert "100 s slow" in _clock(100.0, is_refused=False).detail
    assert (_clock(-2000.0, is_refused=True).status, _clock(-100.0, is_refused=False).status) == ("fail", "warn")
