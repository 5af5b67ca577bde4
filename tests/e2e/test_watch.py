"""The daemon as a process of its own, on the sandbox over real sockets."""

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
    """A `senderid watch` that runs, and the lines of its log as they come."""

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
        """The next line of an event with these fields."""
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
        """Stop it; its exit status."""
        self.process.send_signal(number)
        return self.process.wait(40)


def _wants(more: str = "", **statuses: str) -> str:
    phones = {"A": A, "B": B}
    return f"version: 1\n{more}numbers:\n" + "".join(f"  {phones[name]}: {to}\n" for name, to in statuses.items())


@pytest.fixture
def watch(command: Command) -> Iterator[Callable[..., Daemon]]:
    """Starts daemons and ends those that are left."""
    running: list[Daemon] = []

    def start(*arguments: str) -> Daemon:
        running.append(Daemon(command, *arguments))
        return running[-1]

    yield start
    for daemon in running:
        if daemon.process.poll() is None:
            daemon.process.kill()
        daemon.process.communicate()


def test_it_converges_follows_its_files_and_ends_on_a_signal(
    command: Command, served: Served, account: SandboxAccount, watch: Callable[..., Daemon]
) -> None:
    """It writes at once, follows SIGHUP and a file that changed, mends drift, and SIGTERM ends it with 143."""
    daemon = watch("--every", "1s")
    daemon.until("watch.pass", outcome="converged")
    assert account.statuses == {A: "ACTIVE", B: "INACTIVE"}
    command.write("config/desired/main.yaml", _wants(A="ACTIVE", B="ACTIVE"))
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


def test_a_broken_file_leaves_the_accounts_as_they_last_were(
    command: Command, served: Served, account: SandboxAccount, watch: Callable[..., Daemon]
) -> None:
    """A slip stops nothing: drift is still mended by the last good file, and the mended file counts."""
    daemon = watch("--every", "1s")
    daemon.until("watch.pass", outcome="converged")
    command.write("config/desired/main.yaml", _wants(A="AKTIVE"))
    line = daemon.until("watch.file_broken")
    assert "main.yaml:3:" in line["error_message"]
    account.switch(B, "ACTIVE")
    daemon.until("number", phone=B, outcome="changed")
    command.write("config/desired/main.yaml", _wants(A="ACTIVE", B="ACTIVE"))
    daemon.until("watch.file_mended")
    daemon.until("number", phone=B, outcome="changed")
    assert daemon.end(signal.SIGINT) == 130
    assert served.sandbox.wire


def test_a_suspended_account_is_only_looked_at(
    command: Command, served: Served, account: SandboxAccount, watch: Callable[..., Daemon]
) -> None:
    """While the file suspends it nothing is written, and what would be is told; then it is written."""
    command.write("config/desired/main.yaml", _wants("suspend: {reason: moving, by: kim}\n", A="ACTIVE"))
    daemon = watch("--every", "1s")
    assert daemon.until("watch.suspended")["reason"] == "moving"
    daemon.until("number.planned", phone=A, action="activate")
    daemon.until("watch.pass", outcome="partial")
    assert served.writes == []
    command.write("config/desired/main.yaml", _wants(A="ACTIVE"))
    daemon.until("watch.resumed", account="main")
    daemon.until("number", phone=A, outcome="changed")
    assert daemon.end() == 143
    assert account.statuses[A] == "ACTIVE"


def test_a_signal_while_it_writes_finishes_what_is_under_way(
    command: Command, serve: Serve, watch: Callable[..., Daemon]
) -> None:
    """SIGTERM in the middle of a thousand writes: what was sent is in the ledger as the sandbox has it, and no more."""
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


def test_a_second_watch_of_an_account_is_locked_and_tries_again(
    command: Command, serve: Serve, watch: Callable[..., Daemon]
) -> None:
    """While another run holds the account a daemon writes nothing to it, and does at a later pass."""
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


def test_a_dry_run_keeps_no_ledger_and_writes_nothing(
    command: Command, served: Served, watch: Callable[..., Daemon]
) -> None:
    """A watch for drift alone tells what it sees."""
    daemon = watch("--every", "1s", "--dry-run")
    daemon.until("number.planned", phone=A)
    daemon.until("watch.pass", outcome="partial")
    assert daemon.end() == 143
    assert served.writes == []
    assert not (command.folder / "state").exists()


def test_a_service_manager_is_told(command: Command, served: Served, watch: Callable[..., Daemon]) -> None:
    """READY when it has begun, a status after a pass, life, a reload, and the end."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(command.folder / "notify"))
        manager.settimeout(20)
        command.environment |= {"NOTIFY_SOCKET": str(command.folder / "notify"), "WATCHDOG_USEC": "400000"}
        daemon = watch("--every", "1s")
        heard: list[str] = []

        def until(begins: str) -> None:
            while not heard or not heard[-1].startswith(begins):
                heard.append(manager.recv(4096).decode())

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
    ("arguments", "told"),
    [
        (("--every", "5m", "--cron", "* * * * *"), "give one of them"),
        (("--cron", "61 * * * *"), "bad minute field"),
        (("--cron", "* * * *"), "five fields"),
        (("--cron", "* * * * *", "--timezone", "Asia/Soul"), "there is no such time zone; did you mean Asia/Seoul?"),
        (("--cron", "* * * * *", "--timezone", "KST"), "there is no such time zone; write Asia/Seoul"),
        (("--cron", "* * * * *", "--timezone", "../etc"), "there is no such time zone"),
        (("--cron", "61 * * * *", "--timezone", "Etc/GMT+9"), "warning: --timezone Etc/GMT+9 is UTC-9"),
        (("--timezone", "Asia/Seoul"), "--timezone goes with --cron"),
        (("--every", "0s"), "at least 1s"),
        (("--every", "soon"), "is no time"),
        (("--every", "5m", "--jitter", "5m"), "--jitter must be shorter"),
        (("-f", "-"), "only once"),
        (("--account", "nobody"), "no file has an account"),
        (("--allow", "everything"), "no such rule"),
    ],
)
def test_wrong_usage_is_told_and_nothing_is_sent(
    command: Command, served: Served, arguments: tuple[str, ...], told: str
) -> None:
    """Each is 64, with what is wrong."""
    done = command("watch", *arguments)
    assert done.returncode == 64
    assert told in done.stderr
    assert served.sandbox.wire == []


def test_a_file_that_is_broken_at_the_very_start_is_an_error(command: Command, served: Served) -> None:
    """There is no last good state yet: 65, as of any command, and nothing is sent."""
    command.write("config/desired/main.yaml", "version: 1\n")
    assert command("watch").returncode == 65
    assert served.sandbox.wire == []


def test_a_ledger_that_cannot_be_kept_is_told_at_the_start(command: Command, served: Served) -> None:
    """1 before any request."""
    command.write("file", "x")
    command.environment["SENDERID_LEDGER__PATH"] = str(command.folder / "file/ledger.db")
    assert command("watch").returncode == 1
    assert served.sandbox.wire == []


@pytest.mark.usefixtures("served")
def test_a_window_opens_at_its_time_whatever_the_rhythm(
    command: Command, account: SandboxAccount, watch: Callable[..., Daemon]
) -> None:
    """Between passes that are an hour apart, a schedule's window is written within a second of its time."""
    account.switch(B, "INACTIVE")
    opens = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=4)
    window = f"{{status: INACTIVE, schedule: [{{from: '{opens:%Y-%m-%dT%H:%M:%S+00:00}', status: ACTIVE}}]}}"
    command.write("config/desired/main.yaml", _wants(A=window, B="INACTIVE"))
    daemon = watch("--every", "1h")
    assert daemon.until("watch.pass")["trigger"] == "rhythm"
    assert account.statuses[A] == "INACTIVE"
    written = datetime.fromisoformat(daemon.until("number", phone=A, outcome="changed")["timestamp"])
    assert 0 <= (written - opens).total_seconds() < 1
    assert daemon.until("watch.pass")["trigger"] == "transition"
    assert daemon.end() == 143


@pytest.mark.usefixtures("served", "account")
def test_it_answers_and_brings_news(command: Command, watch: Callable[..., Daemon]) -> None:
    """Metrics, health and readiness are there for whoever asks; a channel hears of start, changes and end."""
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
        told = " ".join(str(message["message"]) for message in hook.received)
    for words in ("watching 1 account", "1 activated", "1 deactivated", "stopp"):
        assert words in told, told
    again = watch("--every", "1h")
    again.until("watch.pass")
    assert again.end() == 143


def test_an_address_that_is_taken_is_told(command: Command, served: Served) -> None:
    """It is an error of its own, with the address; nothing is written."""
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
        done = command("watch", "--listen", f"127.0.0.1:{port}")
    assert (done.returncode, served.writes) == (1, [])
    assert f"127.0.0.1:{port}: Address already in use" in done.stderr


@pytest.mark.usefixtures("served", "account")
def test_a_request_to_reload_never_ends_it(command: Command, watch: Callable[..., Daemon]) -> None:
    """While the last news are brought to a channel that hangs, SIGHUP changes nothing of the end."""
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
