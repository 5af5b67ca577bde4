"""The image in kernel namespaces, with any user and a read-only root."""

import json
import re
import signal
import time
from pathlib import Path

import pytest
import yaml

from tests.deploy.commands import DEPLOY, parse_command
from tests.deploy.conftest import Pods
from tests.deploy.image import PREFIX, Image, Pod

ANYBODY = (1_234_567, 0)
"""A user that no passwd file knows, in group 0, as OpenShift makes them up."""
SANDBOX = DEPLOY / "docker/sandbox"


def _until(pod: Pod, *check: str) -> None:
    """Wait until a health check passes."""
    end = time.monotonic() + 30
    while (done := pod.run(program=check))[0] != 0:
        assert time.monotonic() < end, done


def test_only_the_state_is_writable(pod: Pods) -> None:
    """The image needs no user name and no home folder."""
    box = pod(DEPLOY / "accounts", ANYBODY)
    for index in (PREFIX, "/", "/etc/senderid", "/tmp"):  # noqa: S108 - it is not there
        status, _, stderr = box.run("-c", f"open('{index}/x', 'w')", program=["python"])
        assert status == 1
        assert re.search("Read-only file system|No such file", stderr)
    assert box.run("-c", "import os; print(os.getuid(), os.getgid())", program=["python"])[1] == "1234567 0\n"
    assert list(box.state.iterdir()) == []


def test_demo_runs_as_any_user(pod: Pods) -> None:
    box = pod(DEPLOY / "accounts", ANYBODY)
    status, output, stderr = box.run("demo")
    assert (status, stderr) == (0, "")
    assert "0 changes are pending now" in output
    assert list(box.state.iterdir()) == []


def test_image_has_both_extras(pod: Pods) -> None:
    imports = "import apprise, opentelemetry.exporter.otlp.proto.http.trace_exporter, opentelemetry.sdk.trace"
    assert pod(DEPLOY / "accounts", ANYBODY).run("-c", imports, program=["python"]) == (0, "", "")


def test_sample_accounts_are_valid_in_the_image(pod: Pods) -> None:
    box = pod(DEPLOY / "accounts", ANYBODY)
    assert box.run("validate", "-f", "/etc/senderid/accounts")[0] == 0
    rows = json.loads(box.run("doctor", "--format", "json")[1])["checks"]
    ledger = next(row for row in rows if row["name"] == "ledger")
    assert (ledger["status"], ledger["detail"]) == ("ok", "/var/lib/senderid/ledger.db can be written")


@pytest.mark.parametrize("user", ["image", "anybody"])
def test_sandbox_profile_of_compose_runs(pod: Pods, dockerfile: Image, user: str) -> None:
    services = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
    box = pod(SANDBOX, dockerfile.user if user == "image" else ANYBODY)
    box.start(*services["sandbox"]["command"])
    _until(box, *services["sandbox"]["healthcheck"]["test"][1:])
    assert box.run(program=dockerfile.healthcheck)[0] == 1
    watch = box.start(*services["sandbox-watch"]["command"], **services["sandbox-watch"]["environment"])
    _until(box, *dockerfile.healthcheck)
    ready = [part.replace("/healthz", "/readyz") for part in dockerfile.healthcheck]
    _until(box, *ready)
    watch.send_signal(getattr(signal, dockerfile.signal))
    _, log = watch.communicate(timeout=40)
    assert watch.returncode == 143
    lines = [json.loads(line) for line in log.splitlines()]
    changed = {line["phone"]: line["desired"] for line in lines if line["event"] == "number"}
    assert changed == {"01076468271": "ACTIVE", "01078161974": "INACTIVE"}
    runs = json.loads(box.run("history", "--format", "json")[1])["runs"]
    assert [(run["command"], run["outcome"]) for run in runs] == [("watch", "converged")]
    assert {path.stat().st_uid for path in box.state.rglob("*")} == {
        dockerfile.user[0] if user == "image" else ANYBODY[0]
    }


def test_unwritable_state_stops_the_daemon(pod: Pods) -> None:
    box = pod(SANDBOX, (1_234_567, 1_234_567))
    status, _, stderr = box.run("watch", "-f", "/etc/senderid/accounts")
    assert status == 1
    assert "/var/lib/senderid" in stderr
    assert "SENDERID_LEDGER__PATH" in stderr


def test_image_without_arguments_shows_the_help(pod: Pods, dockerfile: Image) -> None:
    status, output, _ = pod(DEPLOY / "accounts", ANYBODY).run(*dockerfile.command)
    assert status == 0
    assert output.startswith("Usage: senderid")


def test_health_check_uses_the_port_of_the_daemon(dockerfile: Image) -> None:
    services = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
    for name in ("watch", "sandbox-watch"):
        assert f", {parse_command(services[name]['command'])['listen'][1]}, " in dockerfile.healthcheck[-1]


def test_ledger_is_in_the_volume(dockerfile: Image) -> None:
    assert [str(Path(dockerfile.environment["SENDERID_LEDGER__PATH"]).parent)] == list(dockerfile.volumes)
