"""What the command does when something of its own goes wrong."""

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
from worker.model.errors import AccountRejected, LedgerError, PolicyRefusal, Refusal, ServerError


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
    ],
)
def test_every_end_is_a_status_and_a_sentence(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    raised: BaseException,
    status: ExitStatus,
    message: str,
) -> None:
    """Whatever a verb raises, there is no traceback, a bug's own text stays unsaid, and the status is the right one."""

    def fail(*_: object) -> None:
        raise raised

    monkeypatch.setattr(load, "load_settings", fail)
    assert run(["validate"]) == status
    out, err = capsys.readouterr()
    assert (out, err.strip().startswith(message), err.strip().count("\n")) == ("", True, 0)
    assert "CANARY" not in err


def test_closed_stderr_keeps_the_exit_status(monkeypatch: pytest.MonkeyPatch) -> None:
    class Closed(io.StringIO):
        def write(self, _: str) -> int:
            raise OSError(5, "gone")

    monkeypatch.setattr(sys, "stderr", Closed())
    assert run(["validate", "-f", "nowhere.yaml"]) == ExitStatus.INVALID
    assert run(["nowhere"]) == ExitStatus.USAGE


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If writing fails at the last step, the old file is there as it was, and nothing else."""
    path = tmp_path / "plan.json"
    replace(path, b"old", mode=0o600)

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("worker.cli.runner.os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        replace(path, b"new", mode=0o600)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_pipe_gets_the_document_and_stays(tmp_path: Path) -> None:
    """What is no file, such as /dev/stdout, is written to; no file comes in its place."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    check_writable(str(path))
    emit("document", str(path))
    assert os.read(reader, 100) == b"document"
    os.close(reader)
    assert path.is_fifo()


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    """What a link leads to is replaced, and not the link."""
    link, path = tmp_path / "latest", tmp_path / "plan.json"
    link.symlink_to(path.name)
    emit("document", str(link))
    assert link.is_symlink()
    assert path.read_text() == "document"


def test_the_doctor_says_what_to_do() -> None:
    """A refusal points at the console, a failure at another try, and a clock is named by which way it is off."""
    assert "check the API key" in _failed_read(AccountRejected("no", api_code="InvalidApiKey")).detail
    assert "try again" in _failed_read(ServerError("HTTP 502")).detail
    assert (_clock(None, is_refused=False).status, _clock(10.0, is_refused=False).status) == ("skip", "ok")
    assert "100 s behind" in _clock(100.0, is_refused=False).detail
    assert (_clock(-2000.0, is_refused=True).status, _clock(-100.0, is_refused=False).status) == ("fail", "warn")
