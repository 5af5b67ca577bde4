"""Two hosts with one ledger in PostgreSQL, each a folder with a home of its own."""

import json
import os
import re
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

from tests.e2e.conftest import Background, Command, Serve, Served, pid_of
from tests.support import short_leases
from tests.support.ledgers import rows
from tests.support.postgres import PASSWORD, PostgresServer, server
from worker.ledger.postgres.database import PostgresDatabase
from worker.sandbox import Fault, SandboxAccount

A, B, C = "01000000001", "01000000002", "01000000003"
NUMBERS = {A: "INACTIVE", B: "ACTIVE", C: "ACTIVE"}
FILES = {"main.yaml": f"version: 1\nnumbers: {{{A}: ACTIVE, {B}: INACTIVE, {C}: INACTIVE}}\n"}
APPLIED = {A: "ACTIVE", B: "INACTIVE", C: "INACTIVE"}
_APPLY = ("apply", "-y", "-f", "main.yaml", "--format", "json")


@pytest.fixture
def one(command: Command, served: Served, url: str) -> Command:
    """Return the command on the first host."""
    del served
    command.environment["SENDERID_LEDGER__URL"] = url
    return command


@pytest.fixture
def two(one: Command, tmp_path: Path) -> Command:
    """Return the command on the second host, with the same files."""
    other = Command(tmp_path / "two", one.quick)
    other.write("main.yaml", FILES["main.yaml"])
    other.environment = one.environment | {"HOME": str(other.folder), "XDG_STATE_HOME": str(other.folder / "state")}
    return other


def _until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def _document(command: Command, *arguments: str, status: int = 0) -> Any:
    result = command(*arguments, "--format", "json")
    assert result.returncode == status, result.stderr
    return json.loads(result.stdout)


def test_each_command_works_from_any_host(one: Command, two: Command, account: SandboxAccount) -> None:
    """One host applies. The other one reads the history, finds drift and its cause, and rolls the run back."""
    run = _document(one, *_APPLY[:-2])["run_id"]
    (record,) = _document(two, "history")["runs"]
    assert (record["run_id"], record["outcome"]) == (run, "converged")
    assert _document(two, "drift", "-f", "main.yaml")["accounts"][0]["changes"] == []
    account.switch(A, "INACTIVE")
    (change,) = _document(two, "drift", "-f", "main.yaml", status=2)["accounts"][0]["changes"]
    assert (change["phone"], change["cause"]) == (A, "external_drift")
    account.switch(A, "ACTIVE")
    assert _document(two, "rollback", "-y", run)["outcome"] == "converged"
    assert account.statuses == NUMBERS
    assert [entry["command"] for entry in _document(one, "history")["runs"]] == [f"rollback {run}", "apply"]
    assert two("history", "--prune-older-than", "1h").stdout == "0 runs deleted.\n"
    assert list(one.folder.rglob("ledger.db*")) == []


def test_status_page_and_daemon_share_the_ledger(
    one: Command, two: Command, account: SandboxAccount, background: Background
) -> None:
    """The daemon of one host writes, and the page of the other shows its run."""
    watch = background(one, "watch", "-f", "main.yaml", "--every", "1s")
    _until(lambda: account.statuses == APPLIED)
    watch.send_signal(signal.SIGTERM)
    _, log = watch.communicate(timeout=30)
    assert watch.returncode == 128 + signal.SIGTERM, log
    page = background(two, "serve", "--listen", "127.0.0.1:0")
    assert page.stdout is not None
    match = re.search(r"http://\S+", page.stdout.readline())
    assert match is not None
    with urlopen(f"{match[0]}/runs", timeout=20) as response:  # noqa: S310 - ours
        text = response.read().decode()
    assert "watch" in text
    assert "postgresql://postgres@/" in text


def test_second_host_is_locked_and_names_the_holder(
    one: Command,
    two: Command,
    served: Served,
    url: str,
    background: Background,
) -> None:
    """The message has the host, the process, the run and its start. With a timeout, the second host waits."""
    served.sandbox.script(None, "PUT", [Fault.STALL])
    first = background(one, *_APPLY)
    _until(lambda: len(served.writes) == 1)
    result = two(*_APPLY)
    assert result.returncode == 5
    ((host, run),) = rows(PostgresDatabase(url), "SELECT host, run FROM workers")
    error = json.loads(result.stdout)["accounts"][0]["error"]
    assert error["code"] == "AccountBusy"
    assert f"(host {host}, process {pid_of(first)}, run {run}, since 20" in error["message"]
    first.kill()


def test_quota_is_not_exceeded_over_handovers(
    one: Command,
    two: Command,
    tmp_path: Path,
    serve: Serve,
    background: Background,
) -> None:
    """Three hosts use one API key in turn. No window at the API has more writes than the quota, and none is refused."""
    three = Command(tmp_path / "three", one.quick)
    three.environment = two.environment | {"HOME": str(three.folder), "XDG_STATE_HOME": str(three.folder / "state")}
    numbers = [f"0105555{n:04}" for n in range(60)]
    account = SandboxAccount.of(dict.fromkeys(numbers, "INACTIVE"))
    served = serve(account, rate_limit=(20, 100), window_seconds=3.0)
    runs = []
    for position, host in enumerate((one, two, three)):
        host.at(served.sandbox, account)
        host.environment |= {"SENDERID_RATE_LIMIT__WRITES": "20", "SENDERID_RATE_LIMIT__PER_SECONDS": "3"}
        lines = "".join(f"  {phone}: ACTIVE\n" for phone in numbers[position::3])
        host.write("main.yaml", f"version: 1\nnumbers:\n{lines}")
        runs.append(background(host, *_APPLY, "--lock-timeout", "60s"))
    for run in runs:
        _, log = run.communicate(timeout=60)
        assert run.returncode == 0, log
    writes = [request.when for request in served.sandbox.wire if request.method == "PUT"]
    assert len(writes) == len(numbers)
    assert all(later - earlier > 3 for earlier, later in zip(writes, writes[20:], strict=False))
    assert {request.status for request in served.sandbox.wire} == {200}


def test_killed_run_is_taken_over_by_another_host(
    one: Command,
    two: Command,
    served: Served,
    account: SandboxAccount,
    background: Background,
) -> None:
    """The second host waits until the lease has ended, reads what happened, and does the rest."""
    for host in (one, two):
        host.environment |= {"SENDERID_TIMEOUT__TOTAL_SECONDS": "1", "SENDERID_CONCURRENCY": "1"}
    served.sandbox.script(None, "PUT", [None, Fault.STALL])
    first = background(one, *_APPLY)
    _until(lambda: len(served.writes) == 2)
    first.kill()
    first.communicate()
    start = time.monotonic()
    document = _document(two, *_APPLY[:-2], "--lock-timeout", "60s")
    assert document["outcome"] == "converged"
    assert 10 < time.monotonic() - start < 30
    assert account.statuses == APPLIED
    assert sorted(entry["outcome"] for entry in _document(two, "history")["runs"]) == ["converged", "crashed"]


def test_run_that_was_stopped_past_its_lease_sends_nothing(
    one: Command,
    two: Command,
    served: Served,
    background: Background,
) -> None:
    """The kernel ends it when it continues, although it had requests left and another host has taken over."""
    one.environment |= {"SENDERID_TIMEOUT__TOTAL_SECONDS": "1", "SENDERID_CONCURRENCY": "1"}
    two.environment["SENDERID_TIMEOUT__TOTAL_SECONDS"] = "1"
    served.sandbox.script(None, "PUT", [Fault.STALL])
    first = background(one, *_APPLY)
    _until(lambda: len(served.writes) == 1)
    first.send_signal(signal.SIGSTOP)
    assert _document(two, *_APPLY[:-2], "--lock-timeout", "60s")["outcome"] == "converged"
    writes = list(served.writes)
    first.send_signal(signal.SIGCONT)
    first.communicate(timeout=10)
    assert first.returncode == -signal.SIGALRM
    assert served.writes == writes


def test_database_that_stops_ends_the_run_with_status_1(one: Command, served: Served, background: Background) -> None:
    """No request is sent without an intent. When the database is back, the next run settles and converges."""
    database = PostgresServer()
    try:
        one.environment |= {"SENDERID_LEDGER__URL": database.url("postgres"), "SENDERID_CONCURRENCY": "1"}
        served.sandbox.script(None, "PUT", [Fault.STALL])
        one.environment["SENDERID_TIMEOUT__TOTAL_SECONDS"] = "3"
        run = background(one, *_APPLY)
        _until(lambda: len(served.writes) == 1)
        database.stop()
        out, log = run.communicate(timeout=60)
        assert run.returncode == 1, log
        assert json.loads(out)["accounts"][0]["error"]["code"] == "LedgerError"
        refused = one(*_APPLY)
        assert refused.returncode == 1
        assert "cannot be used" in refused.stderr
        assert len(served.writes) == 1
        database.start()
        workers = PostgresDatabase(database.url("postgres"))
        connection = workers.open()
        connection.script("UPDATE workers SET until = '-infinity'")
        connection.close()
        assert _document(one, *_APPLY[:-2])["outcome"] == "converged"
    finally:
        database.remove()


def test_database_that_freezes_ends_the_run_with_status_1(one: Command, served: Served) -> None:
    """A server that keeps its connections and does not respond does not keep the run from ending with its reason."""
    database = PostgresServer()
    one.environment |= {
        "SENDERID_LEDGER__URL": database.url("postgres"),
        "SENDERID_RATE_LIMIT__WRITES": "1",
        "SENDERID_RATE_LIMIT__PER_SECONDS": "1",
    }
    frozen: list[int] = []
    try:
        run = one.popen(*_APPLY, program=[sys.executable, short_leases.__file__])
        _until(lambda: len(served.writes) == 1)
        frozen = database.processes()
        for process in frozen:
            os.kill(process, signal.SIGSTOP)
        out, log = run.communicate(timeout=60)
        assert (run.returncode, "Traceback" in log) == (1, False), log
        error = json.loads(out)["accounts"][0]["error"]
        assert (error["code"], "no response within" in error["message"]) == ("LedgerError", True)
    finally:
        for process in frozen:
            os.kill(process, signal.SIGCONT)
        database.remove()


def test_ledger_moves_from_a_file_to_postgres_and_back(one: Command, url: str) -> None:
    """The history and a rollback continue after each move; a second copy to the same target is refused."""
    del one.environment["SENDERID_LEDGER__URL"]
    run = _document(one, *_APPLY[:-2])["run_id"]
    file = str(one.folder / "state/senderid/ledger.db")
    result = one("ledger", "copy", file, url)
    assert (result.returncode, result.stdout.startswith("Copied 1 runs, 1 accounts and 3 requests")) == (0, True)
    again = one("ledger", "copy", file, url)
    assert (again.returncode, "already has records" in again.stderr) == (1, True)
    one.environment["SENDERID_LEDGER__URL"] = url
    assert _document(one, "rollback", "-y", run)["outcome"] == "converged"
    assert one("ledger", "copy", url, "back.db").returncode == 0
    del one.environment["SENDERID_LEDGER__URL"]
    one.environment["SENDERID_LEDGER__PATH"] = "back.db"
    assert [entry["command"] for entry in _document(one, "history")["runs"]] == [f"rollback {run}", "apply"]


def test_doctor_reports_the_database(one: Command, url: str) -> None:
    """The password is read from a file, and appears nowhere."""
    name = url.partition("?")[0].rpartition("/")[2]
    one.write("secret", f"{PASSWORD}\n")
    one.write("worker.yaml", f"ledger: {{url: '{server().tcp_url(name)}', password: {{file: secret}}}}\n")
    del one.environment["SENDERID_LEDGER__URL"]
    result = one("doctor", "--settings", "worker.yaml", "--format", "json")
    checks = {check["name"]: check["status"] for check in json.loads(result.stdout)["checks"]}
    assert checks["ledger"] == checks["ledger pooler"] == checks["ledger tls"] == "ok"
    one.write("secret", "wrong-password\n")
    failed = one("doctor", "--settings", "worker.yaml")
    assert (failed.returncode, "password authentication failed" in failed.stdout) == (1, True)
    for text in (result.stdout, result.stderr, failed.stdout, failed.stderr):
        assert PASSWORD not in text
        assert "wrong-password" not in text
    (one.folder / "secret").unlink()
    missing = one("history", "--settings", "worker.yaml")
    assert (missing.returncode, "the file secret" in missing.stderr) == (1, True)
