"""The daemon as a process, on the sandbox over real sockets."""

import json
import queue
import signal
import socket
import sqlite3
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.request import urlopen

import pytest
from jsonschema import Draft202012Validator

from tests.e2e.conftest import Command, Serve, Served
from tests.support.webhook import Webhook
from worker.render.json_schema import schema
from worker.sandbox import SandboxAccount

A, B = "01000000001", "01000000002"
NUMBERS = {A: "INACTIVE", B: "ACTIVE"}
FILES = {"config/desired/main.yaml": f"version: 1\nnumbers:\n  {A}: ACTIVE\n  {B}: INACTIVE\n"}


class Daemon:
    """A running `senderid watch` and the lines of its log."""

    def __init__(self, command: Command, *arguments: str) -> None:
        self.process: subprocess.Popen[str] = command.popen("watch", *arguments)
        self.lines: list[dict[str, Any]] = []
        self._coming: queue.Queue[str] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self._coming.put(line)

    def until(self, event: str, seconds: float = 20, **fields: Any) -> dict[str, Any]:
        """Return the next line of an event with these fields."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                text = self._coming.get(timeout=max(0.01, deadline - time.monotonic()))
            except queue.Empty:
                raise AssertionError(f"no {event} {fields} after {self.lines}") from None
            assert "Traceback" not in text
            if text.startswith("{"):
                line: dict[str, Any] = json.loads(text)
                self.lines.append(line)
                if line["event"] == event and all(line.get(name) == value for name, value in fields.items()):
                    return line

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal, and return the exit status."""
        self.process.send_signal(number)
        return self.process.wait(40)


def _desired_file(more: str = "", **statuses: str) -> str:
    phones = {"A": A, "B": B}
    return f"version: 1\n{more}numbers:\n" + "".join(f"  {phones[name]}: {to}\n" for name, to in statuses.items())


@pytest.fixture
def watch(command: Command) -> Iterator[Callable[..., Daemon]]:
    """Start daemons, and stop those still running after the test."""
    running: list[Daemon] = []

    def start(*arguments: str) -> Daemon:
        running.append(Daemon(command, *arguments))
        return running[-1]

    yield start
    for daemon in running:
        if daemon.process.poll() is None:
            daemon.process.kill()
        daemon.process.communicate()


def test_watch_converges_follows_files_and_ends_on_sigterm(
    command: Command, served: Served, account: SandboxAccount, watch: Callable[..., Daemon]
) -> None:
    daemon = watch("--every", "1s")
    daemon.until("watch.started", rhythm="every 1 s", mode="apply", accounts=1)
    daemon.until("watch.pass", outcome="converged", trigger="rhythm")
    assert account.statuses == {A: "ACTIVE", B: "INACTIVE"}
    command.write("config/desired/main.yaml", _desired_file(A="ACTIVE", B="ACTIVE"))
    daemon.until("number", phone=B, outcome="changed")
    account.switch(A, "INACTIVE")
    daemon.until("number", phone=A, outcome="changed")
    daemon.process.send_signal(signal.SIGHUP)
    daemon.until("watch.reloaded", accounts=1)
    daemon.until("watch.pass", outcome="converged")
    assert daemon.end() == 143
    assert account.statuses == {A: "ACTIVE", B: "ACTIVE"}
    validator = Draft202012Validator(schema("log"))
    for line in daemon.lines:
        validator.validate(line)
    history = json.loads(command("history", "--format", "json").stdout)
    assert {run["command"] for run in history["runs"]} == {"watch"}
    assert len(history["runs"]) == 3, "passes with nothing to do leave nothing"
    assert served.writes == [(A, "ACTIVE"), (B, "INACTIVE"), (B, "ACTIVE"), (A, "ACTIVE")]


def test_invalid_file_keeps_the_last_good_state(
    command: Command, served: Served, account: SandboxAccount, watch: Callable[..., Daemon]
) -> None:
    daemon = watch("--every", "1s")
    daemon.until("watch.pass", outcome="converged")
    command.write("config/desired/main.yaml", _desired_file(A="AKTIVE"))
    line = daemon.until("watch.file_broken")
    assert "main.yaml:3:" in line["error_message"]
    account.switch(B, "ACTIVE")
    daemon.until("number", phone=B, outcome="changed")
    command.write("config/desired/main.yaml", _desired_file(A="ACTIVE", B="ACTIVE"))
    daemon.until("watch.file_mended")
    daemon.until("number", phone=B, outcome="changed")
    assert daemon.end(signal.SIGINT) == 130
    assert served.sandbox.wire


def test_suspended_account_is_only_read(
    command: Command, served: Served, account: SandboxAccount, watch: Callable[..., Daemon]
) -> None:
    command.write("config/desired/main.yaml", _desired_file("suspend: {reason: moving, by: kim}\n", A="ACTIVE"))
    daemon = watch("--every", "1s")
    assert daemon.until("watch.suspended")["reason"] == "moving"
    daemon.until("number.planned", phone=A, action="activate")
    daemon.until("watch.pass", outcome="partial")
    assert served.writes == []
    command.write("config/desired/main.yaml", _desired_file(A="ACTIVE"))
    daemon.until("watch.resumed", account="main")
    daemon.until("number", phone=A, outcome="changed")
    assert daemon.end() == 143
    assert account.statuses[A] == "ACTIVE"


def test_sigterm_finishes_requests_in_flight(command: Command, serve: Serve, watch: Callable[..., Daemon]) -> None:
    phones = [f"0100001{number:04}" for number in range(1000)]
    account = SandboxAccount.of(dict.fromkeys(phones, "INACTIVE"))
    served = serve(account, rate_limit=None)
    command.at(served.sandbox, account).write(
        "config/desired/main.yaml", "version: 1\nnumbers:\n" + "".join(f"  {phone}: ACTIVE\n" for phone in phones)
    )
    daemon = watch("--every", "1m")
    deadline = time.monotonic() + 20
    while len(served.writes) < 20 and time.monotonic() < deadline:
        pass
    assert daemon.end() == 143
    on = {phone for phone, status in account.statuses.items() if status == "ACTIVE"}
    assert 20 <= len(on) < 1000
    with closing(sqlite3.connect(command.folder / "state/senderid/ledger.db")) as ledger:
        noted = ledger.execute("SELECT phone FROM outcomes WHERE outcome = 'changed'").fetchall()
        (left,) = ledger.execute("SELECT count(*) FROM attempts WHERE state IN ('intent', 'ambiguous')").fetchone()
        (outcome,) = ledger.execute("SELECT outcome FROM runs").fetchone()
    assert {phone for (phone,) in noted} == on
    assert (left, outcome) == (0, "interrupted")


def test_second_watch_is_locked_and_retries(command: Command, serve: Serve, watch: Callable[..., Daemon]) -> None:
    phones = [f"0100001{number:04}" for number in range(200)]
    account = SandboxAccount.of(dict.fromkeys(phones, "INACTIVE"))
    served = serve(account, rate_limit=None)
    command.at(served.sandbox, account)
    command.environment |= {"SENDERID_RATE_LIMIT__WRITES": "40", "SENDERID_RATE_LIMIT__PER_SECONDS": "1"}
    command.write("config/desired/main.yaml", "version: 1\nnumbers:\n" + "".join(f"  {p}: ACTIVE\n" for p in phones))
    first = watch("--every", "1m")
    deadline = time.monotonic() + 20
    while not served.writes and time.monotonic() < deadline:
        pass
    second = watch("--every", "1s")
    second.until("watch.pass", outcome="locked")
    second.until("watch.pass", outcome="converged")
    first.until("watch.pass", outcome="converged")
    assert len(served.writes) == 200, "each number was written once"
    assert second.end() == 143
    assert first.end() == 143


def test_dry_run_does_not_keep_a_ledger(command: Command, served: Served, watch: Callable[..., Daemon]) -> None:
    daemon = watch("--every", "1s", "--dry-run")
    daemon.until("number.planned", phone=A)
    daemon.until("watch.pass", outcome="partial")
    assert daemon.end() == 143
    assert served.writes == []
    assert not (command.folder / "state").exists()


def test_daemon_notifies_systemd_of_its_state(command: Command, served: Served, watch: Callable[..., Daemon]) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(command.folder / "notify"))
        manager.settimeout(20)
        command.environment |= {"NOTIFY_SOCKET": str(command.folder / "notify"), "WATCHDOG_USEC": "400000"}
        daemon = watch("--every", "1s")
        received: list[str] = []

        def until(begins: str) -> None:
            """Return the next line of an event with these fields."""
            while not received or not received[-1].startswith(begins):
                received.append(manager.recv(4096).decode())

        until("READY=1")
        until("STATUS=converged at ")
        until("WATCHDOG=1")
        daemon.process.send_signal(signal.SIGHUP)
        until("RELOADING=1\nMONOTONIC_USEC=")
        until("READY=1")
        assert daemon.end() == 143
        until("STOPPING=1")
    assert served.writes


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--every", "5m", "--cron", "* * * * *"), "cannot be combined"),
        (("--cron", "61 * * * *"), "bad minute field"),
        (("--cron", "* * * *"), "five fields"),
        (("--cron", "* * * * *", "--timezone", "Asia/Soul"), "unknown time zone; did you mean 'Asia/Seoul'?"),
        (("--cron", "* * * * *", "--timezone", "KST"), "unknown time zone: use Asia/Seoul"),
        (("--cron", "* * * * *", "--timezone", "../etc"), "unknown time zone"),
        (("--cron", "61 * * * *", "--timezone", "Etc/GMT+9"), "warning: --timezone Etc/GMT+9 is UTC-9"),
        (("--timezone", "Asia/Seoul"), "--timezone requires --cron"),
        (("--every", "0s"), "at least 1s"),
        (("--every", "soon"), "is not a duration"),
        (("--every", "5m", "--jitter", "5m"), "--jitter must be shorter"),
        (("-f", "-"), "cannot be read again"),
        (("--account", "nobody"), "no file has an account"),
        (("--allow", "everything"), "no such rule"),
    ],
)
def test_wrong_usage_sends_nothing(command: Command, served: Served, arguments: tuple[str, ...], message: str) -> None:
    result = command("watch", *arguments)
    assert result.returncode == 64
    assert message in result.stderr
    assert served.sandbox.wire == []


def test_invalid_file_at_start_is_an_error(command: Command, served: Served) -> None:
    command.write("config/desired/main.yaml", "version: 1\n")
    assert command("watch").returncode == 65
    assert served.sandbox.wire == []


def test_unusable_ledger_at_start_is_an_error(command: Command, served: Served) -> None:
    command.write("file", "x")
    command.environment["SENDERID_LEDGER__PATH"] = str(command.folder / "file/ledger.db")
    assert command("watch").returncode == 1
    assert served.sandbox.wire == []


@pytest.mark.usefixtures("served")
def test_window_opens_on_time_between_passes(
    command: Command, account: SandboxAccount, watch: Callable[..., Daemon]
) -> None:
    account.switch(B, "INACTIVE")
    opens = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=4)
    window = f"{{status: INACTIVE, schedule: [{{from: '{opens:%Y-%m-%dT%H:%M:%S+00:00}', status: ACTIVE}}]}}"
    command.write("config/desired/main.yaml", _desired_file(A=window, B="INACTIVE"))
    daemon = watch("--every", "1h")
    assert daemon.until("watch.pass")["trigger"] == "rhythm"
    assert account.statuses[A] == "INACTIVE"
    written = datetime.fromisoformat(daemon.until("number", phone=A, outcome="changed")["timestamp"])
    assert 0 <= (written - opens).total_seconds() < 1
    assert daemon.until("watch.pass")["trigger"] == "transition"
    assert daemon.end() == 143


@pytest.mark.usefixtures("served", "account")
def test_endpoints_respond_and_notifications_are_sent(command: Command, watch: Callable[..., Daemon]) -> None:
    with Webhook() as hook:
        command.environment["HOOK"] = hook.url("ok")
        command.write("config/worker.yaml", "notify: {channels: [{name: ops, url: {env: HOOK}}]}\n")
        daemon = watch("--every", "1h", "--listen", "127.0.0.1:0")
        url = daemon.until("watch.listening")["url"]
        daemon.until("watch.pass", outcome="converged")
        pages = {path: urlopen(url + path).read().decode() for path in ("/metrics", "/healthz", "/readyz")}  # noqa: S310 - ours
        assert (pages["/healthz"], pages["/readyz"]) == ("ok\n", "ok\n")
        assert 'senderid_numbers{account="main",status="ACTIVE"} 1.0' in pages["/metrics"]
        assert 'senderid_number_outcomes_total{outcome="changed"} 2.0' in pages["/metrics"]
        assert daemon.end() == 143
        text = " ".join(str(message["message"]) for message in hook.received)
    for words in ("watching 1 account", "1 activated", "1 deactivated", "stopp"):
        assert words in text, text
    second = watch("--every", "1h")
    second.until("watch.pass")
    assert second.end() == 143


def test_address_in_use_is_an_error(command: Command, served: Served) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
        result = command("watch", "--listen", f"127.0.0.1:{port}")
    assert (result.returncode, served.writes) == (1, [])
    assert f"127.0.0.1:{port}: Address already in use" in result.stderr


@pytest.mark.usefixtures("served", "account")
def test_sighup_during_the_last_notification_is_ignored(command: Command, watch: Callable[..., Daemon]) -> None:
    with Webhook() as hook:
        command.environment["HOOK"] = hook.url("hang")
        command.write("config/worker.yaml", "notify: {channels: [{name: ops, url: {env: HOOK}}], timeout_seconds: 1}\n")
        daemon = watch("--every", "1h")
        daemon.until("watch.pass")
        assert hook.arrived.wait(20)
        daemon.process.send_signal(signal.SIGTERM)
        daemon.until("watch.stopping")
        for _ in range(20):
            daemon.process.send_signal(signal.SIGHUP)
        assert daemon.process.wait(40) == 143
