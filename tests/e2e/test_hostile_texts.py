"""Texts of a hostile API: one JSON string in logs and documents, and no control sequence on a terminal.

They are error codes and messages, statuses and an account id, and they are stored in the ledger.
"""

import json
import os
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing

import pytest
from aiohttp import web

from tests.e2e.conftest import Command, Served
from tests.e2e.test_under_fire import _on_a_terminal
from worker.sandbox import Sandbox, SandboxAccount
from worker.sandbox.responses import SimulatedResponse
from worker.sandbox.server import Request

A, B = "01000000001", "01000000002"
_EVIL = (
    "one\r\ntwo\nthree\tfour \x1b[2J\x1b]0;owned\x07\x1b[31m \x9b31m \x85 \u2028 \u2029 \u202egnp.exe\u2066"
    '\u061c\u200b\ufeff "\'\\ {"event": "number", "outcome": "changed"} NUL\0 </script>'
)
_OWN_SEQUENCES = re.compile(
    rb"\x1b\[(?:\d{1,2}m|1;\d\dm|\?25[lh]|2?K|1A)",
)
"""What we send to a terminal ourselves: colours, and what the bar needs."""
_OBEYED = [*(bytes([byte]) for byte in range(32) if byte not in b"\r\n\t"), b"\x7f"]
_INVISIBLE = "\u061c\x85\x9b\u200b\u2028\u2029\u202e\u2066\ufeff"


class _Hostile(Sandbox):
    """API that refuses each write, and reports two numbers, one of them with an unknown status."""

    code, message = _EVIL, _EVIL

    def _respond(self, account: SandboxAccount, record: Request) -> SimulatedResponse:
        if record.method == "GET":
            return super()._respond(account, record)
        response = SimulatedResponse(400, b"")
        response.replace(400, {"errorCode": self.code, "errorMessage": self.message})
        return response


@pytest.fixture
def hostile(command: Command) -> Iterator[_Hostile]:
    """Serve a hostile API."""
    account = SandboxAccount.of({A: "INACTIVE", B: _EVIL, "0211": "ACTIVE"}, account_id=_EVIL)
    sandbox = _Hostile([account])
    served = Served(sandbox)
    served.start()
    command.at(sandbox, account).write("d.yaml", f"version: 1\nnumbers: {{{A}: ACTIVE, {B}: ACTIVE}}\n")
    yield sandbox
    served.stop()


def test_hostile_text_is_one_json_string(command: Command, hostile: _Hostile) -> None:
    result = command("apply", "-y", "-f", "d.yaml", "--format", "json", "--log-level", "debug")
    assert result.returncode == 3
    lines = [json.loads(line) for line in result.stderr.split("\n") if line]
    assert all(set(line) >= {"timestamp", "level", "event", "run_id"} for line in lines)
    (entry,) = [line for line in lines if line.get("phone") == A and line["event"] == "number"]
    assert (entry["outcome"], entry["error_code"], entry["error_message"]) == ("failed", _EVIL, _EVIL)
    assert sum(line["event"] == "number" for line in lines) == 3
    (account,) = json.loads(result.stdout)["accounts"]
    (failed,) = [number for number in account["numbers"] if number["phone"] == A]
    assert failed["error"] == {"code": _EVIL, "message": _EVIL, "http_status": 400}
    assert account["account_id"] == _EVIL.replace("\0", "\N{REPLACEMENT CHARACTER}")
    for stream in (result.stdout, result.stderr):
        assert not any(byte in stream.encode().replace(b"\n", b"") for byte in _OBEYED)
        assert not any(char in stream for char in _INVISIBLE)
        assert "\r" not in stream
    assert hostile.wire


@pytest.mark.parametrize(
    "arguments",
    [
        ("apply", "-y", "-f", "d.yaml"),
        ("apply", "-y", "-f", "d.yaml", "--log-level", "debug"),
        ("apply", "-y", "-f", "d.yaml", "--log-format", "json", "--format", "json"),
        ("plan", "-f", "d.yaml"),
        ("plan", "-f", "d.yaml", "--format", "json", "--log-format", "json"),
        ("export",),
        ("doctor",),
    ],
)
def test_terminal_does_not_receive_control_characters(
    command: Command, hostile: _Hostile, arguments: tuple[str, ...]
) -> None:
    command.environment |= {"TERM": "xterm-256color", "COLUMNS": "200"}
    output = _OWN_SEQUENCES.sub(b"", _on_a_terminal(command, *arguments).encode())
    assert b"owned" in output
    assert not [byte for byte in _OBEYED if byte in output]
    assert not [char for char in _INVISIBLE if char in output.decode()]
    # a second line would start with the text after the line break
    assert not any(line.startswith((b"two", b"three")) for line in re.split(rb"[\r\n]", output))
    assert hostile.wire


def test_ledger_keeps_hostile_text_and_the_next_run_converges(command: Command, hostile: _Hostile) -> None:
    assert command("apply", "-y", "-f", "d.yaml").returncode == 3
    with closing(sqlite3.connect(command.folder / "state" / "senderid" / "ledger.db")) as connection:
        (row,) = connection.execute("SELECT error_code, error_message FROM outcomes WHERE phone = ?", (A,)).fetchall()
        assert row == (_EVIL.replace("\0", "\ufffd"),) * 2
        states = connection.execute("SELECT state, error_message FROM attempts").fetchall()
        assert states == [("rejected", row[1])]
    assert command("plan", "-f", "d.yaml").returncode == 0
    assert command("apply", "-y", "-f", "d.yaml").returncode == 3
    assert "Traceback" not in _on_a_terminal(command, "apply", "-y", "-f", "d.yaml")
    assert len([request for request in hostile.wire if request.method == "PUT"]) == 3


@pytest.mark.parametrize(
    "arguments",
    [
        ("history",),
        ("history", "RUN"),
        ("history", "--phone", A),
        ("history", "RUN", "--format", "json"),
        ("drift", "-f", "d.yaml"),
    ],
)
def test_history_prints_no_control_characters(command: Command, hostile: _Hostile, arguments: tuple[str, ...]) -> None:
    result = json.loads(command("apply", "-y", "-f", "d.yaml", "--format", "json").stdout)
    command.environment |= {"TERM": "xterm-256color", "COLUMNS": "200"}
    options = [result["run_id"] if argument == "RUN" else argument for argument in arguments]
    output = _OWN_SEQUENCES.sub(b"", _on_a_terminal(command, *options).encode())
    assert A.encode() in output or b"010-0000-0001" in output or result["run_id"].encode() in output
    assert not [byte for byte in _OBEYED if byte in output]
    assert not [char for char in _INVISIBLE if char in output.decode()]
    assert not any(line.startswith((b"two", b"three")) for line in re.split(rb"[\r\n]", output))
    assert hostile.wire


def test_echoed_authorization_header_is_not_kept(command: Command, hostile: _Hostile) -> None:
    authenticate = hostile._authenticate
    headers: list[str] = []

    def record_header(request: web.BaseRequest, record: Request) -> SandboxAccount:
        headers.append(request.headers["Authorization"])
        hostile.code = hostile.message = f"you sent: Authorization: {headers[-1]}"
        return authenticate(request, record)

    setattr(hostile, "_authenticate", record_header)  # noqa: B010 - mypy knows it as a method
    result = command("apply", "-y", "-f", "d.yaml", "--format", "json", "--log-level", "debug")
    assert result.returncode == 3
    assert "you sent" in result.stdout
    assert "you sent" in result.stderr
    files = b"".join(path.read_bytes() for path in command.folder.rglob("*") if path.is_file())
    everything = (result.stdout + result.stderr).encode() + files
    for header in headers:
        for text in re.findall(r"(?:salt|signature)=([^,\s]+)", header):
            assert text.encode() not in everything


def test_undecodable_environment_does_not_fail_a_run(command: Command, hostile: _Hostile) -> None:
    command.environment |= {
        "LOGNAME": os.fsdecode(b"ann\xff"),
        "SENDERID_LEDGER__PATH": os.fsdecode(b"l\xfe/ledger.db"),
    }
    assert command("apply", "-y", "-f", "d.yaml").returncode == 3
    assert (command.folder / os.fsdecode(b"l\xfe") / "ledger.db").exists()
    assert hostile.wire
