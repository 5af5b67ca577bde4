"""Times that are marked as UTC are in UTC on a machine in another zone."""

import json
import re
import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import chain
from pathlib import Path

import pytest

from tests.e2e.conftest import Command, Served
from worker.sandbox import SandboxAccount

A, B = "01000000001", "01000000002"
NUMBERS = {A: "INACTIVE", B: "ACTIVE"}
FILES = {"main.yaml": f"version: 1\nnumbers: {{{A}: ACTIVE, {B}: ACTIVE}}\n"}

_TIMES = (
    (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z", "%Y-%m-%dT%H:%M:%SZ"),
    (r"\d{4}-\d\d-\d\d \d\d:\d\d UTC", "%Y-%m-%d %H:%M UTC"),
    (r"^\d\d:\d\d:\d\dZ(?= )", "%H:%M:%SZ"),
)
_SLACK = timedelta(minutes=5)
_DAY = timedelta(days=1)


def _marked(text: str) -> Iterator[datetime]:
    """Yield the times in a text that are marked as UTC. A time without a date is of today."""
    today = datetime.now(UTC)
    for pattern, form in _TIMES:
        for actual in re.findall(pattern, text, re.MULTILINE):
            moment = datetime.strptime(re.sub(r"\.\d+", "", actual), form).replace(tzinfo=UTC)
            yield moment if "-" in actual else moment.replace(year=today.year, month=today.month, day=today.day)


def _is_now(moment: datetime) -> bool:
    away = abs(datetime.now(UTC) - moment)
    return away < _SLACK or abs(away - _DAY) < _SLACK  # near midnight, a time without a date may be of yesterday


def _texts(command: Command, account: SandboxAccount) -> Iterator[tuple[str, str]]:
    """Yield the name and the text of each command's output, of the plan file and of the ledger."""
    plan = command("plan", "-f", "main.yaml", "--out", "plan.json", "--log-format", "console", "--log-level", "debug")
    yield "plan", plan.stdout + plan.stderr
    applied = command("apply", "plan.json", "--no-files", "--format", "json", "--metrics-file", "metrics.prom")
    assert applied.returncode == 0, applied.stderr
    yield "apply", applied.stdout + applied.stderr
    account.switch(A, "INACTIVE")
    for output_format in ("text", "json", "markdown", "html"):
        yield f"drift {output_format}", command("drift", "-f", "main.yaml", "--format", output_format).stdout
        run = json.loads(applied.stdout)["run_id"]
        yield f"history {output_format}", command("history", run, "--format", output_format).stdout
    yield "runs", command("history", "--format", "json").stdout
    yield "export", command("export").stdout + command("doctor", "--format", "json").stdout
    yield "plan file", Path(command.folder, "plan.json").read_text()
    with sqlite3.connect(command.folder / "state/senderid/ledger.db") as ledger:
        yield "ledger", "\n".join(ledger.iterdump())


@pytest.mark.parametrize("zone", ["Asia/Seoul", "America/St_Johns"])
def test_times_marked_as_utc_are_utc(command: Command, served: Served, account: SandboxAccount, zone: str) -> None:
    command.environment["TZ"] = zone
    times = {name: list(_marked(text)) for name, text in _texts(command, account)}
    assert served.writes == [(A, "ACTIVE")]
    assert {name: [str(moment) for moment in moments if not _is_now(moment)] for name, moments in times.items()} == {
        name: [] for name in times
    }
    assert {name for name, moments in times.items() if moments} >= {
        "plan",
        "apply",
        "drift text",
        "history json",
        "ledger",
    }


def test_metrics_file_timestamps_are_utc(command: Command, served: Served) -> None:
    command.environment["TZ"] = "Asia/Seoul"
    assert command("apply", "-y", "-f", "main.yaml", "--metrics-file", "metrics.prom").returncode == 0
    assert len(list(chain(served.writes))) == 1
    metrics = Path(command.folder, "metrics.prom").read_text()
    seconds = [float(value) for value in re.findall(r"_timestamp_seconds(?:\{.*\})? ([\d.e+]+)", metrics)]
    assert seconds
    assert all(_is_now(datetime.fromtimestamp(value, UTC)) for value in seconds if value)
