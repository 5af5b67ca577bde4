"""A fleet over a real PostgreSQL and real sockets: publications, workers that share accounts, pauses and takeovers."""

import json
import re
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from typing import Any
from urllib.request import urlopen

import pytest

from tests.e2e.conftest import Background, Command, Serve, Served
from tests.support.ledgers import rows
from tests.support.postgres import PostgresServer
from worker.ledger.postgres.database import PostgresDatabase
from worker.sandbox import Fault, SandboxAccount

_COUNT = 6
_REJECTED = Fault.NOT_WRITABLE


def _phone(index: int) -> str:
    return f"0100000000{index}"


@pytest.fixture
def accounts() -> list[SandboxAccount]:
    """Return accounts of one number each, which is ACTIVE."""
    return [
        SandboxAccount.of(
            {_phone(index): "ACTIVE"},
            account_id=f"{index:08}",
            api_key=f"NCSKEY{index}",
            api_secret=f"secret-{index:09}",
        )
        for index in range(_COUNT)
    ]


@pytest.fixture
def served(serve: Serve, accounts: list[SandboxAccount]) -> Served:
    """Serve the accounts."""
    return serve(*accounts)


@pytest.fixture
def fleet(command: Command, served: Served, url: str, accounts: list[SandboxAccount]) -> Command:
    """Return the command with the keys of all accounts, and files that deactivate each number."""
    command.environment |= {
        "SENDERID_LEDGER__URL": url,
        "SENDERID_ENDPOINT": served.sandbox.url,
        "SENDERID_TIMEOUT__TOTAL_SECONDS": "2",
        "SENDERID_RATE_LIMIT__PER_SECONDS": "1",
        "SENDERID_SAFETY__MAX_DEACTIVATIONS": "100%",
        "SENDERID_SAFETY__MIN_ACTIVE": "0",
    }
    for index, account in enumerate(accounts):
        command.environment |= {f"KEY_{index}": account.api_key, f"SECRET_{index}": account.api_secret}
    _write(command, dict.fromkeys(range(_COUNT), "INACTIVE"))
    return command


def _write(command: Command, statuses: dict[int, str]) -> None:
    for index, status in statuses.items():
        command.write(
            f"d/a{index}.yaml",
            f"version: 1\naccount: a{index}\n"
            f"credentials: {{api_key: {{env: KEY_{index}}}, api_secret: {{env: SECRET_{index}}}}}\n"
            f"numbers: {{{_phone(index)}: {status}}}\n",
        )


def _publish(command: Command, *options: str) -> str:
    result = command("fleet", "publish", "-f", "d", *options)
    assert result.returncode == 0, result.stderr
    return result.stdout


def _status(command: Command) -> Any:
    result = command("fleet", "status", "--format", "json")
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def _until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def _switched(accounts: list[SandboxAccount]) -> list[int]:
    return [index for index, account in enumerate(accounts) if account.statuses == {_phone(index): "INACTIVE"}]


def _ended(worker: "subprocess.Popen[str]", number: signal.Signals = signal.SIGTERM) -> str:
    worker.send_signal(number)
    _, log = worker.communicate(timeout=30)
    assert worker.returncode == 128 + number, log
    return log


def test_workers_share_published_accounts(
    fleet: Command, served: Served, accounts: list[SandboxAccount], background: Background, url: str
) -> None:
    """Each number is written once. SIGTERM hands the lanes over, and the history has the runs of both workers."""
    assert fleet("fleet", "init").returncode == 0
    assert _publish(fleet).startswith("Revision 1: 6 accounts, 6 numbers; 6 changed, 0 removed.")
    assert _publish(fleet) == "Nothing changed since the last revision.\n"
    workers = [background(fleet, "fleet", "worker", "--every", "1h") for _ in range(2)]
    _until(lambda: len(_switched(accounts)) == _COUNT and _status(fleet)["queue"]["unsettled"] == 0)
    assert sorted(served.writes) == sorted((_phone(index), "INACTIVE") for index in range(_COUNT))
    _until(lambda: [worker["lanes"] for worker in _status(fleet)["workers"]] == [512, 512])
    text = fleet("fleet", "status").stdout
    assert "Lanes: 1024 of 1024 leased, 0 requested by other runs." in text
    assert len(re.findall(r"^Worker \d+: running, ", text, re.MULTILINE)) == 2
    logs = [_ended(worker) for worker in workers]
    assert _status(fleet)["lanes"]["held"] == 0
    assert _status(fleet)["workers"] == []
    lines = [json.loads(line) for log in logs for line in log.splitlines()]
    assert {line["worker"] for line in lines if line["event"] == "fleet.lanes"} == {1, 2}
    assert {line["revision"] for line in lines if line["event"] == "fleet.slice"} == {1}
    assert [line["event"] for line in lines].count("fleet.stopped") == 2
    assert rows(PostgresDatabase(url), "SELECT count(*) FROM entries WHERE outcome = 'converged'") == [(_COUNT,)]


def test_account_of_a_drained_worker_is_continued(fleet: Command, serve: Serve, background: Background) -> None:
    """Each write counts once towards `fleet-wide`, and no window at the server has more writes than the quota.

    The next worker starts within the window.
    """
    account = SandboxAccount.of({f"0101{number:07}": "INACTIVE" for number in range(20)})
    served = serve(account)
    fleet.environment |= {
        "SENDERID_ENDPOINT": served.sandbox.url,
        "SENDERID_RATE_LIMIT__WRITES": "8",
        "SENDERID_RATE_LIMIT__PER_SECONDS": "3",
        "SENDERID_SAFETY__FLEET_WIDE": "20",
        "SOLAPI_API_KEY": account.api_key,
        "SOLAPI_API_SECRET": account.api_secret,
    }
    numbers = ", ".join(f"{phone}: ACTIVE" for phone in account.numbers)
    fleet.write("large/a.yaml", f"version: 1\nnumbers: {{{numbers}}}\n")
    assert fleet("fleet", "publish", "-f", "large").returncode == 0
    for count in (3, 11, 20):
        worker = background(fleet, "fleet", "worker", "--every", "1h")
        _until(lambda: len(served.writes) >= count)  # noqa: B023 - called at once
        assert '"event":"fleet.paused"' not in _ended(worker)
    status = _status(fleet)["revision"]
    assert (status["paused"], status["budget"]["activations"]) == (False, 20)
    assert set(Counter(served.writes).values()) == {1}
    times = [request.when for request in served.sandbox.wire if request.method == "PUT"]
    assert min(later - earlier for earlier, later in zip(times, times[8:], strict=False)) > 3.0


def test_accounts_of_a_killed_worker_are_taken_over(
    fleet: Command, served: Served, accounts: list[SandboxAccount], background: Background, url: str
) -> None:
    """What it left open is settled by a read, and no number is written twice."""
    served.sandbox.script(_phone(0), "PUT", [Fault.STALL])
    _publish(fleet)
    dying = background(fleet, "fleet", "worker")
    _until(lambda: (_phone(0), "INACTIVE") in served.writes)
    dying.kill()
    dying.communicate()
    with closing(PostgresDatabase(url).open()) as connection:
        connection.execute("UPDATE workers SET until = '-infinity'")
    other = background(fleet, "fleet", "worker")
    _until(lambda: _status(fleet)["queue"]["unsettled"] == 0)
    log = _ended(other)
    assert '"event":"fleet.taken_over"' in log
    assert _switched(accounts) == list(range(_COUNT))
    assert set(Counter(served.writes).values()) == {1}
    database = PostgresDatabase(url)
    assert rows(database, "SELECT count(*) FROM entries WHERE NOT settled") == [(0,)]
    assert rows(database, "SELECT count(*) FROM entries WHERE outcome = 'crashed'") != [(0,)]


def test_other_runs_get_lanes_of_a_running_worker(
    fleet: Command, accounts: list[SandboxAccount], background: Background
) -> None:
    """`apply` waits for the worker to yield the lane, without --lock-timeout. Then the worker continues."""
    _publish(fleet)
    worker = background(fleet, "fleet", "worker", "--every", "1h")
    _until(lambda: _status(fleet)["queue"]["unsettled"] == 0)
    _write(fleet, {0: "ACTIVE"})
    result = fleet("apply", "-y", "-f", "d/a0.yaml")
    assert result.returncode == 0, result.stdout
    assert accounts[0].statuses == {_phone(0): "ACTIVE"}
    _write(fleet, {0: "INACTIVE"})
    _publish(fleet)
    _write(fleet, {0: "ACTIVE", 1: "ACTIVE"})
    _publish(fleet)
    _until(lambda: _switched(accounts) == [2, 3, 4, 5])
    _ended(worker)


def test_failed_canary_stops_a_revision(
    fleet: Command, served: Served, accounts: list[SandboxAccount], background: Background
) -> None:
    """No other account is written, until a corrected revision is published."""
    served.sandbox.script(_phone(0), "PUT", [_REJECTED] * 9)
    assert "Canary: 1 account first; the other accounts follow if these succeed.\n" in _publish(fleet, "--canary", "1")
    worker = background(fleet, "fleet", "worker", "--every", "2s")
    _until(lambda: _status(fleet)["revision"]["paused"])
    text = fleet("fleet", "status").stdout
    assert "Paused: 1 of 1 numbers of the first account were not changed as planned; at most 0 may fail" in text
    assert {phone for phone, _ in served.writes} == {_phone(0)}
    _until(lambda: _status(fleet)["queue"]["held"] == _COUNT)
    assert _switched(accounts) == []
    _write(fleet, {0: "ACTIVE"})
    _publish(fleet, "--canary", "1")
    _until(lambda: _switched(accounts) == [1, 2, 3, 4, 5])
    log = _ended(worker)
    assert '"event":"fleet.paused"' in log
    assert '"event":"fleet.rolling"' in log


def test_paused_fleet_reads_and_writes_nothing(
    fleet: Command, served: Served, accounts: list[SandboxAccount], background: Background
) -> None:
    """The pause also holds for later revisions. After the pause, the delayed changes are written immediately."""
    _publish(fleet)
    assert fleet("fleet", "pause", "--reason", "incident").returncode == 0
    worker = background(fleet, "fleet", "worker", "--every", "1h")
    _until(lambda: _status(fleet)["queue"]["held"] == _COUNT)
    _write(fleet, {0: "ACTIVE"})
    assert "Paused by " in _publish(fleet)
    assert served.writes == []
    result = fleet("fleet", "resume")
    assert (result.returncode, result.stdout) == (0, "Resumed.\n")
    _until(lambda: _switched(accounts) == [1, 2, 3, 4, 5])
    assert _status(fleet)["queue"]["held"] == 0
    _ended(worker)


def test_too_large_a_change_is_refused(fleet: Command) -> None:
    """Exit status 4, and the old revision stays."""
    numbers = {
        state: ", ".join(f"0100000{number:04}: {state}" for number in range(120)) for state in ("ACTIVE", "INACTIVE")
    }
    fleet.write("d/a0.yaml", f"version: 1\naccount: a0\nnumbers: {{{numbers['ACTIVE']}}}\n")
    _publish(fleet)
    fleet.write("d/a0.yaml", f"version: 1\naccount: a0\nnumbers: {{{numbers['INACTIVE']}}}\n")
    result = fleet("fleet", "publish", "-f", "d")
    assert result.returncode == 4
    assert "120 of the 125 numbers of all accounts would be deactivated; the limit is 100" in result.stderr
    assert _status(fleet)["revision"]["revision"] == 1
    assert _publish(fleet, "--allow", "fleet-wide").startswith("Revision ")
    assert _status(fleet)["revision"]["budget"]["limit"] is None


def test_published_files_are_read_again_only_if_they_changed(fleet: Command) -> None:
    """The defaults of a folder are part of them. Invalid files are refused, and the former ones are recognised."""
    assert "6 changed" in _publish(fleet)
    fleet.write("d/senderid.yaml", "version: 1\ndefaults: {owner: shop}\n")
    assert "6 changed" in _publish(fleet)
    fleet.write("d/a0.yaml", "version: 1\naccount: [\n")
    result = fleet("fleet", "publish", "-f", "d")
    assert (result.returncode, "d/a0.yaml:3:1: " in result.stderr) == (65, True), result.stderr
    _write(fleet, {0: "INACTIVE"})
    assert _publish(fleet) == "Nothing changed since the last revision.\n"


def test_publisher_needs_no_api_keys(
    fleet: Command, accounts: list[SandboxAccount], background: Background, url: str
) -> None:
    """A worker, which has the keys, moves each account to the lane of its key."""
    keys = {name: fleet.environment.pop(name) for name in [*fleet.environment] if name.startswith(("KEY_", "SECRET_"))}
    _publish(fleet)
    database = PostgresDatabase(url)
    lanes = rows(database, "SELECT name, lane FROM accounts")
    fleet.environment |= keys
    worker = background(fleet, "fleet", "worker")
    _until(lambda: _switched(accounts) == list(range(_COUNT)))
    _ended(worker, signal.SIGINT)
    assert not set(lanes) & set(rows(database, "SELECT name, lane FROM accounts"))


def test_worker_serves_metrics(fleet: Command, background: Background) -> None:
    """The worker is ready when it has lanes."""
    _publish(fleet)
    worker = background(fleet, "fleet", "worker", "--listen", "127.0.0.1:0")
    assert worker.stderr is not None
    address = next(line for line in worker.stderr if '"event":"watch.listening"' in line)
    base = json.loads(address)["url"]
    _until(lambda: _status(fleet)["queue"]["unsettled"] == 0)
    with urlopen(f"{base}/readyz", timeout=20) as response:  # noqa: S310 - ours
        assert response.status == 200
    with urlopen(f"{base}/healthz", timeout=20) as response:  # noqa: S310 - ours
        assert response.status == 200
    with urlopen(f"{base}/metrics", timeout=20) as response:  # noqa: S310 - ours
        metrics = dict(re.findall(r"^(senderid_fleet_\w+) ([0-9.]+)$", response.read().decode(), re.MULTILINE))
    assert float(metrics.pop("senderid_fleet_reconciled_accounts_total")) >= _COUNT
    assert metrics["senderid_fleet_lanes_held"] == "1024.0"
    assert metrics["senderid_fleet_workers"] == "1.0"
    assert metrics.keys() >= {
        "senderid_fleet_due_accounts",
        "senderid_fleet_oldest_due_seconds",
        "senderid_fleet_publish_lag_seconds",
        "senderid_fleet_takeovers_total",
    }


def test_restarted_database_ends_a_worker(
    fleet: Command, served: Served, accounts: list[SandboxAccount], background: Background
) -> None:
    """The worker releases its lanes and ends with status 1, so that a new worker continues immediately.

    Nothing is sent without an intent. The accounts in progress do not count as crashed.
    """
    database = PostgresServer()
    try:
        fleet.environment["SENDERID_LEDGER__URL"] = database.url("postgres")
        served.sandbox.script(_phone(0), "PUT", [Fault.STALL])
        _publish(fleet)
        worker = background(fleet, "fleet", "worker")
        _until(lambda: (_phone(0), "INACTIVE") in served.writes)
        database.stop()
        assert worker.stderr is not None
        waiting = next(line for line in worker.stderr if '"event":"fleet.waiting"' in line)
        assert json.loads(waiting)["error_code"] == "LedgerError"
        database.start()
        _, log = worker.communicate(timeout=60)
        assert worker.returncode == 1, log
        again = background(fleet, "fleet", "worker")
        _until(lambda: _status(fleet)["queue"]["unsettled"] == 0)
        assert '"event":"fleet.taken_over"' not in _ended(again)
        assert _switched(accounts) == list(range(_COUNT))
        assert set(Counter(served.writes).values()) == {1}
    finally:
        database.remove()


def test_signal_ends_the_wait_for_a_database(fleet: Command, background: Background) -> None:
    database = PostgresServer()
    try:
        fleet.environment |= {
            "SENDERID_LEDGER__URL": database.url("postgres"),
            "SENDERID_RATE_LIMIT__PER_SECONDS": "60",
        }
        worker = background(fleet, "fleet", "worker")
        assert worker.stderr is not None
        next(line for line in worker.stderr if '"event":"fleet.lanes"' in line)
        database.stop()
        next(line for line in worker.stderr if '"event":"fleet.waiting"' in line)
        worker.terminate()
        worker.communicate(timeout=30)
        assert worker.returncode == 1
    finally:
        database.remove()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("worker",), "a fleet needs a ledger in PostgreSQL"),
        (("publish", "-f", "d"), "a fleet needs a ledger in PostgreSQL"),
        (("worker", "--every", "0s"), "--every must be at least 1s"),
        (("worker", "--listen", "nowhere"), "a fleet needs a ledger in PostgreSQL"),
    ],
)
def test_wrong_options_are_refused(fleet: Command, arguments: tuple[str, ...], message: str) -> None:
    del fleet.environment["SENDERID_LEDGER__URL"]
    result = fleet("fleet", *arguments)
    assert (result.returncode, message in result.stderr) == (64, True), result.stderr


def test_status_needs_a_fleet(fleet: Command) -> None:
    result = fleet("fleet", "status")
    assert (result.returncode, "run `senderid fleet init`" in result.stderr) == (64, True)
    assert fleet("fleet", "init").stdout.endswith("is ready for a fleet.\n")
    assert "No revision is published yet" in fleet("fleet", "status").stdout
