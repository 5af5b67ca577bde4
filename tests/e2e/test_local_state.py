"""Unusable ledgers, full disks, leases of other runs, and revisions of checkouts."""

import json
import os
import re
import resource
import signal
import sqlite3
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import Command, Serve, Served, pid_of
from worker.sandbox import Fault, SandboxAccount

NUMBERS = dict.fromkeys((f"0100000{index:04}" for index in range(30)), "INACTIVE")
FILES = {"d.yaml": "version: 1\nnumbers:\n" + "".join(f"  {phone}: ACTIVE\n" for phone in NUMBERS)}
SANDBOX = {"rate_limit": None}


def _until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.005)


def _account(number: int = 0, numbers: int = 30) -> SandboxAccount:
    phones = [f"010{number:04}{index:04}" for index in range(numbers)]
    return SandboxAccount.of(
        dict.fromkeys(phones, "INACTIVE"),
        account_id=f"{number}",
        api_key=f"NCS{number:013}",
        api_secret=f"{number:04}" * 8,
    )


def _file(account: SandboxAccount, status: str = "ACTIVE") -> str:
    return "version: 1\nnumbers:\n" + "".join(f"  {phone}: {status}\n" for phone in account.numbers)


def _ledger(command: Command) -> Path:
    return command.folder / "state" / "senderid" / "ledger.db"


def _intents(command: Command) -> Counter[tuple[str | None, str | None]]:
    if not _ledger(command).exists():
        return Counter()
    with closing(sqlite3.connect(_ledger(command))) as connection:
        if not connection.execute("SELECT 1 FROM sqlite_master").fetchone():
            return Counter()
        return Counter(connection.execute("SELECT phone, asked FROM attempts").fetchall())


def _file_in_place_of_the_folder(path: Path) -> None:
    path.parent.parent.mkdir()
    path.parent.write_text("")


def _folder_in_place_of_the_file(path: Path) -> None:
    path.mkdir(parents=True)


def _newer(path: Path) -> None:
    path.parent.mkdir(parents=True)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA application_id = 0x53454E44")
        connection.execute("PRAGMA user_version = 99")


def _damaged(path: Path) -> None:
    path.parent.mkdir(parents=True)
    path.write_bytes(b"SQLite format 3\0" + b"\xa5" * 5000)


def _of_another_program(path: Path) -> None:
    path.parent.mkdir(parents=True)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE theirs (a)")


_UNUSABLE: dict[str, tuple[Callable[[Path], None], str]] = {
    "folder": (_file_in_place_of_the_folder, "is not a folder|Not a directory"),
    "file": (_folder_in_place_of_the_file, "Is a directory"),
    "newer": (_newer, "created by a newer senderid"),
    "damaged": (_damaged, "another program|damaged|not a database|is gone"),
    "foreign": (_of_another_program, "the database of another program"),
}


@pytest.mark.parametrize("kind", _UNUSABLE)
def test_apply_without_a_ledger_sends_nothing(command: Command, served: Served, kind: str) -> None:
    assert command("plan", "-f", "d.yaml", "--out", "plan.json").returncode == 0
    served.sandbox.wire.clear()
    make, reason = _UNUSABLE[kind]
    make(_ledger(command))
    for arguments in (("-y", "-f", "d.yaml"), ("plan.json",)):
        result = command("apply", *arguments)
        assert (result.returncode, served.sandbox.wire, result.stdout) == (1, [], "")
        assert re.search(reason, result.stderr)
        assert "SENDERID_LEDGER__PATH" in result.stderr
    command.environment["SENDERID_LEDGER__PATH"] = "elsewhere/ledger.db"
    assert command("apply", "-y", "-f", "d.yaml").returncode == 0
    assert len(served.writes) == 30


@pytest.mark.parametrize("kind", _UNUSABLE)
def test_plan_warns_and_doctor_fails_without_a_ledger(command: Command, serve: Serve, kind: str) -> None:
    accounts = [_account(number, 2) for number in range(3)]
    served = serve(*accounts)
    command.at(served.sandbox, accounts[0])
    for account in accounts:
        name = account.account_id
        command.environment |= {f"KEY{name}": account.api_key, f"SECRET{name}": account.api_secret}
        credentials = f"credentials: {{api_key: {{env: KEY{name}}}, api_secret: {{env: SECRET{name}}}}}\n"
        command.write(f"d/{name}.yaml", _file(account).replace("numbers:", f"{credentials}numbers:"))
    make, reason = _UNUSABLE[kind]
    make(_ledger(command))
    result = command("plan", "-f", "d", "--format", "json", "--detailed-exitcode")
    assert result.returncode == 2
    changes = [change for account in json.loads(result.stdout)["accounts"] for change in account["changes"]]
    assert [change.get("cause") for change in changes] == [None] * 6
    warnings = [line for line in result.stderr.splitlines() if line.startswith("warning:")]
    assert len(warnings) == 1
    assert re.search(reason, warnings[0])
    diagnosed = command("doctor", "--format", "json")
    (row,) = [check for check in json.loads(diagnosed.stdout)["checks"] if check["name"] == "ledger"]
    assert (diagnosed.returncode, row["status"]) == (1, "fail")
    assert re.search(reason, row["detail"])


def _limited_to(size: int) -> Callable[[], None]:
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


@pytest.mark.no_cover
@pytest.mark.parametrize("pages", [0, 1, 9, 18, 20, 22, 23, 24, 25, 26, 28, 30, 80])
def test_full_disk_stops_the_run_and_the_next_converges(
    command: Command, served: Served, account: SandboxAccount, pages: int
) -> None:
    command.environment |= {"SENDERID_CONCURRENCY": "3"}
    process = command.popen("apply", "-y", "-f", "d.yaml", "--format", "json", preexec_fn=_limited_to(pages * 4096))
    out, stderr = process.communicate(timeout=60)
    assert "Traceback" not in stderr
    assert Counter(served.writes) <= _intents(command)
    changed = [phone for phone, status in account.statuses.items() if status == "ACTIVE"]
    if process.returncode:
        assert process.returncode == 1, stderr
        assert "SENDERID_LEDGER__PATH" in stderr
        assert len(served.writes) < 30 or out
    else:
        assert pages > 22
    if out:
        (result,) = json.loads(out)["accounts"]
        assert sorted(n["phone"] for n in result["numbers"] if n["outcome"] == "changed") == sorted(changed)
    else:
        assert changed == []
    command_result = command("apply", "-y", "-f", "d.yaml")
    assert command_result.returncode == 0, command_result.stderr
    assert set(account.statuses.values()) == {"ACTIVE"}
    assert Counter(served.writes) <= _intents(command)
    with closing(sqlite3.connect(_ledger(command))) as connection:
        assert connection.execute("SELECT count(*) FROM entries WHERE NOT settled").fetchone() == (0,)


@pytest.mark.no_cover
@pytest.mark.parametrize("output_kind", ["closed", "full"])
@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_dead_output_keeps_the_ledger_complete(
    command: Command, served: Served, account: SandboxAccount, stream: str, output_kind: str
) -> None:
    if output_kind == "full":
        target = os.open("/dev/full", os.O_WRONLY)
    else:
        read, target = os.pipe()
        os.close(read)
    streams: dict[str, Any] = {stream: target}
    with command.popen("apply", "-y", "-f", "d.yaml", "--format", "json", **streams) as process:
        os.close(target)
        out, stderr = process.communicate(timeout=60)
    assert process.returncode == (1 if stream == "stdout" else 0)
    assert "Traceback" not in (stderr or "") + (out or "")
    assert set(account.statuses.values()) == {"ACTIVE"}
    assert Counter(served.writes) == _intents(command)
    with closing(sqlite3.connect(_ledger(command))) as connection:
        assert connection.execute("SELECT outcome FROM runs").fetchall() == [("converged",)]
        assert connection.execute("SELECT outcome, settled FROM entries").fetchall() == [("converged", 1)]
        assert connection.execute("SELECT outcome, count(*) FROM outcomes").fetchall() == [("changed", 30)]


def test_unprintable_plan_writes_nothing_and_fails_the_run(command: Command, served: Served) -> None:
    read, target = os.pipe()
    os.close(read)
    with command.popen("apply", "-y", "-f", "d.yaml", stdout=target) as process:
        os.close(target)
        process.communicate(timeout=60)
    assert process.returncode == 1
    assert served.writes == []
    with closing(sqlite3.connect(_ledger(command))) as connection:
        assert connection.execute("SELECT outcome FROM runs").fetchall() == [("failed",)]


@pytest.fixture
def holder(command: Command, served: Served) -> Iterator[subprocess.Popen[str]]:
    """Start a run that keeps the lease because its second request gets no response."""
    served.sandbox.script(None, "PUT", [None, Fault.STALL])
    slow = {"SENDERID_CONCURRENCY": "1", "SENDERID_TIMEOUT__TOTAL_SECONDS": "600"}
    command.environment |= slow
    with command.popen("apply", "-y", "-f", "d.yaml", "--format", "json") as process:
        _until(lambda: len(served.writes) > 1)
        for name in slow:
            del command.environment[name]
        yield process
        process.kill()


def test_lock_timeout_names_the_holder(command: Command, served: Served, holder: subprocess.Popen[str]) -> None:
    started_at = time.monotonic()
    process = command("apply", "-y", "-f", "d.yaml", "--lock-timeout", "1s", "--format", "json")
    assert 1 <= time.monotonic() - started_at < 10
    assert process.returncode == 5
    (result,) = json.loads(process.stdout)["accounts"]
    assert result["outcome"] == "locked"
    message = rf"process {pid_of(holder)}, run \d{{8}}T\d{{6}}Z-[0-9a-f]{{6}}, since \d{{4}}-\d\d-\d\dT"
    assert re.search(message, result["error"]["message"])
    assert len(served.writes) == 2


def test_lock_timeout_waits_for_the_lease(
    command: Command, served: Served, account: SandboxAccount, holder: subprocess.Popen[str]
) -> None:
    waiting = command.popen("apply", "-y", "-f", "d.yaml", "--lock-timeout", "1m", "--format", "json")
    reads = len(served.sandbox.wire)
    _until(lambda: len(served.sandbox.wire) > reads)
    holder.kill()
    out, stderr = waiting.communicate(timeout=60)
    assert waiting.returncode == 0, stderr
    assert json.loads(out)["outcome"] == "converged"
    assert set(account.statuses.values()) == {"ACTIVE"}
    assert Counter(served.writes) == dict.fromkeys(((phone, "ACTIVE") for phone in account.numbers), 1)


@pytest.mark.usefixtures("holder")
def test_sigint_ends_the_wait_for_a_lease(command: Command, served: Served) -> None:
    waiting = command.popen("apply", "-y", "-f", "d.yaml", "--lock-timeout", "10m", "--format", "json")
    reads = len(served.sandbox.wire)
    _until(lambda: len(served.sandbox.wire) > reads)
    started_at = time.monotonic()
    waiting.send_signal(signal.SIGINT)
    out, stderr = waiting.communicate(timeout=60)
    assert waiting.returncode == 130, stderr
    assert time.monotonic() - started_at < 10
    assert json.loads(out)["outcome"] == "interrupted"
    assert len(served.writes) == 2


def _git(folder: Path, *arguments: str) -> str:
    author = ("-c", "user.name=ann", "-c", "user.email=ann@example.org")
    return subprocess.run(  # noqa: S603 - git
        ["git", "-C", str(folder), *author, *arguments],  # noqa: S607
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()


def test_plan_file_and_run_have_the_revision(command: Command, served: Served) -> None:
    """The revision ends with -dirty if the file changed since the commit."""
    _git(command.folder, "init", "-q")
    _git(command.folder, "add", "d.yaml")
    _git(command.folder, "commit", "-qm", "first")
    commit = _git(command.folder, "rev-parse", "HEAD")
    assert command("plan", "-f", "d.yaml", "--out", "plan.json").returncode == 0
    first = json.loads((command.folder / "plan.json").read_text())["accounts"][0]
    assert first["commit"] == commit
    command.write("d.yaml", (command.folder / "d.yaml").read_text() + "# changed\n")
    assert command("plan", "-f", "d.yaml", "--out", "plan.json").returncode == 0
    second = json.loads((command.folder / "plan.json").read_text())["accounts"][0]
    assert (second["commit"], second["sha256"] != first["sha256"]) == (f"{commit}-dirty", True)
    assert command("apply", "plan.json").returncode == 0
    with closing(sqlite3.connect(_ledger(command))) as connection:
        entries = connection.execute("SELECT source, sha256, revision FROM entries").fetchall()
    assert entries == [("d.yaml", second["sha256"], second["commit"])]
    assert len(served.writes) == 30


def test_saved_plan_is_refused_for_another_account_or_age(command: Command, serve: Serve, served: Served) -> None:
    assert command("plan", "-f", "d.yaml", "--out", "plan.json").returncode == 0
    path = command.folder / "plan.json"
    old = command("apply", "plan.json", "--max-age", "0s")
    assert old.returncode == 65
    assert "plan again" in old.stderr
    other = _account(7)
    elsewhere = serve(other)
    command.at(elsewhere.sandbox, other)
    command.environment["SENDERID_ENDPOINT"] = served.sandbox.url
    served.sandbox.accounts[other.api_key] = other
    result = command("apply", "plan.json", "--format", "json")
    assert result.returncode == 1
    assert json.loads(result.stdout)["accounts"][0]["error"]["code"] == "WrongAccount"
    path.write_text(path.read_text().replace("saved-plan/v2", "saved-plan/v3"))
    newer = command("apply", "plan.json")
    assert newer.returncode == 65
    assert "unsupported plan file version" in newer.stderr
    assert served.writes == elsewhere.writes == []
