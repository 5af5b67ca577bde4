"""Metrics of complete runs, in a file and at a push gateway."""

import json
import signal
import socket
import time
from collections.abc import Mapping
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.e2e.conftest import Command, Served
from worker.sandbox import SandboxAccount
from worker.sandbox.faults import Fault

A, B, C = "01000000001", "01000000002", "0223456789"
LAST_GOOD = "senderid_last_good_pass_timestamp_seconds"
WANTED = f"version: 1\nnumbers:\n  {A}: ACTIVE\n  {B}: INACTIVE\n  {C}: ACTIVE\n"
NUMBERS = {A: "INACTIVE", B: "ACTIVE", C: "ACTIVE"}
FILES = {"main.yaml": WANTED}


def samples(path: Path) -> Mapping[tuple[str, ...], float]:
    """Return the samples of a file by name and label values."""
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(path.read_text())
        for sample in family.samples
    }


def metric(values: Mapping[tuple[str, ...], float], name: str) -> Mapping[str, float]:
    """Return the non-zero samples of one metric of the account."""
    return {key[2]: value for key, value in values.items() if key[:2] == (name, "main") and value}


@pytest.mark.usefixtures("served")
@pytest.mark.parametrize(("verb", "status"), [("plan", 0), ("drift", 2)])
def test_plan_and_drift_count_statuses_and_differences(command: Command, verb: str, status: int) -> None:
    started_at = time.time()
    assert command(verb, "-f", "main.yaml", "--metrics-file", "senderid.prom").returncode == status
    path = command.folder / "senderid.prom"
    values = samples(path)
    assert metric(values, "senderid_numbers") == {"ACTIVE": 2, "INACTIVE": 1}
    assert metric(values, "senderid_differing_numbers") == {"unknown": 2}
    assert values["senderid_request_duration_seconds_count", "2xx", "read"] == 1
    assert values["senderid_quota_used", "0", "read"] == 1
    assert started_at <= values[LAST_GOOD,] <= time.time()
    assert path.stat().st_mode & 0o777 == 0o644
    assert [path.name for path in command.folder.glob("*prom*")] == ["senderid.prom"]


@pytest.mark.usefixtures("served")
def test_apply_counts_verified_statuses(command: Command) -> None:
    assert command("apply", "-y", "-f", "main.yaml", "--metrics-file", "senderid.prom").returncode == 0
    values = samples(command.folder / "senderid.prom")
    assert metric(values, "senderid_planned_numbers") == {"unchanged": 3}
    assert metric(values, "senderid_differing_numbers") == {}
    assert values["senderid_runs_total", "converged"] == 1
    assert values["senderid_number_outcomes_total", "changed"] == 2
    assert values["senderid_request_duration_seconds_count", "2xx", "write"] == 2


@pytest.mark.usefixtures("served")
def test_saved_plan_has_outcomes_and_no_unknown_zeros(command: Command) -> None:
    assert command("plan", "-f", "main.yaml", "--out", "plan.json").returncode == 0
    assert command("apply", "plan.json", "--metrics-file", "senderid.prom").returncode == 0
    values = samples(command.folder / "senderid.prom")
    assert values["senderid_number_outcomes_total", "changed"] == 2
    assert values["senderid_account_failing", "main"] == 0
    assert "senderid_numbers" not in {key[0] for key in values}


def test_failed_run_keeps_the_last_good_pass(command: Command, served: Served) -> None:
    run = ("plan", "-f", "main.yaml", "--metrics-file", "senderid.prom")
    assert command(*run).returncode == 0
    good = samples(command.folder / "senderid.prom")[LAST_GOOD,]
    served.sandbox.script(None, "GET", [Fault.INVALID_KEY])
    assert command(*run).returncode == 1
    values = samples(command.folder / "senderid.prom")
    assert (values[LAST_GOOD,], values["senderid_account_failing", "main"]) == (good, 1)
    assert values["senderid_failed_passes_total",] == 1


@pytest.mark.parametrize("verb", [("plan",), ("apply", "-y"), ("drift",)])
def test_invalid_file_is_counted(command: Command, served: Served, verb: tuple[str, ...]) -> None:
    command.write("main.yaml", "version: 1\nnumbers: 7\n")
    assert command(*verb, "-f", "main.yaml", "--metrics-file", "senderid.prom").returncode == 65
    values = samples(command.folder / "senderid.prom")
    assert (values["senderid_desired_state_valid",], values["senderid_failed_passes_total",]) == (0, 1)
    assert served.sandbox.wire == []


def test_unwritable_metrics_file_sends_nothing(command: Command, served: Served) -> None:
    result = command("apply", "-y", "-f", "main.yaml", "--metrics-file", "nowhere/senderid.prom")
    assert result.returncode == 1
    assert "nowhere/senderid.prom" in result.stderr
    assert served.sandbox.wire == []


def test_interrupted_run_writes_its_metrics(command: Command, served: Served) -> None:
    served.sandbox.script(None, "GET", [Fault.STALL])
    process = command.popen("plan", "-f", "main.yaml", "--metrics-file", "senderid.prom")
    while not served.sandbox.wire:
        assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)
    assert process.returncode == 143
    values = samples(command.folder / "senderid.prom")
    assert (values[LAST_GOOD,], values["senderid_failed_passes_total",]) == (0, 1)
    assert values.get(("senderid_account_failing", "main"), 0) == 0


@pytest.mark.usefixtures("served")
def test_hanging_gateway_does_not_fail_a_run(command: Command) -> None:
    with socket.create_server(("127.0.0.1", 0)) as hanging:
        command.environment["SENDERID_METRICS__PUSH_URL"] = f"http://127.0.0.1:{hanging.getsockname()[1]}"
        result = command("apply", "-y", "-f", "main.yaml")
    assert result.returncode == 0
    lines = [json.loads(line) for line in result.stderr.splitlines()]
    (line,) = [line for line in lines if line["event"] == "metrics.failed"]
    assert line["level"] == "warning"
    assert "no response within 2 seconds" in line["error_message"]


@pytest.mark.usefixtures("served")
@pytest.mark.parametrize("url", ["gateway:9091", "http://u:hunter2@gateway"])
def test_invalid_gateway_is_wrong_usage_without_its_password(command: Command, url: str, served: Served) -> None:
    result = command("plan", "-f", "main.yaml", "--metrics-push", url)
    assert result.returncode == 64
    assert "hunter2" not in result.stderr
    assert served.sandbox.wire == []


def test_metrics_have_no_phone_and_no_secret(command: Command, served: Served, account: SandboxAccount) -> None:
    served.sandbox.script(None, "GET", [Fault.ESCAPES, Fault.RATE_LIMITED])
    assert command("apply", "-y", "-f", "main.yaml", "--metrics-file", "senderid.prom").returncode == 0
    text = (command.folder / "senderid.prom").read_text()
    assert 'account="main"' in text
    assert 'answer="429"' in text
    for secret in (A, B, C, account.api_key, account.api_secret, account.account_id, "\x1b"):
        assert secret not in text
