"""Services of a daemon: metrics, probes and the listen address."""

import asyncio

import pytest

from tests.support.daemon import Daemon, account, desired_account
from tests.support.virtual_time import run
from worker.cli.options import address
from worker.cli.services import MetricsListener
from worker.daemon.last_good import FileChanges
from worker.model.errors import DesiredStateError, LedgerError, Problem, UsageError
from worker.model.suspension import Suspend
from worker.telemetry.metrics import Metrics


class Probe:
    """Monitor of a daemon whose metrics are read by line."""

    def __init__(self) -> None:
        self.values = Metrics(wall=lambda: 1_000.0)
        self.names = ["account-1", "account-2"]
        self.monitor = MetricsListener(self.values, lambda: self.names, list, wall=lambda: 900.0)

    def line(self, name: str) -> float | None:
        """Return the value of one metric line."""
        lines = self.monitor.render_metrics("")[0].decode().splitlines()
        return next((float(line.rpartition(" ")[2]) for line in lines if line.rpartition(" ")[0] == name), None)


def test_metrics_count_passes_runs_and_numbers() -> None:

    async def scenario() -> None:
        one, two = account(1), account(2, n01000000002="ACTIVE")
        probe = Probe()
        daemon = Daemon([one, two], [desired_account(one), desired_account(two)], listeners=[probe.monitor])
        probe.monitor.follow(daemon.watch)
        assert probe.monitor.why_not_ready() == "the first pass has not ended yet"
        await daemon.run_for(700)
        assert probe.line("senderid_passes_total") == 3
        assert probe.line("senderid_failed_passes_total") == 0
        assert probe.line('senderid_runs_total{outcome="converged"}') == 1
        assert probe.line('senderid_number_outcomes_total{outcome="changed"}') == 1
        assert probe.line('senderid_numbers{account="account-1",status="ACTIVE"}') == 1
        assert probe.line("senderid_last_good_pass_timestamp_seconds") == 1000
        assert (probe.monitor.why_not_ready(), probe.monitor.why_not_alive()) == (None, None)

    run(scenario())


def test_pass_with_ledger_error_counts_as_failed() -> None:
    """The time of the last good pass does not change."""

    async def scenario() -> None:
        api_account = account()
        probe = Probe()
        daemon = Daemon([api_account], [desired_account(api_account)], listeners=[probe.monitor])
        daemon.ledgers.fail = LedgerError("full")
        await daemon.run_for(10)
        assert (probe.line("senderid_passes_total"), probe.line("senderid_failed_passes_total")) == (1, 1)
        assert probe.line("senderid_last_good_pass_timestamp_seconds") == 0

    run(scenario())


def test_suspension_metrics_have_the_start_time() -> None:
    """A suspension of all accounts has one line for each account. The lines disappear at its end."""

    async def scenario() -> None:
        one, two = account(1), account(2)
        probe = Probe()
        suspended = desired_account(one, suspend=Suspend("moving"))
        daemon = Daemon([one, two], [suspended, desired_account(two)], listeners=[probe.monitor])
        name = 'senderid_account_suspended_since_timestamp_seconds{account="account-%s"}'
        values = []

        def read() -> None:
            values.append((probe.line(name % 1), probe.line(name % 2)))

        def everything() -> None:
            probe.monitor.on_event("watch.suspended", {"account": None})
            read()

        await daemon.run_for(
            700,
            (5, read),
            (310, everything),
            (320, lambda: daemon.folder.write(desired_account(one), desired_account(two))),
        )
        probe.monitor.on_event("watch.resumed", {"account": None})
        read()
        assert values == [(900.0, None), (900.0, 900.0), (None, None)]

    run(scenario())


def test_invalid_file_is_reported_by_metric_and_readiness() -> None:

    async def scenario() -> None:
        api_account = account()
        probe = Probe()
        daemon = Daemon([api_account], [desired_account(api_account)], listeners=[probe.monitor])
        probe.monitor.follow(daemon.watch)
        error = DesiredStateError([Problem("x.yaml", 1, 1, "wrong")])
        values = []

        def break_file() -> None:
            daemon.folder.invalid["x.yaml"] = error
            daemon.folder._news.append(FileChanges(problems={"x.yaml": error}))

        def fix_file() -> None:
            values.append((probe.line("senderid_desired_state_valid"), probe.monitor.why_not_ready()))
            daemon.folder.invalid.clear()
            daemon.folder._news.append(FileChanges(fixed_files=("x.yaml",)))

        await daemon.run_for(700, (310, break_file), (400, fix_file))
        assert values == [(0, "using the last valid version of x.yaml")]
        assert (probe.line("senderid_desired_state_valid"), probe.monitor.why_not_ready()) == (1, None)

    run(scenario())


def test_daemon_is_not_ready_before_it_runs() -> None:

    async def scenario() -> None:
        await asyncio.sleep(0)
        probe = Probe()
        assert (probe.monitor.why_not_alive(), probe.monitor.why_not_ready()) == (None, "the daemon is starting")

    run(scenario())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("127.0.0.1:9464", ("127.0.0.1", 9464)),
        (":9464", ("127.0.0.1", 9464)),
        ("[::1]:0", ("::1", 0)),
        ("0.0.0.0:80", ("0.0.0.0", 80)),  # noqa: S104 - asked for by name
    ],
)
def test_listen_address_defaults_to_loopback(text: str, expected: tuple[str, int]) -> None:
    assert address(text) == expected


@pytest.mark.parametrize(
    "text", ["9464", "host", "host:", "host:x", "host:65536", ":-1", "", "a..b:1", "[::1:1", ":" + "9" * 5000]
)
def test_invalid_listen_address_is_wrong_usage(text: str) -> None:
    with pytest.raises(UsageError, match=r"--listen .*: write an address and a port, such as"):
        address(text)
